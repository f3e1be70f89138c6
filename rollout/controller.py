"""What wakes the reconciler: watches, requeues and the clock, through one queue that holds each key once.

An event wakes a key and carries no meaning. The scheduler keeps no state: its jobs only wake keys, and everything it
forgets is found again in the Release and the VirtualService.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from rollout import telemetry
from rollout.core.looking import is_settled
from rollout.ports import Clock, Outage, Releases
from rollout.reconciler import AFTER_AN_OUTAGE, Key, Reconciler

RESYNC = timedelta(minutes=5)
"""How often all unfinished releases are woken, in case a watch lost an event unnoticed."""
RELOAD = timedelta(seconds=2)
"""How often the policy files are looked at."""
PATIENCE = timedelta(seconds=30)
"""For how long the Kubernetes API may fail before we are not ready any more."""
LONGEST_BACKOFF_S = 30.0
A_WORD_TAKES = timedelta(milliseconds=200)
LASTED_S = 5.0
"""A watch that lived so long was a working one."""


class WakeQueue:
    """Keys to reconcile. A key is held once, and is never given out while it is being worked on."""

    def __init__(self) -> None:
        self._waiting: dict[Key, None] = {}
        self._working: set[Key] = set()
        self._woken_meanwhile: set[Key] = set()
        self._changed = asyncio.Condition()

    async def wake(self, key: Key) -> None:
        """Have `key` reconciled soon; if it is just being reconciled, once more after that."""
        async with self._changed:
            if key in self._working:
                self._woken_meanwhile.add(key)
            else:
                self._waiting[key] = None
                self._changed.notify()

    @contextlib.asynccontextmanager
    async def next(self) -> AsyncIterator[Key]:
        """The key that waited longest; it is ours until the block ends."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting)
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._working.add(key)
        try:
            yield key
        finally:
            self._working.discard(key)
            if key in self._woken_meanwhile:
                self._woken_meanwhile.discard(key)
                await self.wake(key)


