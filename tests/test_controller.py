"""What wakes a release, how often, and what a controller leaves behind when it is stopped."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from rollout import controller as module
from rollout.adapters.clock import SystemClock
from rollout.controller import PATIENCE, Controller, WakeQueue
from rollout.core.release import Phase, Release
from rollout.core.route import Problem
from rollout.ports import Outage, World
from rollout.reconciler import Key, Reconciler
from tests import given
from tests.fakes.announcer import FakeAnnouncer
from tests.fakes.clock import FakeClock
from tests.fakes.freezes import FakeFreezes
from tests.fakes.gatekeeper import FakeGatekeeper
from tests.fakes.mesh import FakeMesh
from tests.fakes.metrics import FakeMetrics
from tests.fakes.notifier import FakeNotifier
from tests.fakes.preflight import FakePreflight
from tests.fakes.releases import FakeReleases
from tests.fakes.workloads import FakeWorkloads

ONE, OTHER = ("shop", "one"), ("shop", "other")
PATIENT = 10.0
"""Seconds until a condition that never comes true fails a test."""


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENT):
        while not condition():
            await asyncio.sleep(0.005)


async def nothing_happens(condition: Callable[[], bool]) -> None:
    """Let everything run that can run now; the condition must not come true."""
    for _ in range(50):
        await asyncio.sleep(0)
        assert not condition()


class Worker:
    """Works on keys of a queue, one after the other, each for as long as it is told."""

    def __init__(self, queue: WakeQueue) -> None:
        self.queue = queue
        self.begun: list[Key] = []
        self.go_on = asyncio.Semaphore(0)

    async def run(self) -> None:
        while True:
            async with self.queue.next() as key:
                self.begun.append(key)
                await self.go_on.acquire()


@contextlib.asynccontextmanager
async def running(*jobs: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_key_waits_once_however_often_it_is_woken() -> None:
    queue = WakeQueue()
    for key in (ONE, OTHER, ONE, ONE):
        await queue.wake(key)
    worker = Worker(queue)
    worker.go_on = asyncio.Semaphore(10)
    async with running(worker.run()):
        await eventually(lambda: len(worker.begun) == 2)
        await nothing_happens(lambda: len(worker.begun) > 2)
    assert worker.begun == [ONE, OTHER]


async def test_a_key_is_never_worked_on_twice_at_a_time() -> None:
    queue = WakeQueue()
    first, second = Worker(queue), Worker(queue)
    async with running(first.run(), second.run()):
        await queue.wake(ONE)
        await eventually(lambda: len(first.begun) + len(second.begun) == 1)
        await queue.wake(ONE)
        await nothing_happens(lambda: len(first.begun) + len(second.begun) > 1)
        await queue.wake(OTHER)
        await eventually(lambda: len(first.begun) + len(second.begun) == 2)


async def test_wakes_during_work_lead_to_one_more_run() -> None:
    queue = WakeQueue()
    worker = Worker(queue)
    async with running(worker.run()):
        await queue.wake(ONE)
        await eventually(lambda: worker.begun == [ONE])
        for _ in range(3):
            await queue.wake(ONE)
        worker.go_on.release()
        await eventually(lambda: worker.begun == [ONE, ONE])
        worker.go_on.release()
        await nothing_happens(lambda: len(worker.begun) > 2)


async def test_work_that_fails_gives_its_key_back() -> None:
    queue = WakeQueue()
    await queue.wake(ONE)
    with contextlib.suppress(ValueError):
        async with queue.next():
            raise ValueError
    await queue.wake(ONE)
    async with asyncio.timeout(PATIENT), queue.next() as key:
        assert key == ONE


class Scripted(Reconciler):
    """Does what a test says in place of a cycle."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.cycles: list[Key] = []
        self.does: Callable[[Key], timedelta | None] = lambda _: None
        self.interrupted: list[Key] = []

    async def reconcile(self, key: Key) -> timedelta | None:
        self.cycles.append(key)
        return self.does(key)

    def interrupt(self, release: Release) -> None:
        self.interrupted.append(release.key)


