"""What the API server itself lets the controller change of a DestinationRule and of a Release, whatever RBAC says."""

import itertools
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from rollout.adapters.release_object import hold_change, new_object, read_release, status_object
from rollout.core.release import Phase, ReleaseSpec, Status
from tests.deploy.cluster import ISTIO, RELEASES, JsonObject, Operation, create, patch

_numbers = itertools.count(1)
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "0b7c9d6e-0000-4000-8000-000000000000"}


def subset(name: str, version: str | None = None, **fields: Any) -> JsonObject:
    labels = {"version": version or name, "tier": "web"}
    return {"name": name, "labels": labels, "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}} | fields


RULE: JsonObject = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"labels": {"team": "shop"}, "annotations": {"note": "ours"}, "finalizers": ["example.com/kept"]},
    "spec": {
        "host": "checkout",
        "exportTo": ["."],
        "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 100}}},
        "subsets": [subset("v1"), subset("v2")],
    },
}


def put(path: str, value: Any) -> Operation:
    return {"op": "replace", "path": path, "value": value}


def add(path: str, value: Any) -> Operation:
    return {"op": "add", "path": path, "value": value}


def remove(path: str) -> Operation:
    return {"op": "remove", "path": path}


async def made(admin: httpx2.AsyncClient, path: str, obj: Mapping[str, Any]) -> tuple[str, JsonObject]:
    """(path, object) of a new one."""
    name = f"checkout-{next(_numbers)}"
    return f"{path}/{name}", await create(admin, path, {**obj, "metadata": {**obj["metadata"], "name": name}})


async def refused(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient, path: str, change: list[Operation]
) -> None:
    before = (await admin.get(path)).json()
    answer = await patch(controller, path, change)
    assert answer.status_code == 422, answer.text
    assert (await admin.get(path)).json() == before
    # Not because the API would refuse it to anybody.
    by_somebody_else = await patch(admin, path, change, dry=True)
    assert by_somebody_else.status_code == 200, by_somebody_else.text


METADATA: dict[str, list[Operation]] = {
    "a label": [put("/metadata/labels/team", "other")],
    "no labels": [remove("/metadata/labels")],
    "an annotation": [put("/metadata/annotations/note", "theirs")],
    "a new annotation": [add("/metadata/annotations/rollout.dev~1other", "8")],
    "no annotations": [remove("/metadata/annotations")],
    "somebody's finalizer": [remove("/metadata/finalizers")],
    "an owner": [add("/metadata/ownerReferences", [OWNER])],
}

REFUSED_OF_A_RULE: dict[str, list[Operation]] = METADATA | {
    "the host": [put("/spec/host", "payment")],
    "to whom it is exported": [put("/spec/exportTo/0", "*")],
    "the traffic policy": [put("/spec/trafficPolicy/connectionPool/tcp/maxConnections", 1)],
    "no traffic policy": [remove("/spec/trafficPolicy")],
    "a workload selector": [add("/spec/workloadSelector", {"matchLabels": {"app": "client"}})],
    "a subset's traffic policy": [put("/spec/subsets/0/trafficPolicy/loadBalancer/simple", "ROUND_ROBIN")],
    "a subset's name": [put("/spec/subsets/0/name", "v9")],
    "two labels of a subset": [put("/spec/subsets/0/labels", {"version": "v9", "tier": "db"})],
    "a label less": [remove("/spec/subsets/0/labels/tier")],
    "a label more": [add("/spec/subsets/0/labels/zone", "a")],
    "two subsets at once": [add("/spec/subsets/2", subset("v3")), add("/spec/subsets/3", subset("v4"))],
    "two subsets fewer": [remove("/spec/subsets/1"), remove("/spec/subsets/0")],
    "both subsets' versions": [
        put("/spec/subsets/0/labels/version", "v3"),
        put("/spec/subsets/1/labels/version", "v4"),
    ],
    "a subset of a name that is taken": [add("/spec/subsets/2", subset("v2", "v3"))],
    "a subset with a traffic policy of its own": [
        add("/spec/subsets/2", subset("v3", trafficPolicy={"tls": {"mode": "DISABLE"}}))
    ],
    "a subset without its traffic policy": [
        add("/spec/subsets/2", {"name": "v3", "labels": {"version": "v3", "tier": "web"}})
    ],
    "a subset of other pods": [add("/spec/subsets/2", subset("v3", labels={"version": "v3", "tier": "db"}))],
    "a subset of more pods": [add("/spec/subsets/2", subset("v3", labels={"version": "v3"}))],
    "the same subset twice": [add("/spec/subsets/2", subset("v2"))],
}


