"""The log and Kubernetes Events together: the log is told at once and once, Events are owed."""

from datetime import UTC, datetime

import pytest

from rollout.adapters.announcers import Announcers
from rollout.core.events import Notice
from rollout.core.release import Release, ReleaseSpec, Status
from rollout.ports import Outage
from tests.fakes.announcer import FakeAnnouncer

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class CountingLog(FakeAnnouncer):
    """A log knows no duplicates: it has a line for each time it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[str, int]] = []

    async def announce(self, release: Release, notice: Notice) -> None:
        await super().announce(release, notice)
        self.written.append((release.uid, notice.sequence))


def notices(*numbers: int) -> tuple[Notice, ...]:
    return tuple(Notice(sequence=number, at=NOON, name="step.held") for number in numbers)


def release(uid: str = "uid", outbox: tuple[Notice, ...] = ()) -> Release:
    spec = ReleaseSpec(service="checkout", version="v2")
    return Release(namespace="shop", name=f"one-{uid}", uid=uid, spec=spec, status=Status(outbox=outbox))


@pytest.fixture
def log() -> CountingLog:
    return CountingLog()


@pytest.fixture
def events() -> FakeAnnouncer:
    return FakeAnnouncer()


@pytest.fixture
def both(log: CountingLog, events: FakeAnnouncer) -> Announcers:
    return Announcers(log, events)


async def test_both_are_told(both: Announcers, log: CountingLog, events: FakeAnnouncer) -> None:
    (one,) = notices(1)
    await both.announce(release(), one)
    await both.record(release(), "judge.looked", {"evidence": 1.0})
    assert log.told == events.told == {"one-uid": {1: "step.held"}}
    assert log.lines == events.lines == [("one-uid", "judge.looked")]


async def test_the_log_repeats_no_line_while_an_event_has_to_wait(
    both: Announcers, log: CountingLog, events: FakeAnnouncer
) -> None:
    one, two = notices(1, 2)
    events.outage = "down"
    for _ in range(3):
        with pytest.raises(Outage):
            await both.announce(release(outbox=(one, two)), one)
    events.outage = ""
    for notice in (one, two):
        await both.announce(release(outbox=(one, two)), notice)
    assert log.written == [("uid", 1), ("uid", 2)]
    assert events.names("one-uid") == ["step.held", "step.held"]


async def test_what_comes_after_an_event_that_waits_is_in_the_log_at_once(
    both: Announcers, log: CountingLog, events: FakeAnnouncer
) -> None:
    events.outage = "down"
    one, two, three = notices(1, 2, 3)
    with pytest.raises(Outage):
        await both.announce(release(outbox=(one, two)), one)
    assert log.written == [("uid", 1), ("uid", 2)]
    with pytest.raises(Outage):
        await both.announce(release(outbox=(one, two, three)), one)
    assert log.written == [("uid", 1), ("uid", 2), ("uid", 3)]


async def test_releases_are_told_apart_by_their_uid(both: Announcers, log: CountingLog) -> None:
    (one,) = notices(1)
    for uid in ("a", "b", "a"):
        await both.announce(release(uid), one)
    assert log.written == [("a", 1), ("b", 1)]


async def test_what_is_remembered_of_old_releases_has_an_end(both: Announcers, log: CountingLog) -> None:
    (one,) = notices(1)
    for number in range(5000):
        await both.announce(release(str(number)), one)
    assert len(both._logged) < 5000
    await both.announce(release("4999"), one)
    assert len(log.written) == 5000
