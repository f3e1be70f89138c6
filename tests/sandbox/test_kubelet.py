"""Pods on a real kube-apiserver, with the sandbox for a scheduler and a kubelet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rollout.sandbox import shop
from rollout.sandbox.cluster_client import ClusterClient, JsonObject
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubelet import NODE, Kubelet, pod_status
from rollout.sandbox.node import Node

FIRST, LATER = "2026-01-01T12:00:00Z", "2026-01-01T12:05:00Z"


def pod(status: JsonObject | None = None) -> JsonObject:
    made: JsonObject = shop.deployment("checkout", "v1")["spec"]["template"]
    return {**made, "metadata": {**made["metadata"], "uid": "some-uid"}, "status": status or {"phase": "Pending"}}


def conditions(status: JsonObject) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["lastTransitionTime"]) for one in status["conditions"]}


def test_a_pod_keeps_its_address_its_start_and_the_times_of_what_did_not_change() -> None:
    first = pod_status(pod(), ready=True, address=lambda: "10.244.0.9", stamp=FIRST)
    later = pod_status(pod(first), ready=False, address=lambda: "10.244.0.10", stamp=LATER)
    assert (later["podIP"], later["startTime"]) == ("10.244.0.9", FIRST)
    assert conditions(later)["Ready"] == conditions(later)["ContainersReady"] == ("False", LATER)
    assert conditions(later)["PodScheduled"] == conditions(later)["Initialized"] == ("True", FIRST)
    again = pod_status(pod(later), ready=True, address=lambda: "10.244.0.11", stamp=LATER)
    assert [one for one in again["conditions"] if "reason" in one] == []


def test_a_status_that_is_right_stays_as_it_is() -> None:
    first = pod_status(pod(), ready=False, address=lambda: "10.244.0.9", stamp=FIRST)
    assert pod_status(pod(first), ready=False, address=lambda: "10.244.0.10", stamp=LATER) == first


class Yard:
    """A node that runs what the Deployments of one namespace ask for."""

    def __init__(self, cluster: ClusterClient, node: Node, namespace: str) -> None:
        self.cluster = cluster
        self.node = node
        self.namespace = namespace

    async def deploy(self, version: str, replicas: int = 2, **knobs: Any) -> None:
        made = shop.deployment("checkout", version, replicas=replicas, **knobs)
        await self.cluster.apply({**made, "metadata": {**made["metadata"], "namespace": self.namespace}})

    async def deployment(self, version: str) -> JsonObject:
        found = await self.cluster.get("apps/v1", "Deployment", f"checkout-{version}", self.namespace)
        status: JsonObject = found.get("status") or {}
        return status

    async def pods(self) -> list[JsonObject]:
        return (await self.cluster.list(await self.cluster.collection("v1", "Pod", self.namespace)))[0]

    def serves(self, version: str) -> bool:
        return (self.namespace, f"checkout-{version}") in {
            (endpoint.namespace, endpoint.workload) for endpoint in self.node.endpoints
        }


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def yard(control_plane: ControlPlane, real_namespace: str, tmp_path: Path) -> AsyncIterator[Yard]:
    cluster = ClusterClient(control_plane.url, ca=control_plane.ca, token=control_plane.token)
    node = Node(cluster, tmp_path, lambda: None, Kubelet)
    await node.start()
    running = asyncio.create_task(node.run())
    yard = Yard(cluster, node, real_namespace)
    yield yard
    for version in ("v1", "v2"):
        await cluster.delete("apps/v1", "Deployment", f"checkout-{version}", real_namespace)

    # Without a kubelet nobody would ever let them go.
    async def gone() -> bool:
        return not await yard.pods()

    await eventually(gone)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await node.stop()
    await cluster.close()


async def available(yard: Yard, version: str, wanted: int) -> bool:
    return bool((await yard.deployment(version)).get("availableReplicas", 0) == wanted)


async def test_a_deployment_becomes_available_by_pods_that_run_on_the_node(yard: Yard) -> None:
    await yard.deploy("v1", replicas=3)
    await eventually(lambda: available(yard, "v1", 3))
    pods = await yard.pods()
    assert [(found["spec"]["nodeName"], found["status"]["phase"]) for found in pods] == [(NODE, "Running")] * 3
    assert len({found["status"]["podIP"] for found in pods}) == 3
    assert yard.serves("v1")


async def test_a_knob_makes_pods_unready_and_ready_again_and_the_endpoint_with_them(yard: Yard) -> None:
    await yard.deploy("v1")
    await eventually(lambda: available(yard, "v1", 2))
    await yard.deploy("v1", ready="no")
    await eventually(lambda: available(yard, "v1", 0))
    assert (await yard.deployment("v1"))["unavailableReplicas"] == 2
    assert not yard.serves("v1")
    await yard.deploy("v1", ready="yes")
    await eventually(lambda: available(yard, "v1", 2))
    assert yard.serves("v1")


async def test_pods_that_are_no_longer_wanted_go(yard: Yard) -> None:
    await yard.deploy("v1")
    await yard.deploy("v2", replicas=3)
    await eventually(lambda: available(yard, "v2", 3))
    await yard.deploy("v2", replicas=0)

    async def only_v1() -> bool:
        return {found["metadata"]["labels"]["version"] for found in await yard.pods()} == {"v1"}

    await eventually(only_v1)
    assert yard.serves("v1")
    assert not yard.serves("v2")


async def test_a_pod_that_is_as_it_should_be_is_not_written_again(yard: Yard) -> None:
    await yard.deploy("v1")
    await eventually(lambda: available(yard, "v1", 2))

    async def revisions() -> list[str]:
        return sorted(found["metadata"]["resourceVersion"] for found in await yard.pods())

    before = await revisions()
    # Another version's arrival makes the node look at everything again.
    await yard.deploy("v2")
    await eventually(lambda: available(yard, "v2", 2))
    assert set(before) <= set(await revisions())


async def test_a_pod_of_nobody_stays_pending(yard: Yard) -> None:
    metadata = {"name": "alone", "namespace": yard.namespace}
    template = shop.deployment("checkout", "v1")["spec"]["template"]
    await yard.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    await yard.deploy("v1")
    await eventually(lambda: available(yard, "v1", 2))
    found = await yard.cluster.get("v1", "Pod", "alone", yard.namespace)
    assert found["status"]["phase"] == "Pending"
    # It was never bound to a node, so it goes at once.
    await yard.cluster.delete("v1", "Pod", "alone", yard.namespace)
    assert "alone" not in {one["metadata"]["name"] for one in await yard.pods()}
