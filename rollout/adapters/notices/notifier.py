"""Who tells channels: one ordered queue per channel and release, worked off in the background.

Belongs here: which channels hear of a release, order, pace, repetitions, when a notice is given up. Does not belong
here: what is said to a channel (`slack.py`, `teams.py`, ...), how long a notice is kept (`core/turn.py`: in the outbox
of its Release, until every channel has passed it).

Nobody ever waits for a channel: `offer` and `delivered` touch no I/O. Nothing here outlives the process, and nothing
needs to: what was not saved as delivered is offered again, and goes out under the same key.
"""

import asyncio
import random
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import Final

from rollout.adapters.notices.alertmanager import AlertmanagerTeller
from rollout.adapters.notices.pagerduty import PagerDutyTeller
from rollout.adapters.notices.slack import SlackTeller
from rollout.adapters.notices.teams import TeamsTeller
from rollout.adapters.notices.telling import Later, Teller, Telling, Unfit
from rollout.adapters.notices.webhook import WebhookTeller
from rollout.adapters.outbound import Outbound
from rollout.administration import Channel, Settings
from rollout.core.events import Notice, Scalar
from rollout.core.notices import must_last
from rollout.core.release import Delivered, Release
from rollout.ports import Announcer, Clock, Fence, Outage, Refused

SENT: Final = "notice.sent"
FAILED: Final = "notice.failed"
GIVEN_UP: Final = "notice.given_up"
UNKNOWN: Final = "notice.no_channel"

_FIRST_WAIT_S: Final = 1.0
_MOST_FOLD: Final = 60.0
_LOOK_AGAIN_S: Final = 60.0
"""An alarm that must last is looked at this often, whatever the clock does meanwhile."""
_AT_ONCE: Final = 4
"""Requests to one channel at the same time: those of one release wait for one another anyway."""
_MOST_WAITING: Final = 200
"""Notices of one release for one channel; an outbox holds fewer."""
_FENCED_S: Final = 0.5
"""How often to ask whether we lead again."""
_MOST_UNKNOWN: Final = 1024
_LEAST_TRIED_S: Final = 30.0
"""A new process tries what is old already for so long before it gives it up."""


class ChannelNotifier:
    """Implements `ports.Notifier` for the channels of the settings. Lives for one term of leading, and is then closed.

    Args:
        settings: the channels and the links.
        outbound: the road to them.
        clock: for how long a notice has been tried.
        log: told what was sent, failed and was given up.
        fence: asked before every request; None where nobody else could be leading.
        first_wait_s: seconds after the first failure; doubled from one to the next, up to sixty times as long.
    """

    def __init__(
        self,
        settings: Settings,
        outbound: Outbound,
        clock: Clock,
        log: Announcer,
        *,
        fence: Fence | None = None,
        first_wait_s: float = _FIRST_WAIT_S,
    ) -> None:
        tellers = _tellers(settings, outbound, clock)
        self._desks = {
            channel.name: _Desk(channel, tellers[channel.kind], clock, log, fence, first_wait_s)
            for channel in settings.channels
        }
        self._log = log
        self._unknown: set[tuple[str, str]] = set()
        self._said: set[asyncio.Task[None]] = set()
        self._closed = False

    def offer(self, release: Release) -> None:
        """As the port says: what is new in the outbox joins the queues; the rest is known."""
        if self._closed:
            return
        for desk in self._wanting(release):
            desk.take(release)

    def delivered(self, release: Release) -> Mapping[str, Delivered]:
        """As the port says: the further of what the release remembers and what is known here."""
        return {desk.channel.name: desk.delivered(release) for desk in self._wanting(release)}

    def forget(self, uid: str) -> None:
        """As the port says: what was still to be told is dropped."""
        for desk in self._desks.values():
            desk.drop(uid)

    async def close(self) -> None:
        """Stop telling. What was not delivered is still in the outboxes, for whoever leads next."""
        self._closed = True
        tasks = [task for desk in self._desks.values() for task in desk.tasks()]
        tasks.extend(self._said)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wanting(self, release: Release) -> Iterator["_Desk"]:
        """Desks of the channels that hear of a release: those its policy names, else those that are for all."""
        named = release.status.notify
        for desk in self._desks.values():
            channel = desk.channel
            if (channel.default if named is None else channel.name in named) and (
                not channel.namespaces or release.namespace in channel.namespaces
            ):
                yield desk
        for name in named or ():
            if name not in self._desks:
                self._miss(release, name)

    def _miss(self, release: Release, name: str) -> None:
        """Say once per namespace that a policy names a channel that nobody set up."""
        known = (release.namespace, name)
        if known in self._unknown or len(self._unknown) >= _MOST_UNKNOWN or self._closed:
            return
        self._unknown.add(known)
        with suppress(RuntimeError):  # no loop runs: a question from outside, and there will be others
            task = asyncio.get_running_loop().create_task(self._log.record(release, UNKNOWN, {"channel": name}))
            self._said.add(task)
            task.add_done_callback(self._said.discard)