class House:
    """A controller, and what it watches."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.releases = FakeReleases(self.clock)
        self.world = World(
            self.releases,
            FakeMesh(),
            FakeWorkloads(),
            FakeMetrics(),
            NoPolicies(),
            FakePreflight(),
            FakeAnnouncer(),
            FakeFreezes(),
            FakeGatekeeper(),
            FakeNotifier(),
            self.clock,
        )
        self.reconciler = Scripted(self.world)
        self.reloads = 0
        self.controller = self.with_reconciler(self.reconciler)

    def with_reconciler(self, reconciler: Reconciler) -> Controller:
        return Controller(self.releases, reconciler, self.clock, namespaces=("shop",), reload=self._count_reload)

    def _count_reload(self) -> None:
        self.reloads += 1

    async def create(self, name: str) -> None:
        await self.releases.create("shop", name, given.spec())


class NoPolicies:
    async def find(self, namespace: str, service: str) -> Problem:
        del namespace, service
        return Problem("no-policy", "nobody wrote one")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for another try."""
    monkeypatch.setattr(module, "LONGEST_BACKOFF_S", 0.01)
    monkeypatch.setattr(module, "AFTER_AN_OUTAGE", timedelta(milliseconds=10))


async def test_releases_are_looked_at_whether_they_were_there_or_came_later() -> None:
    house = House()
    await house.create("one")
    async with running(house.controller.run()):
        await eventually(lambda: ONE in house.reconciler.cycles)
        await house.create("other")
        await eventually(lambda: OTHER in house.reconciler.cycles)


async def test_a_wish_interrupts_the_look_under_way_and_leads_to_another() -> None:
    house = House()
    await house.create("one")
    async with running(house.controller.run()):
        await eventually(lambda: house.reconciler.cycles == [ONE])
        release = await house.releases.get(*ONE)
        assert release is not None
        await house.releases.wish(release, release.spec.model_copy(update={"abort": given.wish()}))
        await eventually(lambda: house.reconciler.cycles == [ONE, ONE])
        assert house.reconciler.interrupted == [ONE, ONE]


async def test_a_cycle_that_asks_for_more_gets_it_at_once_or_later() -> None:
    house = House()
    answers = iter([timedelta(0), timedelta(milliseconds=20), None])
    house.reconciler.does = lambda _: next(answers)
    await house.create("one")
    async with running(house.controller.run()):
        await eventually(lambda: len(house.reconciler.cycles) == 3)
        await nothing_happens(lambda: len(house.reconciler.cycles) > 3)


async def test_a_newer_requeue_replaces_the_older_one() -> None:
    house = House()
    answers = iter([timedelta(hours=1), timedelta(milliseconds=20), None])
    house.reconciler.does = lambda _: next(answers)
    await house.create("one")
    async with running(house.controller.run()):
        await eventually(lambda: len(house.reconciler.cycles) == 1)
        await eventually(lambda: len(jobs(house.controller)) == 1)
        await house.controller._queue.wake(ONE)
        await eventually(lambda: len(house.reconciler.cycles) == 3)
        await eventually(lambda: not jobs(house.controller))


def jobs(controller: Controller) -> list[str]:
    """Keys that will be woken later."""
    return ["/".join(key) for key in controller._timers]


@pytest.mark.usefixtures("quick")
async def test_an_outage_is_not_the_end_of_anything() -> None:
    house = House()
    failures = iter([Outage("no answer")] * 3)

    def does(_: Key) -> None:
        for failure in failures:
            raise failure

    house.reconciler.does = does
    await house.create("one")
    async with running(house.controller.run()):
        await eventually(lambda: len(house.reconciler.cycles) == 4)
        assert house.controller.is_ready()


@pytest.mark.usefixtures("quick")
async def test_a_watch_that_breaks_is_begun_again_with_all_there_is() -> None:
    house = House()
    async with running(house.controller.run()):
        await house.create("one")
        await eventually(lambda: ONE in house.reconciler.cycles)
        house.releases.fail("no answer")
        await nothing_happens(lambda: OTHER in house.reconciler.cycles)
        house.releases.recover()
        await house.create("other")
        await eventually(lambda: OTHER in house.reconciler.cycles)


