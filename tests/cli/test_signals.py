"""Ctrl-C and a cancelled CI job, on the real process and a real API: the abort is written within a second.

Over a kubeconfig and over HTTP alike.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster
from rollout.adapters.releases import ClusterReleases
from rollout.commands import LocalDesk
from rollout.core.release import Cause, Phase, Reason, Release
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.api.house import ANN, House, served
from tests.fakes.freezes import FakeFreezes
from tests.given import release

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def _dies_with_us() -> None:
    """prctl(2), PR_SET_PDEATHSIG: a killed test run leaves nothing that waits for 90 minutes."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


class World:
    """An API server, and `rollout start --wait` as a process of its own."""

    def __init__(self, server: KubernetesServer, releases: ClusterReleases, environ: dict[str, str]) -> None:
        self.server = server
        self.releases = releases
        self.environ = environ
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> Release:
        """Returns once the id was printed and the release is being followed."""
        arguments = ["-n", "shop", "start", "checkout", "--version", "v2"]
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rollout", *arguments, "--wait", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self.environ},
            start_new_session=True,
            preexec_fn=_dies_with_us,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            name = (await self.process.stdout.readline()).decode().strip()
        made = await self.release()
        assert made.name == name
        return made

    async def release(self) -> Release:
        [found] = await self.releases.list("shop")
        return found

    async def until(self, true: Callable[[Release], bool], within: float = 10.0) -> float:
        """Seconds until the release is so."""
        began = time.monotonic()
        while not true(await self.release()):
            assert time.monotonic() - began < within, "not in time"
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> tuple[int, str]:
        assert self.process is not None
        async with asyncio.timeout(20):
            _, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()

    async def save(self, phase: Phase) -> None:
        """What the controller does."""
        cause = Cause(kind="person", reason=Reason.ABORTED, message="by CI")
        await self.releases.save(await self.release(), release(phase, cause=cause if phase.terminal else None).status)


@asynccontextmanager
async def way(name: str, releases: ClusterReleases, kubeconfig: Path) -> AsyncIterator[dict[str, str]]:
    """What a command must know to ask for releases."""
    if name == "kubeconfig":
        yield {"KUBECONFIG": str(kubeconfig)}
        return
    house, clock = House(), SystemClock()
    desk = LocalDesk(releases, FakeFreezes(), clock)
    house.but(desk=desk, clock=clock, unchanged=lambda _: False, look_seconds=0.1)
    async with served(house) as api:
        yield {"ROLLOUT_SERVER": api.url, "ROLLOUT_TOKEN": ANN}


@pytest.fixture(params=["kubeconfig", "http"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server = KubernetesServer()
    await server.start()
    kubeconfig = tmp_path / "kubeconfig"
    server.write_kubeconfig(kubeconfig)
    try:
        async with await Cluster.connect(kubeconfig, None) as cluster:
            await cluster.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
            releases = ClusterReleases(cluster)
            async with way(request.param, releases, kubeconfig) as environ:
                world = World(server, releases, environ)
                yield world
                if world.process is not None:
                    if world.process.returncode is None:
                        with contextlib.suppress(ProcessLookupError):
                            os.killpg(world.process.pid, signal.SIGKILL)
                    await world.process.communicate()
    finally:
        await server.stop()


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_writes_the_abort_within_a_second_and_waits_for_the_traffic(
    world: World, number: signal.Signals
) -> None:
    await world.start()
    await world.save(Phase.ANALYSING)
    world.signal(number)
    assert await world.until(lambda made: made.spec.abort is not None) < 1
    assert world.process is not None
    assert world.process.returncode is None
    await world.save(Phase.ABORTED)
    code, err = await world.ended()
    assert code == 128 + number
    assert "Traceback" not in err


async def test_a_hanging_request_does_not_delay_the_abort(world: World) -> None:
    await world.start()
    hangs = {"verb": "get", "resource": "releases", "delay_ms": 4000, "times": 1}
    world.server.faults.add(**hangs)
    deadline = time.monotonic() + 5
    while world.server.faults.rules:  # until the poll under way is the one that hangs
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    world.signal(signal.SIGINT)
    assert await world.until(lambda made: made.spec.abort is not None) < 1


async def test_a_second_signal_ends_it_at_once_and_the_abort_stands(world: World) -> None:
    await world.start()
    world.signal(signal.SIGINT)
    await world.until(lambda made: made.spec.abort is not None)
    world.signal(signal.SIGTERM)
    assert (await world.ended())[0] == 143


async def test_a_signal_while_starting_aborts_what_was_created(world: World) -> None:
    world.server.faults.add(verb="create", resource="releases", delay_ms=1000, when="after", times=1)
    starting = asyncio.create_task(world.start())
    began = time.monotonic()
    while not await world.releases.list("shop"):
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.01)
    world.signal(signal.SIGINT)
    await starting
    await world.until(lambda made: made.spec.abort is not None)
    await world.save(Phase.ABORTED)
    assert (await world.ended())[0] == 130


async def test_a_second_signal_leaves_reports_that_tell_how_far_it_came(world: World, tmp_path: Path) -> None:
    file, output = tmp_path / "release.env", tmp_path / "output"
    world.environ |= {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(output)}
    made = await world.start("--dotenv", str(file))
    await world.save(Phase.ANALYSING)
    world.signal(signal.SIGINT)
    await world.until(lambda made: made.spec.abort is not None)
    world.signal(signal.SIGTERM)
    assert (await world.ended())[0] == 143
    assert f"ROLLOUT_RELEASE_ID={made.name}\n" in file.read_text()
    assert "ROLLOUT_RESULT=running\nROLLOUT_REASON" in file.read_text()
    assert output.read_text().splitlines()[-1] == "exit_code=143"


async def test_who_detaches_leaves_a_release_that_the_log_names(world: World) -> None:
    made = await world.start("--on-cancel", "detach")
    await world.save(Phase.ANALYSING)
    world.signal(signal.SIGINT)
    code, err = await world.ended()
    assert code == 130
    assert f"rollout wait {made.name}" in err
    assert (await world.release()).spec.abort is None
