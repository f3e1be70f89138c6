"""When a release may start or advance: windows, freezes by date, in a time zone. Pure; a rollback never asks.

Belongs here: what a policy says about time, whether it is open at an instant, and until when it is not. Does not belong
here: the instants of a window (`openings.py`), freezes that people set (`freeze.py`), holding a release (`waiting.py`).

The clock on the wall decides. A weekly window is open whenever the clock of the time zone shows a time in it: not at
all on the day on which that time is skipped, twice on the day on which it is shown twice. A cron expression opens
whenever the clock shows one of its minutes, or is set on over one by less than three hours, and it stays open for
`for`, in hours that pass. A date that a freeze names is frozen as long as the clock shows it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from rollout.core.cron import parse_cron
from rollout.core.disagreement import disagree
from rollout.core.openings import Opening, Timed, Weekly, longest_gap, next_open
from rollout.core.quantities import Duration, Listed, Model, format_instant
from rollout.core.wall_clock import ZONE_PATTERN, Span, end_of, first_of, zone_named

Act = Literal["start", "advance"]
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)

END_PATTERN = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
DAY_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2}))?$"

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_SET_BACK = timedelta(hours=1)
"""A night may be longer by this. No look at the zone's rules: a policy must not become invalid when those change."""


def _zone(text: str) -> str:
    zone_named(text)
    return text


def _cron(text: str) -> str:
    parse_cron(text)
    return text


def _time(text: str) -> str:
    if not re.fullmatch(END_PATTERN, text):
        raise ValueError("expected a time of day in quotes, from '00:00' to '24:00', such as '09:00'")
    return text


def _moment(value: Any) -> date:
    """A date, or an instant in UTC; a `datetime` is a `date` too."""
    if isinstance(value, str) and re.fullmatch(DAY_PATTERN, value):
        value = datetime.fromisoformat(value) if "T" in value else date.fromisoformat(value)
    # The years leave room for zones and for a look at the days around.
    if not isinstance(value, date) or not 2 <= value.year <= 9990:
        raise ValueError("expected a date such as 2026-12-24, or a time with its zone such as 2026-12-24T18:00:00Z")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("expected a time with its zone, such as 2026-12-24T18:00:00Z")
        return value.astimezone(UTC)
    return value


def _written(value: date) -> str:
    return format_instant(value) if isinstance(value, datetime) else value.isoformat()


Moment = Annotated[
    date,
    PlainValidator(_moment),
    PlainSerializer(_written, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DAY_PATTERN, "maxLength": 32, "examples": ["2026-12-24"]}),
]
TimeOfDay = Annotated[
    str, AfterValidator(_time), WithJsonSchema({"type": "string", "pattern": END_PATTERN, "examples": ["09:00"]})
]


@dataclass(frozen=True, slots=True)
class Closed:
    """Not now: until when (None where no window opens again in eight years), and why, in words."""

    until: datetime | None
    why: str
    frozen: bool = False
    """By dates; else no window is open."""


class OpenWindow(Model):
    """When it is open: between two times of day on weekdays, or for some time from each minute of a cron."""

    days: Listed[Weekday] | None = Field(
        default=None, min_length=1, max_length=7, description="Weekdays on which it opens; every day."
    )
    opens: TimeOfDay = Field(default="00:00", alias="from", description="Time of day, in quotes.")
    closes: TimeOfDay = Field(
        default="24:00", alias="to", description="Time of day; if it is not after `from`, of the next day."
    )
    cron: Annotated[str, AfterValidator(_cron), Field(min_length=9, max_length=128)] | None = Field(
        default=None,
        description="Instead of days and times: minute, hour, day of month, month, day of week at which it opens.",
    )
    lasts: Duration | None = Field(default=None, alias="for", description="With `cron`: how long it stays open.")
    allows: Listed[Act] = Field(
        default=("start", "advance"), min_length=1, max_length=2, description="What may be done while it is open."
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.opens == "24:00":
            raise disagree("from", "expected a time before 24:00, which is 00:00 of the next day")
        if (self.cron is None) != (self.lasts is None):
            what = (
                "belongs to `cron`; days end at `to`"
                if self.cron is None
                else "required: how long it stays open, such as 2h"
            )
            raise disagree("for", what)
        if self.cron is not None and (self.days, self.opens, self.closes) != (None, "00:00", "24:00"):
            raise disagree("cron", "says days and times itself: give either `cron` and `for`, or days, from and to")
        if self.lasts is not None and (not _MINUTE <= self.lasts <= 7 * _DAY or self.lasts % _MINUTE):
            raise disagree("for", "expected whole minutes, between 1m and 7d")
        return self


class DateFreeze(Model):
    """Nobody starts or advances from a date, or an instant, until another."""

    since: Moment = Field(alias="from", description="A date, from its beginning; or an RFC 3339 time.")
    until: Moment = Field(description="A date, to its end; or an RFC 3339 time.")
    reason: str = Field(default="", max_length=256, description="Why; shown wherever a release waits for it.")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        # What a date is in UTC is the zone's business: beside an instant it is anything within a day.
        slack = timedelta() if isinstance(self.since, datetime) == isinstance(self.until, datetime) else _DAY
        if _in_utc(self.until, _DAY) + slack <= _in_utc(self.since, timedelta()):
            raise disagree("until", "expected a time after `from`; a date is frozen to its end")
        return self

    def span(self, zone: ZoneInfo) -> Span:
        """When it is in force."""
        since = self.since if isinstance(self.since, datetime) else first_of(zone, self.since)
        return since, self.until if isinstance(self.until, datetime) else end_of(zone, self.until)


def _in_utc(value: date, into: timedelta) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC) + into


