"""The outside as one simulated controller meets it: the shared world behind gates, outages and lost replies.

A gate is a place where the controller may be held, before and after an effect, until the seed lets it go on.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from rollout.core.checks import CustomCheck
from rollout.core.counts import Samples
from rollout.core.events import Notice, Scalar
from rollout.core.freeze import Freeze
from rollout.core.gating import Answer, Outcome, Question
from rollout.core.judging.gates import Readings
from rollout.core.policy import PolicySpec
from rollout.core.release import Delivered, Release, Status
from rollout.core.route import Gone, Mesh, Problem, Route, Target, Unavailable
from rollout.core.workload import Health
from rollout.ports import Outage, Subject, World
from rollout.reconciler import Key, Reconciler
from tests.fakes.announcer import FakeAnnouncer
from tests.fakes.clock import FakeClock
from tests.fakes.freezes import FakeFreezes
from tests.fakes.mesh import FakeMesh
from tests.fakes.preflight import FakePreflight
from tests.fakes.releases import FakeReleases
from tests.fakes.workloads import FakeWorkloads
from tests.simulation.invariants import Invariants
from tests.simulation.prometheus import Prometheus

BETWEEN: ContextVar[Callable[[], Awaitable[None]]] = ContextVar("between")
"""What comes between two writes of one order, to the one who gives it."""


async def between() -> None:
    """For `FakeMesh.between`."""
    await BETWEEN.get()()


HOT = frozenset(
    {"save", "after save", "between", "hold", "after hold", "raise", "set_route", "after set_route", "announce"}
)
"""Where a fault hurts most: between a save and what follows it."""


@dataclass
class Runner:
    """One controller: its Reconciler, the cycle under way, and where that is held."""

    number: int
    reconciler: Reconciler = field(init=False)
    task: asyncio.Task[timedelta | None] | None = None
    key: Key = ("", "")
    gates: list[tuple[str, asyncio.Future[None]]] = field(default_factory=list)
    stalled: int = 0
    """Steps for which no gate of it opens."""
    due: dict[Key, datetime | None] = field(default_factory=dict)
    healths: dict[str, Health | Unavailable] = field(default_factory=dict)
    """What it was told in this cycle about the pods, by Deployment."""
    edits: int = 0
    """People's edits that had been made when it last saw the route."""
    read: str = ""
    """Revision of the release that the cycle under way is about."""
    freezes: tuple[Freeze, ...] | None = None
    """What the API server said of freezes in this cycle; None if it was not asked."""
    disturbed: bool = False
    """Something but metrics, pods and people got in the way of the cycle under way."""


class Outside(Protocol):
    """What all controllers share."""

    rng: random.Random
    gate: float
    """Probability that an effect waits for its turn."""
    ambush: float
    """Probability that a controller falls asleep over the order of a higher share."""
    pairs_written: int
    """Orders that were written to two VirtualServices."""
    lag: float
    """Probability that a watch has not told the newest yet."""
    ambushed: bool
    """It just did: whoever runs the world may revoke that order now."""
    api_down: bool
    policy: PolicySpec
    clock: FakeClock
    mesh: FakeMesh
    workloads: FakeWorkloads
    releases: FakeReleases
    announcer: FakeAnnouncer
    prometheus: Prometheus
    invariants: Invariants
    freezes: FakeFreezes
    deaf: bool
    """No channel takes anything."""
    taken: dict[str, set[int]]
    """What the channel took, by release."""


def outside(sim: Outside, runner: Runner) -> World:
    """The ports of one controller."""
    ports = Ports(sim, runner)
    rest = GatedRest(ports, sim, runner)
    return World(
        releases=GatedReleases(ports, sim, runner),
        traffic=GatedTraffic(ports, sim, runner),
        workloads=rest,
        metrics=rest,
        policies=rest,
        preflight=FakePreflight(),
        announcer=rest,
        freezes=GatedFreezes(ports, sim, runner),
        gatekeeper=HastyGatekeeper(sim),
        notifier=HastyNotifier(sim),
        clock=sim.clock,
    )


class Ports:
    """The outside as one controller meets it: the shared world behind gates, outages and lost replies."""

    def __init__(self, sim: Outside, runner: Runner) -> None:
        self._sim, self._runner = sim, runner

    async def gate(self, name: str) -> None:
        """Perhaps wait until the seed lets this controller go on."""
        sim = self._sim
        ambush = name == "raise" and sim.rng.random() < sim.ambush
        if ambush:
            self._runner.stalled = sim.rng.choice((10, 30, 60))
            sim.ambushed = True
        if ambush or sim.rng.random() < sim.gate * (3 if name in HOT else 1):
            turn = asyncio.get_running_loop().create_future()
            self._runner.gates.append((name, turn))
            await turn

    async def call(self, name: str) -> None:
        """Before an effect: wait, then find the API server up or not."""
        await self.gate(name)
        if self._sim.api_down:
            self._runner.disturbed = True
            raise Outage("the API server does not answer")

    async def reply(self, name: str) -> None:
        """After an effect: wait; the reply may be lost."""
        await self.gate(f"after {name}")
        if self._sim.api_down and self._sim.rng.random() < 0.5:
            self._runner.disturbed = True
            raise Outage("the reply was lost")


