"""Which news is for whom: what a channel can ask to be told, and what must wake somebody.

Belongs here: sorting the events of the catalogue. Does not belong here: words (`adapters/notices/wording.py`), when and
how a channel is told (`adapters/notices/notifier.py`), what is announced at all (`events.py`, `turn.py`).

Nobody is woken by a clean rollback: that is what the controller is for. Somebody is woken when traffic is, or may be,
where it should not be and the controller cannot change that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from rollout.core.events import CATALOGUE, Level, Notice
from rollout.core.release import Reason

Tell = Literal["started", "steps", "ended", "trouble"]

_SORTED: Final[Mapping[str, Tell | None]] = {
    # A person who asks for a release need not be told of it; what becomes of it is told.
    "release.requested": None,
    "preflight.found": None,
    "history.learned": None,
    "history.unavailable": None,
    "metrics.uncertain": None,
    "release.started": "started",
    "release.finishing": None,
    # The end follows at once and says the same.
    "rollback.done": "steps",
    "release.rejected": "ended",
    "release.succeeded": "ended",
    "release.rolled_back": "ended",
    "release.aborted": "ended",
    "release.failed": "ended",
    "release.abort_requested": "trouble",
    "metrics.restored": "trouble",
    "traffic.readable": "trouble",
    "traffic.drift_ended": "trouble",
}

_TROUBLING: Final = frozenset({Reason.UNKNOWN_VERDICT.value, Reason.STABLE_NOT_READY.value})
"""Reasons to hold that are no mere waiting for the time, the others or a gate."""
_ENDS: Final = frozenset({"release.succeeded", "release.rolled_back", "release.aborted", "release.failed"})


def sort_of(notice: Notice) -> Tell | None:
    """What a channel has to ask for to be told; None for what is only for the log.

    An event that is not sorted by name is sorted by its level, one that another version of the controller knows alone
    is told as a step.
    """
    if notice.name in _SORTED:
        return _SORTED[notice.name]
    if notice.name == "step.held":
        return "trouble" if notice.fields.get("reason_code") in _TROUBLING else "steps"
    level = CATALOGUE[notice.name].level if notice.name in CATALOGUE else Level.INFO
    if level is Level.DEBUG:
        return None
    return "steps" if level is Level.INFO else "trouble"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that begins with one event and is over with another."""

    name: str
    """Stable: alerts and incidents are routed by it."""
    event: str
    severity: Literal["critical", "warning"]
    """`critical` wakes somebody."""
    reason_code: str = ""
    """Only where the event says this; "" for any."""
    ended_by: frozenset[str] = frozenset()
    """Events that end it, besides the end of the release."""
    lasts: timedelta = timedelta(0)
    """For how long it must last before anybody is told."""
    expires: timedelta | None = None
    """It is over after this time, because nothing will follow."""


_PATIENCE: Final = timedelta(minutes=5)
_A_WHILE: Final = timedelta(hours=2)
"""Longer than a notice is tried by default: one that comes late is still news."""
_ON_ITS_WAY: Final = frozenset({"step.promoted", "step.started", "rollback.started"})

ALARMS: Final = (
    Alarm("rollback-stuck", "rollback.stuck", "critical", ended_by=frozenset({"rollback.done"})),
    Alarm("route-gone", "release.failed", "critical", reason_code=Reason.ROUTE_GONE.value),
    Alarm("stable-not-ready", "step.held", "critical", Reason.STABLE_NOT_READY.value, ended_by=_ON_ITS_WAY),
    Alarm(
        "traffic-unreadable",
        "traffic.unreadable",
        "critical",
        ended_by=frozenset({"traffic.readable"}),
        lasts=_PATIENCE,
    ),
    Alarm(
        "metrics-unavailable",
        "metrics.unavailable",
        "warning",
        ended_by=frozenset({"metrics.restored", "rollback.started"}),
    ),
    Alarm(
        "traffic-drifted",
        "traffic.drift_detected",
        "warning",
        ended_by=frozenset({"traffic.drift_ended", "rollback.started"}),
    ),
    Alarm("release-rolled-back", "release.rolled_back", "warning", expires=_A_WHILE),
    Alarm("release-failed", "release.failed", "warning", expires=_A_WHILE),
)
"""The first that fits an event is the one it raises."""
BY_NAME: Final = {alarm.name: alarm for alarm in ALARMS}


def raised_by(notice: Notice) -> Alarm | None:
    """The alarm that begins with this event."""
    for alarm in ALARMS:
        if alarm.event == notice.name and alarm.reason_code in {"", notice.fields.get("reason_code")}:
            return alarm
    return None


def ends(notice: Notice, alarm: Alarm) -> bool:
    """Whether an open alarm is over with this event."""
    return raised_by(notice) != alarm and (notice.name in alarm.ended_by or notice.name in _ENDS)


def is_moot(notice: Notice, later: Iterable[Notice]) -> bool:
    """Whether what had to last was over before it had: nobody needs to be told of it any more."""
    alarm = raised_by(notice)
    if alarm is None or not alarm.lasts:
        return False
    over = next((one for one in later if ends(one, alarm)), None)
    return over is not None and over.at - notice.at < alarm.lasts


def must_last(notice: Notice, later: Sequence[Notice]) -> timedelta:
    """For how long an alarm must have lasted before it is told; a worse one behind it waits for nothing."""
    alarm = raised_by(notice)
    if alarm is None:
        return timedelta(0)
    further = (raised_by(one) for one in later)
    urgent = any(one is not None and one != alarm and one.severity == "critical" for one in further)
    return timedelta(0) if urgent else alarm.lasts