@pytest.mark.usefixtures("quick")
async def test_a_defect_in_one_release_does_not_stop_the_others() -> None:
    house = House()

    def does(key: Key) -> None:
        if key == ONE:
            raise ZeroDivisionError

    house.reconciler.does = does
    await house.create("one")
    async with running(house.controller.run()):
        await eventually(lambda: house.reconciler.cycles.count(ONE) > 2)
        await house.create("other")
        await eventually(lambda: OTHER in house.reconciler.cycles)


async def test_resync_wakes_what_a_watch_may_have_lost() -> None:
    house = House()
    await house.create("one")
    async with running(house.controller.run()):
        await eventually(lambda: house.reconciler.cycles == [ONE])
        await house.controller._resync()
        await eventually(lambda: house.reconciler.cycles == [ONE, ONE])
        house.releases.fail("no answer")
        await house.controller._resync()
        house.releases.recover()


async def test_policies_are_reloaded_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELOAD", timedelta(milliseconds=10))
    house = House()
    async with running(house.controller.run()):
        await eventually(lambda: house.reloads > 1)


async def test_a_controller_is_unready_only_while_the_api_server_fails_for_long() -> None:
    house = House()
    clock = FakeClock(given.NOW)
    idle = Controller(house.releases, house.reconciler, clock, namespaces=(), reload=house._count_reload)
    clock.advance(10 * PATIENCE)
    assert idle.is_ready()
    idle._api_failed(Outage("no answer"))
    assert idle.is_ready()
    clock.advance(PATIENCE / 2)
    idle._api_failed(Outage("no answer"))
    clock.advance(PATIENCE / 2)
    assert not idle.is_ready()
    idle._api_answered()
    assert idle.is_ready()


async def test_it_stops_cleanly_in_the_middle_of_work() -> None:
    house = House()
    house.reconciler.does = lambda _: timedelta(hours=1)
    for name in ("one", "other"):
        await house.create(name)
    run = asyncio.create_task(house.controller.run())
    await eventually(lambda: len(jobs(house.controller)) == 2)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    await eventually(lambda: not house.controller._scheduler.running)


async def test_a_real_reconciler_carries_a_release_to_its_end() -> None:
    house = House()
    await house.create("one")
    finished: list[str] = []

    async def look() -> None:
        while not finished:
            release = await house.releases.get(*ONE)
            if release is not None and release.status.phase.terminal and not release.status.outbox:
                finished.append(release.status.reason)
            await asyncio.sleep(0.005)

    async with running(house.with_reconciler(Reconciler(house.world)).run(), look()):
        await eventually(lambda: finished == ["NoPolicy"])


async def test_looks_that_hang_keep_nobody_else_waiting() -> None:
    class Hanging(Scripted):
        async def reconcile(self, key: Key) -> timedelta | None:
            self.cycles.append(key)
            if key[1].startswith("slow"):
                await asyncio.Event().wait()
            return None

    house = House()
    hanging = Hanging(house.world)
    for number in range(100):
        await house.create(f"slow-{number}")
    await house.create("urgent")
    async with running(house.with_reconciler(hanging).run()):
        await eventually(lambda: ("shop", "urgent") in hanging.cycles)


@pytest.mark.usefixtures("quick")
async def test_an_object_that_nobody_thought_of_does_not_blind_the_watch() -> None:
    class Breaking(FakeReleases):
        broken = 3

        async def watch(self, namespace: str | None) -> AsyncGenerator[Release, None]:
            if self.broken:
                self.broken -= 1
                raise OverflowError("date value out of range")
            async with contextlib.aclosing(super().watch(namespace)) as releases:
                async for release in releases:
                    yield release

    house = House()
    house.releases = Breaking(house.clock)
    await house.create("one")
    async with running(house.with_reconciler(house.reconciler).run()):
        await eventually(lambda: ONE in house.reconciler.cycles)


async def test_a_release_that_is_over_costs_nothing() -> None:
    house = House()
    await house.create("one")
    release = await house.releases.get(*ONE)
    assert release is not None
    await house.releases.save(release, release.status.model_copy(update={"phase": Phase.PROMOTED}))
    await house.create("other")
    async with running(house.controller.run()):
        await eventually(lambda: OTHER in house.reconciler.cycles)
    assert ONE not in house.reconciler.cycles