class GatedReleases(FakeReleases):
    """`ports.Releases` of one controller."""

    def __init__(self, ports: Ports, sim: Outside, runner: Runner) -> None:
        super().__init__(sim.clock)
        self._ports, self._sim, self._runner, self._shared = ports, sim, runner, sim.releases

    async def get(self, namespace: str, name: str) -> Release | None:
        await self._ports.call("get")
        release = await self._shared.get(namespace, name)
        if release is not None and release.key == self._runner.key:
            # Another one saved it since this cycle began.
            self._runner.disturbed |= self._runner.read not in {"", release.revision}
            self._runner.read = release.revision
        await self._ports.reply("get")
        return release

    def superseder(self, release: Release) -> str:
        return self._shared.superseder(release)

    def unfinished(self, namespace: str, service: str) -> tuple[Key, ...] | None:
        # A watch that lags has told of nobody else yet.
        lags = self._sim.rng.random() < self._sim.lag
        return () if lags else self._shared._rivals.unfinished(namespace, service)

    def unchanged(self, release: Release) -> bool:
        unchanged = self._shared.unchanged(release)
        # A watch that lags has not told yet.
        lags = not unchanged and self._sim.rng.random() < self._sim.lag
        self._runner.disturbed |= lags
        if unchanged or lags:
            self._runner.read = release.revision
        return unchanged or lags

    async def list(self, namespace: str | None, service: str | None = None) -> Sequence[Release]:
        await self._ports.call("list")
        return await self._shared.list(namespace, service)

    async def save(self, release: Release, status: Status) -> Release:
        await self._ports.call("save")
        await self._unless_changed(release)
        saved = await self._shared.save(release, status)
        self._sim.invariants.saved(release.status, saved, self._runner.healths, self._runner.edits)
        self._sim.invariants.advanced_freely(release.status, saved.status, self._runner.freezes)
        await self._ports.reply("save")
        return saved

    async def hold(self, release: Release) -> None:
        await self._ports.call("hold")
        await self._unless_changed(release)
        await self._shared.hold(release)
        self._sim.invariants.held(release)
        await self._ports.reply("hold")

    async def let_go(self, release: Release) -> None:
        await self._ports.call("let_go")
        await self._unless_changed(release)
        await self._shared.let_go(release)
        if await self._shared.get(*release.key) is None:
            self._sim.invariants.went(release.name)
        await self._ports.reply("let_go")

    async def _unless_changed(self, release: Release) -> None:
        current = await self._shared.get(*release.key)
        self._runner.disturbed |= current is None or current.revision != release.revision


class GatedTraffic:
    """`ports.Traffic` of one controller."""

    def __init__(self, ports: Ports, sim: Outside, runner: Runner) -> None:
        self._ports, self._sim, self._runner = ports, sim, runner
        self._told: dict[Target, Mesh | Gone | Unavailable] = {}

    async def observe(self, target: Target, *, remembered: bool = False) -> Mesh | Gone | Unavailable:
        await self._ports.gate("observe")
        last = self._told.get(target)
        if remembered and last is not None and self._sim.rng.random() < self._sim.lag:
            return last
        if self._sim.api_down:
            self._runner.disturbed = True
            return Unavailable("the API server does not answer")
        self._runner.edits = self._sim.invariants.edits
        seen = self._told[target] = await self._sim.mesh.observe(target)
        await self._ports.gate("after observe")
        return seen

    async def set_route(self, target: Target, route: Route, seen: Mesh) -> None:
        await self._ports.call("raise" if route.percent > seen.percent else "set_route")
        mesh, healths, told = self._sim.mesh, self._runner.healths, set[int]()
        self._runner.disturbed |= str(mesh.revision) != seen.revision
        before = [(leg.percent(target.canary), leg.release) for leg in mesh.all]

        revisions = [leg.revision for leg in mesh.all]

        def tell(*, over: bool) -> None:
            for number, leg in enumerate(mesh.all):
                as_ordered = (leg.release, leg.epoch) == (target.release, route.epoch)
                written = over or leg.revision != revisions[number]
                if not leg.gone and number not in told and as_ordered and written:
                    told.add(number)
                    self._sim.invariants.ordered(target, route, before[number], healths, number)

        async def half_written() -> None:
            tell(over=False)
            await self._ports.call("between")

        token = BETWEEN.set(half_written)
        try:
            await mesh.set_route(target, route, seen)
        finally:
            BETWEEN.reset(token)
        tell(over=True)
        self._sim.pairs_written += len(told) > 1
        await self._ports.reply("set_route")

    async def drop_destination(self, target: Target, version: str, seen: Mesh) -> None:
        await self._ports.call("drop_destination")
        await self._sim.mesh.drop_destination(target, version, seen)
        await self._ports.reply("drop_destination")

    async def add_subset(self, target: Target, version: str) -> None:
        await self._ports.call("add_subset")
        await self._sim.mesh.add_subset(target, version)
        await self._ports.reply("add_subset")

    async def drop_subset(self, target: Target, version: str) -> None:
        await self._ports.call("drop_subset")
        await self._sim.mesh.drop_subset(target, version)
        await self._ports.reply("drop_subset")