class Schedule(Model):
    """When a service may be released; outside of it a release stays where it is and is watched on."""

    time_zone: Annotated[
        str,
        AfterValidator(_zone),
        WithJsonSchema({"type": "string", "pattern": ZONE_PATTERN, "maxLength": 64, "examples": ["Europe/Berlin"]}),
    ] = Field(default="UTC", description="IANA name of the time zone in which all times and dates are meant.")
    windows: Listed[OpenWindow] = Field(
        default=(), max_length=16, description="When a release may start, and go to its next step; always, if none."
    )
    freezes: Listed[DateFreeze] = Field(default=(), max_length=64, description="When nobody starts or advances.")

    @model_validator(mode="after")
    def _is_open_now_and_then(self) -> Self:
        for act in get_args(Act):
            if self.windows and not _openings(self, act):
                raise disagree(
                    "windows", f"none of them allows {act}, so no release ever could: add it to `allows` of one"
                )
        return self


def closed(schedule: Schedule, now: datetime, act: Act) -> Closed | None:
    """Why a release may not start, or advance, at `now`; None if it may."""
    if not schedule.windows and not schedule.freezes:
        return None
    zone = zone_named(schedule.time_zone)
    frozen = [(*one.span(zone), one.reason) for one in schedule.freezes]
    openings = _openings(schedule, act)
    at: datetime | None = now
    # Each round is later than the one before, and after the end of another freeze or at the opening that follows.
    while at is not None:
        end = max((until for since, until, _ in frozen if since <= at < until), default=None)
        after = end or _next(openings, zone, at)
        if after == at:
            break
        at = after
    if at == now:
        return None
    until = "" if at is None else f" until {_on_the_wall(zone, now, at)} {schedule.time_zone}"
    for since, end, reason in frozen:
        if since <= now < end:
            return Closed(at, f"frozen by its schedule{until}" + (f": {reason}" if reason else ""), frozen=True)
    return Closed(at, f"outside the windows of its schedule{until}")


@lru_cache(maxsize=1024)
def longest_closed(schedule: Schedule) -> timedelta:
    """The longest time between two windows for advancing, freezes left aside; zero without windows.

    An hour is added where clocks may be set back. The answer is the same for ever, whatever becomes of the zone.
    """
    openings = _openings(schedule, "advance")
    gap = longest_gap(openings) if openings else timedelta()
    return gap + _SET_BACK if gap and schedule.time_zone != "UTC" else gap


@lru_cache(maxsize=1024)
def _openings(schedule: Schedule, act: Act) -> tuple[Opening, ...]:
    return tuple(_opening(one) for one in schedule.windows if act in one.allows)


def _opening(window: OpenWindow) -> Opening:
    if window.cron is not None and window.lasts is not None:
        return Timed(parse_cron(window.cron), window.lasts)
    opens, closes = _since_midnight(window.opens), _since_midnight(window.closes)
    weekdays = frozenset(WEEKDAYS.index(day) + 1 for day in window.days or WEEKDAYS)
    return Weekly(weekdays, opens, closes if closes > opens else closes + _DAY)


def _since_midnight(text: str) -> timedelta:
    return timedelta(hours=int(text[:2]), minutes=int(text[3:]))


def _next(openings: tuple[Opening, ...], zone: ZoneInfo, at: datetime) -> datetime | None:
    if not openings:
        return at
    found = (next_open(one, zone, at) for one in openings)
    return min((one for one in found if one is not None), default=None)


def _on_the_wall(zone: ZoneInfo, now: datetime, at: datetime) -> str:
    """`Mon 09:00`, with the date if that is not within a week."""
    there = at.astimezone(zone)
    day = "" if at - now < 6 * _DAY else f" {there:%Y-%m-%d}"
    return f"{WEEKDAYS[there.weekday()]}{day} {there:%H:%M}"
