"""Processes that want one Lease, in time that passes as fast as nothing happens; for tests of `leadership.py`."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from rollout.core.lease import Timing
from rollout.leadership import Leadership
from rollout.ports import Outage
from tests.fakes.leases import FakeLease, Line

TIMING = Timing(duration=15, renew_deadline=10, retry=2)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next thing that is due."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        inner: Any = self._selector  # type: ignore[attr-defined]
        select = inner.select

        def jump(timeout: float | None = None) -> Any:
            assert timeout is not None, "everything waits for ever"
            self._now += timeout
            return select(0)

        inner.select = jump

    def time(self) -> float:
        return self._now

    def stand_still(self, seconds: float) -> None:
        """The whole process stops for so long."""
        self._now += seconds


def play(story: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(story)


class Process:
    """A controller that leads or stands by; it notes when it works."""

    def __init__(self, lease: FakeLease, name: str) -> None:
        self.line = Line(lease)
        self.clock = asyncio.get_running_loop().time
        self.leadership = Leadership(self.line, "rollout/rollout", TIMING, name, self.clock)
        self.began: list[float] = []
        self.ended: list[float] = []
        self.wrote: list[float] = []
        self.task = asyncio.create_task(self.leadership.run(self.work))

    @property
    def works(self) -> bool:
        return len(self.began) > len(self.ended)

    async def work(self) -> None:
        self.began.append(self.clock())
        try:
            while True:
                with contextlib.suppress(Outage):
                    self.leadership.fence()
                    self.wrote.append(self.clock())
                await asyncio.sleep(0.05)
        finally:
            self.ended.append(self.clock())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class House:
    """One Lease, and those who want it."""

    def __init__(self) -> None:
        self.lease = FakeLease()
        self.processes: list[Process] = []

    def start(self, name: str) -> Process:
        process = Process(self.lease, name)
        self.processes.append(process)
        return process

    async def leader_and_standby(self) -> tuple[Process, Process]:
        first = self.start("a")
        await eventually(lambda: first.works)
        second = self.start("b")
        await asyncio.sleep(5)
        assert not second.works
        return first, second


@contextlib.asynccontextmanager
async def house() -> AsyncIterator[House]:
    one = House()
    try:
        yield one
    finally:
        for process in one.processes:
            await process.stop()
        writes = sorted(
            (at, process.leadership._candidate.identity) for process in one.processes for at in process.wrote
        )
        turns = [name for (_, before), (_, name) in itertools.pairwise(writes) if name != before]
        assert len(turns) <= max(0, sum(len(process.began) for process in one.processes) - 1)


async def eventually(condition: Callable[[], bool], seconds: float = 100) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def now() -> float:
    return asyncio.get_running_loop().time()


def told(events: list[Any], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]
