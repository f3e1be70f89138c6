"""Hostile worlds, a seed each: `ROLLOUT_SEEDS=20000 pytest tests/simulation` for a long night, 250 in every run.

A failing seed is printed with what went wrong; `ROLLOUT_SEED=<it>` runs that world alone. And the simulator itself is
put to the test: it must find each of the planted defects.
"""

import asyncio
import contextlib
import os
from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.core import analysis, stepping
from rollout.core import decide as decide_module
from rollout.core.decide import decide
from rollout.core.freeze import Freeze, FreezeSpec
from rollout.core.gating import GateRun
from rollout.core.intents import Announce
from rollout.core.judging import guard
from rollout.core.policy import PolicySpec
from rollout.core.release import Phase, Release
from rollout.core.route import Leg, Mesh, Route, Target, Unavailable
from rollout.core.turn import Turn
from rollout.ports import Conflict, Freezes, World
from rollout.reconciler import AFTER_A_CONFLICT, Key, Reconciler
from tests.fakes.freezes import FakeFreezes
from tests.fakes.mesh import FakeLeg, FakeMesh
from tests.simulation.world import Faults, Simulation

SEEDS = int(os.environ.get("ROLLOUT_SEEDS", "250"))
ONLY = os.environ.get("ROLLOUT_SEED")
ENOUGH = 400
"""So many worlds, at most, until a planted defect must have shown itself."""


def play(seed: int, *, mesh: type[FakeMesh] = FakeMesh, reconciler: type[Reconciler] = Reconciler) -> Simulation:
    """One world from its beginning to its rest. AssertionError if something happened that must not."""

    async def run() -> Simulation:
        simulation = Simulation(seed, mesh=mesh, reconciler=reconciler)
        await simulation.run()
        return simulation

    return asyncio.run(run())


def found(*, mesh: type[FakeMesh] = FakeMesh, reconciler: type[Reconciler] = Reconciler) -> str:
    """What the simulator says about a defect, for the first seed that shows it; "" if none does."""
    for seed in range(ENOUGH):
        try:
            play(seed, mesh=mesh, reconciler=reconciler)
        except AssertionError as error:
            return str(error)
    return ""


def test_nothing_that_must_never_happen_happens_in_any_world() -> None:
    outcomes: set[Phase] = set()
    went = retreats = pairs = 0
    for seed in [int(ONLY)] if ONLY else range(SEEDS):
        try:
            simulation = play(seed)
        except BaseException as error:
            error.add_note(f"in the world of ROLLOUT_SEED={seed}")
            raise
        outcomes |= {release.status.phase for release in simulation.known()}
        went += len(simulation.keys) - len(simulation.known())
        retreats += simulation.invariants.retreats
        pairs += simulation.pairs_written
    # Worlds in which all releases end alike would prove little.
    assert ONLY or SEEDS < 100 or outcomes >= {phase for phase in Phase if phase.terminal}
    assert ONLY or SEEDS < 100 or went > SEEDS // 20
    assert ONLY or SEEDS < 100 or retreats > SEEDS // 50
    assert ONLY or SEEDS < 100 or pairs > SEEDS // 2


def test_the_same_seed_is_the_same_world() -> None:
    for seed in range(10, 20):
        one, other = play(seed), play(seed)
        assert one.known() == other.known()
        assert one.announcer.told == other.announcer.told
        assert one.clock.now() == other.clock.now()


class ActsBeforeItSaves(Reconciler):
    """A planted defect: effect first."""

    async def reconcile(self, key: Key) -> timedelta | None:
        world = self._world
        release = await world.releases.get(*key)
        if release is None:
            return None
        decision = decide(
            release, await self._observer.observe(release, self._last_announced(release)), world.clock.now()
        )
        await self._act(release.model_copy(update={"status": decision.status}), decision)
        if decision.status != release.status:
            try:
                await world.releases.save(release, decision.status)
            except Conflict:
                return AFTER_A_CONFLICT
        return decision.requeue_after


class TellsBeforeItIsSaved(Reconciler):
    """A planted defect: news of a decision that may lose its compare-and-set."""

    async def reconcile(self, key: Key) -> timedelta | None:
        release = await self._world.releases.get(*key)
        if release is not None:
            decision = decide(
                release, await self._observer.observe(release, self._last_announced(release)), self._world.clock.now()
            )
            for intent in decision.intents:
                if isinstance(intent, Announce):
                    await self._announce(release, intent)
        return await super().reconcile(key)


class ForgetsToTell(Reconciler):
    """A planted defect: news counts as told before it is."""

    async def _announce(self, release: Release, intent: Announce) -> None:
        uid, last = self._announced.get(release.key, ("", 0))
        if uid != release.uid or intent.notice.sequence > last:
            self._announced[release.key] = (release.uid, intent.notice.sequence)
            await self._world.announcer.announce(release, intent.notice)


class LetsGoAtOnce(Reconciler):
    """A planted defect: who deletes the object gets what they asked for, before the traffic is back."""

    async def reconcile(self, key: Key) -> timedelta | None:
        release = await self._world.releases.get(*key)
        if release is not None and release.deleting:
            with contextlib.suppress(Conflict):
                await self._world.releases.let_go(release)
        return await super().reconcile(key)


