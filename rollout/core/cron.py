"""Cron expressions: five fields that say at which minutes of which days something begins.

Belongs here: what an expression means for a day of the calendar. Does not belong here: time zones and the minutes that
a clock skips or shows twice (`wall_clock.py`), what begins then (`schedule.py`).

As crontab(5) has it: minute, hour, day of month, month, day of week; lists, ranges, steps over `*` or a range, names of
months and days. When both day fields are restricted, a day fits if either does. Programs disagree on whether `*/2` is a
restriction (Vixie cron: no, Kubernetes: yes), so beside another restricted day field it is refused.
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import pairwise

_NAME = re.compile(r"[A-Za-z]{3}")
_PART = re.compile(r"(?:(?P<all>\*)|(?P<low>[0-9A-Za-z]+)(?:-(?P<high>[0-9A-Za-z]+))?)(?:/(?P<step>[0-9]{1,4}))?")
_LONGEST = 128
_LEAP_YEAR = 2024


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """Of the values from `low` on."""


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of week", 0, 7, _DAYS)
"""Both 0 and 7 are Sunday."""


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression, read."""

    minutes: tuple[int, ...]
    """Minutes of the day, ascending."""
    months: frozenset[int]
    days: frozenset[int] | None
    """Of the month; None for any."""
    weekdays: frozenset[int] | None
    """ISO: Monday is 1, Sunday 7; None for any."""

    def fits(self, month: int, day: int, weekday: int) -> bool:
        """Whether it begins on such a day at all (`weekday`: ISO)."""
        if month not in self.months:
            return False
        by_day = self.days is not None and day in self.days
        by_weekday = self.weekdays is not None and weekday in self.weekdays
        return by_day or by_weekday or (self.days is None and self.weekdays is None)

    def dates(self, first: int, last: int) -> Iterator[date]:
        """The days on which it begins, by their ordinals from `first` to `last`; months without any cost nothing."""
        ordinal = first
        while ordinal <= last:
            day = date.fromordinal(ordinal)
            if day.month not in self.months:
                ordinal += monthrange(day.year, day.month)[1] - day.day + 1
                continue
            if self.fits(day.month, day.day, day.isoweekday()):
                yield day
            ordinal += 1


@lru_cache(maxsize=512)
def parse_cron(text: str) -> Cron:
    """`*/15 9-16 * * MON-FRI` -> Cron; ValueError says what of it cannot be read, or that no day ever fits."""
    fields = text.split()
    if len(text) > _LONGEST or len(fields) != 5:
        raise ValueError("expected a cron expression of five fields such as `0 9 * * MON-FRI`: minute, hour, day, ...")
    minute, hour, day, month, weekday = fields
    both = day != "*" and weekday != "*"
    if both and (day.startswith("*") or weekday.startswith("*")):
        raise ValueError("crons disagree on what `*/n` means beside another day field: write 1-31/n or 0-6/n")
    hours, minutes = _values(hour, _HOUR), _values(minute, _MINUTE)
    cron = Cron(
        minutes=tuple(sorted(60 * one + other for one in hours for other in minutes)),
        months=_values(month, _MONTH),
        days=None if day == "*" else _values(day, _DAY),
        weekdays=None if weekday == "*" else frozenset(one or 7 for one in _values(weekday, _WEEKDAY)),
    )
    longest = max(monthrange(_LEAP_YEAR, one)[1] for one in cron.months)
    if cron.days is not None and cron.weekdays is None and min(cron.days) > longest:
        raise ValueError(f"no month of it ever has a day {min(cron.days)}")
    return cron


@lru_cache(maxsize=512)
def runs(minutes: tuple[int, ...], lasts: int) -> tuple[tuple[int, int], ...]:
    """First and last minute of each stretch of `minutes` (ascending) that are at most `lasts` minutes apart."""
    ends = [*(one for one, after in pairwise(minutes) if after - one > lasts), *minutes[-1:]]
    starts = [*minutes[:1], *(after for one, after in pairwise(minutes) if after - one > lasts)]
    return tuple(zip(starts, ends, strict=True))


def _values(text: str, field: _Field) -> frozenset[int]:
    return frozenset(value for part in text.split(",") for value in _range(part, field))


def _range(part: str, field: _Field) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{field.name}: expected `*`, a value, or a range, each maybe with a step, not `{part}`")
    step = int(match["step"] or 1)
    if step == 0:
        raise ValueError(f"{field.name}: a step of 0 leads nowhere")
    if match["all"]:
        # Sunday is there once.
        return range(field.low, min(field.high, 6) + 1 if field is _WEEKDAY else field.high + 1, step)
    low = _value(match["low"], field)
    if match["high"] is None:
        if match["step"]:
            raise ValueError(f"{field.name}: a step needs a range, such as {low}-{field.high}/{step}")
        return range(low, low + 1)
    high = _value(match["high"], field)
    if field is _WEEKDAY and high == 0 < low:
        high = 7
    if high == low and match["step"]:
        # Some read it as `*` from there on.
        raise ValueError(f"{field.name}: a step needs a range of more than one value")
    if high < low:
        raise ValueError(f"{field.name}: `{part}` ends before it begins")
    return range(low, high + 1, step)


def _value(text: str, field: _Field) -> int:
    if _NAME.fullmatch(text) and text.lower() in field.names:
        return field.low + field.names.index(text.lower())
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and field.low <= int(text) <= field.high):
        names = f" or {field.names[0].upper()}-{field.names[-1].upper()}" if field.names else ""
        raise ValueError(f"{field.name}: expected {field.low}-{field.high}{names}, not `{text}`")
    return int(text)