def _tellers(settings: Settings, outbound: Outbound, clock: Clock) -> Mapping[str, Teller]:
    links = settings.links
    return {
        "slack": SlackTeller(outbound, links),
        "teams": TeamsTeller(outbound, links),
        "webhook": WebhookTeller(outbound, links, clock),
        "alertmanager": AlertmanagerTeller(outbound, links),
        "pagerduty": PagerDutyTeller(outbound, links),
    }


class _Desk:
    """One channel: its pace, and a line for each release that has something to tell."""

    def __init__(
        self,
        channel: Channel,
        teller: Teller,
        clock: Clock,
        log: Announcer,
        fence: Fence | None,
        first_wait_s: float,
    ) -> None:
        self.channel = channel
        self.teller = teller
        self.clock = clock
        self.first_wait_s = first_wait_s
        self._log = log
        self._fence = fence
        self._lines: dict[str, _Line] = {}
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._next = 0.0

    def take(self, release: Release) -> None:
        """Queue what is new; a release has a line for as long as that knows more than the release remembers."""
        line = self._lines.get(release.uid) or _Line(self, release)
        line.take(release)
        if line.is_needed():
            self._lines[release.uid] = line
        else:
            self._lines.pop(release.uid, None)

    def delivered(self, release: Release) -> Delivered:
        """How far the channel has been told."""
        line = self._lines.get(release.uid)
        saved = release.status.notified.get(self.channel.name, Delivered())
        return line.delivered if line is not None and line.delivered.sequence > saved.sequence else saved

    def drop(self, uid: str) -> None:
        """Forget a release."""
        if (line := self._lines.pop(uid, None)) is not None and line.task is not None:
            line.task.cancel()

    def tasks(self) -> list["asyncio.Task[None]"]:
        """What is under way."""
        return [line.task for line in self._lines.values() if line.task is not None]

    async def say(self, telling: Telling, event: str, **fields: Scalar) -> None:
        """Log what became of a notice."""
        about: dict[str, Scalar] = {
            "channel": self.channel.name,
            "notice": telling.notice.name,
            "sequence": telling.notice.sequence,
        }
        await self._log.record(telling.release, event, {**about, **fields})

    async def tell(self, telling: Telling) -> Delivered:
        """One attempt, when it is its turn and we lead. Raises as `Teller.tell`."""
        async with self._free:
            await self._wait_for_turn()
            while not self._leads():  # noqa: ASYNC110 - a fence can only be asked; the end of the term cancels us
                await asyncio.sleep(_FENCED_S)
            return await self.teller.tell(telling)

    def slow_down(self, wait: timedelta) -> None:
        """The receiver wants no request from anybody for a while."""
        self._next = max(self._next, monotonic() + wait.total_seconds())

    async def _wait_for_turn(self) -> None:
        while (wait := self._next - monotonic()) > 0:  # noqa: ASYNC110 - others move it on meanwhile
            await asyncio.sleep(wait)
        self._next = monotonic() + self.teller.pace

    def _leads(self) -> bool:
        if self._fence is None:
            return True
        try:
            return self._fence() > 0
        except Outage:
            return False


