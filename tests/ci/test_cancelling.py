"""A cancelled job in the whole sandbox: the runner's signals, the real controller, and where the traffic is afterwards.

GitHub's runner sends SIGINT to the entry process of the step, SIGTERM 7.5 s later, and kills it after 2.5 s more.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster
from rollout.adapters.releases import ClusterReleases
from rollout.commands import LocalDesk
from rollout.core.release import Phase, Release
from rollout.sandbox import shop
from rollout.sandbox.controller import ControllerProcess
from rollout.sandbox.processes import _bound_to_parent
from rollout.sandbox.story import prepare
from rollout.sandbox.world import World
from tests.api.house import ANN, House, served
from tests.fakes.freezes import FakeFreezes

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.envoy,
    pytest.mark.prometheus,
    pytest.mark.asyncio(loop_scope="module"),
]
VERSION = "v2"


@dataclass
class Stage:
    """The sandbox with a controller, an API beside it, and one job at a time."""

    world: World
    releases: ClusterReleases
    ways: Mapping[str, Mapping[str, str]]
    """What a job must know to ask for releases, by transport."""

    async def job(self, way: str, *options: str) -> asyncio.subprocess.Process:
        """A step of a workflow: `exec rollout start --wait`, in a shell that is the entry process."""
        command = ["-n", shop.NAMESPACE, "start", shop.SERVICE, "--version", VERSION, "--wait", *options]
        script = f"exec {sys.executable} -P -m rollout {' '.join(command)}"
        return await asyncio.create_subprocess_exec(
            *("bash", "-eo", "pipefail", "-c", script),
            env={**os.environ, **self.ways[way]},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_bound_to_parent(os.getpid(), signal.SIGKILL),
        )

    async def release(self, name: str) -> Release:
        found = await self.releases.get(shop.NAMESPACE, name)
        assert found is not None
        return found

    async def until(self, name: str, true: Callable[[Release], bool], within: float) -> float:
        """Seconds until the release is so."""
        began = time.monotonic()
        while not true(await self.release(name)):
            assert time.monotonic() - began < within, (await self.release(name)).status.message
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def split(self) -> dict[str, int]:
        """Who gets how much, by the VirtualService."""
        kind = ("networking.istio.io/v1", "VirtualService")
        found = await self.world.cluster.get(*kind, shop.SERVICE, shop.NAMESPACE)
        [route] = [http["route"] for http in found["spec"]["http"] if http.get("name") == shop.ROUTE]
        shares = {one["destination"]["subset"]: one.get("weight", 100) for one in route}
        return {version: share for version, share in shares.items() if share}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with World(tmp_path_factory.mktemp("cancelling"), rate=100) as world:
        await prepare(world)
        await world.apply(shop.deployment(shop.SERVICE, VERSION))
        async with ControllerProcess(world), await Cluster.connect(world.kubeconfig, None) as cluster:
            releases, house, clock = ClusterReleases(cluster), House(), SystemClock()
            desk = LocalDesk(releases, FakeFreezes(), clock)
            house.but(desk=desk, clock=clock, unchanged=lambda _: False, look_seconds=0.1)
            async with served(house) as api:
                far = {"ROLLOUT_SERVER": api.url, "ROLLOUT_TOKEN": ANN}
                yield Stage(world, releases, {"kubeconfig": {"KUBECONFIG": str(world.kubeconfig)}, "http": far})


async def id_of(job: asyncio.subprocess.Process) -> str:
    assert job.stdout is not None
    async with asyncio.timeout(30):
        return (await job.stdout.readline()).decode().strip()


async def ended(job: asyncio.subprocess.Process, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await job.wait()
    except TimeoutError:
        return False
    return True


async def cancelled(job: asyncio.subprocess.Process) -> None:
    """As GitHub's runner does it."""
    job.send_signal(signal.SIGINT)
    if not await ended(job, 7.5):
        job.send_signal(signal.SIGTERM)
        if not await ended(job, 2.5):
            job.kill()
            await job.wait()


@pytest.mark.parametrize("way", ["kubeconfig", "http"])
async def test_after_a_cancelled_job_all_traffic_is_at_stable(stage: Stage, way: str) -> None:
    job = await stage.job(way)
    name = await id_of(job)
    await stage.until(name, lambda made: made.status.weight > 0, 60)
    cancelling = asyncio.create_task(cancelled(job))
    took = await stage.until(name, lambda made: made.spec.abort is not None, 7.5)
    assert took < 1
    await cancelling
    await stage.until(name, lambda made: made.status.phase.terminal, 30)
    assert (await stage.release(name)).status.phase is Phase.ABORTED
    assert await stage.split() == {"v1": 100}
    await job.communicate()
    assert job.returncode == 130


@pytest.mark.parametrize("way", ["kubeconfig", "http"])
async def test_after_a_cancelled_job_that_detaches_the_release_runs_and_the_log_names_it(
    stage: Stage, way: str, tmp_path: Path
) -> None:
    file = tmp_path / "release.env"
    job = await stage.job(way, "--on-cancel", "detach", "--dotenv", str(file))
    name = await id_of(job)
    await stage.until(name, lambda made: made.status.weight > 0, 60)
    await cancelled(job)
    _, err = await job.communicate()
    left = await stage.release(name)
    assert left.spec.abort is None
    assert not left.status.phase.terminal
    assert name in err.decode()
    assert "ROLLOUT_RESULT=running" in file.read_text()
    # The next job takes it in hand.
    abort = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "rollout", "-n", shop.NAMESPACE, "abort", name),
        env={**os.environ, **stage.ways[way]},
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await abort.wait() == 0
    await stage.until(name, lambda made: made.status.phase.terminal, 30)
    assert await stage.split() == {"v1": 100}
