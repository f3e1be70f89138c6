"""However a world ends, nothing of it is left."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from rollout.sandbox.control_plane import KubernetesMissingError, find_assets
from rollout.sandbox.world import World

pytestmark = [pytest.mark.envoy, pytest.mark.prometheus]

PROGRAM = """
import asyncio, json, pathlib, sys
from rollout.sandbox.world import World

async def main(directory):
    async with World(directory, kubernetes="kubernetes" in sys.argv) as world:
        (directory / "pids.tmp").write_text(json.dumps([child.pid for child in world.children]))
        (directory / "pids.tmp").rename(directory / "pids")
        await asyncio.sleep(120)

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)  # noqa: TID251 - nothing else runs in this test
    return True


@pytest.fixture
def kubernetes() -> None:
    try:
        find_assets()
    except KubernetesMissingError as missing:
        pytest.skip(str(missing))


async def test_leaving_stops_every_child_and_frees_every_port(tmp_path: Path) -> None:
    await leave(World(tmp_path, load=False), children=4)


@pytest.mark.usefixtures("kubernetes")
async def test_leaving_stops_a_control_plane_too(tmp_path: Path) -> None:
    await leave(World(tmp_path, load=False, kubernetes=True), children=7)


async def leave(world: World, children: int) -> None:
    async with world:
        pids = [child.pid for child in world.children]
        ports = set().union(*(child.listens_on() for child in world.children))
        assert len(pids) == children
        assert all(map(running, pids))
        assert (await world.counts()).sent == 0
    assert not any(map(running, pids))
    for port in ports:
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)


async def test_cancelling_the_start_leaves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    entering = asyncio.create_task(world.__aenter__())

    async def three_run() -> None:
        while sum((tmp_path / f"{name}.log").exists() for name in ("prometheus", "service", "envoy")) < 3:
            await asyncio.sleep(0.005)

    async with asyncio.timeout(10):
        await three_run()
    children = [world.prometheus.child, world.node.child, world.envoy.child]
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert not any(running(child.pid) for child in children)


def test_no_child_survives_its_parent(tmp_path: Path) -> None:
    ends = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
    lose({tmp_path / end.name: end for end in ends}, children=4)


@pytest.mark.usefixtures("kubernetes")
def test_no_control_plane_survives_its_parent(tmp_path: Path) -> None:
    lose({tmp_path / "killed": signal.SIGKILL}, "kubernetes", children=7)


def lose(homes: dict[Path, signal.Signals], *how: str, children: int) -> None:
    with ExitStack() as stack:
        parents = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", PROGRAM, str(home), *how], stderr=subprocess.DEVNULL)
            )
            for home in homes
        ]
        try:
            assert within(
                90,
                lambda: (
                    all((home / "pids").exists() for home in homes)
                    or any(parent.poll() is not None for parent in parents)
                ),
            )
            pids = [pid for home in homes for pid in json.loads((home / "pids").read_text())]
            assert len(pids) == children * len(homes)
            assert all(running(pid) for pid in pids)
        finally:
            for parent, end in zip(parents, homes.values(), strict=True):
                parent.send_signal(end)
        for parent in parents:
            parent.wait(10)
    assert within(5, lambda: not any(running(pid) for pid in pids))
