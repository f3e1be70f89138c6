"""What must never happen (I1..I14), asserted on the world: on the mesh, on saved statuses, on what was announced.

Two exceptions run through all of it, because the world has other masters: a person's hand on the route, and a route
that was deleted or is another release's now. After those the route need not be as ordered any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.freeze import Freeze, in_force
from rollout.core.gating import Question, due, run_of
from rollout.core.release import Phase, Reason, Release, Status
from rollout.core.route import Route, Target, Unavailable
from rollout.core.turn import TRANSITIONS
from rollout.core.workload import Health
from tests.fakes.announcer import FakeAnnouncer
from tests.fakes.clock import FakeClock
from tests.fakes.mesh import FakeMesh
from tests.simulation.prometheus import Prometheus

EDGES = frozenset((transition.source, transition.target) for transition in TRANSITIONS)
WAYS_BACK = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.ABORTED, Phase.FAILED})
HOLDS = frozenset(
    {Reason.DRIFTED, Reason.PAUSED, Reason.STUCK, Reason.STABLE_NOT_READY, Reason.WAITING_FOR_APPROVAL, Reason.QUEUED}
)
LAST_WORDS = frozenset(
    {"release.succeeded", "release.rolled_back", "release.aborted", "release.failed", "release.rejected"}
)
MOST_RETREATS = 4
HOPELESS = 0.5
"""A share of failed requests that no canary survives."""


@dataclass(frozen=True, slots=True)
class Hand:
    """A person's edit of the weights that no controller has written over yet."""

    canary: str
    percent: int
    at: datetime
    number: int
    """Of all edits."""
    leg: int
    """Which VirtualService."""


