"""Looking: everything the core needs to know of the outside before it decides on one release. Without side effects.

Belongs here: what is asked for, in which order, what at once. Does not belong here: which phase needs what
(`core/looking.py`), and what follows from it (`core/decide.py`).
"""

import asyncio
from dataclasses import replace
from typing import Any

from rollout.core.analysis import samples_since
from rollout.core.counts import Samples
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import judged_bounds
from rollout.core.judging.gates import Readings
from rollout.core.looking import (
    comes_before,
    is_beginning,
    is_over,
    is_steady,
    needs_past,
    needs_readings,
    needs_samples,
    needs_stable,
)
from rollout.core.policy import PolicySpec
from rollout.core.release import Release
from rollout.core.route import Mesh, Problem, Target, Unavailable
from rollout.core.turn import Seen
from rollout.core.workload import Health
from rollout.history import learn_past
from rollout.ports import Refused, Subject, World


class Observer:
    """Looks at the world on behalf of one release at a time; remembers nothing."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def observe(self, release: Release, announced: int) -> Seen:
        """Look at what the core needs to decide on this release; `announced` as in `Seen`.

        Raises Outage if the Kubernetes API cannot be asked.
        """
        world, status = self._world, release.status
        if is_over(release):
            return Seen(announced=announced)
        policy: PolicySpec | Problem | None = status.policy
        rivals: tuple[str, ...] = ()
        if is_beginning(release):
            policy = release.spec.policy or await world.policies.find(release.namespace, release.spec.service)
            rivals = await self._rivals(release)
        if policy is None or isinstance(policy, Problem):
            return Seen(policy=policy, rivals=rivals, announced=announced)
        subject = _subject(release, release.target(policy), policy)
        around, samples, past, readings = await asyncio.gather(
            self.around(release, policy, remembered=is_steady(release)),
            self._samples(release, subject, policy),
            self._past(release, subject, policy),
            self._readings(release, subject, policy),
        )
        mesh, preflight = around["mesh"], None
        if is_beginning(release) and isinstance(mesh, Mesh):
            rivals = (*rivals, *await self._holders(release, mesh, rivals))
            if not rivals and mesh.problem is None:
                canary = replace(release.target(policy), stable=mesh.stable)
                preflight = await world.preflight.inspect(canary, policy)
        return Seen(
            **around,
            samples=samples,
            past=past,
            readings=readings,
            preflight=preflight,
            policy=policy,
            rivals=rivals,
            announced=announced,
        )

    async def around(
        self, release: Release, policy: PolicySpec | Problem | None, *, remembered: bool
    ) -> dict[str, Any]:
        """The route and the pods, as fields of `Seen`; `remembered` as in `ports.Traffic.observe`."""
        assert isinstance(policy, PolicySpec), "without a policy nobody knows which route is meant"
        target = release.target(policy)
        mesh, health, stable_health = await asyncio.gather(
            self._world.traffic.observe(target, remembered=remembered),
            self._health(target, policy, target.canary, remembered=remembered),
            self._health(target, policy, target.stable if needs_stable(release) else None, remembered=remembered),
        )
        return {"mesh": mesh, "health": health, "stable_health": stable_health}

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
