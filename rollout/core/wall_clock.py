"""What a clock on the wall of some place shows, and when: local times as instants, where clocks are set on and back.

Belongs here: the arithmetic of one time zone. Does not belong here: what is allowed at such times (`schedule.py`).

A local time may be shown never (the clock was set on over it) or twice (it was set back). So nothing here maps a local
time to an instant; what is asked for is the set of instants at which the clock shows something. The rules of zones are
the IANA database's, through `zoneinfo`: of the system, or of the `tzdata` package.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

Span = tuple[datetime, datetime]
"""From the first instant (UTC) up to the second, which is not in it."""

ZONE_PATTERN = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"
_NOT_ZONES = re.compile(r"localtime|posixrules|Factory|(posix|right)/.*")
"""In the database's folder, but no place: the machine's own zone, copies, and clocks that count leap seconds."""
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_STRIDE = timedelta(days=2)
"""No zone of the database (2026) changes its offset twice within six days, ever."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A stretch of time in which a clock is not set."""

    since: datetime
    until: datetime
    offset: timedelta
    """What the clock is ahead of UTC."""


def zone_named(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises ValueError if there is none."""
    if re.fullmatch(ZONE_PATTERN, name) and not _NOT_ZONES.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            # No such file, no such data, a folder.
            pass
    raise ValueError("expected the IANA name of a time zone, such as Europe/Berlin or UTC")


def shown_on(zone: ZoneInfo, now: datetime) -> date:
    """The date that the clock shows."""
    return now.astimezone(zone).date()


def spells(zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[Spell]:
    """The time from `since` to `until` (whole seconds, UTC), cut where the clock is set."""
    start, offset, at = since, _offset(zone, since), since
    while at < until:
        ahead = min(at + _STRIDE, until)
        if _offset(zone, ahead) == offset:
            at = ahead
            continue
        at = _change(zone, at, ahead, offset)
        yield Spell(start, at, offset)
        start, offset = at, _offset(zone, at)
    yield Spell(start, until, offset)


def around(zone: ZoneInfo, day: date, days: int = 1) -> tuple[datetime, list[Spell]]:
    """Midnight of a local date as if the clock were UTC's, and the spells in which its `days` days may be shown."""
    midnight = datetime.combine(day, time(), UTC)
    return midnight, list(spells(zone, midnight - _DAY, midnight + (days + 1) * _DAY))


def shown(zone: ZoneInfo, day: date, opens: timedelta, closes: timedelta) -> Iterator[Span]:
    """The instants at which the clock shows a time between `opens` and `closes` (up to two days), from midnight on."""
    midnight, stretches = around(zone, day, days=2)
    for one in stretches:
        start = max(one.since, midnight + opens - one.offset)
        end = min(one.until, midnight + closes - one.offset)
        if start < end:
            yield start, end


def first_of(zone: ZoneInfo, day: date) -> datetime:
    """The first instant at which the clock shows this date, or a later one where it was skipped."""
    midnight, stretches = around(zone, day)
    return next(max(one.since, midnight - one.offset) for one in stretches if one.until + one.offset > midnight)


def end_of(zone: ZoneInfo, day: date) -> datetime:
    """The instant from which on the clock never shows this date, or an earlier one, again."""
    midnight, stretches = around(zone, day)
    tomorrow = midnight + _DAY
    late = (min(one.until, tomorrow - one.offset) for one in reversed(stretches) if one.since + one.offset < tomorrow)
    return next(late)


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _change(zone: ZoneInfo, before: datetime, after: datetime, offset: timedelta) -> datetime:
    """The second at which the clock is first ahead by something else than `offset`; it is at `after`."""
    low, high = 0, (after - before) // _SECOND
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, before + middle * _SECOND) == offset:
            low = middle
        else:
            high = middle
    return before + high * _SECOND
