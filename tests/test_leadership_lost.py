"""What a leader does that cannot renew: it stops before another begins, whatever the reason, and stands by."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from rollout import telemetry
from rollout.core.lease import DRIFT
from rollout.leadership import since_boot
from rollout.ports import NotFound, Outage, Refused
from tests.fakes.leases import Line
from tests.lease_house import TIMING, FastLoop, eventually, house, now, play, told


@pytest.fixture(autouse=True)
def events() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


# a leader that cannot renew


def _hang(line: Line) -> None:
    line.hanging = True


def _lose_answers(line: Line) -> None:
    line.deaf = True


def _fail(line: Line) -> None:
    line.failing = Outage("connection refused")


def _forbid(line: Line) -> None:
    line.failing = Refused("leases is forbidden")


def _surprise(line: Line) -> None:
    line.failing = KeyError("metadata")


@pytest.mark.parametrize("happens", [_hang, _lose_answers, _fail, _forbid, _surprise])
def test_a_leader_that_cannot_renew_has_stopped_before_another_begins(
    happens: Callable[[Line], None], events: list[Any]
) -> None:
    async def story() -> None:
        async with house() as one:
            first, second = await one.leader_and_standby()
            began = now()
            happens(first.line)
            await eventually(lambda: not first.works)
            assert now() - began <= TIMING.renew_deadline + 0.1
            assert not second.began
            assert not first.task.done()
            assert told(events, "leader.lost")
            await eventually(lambda: second.works)
            assert first.wrote[-1] < second.wrote[0] - (TIMING.duration - TIMING.renew_deadline)
            assert telemetry.LEADER._value.get() == 1

    play(story())


def test_a_leader_whose_answers_are_lost_now_and_then_goes_on() -> None:
    async def story() -> None:
        async with house() as one:
            leader, _ = await one.leader_and_standby()
            for _ in range(20):
                leader.line.deaf = True
                await asyncio.sleep(6)
                leader.line.deaf = False
                await asyncio.sleep(3)
            assert len(leader.began) == 1

    play(story())


def test_who_lost_the_lease_contends_again_in_the_same_process() -> None:
    async def story() -> None:
        async with house() as one:
            first, second = await one.leader_and_standby()
            first.line.hanging = True
            await eventually(lambda: second.works)
            first.line.hanging = False
            await asyncio.sleep(60)
            assert not first.works
            await second.stop()
            await eventually(lambda: first.works)
            assert len(first.began) == 2

    play(story())


def test_who_comes_back_to_its_own_lease_takes_it_up_again() -> None:
    async def story() -> None:
        async with house() as one:
            leader = one.start("a")
            await eventually(lambda: leader.works)
            leader.line.hanging = True
            await eventually(lambda: not leader.works)
            leader.line.hanging = False
            await eventually(lambda: leader.works, seconds=2 * TIMING.retry)
            assert one.lease.lease is not None
            assert one.lease.lease.transitions == 0

    play(story())


def test_a_leader_stops_when_somebody_else_is_written_into_the_lease(events: list[Any]) -> None:
    async def story() -> None:
        async with house() as one:
            leader = one.start("a")
            await eventually(lambda: leader.works)
            one.lease.set("somebody")
            await eventually(lambda: not leader.works, seconds=TIMING.retry + 0.2)
            assert told(events, "leader.lost")[0]["reason"] == "held by somebody"
            await eventually(lambda: leader.works, seconds=TIMING.duration * (1 + DRIFT) + 2 * TIMING.retry)

    play(story())


def test_a_deleted_lease_is_made_again_by_its_holder_who_goes_on() -> None:
    async def story() -> None:
        async with house() as one:
            leader, standby = await one.leader_and_standby()
            one.lease.delete()
            await asyncio.sleep(TIMING.retry * 2)
            assert one.lease.lease is not None
            assert one.lease.lease.holder == "a"
            assert (len(leader.began), len(standby.began)) == (1, 0)

    play(story())


def test_a_deleted_lease_is_not_taken_while_its_holder_may_act() -> None:
    async def story() -> None:
        async with house() as one:
            leader, standby = await one.leader_and_standby()
            leader.line.hanging = True
            one.lease.delete()
            await eventually(lambda: not leader.works)
            assert not standby.began
            await eventually(lambda: standby.works)

    play(story())


def test_a_leader_stops_where_there_can_be_no_lease_any_more(events: list[Any]) -> None:
    async def story() -> None:
        async with house() as one:
            leader = one.start("a")
            await eventually(lambda: leader.works)
            leader.line.failing = NotFound("no such namespace")
            await eventually(lambda: not leader.works, seconds=TIMING.retry + 0.2)
            assert told(events, "leader.lost")[0]["reason"] == "the Lease was deleted"

    play(story())


def test_a_lease_that_is_found_gone_after_a_conflict_is_lost() -> None:
    async def story() -> None:
        async with house() as one:
            leader = one.start("a")
            await eventually(lambda: leader.works)
            leader.leadership._candidate = leader.leadership._candidate.outdated()
            one.lease.delete()
            await eventually(lambda: not leader.works, seconds=TIMING.retry + 0.2)

    play(story())


# time


def test_a_process_that_stood_still_writes_nothing_when_it_goes_on(events: list[Any]) -> None:
    async def story() -> None:
        async with house() as one:
            leader = one.start("a")
            await eventually(lambda: leader.works)
            await asyncio.sleep(1)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, FastLoop)
            loop.stand_still(60)
            woke = now()
            await eventually(lambda: not leader.works)
            assert all(at < woke - 50 for at in leader.wrote)
            assert "stood still" in told(events, "leader.lost")[0]["reason"]

    play(story())


def test_a_write_gets_the_time_until_others_may_take_the_lease() -> None:
    async def story() -> None:
        async with house() as one:
            leader = one.start("a")
            await eventually(lambda: leader.works)
            renewed_at = leader.leadership._candidate.renewed_at
            leader.line.hanging = True
            await asyncio.sleep(5)
            assert leader.leadership.fence() == pytest.approx(renewed_at + 15 - now())
            await asyncio.sleep(renewed_at + TIMING.renew_deadline - now())
            with pytest.raises(Outage):
                leader.leadership.fence()

    play(story())


def test_the_clock_is_never_set_and_does_not_sleep() -> None:
    before = since_boot()
    assert since_boot() >= before >= 0
