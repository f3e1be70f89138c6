"""checkout in a namespace of its own on either API, with a Prometheus that is told what to say."""

import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.preflight.inspector import ClusterPreflight
from rollout.adapters.preflight.mesh_series import MeshSeries, PrometheusSeries
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Report
from rollout.core.route import Leg, Target, Unavailable
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.preflight.shapes import (
    JsonObject,
    deployment,
    destination_rule,
    series,
    service,
    target,
    virtual_service,
)
from tests.fakes.clock import FakeClock
from tests.given import NOW

_numbers = itertools.count(1)
COLLECTIONS = {
    "Service": "/api/v1/namespaces/{}/services",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "VirtualService": "/apis/networking.istio.io/v1/namespaces/{}/virtualservices",
    "DestinationRule": "/apis/networking.istio.io/v1/namespaces/{}/destinationrules",
    "Telemetry": "/apis/telemetry.istio.io/v1/namespaces/{}/telemetries",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


class Told(PrometheusSeries):
    """A Prometheus that says what a test says."""

    def __init__(self, answer: MeshSeries | Unavailable) -> None:
        self.answer = answer

    async def read(self, _hosts: object, _now: datetime) -> MeshSeries | Unavailable:
        return self.answer


@dataclass
class Shop:
    """A namespace with checkout in it, on one of the servers; objects of `shop` are put there."""

    cluster: Cluster
    namespace: str
    prometheus: Told
    server: KubernetesServer | None = None
    plane: ControlPlane | None = None

    def here(self, obj: JsonObject) -> JsonObject:
        moved: JsonObject = json.loads(json.dumps(obj).replace("shop", self.namespace))
        return moved

    async def put(self, obj: JsonObject) -> JsonObject:
        moved = self.here(obj)
        return await self.cluster.create(COLLECTIONS[moved["kind"]].format(moved["metadata"]["namespace"]), moved)

    async def change(self, kind: str, *operations: JsonObject, name: str = "checkout") -> None:
        await self.cluster.patch(f"{COLLECTIONS[kind].format(self.namespace)}/{name}", operations)

    async def revisions(self) -> list[str]:
        paths = [COLLECTIONS[kind].format(self.namespace) for kind in ("VirtualService", "DestinationRule")]
        return [(await self.cluster.get(f"{path}/checkout"))["metadata"]["resourceVersion"] for path in paths]

    def target(self, **changes: Any) -> Target:
        legs = (Leg(self.namespace, "checkout"),)
        return target(**{"namespace": self.namespace, "legs": legs, "stable": None} | changes)

    async def inspected(self, policy: PolicySpec | None = None, **changes: Any) -> Report:
        preflight = ClusterPreflight(self.cluster, self.prometheus, FakeClock(NOW))
        report = await preflight.inspect(self.target(**changes), policy or PolicySpec())
        assert isinstance(report, Report), report
        return report

    async def errors(self, **changes: Any) -> set[str]:
        return {one.code for one in (await self.inspected(**changes)).errors}


@pytest.fixture(params=["embedded", "real"])
def plane(request: pytest.FixtureRequest) -> ControlPlane | None:
    if request.param == "embedded":
        return None
    found: ControlPlane = request.getfixturevalue("control_plane")
    return found


async def _shop(
    path: Path, namespace: str, server: KubernetesServer | None, plane: ControlPlane | None
) -> AsyncIterator[Shop]:
    (server or plane).write_kubeconfig(path, namespace)  # type: ignore[union-attr] # one of them is there
    async with await Cluster.connect(path) as cluster:
        await cluster.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        made = Shop(cluster, namespace, Told(series()), server, plane)
        for obj in (service(), destination_rule("v1"), virtual_service(), deployment("v1"), deployment("v2")):
            await made.put(obj)
        yield made
        http = httpx2.AsyncClient(base_url=server.url) if server else plane.client()  # type: ignore[union-attr] # same
        async with http:
            await http.delete(f"/api/v1/namespaces/{namespace}")


@pytest.fixture
async def shop(plane: ControlPlane | None, tmp_path: Path) -> AsyncIterator[Shop]:
    """On both servers."""
    server = KubernetesServer() if plane is None else None
    if server is not None:
        await server.start()
    try:
        async for made in _shop(tmp_path / "kubeconfig", f"preflight-{next(_numbers)}", server, plane):
            yield made
    finally:
        if server is not None:
            await server.stop()


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Shop]:
    """Where the API can be made to fail."""
    server = KubernetesServer()
    await server.start()
    try:
        async for made in _shop(tmp_path / "kubeconfig", f"preflight-{next(_numbers)}", server, None):
            yield made
    finally:
        await server.stop()


@pytest.fixture
async def real(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Shop]:
    """Where there are rights, admission and all of Istio's kinds."""
    async for made in _shop(tmp_path / "kubeconfig", f"preflight-{next(_numbers)}", None, control_plane):
        yield made
