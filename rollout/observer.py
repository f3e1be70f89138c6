"""Looking: everything the core needs to know of the outside before it decides on one release. Without side effects.

Belongs here: what is asked for, in which order, what at once. Does not belong here: which phase needs what
(`core/looking.py`), and what follows from it (`core/decide.py`).
"""

import asyncio
from collections import defaultdict
from dataclasses import replace
from typing import Any

from rollout.core.analysis import samples_since
from rollout.core.beginning import is_at_gate, is_waiting
from rollout.core.counts import Samples
from rollout.core.dependencies import circle_through
from rollout.core.freeze import Freeze
from rollout.core.gating import Answer, Question
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import judged_bounds
from rollout.core.judging.gates import Readings
from rollout.core.looking import (
    comes_before,
    is_beginning,
    is_over,
    is_steady,
    is_under_way,
    needs_freezes,
    needs_past,
    needs_readings,
    needs_samples,
    needs_stable,
)
from rollout.core.policy import PolicySpec
from rollout.core.release import Release
from rollout.core.route import Mesh, Problem, Target, Unavailable
from rollout.core.turn import Seen
from rollout.core.waiting import open_questions
from rollout.core.workload import Health
from rollout.history import learn_past
from rollout.ports import Refused, Subject, World

_MOST_POLICIES = 64
"""More services than anybody lets go before one another."""
_FREEZES_TAKE_S = 2.0
"""Not to know is to be held, so nothing is lost by not waiting; the look that may roll back waits for all it asked."""


