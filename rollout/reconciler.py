"""Observe, decide, save, act: one cycle of one release. No branch on phase lives here; the core decides.

On any error the cycle stops where it is. Nothing is retried, compensated or remembered: the next cycle finds out again
from the Release and the VirtualService what is the case. What was decided is saved before any of it is done.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from rollout.core.analysis import samples_since
from rollout.core.counts import Samples
from rollout.core.decide import Decision, Seen, decide
from rollout.core.events import Scalar
from rollout.core.intents import AddSubset, Announce, DropDestination, DropSubset, Hold, LetGo, RouteChange, SetRoute
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import judged_bounds
from rollout.core.judging.gates import Readings
from rollout.core.judging.judge import Opinion
from rollout.core.judging.verdicts import Verdict
from rollout.core.looking import (
    comes_before,
    is_beginning,
    is_over,
    needs_past,
    needs_readings,
    needs_samples,
    needs_stable,
)
from rollout.core.policy import PolicySpec
from rollout.core.release import Release
from rollout.core.route import Mesh, Problem, Target, Unavailable
from rollout.core.workload import Health
from rollout.history import learn_past
from rollout.ports import (
    Announcer,
    Clock,
    Conflict,
    Metrics,
    NotFound,
    Outage,
    Policies,
    Refused,
    Releases,
    Subject,
    Traffic,
    Workloads,
)

Key = tuple[str, str]
AFTER_A_CONFLICT = timedelta(milliseconds=100)
LONGEST_RETRY = timedelta(seconds=5)
AFTER_AN_OUTAGE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside, as ports."""

    releases: Releases
    traffic: Traffic
    workloads: Workloads
    metrics: Metrics
    policies: Policies
    announcer: Announcer
    clock: Clock


