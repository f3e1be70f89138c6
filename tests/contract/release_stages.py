"""Places where releases are kept, for the contract suite: in memory, and on an API server; with the hands of others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx2

from rollout.adapters.cluster import Cluster
from rollout.adapters.releases import ClusterReleases
from rollout.core.policy import PolicySpec
from rollout.core.release import (
    API_VERSION,
    Confirmed,
    Phase,
    Reason,
    Release,
    ReleaseSpec,
    Source,
    Status,
    StepRecord,
    Wish,
)
from rollout.core.route import Route
from rollout.ports import Releases
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.fakes.releases import FakeReleases

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
JsonObject = dict[str, Any]
SPEC = ReleaseSpec(service="checkout", version="v2", source=Source(actor="ci", url="https://ci.example/1"))
PAUSE = Wish(by="ann", at=NOON, reason="lunch")


class TickingClock:
    """Each look at it is a second later, so that creation times differ."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


class Stage(Protocol):
    """Where releases are kept, and the hands of others on them."""

    releases: Releases

    async def put(self, obj: JsonObject) -> None: ...
    async def merge(self, name: str, patch: JsonObject) -> None: ...
    async def set_status(self, name: str, status: Any) -> None: ...
    async def delete(self, name: str) -> None: ...
    async def break_down(self) -> None: ...


class FakeStage:
    def __init__(self) -> None:
        self.fake = FakeReleases(TickingClock())
        self.releases: Releases = self.fake

    async def put(self, obj: JsonObject) -> None:
        self.fake.put(obj)

    async def merge(self, name: str, patch: JsonObject) -> None:
        def change(obj: JsonObject) -> None:
            for part, fields in patch.items():
                obj[part] = obj[part] | fields

        self.fake.edit("shop", name, change)

    async def set_status(self, name: str, status: Any) -> None:
        self.fake.edit("shop", name, lambda obj: obj.update(status=status))

    async def delete(self, name: str) -> None:
        self.fake.delete("shop", name)

    async def break_down(self) -> None:
        self.fake.fail("down")


class ServerStage:
    def __init__(self, server: KubernetesServer, cluster: Cluster, http: httpx2.AsyncClient) -> None:
        self._server = server
        self._cluster = cluster
        self._http = http
        self.releases: Releases = ClusterReleases(cluster)

    async def put(self, obj: JsonObject) -> None:
        await self._cluster.create(releases_path(obj["metadata"]["namespace"]), obj)

    async def merge(self, name: str, patch: JsonObject) -> None:
        await self._cluster.merge(f"{releases_path('shop')}/{name}", patch)

    async def set_status(self, name: str, status: Any) -> None:
        operation = {"op": "add", "path": "/status", "value": status}
        await self._cluster.patch(f"{releases_path('shop')}/{name}/status", [operation])

    async def delete(self, name: str) -> None:
        answer = await self._http.delete(f"{self._server.url}{releases_path('shop')}/{name}")
        assert answer.status_code == 200

    async def break_down(self) -> None:
        await self._server.stop()


def releases_path(namespace: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/releases"


@asynccontextmanager
async def opened(kind: str, tmp_path: Path) -> AsyncIterator[Stage]:
    if kind == "fake":
        yield FakeStage()
        return
    server = KubernetesServer(TickingClock().now, definitions=False)
    await server.start()
    kubeconfig = tmp_path / "kubeconfig"
    server.write_kubeconfig(kubeconfig)
    try:
        async with await Cluster.connect(kubeconfig) as cluster, httpx2.AsyncClient() as http:
            for namespace in ("shop", "other"):
                await cluster.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
            yield ServerStage(server, cluster, http)
    finally:
        await server.stop()


async def read(stage: Stage, name: str) -> Release:
    release = await stage.releases.get("shop", name)
    assert release is not None
    return release


async def begun(stage: Stage, name: str = "one", spec: ReleaseSpec = SPEC) -> Release:
    release = await stage.releases.create("shop", name, spec)
    return await stage.releases.save(release, Status(phase=Phase.PREPARING, service="checkout", version="v2"))


def full_status() -> Status:
    return Status(
        phase=Phase.ANALYSING,
        reason=Reason.HOLDING,
        message='10 % to v2 — "so far", so\ngood',
        observed_generation=1,
        service="checkout",
        version="v2",
        stable="v1",
        policy=PolicySpec(),
        step=0,
        weight=10,
        order=Route(percent=10, epoch=7),
        confirmed=Confirmed(route=Route(percent=10, epoch=7), at=NOON),
        started_at=NOON,
        since=NOON + timedelta(milliseconds=1),
        lost_per_second=0.25,
        steps=(StepRecord(weight=10, since=NOON),),
        paused=True,
        sequence=3,
    )


async def next_of(watch: AsyncIterator[Release]) -> tuple[str, int]:
    async with asyncio.timeout(5):
        release = await anext(watch)
    return release.name, release.generation
