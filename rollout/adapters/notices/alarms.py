"""Which alarms of a release are open with a channel: remembered in the channel's thread, so that a crash loses none.

Belongs here: reading and writing that memory. Does not belong here: what an alarm is (`core/notices.py`), how one is
told (`alertmanager.py`, `pagerduty.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rollout.adapters.notices.telling import Telling
from rollout.core.events import Notice
from rollout.core.notices import BY_NAME, Alarm, ends, is_moot, raised_by
from rollout.core.quantities import format_instant


@dataclass(frozen=True, slots=True)
class Change:
    """What one notice does to the alarms that are open."""

    raised: Alarm | None
    ended: tuple[tuple[Alarm, datetime], ...]
    """Each with when it began."""
    thread: str
    """What is open afterwards, as it is remembered."""

    @property
    def empty(self) -> bool:
        """Nobody has to be told."""
        return self.raised is None and not self.ended


def change_of(telling: Telling, concerns: Callable[[Alarm], bool], later: Sequence[Notice] = ()) -> Change:
    """The change by a notice, among the alarms that concern the channel.

    An alarm that is raised again while it is open keeps its beginning; one that was over before it had to be told is
    not raised. One that expires by itself is not remembered.
    """
    notice = telling.notice
    before = _read(telling.delivered.thread)
    ended = tuple((alarm, since) for alarm, since in before.items() if ends(notice, alarm))
    left = {alarm: since for alarm, since in before.items() if not ends(notice, alarm)}
    raised = raised_by(notice)
    if raised is not None and (not concerns(raised) or is_moot(notice, later)):
        raised = None
    if raised is not None and raised.expires is None:
        left.setdefault(raised, notice.at)
    return Change(raised, ended, ",".join(f"{alarm.name}@{format_instant(since)}" for alarm, since in left.items()))


def began(telling: Telling, alarm: Alarm) -> datetime:
    """When an alarm that this notice raises began: earlier, if it is open already."""
    return _read(telling.delivered.thread).get(alarm, telling.notice.at)


def _read(thread: str) -> dict[Alarm, datetime]:
    """What is open; what cannot be read (another version's words) is not."""
    found = {}
    for part in thread.split(","):
        name, _, since = part.partition("@")
        try:
            at = datetime.fromisoformat(since)
        except ValueError:
            continue
        if name in BY_NAME and at.tzinfo is not None:
            found[BY_NAME[name]] = at
    return found
