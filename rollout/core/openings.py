"""When a window of a schedule is open: between times of day on weekdays, or for a while from each minute of a cron.

Belongs here: the instants of one window, and the longest time between several. Does not belong here: how a policy
spells it, freezes, what follows (`schedule.py`); how clocks are set (`wall_clock.py`).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache, reduce
from itertools import pairwise
from math import ceil
from operator import or_
from zoneinfo import ZoneInfo

from rollout.core.cron import Cron, runs
from rollout.core.wall_clock import Span, around, shown, shown_on

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_OF_A_DAY = _DAY // _MINUTE
_HORIZON = 8 * 366 + 31
"""Days that are looked ahead: between two 29ths of February there are at most eight years."""
_LAST_YEAR = 9990
_SKIPPED = timedelta(hours=3)
"""Vixie cron: a clock that is set on by less is put right; one that is set on by more is another clock."""
_ALL_DAY = (1 << _OF_A_DAY) - 1
_REACH = 9
"""Days after which nothing is open any more that opened on the first."""
_YEARS = date(2072, 1, 1).toordinal(), date(2105, 1, 1).toordinal()
"""All 28 ways in which years can follow one another, and the eight years without a 29th of February."""

Minutes = int
"""A set of minutes since midnight, one bit for each; those of later days follow."""
_Kind = tuple[int, int, int]
"""Month, day of month, ISO weekday."""


@dataclass(frozen=True, slots=True)
class Weekly:
    """Open while the clock shows a time in it."""

    weekdays: frozenset[int]
    """On which it opens; ISO."""
    opens: timedelta
    closes: timedelta
    """Both since midnight; at most 24 hours apart."""

    @property
    def look_back(self) -> int:
        """How many days before today it may have opened and still be open: over midnight, over a clock set back."""
        return 2

    def fits(self, month: int, day: int, weekday: int) -> bool:  # noqa: ARG002 - weeks know no months
        """Whether it opens on such a day."""
        return weekday in self.weekdays

    def dates(self, first: int, last: int) -> Iterator[date]:
        """The days on which it opens, by ordinals."""
        days = map(date.fromordinal, range(first, last + 1))
        return (day for day in days if day.isoweekday() in self.weekdays)

    def minutes(self) -> Minutes:
        """When it is open, of a day on which it opens and no clock is set."""
        return _stretch(self.opens // _MINUTE, self.closes // _MINUTE)

    def spans(self, zone: ZoneInfo, day: date) -> Iterator[Span]:
        """When it is open that opened on this date."""
        return shown(zone, day, self.opens, self.closes)


@dataclass(frozen=True, slots=True)
class Timed:
    """Open for some time from each minute of a cron."""

    cron: Cron
    lasts: timedelta
    """Whole minutes."""

    @property
    def look_back(self) -> int:
        """How many days before today it may have opened and still be open."""
        return 2 + self.lasts // _DAY

    def fits(self, month: int, day: int, weekday: int) -> bool:
        """Whether it opens on such a day."""
        return self.cron.fits(month, day, weekday)

    def dates(self, first: int, last: int) -> Iterator[date]:
        """The days on which it opens, by ordinals."""
        return self.cron.dates(first, last)

    def minutes(self) -> Minutes:
        """When it is open, of a day on which it opens and no clock is set."""
        lasts = self.lasts // _MINUTE
        return reduce(or_, (_stretch(first, last + lasts) for first, last in runs(self.cron.minutes, lasts)))

    def spans(self, zone: ZoneInfo, day: date) -> Iterator[Span]:
        """When it is open that opened on this date."""
        midnight, spells = around(zone, day)
        for one in spells:
            begun = self._between(one.since + one.offset - midnight, one.until + one.offset - midnight)
            for first, last in runs(begun, self.lasts // _MINUTE):
                opened = midnight - one.offset
                yield opened + first * _MINUTE, opened + last * _MINUTE + self.lasts
        for one, after in pairwise(spells):
            if one.offset < after.offset < one.offset + _SKIPPED:
                skipped = self._between(one.until + one.offset - midnight, one.until + after.offset - midnight)
                yield from ((one.until, one.until + self.lasts) for _ in skipped[:1])

    def _between(self, first: timedelta, last: timedelta) -> tuple[int, ...]:
        """The minutes of the day from the first time to the last, which is not in it."""
        low, high = (bisect_left(self.cron.minutes, ceil(one / _MINUTE)) for one in (first, last))
        return self.cron.minutes[low:high]


Opening = Weekly | Timed


def next_open(opening: Opening, zone: ZoneInfo, now: datetime) -> datetime | None:
    """The first instant from `now` on at which it is open; None if there is none in eight years."""
    if now.year >= _LAST_YEAR:
        return None
    today = shown_on(zone, now).toordinal()
    best: datetime | None = None
    enough = today + _HORIZON
    for day in opening.dates(today - opening.look_back, enough):
        if day.toordinal() > enough:
            break
        for start, end in opening.spans(zone, day):
            if end > now and (best is None or start < best):
                best = max(start, now)
                # A clock that is set back over midnight may show tomorrow before it shows today again.
                enough = day.toordinal() + 1
        if best == now:
            break
    return best


def longest_gap(openings: Sequence[Opening]) -> timedelta:
    """The longest time in which none of them is open, by the calendar alone: no clock is ever set.

    Weeks without a cron are all the same; with one, 33 years are gone through, in 20 to 50 ms whatever it is.
    """
    weekly = all(isinstance(one, Weekly) for one in openings)
    by_kind: dict[_Kind, Minutes] = {}
    gaps: dict[Minutes, tuple[int, int, int]] = {}
    minutes = [one.minutes() for one in openings]
    longest = shut = 0
    still: Minutes = 0
    for number, kind in enumerate(_four_weeks() if weekly else _calendar()):
        if number == _REACH:
            # Until now something that opened earlier might have been open.
            longest = shut = 0
        if kind not in by_kind:
            fitting = (bits for one, bits in zip(openings, minutes, strict=True) if one.fits(*kind))
            by_kind[kind] = reduce(or_, fitting, 0)
        still |= by_kind[kind]
        today = still & _ALL_DAY
        still >>= _OF_A_DAY
        if today not in gaps:
            gaps[today] = _gaps(today)
        before, between, after = gaps[today]
        longest = max(longest, shut + before, between)
        shut = after if today else shut + _OF_A_DAY
    return longest * _MINUTE


def _gaps(today: Minutes) -> tuple[int, int, int]:
    """How many minutes of a day are closed before it opens, at most between two openings, and after the last."""
    closed = f"{today:0{_OF_A_DAY}b}".split("1")
    return len(closed[-1]), max(map(len, closed)), len(closed[0])


def _stretch(first: int, last: int) -> Minutes:
    return ((1 << (last - first)) - 1) << first


def _four_weeks() -> Iterator[_Kind]:
    return ((1, 1, weekday) for _ in range(4) for weekday in range(1, 8))


@lru_cache(maxsize=1)
def _calendar() -> tuple[_Kind, ...]:
    days = map(date.fromordinal, range(*_YEARS))
    return tuple((day.month, day.day, day.isoweekday()) for day in days)
