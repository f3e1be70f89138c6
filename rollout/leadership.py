"""Contending for the Lease, leading while it is ours, standing by while it is not; all in one process, again and again.

Belongs here: the loop around `core/lease.py`: requests, waiting, the life of what only a leader does, the fence. Does
not belong here: when a Lease is free or lost (the core says), what a leader does (it is given).

Neither of the electors in the vendor's client is used: both go on acting when the API is gone.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import structlog

from rollout import telemetry
from rollout.core.lease import Candidate, Look, Take, Timing, Wait
from rollout.ports import Conflict, Leases, NotFound, Outage

PATIENCE_S = 30.0
"""For how long the Lease may be out of reach before we are not ready any more."""
_ENDING_S = 5.0
"""A leader's work that goes on for so long after it was cancelled is a defect, and ends the process."""
_FAREWELL_TRIES = 3
_STOOD_STILL = "the process stood still"

Lead = Callable[[], Coroutine[Any, Any, None]]
"""Does what only a leader does, until it is cancelled. Called once for every term."""


class LostError(Exception):
    """Somebody else has the Lease, or nobody: the term is over."""


class StuckError(RuntimeError):
    """What a leader does goes on after it was cancelled."""


def new_identity() -> str:
    """The host's name, for people, and what no other process has."""
    return f"{socket.gethostname()}_{secrets.token_hex(4)}"


