"""Fifty who ask for the same release at the same moment, through several connections to one API server."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster
from rollout.adapters.freezes import ClusterFreezes
from rollout.adapters.mirror import Mirror
from rollout.adapters.releases import ClusterReleases
from rollout.commands import LocalDesk
from rollout.core.release import Source
from rollout.desk import KeyReused, Order, Started
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer

AT_ONCE = 50
TIMES = int(os.environ.get("ROLLOUT_STARTS", "25"))
"""On the embedded API; `ROLLOUT_STARTS=100` for the full bar, ten of them on the real one."""
CONNECTIONS = 5


@pytest.fixture(params=["embedded", "real"])
def plane(request: pytest.FixtureRequest) -> ControlPlane | None:
    """The real API, or None for the embedded one."""
    found: ControlPlane | None = request.getfixturevalue("control_plane") if request.param == "real" else None
    return found


@pytest.fixture
async def kubeconfig(plane: ControlPlane | None, tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "kubeconfig"
    if plane is not None:
        plane.write_kubeconfig(path, "default")
        yield path
        return
    server = KubernetesServer()
    await server.start()
    server.write_kubeconfig(path)
    yield path
    await server.stop()


@asynccontextmanager
async def desks(kubeconfig: Path, namespace: str) -> AsyncIterator[list[LocalDesk]]:
    """As several copies of our HTTP API have them; all but one have a watch running, which spares them lists."""
    async with AsyncExitStack() as exits, asyncio.TaskGroup() as tasks:
        found, watches = [], []
        for number in range(CONNECTIONS):
            cluster = await exits.enter_async_context(await Cluster.connect(kubeconfig))
            mirror = await exits.enter_async_context(Mirror(cluster))
            releases = ClusterReleases(cluster)
            found.append(LocalDesk(releases, ClusterFreezes(cluster, namespace, mirror), SystemClock()))
            if number:
                watches.append(tasks.create_task(_watched(releases, namespace)))
        yield found
        for watch in watches:
            watch.cancel()


async def _watched(releases: ClusterReleases, namespace: str) -> None:
    async with aclosing(releases.watch(namespace)) as changes:
        async for _ in changes:
            pass


async def new_namespace(kubeconfig: Path) -> str:
    async with await Cluster.connect(kubeconfig) as cluster:
        made = await cluster.create("/api/v1/namespaces", {"metadata": {"generateName": "at-once-"}})
        name: str = made["metadata"]["name"]
        return name


async def test_identical_starts_at_once_are_exactly_one_release_every_time(
    plane: ControlPlane | None, kubeconfig: Path
) -> None:
    times = TIMES if plane is None else min(TIMES, 10)
    namespace = await new_namespace(kubeconfig)
    async with desks(kubeconfig, namespace) as found:
        for number in range(times):
            # A service of its own each time: a release that nobody ends makes its service busy.
            order = Order(namespace, f"checkout-{number}", "v2", Source(actor="ci"), key="pipeline-7")
            outcomes = await asyncio.gather(*(found[one % CONNECTIONS].start(order) for one in range(AT_ONCE)))
            assert {one.release.uid for one in outcomes} == {outcomes[0].release.uid}
            assert [one.replayed for one in outcomes].count(False) == 1
        assert len(await found[0].list(namespace)) == times


async def test_different_requests_with_one_key_at_once_are_one_release_and_refusals(kubeconfig: Path) -> None:
    namespace = await new_namespace(kubeconfig)
    async with desks(kubeconfig, namespace) as found:
        orders = [Order(namespace, "checkout", f"v{number % 5}", Source(), key="k") for number in range(AT_ONCE)]
        outcomes = await asyncio.gather(
            *(found[place % CONNECTIONS].start(order) for place, order in enumerate(orders)), return_exceptions=True
        )
        (made,) = await found[0].list(namespace)
        for order, outcome in zip(orders, outcomes, strict=True):
            same = order.version == made.spec.version
            assert isinstance(outcome, Started if same else KeyReused), outcome