@pytest.mark.parametrize("what", REFUSED_OF_A_RULE)
async def test_the_controller_cannot_change_of_a_destination_rule(
    what: str, admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, _ = await made(admin, f"{ISTIO}/destinationrules", RULE)
    await refused(admin, controller, path, REFUSED_OF_A_RULE[what])


ADMITTED_OF_A_RULE: dict[str, list[Operation]] = {
    "a version's subset, like another's": [add("/spec/subsets/2", subset("v3"))],
    "a subset less": [remove("/spec/subsets/0")],
    "a subset for another version": [put("/spec/subsets/1/labels/version", "v3")],
}


@pytest.mark.parametrize("what", ADMITTED_OF_A_RULE)
async def test_the_controller_can_write_into_a_destination_rule(
    what: str, admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, before = await made(admin, f"{ISTIO}/destinationrules", RULE)
    answer = await patch(controller, path, ADMITTED_OF_A_RULE[what])
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["trafficPolicy"] == before["spec"]["trafficPolicy"]


async def test_a_rule_with_many_subsets_is_no_trouble(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    many = {**RULE, "spec": {**RULE["spec"], "subsets": [subset(f"v{number}") for number in range(200)]}}
    path, _ = await made(admin, f"{ISTIO}/destinationrules", many)
    answer = await patch(controller, path, [add("/spec/subsets/200", subset("v200"))])
    assert answer.status_code == 200, answer.text


def release() -> JsonObject:
    obj = new_object("shop", "any", ReleaseSpec(service="checkout", version="v2"), key_hash="")
    obj["metadata"]["labels"]["team"] = "shop"
    obj["metadata"]["annotations"] = {"note": "ours"}
    obj["metadata"]["finalizers"] = ["example.com/kept"]
    return obj


REFUSED_OF_A_RELEASE: dict[str, list[Operation]] = METADATA | {
    "an abort": [add("/spec/abort", {"reason": "because"})],
    "a pause": [add("/spec/pause", {"reason": "because"})],
    "another's finalizer in place of one": [put("/metadata/finalizers", ["example.com/other"])],
    "another's finalizer beside one": [add("/metadata/finalizers/-", "example.com/other")],
}


@pytest.mark.parametrize("what", REFUSED_OF_A_RELEASE)
async def test_the_controller_cannot_change_of_a_release(
    what: str, admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, _ = await made(admin, RELEASES, release())
    await refused(admin, controller, path, REFUSED_OF_A_RELEASE[what])


async def test_the_controller_holds_a_release_writes_its_status_and_lets_it_go(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, obj = await made(admin, RELEASES, release())
    held = await patch(controller, path, hold_change(obj, held=True))
    assert held.status_code == 200, held.text
    body = status_object(read_release(held.json()), Status(phase=Phase.PREPARING))
    saved = await controller.put(f"{path}/status", json=body)
    assert saved.status_code == 200, saved.text
    assert saved.json()["status"]["phase"] == "Preparing"
    free = await patch(controller, path, hold_change(saved.json(), held=False))
    assert free.status_code == 200, free.text
    assert free.json()["metadata"]["finalizers"] == ["example.com/kept"]


async def test_a_status_carries_no_wish_with_it(admin: httpx2.AsyncClient, controller: httpx2.AsyncClient) -> None:
    path, obj = await made(admin, RELEASES, release())
    body = status_object(read_release(obj), Status(phase=Phase.PREPARING))
    saved = await controller.put(f"{path}/status", json={**body, "spec": {**obj["spec"], "abort": {"reason": "no"}}})
    assert saved.status_code == 200, saved.text
    assert saved.json()["spec"] == obj["spec"]