def since_boot() -> float:
    """Seconds, never set, and running on while the machine sleeps: a leader must not wake up in the belief to lead."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leadership:
    """One candidate for one Lease.

    Args:
        leases: the Lease.
        name: `<namespace>/<name>` of it, for the log.
        timing: how long it lasts.
        identity: what no other process is called.
        clock: monotonic seconds.
    """

    def __init__(
        self, leases: Leases, name: str, timing: Timing, identity: str, clock: Callable[[], float] = since_boot
    ) -> None:
        self._leases = leases
        self._name = name
        self._timing = timing
        self._clock = clock
        self._candidate = Candidate(identity, timing)
        self._changed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._watch_at = self._claim_at = clock()
        self._failing_since: float | None = None
        self._wrote = False
        self._log = structlog.stdlib.get_logger("rollout").bind(lease=name, identity=identity)

    def fence(self) -> float:
        """How many seconds a write that begins now may take; implements `ports.Fence`.

        Raises Outage when we do not lead, or have not renewed for the renew deadline. What is begun before it may last
        until others can take the Lease, and no longer.
        """
        now = self._clock()
        if now >= self._candidate.acts_until:
            raise Outage(f"not the leader: the Lease {self._name} is not held, nothing may be written")
        return self._candidate.valid_until - now

    def is_ready(self) -> bool:
        """Whether the API answers us, leader or not: a standby that is never ready would stop every rolling update."""
        return self._failing_since is None or self._clock() - self._failing_since < PATIENCE_S

    async def run(self, lead: Lead) -> None:
        """Contend, lead, and contend again when the Lease is lost, until cancelled; then give it up.

        What a leader does has ended before the Lease is given up. Returns when `lead` does, and raises what it raises;
        StuckError if it cannot be ended: the process must not go on then.
        """
        telemetry.LEADER.set(0)
        try:
            leading = True
            while leading:
                await self._win()
                leading = await self._term(lead)
        except StuckError:
            # Nobody is let in early beside what may still be at work.
            self._wrote = False
            raise
        finally:
            await self._give_up()

    async def _win(self) -> None:
        """Returns when the Lease is ours."""
        try:
            while self._clock() >= self._candidate.acts_until:
                await self._turn()
        finally:
            await self._stop_watching()

    async def _turn(self) -> None:
        """One move of a candidate who does not lead."""
        self._changed.clear()
        began = self._clock()
        match self._candidate.move(began):
            case Wait(until):
                self._start_watching(began)
                await self._pause(until - began)
            case Take() if began < self._claim_at:
                await self._pause(self._claim_at - began)
            case move:
                try:
                    async with asyncio.timeout(self._timing.request):
                        await (self._look() if isinstance(move, Look) else self._write())
                except (Conflict, NotFound):
                    self._claim_at = began + self._timing.retry
                except Exception as error:  # noqa: BLE001 - whatever it is, there was no usable answer
                    self._failed(error)
                    await asyncio.sleep(began + self._timing.retry - self._clock())

    async def _term(self, lead: Lead) -> bool:
        """Lead until the Lease is lost; False if the work ended by itself."""
        lease = self._candidate.lease
        log = self._log.bind(epoch=lease.transitions if lease is not None else None)
        log.info("leader.acquired")
        telemetry.LEADER.set(1)
        telemetry.LEADER_CHANGES.labels("acquired").inc()
        work = asyncio.create_task(lead())
        try:
            lost = await self._hold(work)
        finally:
            # The fence closes first: from here on nothing more is written, however long the work takes to end.
            self._candidate = self._candidate.stepped_down()
            telemetry.LEADER.set(0)
            await _end(work)
        if not lost:
            return False
        log.warning("leader.lost", reason=lost)
        telemetry.LEADER_CHANGES.labels("lost").inc()
        return True

    async def _hold(self, work: asyncio.Task[None]) -> str:
        """Renew for as long as it works; returns why the term is over, or nothing if the work ended by itself."""
        said = _STOOD_STILL
        due = self._candidate.renewed_at + self._timing.retry
        while (now := self._clock()) < self._candidate.acts_until:
            await asyncio.wait({work}, timeout=max(0.0, min(due, self._candidate.acts_until) - now))
            if work.done():
                await work
                return ""
            now = self._clock()
            if not due <= now < self._candidate.acts_until:
                continue
            due = now + self._timing.retry
            try:
                async with asyncio.timeout(min(self._timing.request, self._candidate.acts_until - now)):
                    await self._renew()
            except LostError as lost:
                return str(lost)
            except Exception as error:  # noqa: BLE001 - any failure is a renewal that did not happen
                said = str(error) or f"no answer within {self._timing.request:g} s"
                self._failed(error)
            else:
                said = _STOOD_STILL
        return f"not renewed for {self._timing.renew_deadline:g} s: {said}"

    async def _renew(self) -> None:
        """Write the Lease once more. Raises LostError if it is not ours any more."""
        try:
            if self._candidate.looked:
                await self._write()
                return
        except Conflict:
            # Perhaps our own renewal, whose answer was lost.
            pass
        except NotFound as error:
            raise LostError("the Lease was deleted") from error
        await self._look()
        if not self._candidate.is_named:
            lease = self._candidate.lease
            raise LostError(f"held by {lease.holder or 'nobody'}" if lease is not None else "the Lease was deleted")
        await self._write()

    async def _look(self) -> None:
        lease = await self._leases.get()
        self._candidate = self._candidate.saw(lease, self._clock())
        self._answered()

    async def _write(self) -> None:
        """Claim the Lease over what was last seen. Raises Conflict or NotFound if that is not so any more."""
        self._wrote = True
        started = self._clock()
        try:
            lease = await self._leases.put(self._candidate.claim(), self._candidate.lease)
        except (Conflict, NotFound):
            self._candidate = self._candidate.outdated()
            self._answered()
            raise
        self._candidate = self._candidate.won(lease, started)
        self._answered()

    async def _give_up(self) -> None:
        """Empty the Lease if it is ours, so that another need not wait; best effort, it runs out by itself."""
        if not self._wrote:
            return
        # A write that was cut off may have been carried out: only the server knows whether the Lease is ours.
        self._candidate = self._candidate.outdated()
        try:
            async with asyncio.timeout(self._timing.request * 2):
                for _ in range(_FAREWELL_TRIES):
                    await self._look()
                    claim = self._candidate.farewell()
                    if claim is None:
                        return
                    try:
                        await self._leases.put(claim, self._candidate.lease)
                    except Conflict:
                        continue
                    self._log.info("leader.released", epoch=claim.transitions)
                    telemetry.LEADER_CHANGES.labels("released").inc()
                    return
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(error)

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until the watch tells something."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _start_watching(self, now: float) -> None:
        if (self._watch is None or self._watch.done()) and now >= self._watch_at:
            self._watch_at = now + self._timing.retry
            self._watch = asyncio.create_task(self._follow())

    async def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
            self._watch = None

    async def _follow(self) -> None:
        """Take in what the watch tells, for as long as it does; a silent one is made up for by looking."""
        since = self._candidate.lease
        if since is None:
            return
        try:
            async with aclosing(self._leases.watch(since)) as states:
                async for lease in states:
                    self._candidate = self._candidate.saw(lease, self._clock())
                    self._answered()
                    self._changed.set()
        except Exception:  # noqa: BLE001 - looking goes on without it, and says what is wrong
            return

    def _answered(self) -> None:
        self._failing_since = None

    def _failed(self, error: Exception) -> None:
        if self._failing_since is None:
            self._failing_since = self._clock()
            self._log.warning("cluster.unavailable", error=str(error) or "no answer in time")


async def _end(work: asyncio.Task[None]) -> None:
    """Cancel it, and wait until it has ended. Raises StuckError if it does not."""
    work.cancel()
    await asyncio.wait({work}, timeout=_ENDING_S)
    if not work.done():
        raise StuckError(f"a leader's work did not end within {_ENDING_S:g} s of being cancelled")
    if not work.cancelled():
        # Seen, so that nothing is said of an exception that nobody retrieved.
        work.exception()