class _Line:
    """What one channel is still to be told of one release, in order."""

    def __init__(self, desk: _Desk, release: Release) -> None:
        self._desk = desk
        self._release = release
        self._waiting: deque[Notice] = deque()
        self._busy = False
        self._changed = asyncio.Event()
        self.delivered = Delivered()
        self.task: asyncio.Task[None] | None = None

    def take(self, release: Release) -> None:
        """Look at the outbox. What finds no room stays there, and is offered again."""
        self._release = release
        saved = release.status.notified.get(self._desk.channel.name, Delivered())
        if saved.sequence > self.delivered.sequence:
            self.delivered = saved
        last = max(self.delivered.sequence, self._waiting[-1].sequence if self._waiting else 0)
        for notice in release.status.outbox:
            if notice.sequence > last and len(self._waiting) < _MOST_WAITING:
                self._waiting.append(notice)
        if not self._busy:
            self._skip()
        self._changed.set()
        if self._waiting and self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._run())

    def is_needed(self) -> bool:
        """Whether something is still to be told, or was and is not saved."""
        saved = self._release.status.notified.get(self._desk.channel.name, Delivered())
        return self.task is not None or bool(self._waiting) or self.delivered.sequence > saved.sequence

    async def _run(self) -> None:
        try:
            while self._waiting:
                notice = self._waiting[0]
                await self._let_it_last(notice)
                self._skip()
                if self._waiting and self._waiting[0] is notice:
                    await self._tell_first()
                    self._skip()
        finally:
            self.task = None

    def _skip(self) -> None:
        """Pass over what the channel does not want to know, and what it knows from somebody else."""
        while self._waiting and not (self._waiting[0].sequence > self.delivered.sequence and self._wants_first()):
            notice = self._waiting.popleft()
            if notice.sequence > self.delivered.sequence:
                self.delivered = self._telling(notice).done()

    def _wants_first(self) -> bool:
        notice, *later = self._waiting
        return self._desk.teller.wants(self._telling(notice), later)

    async def _let_it_last(self, notice: Notice) -> None:
        """Wait until an alarm has lasted, is over, or is overtaken by a worse one."""
        desk = self._desk
        while desk.teller.patient and self._wants_first():
            needed = must_last(notice, list(self._waiting)[1:])
            wait = (needed - (desk.clock.now() - notice.at)).total_seconds()
            # Without a need nothing waits, whatever the clocks of two controllers say.
            if not needed or wait <= 0:
                return
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, _LOOK_AGAIN_S)):
                    await self._changed.wait()

    async def _tell_first(self) -> None:
        """The first notice, until it is told or given up."""
        self._busy = True
        try:
            notice = self._waiting[0]
            done = await self._told(notice)
            if done.sequence > self.delivered.sequence:
                self.delivered = done
            self._waiting.popleft()
        finally:
            self._busy = False

    async def _told(self, notice: Notice) -> Delivered:
        desk, began, said, failures = self._desk, monotonic(), "", 0
        while True:
            telling, started = self._telling(notice), monotonic()
            try:
                done = await desk.tell(telling)
            except Unfit as error:
                await desk.say(telling, GIVEN_UP, error=str(error), attempts=failures + 1)
                return telling.done()
            except (Outage, Refused) as error:
                failures, trouble = failures + 1, error
            except Exception as error:  # noqa: BLE001 - a defect in one notice must not silence those after it
                await desk.say(telling, GIVEN_UP, error=f"a defect: {type(error).__name__}", attempts=failures + 1)
                return telling.done()
            else:
                took = round((monotonic() - started) * 1000)
                await desk.say(telling, SENT, attempts=failures + 1, took_ms=took)
                return done
            if self._is_hopeless(notice, began):
                await desk.say(telling, GIVEN_UP, error=str(trouble), attempts=failures)
                return telling.done()
            if str(trouble) != said:
                said = str(trouble)
                await desk.say(telling, FAILED, error=said, attempts=failures)
            await self._wait_after(trouble, failures)

    async def _wait_after(self, trouble: Exception, failures: int) -> None:
        if isinstance(trouble, Later):
            # "Retry-After: 0" is no leave to ask without end.
            self._desk.slow_down(max(trouble.wait, timedelta(seconds=self._desk.first_wait_s)))
            return
        longest = self._desk.first_wait_s * min(2.0 ** min(failures - 1, 16), _MOST_FOLD)
        # Half of it by chance: those who failed together shall not come back together.
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def _is_hopeless(self, notice: Notice, began: float) -> bool:
        """Whether it was tried for long enough, by the clock and, after a restart, by this very process too."""
        desk = self._desk
        patience = desk.channel.give_up
        tried = desk.clock.now() - notice.at - must_last(notice, ())
        return tried >= patience and monotonic() - began >= min(patience.total_seconds(), _LEAST_TRIED_S)

    def _telling(self, notice: Notice) -> Telling:
        return Telling(self._desk.channel, self._release, notice, self.delivered)
