"""Observe, decide, save, act: one cycle of one release. No branch on phase lives here; the core decides.

On any error the cycle stops where it is. Nothing is retried or compensated: the next cycle finds out again from the
Release and the VirtualService what is the case. What was decided is saved before any of it is done.

While a release is watched at its weight, most looks change nothing but what was counted. Such a look reads what the
watches last told, and its result may wait for a later one to be saved; whatever is to be done is decided on what the
API server holds, never on what was told a moment ago.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from rollout.core.counts import Samples
from rollout.core.decide import Decision, Seen, decide
from rollout.core.events import Scalar
from rollout.core.intents import AddSubset, Announce, DropDestination, DropSubset, Hold, LetGo, RouteChange, SetRoute
from rollout.core.judging.judge import Opinion
from rollout.core.judging.verdicts import Verdict
from rollout.core.looking import asks_for_the_place, is_claiming, is_only_counted, is_over, is_steady, longest_unsaved
from rollout.core.policy import PolicySpec
from rollout.core.release import Release
from rollout.core.route import Target
from rollout.observer import Observer
from rollout.ports import Conflict, NotFound, Outage, Refused, World

Key = tuple[str, str]
AFTER_A_CONFLICT = timedelta(milliseconds=100)
LONGEST_RETRY = timedelta(seconds=5)
AFTER_AN_OUTAGE = timedelta(seconds=1)
LONGEST_TELLING_S = 1.0


class Reconciler:
    """Carries one release one step towards its end, each time it is called."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._observer = Observer(world)
        self._announced: dict[Key, tuple[str, int]] = {}
        self._observing: dict[Key, tuple[Release, asyncio.Task[Seen]]] = {}
        self._failing: dict[Key, tuple[str, int]] = {}
        self._claims: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By namespace: held while a release of it begins."""
        self._stirring: set[Key] = set()
        self._unsaved: dict[Key, tuple[Release, datetime]] = {}
        """The release as it would be saved now, and when it was saved last."""

    def interrupt(self, release: Release) -> None:
        """If the release changed: do not let a slow answer of the old look delay what it asks for now."""
        old, task = self._observing.get(release.key, (release, None))
        if task is not None and (old.uid, old.generation, old.deleting) != (
            release.uid,
            release.generation,
            release.deleting,
        ):
            task.cancel()

    def stirs(self, key: Key) -> bool:
        """Whether the last cycle of this release is news to those before it, which no watch tells; asked once."""
        stirring = key in self._stirring
        self._stirring.discard(key)
        return stirring

    async def reconcile(self, key: Key) -> timedelta | None:
        """One cycle; returns when to look again, None for not before the release changes.

        Raises Outage if the Kubernetes API cannot be asked; nothing was done then.
        """
        release = await self._read(key)
        if release is None:
            self._forget(key)
            return None
        looked = await self._look(release)
        if looked is None:
            return timedelta(0)
        if is_claiming(release.status, looked[1].status):
            async with self._claims[release.namespace]:
                seen, decision, now = await self._once_more(release, looked[0])
                saved = await self._saved(release, decision, now)
        else:
            seen, decision, now = looked
            saved = await self._saved(release, decision, now)
        return AFTER_A_CONFLICT if saved is None else await self._carry_out(saved, decision, seen)

    async def _once_more(self, release: Release, seen: Seen) -> tuple[Seen, Decision, datetime]:
        """Decide on a beginning again, while nobody else of the namespace can begin: two may have seen the same gap."""
        assert isinstance(seen.policy, PolicySpec), "nothing begins without a policy"
        seen = replace(seen, **await self._observer.others(release, seen.policy))
        now = self._world.clock.now()
        return seen, decide(release, seen, now), now

    async def _saved(self, release: Release, decision: Decision, now: datetime) -> Release | None:
        """The release with what was decided in it; None if it changed, or went, meanwhile: nothing may be done then."""
        key = release.key
        if self._may_wait(release, decision, now):
            self._unsaved[key] = release.model_copy(update={"status": decision.status}), self._saved_at(key, now)
        elif decision.status != release.status:
            try:
                release = await self._world.releases.save(release, decision.status)
            except (Conflict, NotFound):
                self._unsaved.pop(key, None)
                return None
            self._unsaved[key] = release, now
            if asks_for_the_place(release, decision.status):
                self._stirring.add(key)
        return release

    async def _carry_out(self, release: Release, decision: Decision, seen: Seen) -> timedelta | None:
        """Do what was saved, and say so; when to look again."""
        world, key = self._world, release.key
        done = await self._act(release, decision)
        if release.status.outbox:
            world.notifier.offer(release)
        await self._record(release, decision, seen)
        if decision.requeue_after is None:
            # Over and announced: nothing will be asked of it again, so nothing is kept of it.
            self._forget(key)
            world.notifier.forget(release.uid)
            world.gatekeeper.forget(release.uid)
        if not done:
            _, times = self._failing.get(key, ("", 0))
            patience: timedelta = min(LONGEST_RETRY, AFTER_A_CONFLICT * 2.0 ** min(times, 10))
            return max(decision.requeue_after or timedelta(0), patience)
        self._failing.pop(key, None)
        return decision.requeue_after

    async def _look(self, release: Release) -> tuple[Seen, Decision, datetime] | None:
        """What was seen, what follows, and when; None if the release changed meanwhile: then look again at once."""
        task = asyncio.create_task(self._observer.observe(release, self._last_announced(release)))
        self._observing[release.key] = release, task
        try:
            seen = await task
        except asyncio.CancelledError:
            if not task.cancelled() or _being_cancelled():
                task.cancel()
                raise
            return None
        finally:
            del self._observing[release.key]
        now = self._world.clock.now()
        decision = decide(release, seen, now)
        if not is_steady(release) or _is_waiting(release, decision):
            return seen, decision, now
        if not await self._is_current(release):
            return None
        seen = replace(seen, **await self._observer.around(release, seen.policy, remembered=False))
        now = self._world.clock.now()
        return seen, decide(release, seen, now), now

    def _forget(self, key: Key) -> None:
        for known in (self._announced, self._failing, self._unsaved):
            known.pop(key, None)

    async def _read(self, key: Key) -> Release | None:
        """The release as it is, with what the last looks counted where nobody has changed it since."""
        mine, _ = self._unsaved.get(key, (None, None))
        if mine is not None and is_steady(mine) and self._world.releases.unchanged(mine):
            return mine
        release = await self._world.releases.get(*key)
        if release is None or mine is None or (release.uid, release.revision) != (mine.uid, mine.revision):
            self._unsaved.pop(key, None)
            return release
        return mine

    async def _is_current(self, release: Release) -> bool:
        """Whether the API server still holds what is to be acted upon; else what was not saved is forgotten."""
        held = await self._world.releases.get(*release.key)
        if held is not None and (held.uid, held.revision) == (release.uid, release.revision):
            return True
        self._unsaved.pop(release.key, None)
        return False

    def _last_announced(self, release: Release) -> int:
        uid, announced = self._announced.get(release.key, ("", 0))
        return announced if uid == release.uid else 0

    def _saved_at(self, key: Key, now: datetime) -> datetime:
        return self._unsaved[key][1] if key in self._unsaved else now

    def _may_wait(self, release: Release, decision: Decision, now: datetime) -> bool:
        """Whether a crash before the next look would lose nothing but a few seconds of counting."""
        if not is_steady(release) or not _is_waiting(release, decision) or release.key not in self._unsaved:
            return False
        waited = now - self._saved_at(release.key, now)
        return timedelta(0) <= waited < longest_unsaved(release)

    async def _act(self, release: Release, decision: Decision) -> bool:
        """Do what was saved, in order; False if something has to be tried again by the next cycle.

        The first change that fails holds back those after it, but no news: that nothing can be written is news itself.
        News is told for a second at most; what is left then, or cannot be told now, stays in the outbox.
        """
        done = True
        for intent in decision.intents:
            if done and not isinstance(intent, Announce):
                done = await self._attempt(release, intent)
        try:
            async with asyncio.timeout(LONGEST_TELLING_S):
                for intent in decision.intents:
                    if isinstance(intent, Announce):
                        await self._announce(release, intent)
        except (Outage, TimeoutError):
            # Nobody waits for news, neither the route nor the next look; only the end does, until all is told.
            last, times = self._failing.get(release.key, ("", 0))
            self._failing[release.key] = last, times + 1
            return done and not is_over(release)
        return done

    async def _attempt(self, release: Release, intent: Hold | LetGo | RouteChange) -> bool:
        """One change of the mesh or of our finalizer; False if it could not be made."""
        try:
            match intent:
                case Hold():
                    await self._world.releases.hold(release)
                case LetGo():
                    await self._world.releases.let_go(release)
                case _:
                    policy = release.status.policy
                    assert policy is not None, "the route is touched only after the policy is frozen"
                    await self._change(release, release.target(policy), intent)
        except Conflict:
            return False
        except (Refused, NotFound, Outage) as error:
            last, times = self._failing.get(release.key, ("", 0))
            self._failing[release.key] = str(error), times + 1
            if str(error) != last:
                percent = intent.route.percent if isinstance(intent, SetRoute) else None
                fields = {"percent": percent, "error": str(error)}
                await self._world.announcer.record(release, "traffic.apply_failed", fields)
            return False
        return True

    async def _change(self, release: Release, target: Target, intent: RouteChange) -> None:
        traffic, clock = self._world.traffic, self._world.clock
        began = clock.now()
        match intent:
            case SetRoute(route, seen):
                await traffic.set_route(target, route, seen)
                took = round((clock.now() - began) / timedelta(milliseconds=1), 1)
                fields = {"percent": route.percent, "took_ms": took}
                await self._world.announcer.record(release, "traffic.applied", fields)
            case AddSubset(version):
                await traffic.add_subset(target, version)
            case DropDestination(version, seen):
                await traffic.drop_destination(target, version, seen)
            case DropSubset(version):
                await traffic.drop_subset(target, version)
            case _:
                assert_never(intent)

    async def _announce(self, release: Release, intent: Announce) -> None:
        uid, last = self._announced.get(release.key, ("", 0))
        if uid != release.uid or intent.notice.sequence > last:
            await self._world.announcer.announce(release, intent.notice)
            self._announced[release.key] = (release.uid, intent.notice.sequence)

    async def _record(self, release: Release, decision: Decision, seen: Seen) -> None:
        query = seen.samples.query if isinstance(seen.samples, Samples) else ""
        for verdict in decision.looked:
            if verdict.outcome != "unmeasured":
                await self._world.announcer.record(release, *_line(verdict, query))
        if decision.opinion is not None:
            await self._world.announcer.record(release, "judge.looked", _summary(decision.opinion, decision.looked))


def _is_waiting(release: Release, decision: Decision) -> bool:
    """Whether there is nothing to do, and nothing to remember but what was counted."""
    told = all(isinstance(intent, Announce) for intent in decision.intents)
    return told and is_only_counted(release.status, decision.status)


def _being_cancelled() -> bool:
    """Whether this very task is asked to end, not only the look it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _summary(found: Opinion, verdicts: Sequence[Verdict]) -> dict[str, Scalar]:
    """One look in one line: the evidence of the release, and the check that weighs most in it."""
    worst = next((one for one in verdicts if one.check == found.check), max(verdicts, key=lambda one: one.evidence))
    return {
        "evidence": round(found.evidence, 3),
        "convicts": round(found.convicts, 3),
        "check": worst.check,
        "verdict": found.kind,
        "requests": worst.requests,
    }


def _line(verdict: Verdict, query: str) -> tuple[str, dict[str, Scalar]]:
    """A verdict as an event of the catalogue."""
    fields: dict[str, Scalar] = {
        "check": verdict.check,
        "value": verdict.value,
        "limit": verdict.limit,
        "requests": verdict.requests,
        "evidence": verdict.evidence,
    }
    match verdict.outcome:
        case "pass":
            return "check.passed", fields
        case "fail":
            stable, convicts = verdict.stable, verdict.convicts
            more: dict[str, Scalar] = {"bad": verdict.bad, "stable_value": stable, "convicts": convicts, "query": query}
            return "check.failed", fields | more
        case _:
            return "check.inconclusive", fields | {"reason_code": verdict.reason}