class Controller:
    """Runs until it is cancelled, and leaves the weights as they are then.

    A write that the end cut off is found out by the next cycle of whoever comes after, as it is after a crash.
    """

    def __init__(
        self,
        releases: Releases,
        reconciler: Reconciler,
        clock: Clock,
        *,
        namespaces: Sequence[str],
        reload: Callable[[], None],
    ) -> None:
        self._releases = releases
        self._reconciler = reconciler
        self._clock = clock
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._reload = reload
        self._queue = WakeQueue()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._stirs: dict[Key, asyncio.TimerHandle] = {}
        """Apart from the timers: a cycle under way when its neighbour stirs must not push its news away."""
        self._wakes: set[asyncio.Task[None]] = set()
        self._unfinished: set[Key] = set()
        """What the watches told of; the end or the beginning of one is news to the others of its namespace."""
        self._failing_since: datetime | None = None
        self._log = structlog.stdlib.get_logger("rollout")
        # Nothing is too late to be looked at again, several missed looks are one look.
        self._scheduler = AsyncIOScheduler(
            timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    def is_ready(self) -> bool:
        """Whether the Kubernetes API answers; an idle controller asks little and is ready all the same."""
        since = self._failing_since
        return since is None or self._clock.now() - since < PATIENCE

    async def run(self) -> None:
        """Watch and reconcile until cancelled."""
        self._scheduler.add_job(self._reload, "interval", seconds=RELOAD.total_seconds(), id="reload")
        self._scheduler.add_job(self._resync, "interval", seconds=RESYNC.total_seconds(), id="resync")
        self._scheduler.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                for namespace in self._namespaces:
                    tasks.create_task(self._watch(namespace))
                tasks.create_task(self._work(tasks))
        finally:
            self._scheduler.shutdown(wait=False)
            for timer in (*self._timers.values(), *self._stirs.values()):
                timer.cancel()
            for wake in self._wakes:
                wake.cancel()

    async def _watch(self, namespace: str | None) -> None:
        """Wake every release that is new or was changed; begin again after each outage, with all there are."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            try:
                async with contextlib.aclosing(self._releases.watch(namespace)) as releases:
                    async for release in releases:
                        self._api_answered()
                        if is_settled(release):
                            continue
                        self._reconciler.interrupt(release)
                        if release.key not in self._unfinished:
                            self._unfinished.add(release.key)
                            await self._wake_neighbours(release.key)
                        await self._queue.wake(release.key)
            except Outage as error:
                self._api_failed(error)
            except Exception:  # noqa: BLE001 - one object that nobody thought of must not blind us to all others
                self._log.exception("reconcile.failed", namespace=namespace)
            # A watch that breaks again at once would list everything each time: only one that lasted ends the backoff.
            failures = 0 if loop.time() - began > LASTED_S else failures + 1
            await asyncio.sleep(min(LONGEST_BACKOFF_S, 0.2 * 2 ** min(failures, 8)))

    async def _resync(self) -> None:
        for namespace in self._namespaces:
            try:
                releases = await self._releases.list(namespace)
            except Outage as error:
                self._api_failed(error)
                continue
            self._api_answered()
            for release in releases:
                if not is_settled(release):
                    await self._queue.wake(release.key)

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        """Take one key, and leave the queue to a successor: who waits for a slow Prometheus keeps nobody waiting."""
        async with self._queue.next() as key:
            tasks.create_task(self._work(tasks))
            again = await self._cycle(key)
        if again is None:
            if key in self._unfinished:
                self._unfinished.discard(key)
                await self._wake_neighbours(key)
            return
        if self._reconciler.stirs(key):
            # The watch is to tell of its status first.
            for other in self._neighbours(key):
                self._wake_later(self._stirs, other, A_WORD_TAKES)
        if again <= timedelta(0):
            await self._queue.wake(key)
        else:
            self._wake_later(self._timers, key, again)

    async def _wake_neighbours(self, key: Key) -> None:
        """One that came may supersede another; where one ended, another may begin."""
        for other in self._neighbours(key):
            await self._queue.wake(other)

    def _neighbours(self, key: Key) -> list[Key]:
        return [one for one in self._unfinished if one[0] == key[0] and one != key]

    async def _cycle(self, key: Key) -> timedelta | None:
        """One reconcile, with what every kind of failure means for the next one."""
        try:
            with telemetry.RECONCILE.time():
                again = await self._reconciler.reconcile(key)
        except Outage as error:
            self._api_failed(error)
            telemetry.CYCLES_FAILED.labels("outage").inc()
            return AFTER_AN_OUTAGE
        except Exception:  # noqa: BLE001 - see below
            # A defect in one release must not take the others down; it is loud, counted, and tried again.
            telemetry.CYCLES_FAILED.labels("defect").inc()
            self._log.exception("reconcile.failed", namespace=key[0], release=key[1])
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            return timedelta(seconds=min(LONGEST_BACKOFF_S, 2.0 ** min(failures, 8)))
        self._api_answered()
        self._failures.pop(key, None)
        return again

    def _wake_later(self, timers: dict[Key, asyncio.TimerHandle], key: Key, delay: timedelta) -> None:
        """One timer per release, the newest replaces the older; monotonic, so a clock that is set stops none."""
        loop = asyncio.get_running_loop()
        if (old := timers.pop(key, None)) is not None:
            old.cancel()
        timers[key] = loop.call_later(delay.total_seconds(), self._ring, timers, key)

    def _ring(self, timers: dict[Key, asyncio.TimerHandle], key: Key) -> None:
        timers.pop(key, None)
        wake = asyncio.get_running_loop().create_task(self._queue.wake(key))
        self._wakes.add(wake)
        wake.add_done_callback(self._wakes.discard)

    def _api_answered(self) -> None:
        self._failing_since = None

    def _api_failed(self, error: Outage) -> None:
        if self._failing_since is None:
            self._failing_since = self._clock.now()
            self._log.warning("cluster.unavailable", error=str(error))
