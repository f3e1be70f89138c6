"""Cron expressions: which are read, and on which minutes of which days they begin."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.cron import parse_cron, runs

_FIRST, _LAST = date(2026, 1, 1).toordinal(), date(2029, 12, 31).toordinal()


def days(expression: str, first: date, last: date) -> list[str]:
    """The days on which it begins, as `month-day`."""
    return [f"{one:%m-%d}" for one in parse_cron(expression).dates(first.toordinal(), last.toordinal())]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("0 9 * * *", (540,)),
        ("*/20 0 * * *", (0, 20, 40)),
        ("5,15-17 0 * * *", (5, 15, 16, 17)),
        ("0-30/15 1 * * *", (60, 75, 90)),
        ("59 23 * * *", (1439,)),
        ("0 */8 * * *", (0, 480, 960)),
        ("  0   9-10  * * *  ", (540, 600)),
        ("0 09 * * *", (540,)),
    ],
)
def test_minutes_and_hours_make_times_of_day(text: str, minutes: tuple[int, ...]) -> None:
    assert parse_cron(text).minutes == minutes


def test_every_minute_is_every_minute() -> None:
    assert parse_cron("* * * * *").minutes == tuple(range(1440))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 0 1 * *", ["11-01", "12-01"]),
        ("0 0 1 DEC *", ["12-01"]),
        ("0 0 1 dec,jan *", ["12-01"]),
        ("0 0 31 * *", ["12-31"]),
        ("0 0 */15 12 *", ["12-01", "12-16", "12-31"]),
        ("0 0 29 2 *", []),
        # Mondays: of November 2026 the 2nd, 9th, ...
        ("0 0 1-7 11 *", [f"11-0{day}" for day in range(1, 8)]),
        ("0 0 * 11 MON", ["11-02", "11-09", "11-16", "11-23", "11-30"]),
        ("0 0 * 11 1", ["11-02", "11-09", "11-16", "11-23", "11-30"]),
        ("0 0 * 11 0", ["11-01", "11-08", "11-15", "11-22", "11-29"]),
        ("0 0 * 11 7", ["11-01", "11-08", "11-15", "11-22", "11-29"]),
        ("0 0 * 11 */3", [f"11-{day:02}" for day in (1, 4, 7, 8, 11, 14, 15, 18, 21, 22, 25, 28, 29)]),
        ("0 0 * 11 SAT-SUN", [f"11-{day:02}" for day in (1, 7, 8, 14, 15, 21, 22, 28, 29)]),
        ("0 0 * 11 6-7", [f"11-{day:02}" for day in (1, 7, 8, 14, 15, 21, 22, 28, 29)]),
        ("0 0 * 11 SUN-MON", [f"11-{day:02}" for day in (1, 2, 8, 9, 15, 16, 22, 23, 29, 30)]),
        # Either of two restricted day fields will do.
        ("0 0 13 11 FRI", ["11-06", "11-13", "11-20", "11-27"]),
        ("0 0 14 11 FRI", ["11-06", "11-13", "11-14", "11-20", "11-27"]),
        ("0 0 30 2,11 MON", ["11-02", "11-09", "11-16", "11-23", "11-30"]),
    ],
)
def test_the_days_on_which_it_begins_in_november_and_december_2026(text: str, expected: list[str]) -> None:
    assert days(text, date(2026, 11, 1), date(2026, 12, 31)) == expected


def test_leap_days_are_found() -> None:
    found = parse_cron("0 0 29 2 *").dates(date(2096, 1, 1).toordinal(), date(2108, 12, 31).toordinal())
    assert [one.year for one in found] == [2096, 2104, 2108]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 0 *",
        "* * * 13 *",
        "* * * * 8",
        "-1 * * * *",
        "1- * * * *",
        "1,, * * * *",
        "*/0 * * * *",
        "5/15 * * * *",
        "5-5/15 * * * *",
        "30-10 * * * *",
        "* * * * SAT-FRI",
        "* * * MON *",
        "* * * * JAN",
        "* * * january *",
        "* * L * *",
        "* * ? * *",
        "* * * * MON#1",
        "٣ * * * *",
        "001 * * * *",
        # Read differently by different programs.
        "0 0 */2 * MON",
        "0 0 1 * */2",
        # On no day of any year.
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0," * 80 + "0 * * * *",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_cron(text)


_parts = st.builds(
    "{}-{}/{}".format,
    st.integers(min_value=1, max_value=4),
    st.integers(min_value=5, max_value=7),
    st.sampled_from("123"),
)
_lists = st.lists(_parts | st.integers(min_value=1, max_value=7).map(str), min_size=1, max_size=3).map(",".join)


@given(day=st.just("*") | _lists, month=st.just("*") | _lists, weekday=st.just("*") | _lists)
def test_the_days_are_those_that_fit(day: str, month: str, weekday: str) -> None:
    cron = parse_cron(f"0 0 {day} {month} {weekday}")
    calendar = map(date.fromordinal, range(_FIRST, _LAST + 1))
    expected = [one for one in calendar if cron.fits(one.month, one.day, one.isoweekday())]
    assert list(cron.dates(_FIRST, _LAST)) == expected


@pytest.mark.parametrize(
    ("minutes", "lasts", "expected"),
    [
        ((), 5, ()),
        ((7,), 5, ((7, 7),)),
        ((0, 5, 10), 5, ((0, 10),)),
        ((0, 6, 10), 5, ((0, 0), (6, 10))),
        ((0, 10, 20), 5, ((0, 0), (10, 10), (20, 20))),
    ],
)
def test_openings_that_touch_are_one(
    minutes: tuple[int, ...], lasts: int, expected: tuple[tuple[int, int], ...]
) -> None:
    assert runs(minutes, lasts) == expected
