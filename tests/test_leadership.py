"""Leading, standing by, following, ending: the loop around the Lease while all goes well."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from rollout import telemetry
from rollout.core.lease import Claim, Lease
from rollout.leadership import PATIENCE_S, Leadership, StuckError, new_identity
from rollout.ports import Conflict, Outage, Refused
from tests.fakes.leases import FakeLease, Line
from tests.lease_house import TIMING, eventually, house, now, play, told


@pytest.fixture(autouse=True)
def events() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


# acquiring


def test_a_free_lease_is_acquired_at_once_and_kept(events: list[Any]) -> None:
    async def story() -> None:
        async with house() as one:
            began = now()
            leader = one.start("a")
            await eventually(lambda: leader.works)
            assert now() - began < 0.1
            assert telemetry.LEADER._value.get() == 1
            await asyncio.sleep(300)
            assert leader.works
            assert len(leader.began) == 1
            assert one.lease.lease is not None
            assert (one.lease.lease.holder, one.lease.lease.duration, one.lease.lease.transitions) == ("a", 15, 0)
        assert told(events, "leader.acquired")[0]["epoch"] == 0

    play(story())


def test_a_standby_does_nothing_and_is_ready_all_the_same() -> None:
    async def story() -> None:
        async with house() as one:
            first, second = await one.leader_and_standby()
            await asyncio.sleep(300)
            assert first.works
            assert not second.began
            assert second.leadership.is_ready()
            with pytest.raises(Outage):
                second.leadership.fence()

    play(story())


def test_of_many_who_come_at_once_one_leads() -> None:
    async def story() -> None:
        async with house() as one:
            all_of_them = [one.start(name) for name in "abcdef"]
            await asyncio.sleep(60)
            assert [process.works for process in all_of_them].count(True) == 1
            assert sum(len(process.began) for process in all_of_them) == 1

    play(story())


# a leader that is gone


def test_who_dies_is_followed_within_the_lease_time_and_a_second(events: list[Any]) -> None:
    async def story() -> None:
        async with house() as one:
            first, second = await one.leader_and_standby()
            first.line.hanging = True
            died = now()
            await eventually(lambda: second.works)
            assert now() - died <= TIMING.duration + 1
            assert told(events, "leader.acquired")[-1]["epoch"] == 1
            assert one.lease.lease is not None
            assert (one.lease.lease.holder, one.lease.lease.transitions) == ("b", 1)

    play(story())


def test_who_is_stopped_ends_its_work_first_and_is_followed_at_once(events: list[Any]) -> None:
    async def story() -> None:
        async with house() as one:
            first, second = await one.leader_and_standby()
            stopped = now()
            await first.stop()
            assert not first.works
            assert [event["epoch"] for event in told(events, "leader.released")] == [0]
            await eventually(lambda: second.works)
            assert now() - stopped < 0.2
            assert first.wrote[-1] < second.wrote[0]

    play(story())


def test_without_a_watch_a_standby_finds_out_by_asking() -> None:
    async def story() -> None:
        async with house() as one:
            first, second = await one.leader_and_standby()
            second.line.watches = False
            await asyncio.sleep(100)
            assert not second.began
            await first.stop()
            stopped = now()
            await eventually(lambda: second.works)
            assert now() - stopped < 2 * TIMING.retry

    play(story())


def test_a_watch_that_breaks_is_begun_again() -> None:
    async def story() -> None:
        async with house() as one:
            first, second = await one.leader_and_standby()
            second.line.failing = Outage("no answer")
            await asyncio.sleep(TIMING.retry * 2)
            second.line.failing = None
            await asyncio.sleep(TIMING.retry * 3)
            await first.stop()
            stopped = now()
            await eventually(lambda: second.works)
            assert now() - stopped < 0.2

    play(story())


# readiness and ends


def test_a_candidate_is_unready_only_while_the_lease_is_out_of_reach_for_long(events: list[Any]) -> None:
    async def story() -> None:
        async with house() as one:
            process = one.start("a")
            process.line.failing = Refused("leases is forbidden")
            await asyncio.sleep(PATIENCE_S - 1)
            assert process.leadership.is_ready()
            await asyncio.sleep(2)
            assert not process.leadership.is_ready()
            assert len(told(events, "cluster.unavailable")) == 1
            process.line.failing = None
            await eventually(lambda: process.works)
            assert process.leadership.is_ready()

    play(story())


def test_a_claim_that_was_cut_off_by_the_end_is_given_up_all_the_same() -> None:
    async def story() -> None:
        async with house() as one:
            process = one.start("a")
            await asyncio.sleep(0.025)
            process.line.deaf = True
            await eventually(lambda: one.lease.lease is not None)
            await asyncio.sleep(0.1)
            assert not process.works
            process.line.deaf = False
            await process.stop()
            assert one.lease.lease is not None
            assert one.lease.lease.holder == ""

    play(story())


def test_who_never_claimed_anything_leaves_the_lease_alone_at_its_end() -> None:
    async def story() -> None:
        async with house() as one:
            held = one.lease.set("somebody")
            process = one.start("a")
            await asyncio.sleep(5)
            await process.stop()
            assert one.lease.lease == held

    play(story())


def test_an_end_without_the_api_takes_no_longer_than_two_requests(events: list[Any]) -> None:
    async def story() -> None:
        async with house() as one:
            leader, _ = await one.leader_and_standby()
            leader.line.hanging = True
            stopped = now()
            await leader.stop()
            assert now() - stopped <= 2 * TIMING.request + 0.1
            assert not told(events, "leader.released")

    play(story())


def test_a_farewell_that_meets_another_revision_is_tried_again_and_not_for_ever() -> None:
    class Contested(Line):
        conflicts = 0

        async def put(self, claim: Claim, over: Lease | None) -> Lease:
            if not claim.holder and self.conflicts:
                self.conflicts -= 1
                raise Conflict("modified")
            return await super().put(claim, over)

    async def story(conflicts: int, holder: str) -> None:
        async with house() as one:
            process = one.start("a")
            contested = Contested(one.lease)
            contested.conflicts = conflicts
            process.leadership._leases = contested
            await eventually(lambda: process.works)
            await process.stop()
            assert one.lease.lease is not None
            assert one.lease.lease.holder == holder

    play(story(2, ""))
    play(story(99, "a"))


def test_work_that_ends_by_itself_ends_the_run_and_gives_the_lease_up() -> None:
    async def story(error: Exception | None) -> None:
        lease = FakeLease()
        leadership = Leadership(Line(lease), "rollout/rollout", TIMING, "a", asyncio.get_running_loop().time)

        async def work() -> None:
            if error is not None:
                raise error

        if error is None:
            await leadership.run(work)
        else:
            with pytest.raises(ZeroDivisionError):
                await leadership.run(work)
        assert lease.lease is not None
        assert lease.lease.holder == ""

    play(story(None))
    play(story(ZeroDivisionError()))


def test_work_that_fails_when_it_is_ended_is_ended_all_the_same() -> None:
    async def story() -> None:
        lease = FakeLease()
        leadership = Leadership(Line(lease), "rollout/rollout", TIMING, "a", asyncio.get_running_loop().time)

        async def work() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                raise ZeroDivisionError

        run = asyncio.create_task(leadership.run(work))
        await asyncio.sleep(10)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert lease.lease is not None
        assert lease.lease.holder == ""

    play(story())


def test_work_that_cannot_be_ended_ends_the_process_and_lets_nobody_in_early() -> None:
    async def story() -> None:
        lease = FakeLease()
        leadership = Leadership(Line(lease), "rollout/rollout", TIMING, "a", asyncio.get_running_loop().time)
        at_last = asyncio.Event()

        async def work() -> None:
            while not at_last.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await at_last.wait()

        run = asyncio.create_task(leadership.run(work))
        await asyncio.sleep(10)
        run.cancel()
        with pytest.raises(StuckError):
            await run
        with pytest.raises(Outage):
            leadership.fence()
        assert lease.lease is not None
        assert lease.lease.holder == "a"
        at_last.set()
        await asyncio.sleep(0.1)

    play(story())


def test_no_two_processes_are_called_the_same() -> None:
    assert new_identity() != new_identity()
    assert new_identity().count("_") >= 1
