"""What clocks show where they are set on and back: gaps, hours that come twice, odd offsets, a day that was skipped."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.wall_clock import end_of, first_of, shown, spells, zone_named

BERLIN = ZoneInfo("Europe/Berlin")
_PLACES = st.sampled_from(
    (
        "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "America/Havana", "Asia/Beirut",
        "Asia/Kathmandu", "Africa/Casablanca", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Apia",
        "Pacific/Kiritimati",
    )
)  # fmt: skip


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hours(opens: float, closes: float, zone: ZoneInfo, day: date) -> list[tuple[datetime, datetime]]:
    return list(shown(zone, day, timedelta(hours=opens), timedelta(hours=closes)))


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "EST5EDT"])
def test_a_zone_of_the_database_is_known(name: str) -> None:
    assert zone_named(name).key == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Europe",
        "Europe/Atlantis",
        "europe/berlin ",
        "/etc/localtime",
        "../../etc/passwd",
        "Europe/../UTC",
        "localtime",
        "posixrules",
        "right/UTC",
        "posix/UTC",
        "Factory",
        "tzdata.zi",
        "tzdata",
        "zone.tab",
        "Europe\x00Berlin",
        "UTC\n",
        "+01:00",
    ],
)
def test_anything_else_is_no_zone(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        zone_named(name)


def test_an_hour_that_is_skipped_is_never_shown() -> None:
    assert hours(2.25, 2.75, BERLIN, date(2027, 3, 28)) == []
    assert hours(1.5, 3.5, BERLIN, date(2027, 3, 28)) == [
        (at("2027-03-28T00:30"), at("2027-03-28T01:00")),
        (at("2027-03-28T01:00"), at("2027-03-28T01:30")),
    ]


def test_an_hour_that_comes_twice_is_shown_twice() -> None:
    assert hours(2.25, 2.75, BERLIN, date(2027, 10, 31)) == [
        (at("2027-10-31T00:15"), at("2027-10-31T00:45")),
        (at("2027-10-31T01:15"), at("2027-10-31T01:45")),
    ]


def test_a_night_over_a_change_is_shorter_or_longer() -> None:
    def length(day: date) -> timedelta:
        return sum((end - start for start, end in hours(22, 30, BERLIN, day)), timedelta())

    nights = [length(date(2027, 3, 27)), length(date(2027, 7, 1)), length(date(2027, 10, 30))]
    assert nights == [timedelta(hours=7), timedelta(hours=8), timedelta(hours=9)]


def test_half_an_hour_is_set_on_and_back_on_lord_howe() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    assert hours(2, 2.5, zone, date(2026, 10, 4)) == []
    assert len(hours(1.5, 2, zone, date(2027, 4, 4))) == 2


def test_a_day_that_was_skipped_is_never_shown() -> None:
    zone = ZoneInfo("Pacific/Apia")
    assert hours(0, 24, zone, date(2011, 12, 30)) == []
    change = at("2011-12-30T10:00")
    assert (first_of(zone, date(2011, 12, 30)), end_of(zone, date(2011, 12, 30))) == (change, change)
    assert end_of(zone, date(2011, 12, 29)) == change == first_of(zone, date(2011, 12, 31))


def test_a_day_without_midnight_begins_when_the_clock_is_set_on() -> None:
    assert first_of(ZoneInfo("America/Havana"), date(2027, 3, 14)) == at("2027-03-14T05:00")


def test_a_day_whose_last_hour_comes_twice_ends_after_the_second() -> None:
    # At one minute past midnight clocks went back to 23:01: Sunday was shown, then Saturday once more.
    zone = ZoneInfo("America/St_Johns")
    assert first_of(zone, date(2009, 11, 1)) == at("2009-11-01T02:30")
    assert end_of(zone, date(2009, 10, 31)) == at("2009-11-01T03:30")


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [("UTC", "2026-11-21T00:00"), ("Asia/Kathmandu", "2026-11-20T18:15"), ("Pacific/Chatham", "2026-11-20T10:15")],
)
def test_a_day_begins_at_its_own_midnight(zone: str, midnight: str) -> None:
    assert first_of(ZoneInfo(zone), date(2026, 11, 21)) == at(midnight)
    assert end_of(ZoneInfo(zone), date(2026, 11, 21)) == at(midnight) + timedelta(days=1)


@given(name=_PLACES, day=st.dates(date(1980, 1, 1), date(2060, 1, 1)), length=st.integers(0, 400))
def test_a_stretch_of_time_is_cut_exactly_where_the_clock_is_set(name: str, day: date, length: int) -> None:
    zone, second = ZoneInfo(name), timedelta(seconds=1)
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    found = list(spells(zone, since, since + timedelta(days=length)))
    assert (found[0].since, found[-1].until) == (since, since + timedelta(days=length))
    for one, after in pairwise(found):
        assert one.until == after.since
        assert after.offset != one.offset
        assert (one.until - second).astimezone(zone).utcoffset() == one.offset
    for one in found:
        middle = one.since + (one.until - one.since) / 2
        assert {at.astimezone(zone).utcoffset() for at in (one.since, middle)} == {one.offset}
