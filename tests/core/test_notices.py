"""Which news is for whom, and what wakes somebody."""

from datetime import UTC, datetime, timedelta

import pytest

from rollout.core.events import CATALOGUE, Notice, Scalar
from rollout.core.notices import ALARMS, ends, is_moot, must_last, raised_by, sort_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def told(name: str, after: timedelta = timedelta(0), **fields: Scalar) -> Notice:
    return Notice(sequence=1, at=NOON + after, name=name, fields=fields)


@pytest.mark.parametrize(
    ("name", "sort"),
    [
        ("release.started", "started"),
        ("step.started", "steps"),
        ("step.promoted", "steps"),
        ("release.paused", "steps"),
        ("rollback.done", "steps"),
        ("release.succeeded", "ended"),
        ("release.rolled_back", "ended"),
        ("release.aborted", "ended"),
        ("release.failed", "ended"),
        ("release.rejected", "ended"),
        ("rollback.started", "trouble"),
        ("rollback.stuck", "trouble"),
        ("metrics.unavailable", "trouble"),
        ("metrics.restored", "trouble"),
        ("traffic.drift_detected", "trouble"),
        ("release.superseded", "trouble"),
        ("gate.waiting", "steps"),
        ("gate.failed", "trouble"),
        ("history.learned", None),
        ("release.requested", None),
        ("check.passed", None),
        ("what.only.a.newer.version.knows", "steps"),
    ],
)
def test_every_event_has_its_readers(name: str, sort: str | None) -> None:
    assert sort_of(told(name)) == sort


@pytest.mark.parametrize(
    ("why", "sort"), [("UnknownVerdict", "trouble"), ("StableNotReady", "trouble"), ("OutsideWindow", "steps")]
)
def test_a_hold_is_trouble_unless_it_is_only_not_the_time(why: str, sort: str) -> None:
    assert sort_of(told("step.held", reason_code=why)) == sort


def test_alarms_begin_and_end_with_events_of_the_catalogue() -> None:
    for one in ALARMS:
        assert {one.event, *one.ended_by} <= set(CATALOGUE)


@pytest.mark.parametrize(
    ("event", "alarm"),
    [
        (told("rollback.stuck"), "rollback-stuck"),
        (told("traffic.unreadable"), "traffic-unreadable"),
        (told("release.failed", reason_code="RouteGone"), "route-gone"),
        (told("release.failed", reason_code="Deadline"), "release-failed"),
        (told("step.held", reason_code="StableNotReady"), "stable-not-ready"),
    ],
)
def test_each_trouble_raises_its_own_alarm(event: Notice, alarm: str) -> None:
    raised = raised_by(event)
    assert raised is not None
    assert raised.name == alarm


def test_a_clean_rollback_wakes_nobody() -> None:
    story = [
        told("rollback.started", reason_code="CheckFailed"),
        told("rollback.done"),
        told("release.rolled_back", reason_code="CheckFailed"),
    ]
    assert not any(alarm.severity == "critical" for one in story if (alarm := raised_by(one)) is not None)


def test_a_step_that_is_held_for_want_of_evidence_is_no_alarm() -> None:
    assert raised_by(told("step.held", reason_code="UnknownVerdict")) is None


def test_an_alarm_ends_with_what_ends_it_and_with_the_release() -> None:
    stuck = raised_by(told("rollback.stuck"))
    assert stuck is not None
    assert ends(told("rollback.done"), stuck)
    assert ends(told("release.rolled_back"), stuck)
    assert not ends(told("traffic.readable"), stuck)
    assert not ends(told("rollback.stuck"), stuck)


def test_a_route_that_is_gone_is_not_over_with_the_release_that_it_ended() -> None:
    gone = told("release.failed", reason_code="RouteGone")
    alarm = raised_by(gone)
    assert alarm is not None
    assert not ends(gone, alarm)


def test_a_route_that_cannot_be_read_must_last_and_a_rollback_that_does_not_hold_need_not() -> None:
    assert must_last(told("traffic.unreadable"), []) == 5 * MINUTE
    assert must_last(told("rollback.stuck"), []) == timedelta(0)
    assert must_last(told("step.promoted"), []) == timedelta(0)


def test_a_worse_alarm_behind_it_lets_it_wait_no_longer_but_a_smaller_one_does() -> None:
    blind = told("traffic.unreadable")
    assert must_last(blind, [told("step.held"), told("rollback.stuck", MINUTE)]) == timedelta(0)
    assert must_last(blind, [told("metrics.unavailable", MINUTE), told("traffic.unreadable", MINUTE)]) == 5 * MINUTE


def test_what_was_over_before_it_had_lasted_is_moot() -> None:
    blind = told("traffic.unreadable")
    assert is_moot(blind, [told("step.held", MINUTE), told("traffic.readable", MINUTE)])
    assert is_moot(blind, [told("release.aborted", 4 * MINUTE)])
    assert not is_moot(blind, [told("traffic.readable", 6 * MINUTE)])
    assert not is_moot(blind, [])


def test_what_need_not_last_is_never_moot() -> None:
    assert not is_moot(told("rollback.stuck"), [told("rollback.done", MINUTE)])
    assert not is_moot(told("step.promoted"), [told("release.succeeded", MINUTE)])
