"""Several announcers as one: the log at once, Kubernetes Events as soon as the API takes them.

Belongs here: the order in which they are told, and that the log repeats no line because an Event has to wait. Does not
belong here: what a line or an Event says (`log.py`, `cluster_events.py`).
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from rollout.core.events import Notice, Scalar
from rollout.core.release import Release
from rollout.ports import Announcer, Outage

_MOST_KNOWN: Final = 4096
"""Releases whose last line is remembered; only one with an undelivered Event is ever asked for again."""


class Announcers:
    """Implements `ports.Announcer` on a log, which never fails, and on events, which may.

    While Events cannot be written, everything in the release's outbox goes to the log all the same: clusters keep
    Events in an etcd of their own, and its outage must not silence a rollback that does not hold.
    """

    def __init__(self, log: Announcer, events: Announcer) -> None:
        self._log = log
        self._events = events
        self._logged: OrderedDict[str, int] = OrderedDict()
        """Release uid -> number of the last notice in the log."""

    async def announce(self, release: Release, notice: Notice) -> None:
        """Log it unless this process has; then write the Event. Raises Outage if that has to be tried again."""
        await self._log_once(release, notice)
        try:
            await self._events.announce(release, notice)
        except Outage:
            for waiting in release.status.outbox:
                await self._log_once(release, waiting)
            raise

    async def record(self, release: Release, name: str, fields: Mapping[str, Scalar]) -> None:
        """Log it, then offer it to the events."""
        await self._log.record(release, name, fields)
        await self._events.record(release, name, fields)

    async def _log_once(self, release: Release, notice: Notice) -> None:
        if notice.sequence <= self._logged.get(release.uid, 0):
            return
        await self._log.announce(release, notice)
        self._logged[release.uid] = notice.sequence
        self._logged.move_to_end(release.uid)
        while len(self._logged) > _MOST_KNOWN:
            self._logged.popitem(last=False)