class Invariants:
    """Told of every save, every order and every edit; raises AssertionError at the first thing that may not be."""

    def __init__(self, mesh: FakeMesh, prometheus: Prometheus, clock: FakeClock) -> None:
        self._mesh, self._prometheus, self._clock = mesh, prometheus, clock
        self._releases: dict[str, Release] = {}
        self._orders: dict[str, dict[Route, Status]] = {}
        """Every order that was ever saved, with the status that first held it."""
        self._stood: dict[tuple[str, int, int], datetime] = {}
        """(release, percent, epoch) that the route ever showed, and since when."""
        self._written: dict[str, Route] = {}
        self._back: set[str] = set()
        """Releases whose rollback was on the route."""
        self._hand: Hand | None = None
        self.edits = 0
        """How often people edited the weights."""
        self._turned_back: dict[str, int] = {}
        """Release -> the edits that had been made when its controller saw the route that it decided to roll back on."""
        self._touched = False
        """Whether anybody but one release ever changed the route."""
        self._owners = ["" for _ in mesh.all]
        """Who changed each VirtualService last: a release's name, or "hand"."""
        self._aborts: dict[int, frozenset[str]] = {}
        self._held: set[str] = set()
        """Releases whose object was ever held."""
        self._raised: set[str] = set()
        """Releases that ever ordered more than 0."""
        self.retreats = 0
        """Of all releases."""

    def always(self) -> None:
        """What holds at every instant."""
        for leg in self._mesh.all:
            assert sum(leg.weights.values()) == 100, f"I7 weights {leg.weights}"
            assert all(0 <= weight <= 100 for weight in leg.weights.values()), f"I7 weights {leg.weights}"
        shown = set(self._shown())
        if len(shown) == 1 and (state := shown.pop())[0]:
            self._stood.setdefault(state, self._clock.now())

    def _shown(self) -> list[tuple[str, int, int]]:
        """(release, percent, epoch) that each VirtualService says."""
        there = (leg for leg in self._mesh.all if not leg.gone)
        return [(leg.release, leg.percent(_version(leg.release)), leg.epoch) for leg in there]

    def saved(self, before: Status, release: Release, healths: Mapping[str, Health | Unavailable], edits: int) -> None:
        """A status was saved over `before`, by one who saw the pods like this, and the route after so many `edits`."""
        now, name = release.status, release.name
        self._releases[name] = release
        change = (before.phase, now.phase)
        assert before.phase is now.phase or change in EDGES, f"left the table: {change}"
        assert before.phase is not Phase.ROLLING_BACK or now.phase in WAYS_BACK, f"I3 {change}"
        if now.order is not None:
            assert before.order is None or now.order.epoch >= before.order.epoch, "epochs fell"
            self._orders.setdefault(name, {}).setdefault(now.order, now)
        self._remembered(before, now)
        if now.phase is Phase.ROLLING_BACK and before.phase is not now.phase:
            self._turned_back[name] = edits
        if before.phase is Phase.ANALYSING and now.phase in {Phase.SHIFTING, Phase.FINISHING}:
            again = now.phase is Phase.SHIFTING and now.step == before.step
            if now.evidence.retreats > before.evidence.retreats:
                self._retreated(before, now, healths.get(f"checkout-{now.stable}"))
            elif not again:
                self._advanced(before, release)
                raised = now.phase is Phase.SHIFTING
                assert not raised or _is_ready(healths.get(name)), "I7 raised on unknown pods"
        elif before.phase is Phase.ANALYSING and now.phase is Phase.ROLLING_BACK:
            stable = healths.get(f"checkout-{now.stable}")
            judged = now.cause is not None and now.cause.kind == "metrics"
            gone = isinstance(stable, Health) and stable.ready == 0
            assert not (judged and gone), "I14 convicted beside a stable without pods"
        elif before.phase is Phase.PREPARING and now.phase is Phase.SHIFTING:
            assert self._prometheus.answered is not None, "I5 traffic moved although Prometheus never answered"
        assert now.drift is None or self._touched, "I9 blames somebody who never touched the route"
        if now.phase.terminal and not before.phase.terminal:
            self._ended(release)

    def advanced_freely(self, before: Status, now: Status, freezes: tuple[Freeze, ...] | None) -> None:
        """I15: nobody starts or advances under a freeze, nor on a guess that there is none, nor past a gate."""
        retreated = now.evidence.retreats > before.evidence.retreats
        change, on = (before.phase, now.phase), now.phase in {Phase.SHIFTING, Phase.FINISHING} and not retreated
        again = before.phase is Phase.ANALYSING and now.phase is Phase.SHIFTING and now.step == before.step
        starts = before.phase is Phase.PENDING and now.phase is Phase.PREPARING
        if not starts and (again or not on or change[0] not in {Phase.PREPARING, Phase.ANALYSING}):
            return
        assert freezes is not None, f"I15 {change} without asking whether it is frozen"
        assert in_force(freezes, self._clock.now()) is None, f"I15 {change} under a freeze"
        assert now.policy is not None
        step = now.policy.steps[now.step].weight if now.step is not None else 0
        point = "start" if starts else "promotion" if now.phase is Phase.FINISHING else step
        assert not due(now.gate_runs, now.policy.gates, point), f"I15 {change} past a gate"

    def asked(self, question: Question) -> None:
        """I16: a question is saved before it is put, and one that was answered with yes is never put again."""
        saved = self._releases.get(question.release)
        assert saved is not None, "I16 asked before anything was saved"
        run = run_of(saved.status.gate_runs, question.gate.name)
        assert run is not None and run.attempt >= question.attempt, "I16 asked before it was saved"

    def _remembered(self, before: Status, now: Status) -> None:
        """I12: the evidence of a release is never forgotten, so that its budget of false alarms is spent once."""
        old, new = before.evidence, now.evidence
        assert new.seconds >= old.seconds, "I12 time in the evidence was lost"
        assert new.processes == old.processes or new.seconds > old.seconds, "I12 bets changed without an interval"
        for check, process in old.processes.items():
            # Cash is only ever staked: a process that began anew would have all of it again.
            assert check in new.processes, f"I12 {check} was forgotten"
            assert new.processes[check][0] <= process[0], f"I12 {check} began anew"
        assert new.strikes >= old.strikes, "I12 a strike was forgotten"
        assert old.retreats <= new.retreats <= old.retreats + 1, "I12 retreats were forgotten"
        assert before.learned is None or now.learned == before.learned, "I12 learned twice"
        assert before.policy is None or now.policy == before.policy, "I12 the policy was changed under way"
        passed = {run.gate for run in before.gate_runs if run.state == "passed"}
        assert passed <= {run.gate for run in now.gate_runs if run.state == "passed"}, "I16 a gate's yes was forgotten"
        assert now.announced >= before.announced, "I10 forgot what was announced"

    def _retreated(self, before: Status, now: Status, stable: Health | Unavailable | None) -> None:
        """I13: a retreat lowers the canary's share, onto pods that were seen to be ready, and not for ever."""
        assert before.order is not None
        assert now.order is not None
        assert before.confirmed is not None
        assert now.order.percent < before.order.percent, "I13 a retreat raised the share"
        assert now.order.epoch > before.order.epoch, "I13 a retreat under an old epoch"
        assert before.order.percent == 100, "I13 retreated although there is a control"
        assert before.confirmed.route == before.order, "I13 retreated from a route that was not seen"
        assert _is_ready(stable), "I13 retreated onto pods that are not known to be ready"
        assert now.evidence.retreats <= MOST_RETREATS, "I13 retreated too often"
        self.retreats += 1

    def _advanced(self, before: Status, release: Release) -> None:
        """I4, I5: the route was seen, then held, then a whole interval later Prometheus answered, and all is well."""
        confirmed, policy, step, now = before.confirmed, before.policy, before.step, release.status
        assert confirmed is not None and policy is not None and step is not None and before.order is not None
        assert confirmed.route == before.order, "I4 advanced from a route that was not seen"
        stood = self._stood.get((release.name, before.order.percent, before.order.epoch))
        assert stood is not None and stood <= confirmed.at, "I4 advanced from a route that never stood"
        answered = self._prometheus.answered
        assert answered is not None and answered > confirmed.at + policy.interval, "I5 advanced on silence"
        assert now.verdicts, "I4 advanced without a verdict"
        assert all(verdict.outcome in {"pass", "unmeasured"} for verdict in now.verdicts), "I4 advanced unproven"
        judged = {verdict.check for verdict in now.verdicts if verdict.outcome == "pass"}
        assert {"errors", "traffic"} <= judged, f"I4 advanced on {judged}"
        stayed, skip = self._clock.now() - confirmed.at, release.spec.promote
        skipped = skip is not None and skip.step == step
        if before.evidence.retreats:
            skipped = skip is not None and skipped and skip.at is not None and skip.at > confirmed.at
        enough = min(policy.judge.dwell, policy.steps[step].hold) if policy.judge.early else policy.steps[step].hold
        assert stayed >= enough or skipped, "I4 the hold was cut short"

    def _ended(self, release: Release) -> None:
        """I2: the route was as ordered, and is, unless somebody else changed it since."""
        if release.status.phase is Phase.PROMOTED:
            rate = self._prometheus.error_rate(_version(release.name))
            assert rate < HOPELESS, "I5 promoted a canary that fails half its requests"
        self._as_ordered("I2", release)

    def _as_ordered(self, which: str, release: Release) -> None:
        """The route was as the end of this release has it, and is, unless somebody else changed it since."""
        status, mesh = release.status, self._mesh
        if status.order is None or mesh.gone or status.reason == Reason.ROUTE_GONE:
            return
        state = (release.name, status.order.percent, status.order.epoch)
        others = any(leg.release not in {"", release.name} for leg in mesh.all)
        back = status.phase is Phase.PROMOTED or status.order.percent == 0
        assert back or others, f"{which} {status.phase} although {status.order.percent} % is ordered"
        assert state in self._stood or others, f"{which} ended on {state}, which the route never showed"
        owners = [owner for owner, leg in zip(self._owners, mesh.all, strict=True) if not leg.gone]
        for here, owner in zip(self._shown(), owners, strict=True):
            assert here == state or owner != release.name, f"{which} ended on {state} with the route at {here}"

    def ordered(
        self,
        target: Target,
        route: Route,
        before: tuple[int, str],
        healths: Mapping[str, Health | Unavailable],
        leg: int = 0,
    ) -> None:
        """A controller wrote an order over `before`, (share, release), in a cycle that saw the pods like this."""
        weights, name = self._mesh.all[leg].weights, target.release
        status = self._orders.get(name, {}).get(route)
        assert status is not None, f"I1 {route} was never saved"
        latest = self._releases[name].status
        assert not latest.phase.terminal or latest.order == route, f"I2 {route} after the end"
        assert name not in self._back or route.percent == 0, f"I3 {route} after the rollback was on the route"
        for version in (target.canary, target.stable):
            assert not weights.get(version or "") or version in self._mesh.subsets, f"I7 no subset for {version}"
        other = self._releases.get(before[1])
        alone = other is None or before[1] == name or other.status.phase.terminal
        assert alone, f"I9 the route is {before[1]}'s, and that is not done with it"
        if route.percent > 0:
            self._raised.add(name)
        if route.percent > before[0]:
            health = healths.get(name)
            assert not isinstance(health, Health) or health.ready > 0, "I7 raised without a ready pod"
        if self._hand is not None and (self._hand.canary, self._hand.leg) == (target.canary, leg):
            self._overwrote(self._hand, self._releases[name], status)
        if status.phase is Phase.ROLLING_BACK:
            self._back.add(name)
        self._touched |= self._owners[leg] not in {"", name}
        if self._hand is not None and self._hand.leg == leg:
            self._hand = None
        self._owners[leg], self._written[name] = name, route
        self.always()

    def _overwrote(self, hand: Hand, release: Release, status: Status) -> None:
        """I9: only on request, or on the way back, unless the edit could not be told from what was there before."""
        resume, last = release.spec.resume, self._written.get(release.name)
        asked = resume is not None and resume.at is not None and resume.at >= hand.at
        usual = {last.percent if last else 0, status.confirmed.route.percent if status.confirmed else 0}
        back = status.phase is Phase.ROLLING_BACK
        if back and self._turned_back.get(release.name, 0) >= hand.number:
            # A route that cannot be written is no reason to write over the one who was seen to hold it.
            back = status.cause is not None and status.cause.reason is not Reason.ROUTE_NOT_WRITABLE
        assert back or asked or hand.percent in usual, f"I9 a hand's {hand.percent} % was overwritten"

    def held(self, release: Release) -> None:
        """The object cannot disappear any more."""
        self._held.add(release.name)

    def went(self, name: str) -> None:
        """I11: an object is gone, and so is whoever decided about its traffic: that is where the end ordered it."""
        release = self._releases.get(name)
        if release is None or release.status.order is None:
            return
        # One that only ever ordered 0 has moved nothing; one that was never held may go at any time then.
        if name in self._raised or name in self._held:
            assert release.status.phase.terminal, f"I11 went as {release.status.phase}"
        if name in self._raised:
            self._as_ordered("I11", release)

    def at_rest_after(self, name: str, announcer: FakeAnnouncer) -> None:
        """I10 and I11, long after the object is gone."""
        self.went(name)
        assert not announcer.renamed, f"I10 {announcer.renamed}"
        if name in self._held:
            told = announcer.told.get(name, {})
            assert set(told) == set(range(1, self._releases[name].status.sequence + 1)), "I10 went without a word"

    def edited(self, canary: str, percent: int, leg: int = 0) -> None:
        """A person changed the weights."""
        self.edits += 1
        self._hand = Hand(canary, percent, self._clock.now(), self.edits, leg)
        self._owners[leg], self._touched = "hand", True
        self.always()

    def unnamed(self, leg: int = 0) -> None:
        """A person's tool took the release's name off the route, and nothing else."""
        self._owners[leg], self._touched = "hand", True

    def cycle_began(self, runner: int, aborts: frozenset[str]) -> None:
        """A controller begins to look, at a time when these releases are wished to be aborted."""
        self._aborts[runner] = aborts

    def undisturbed_cycle(self, runner: int, release: Release) -> None:
        """I8: a whole cycle ran with an abort wish in sight and an API server that did all it was asked to."""
        status = release.status
        if release.name not in self._aborts[runner]:
            return
        assert status.phase.terminal or status.phase is Phase.ROLLING_BACK, f"I8 aborted, but {status.phase}"
        theirs = self._mesh.gone or any(owner != release.name for owner in self._owners)
        there = [leg.percent(_version(release.name)) for leg in self._mesh.all if not leg.gone]
        share = max(there, default=0)
        assert status.phase is not Phase.ROLLING_BACK or theirs or share == 0, f"I8 aborted, but {share} %"

    def at_rest(self, release: Release, announcer: FakeAnnouncer, taken: set[int]) -> None:
        """I6 and I10, long after the last fault."""
        status = release.status
        held = status.reason in HOLDS and status.message != ""
        assert status.phase.terminal or held, f"I6 rests in {status.phase} ({status.reason}: {status.message})"
        assert not announcer.renamed, f"I10 {announcer.renamed}"
        told = announcer.told.get(release.name, {})
        missing = set(range(1, status.sequence + 1)) - (set(told) & taken)
        assert not missing, f"I10 never announced: {sorted(missing)}"
        assert not set(told) - set(range(1, status.sequence + 1)), "I10 announced what was never saved"
        assert not release.deleting or not status.phase.terminal, "I11 over, deleted, and still there"
        if status.phase.terminal:
            assert not release.held, "I11 over, but not let go of"
            words = [name for name in told.values() if name in LAST_WORDS]
            assert len(words) == 1, f"I10 last words: {words}"
            assert status.outbox == (), "I10 owes news at its end"
            assert self._clock.now() - (status.finished_at or self._clock.now()) < timedelta(days=2)


def _version(release: str) -> str:
    return release.removeprefix("checkout-")


def _is_ready(health: Health | Unavailable | None) -> bool:
    return isinstance(health, Health) and health.ready > 0