class GatedFreezes(FakeFreezes):
    """`ports.Freezes` of one controller."""

    def __init__(self, ports: Ports, sim: Outside, runner: Runner) -> None:
        super().__init__()
        self._ports, self._sim, self._runner = ports, sim, runner
        self._told: tuple[Freeze, ...] | None = None

    async def of(self, namespace: str, service: str, *, remembered: bool = False) -> tuple[Freeze, ...] | Unavailable:
        await self._ports.gate("freezes")
        if remembered and self._told is not None and self._sim.rng.random() < self._sim.lag:
            return self._told
        if self._sim.api_down:
            return Unavailable("the API server does not answer")
        seen = await self._sim.freezes.of(namespace, service)
        assert not isinstance(seen, Unavailable)
        self._told = seen
        if not remembered:
            self._runner.freezes = seen
        await self._ports.gate("after freezes")
        return seen


class HastyGatekeeper:
    """`ports.Gatekeeper` of one controller: answers on the second time of asking, each attempt as the seed has it."""

    def __init__(self, sim: Outside) -> None:
        self._sim = sim
        self._asked: dict[tuple[str, int], Answer] = {}

    def ask(self, question: Question) -> Answer | None:
        self._sim.invariants.asked(question)
        place = question.key, question.attempt
        if place in self._asked:
            return self._asked[place]
        outcomes: Sequence[Outcome] = ("passed", "passed", "passed", "waiting", "waiting", "unavailable", "failed")
        self._asked[place] = Answer(self._sim.rng.choice(outcomes), "as drawn", timedelta(seconds=1))
        return None

    def forget(self, uid: str) -> None:
        del uid
        self._asked.clear()


class HastyNotifier:
    """`ports.Notifier` of one controller: one channel, which takes what it is offered unless it is deaf just then."""

    def __init__(self, sim: Outside) -> None:
        self._sim = sim
        self._known: dict[str, int] = {}

    def offer(self, release: Release) -> None:
        if self._sim.deaf:
            return
        taken = self._sim.taken.setdefault(release.name, set())
        for notice in release.status.outbox:
            if notice.sequence > self._so_far(release):
                taken.add(notice.sequence)
                self._known[release.uid] = notice.sequence

    def delivered(self, release: Release) -> Mapping[str, Delivered]:
        return {"pager": Delivered(sequence=self._so_far(release))}

    def forget(self, uid: str) -> None:
        self._known.pop(uid, None)

    def _so_far(self, release: Release) -> int:
        saved = release.status.notified.get("pager", Delivered()).sequence
        return max(saved, self._known.get(release.uid, 0))


class GatedRest:
    """`ports.Workloads`, `Metrics`, `Policies`, `Announcer` of one controller."""

    def __init__(self, ports: Ports, sim: Outside, runner: Runner) -> None:
        self._ports, self._sim, self._runner = ports, sim, runner

    async def health(self, namespace: str, deployment: str, *, remembered: bool = False) -> Health | Unavailable:
        await self._ports.gate("health")
        last = self._runner.healths.get(deployment)
        if remembered and last is not None and self._sim.rng.random() < self._sim.lag:
            return last
        down = self._sim.api_down or self._sim.workloads.outage
        seen = Unavailable("no answer") if down else await self._sim.workloads.health(namespace, deployment)
        self._runner.healths[deployment] = seen
        return seen

    async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
        await self._ports.gate("samples")
        return await self._sim.prometheus.samples(subject, since, now)

    async def readings(self, subject: Subject, custom: Sequence[CustomCheck], now: datetime) -> Readings | Unavailable:
        await self._ports.gate("readings")
        return await self._sim.prometheus.readings(subject, custom, now)

    async def find(self, namespace: str, service: str) -> PolicySpec | Problem:
        del namespace, service
        return self._sim.policy

    async def announce(self, release: Release, notice: Notice) -> None:
        await self._ports.gate("announce")
        self._runner.disturbed |= self._sim.announcer.outage != ""
        await self._sim.announcer.announce(release, notice)
        await self._ports.gate("after announce")

    async def record(self, release: Release, name: str, fields: Mapping[str, Scalar]) -> None:
        await self._sim.announcer.record(release, name, fields)