class Reconciler:
    """Carries one release one step towards its end, each time it is called."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._announced: dict[Key, tuple[str, int]] = {}
        self._observing: dict[Key, tuple[Release, asyncio.Task[Seen]]] = {}
        self._failing: dict[Key, tuple[str, int]] = {}

    def interrupt(self, release: Release) -> None:
        """If the release changed: do not let a slow answer of the old look delay what it asks for now."""
        old, task = self._observing.get(release.key, (release, None))
        if task is not None and (old.uid, old.generation, old.deleting) != (
            release.uid,
            release.generation,
            release.deleting,
        ):
            task.cancel()

    async def reconcile(self, key: Key) -> timedelta | None:
        """One cycle; returns when to look again, None for not before the release changes.

        Raises Outage if the Kubernetes API cannot be asked; nothing was done then.
        """
        world = self._world
        release = await world.releases.get(*key)
        if release is None:
            self._announced.pop(key, None)
            self._failing.pop(key, None)
            return None
        task = asyncio.create_task(self._observe(release))
        self._observing[key] = release, task
        try:
            seen = await task
        except asyncio.CancelledError:
            if not task.cancelled() or _being_cancelled():
                task.cancel()
                raise
            return timedelta(0)
        finally:
            del self._observing[key]
        decision = decide(release, seen, world.clock.now())
        if decision.status != release.status:
            try:
                release = await world.releases.save(release, decision.status)
            except Conflict:
                return AFTER_A_CONFLICT
            except NotFound:
                return None
        done = await self._act(release, decision)
        await self._record(release, decision, seen)
        if decision.requeue_after is None:
            # Over and announced: nothing will be asked of it again, so nothing is kept of it.
            self._announced.pop(key, None)
        if not done:
            _, times = self._failing.get(key, ("", 0))
            patience: timedelta = min(LONGEST_RETRY, AFTER_A_CONFLICT * 2.0 ** min(times, 10))
            return max(decision.requeue_after or timedelta(0), patience)
        self._failing.pop(key, None)
        return decision.requeue_after

    async def _observe(self, release: Release) -> Seen:
        """Look at what the core needs to decide on this release; looking is free of side effects."""
        world, status = self._world, release.status
        uid, announced = self._announced.get(release.key, ("", 0))
        known = announced if uid == release.uid else 0
        if is_over(release):
            return Seen(announced=known)
        policy: PolicySpec | Problem | None = status.policy
        rivals: tuple[str, ...] = ()
        if is_beginning(release):
            policy = release.spec.policy or world.policies.find(release.namespace, release.spec.service)
            rivals = await self._rivals(release)
        if policy is None or isinstance(policy, Problem):
            return Seen(policy=policy, rivals=rivals, announced=known)
        target = release.target(policy)
        subject = _subject(release, target, policy)
        mesh, health, stable_health, samples, past, readings = await asyncio.gather(
            world.traffic.observe(target),
            self._health(target, policy, target.canary),
            self._health(target, policy, target.stable if needs_stable(release) else None),
            self._samples(release, subject, policy),
            self._past(release, subject, policy),
            self._readings(release, subject, policy),
        )
        if is_beginning(release) and isinstance(mesh, Mesh):
            rivals = (*rivals, *await self._holder(release, mesh, rivals))
        return Seen(
            mesh=mesh,
            health=health,
            stable_health=stable_health,
            samples=samples,
            past=past,
            readings=readings,
            policy=policy,
            rivals=rivals,
            announced=known,
        )

    async def _rivals(self, release: Release) -> tuple[str, ...]:
        """Unfinished releases of the same service that began, or were made, before this one."""
        others = await self._world.releases.list(release.namespace, release.spec.service)
        return tuple(other.name for other in others if comes_before(other, release))

    async def _holder(self, release: Release, mesh: Mesh, known: tuple[str, ...]) -> tuple[str, ...]:
        """The unfinished release that ordered this route last: another service's, on the same VirtualService."""
        if mesh.release in {"", release.name, *known}:
            return ()
        holder = await self._world.releases.get(release.namespace, mesh.release)
        return () if holder is None or is_over(holder) else (holder.name,)

    async def _health(self, target: Target, policy: PolicySpec, version: str | None) -> Health | Unavailable | None:
        if version is None:
            return None
        return await self._world.workloads.health(target.namespace, policy.deployment_of(target.service, version))

    async def _samples(
        self, release: Release, subject: Subject | None, policy: PolicySpec
    ) -> Samples | Unavailable | None:
        if not needs_samples(release) or subject is None:
            return None
        now = self._world.clock.now()
        return await self._world.metrics.samples(subject, samples_since(release.status.window, policy, now), now)

    async def _past(
        self, release: Release, subject: Subject | None, policy: PolicySpec
    ) -> Learned | Unavailable | None:
        if not needs_past(release) or subject is None:
            return None
        return await learn_past(self._world.metrics, subject, policy, self._world.clock.now())

    async def _readings(
        self, release: Release, subject: Subject | None, policy: PolicySpec
    ) -> Readings | Unavailable | None:
        if not needs_readings(release) or subject is None:
            return None
        return await self._world.metrics.readings(subject, policy.checks.custom, self._world.clock.now())

    async def _act(self, release: Release, decision: Decision) -> bool:
        """Do what was saved, in order; False if something has to be tried again by the next cycle.

        The first change that fails holds back those after it, but no news: that nothing can be written is news itself.
        """
        done = True
        for intent in decision.intents:
            if isinstance(intent, Announce):
                await self._announce(release, intent)
            elif done:
                done = await self._attempt(release, intent)
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


def _being_cancelled() -> bool:
    """Whether this very task is asked to end, not only the look it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _subject(release: Release, target: Target, policy: PolicySpec) -> Subject | None:
    """Whose requests to look for; None before it is known who holds the traffic."""
    if target.stable is None:
        return None
    versions = target.canary, target.stable
    workloads = policy.deployment_of(target.service, versions[0]), policy.deployment_of(target.service, versions[1])
    canary, stable = workloads if policy.metrics.version_label == "destination_workload" else versions
    return Subject(
        namespace=target.namespace,
        service=target.service,
        canary=canary,
        stable=stable,
        policy=policy.metrics,
        bounds_ms=judged_bounds(policy, release.status.learned),
        versions=versions,
        workloads=workloads,
        interval=policy.interval,
    )


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