class Observer:
    """Looks at the world on behalf of one release at a time; remembers nothing."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def observe(self, release: Release, announced: int) -> Seen:
        """Look at what the core needs to decide on this release; `announced` as in `Seen`.

        Raises Outage if the Kubernetes API cannot be asked.
        """
        world, status = self._world, release.status
        told: dict[str, Any] = {"announced": announced, "delivered": world.notifier.delivered(release)}
        if is_over(release):
            return Seen(**told)
        told["superseded_by"] = world.releases.superseder(release)
        policy = status.policy
        if is_beginning(release):
            return await self._before(release, told)
        assert policy is not None, "every phase after Pending has a frozen policy"
        told["answers"] = self._answers(release, policy)
        subject = _subject(release, release.target(policy), policy)
        around, samples, past, readings = await asyncio.gather(
            self.around(release, policy, remembered=is_steady(release)),
            self._samples(release, subject, policy),
            self._past(release, subject, policy),
            self._readings(release, subject, policy),
        )
        return Seen(**around, **told, samples=samples, past=past, readings=readings, policy=policy)

    async def _before(self, release: Release, told: dict[str, Any]) -> Seen:
        """What a pending release needs to know; nothing of the mesh before its time has come."""
        world = self._world
        policy = release.spec.policy or await world.policies.find(release.namespace, release.spec.service)
        if not isinstance(policy, PolicySpec):
            return Seen(**told, policy=policy, rivals=await self._rivals(release))
        others, freezes, circle = await asyncio.gather(
            self._told_of(release, policy), self._freezes(release, remembered=False), self._circle(release, policy)
        )
        seen = Seen(**told, **others, freezes=freezes, circle=circle, policy=policy)
        seen = replace(seen, answers=self._answers(release, policy))
        if is_waiting(release, seen, world.clock.now()):
            return seen
        seen = replace(seen, mesh=await world.traffic.observe(release.target(policy)))
        mesh = seen.mesh
        if not isinstance(mesh, Mesh):
            return seen
        holders = await self._holders(release, mesh, seen.rivals)
        if holders or mesh.problem is not None or is_at_gate(release, seen, world.clock.now()):
            return replace(seen, rivals=(*seen.rivals, *holders))
        canary = replace(release.target(policy), stable=mesh.stable)
        return replace(seen, preflight=await world.preflight.inspect(canary, policy))

    async def _told_of(self, release: Release, policy: PolicySpec) -> dict[str, Any]:
        """The same as `others`, without a request where the watch told of nobody: a beginning is decided once more."""
        told = [
            self._world.releases.unfinished(release.namespace, service)
            for service in (release.spec.service, *policy.after)
        ]
        alone = all(keys is not None and set(keys) <= {release.key} for keys in told)
        return {} if alone and self._world.most_active is None else await self.others(release, policy)

    async def others(self, release: Release, policy: PolicySpec) -> dict[str, Any]:
        """What other releases of the namespace mean for one that would begin now, as fields of `Seen`."""
        listed = await self._world.releases.list(release.namespace)
        unfinished = [other for other in listed if other.name != release.name and not is_over(other)]
        service = release.spec.service
        rivals = [one.name for one in unfinished if one.spec.service == service and comes_before(one, release)]
        first = [one.name for one in unfinished if one.spec.service in policy.after]
        most, active = self._world.most_active, [one.name for one in unfinished if is_under_way(one)]
        full = most is not None and len(active) >= most
        said = f"{len(active)} releases are under way in {release.namespace}, and no more may be: {', '.join(active)}"
        return {"rivals": tuple(rivals), "first": tuple(first), "full": said if full else ""}

    async def _circle(self, release: Release, policy: PolicySpec) -> tuple[str, ...]:
        """The services that wait for one another, by the policies as they are now; empty where none do.

        Releases that wait may have brought policies along: of those the youngest of a circle is the one too many.
        """
        if not policy.after:
            return ()
        brought: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        for one in await self._world.releases.list(release.namespace):
            if one.spec.policy is not None and is_beginning(one) and comes_before(one, release):
                brought[one.spec.service] += one.spec.policy.after
        known, asked = {release.spec.service: policy.after}, list(policy.after)
        while asked and len(known) < _MOST_POLICIES:
            if (service := asked.pop()) in known:
                continue
            found = await self._world.policies.find(release.namespace, service)
            known[service] = brought[service] + (found.after if isinstance(found, PolicySpec) else ())
            asked.extend(known[service])
        return circle_through(release.spec.service, known)

    def _answers(self, release: Release, policy: PolicySpec) -> dict[str, Answer]:
        """What gates say to the questions that are open; a question is put by asking for its answer."""
        status = release.status
        asked: dict[str, Answer] = {}
        if release.spec.abort is not None or release.deleting:
            return asked
        for gate, run in open_questions(release, policy, self._world.clock.now()):
            question = Question(
                namespace=release.namespace,
                release=release.name,
                uid=release.uid,
                service=release.spec.service,
                version=release.spec.version,
                stable=status.stable or "",
                step=status.step,
                weight=status.weight,
                gate=gate,
                attempt=run.attempt,
                begun=run.attempt - 1 > run.failures,
            )
            if (answer := self._world.gatekeeper.ask(question)) is not None:
                asked[gate.name] = answer
        return asked

    async def _freezes(self, release: Release, *, remembered: bool) -> tuple[Freeze, ...] | Unavailable:
        if not needs_freezes(release):
            return ()
        service = release.status.service or release.spec.service
        try:
            async with asyncio.timeout(_FREEZES_TAKE_S):
                return await self._world.freezes.of(release.namespace, service, remembered=remembered)
        except TimeoutError:
            return Unavailable(f"no answer within {_FREEZES_TAKE_S:g} s")

    async def around(
        self, release: Release, policy: PolicySpec | Problem | None, *, remembered: bool
    ) -> dict[str, Any]:
        """The route and the pods, as fields of `Seen`; `remembered` as in `ports.Traffic.observe`."""
        assert isinstance(policy, PolicySpec), "without a policy nobody knows which route is meant"
        target = release.target(policy)
        mesh, health, stable_health, freezes = await asyncio.gather(
            self._world.traffic.observe(target, remembered=remembered),
            self._health(target, policy, target.canary, remembered=remembered),
            self._health(target, policy, target.stable if needs_stable(release) else None, remembered=remembered),
            self._freezes(release, remembered=remembered),
        )
        return {"mesh": mesh, "health": health, "stable_health": stable_health, "freezes": freezes}

    async def _rivals(self, release: Release) -> tuple[str, ...]:
        """Unfinished releases of the same service that began, or were made, before this one."""
        others = await self._world.releases.list(release.namespace, release.spec.service)
        return tuple(other.name for other in others if comes_before(other, release))

    async def _holders(self, release: Release, mesh: Mesh, known: tuple[str, ...]) -> tuple[str, ...]:
        """Unfinished releases that ordered this route last: other services', on the same VirtualServices.

        One that cannot be read counts as unfinished: nobody may take a route on a guess.
        """
        found = []
        for author in sorted(set(mesh.authors.values()) - {"", release.name, *known}):
            namespace, slash, name = author.partition("/")
            place = (namespace, name) if slash else (release.namespace, author)
            try:
                holder = await self._world.releases.get(*place)
            except Refused as error:
                found.append(f"{author} (not known whether it is: {error})")
                continue
            if holder is not None and not is_over(holder):
                found.append(author)
        return tuple(found)

    async def _health(
        self, target: Target, policy: PolicySpec, version: str | None, *, remembered: bool
    ) -> Health | Unavailable | None:
        if version is None:
            return None
        deployment = policy.deployment_of(target.service, version)
        return await self._world.workloads.health(target.namespace, deployment, remembered=remembered)

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


def _subject(release: Release, target: Target, policy: PolicySpec) -> Subject | None:
    """Whose requests to look for; None before it is known who holds the traffic."""
    if target.stable is None:
        return None
    versions = target.canary, target.stable
    workloads = policy.deployment_of(target.service, versions[0]), policy.deployment_of(target.service, versions[1])
    canary, stable = workloads if policy.metrics.series_label == "destination_workload" else versions
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
        hosts=tuple(host for host in map(target.host_of, versions) if host is not None),
    )
