"""What every `ports.Leases` does: one suite for the fake and for the adapter on both API servers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster, _Call
from rollout.adapters.leases import ClusterLease
from rollout.core.lease import Claim, Lease
from rollout.ports import Conflict, Leases, Refused
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.fakes.leases import FakeLease, Line

OURS = Claim("me", 15, transitions=0, fresh=True)
AGAIN = Claim("me", 15, transitions=0, fresh=False)
THEIRS = Claim("other", 15, transitions=1, fresh=True)
GONE = Claim("", 1, transitions=1, fresh=False)
JsonObject = dict[str, Any]


class Stage(Protocol):
    """A Lease, and the hands of others on it."""

    leases: Leases

    async def other(self) -> Leases: ...
    async def delete(self) -> None: ...


class FakeStage:
    def __init__(self) -> None:
        self._lease = FakeLease()
        self.leases: Leases = Line(self._lease)

    async def other(self) -> Leases:
        return Line(self._lease)

    async def delete(self) -> None:
        self._lease.delete()


class ServerStage:
    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/rollout"
        self.leases: Leases = ClusterLease(cluster, namespace, "rollout", SystemClock())

    async def other(self) -> Leases:
        return ClusterLease(self.cluster, self.namespace, "rollout", SystemClock())

    async def put(self, obj: JsonObject) -> None:
        await self.cluster.create(self.path.rpartition("/")[0], obj)

    async def delete(self) -> None:
        # The adapter has no DELETE: nothing of ours ever deletes anything.
        assert await self.cluster._ask(_Call("DELETE", self.path))


@asynccontextmanager
async def _on_server(plane: ControlPlane | None, tmp_path: Path) -> AsyncIterator[ServerStage]:
    kubeconfig = tmp_path / "kubeconfig"
    if plane is not None:
        plane.write_kubeconfig(kubeconfig, "default")
        async with await Cluster.connect(kubeconfig) as cluster:
            made = await cluster.create("/api/v1/namespaces", {"metadata": {"generateName": "lease-"}})
            yield ServerStage(cluster, made["metadata"]["name"])
        return
    server = KubernetesServer()
    await server.start()
    try:
        server.write_kubeconfig(kubeconfig)
        async with await Cluster.connect(kubeconfig) as cluster:
            yield ServerStage(cluster, "default")
    finally:
        await server.stop()


@pytest.fixture(params=["embedded", "real"])
def plane(request: pytest.FixtureRequest) -> ControlPlane | None:
    """The real API, or None for the embedded one."""
    found: ControlPlane | None = request.getfixturevalue("control_plane") if request.param == "real" else None
    return found


@pytest.fixture
async def server_stage(plane: ControlPlane | None, tmp_path: Path) -> AsyncIterator[ServerStage]:
    """Where there is an object behind the Lease, which others can write into."""
    async with _on_server(plane, tmp_path) as one:
        yield one


@pytest.fixture(params=["fake", "embedded", "real"])
def stage_plane(request: pytest.FixtureRequest) -> ControlPlane | str:
    found: ControlPlane | str = request.getfixturevalue("control_plane") if request.param == "real" else request.param
    return found


@pytest.fixture
async def stage(stage_plane: ControlPlane | str, tmp_path: Path) -> AsyncIterator[Stage]:
    if stage_plane == "fake":
        yield FakeStage()
        return
    async with _on_server(stage_plane if isinstance(stage_plane, ControlPlane) else None, tmp_path) as one:
        yield one


async def test_a_lease_is_made_where_there_is_none(stage: Stage) -> None:
    assert await stage.leases.get() is None
    made = await stage.leases.put(OURS, None)
    assert (made.holder, made.duration, made.transitions) == ("me", 15, 0)
    assert await stage.leases.get() == made


async def test_of_two_who_make_it_one_wins(stage: Stage) -> None:
    won = await stage.leases.put(OURS, None)
    with pytest.raises(Conflict):
        await (await stage.other()).put(THEIRS, None)
    assert await stage.leases.get() == won


async def test_of_two_who_write_over_the_same_state_one_wins(stage: Stage) -> None:
    made = await stage.leases.put(OURS, None)
    taken = await (await stage.other()).put(THEIRS, made)
    with pytest.raises(Conflict):
        await stage.leases.put(AGAIN, made)
    assert await stage.leases.get() == taken
    assert (taken.holder, taken.transitions) == ("other", 1)


async def test_every_renewal_says_something_new(stage: Stage) -> None:
    lease = await stage.leases.put(OURS, None)
    for _ in range(20):
        renewed = await stage.leases.put(AGAIN, lease)
        assert not renewed.says_as(lease)
        assert renewed.revision != lease.revision
        lease = renewed


async def test_a_lease_that_was_given_up_says_so(stage: Stage) -> None:
    made = await stage.leases.put(OURS, None)
    assert await stage.leases.put(GONE, made) == await stage.leases.get()
    seen = await stage.leases.get()
    assert seen is not None
    assert (seen.holder, seen.duration, seen.transitions) == ("", 1, 1)


async def test_a_renewal_of_a_lease_that_was_deleted_makes_it_again(stage: Stage) -> None:
    made = await stage.leases.put(OURS, None)
    await stage.delete()
    assert await stage.leases.get() is None
    again = await stage.leases.put(AGAIN, made)
    assert again == await stage.leases.get()
    with pytest.raises(Conflict):
        await (await stage.other()).put(THEIRS, None)


async def test_a_watch_tells_every_state_that_comes_after_and_the_end(stage: Stage) -> None:
    made = await stage.leases.put(OURS, None)
    other = await stage.other()
    told: list[Lease | None] = []

    async def watch() -> None:
        async with aclosing(stage.leases.watch(made)) as states:
            async for lease in states:
                told.append(lease)  # noqa: PERF401 - each as it comes

    async with running(watch):
        renewed = await other.put(AGAIN, made)
        taken = await other.put(THEIRS, renewed)
        await stage.delete()
        await eventually(lambda: len(told) == 3)
    assert told == [renewed, taken, None]


# the object


async def test_what_others_put_on_the_object_stays(server_stage: ServerStage) -> None:
    metadata = {"name": "rollout", "labels": {"team": "a"}}
    await server_stage.put({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}})
    bare = await server_stage.leases.get()
    assert bare is not None
    assert (bare.holder, bare.duration, bare.transitions) == ("", 0, 0)
    await server_stage.leases.put(OURS, bare)
    obj = await server_stage.cluster.get(server_stage.path)
    assert obj["metadata"]["labels"] == {"team": "a"}
    assert obj["spec"]["holderIdentity"] == "me"


async def test_an_object_that_was_not_read_last_is_written_over_by_its_revision(server_stage: ServerStage) -> None:
    made = await server_stage.leases.put(OURS, None)
    assert (await (await server_stage.other()).put(AGAIN, made)).holder == "me"


async def test_the_times_are_those_that_kubectl_reads(server_stage: ServerStage) -> None:
    before = datetime.now(UTC)  # noqa: TID251 - what the object says is compared with the true time
    made = await server_stage.leases.put(OURS, None)
    first = (await server_stage.cluster.get(server_stage.path))["spec"]
    await server_stage.leases.put(AGAIN, made)
    second = (await server_stage.cluster.get(server_stage.path))["spec"]
    assert first["acquireTime"] == second["acquireTime"] == first["renewTime"] < second["renewTime"]
    assert before <= datetime.fromisoformat(first["acquireTime"]) <= before + timedelta(minutes=1)


async def test_a_namespace_that_is_not_there_is_a_refusal_that_names_it(server_stage: ServerStage) -> None:
    nowhere = ClusterLease(server_stage.cluster, "nowhere", "rollout", SystemClock())
    assert await nowhere.get() is None
    with pytest.raises(Refused, match="nowhere"):
        await nowhere.put(OURS, None)


class StoppedClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


async def test_a_clock_that_stands_still_or_is_set_back_still_makes_renewals(server_stage: ServerStage) -> None:
    clock = StoppedClock()
    leases = ClusterLease(server_stage.cluster, server_stage.namespace, "rollout", clock)
    stamps = [(await leases.put(OURS, None)).stamp]
    for back in (0, 0, 1, 0, 3600, 0):
        clock.time -= timedelta(seconds=back)
        lease = await leases.get()
        stamps.append((await leases.put(AGAIN, lease)).stamp)
    assert len(set(stamps)) == len(stamps)


@asynccontextmanager
async def running(job: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(job())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
