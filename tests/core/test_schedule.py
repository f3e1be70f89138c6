"""When a release may start or advance: windows, crons, freezes, in all the ways clocks are set."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.cron import parse_cron
from rollout.core.schedule import WEEKDAYS, Act, Closed, OpenWindow, Schedule, closed, longest_closed

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
OFFICE = {"days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "from": "09:00", "to": "17:00"}


def schedule(
    *windows: dict[str, Any], zone: str = "Europe/Berlin", freezes: tuple[dict[str, Any], ...] = ()
) -> Schedule:
    return Schedule.model_validate({"timeZone": zone, "windows": list(windows), "freezes": list(freezes)})


def at(text: str, zone: str = "Europe/Berlin") -> datetime:
    """An instant: by the clock of a zone, or as its own offset says."""
    given_as = datetime.fromisoformat(text)
    return (given_as if given_as.tzinfo else given_as.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def opens(plan: Schedule, now: datetime, act: Act = "advance") -> datetime | None:
    """When it may go on; `now` where it may."""
    found = closed(plan, now, act)
    return now if found is None else found.until


# What is read


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"timeZone": "Europe/Atlantis"}, "timeZone"),
        ({"timeZone": "localtime"}, "timeZone"),
        ({"windows": [{"days": ["Monday"]}]}, "windows.0.days.0"),
        ({"windows": [{"days": []}]}, "windows.0.days"),
        ({"windows": [{"from": "9:00"}]}, "windows.0.from"),
        ({"windows": [{"from": "24:00"}]}, "windows.0.from"),
        ({"windows": [{"from": "09:00\n"}]}, "windows.0.from"),
        ({"windows": [{"to": "24:01"}]}, "windows.0.to"),
        ({"windows": [{"to": 540}]}, "windows.0.to"),
        ({"windows": [{"cron": "0 9 * *", "for": "1h"}]}, "windows.0.cron"),
        ({"windows": [{"cron": "0 9 * * *"}]}, "windows.0.for"),
        ({"windows": [{"for": "1h"}]}, "windows.0.for"),
        ({"windows": [{"cron": "0 9 * * *", "for": "59s"}]}, "windows.0.for"),
        ({"windows": [{"cron": "0 9 * * *", "for": "61s"}]}, "windows.0.for"),
        ({"windows": [{"cron": "0 9 * * *", "for": "7d1m"}]}, "windows.0.for"),
        ({"windows": [{"cron": "0 9 * * *", "for": "1h", "days": ["Mon"]}]}, "windows.0.cron"),
        ({"windows": [{"cron": "0 9 * * *", "for": "1h", "to": "10:00"}]}, "windows.0.cron"),
        ({"windows": [{"allows": []}]}, "windows.0.allows"),
        ({"windows": [{"allows": ["start"]}]}, "windows"),
        ({"windows": [OFFICE | {"allows": ["advance"]}]}, "windows"),
        ({"freezes": [{"from": "2026-12-24", "until": "2026-12-23"}]}, "freezes.0.until"),
        ({"freezes": [{"from": "2026-12-24T12:00:00Z", "until": "2026-12-24T12:00:00Z"}]}, "freezes.0.until"),
        ({"freezes": [{"from": "2026-12-24T12:00:00Z", "until": "2026-12-22"}]}, "freezes.0.until"),
        ({"freezes": [{"from": "2026-12-24T12:00:00", "until": "2026-12-25"}]}, "freezes.0.from"),
        ({"freezes": [{"from": "2026-02-30", "until": "2026-12-25"}]}, "freezes.0.from"),
        ({"freezes": [{"from": "2026-02-20T25:00:00Z", "until": "2026-12-25"}]}, "freezes.0.from"),
        ({"freezes": [{"from": 20261224, "until": "2026-12-25"}]}, "freezes.0.from"),
        ({"freezes": [{"from": datetime(2026, 12, 24), "until": "2026-12-25"}]}, "freezes.0.from"),  # noqa: DTZ001 - the point
        ({"freezes": [{"from": "2026-12-24", "until": "9999-12-31"}]}, "freezes.0.until"),
        ({"freezes": [{"from": "0001-01-01T00:00:00+02:00", "until": "2026-12-25"}]}, "freezes.0.from"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_where_it_is_wrong(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Schedule.model_validate(fields)
    error = caught.value.errors()[0]
    below = (error["ctx"]["path"],) if error["type"] == "disagree" else ()
    assert ".".join(map(str, (*error["loc"], *below))) == where


def test_a_schedule_is_the_same_after_a_round_trip_through_its_wire_form() -> None:
    plan = schedule(
        OFFICE,
        {"cron": "0 22 * * *", "for": "4h", "allows": ["advance"]},
        freezes=(
            {"from": "2026-12-24", "until": "2027-01-03", "reason": "Christmas"},
            {"from": "2026-11-27T07:00:00+01:00", "until": "2026-11-28"},
        ),
    )
    assert Schedule.model_validate(plan.wire()) == plan
    assert Schedule.model_validate_json(plan.model_dump_json(by_alias=True)) == plan
    assert plan.wire()["freezes"][1] == {"from": "2026-11-27T06:00:00.000Z", "until": "2026-11-28", "reason": ""}


def test_dates_may_come_as_dates() -> None:
    freeze = {"from": date(2026, 12, 24), "until": datetime(2026, 12, 25, tzinfo=UTC)}
    assert opens(schedule(freezes=(freeze,)), at("2026-12-24T12:00")) == at("2026-12-25T00:00Z")


# Windows


def test_without_windows_and_freezes_it_is_always_open() -> None:
    assert closed(Schedule(), at("2026-11-21T12:00"), "start") is None
    assert closed(Schedule(), datetime.max.replace(tzinfo=UTC), "start") is None


def test_a_window_is_open_from_its_first_minute_until_its_last_is_over() -> None:
    plan, monday = schedule(OFFICE), at("2026-11-23T09:00")
    assert opens(plan, at("2026-11-20T16:59:59.999")) == at("2026-11-20T16:59:59.999")
    assert opens(plan, at("2026-11-20T17:00")) == monday
    assert opens(plan, at("2026-11-23T08:59:59.999")) == monday
    assert opens(plan, monday) == monday


def test_the_sentence_says_until_when_by_the_clock_of_the_zone() -> None:
    plan = schedule(OFFICE, freezes=({"from": "2026-12-21", "until": "2027-01-03", "reason": "Christmas"},))
    assert closed(plan, at("2026-11-20T18:00"), "start") == Closed(
        at("2026-11-23T09:00"), "outside the windows of its schedule until Mon 09:00 Europe/Berlin"
    )
    assert closed(plan, at("2026-12-21T00:00"), "start") == Closed(
        at("2027-01-04T09:00"),
        "frozen by its schedule until Mon 2027-01-04 09:00 Europe/Berlin: Christmas",
        frozen=True,
    )
    # Nobody looks at a Friday evening and thinks of Christmas: it opens after both.
    assert opens(plan, at("2026-12-18T17:00")) == at("2027-01-04T09:00")


def test_starting_and_advancing_may_have_windows_of_their_own() -> None:
    plan = schedule({"from": "09:00", "to": "12:00", "allows": ["start"]}, {"allows": ["advance"]})
    afternoon = at("2026-11-21T13:00")
    assert opens(plan, afternoon, "advance") == afternoon
    assert opens(plan, afternoon, "start") == at("2026-11-22T09:00")


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    plan = schedule({"days": ["Fri"], "from": "22:00", "to": "06:00"})
    assert opens(plan, at("2026-11-21T05:59")) == at("2026-11-21T05:59")
    assert opens(plan, at("2026-11-21T06:00")) == at("2026-11-27T22:00")
    assert opens(plan, at("2026-11-21T22:30")) == at("2026-11-27T22:00")


def test_a_window_from_a_time_to_the_same_time_is_a_whole_day() -> None:
    plan = schedule({"days": ["Fri"], "from": "12:00", "to": "12:00"})
    assert opens(plan, at("2026-11-21T11:59")) == at("2026-11-21T11:59")
    assert opens(plan, at("2026-11-21T12:00")) == at("2026-11-27T12:00")


def test_a_cron_opens_for_its_time_and_over_midnight() -> None:
    plan = schedule({"cron": "0 22 * * FRI", "for": "8h"})
    assert opens(plan, at("2026-11-21T05:59")) == at("2026-11-21T05:59")
    assert opens(plan, at("2026-11-21T06:00")) == at("2026-11-27T22:00")


def test_a_cron_may_stay_open_for_days() -> None:
    plan = schedule({"cron": "0 0 1 * *", "for": "7d"})
    assert opens(plan, at("2026-11-07T23:59")) == at("2026-11-07T23:59")
    assert opens(plan, at("2026-11-08T00:00")) == at("2026-12-01T00:00")


@pytest.mark.parametrize(("now", "year"), [("2028-03-01", 2032), ("2027-01-01", 2028), ("2096-03-01", 2104)])
def test_a_leap_day_is_waited_for(now: str, year: int) -> None:
    plan = schedule({"cron": "30 9 29 2 *", "for": "1h"}, zone="UTC")
    assert opens(plan, at(f"{now}T00:00", "UTC")) == datetime(year, 2, 29, 9, 30, tzinfo=UTC)


def test_a_year_ends_and_the_windows_go_on() -> None:
    assert opens(schedule(OFFICE), at("2026-12-31T17:30")) == at("2027-01-01T09:00")
    assert opens(schedule({"cron": "0 9 1 1 *", "for": "1h"}), at("2026-12-31T23:59")) == at("2027-01-01T09:00")


def test_what_never_opens_again_is_closed_for_ever() -> None:
    plan = schedule(OFFICE, freezes=({"from": "2026-11-01", "until": "9990-01-01"},))
    assert closed(plan, at("2026-11-21T12:00"), "start") == Closed(None, "frozen by its schedule", frozen=True)
    assert opens(plan, datetime.max.replace(tzinfo=UTC)) is None


# Clocks that are set on and back


def test_a_window_in_an_hour_that_is_skipped_does_not_open_that_day() -> None:
    plan = schedule({"from": "02:15", "to": "02:45"})
    assert opens(plan, at("2027-03-27T02:45")) == at("2027-03-29T02:15")


def test_a_window_that_is_skipped_in_part_opens_for_the_rest() -> None:
    plan = schedule({"from": "02:15", "to": "03:30"})
    assert opens(plan, at("2027-03-28T00:00")) == at("2027-03-28T03:00")


def test_a_window_in_an_hour_that_comes_twice_opens_twice() -> None:
    plan = schedule({"from": "02:15", "to": "02:45"})
    first, second = at("2027-10-31T02:15+02:00"), at("2027-10-31T02:15+01:00")
    assert opens(plan, at("2027-10-31T00:00")) == first
    assert opens(plan, first + timedelta(minutes=30)) == second
    assert opens(plan, second + timedelta(minutes=30)) == at("2027-11-01T02:15")


def test_a_cron_whose_minute_is_skipped_opens_when_the_clock_is_set_on() -> None:
    plan = schedule({"cron": "30 2 * * *", "for": "4h"})
    changed = at("2027-03-28T03:00")
    assert opens(plan, at("2027-03-28T01:59")) == changed
    assert opens(plan, changed + timedelta(hours=4)) == at("2027-03-29T02:30")


def test_a_cron_whose_minute_is_not_skipped_does_not_open_when_the_clock_is_set_on() -> None:
    plan = schedule({"cron": "30 1 * * *", "for": "10m"})
    assert opens(plan, at("2027-03-28T01:45")) == at("2027-03-29T01:30")


def test_a_cron_whose_minute_comes_twice_opens_twice() -> None:
    plan = schedule({"cron": "30 2 * * *", "for": "10m"})
    assert opens(plan, at("2027-10-31T02:40+02:00")) == at("2027-10-31T02:30+01:00")


def test_a_day_that_was_skipped_opens_nothing() -> None:
    zone = "Pacific/Apia"
    for window in ({"from": "09:00", "to": "10:00"}, {"cron": "0 9 * * *", "for": "1h"}):
        assert opens(schedule(window, zone=zone), at("2011-12-29T10:00", zone)) == at("2011-12-31T09:00", zone)


def test_tomorrow_may_be_shown_before_today_is_shown_again() -> None:
    # At 00:01 of Sunday clocks went back to 23:01 of Saturday.
    zone = "America/St_Johns"
    plan = schedule({"days": ["Sat"], "from": "23:30", "to": "24:00"}, {"days": ["Sun"], "to": "01:00"}, zone=zone)
    midnight, again = at("2009-11-01T02:30Z"), at("2009-11-01T03:00Z")
    assert opens(plan, midnight) == midnight
    assert opens(plan, midnight + _MINUTE) == again
    assert opens(schedule({"days": ["Sun"], "to": "01:00"}, zone=zone), midnight + _MINUTE) == at("2009-11-01T03:30Z")
    nightly = schedule({"from": "23:45", "to": "00:01"}, zone=zone)
    assert opens(nightly, midnight + _MINUTE) == midnight + timedelta(minutes=45)


# Freezes


def test_dates_are_frozen_from_their_beginning_to_their_end() -> None:
    plan = schedule(freezes=({"from": "2026-12-24", "until": "2026-12-26"},))
    before, after = at("2026-12-23T23:59:59"), at("2026-12-27T00:00")
    assert opens(plan, before) == before
    assert opens(plan, at("2026-12-24T00:00")) == after
    assert opens(plan, at("2026-12-26T23:59:59.999999")) == after
    assert opens(plan, after) == after


def test_instants_are_frozen_exactly() -> None:
    plan = schedule(freezes=({"from": "2026-12-24T12:00:00Z", "until": "2026-12-24T18:30:00+01:00"},))
    assert opens(plan, at("2026-12-24T12:00Z")) == at("2026-12-24T17:30Z")
    assert opens(plan, at("2026-12-24T17:30Z")) == at("2026-12-24T17:30Z")


def test_freezes_that_follow_one_another_are_waited_for_together() -> None:
    freezes = (
        {"from": "2026-12-26", "until": "2026-12-31"},
        {"from": "2026-12-20", "until": "2026-12-25"},
        {"from": "2026-12-22", "until": "2026-12-23"},
    )
    assert opens(schedule(freezes=freezes), at("2026-12-22T12:00")) == at("2027-01-01T00:00")
    assert opens(schedule(OFFICE, freezes=freezes), at("2026-12-19T12:00")) == at("2027-01-01T09:00")


def test_a_freeze_holds_starting_and_advancing() -> None:
    plan = schedule(freezes=({"from": "2026-12-24", "until": "2026-12-24"},))
    for act in get_args(Act):
        assert closed(plan, at("2026-12-24T12:00"), act) == Closed(
            at("2026-12-25T00:00"), "frozen by its schedule until Fri 00:00 Europe/Berlin", frozen=True
        )


# The longest wait


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([], timedelta()),
        ([{}], timedelta()),
        ([OFFICE], timedelta(hours=64)),
        ([OFFICE | {"allows": ["start"]}, {"allows": ["advance"]}], timedelta()),
        ([OFFICE | {"allows": ["advance"]}, {"allows": ["start"]}], timedelta(hours=64)),
        ([{"from": "22:00", "to": "06:00"}], timedelta(hours=16)),
        ([{"from": "12:00", "to": "12:00"}], timedelta()),
        ([{"days": ["Mon"], "from": "23:00", "to": "22:00"}], timedelta(days=6, hours=1)),
        ([{"days": ["Mon"], "to": "01:00"}, {"days": ["Thu"], "to": "01:00"}], timedelta(days=3, hours=23)),
        ([{"days": ["Mon"], "from": "20:00", "to": "20:00"}, {"days": ["Tue"]}], timedelta(days=5, hours=20)),
        ([{"cron": "* * * * *", "for": "1m"}], timedelta()),
        ([{"cron": "*/2 * * * *", "for": "1m"}], timedelta(minutes=1)),
        ([{"cron": "0 9,15 * * *", "for": "2h"}], timedelta(hours=16)),
        ([{"cron": "0 0 * * MON", "for": "7d"}], timedelta()),
        ([{"cron": "0 0 1 * *", "for": "1h"}], timedelta(days=30, hours=23)),
        ([{"cron": "0 0 31 * *", "for": "1h"}], timedelta(days=60, hours=23)),
        ([{"cron": "0 0 29 2 *", "for": "1h"}], timedelta(days=8 * 365, hours=23)),
        ([{"cron": "0 0 1 1 *", "for": "1h"}, {"days": ["Mon"], "to": "01:00"}], timedelta(days=6, hours=23)),
        ([{"cron": "0 0 1 * MON", "for": "1d"}], timedelta(days=6)),
        # The last Monday of January to the first of the next, over a leap year or not.
        ([{"cron": "0 0 * 1 MON", "for": "1d"}], timedelta(days=342)),
    ],
    ids=str,
)
def test_the_longest_time_between_two_windows(windows: list[dict[str, Any]], expected: timedelta) -> None:
    assert longest_closed(schedule(*windows, zone="UTC")) == expected


def test_where_clocks_are_set_back_a_night_may_be_an_hour_longer() -> None:
    assert longest_closed(schedule(OFFICE)) == timedelta(hours=65)
    assert longest_closed(schedule({})) == timedelta()
    assert longest_closed(schedule()) == timedelta()


def test_freezes_do_not_count_as_a_wait_between_windows() -> None:
    assert longest_closed(schedule(freezes=({"from": "2026-12-20", "until": "2027-12-25"},))) == timedelta()


# Any schedule, against a clock that is looked at minute by minute

_PLACES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "America/Havana", "Asia/Beirut", "Asia/Kathmandu",
    "Africa/Casablanca", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Apia",
)  # fmt: skip
_SET = (
    "2027-03-28T00:50Z", "2027-10-31T00:50Z", "2027-03-14T06:50Z", "2027-11-07T05:50Z", "2009-11-01T02:25Z",
    "2027-03-14T04:50Z", "2027-11-07T04:50Z", "2022-03-26T21:50Z", "2022-10-29T20:50Z", "2027-10-02T15:20Z",
    "2027-04-03T14:50Z", "2027-04-03T14:40Z", "2011-12-30T09:50Z", "2028-02-28T23:00Z", "2026-12-31T22:50Z",
    "2027-02-07T01:55Z",
)  # fmt: skip
"""When a clock is set somewhere, or a day or year is special."""

_times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from((0, 1, 15, 30, 45, 59)))
_days = st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=7)
_weekly = st.fixed_dictionaries({"from": _times, "to": _times | st.just("24:00")}, optional={"days": _days})
_crons = st.fixed_dictionaries(
    {
        "cron": st.sampled_from(
            (
                "30 2 * * *",
                "*/7 0-3 * * *",
                "0 0 * * SUN",
                "0 0 29 2 *",
                "15 23 31 12 *",
                "45 1 1-7 * MON",
                "0 */5 * * *",
            )
        ),
        "for": st.sampled_from(("1m", "7m", "45m", "4h", "26h")),
    }
)
_windows = st.lists(_weekly | _crons, max_size=3)
_moments = st.builds(
    lambda base, ahead: at(base) + timedelta(seconds=ahead), st.sampled_from(_SET), st.floats(-100_000, 100_000)
)
_dates = st.builds(lambda now, ahead: (now + timedelta(days=ahead)).date(), _moments, st.integers(-2, 2))
_freezes = st.lists(
    st.builds(
        lambda first, length: {"from": str(first), "until": str(first + timedelta(days=length))},
        _dates,
        st.integers(0, 2),
    ),
    max_size=2,
)
_plans = st.builds(
    lambda windows, zone, freezes: schedule(*windows, zone=zone, freezes=tuple(freezes)),
    _windows,
    st.sampled_from(_PLACES),
    _freezes,
)


def _is_open(plan: Schedule, now: datetime) -> bool:
    zone = ZoneInfo(plan.time_zone)
    today = now.astimezone(zone).date()
    if any(one.since <= today <= one.until for one in plan.freezes):
        return False
    return not plan.windows or any(_window_is_open(one, zone, now) for one in plan.windows)


def _window_is_open(window: OpenWindow, zone: ZoneInfo, now: datetime) -> bool:
    if window.cron is not None and window.lasts is not None:
        minute = now.replace(second=0, microsecond=0)
        since = (minute - count * _MINUTE for count in range(window.lasts // _MINUTE))
        return any(_begins(window.cron, zone.key, one) for one in since)
    local = now.astimezone(zone)
    clock, days = f"{local:%H:%M}", window.days or WEEKDAYS
    today, yesterday = (WEEKDAYS[(local - ahead).weekday()] in days for ahead in (timedelta(), _DAY))
    if window.opens < window.closes:
        return today and window.opens <= clock < window.closes
    return (today and clock >= window.opens) or (yesterday and clock < window.closes)


@lru_cache(maxsize=100_000)
def _begins(cron: str, place: str, minute: datetime) -> bool:
    """Whether it opens at this minute: the clock shows one of its own, or jumped over one."""
    zone = ZoneInfo(place)
    here, before = minute.astimezone(zone), (minute - _MINUTE).astimezone(zone)
    shown, last = here.replace(tzinfo=None), before.replace(tzinfo=None)
    jump = shown - last - _MINUTE
    passed = [shown] if not timedelta() < jump < timedelta(hours=3) else [last + _MINUTE]
    while passed[-1] < shown:
        passed.append(passed[-1] + _MINUTE)
    parsed = parse_cron(cron)
    return any(
        one.hour * 60 + one.minute in parsed.minutes and parsed.fits(one.month, one.day, one.isoweekday())
        for one in passed
    )


@settings(max_examples=100, deadline=None)
@given(plan=_plans, now=_moments, act=st.sampled_from(get_args(Act)))
def test_it_is_closed_until_the_first_minute_at_which_it_is_open(plan: Schedule, now: datetime, act: Act) -> None:
    found = closed(plan, now, act)
    assert (found is None) == _is_open(plan, now)
    if found is None:
        return
    assert found.until is not None
    assert found.until > now
    assert _is_open(plan, found.until)
    minute = now.replace(second=0, microsecond=0) + _MINUTE
    ahead = (found.until - minute) // _MINUTE
    looks = {*range(min(ahead, 90)), *range(90, ahead, max(1, ahead // 90)), *range(max(0, ahead - 60), ahead)}
    assert [minute + one * _MINUTE for one in sorted(looks) if _is_open(plan, minute + one * _MINUTE)] == []
    assert not _is_open(plan, found.until - timedelta(microseconds=1))


@given(plan=_plans, now=_moments, ahead=st.floats(-1e6, 1e6))
def test_a_clock_that_jumps_changes_nothing_but_the_time(plan: Schedule, now: datetime, ahead: float) -> None:
    first = closed(plan, now, "start")
    closed(plan, now + timedelta(seconds=ahead), "start")
    assert closed(plan, now, "start") == first


@given(windows=st.lists(st.builds(lambda day, hour: (day, hour), _days, st.integers(0, 20)), max_size=3), now=_moments)
def test_nobody_waits_longer_than_the_longest_wait(windows: list[tuple[list[str], int]], now: datetime) -> None:
    made = [{"days": days, "from": f"{hour:02}:00", "to": f"{hour + 4:02}:00"} for days, hour in windows]
    for zone in _PLACES[:-1]:
        plan = schedule(*made, zone=zone)
        assert (opens(plan, now) or now) - now <= longest_closed(plan)


@settings(max_examples=10, deadline=None)
@given(windows=st.lists(_weekly, min_size=1, max_size=3))
def test_the_longest_wait_is_that_of_a_clock_watched_for_two_weeks(windows: list[dict[str, Any]]) -> None:
    plan = schedule(*windows, zone="UTC")
    start = datetime.combine(date(2026, 11, 2), time(), UTC)
    longest = shut = 0
    for minute in range(14 * 1440):
        shut = 0 if _is_open(plan, start + minute * _MINUTE) else shut + 1
        longest = max(longest, shut)
    assert longest_closed(plan) == longest * _MINUTE
