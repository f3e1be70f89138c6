"""A whole hostile world on one seed: an API server, a mesh, Prometheus, people, and two controllers that act at once.

The real Reconcilers run, each in its own task. Where one of them touches the outside it may be held at a gate, before
and after the effect; the seed decides which gate opens next. So a cycle may go on long after others moved on, a reply
may be lost, and a crash (the task is cancelled, its Reconciler forgotten) may hit between any two effects. Nothing here
knows what a correct controller does: that is `invariants.py`.
"""

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rollout.core.freeze import FreezeSpec
from rollout.core.judging.gates import MEMORY, Reading
from rollout.core.release import Approval, Release, ReleaseSpec, SkipWish, Wish
from rollout.desk import OnConflict
from rollout.ports import Outage
from rollout.reconciler import AFTER_AN_OUTAGE, Key, Reconciler
from tests import given
from tests.fakes.announcer import FakeAnnouncer
from tests.fakes.clock import FakeClock
from tests.fakes.freezes import FakeFreezes
from tests.fakes.mesh import FakeMesh
from tests.fakes.releases import FakeReleases
from tests.fakes.workloads import FakeWorkloads
from tests.simulation.invariants import Invariants
from tests.simulation.mixes import CUSTOM, InThisThread, drawn_policy
from tests.simulation.ports import HOT, Runner, between, outside
from tests.simulation.prometheus import Prometheus

KEYS: tuple[Key, ...] = (("shop", "checkout-v2"), ("shop", "checkout-v3"))
MOST_CYCLES = 600
CONFLICTS: tuple[OnConflict, ...] = ("reject", "reject", "queue", "supersede")
WISHES = ("pause", "unpause", "resume", "resume", "promote", "abort", "approve", "approve")
PAST = timedelta(minutes=2)
"""How long stable was served before anything began."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong, per simulated step; each seed has its own mix (swarm testing)."""

    gate: float
    """Probability that an effect waits for its turn."""
    crash: float
    stall: float
    ambush: float
    """Probability that a controller falls asleep over the order of a higher share, and that order is then revoked."""
    api: float
    prometheus: float
    hand: float
    wish: float
    pods: float
    delete: float
    """Probability that the VirtualService is deleted."""
    remove: float
    """Probability that a Release is deleted."""
    incident: float
    """Probability that requests begin to fail whoever serves them."""
    gauge: float
    """Probability that what a custom check asks for, or memory, changes."""
    lag: float
    """Probability that a watch has not told the newest yet."""
    freeze: float
    """Probability that somebody freezes the namespace, or lifts it."""
    deaf: float
    """Probability that the channel for notices goes, or comes back."""

    @staticmethod
    def drawn(rng: random.Random) -> "Faults":
        """Some kinds of fault, at some rate; none of them in every eighth world."""
        quiet = rng.random() < 0.125

        def some(*rates: float) -> float:
            return 0.0 if quiet or rng.random() < 0.4 else rng.choice(rates)

        return Faults(
            gate=rng.choice((0.05, 0.2, 0.5)),
            crash=some(0.01, 0.05),
            stall=some(0.02, 0.1),
            ambush=some(0.1, 0.3),
            api=some(0.005, 0.02),
            prometheus=some(0.005, 0.02),
            hand=some(0.003, 0.01),
            wish=some(0.003, 0.015),
            pods=some(0.003, 0.01),
            delete=some(0.0, 0.001),
            remove=some(0.0, 0.002, 0.01),
            incident=some(0.0, 0.005, 0.02),
            gauge=some(0.0, 0.005, 0.02),
            lag=some(0.1, 0.5),
            freeze=some(0.0, 0.005, 0.02),
            deaf=some(0.0, 0.01, 0.05),
        )


PEACE = Faults(*[0] * 16)


