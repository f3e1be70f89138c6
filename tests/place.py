"""A world of fakes with one real reconciler in it."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from rollout.core.policy import PolicySpec
from rollout.core.release import Release, Status
from rollout.core.route import Problem
from rollout.ports import World
from rollout.reconciler import Reconciler
from tests import given
from tests.fakes.announcer import FakeAnnouncer
from tests.fakes.clock import FakeClock
from tests.fakes.freezes import FakeFreezes
from tests.fakes.gatekeeper import FakeGatekeeper
from tests.fakes.mesh import FakeMesh
from tests.fakes.notifier import FakeNotifier
from tests.fakes.preflight import FakePreflight
from tests.fakes.releases import FakeReleases
from tests.fakes.workloads import FakeWorkloads
from tests.simulation.prometheus import Prometheus

KEY = ("shop", given.NAME)
LIFE = 400
"""More cycles than any release here needs."""


class Policies:
    """`ports.Policies` with one policy for every service, or a reason why there is none."""

    def __init__(self) -> None:
        self.policy: PolicySpec | Problem = given.policy()

    async def find(self, namespace: str, service: str) -> PolicySpec | Problem:
        del namespace, service
        return self.policy


class Place:
    """A world of fakes with one controller in it."""

    def __init__(
        self,
        *,
        releases: Callable[[FakeClock], FakeReleases] = FakeReleases,
        mesh: FakeMesh | None = None,
        reconciler: type[Reconciler] = Reconciler,
    ) -> None:
        self.clock = FakeClock(given.NOW)
        self.mesh = mesh or FakeMesh()
        self.workloads = FakeWorkloads()
        self.releases = releases(self.clock)
        self.announcer = FakeAnnouncer()
        self.policies = Policies()
        self.preflight = FakePreflight()
        self.freezes, self.gatekeeper, self.notifier = FakeFreezes(), FakeGatekeeper(), FakeNotifier("pager")
        self.prometheus = Prometheus(self.mesh, self.workloads, given.NOW, given.INTERVAL)
        self.make = reconciler
        self.world = World(
            self.releases,
            self.mesh,
            self.workloads,
            self.prometheus,
            self.policies,
            self.preflight,
            self.announcer,
            self.freezes,
            self.gatekeeper,
            self.notifier,
            self.clock,
        )
        self.reconciler = reconciler(self.world)

    async def begin(self) -> None:
        await self.releases.create(*KEY, given.spec())

    async def release(self) -> Release:
        release = await self.releases.get(*KEY)
        assert release is not None
        return release

    async def status(self) -> Status:
        return (await self.release()).status

    def advance(self, by: timedelta) -> None:
        self.clock.advance(by)
        self.prometheus.run(self.clock.now())

    async def cycle(self) -> timedelta | None:
        """One cycle, and the time until the next."""
        again = await self.reconciler.reconcile(KEY)
        if again is not None:
            self.advance(again)
        return again

    async def until(self, done: Callable[[Status], bool]) -> None:
        for _ in range(LIFE):
            if done(await self.status()):
                return
            await self.cycle()
        pytest.fail(f"still {(await self.status()).phase}")

    async def rest(self) -> None:
        """Until nothing is left to do."""
        for _ in range(LIFE):
            if await self.cycle() is None:
                return
        pytest.fail(f"no rest in {(await self.status()).phase}")

    async def abort(self) -> None:
        release = await self.release()
        await self.releases.wish(release, release.spec.model_copy(update={"abort": given.wish()}))
