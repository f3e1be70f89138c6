"""Waiting for a release to change: long polls and event streams.

Belongs here: one look for all who wait for the same release, and the form of an event stream. Does not belong here: who
may look (`passports.py`), how many may wait (`budgets.py`).

Where a watch says that nothing changed, a look costs nothing; else the release is read about once a second, however
many wait for it.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from rollout.api.backing import Backing
from rollout.core.release import Release
from rollout.ports import Outage, Refused

_GLANCE_SECONDS = 0.1
"""Time between questions to the watch, which answers from memory."""
LONGEST_STREAM = 600.0
"""Seconds; a token that was good at the beginning may have ended since, so the client comes back with a fresh one."""
RETRY_MS = 2000


@dataclass(slots=True)
class _Watched:
    """One release that somebody waits for."""

    latest: Release | None
    waiting: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Following:
    """All that is waited for."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._watched: dict[tuple[str, str], _Watched] = {}

    async def changed(self, seen: Release, seconds: float) -> Release | None:
        """The release once it is another than `seen`, None if it is gone; `seen` itself after so many seconds.

        Returns at once when the API is closing.
        """
        watched = self._watched.setdefault(seen.key, _Watched(seen))
        watched.waiting += 1
        if watched.latest is not None and _is_newer(seen, watched.latest):
            watched.latest = seen
            _tell(watched)
        if watched.task is None or watched.task.done():
            watched.task = asyncio.create_task(self._look(seen.key, watched))
        try:
            async with asyncio.timeout(seconds):
                while (now := watched.latest) is not None and now.revision == seen.revision:
                    if self._backing.closing.is_set():
                        return seen
                    await watched.changed.wait()
            return now
        except TimeoutError:
            return seen
        finally:
            watched.waiting -= 1
            if not watched.waiting and self._watched.get(seen.key) is watched:
                del self._watched[seen.key]
                watched.task.cancel()

    async def _look(self, key: tuple[str, str], watched: _Watched) -> None:
        """Keep `latest` up to date while somebody waits; an outage leaves it as it is."""
        closing, loop = self._backing.closing, asyncio.get_running_loop()
        due = loop.time()
        while not closing.is_set():
            known = watched.latest
            if (known is None or not self._backing.unchanged(known)) and loop.time() >= due:
                due = loop.time() + self._backing.look_seconds
                await self._read(key, watched)
            pause = min(_GLANCE_SECONDS, self._backing.look_seconds)
            try:
                async with asyncio.timeout(pause):
                    await closing.wait()
            except TimeoutError:
                continue
        _tell(watched)

    async def _read(self, key: tuple[str, str], watched: _Watched) -> None:
        try:
            found = await self._backing.desk.get(*key)
        except (Outage, Refused):
            return
        before = watched.latest
        watched.latest = found
        if (found is None) != (before is None) or (found and before and found.revision != before.revision):
            _tell(watched)


def _is_newer(one: Release, other: Release) -> bool:
    """Whether it was read later: revisions are whole numbers that grow (Kubernetes API concepts, resource versions)."""
    return one.revision.isdigit() and other.revision.isdigit() and int(one.revision) > int(other.revision)


def _tell(watched: _Watched) -> None:
    event, watched.changed = watched.changed, asyncio.Event()
    event.set()


async def events(following: Following, backing: Backing, release: Release, last_id: str) -> AsyncGenerator[str, None]:
    """Server-sent events (WHATWG HTML, 9.2): `state` for every revision that is seen, until the end is told.

    `last_id` is the revision that the client knows already. What changes twice between two looks is told once.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + LONGEST_STREAM
    yield f"retry: {RETRY_MS}\n\n"
    if release.revision != last_id:
        yield event(release)
    while not release.status.phase.terminal and loop.time() < until and not backing.closing.is_set():
        now = await following.changed(release, backing.ping_seconds)
        if now is None:
            yield "event: gone\ndata: {}\n\n"
            return
        if now is release:
            yield ": ping\n\n"
            continue
        release = now
        yield event(release)


def event(release: Release) -> str:
    """One revision of a release; JSON has no line breaks of its own, so it is one line of data."""
    return f"event: state\nid: {release.revision}\ndata: {json.dumps(release.wire())}\n\n"