class WritesBlindly(FakeMesh):
    """A planted defect: no compare-and-set on the VirtualService."""

    def _check_revision(self, leg: Leg, one: FakeLeg, seen: Mesh) -> None:
        """Whatever."""


class WritesBlindlyAndForgetsEpochs(WritesBlindly):
    """A planted defect: a newer order does not refuse an older one either."""

    def _check_epoch(self, one: FakeLeg, target: Target, route: Route) -> None:
        """Whatever."""


class WritesOneRouteBlindly(WritesBlindly):
    """Of several routes the second may be written long after the first: there only compare-and-set helps."""

    def __init__(self, legs: int = 1) -> None:
        del legs
        super().__init__()


class AsksBeforeItSaves(Reconciler):
    """A planted defect: a gate is asked although nobody will remember that it was."""

    async def reconcile(self, key: Key) -> timedelta | None:
        release = await self._world.releases.get(*key)
        if release is not None and release.status.policy is not None:
            run = [GateRun(gate=gate.name, since=self._world.clock.now()) for gate in release.status.policy.gates]
            unsaved = release.status.model_copy(update={"gate_runs": tuple(run)})
            await self._observer.observe(release.model_copy(update={"status": unsaved}), 0)
        return await super().reconcile(key)


class TrustsTheWatchOnFreezes(Reconciler):
    """A planted defect: whether it is frozen is not asked again before a weight is raised."""

    def __init__(self, world: World) -> None:
        super().__init__(replace(world, freezes=Forgetful(world.freezes)))


class Forgetful(FakeFreezes):
    """`ports.Freezes` that believes what it was told first for ever."""

    def __init__(self, real: Freezes) -> None:
        super().__init__()
        self._real = real

    async def of(self, namespace: str, service: str, *, remembered: bool = False) -> tuple[Freeze, ...] | Unavailable:
        if not self.objects:
            await self._real.of(namespace, service, remembered=remembered)
            self.put_by_hand("elsewhere", "namespace", FreezeSpec())
        return ()


@pytest.mark.parametrize(
    ("reconciler", "invariant"),
    [
        (ActsBeforeItSaves, "I1"),
        (TellsBeforeItIsSaved, "I10"),
        (ForgetsToTell, "I10"),
        (LetsGoAtOnce, "I11"),
        (AsksBeforeItSaves, "I16"),
        (TrustsTheWatchOnFreezes, "I15"),
    ],
)
def test_a_defect_planted_in_the_reconciler_is_found(reconciler: type[Reconciler], invariant: str) -> None:
    assert found(reconciler=reconciler).startswith(invariant)


def test_blind_writes_to_the_mesh_are_found() -> None:
    assert found(mesh=WritesBlindly)


def test_blind_writes_without_epochs_let_an_old_order_return_after_a_rollback() -> None:
    findings = (_finding(seed, WritesBlindlyAndForgetsEpochs) for seed in range(ENOUGH))
    assert any(finding.startswith("I3") for finding in findings)


def test_epochs_alone_keep_an_old_order_from_returning() -> None:
    assert not any(_finding(seed, WritesOneRouteBlindly).startswith("I3") for seed in range(ENOUGH // 4))


def test_a_gate_that_is_not_waited_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "at_gate", lambda *_: None)
    assert found().startswith("I15")


def test_a_promotion_without_a_verdict_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    strict = analysis._outlook

    def lenient(turn: Turn, policy: PolicySpec, again: timedelta) -> analysis.Outlook:
        outlook = strict(turn, policy, again)
        return replace(outlook, passed=outlook.failed is None)

    monkeypatch.setattr(analysis, "_outlook", lenient)
    assert found()[:2] in {"I4", "I5"}


def test_evidence_that_begins_anew_with_every_step_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "next_step", lambda evidence: evidence.__class__())
    assert found().startswith("I12")


def test_a_retreat_onto_pods_that_nobody_saw_ready_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the last step is an alarm here, and pods come and go: some come while stable's are away."""
    drawn = Faults.drawn
    monkeypatch.setattr(Faults, "drawn", staticmethod(lambda rng: replace(drawn(rng), pods=0.05)))
    monkeypatch.setattr(guard, "ALARM", 1e-9)
    monkeypatch.setattr(decide_module, "stable_is_ready", lambda turn: turn is not None)
    assert found() == "I13 retreated onto pods that are not known to be ready"


def test_a_conviction_beside_a_stable_without_pods_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide_module, "stable_is_gone", lambda turn: turn is None)
    assert found().startswith("I14")


def test_a_retreat_without_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the last step is an alarm here, and none of them a strike."""
    monkeypatch.setattr(guard, "MOST_RETREATS", 1000)
    monkeypatch.setattr(guard, "STRIKES", 1000)
    monkeypatch.setattr(guard, "ALARM", 1e-9)
    assert found() == "I13 retreated too often"


def _finding(seed: int, mesh: type[FakeMesh]) -> str:
    try:
        play(seed, mesh=mesh)
    except AssertionError as error:
        return str(error)
    return ""