class Simulation:
    """One world on one seed; `run` lets it loose, heals it, and lets it come to rest."""

    def __init__(
        self, seed: int, *, mesh: type[FakeMesh] = FakeMesh, reconciler: type[Reconciler] = Reconciler
    ) -> None:
        self.rng = random.Random(seed)
        self.faults = Faults.drawn(self.rng)
        self.gate, self.ambush, self.lag = self.faults.gate, self.faults.ambush, self.faults.lag
        self.policy = drawn_policy(self.rng)
        self.clock = FakeClock(given.NOW)
        # A gateway's VirtualService beside the mesh's, in every fourth world.
        self.mesh = mesh(legs=2 if self.rng.random() < 0.25 else 1)
        self.mesh.between = between
        if self.rng.random() < 0.4:
            # Many teams list every version for good: then nothing is put in, and nothing put away.
            for leg in self.mesh.all:
                leg.weights |= {"v2": 0, "v3": 0}
            self.mesh.subsets |= {"v2", "v3"}
        self.workloads = FakeWorkloads()
        self.releases = FakeReleases(self.clock)
        self.announcer = FakeAnnouncer()
        self.freezes, self.deaf, self.taken = FakeFreezes(), False, dict[str, set[int]]()
        self.prometheus = Prometheus(self.mesh, self.workloads, given.NOW - PAST, self.policy.interval)
        bad = self.rng.choice((0.0, 0.0, 0.001, 0.03, 0.5))
        self.prometheus.error_rates = {"v1": 0.002, "v2": bad, "v3": 0.5 - bad}
        if self.rng.random() < 0.3:
            self.prometheus.full_error_rates = {"v2": self.rng.choice((0.1, 0.3, 0.6))}
        self.prometheus.measured = {CUSTOM: Reading(0.0, 0.0)}
        self.prometheus.run(given.NOW)
        self.api_down = False
        self.ambushed = False
        self.pairs_written = 0
        self.removed: set[str] = set()
        """Releases that somebody deleted."""
        self._reconciler = reconciler
        self.invariants = Invariants(self.mesh, self.prometheus, self.clock)
        self.runners = [self._runner(number) for number in range(2)]
        self.keys = KEYS[: 2 if self.rng.random() < 0.15 else 1]

    def _runner(self, number: int) -> Runner:
        runner = Runner(number)
        runner.reconciler = self._reconciler(outside(self, runner))
        return runner

    async def run(self, steps: int = 400) -> None:
        """Chaos for so many steps, then peace until every release rests. AssertionError names what went wrong."""
        await self.begin()
        for _ in range(steps):
            await self.step()
        await self.end()

    async def begin(self) -> None:
        """CI triggers its releases."""
        asyncio.get_running_loop().set_default_executor(InThisThread(1))
        # Within one second, and the younger one has the name that sorts first: each may believe to be the older.
        for namespace, name in reversed(self.keys):
            conflict = self.rng.choice(CONFLICTS)
            spec = ReleaseSpec(service="checkout", version=name.removeprefix("checkout-"), on_conflict=conflict)
            await self.releases.create(namespace, name, spec)
            self.wake()
            for _ in range(self.rng.choice((0, 4, 8, 16))):
                await self.step()

    async def end(self) -> None:
        """Peace, until every release rests."""
        await self.heal()
        await self.rest()
        for release in self.known():
            self.invariants.at_rest(release, self.announcer, self.taken.get(release.name, set()))
        for _, name in self.keys:
            if name in self.removed and name not in {release.name for release in self.known()}:
                self.invariants.at_rest_after(name, self.announcer)

    def known(self) -> list[Release]:
        """The releases as they are stored now."""
        return [release for release in map(self.releases._release, self.keys) if release is not None]

    async def step(self) -> None:
        """Something happens."""
        await self._disturb()
        runner = self.rng.choice(self.runners)
        if runner.stalled:
            runner.stalled -= 1
        elif runner.task is not None:
            await self._go_on(runner)
        elif not self._begin_if_due(runner):
            self._pass_time()
        await self.settle()
        self.invariants.always()

    def _pass_time(self) -> None:
        due = [when for runner in self.runners for when in runner.due.values() if when is not None]
        wait = min(due, default=self.clock.now()) - self.clock.now()
        self.advance(max(wait, self.rng.choice((timedelta(milliseconds=100), timedelta(seconds=1)))))

    def advance(self, by: timedelta) -> None:
        """Time passes, requests are served, proxies are scraped."""
        self.clock.advance(by)
        self.prometheus.run(self.clock.now())

    def wake(self) -> None:
        """Every controller sees that something changed."""
        for runner in self.runners:
            runner.due.update({release.key: self.clock.now() for release in self.known()})

    def _begin_if_due(self, runner: Runner) -> bool:
        ready = [key for key, when in runner.due.items() if when is not None and when <= self.clock.now()]
        if not ready:
            return False
        key = runner.key = self.rng.choice(ready)
        runner.due[key] = None
        runner.disturbed, runner.healths, runner.read, runner.freezes = False, {}, "", None
        unwanted = frozenset(one.name for one in self.known() if one.spec.abort or one.deleting)
        self.invariants.cycle_began(runner.number, unwanted)
        runner.task = asyncio.get_running_loop().create_task(runner.reconciler.reconcile(key))
        return True

    async def _go_on(self, runner: Runner) -> None:
        if runner.gates:
            _, gate = runner.gates.pop(self.rng.randrange(len(runner.gates)))
            if not gate.done():
                gate.set_result(None)

    async def settle(self) -> None:
        """Let everything run that is not held at a gate."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined] # exact, where sleeping would guess
        for _ in range(1000):
            await asyncio.sleep(0)
            if not ready:
                break
        for runner in self.runners:
            if runner.task is not None and runner.task.done():
                await self._cycle_ended(runner)

    async def _cycle_ended(self, runner: Runner) -> None:
        task, runner.task, runner.gates = runner.task, None, []
        assert task is not None
        again: timedelta | None
        try:
            again = task.result()
        except Outage:
            again = AFTER_AN_OUTAGE
        if again is not None and runner.due.get(runner.key) is None:
            runner.due[runner.key] = self.clock.now() + again
        if not runner.disturbed:
            release = await self.releases.get(*runner.key)
            assert release is not None or runner.key[1] in self.removed
            if release is not None:
                self.invariants.undisturbed_cycle(runner.number, release)

    async def crash(self, runner: Runner) -> None:
        """The process dies, wherever it is, and a new one starts."""
        if runner.task is not None:
            runner.task.cancel()
            await asyncio.gather(runner.task, return_exceptions=True)
        place = self.runners.index(runner)
        self.runners[place] = self._runner(runner.number)
        self.runners[place].due = {release.key: self.clock.now() for release in self.known()}

    async def _disturb(self) -> None:
        rng, faults = self.rng, self.faults
        runner = rng.choice(self.runners)
        hot = any(name in HOT for name, _ in runner.gates)
        if rng.random() < faults.crash * (4 if hot else 1):
            await self.crash(runner)
        if rng.random() < faults.stall * (4 if hot else 1):
            runner.stalled = rng.choice((5, 10, 20, 80))
        if self.ambushed:
            self.ambushed = False
            await self._revoke()
        if rng.random() < (0.1 if self.api_down else faults.api):
            self.api_down = not self.api_down
        if rng.random() < (0.05 if self.prometheus.outage else faults.prometheus):
            self.prometheus.outage = "" if self.prometheus.outage else rng.choice(("no answer", "partial answer"))
            self.prometheus.lag = timedelta(seconds=rng.choice((0, 0, 2, 7)))
        if rng.random() < (0.1 if self.announcer.outage else faults.prometheus):
            self.announcer.outage = "" if self.announcer.outage else "nobody listens"
        self._disturb_requests()
        if rng.random() < faults.delete:
            self.mesh.delete(rng.choice((None, self._any_leg())))
        if rng.random() < faults.hand / 2:
            leg = self._any_leg()
            self.mesh.forget_the_name(leg)
            self.invariants.unnamed(leg)
        if rng.random() < faults.hand:
            self.hand_on_route(*self._any_edit())
        if rng.random() < faults.wish:
            await self.somebody_wishes(rng.choice(WISHES))
        if rng.random() < faults.remove:
            self.somebody_deletes()
        self._disturb_people()

    def _disturb_people(self) -> None:
        """Freezes come and go, and whoever listens to notices does."""
        if self.rng.random() < self.faults.freeze:
            self.somebody_freezes()
        if self.rng.random() < (0.1 if self.deaf else self.faults.deaf):
            self.deaf = not self.deaf

    def _disturb_requests(self) -> None:
        """What becomes of requests, and of what is measured about those who serve them."""
        rng, faults = self.rng, self.faults
        if rng.random() < faults.pods:
            self.workloads.ready["checkout-v2"] = rng.choice((0, 1, 2, 2))
            self.workloads.outage = rng.choice(("", "", "not allowed"))
        if rng.random() < faults.pods:
            self.workloads.ready["checkout-v1"] = rng.choice((0, 1, 2, 2))
        if rng.random() < (0.05 if self.prometheus.incident else faults.incident):
            self.prometheus.incident = 0.0 if self.prometheus.incident else rng.choice((0.1, 0.3, 0.9))
        if rng.random() < faults.gauge:
            self.prometheus.measured = {
                CUSTOM: Reading(rng.choice((None, 0.0, 2.0, 9.0)), 0.0),
                MEMORY: rng.choice((Reading(None), Reading(0.5, 0.5), Reading(0.95), Reading(0.95, 0.9))),
            }

    async def _revoke(self) -> None:
        match self.rng.choice(("abort", "delete", "pods", "hand")):
            case "abort":
                await self.somebody_wishes("abort")
            case "delete" if self.faults.remove:
                self.somebody_deletes()
            case "pods":
                self.workloads.ready["checkout-v2"] = 0
            case _:
                self.hand_on_route(*self._any_edit())

    def _any_edit(self) -> tuple[str, int, bool]:
        rng = self.rng
        canary = rng.choice(self.keys)[1].removeprefix("checkout-")
        return canary, rng.choice((0, 0, 5, 10, 30, 60, 100)), rng.random() < 0.6

    def _any_leg(self) -> int:
        return self.rng.randrange(len(self.mesh.all))

    def hand_on_route(self, canary: str, percent: int, keeps_annotations: bool) -> None:
        """A person changes the weights."""
        leg = self._any_leg()
        (self.mesh.edit if keeps_annotations else self.mesh.replace)(canary, percent, leg=leg)
        self.invariants.edited(canary, percent, leg)
        for runner in self.runners:
            runner.disturbed = True

    async def somebody_wishes(self, what: str) -> None:
        """A write to the spec, and the watch event that follows it."""
        if not self.known():
            return
        release = self.rng.choice(self.known())
        spec, step = release.spec, release.status.step or 0
        wish = Wish(by="ann", at=self.clock.now())
        changes: dict[str, dict[str, Any]] = {
            "pause": {"pause": wish},
            "unpause": {"pause": None},
            "resume": {"resume": wish},
            "promote": {"promote": SkipWish(by="ann", at=self.clock.now(), step=step)},
            "abort": {"abort": wish},
            "approve": {"approvals": (Approval(gate="gate", by="ann", at=self.clock.now()),)},
        }
        self._tell(await self.releases.wish(release, spec.model_copy(update=changes[what])))

    def somebody_freezes(self) -> None:
        """Nobody shall advance, or everybody may again."""
        if ("shop", "namespace") in self.freezes.objects:
            del self.freezes.objects["shop", "namespace"]
        else:
            self.freezes.put_by_hand("shop", "namespace", FreezeSpec(reason="an incident"))

    def somebody_deletes(self) -> None:
        """`kubectl delete`, and the watch event of an object that stays for now."""
        if not self.known():
            return
        release = self.rng.choice(self.known())
        self.removed.add(release.name)
        self.releases.delete(*release.key)
        dying = self.releases._release(release.key)
        if dying is None:
            self.invariants.went(release.name)
        self._tell(dying or release)

    def _tell(self, changed: Release) -> None:
        self.wake()
        for runner in self.runners:
            runner.disturbed = True
            runner.reconciler.interrupt(changed)

    async def heal(self) -> None:
        """Faults stop. What people did stays done."""
        self.api_down, self.prometheus.outage, self.prometheus.lag = False, "", timedelta(0)
        self.announcer.outage = self.workloads.outage = ""
        self.prometheus.incident, self.deaf = 0.0, False
        self.freezes.objects.clear()
        self.faults, self.gate, self.ambush, self.lag = PEACE, 0.0, 0.0, 0.0
        for runner in self.runners:
            runner.stalled = 0
            for _ in range(100):
                if runner.task is None:
                    break
                await self._go_on(runner)
                await self.settle()
        self.wake()

    async def rest(self) -> None:
        """Cycle after cycle, until both controllers have nothing to do or only wait for somebody."""
        for _ in range(MOST_CYCLES):
            if not any(self._begin_if_due(runner) for runner in self.runners):
                if all(when is None for runner in self.runners for when in runner.due.values()):
                    return
                self._pass_time()
            await self.settle()
            self.invariants.always()
