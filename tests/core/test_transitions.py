"""Every change of phase there may be: what makes it, and that nothing else does."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollout.core.counts import Samples
from rollout.core.decide import TRANSITIONS, decide
from rollout.core.freeze import Freeze, FreezeSpec
from rollout.core.gating import Answer, GateRun
from rollout.core.intents import SetRoute
from rollout.core.preflight import Finding, Report
from rollout.core.release import Approval, Confirmed, Drift, Phase, Reason, Release, SkipWish
from rollout.core.route import Gone, Leg, Problem, Unavailable
from rollout.core.turn import Seen
from tests import given
from tests.core.meters import Meters

LATER = given.NOW + given.seconds(13)
"""When a step's hold is over."""
AGES = given.NOW + given.seconds(601)
"""When the whole release has taken too long."""
GONE = Gone("there is no VirtualService checkout")
ABORT = {"abort": given.wish()}
RESUME = {"resume": given.wish(at=given.NOW + given.seconds(5))}
DRIFTED = Drift(percent=20, at=given.NOW)
LAST = len(given.policy().steps) - 1
DEPENDS = Reason.WAITING_FOR_DEPENDENCY


@dataclass(frozen=True)
class Scenario:
    """A release, a world, an instant; where it goes from there, and in which word."""

    title: str
    release: Release
    seen: Seen
    phase: Phase
    reason: Reason
    now: datetime = given.NOW


def passing(step: int = 0, **more: Any) -> Release:
    """A release whose checks passed at this step."""
    release = given.release(Phase.ANALYSING, step=step, **more)
    for number in (1, 2):
        at = given.NOW + number * given.INTERVAL
        samples = by_weight(step, number)
        decision = decide(release, given.seen(given.as_ordered(release), samples=samples), at)
        release = release.model_copy(update={"status": decision.status})
    return release


def alarmed() -> tuple[Release, Samples, datetime]:
    """A release at its last step, one look before its guard's alarm; that look, and its time."""
    release, meters, now = given.release(Phase.ANALYSING, step=LAST), Meters(), given.NOW
    for _ in range(20):
        now += given.INTERVAL
        samples = meters.serve((0, 0), (300, 90))
        seen = given.seen(given.as_ordered(release), samples=samples, stable_health=given.HEALTHY)
        status = decide(release, seen, now).status
        if status.phase is not Phase.ANALYSING:
            return release, samples, now
        release = release.model_copy(update={"status": status})
    pytest.fail("no alarm")


def by_weight(step: int, intervals: int = 2) -> Samples:
    """A thousand requests per interval, shared out as ordered, none of them failed."""
    canary = 10 * intervals * given.policy().steps[step].weight
    at = given.NOW + intervals * given.INTERVAL
    return given.samples((1000 * intervals - canary, 0), (canary, 0), at=at)


FINDING = Finding("no-reporter", "error", "Service shop/checkout", "nobody reports", "scrape", "https://istio.io")


def _before_the_route() -> Iterator[Scenario]:
    pending = given.release(Phase.PENDING)
    untouched = given.untouched()
    end, ready = Phase.FAILED, given.seen(untouched)
    yield Scenario("a release begins", pending, ready, Phase.PREPARING, Reason.WAITING_FOR_READY)
    yield Scenario("another one is under way", pending, given.seen(untouched, rivals=("a",)), end, Reason.BUSY)
    unknown = given.seen(untouched, policy=Problem("no-policy", "nobody wrote one"))
    yield Scenario("there is no policy", pending, unknown, end, Reason.NO_POLICY)
    spoilt = given.release(Phase.PENDING, problem="version: missing")
    yield Scenario("the spec is invalid", spoilt, ready, end, Reason.INVALID_SPEC)
    holder = given.seen(given.untouched(stable=given.CANARY))
    yield Scenario("the version is stable already", pending, holder, end, Reason.ALREADY_STABLE)
    full = given.seen(given.mesh(100, 0, "", stable=None))
    yield Scenario("the version has all traffic", pending, full, end, Reason.ALREADY_STABLE)
    split = given.seen(given.mesh(30, 0, ""))
    yield Scenario("the route is split", pending, split, end, Reason.UNSUPPORTED_ROUTE)
    nobody = given.seen(given.untouched(stable=None))
    yield Scenario("nobody knows who is stable", pending, nobody, end, Reason.UNSUPPORTED_ROUTE)
    odd = given.seen(given.untouched(problem=Problem("delegate", "it delegates")))
    yield Scenario("the route has a shape we leave alone", pending, odd, end, Reason.UNSUPPORTED_ROUTE)
    half = given.seen(given.untouched(missing=(Leg("edge", "checkout"),)))
    yield Scenario("one of two routes is missing", pending, half, end, Reason.UNSUPPORTED_ROUTE)
    wrong = given.seen(untouched, preflight=Report((FINDING, replace(FINDING, severity="warning"))))
    yield Scenario("preflight finds an error", pending, wrong, end, Reason.PREFLIGHT_FAILED)
    yield Scenario("there is no route", pending, given.seen(GONE), end, Reason.UNSUPPORTED_ROUTE)
    unwanted = given.release(Phase.PENDING, wishes=ABORT)
    yield Scenario("aborted before it began", unwanted, ready, Phase.ABORTED, Reason.ABORTED)
    dying = given.release(Phase.PENDING, deleting=True)
    yield Scenario("deleted before it began", dying, ready, Phase.ABORTED, Reason.ABORTED)


FROZEN = Freeze(namespace="shop", name="namespace", spec=FreezeSpec(reason="an incident"))
NIGHT = {"windows": [{"from": "01:00", "to": "02:00"}]}
SMOKE = {"name": "smoke", "kind": "webhook", "use": "smoke"}


def gated(phase: Phase, before: object, *, step: int = 1, asked: bool = True, **gate: object) -> Release:
    """A release whose policy has one gate, which is waited for already, and which has passed all else."""
    policy = given.policy(gates=[{**SMOKE, "before": before, **gate}])
    runs = (GateRun(gate="smoke", since=given.NOW),) if asked else ()
    if phase is Phase.ANALYSING:
        return passing(step, policy=policy, gate_runs=runs)
    return given.release(phase, policy=policy, gate_runs=runs)


def _waiting() -> Iterator[Scenario]:
    stays, ready = Phase.PENDING, given.seen(given.untouched())
    pending = given.release(Phase.PENDING)
    rival = replace(ready, rivals=("a",))
    for on_conflict in ("queue", "supersede"):
        queued = given.release(Phase.PENDING, wishes={"on_conflict": on_conflict})
        yield Scenario(f"another one goes first: {on_conflict}", queued, rival, stays, Reason.QUEUED)
    yield Scenario("the namespace is full", pending, replace(ready, full="enough"), stays, Reason.QUEUED)
    early = given.release(Phase.PENDING, wishes={"not_before": given.NOW + timedelta(hours=1)})
    yield Scenario("it is for later", early, ready, stays, Reason.SCHEDULED)
    frozen = replace(ready, freezes=(FROZEN,))
    yield Scenario("frozen before the start", pending, frozen, stays, Reason.FROZEN)
    unknown = replace(ready, freezes=Unavailable("no answer"))
    yield Scenario("nobody knows of freezes", pending, unknown, stays, Reason.FROZEN)
    night = replace(ready, policy=given.policy(schedule=NIGHT, deadlines={"total": "3d"}))
    yield Scenario("outside the windows", pending, night, stays, Reason.OUTSIDE_WINDOW)
    yield Scenario("others go first", pending, replace(ready, first=("payments-v2",)), stays, DEPENDS)
    circle = replace(ready, circle=("checkout", "payments", "checkout"))
    yield Scenario("all wait for one another", pending, circle, Phase.FAILED, Reason.NO_POLICY)
    newer = replace(ready, superseded_by="checkout-v3")
    yield Scenario("superseded before it began", pending, newer, Phase.ABORTED, Reason.SUPERSEDED)
    held = given.policy(gates=[{"name": "ok"}])
    asks = replace(ready, policy=held)
    yield Scenario("nobody approved the start", pending, asks, stays, Reason.WAITING_FOR_APPROVAL)
    approved = given.release(Phase.PENDING, wishes={"approvals": (Approval(gate="ok", by="ann"),)})
    yield Scenario("somebody approved the start", approved, asks, Phase.PREPARING, Reason.WAITING_FOR_READY)
    asked = gated(Phase.PENDING, "start")
    gate = replace(ready, policy=given.policy(gates=[SMOKE]))
    yield Scenario("a gate before the start", asked, gate, stays, Reason.WAITING_FOR_GATE)
    no = replace(gate, answers={"smoke": Answer("failed", "no")})
    yield Scenario("a gate refuses the start", asked, no, Phase.FAILED, Reason.GATE_REFUSED)


def _held_up() -> Iterator[Scenario]:
    back = Phase.ROLLING_BACK
    claimed = given.release(Phase.PREPARING)
    settled = given.seen(given.as_ordered(claimed), samples=given.samples(at=LATER))
    frozen = replace(settled, freezes=(FROZEN,))
    yield Scenario("frozen before the first weight", claimed, frozen, Phase.PREPARING, Reason.FROZEN, LATER)
    asked = gated(Phase.PREPARING, 10)
    yield Scenario("a gate before the first weight", asked, settled, Phase.PREPARING, Reason.WAITING_FOR_GATE, LATER)
    no = replace(settled, answers={"smoke": Answer("failed", "no")})
    yield Scenario("a gate refuses the first weight", asked, no, back, Reason.GATE_FAILED, LATER)
    yes = replace(settled, answers={"smoke": Answer("passed")})
    yield Scenario("a gate lets the first weight pass", asked, yes, Phase.SHIFTING, Reason.SHIFTING, LATER)
    holding = passing(1)
    seen = given.seen(given.as_ordered(holding), samples=by_weight(1))
    frozen = replace(seen, freezes=(FROZEN,))
    yield Scenario("frozen although it passed", holding, frozen, Phase.ANALYSING, Reason.FROZEN, LATER)
    bad = given.seen(given.as_ordered(holding), samples=given.samples((900, 0), (100, 90)), freezes=(FROZEN,))
    young = given.release(Phase.ANALYSING, step=1)
    yield Scenario("a check failed under a freeze", young, bad, back, Reason.CHECK_FAILED, given.NOW + given.INTERVAL)
    newer = replace(seen, superseded_by="checkout-v3")
    yield Scenario("superseded on its way", holding, newer, back, Reason.SUPERSEDED)
    finishing = given.release(Phase.FINISHING)
    late = given.seen(given.as_ordered(finishing), superseded_by="checkout-v3")
    yield Scenario("superseded after it passed", finishing, late, Phase.FINISHING, Reason.CLEANING_UP)
    gate = gated(Phase.ANALYSING, 100, asked=False)
    yield Scenario("a gate before the last weight", gate, seen, Phase.ANALYSING, Reason.WAITING_FOR_GATE, LATER)
    asked = gated(Phase.ANALYSING, 100)
    no = replace(seen, answers={"smoke": Answer("failed", "no")})
    yield Scenario("a gate refuses the last weight", asked, no, back, Reason.GATE_FAILED, LATER)
    last = gated(Phase.ANALYSING, "promotion", step=LAST)
    done = given.seen(given.as_ordered(last), samples=by_weight(LAST))
    yield Scenario("a gate before the promotion", last, done, Phase.ANALYSING, Reason.WAITING_FOR_GATE, LATER)
    yes = replace(done, answers={"smoke": Answer("passed")})
    yield Scenario("a gate lets it be promoted", last, yes, Phase.FINISHING, Reason.CLEANING_UP, LATER)


def _preparing() -> Iterator[Scenario]:
    claimed = given.release(Phase.PREPARING)
    there, back = given.as_ordered(claimed), Phase.ROLLING_BACK
    far = given.NOW + given.seconds(61)
    told = given.samples(at=far)
    yield Scenario(
        "everything is ready", claimed, given.seen(there, samples=told), Phase.SHIFTING, Reason.SHIFTING, far
    )
    down = given.seen(there, health=given.health(0))
    yield Scenario("pods take their time", claimed, down, Phase.PREPARING, Reason.WAITING_FOR_READY)
    yield Scenario("pods never come", claimed, down, back, Reason.CANARY_NOT_READY, far)
    yield Scenario("no metrics yet", claimed, given.seen(there), Phase.PREPARING, Reason.WAITING_FOR_METRICS)
    yield Scenario("no metrics ever", claimed, given.seen(there), back, Reason.METRICS_UNAVAILABLE, far)
    bare = given.as_ordered(claimed, subsets=frozenset({given.STABLE}))
    seen = given.seen(bare, samples=given.samples(at=given.NOW))
    yield Scenario("the subset is missing", claimed, seen, Phase.PREPARING, Reason.SETTLING)
    too_late = given.NOW + given.seconds(81)
    yield Scenario(
        "the subset cannot be added",
        claimed,
        given.seen(bare, samples=given.samples(at=too_late)),
        back,
        Reason.ROUTE_NOT_WRITABLE,
        too_late,
    )
    unclaimed = given.release(Phase.PREPARING, confirmed=None)
    untouched = given.seen(given.untouched())
    yield Scenario("the claim cannot be written", unclaimed, untouched, back, Reason.ROUTE_NOT_WRITABLE, far)
    settled = given.seen(there, samples=given.samples(at=LATER))
    paused = given.release(Phase.PREPARING, wishes={"pause": given.wish()})
    yield Scenario("paused before the first step", paused, settled, Phase.PREPARING, Reason.PAUSED, LATER)
    aborted = given.release(Phase.PREPARING, wishes=ABORT)
    yield Scenario("aborted while preparing", aborted, given.seen(there), back, Reason.ABORTED)
    yield Scenario("it took too long", claimed, given.seen(there), back, Reason.DEADLINE, AGES)
    spoilt = given.release(Phase.PREPARING, problem="version: changed")
    yield Scenario("the spec was spoilt", spoilt, settled, Phase.PREPARING, Reason.INVALID_SPEC, LATER)


def _under_way() -> Iterator[Scenario]:
    back = Phase.ROLLING_BACK
    shifting = given.release(Phase.SHIFTING, step=1)
    arrived = given.seen(given.mesh(30, 3))
    yield Scenario("the weight arrived", shifting, arrived, Phase.ANALYSING, Reason.HOLDING)
    down = given.health(0)
    no_pod = given.seen(given.mesh(10, 2), health=down)
    yield Scenario("no pod while shifting", shifting, no_pod, back, Reason.CANARY_NOT_READY)
    late = given.NOW + given.seconds(21)
    stuck = given.seen(given.mesh(10, 2))
    yield Scenario("the weight cannot be written", shifting, stuck, back, Reason.ROUTE_NOT_WRITABLE, late)
    drifted = given.release(Phase.SHIFTING, step=1, drift=DRIFTED, wishes=RESUME)
    hand = given.mesh(20, 2)
    yield Scenario("taken back while shifting", drifted, given.seen(hand), Phase.SHIFTING, Reason.SHIFTING, LATER)

    holding = passing(1)
    there, samples = given.as_ordered(holding), by_weight(1)
    yield Scenario("the hold lasts", holding, given.seen(there, samples=samples), Phase.ANALYSING, Reason.HOLDING)
    yield Scenario(
        "every check passed", holding, given.seen(there, samples=samples), Phase.SHIFTING, Reason.SHIFTING, LATER
    )
    unsure = given.seen(there, samples=samples, health=Unavailable("no answer"))
    yield Scenario("nobody knows the pods", holding, unsure, Phase.ANALYSING, Reason.WAITING_FOR_READY, LATER)
    unasked = given.seen(there, samples=samples, health=None)
    yield Scenario("nobody looked at the pods", holding, unasked, Phase.ANALYSING, Reason.WAITING_FOR_READY, LATER)
    last = passing(LAST)
    done = given.seen(given.as_ordered(last), samples=by_weight(LAST))
    yield Scenario("the last step passed", last, done, Phase.FINISHING, Reason.CLEANING_UP, LATER)
    paused = passing(1, wishes={"pause": given.wish()})
    yield Scenario(
        "paused although it passed", paused, given.seen(there, samples=samples), Phase.ANALYSING, Reason.PAUSED, LATER
    )
    young = given.release(Phase.ANALYSING, step=1)
    quiet = given.seen(given.as_ordered(young), samples=given.samples((10, 0), (1, 0), at=LATER))
    yield Scenario("too few requests", young, quiet, Phase.ANALYSING, Reason.UNKNOWN_VERDICT, LATER)
    end = given.NOW + given.seconds(73)
    for_ever = given.seen(given.as_ordered(young), samples=given.samples((10, 0), (1, 0), at=end))
    yield Scenario("too few requests for ever", young, for_ever, back, Reason.INCONCLUSIVE, end)
    bad = given.seen(given.as_ordered(young), samples=given.samples((900, 0), (100, 90)))
    yield Scenario("a check failed", young, bad, back, Reason.CHECK_FAILED, given.NOW + given.INTERVAL)
    blind = given.release(Phase.ANALYSING, step=1, blind_since=given.NOW)
    silent = given.seen(given.as_ordered(blind))
    dark = given.NOW + given.seconds(31)
    yield Scenario("Prometheus is gone for long", blind, silent, back, Reason.METRICS_UNAVAILABLE, dark)
    yield Scenario(
        "no pod while holding", young, given.seen(given.as_ordered(young), health=down), back, Reason.CANARY_NOT_READY
    )
    yield Scenario(
        "a hand on the route", young, given.seen(given.mesh(20, 3)), Phase.ANALYSING, Reason.DRIFTED, given.NOW
    )
    resumed = given.release(Phase.ANALYSING, step=1, drift=DRIFTED, wishes=RESUME)
    yield Scenario(
        "taken back while holding", resumed, given.seen(given.mesh(20, 3)), Phase.SHIFTING, Reason.SHIFTING, LATER
    )
    stable = given.seen(given.mesh(0, 3))
    yield Scenario("a hand put it all back", young, stable, back, Reason.HAND_ON_ROUTE)
    unknown = given.seen(given.mesh(30, 9))
    yield Scenario("an order we do not remember", young, unknown, back, Reason.HAND_ON_ROUTE)
    skipped = passing(1, wishes={"promote": SkipWish(step=1)})
    yield Scenario(
        "the hold is skipped",
        skipped,
        given.seen(there, samples=samples),
        Phase.SHIFTING,
        Reason.SHIFTING,
        given.NOW + 2 * given.INTERVAL - given.seconds(1),
    )


def _without_control() -> Iterator[Scenario]:
    young, now = given.release(Phase.ANALYSING, step=1), given.NOW + given.INTERVAL
    bad, gone = given.samples((900, 0), (100, 90)), given.health(0)
    alone = given.seen(given.as_ordered(young), samples=bad, stable_health=gone)
    yield Scenario("a check failed beside no stable", young, alone, Phase.ANALYSING, Reason.STABLE_NOT_READY, now)
    release, samples, now = alarmed()
    seen = given.seen(given.as_ordered(release), samples=samples, stable_health=given.HEALTHY)
    yield Scenario("an alarm at full weight", release, seen, Phase.SHIFTING, Reason.SHIFTING, now)
    bare = replace(seen, stable_health=given.health(0))
    yield Scenario("an alarm without a stable pod", release, bare, Phase.ANALYSING, Reason.UNKNOWN_VERDICT, now)
    hand = replace(seen, mesh=given.mesh(60, 4))
    yield Scenario("an alarm under a hand on the route", release, hand, Phase.ANALYSING, Reason.DRIFTED, now)


def _towards_the_end() -> Iterator[Scenario]:
    back = Phase.ROLLING_BACK
    finishing = given.release(Phase.FINISHING)
    alone = {"listed": frozenset({given.CANARY}), "subsets": frozenset({given.CANARY})}
    clean = given.seen(given.as_ordered(finishing, **alone))
    yield Scenario("nothing is left to put away", finishing, clean, Phase.PROMOTED, Reason.PROMOTED)
    stays = given.seen(given.as_ordered(finishing))
    yield Scenario("the old destination is still there", finishing, stays, Phase.FINISHING, Reason.CLEANING_UP)
    for source in (Phase.PREPARING, Phase.SHIFTING, Phase.ANALYSING, Phase.FINISHING):
        dying = given.release(source, deleting=True)
        yield Scenario(f"{source}: deleted", dying, given.seen(given.as_ordered(dying)), back, Reason.ABORTED)
    aborted = given.release(Phase.FINISHING, wishes=ABORT)
    yield Scenario("aborted while finishing", aborted, stays, back, Reason.ABORTED)
    drifted = given.release(Phase.FINISHING, drift=DRIFTED, wishes=RESUME)
    hand = given.seen(given.mesh(20, 4))
    yield Scenario("taken back while finishing", drifted, hand, Phase.SHIFTING, Reason.SHIFTING, LATER)

    failing = given.release(Phase.ROLLING_BACK)
    put_away = {"listed": frozenset({given.STABLE}), "subsets": frozenset({given.STABLE})}
    there = given.seen(given.as_ordered(failing, **put_away))
    yield Scenario("all traffic is back", failing, there, Phase.ROLLED_BACK, Reason.CHECK_FAILED)
    wished = given.release(Phase.FINISHING, wishes=ABORT)
    first = decide(wished, stays, given.NOW).status
    aborting = wished.model_copy(update={"status": first})
    there = given.seen(given.as_ordered(aborting, **put_away))
    yield Scenario("all traffic is back by wish", aborting, there, Phase.ABORTED, Reason.ABORTED)
    never = given.release(Phase.ROLLING_BACK, step=None)
    there = given.seen(given.as_ordered(never, **put_away))
    yield Scenario("no traffic had moved", never, there, Phase.FAILED, Reason.CHECK_FAILED)
    order = failing.status.order
    assert order is not None
    undone = given.release(Phase.ROLLING_BACK, confirmed=Confirmed(route=order, at=given.NOW), reorders=3)
    yield Scenario("undone again and again", undone, given.seen(given.mesh(10, 3)), back, Reason.STUCK)
    for source in (Phase.PREPARING, Phase.SHIFTING, Phase.ANALYSING, Phase.FINISHING):
        release = given.release(source)
        taken = given.seen(given.mesh(0, 9, "checkout-v3"))
        yield Scenario(f"{source}: the route is gone", release, given.seen(GONE), Phase.FAILED, Reason.ROUTE_GONE)
        half = given.seen(given.as_ordered(release, missing=(Leg("edge", "checkout"),)))
        lost = f"{source}: one of two routes is gone"
        yield Scenario(lost, release, half, Phase.ROLLING_BACK, Reason.ROUTE_GONE)
        yield Scenario(f"{source}: the route was taken", release, taken, Phase.ABORTED, Reason.HAND_ON_ROUTE)
    yield Scenario("the route is gone on the way back", failing, given.seen(GONE), Phase.FAILED, Reason.CHECK_FAILED)
    taken = given.seen(given.mesh(0, 9, "checkout-v3"))
    yield Scenario("taken on the way back", failing, taken, Phase.ROLLED_BACK, Reason.CHECK_FAILED)


SCENARIOS = (
    *_before_the_route(),
    *_waiting(),
    *_preparing(),
    *_held_up(),
    *_under_way(),
    *_without_control(),
    *_towards_the_end(),
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.title)
def test_a_release_goes_where_the_scenario_says(scenario: Scenario) -> None:
    status = decide(scenario.release, scenario.seen, scenario.now).status
    assert (status.phase, status.reason) == (scenario.phase, scenario.reason)


def test_every_edge_of_the_table_is_taken_and_no_scenario_leaves_it() -> None:
    edges = {(transition.source, transition.target) for transition in TRANSITIONS}
    taken = {(one.release.status.phase, one.phase) for one in SCENARIOS if one.release.status.phase is not one.phase}
    assert taken == edges


def test_every_reason_is_given_by_some_scenario() -> None:
    assert {scenario.reason for scenario in SCENARIOS} == set(Reason)


def test_nothing_follows_an_end() -> None:
    ends = {phase for phase in Phase if phase.terminal}
    assert not ends & {transition.source for transition in TRANSITIONS}
    for phase in ends:
        release = given.release(phase, step=0)
        for scenario in SCENARIOS:
            decision = decide(release, scenario.seen, scenario.now)
            assert decision.status == release.status
            assert decision.requeue_after is None
            assert not decision.intents


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.title)
def test_a_way_back_orders_nothing_but_zero(scenario: Scenario) -> None:
    decision = decide(scenario.release, scenario.seen, scenario.now)
    if decision.status.phase is Phase.ROLLING_BACK:
        assert all(one.route.percent == 0 for one in decision.intents if isinstance(one, SetRoute))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.title)
def test_an_order_is_written_only_as_it_was_saved(scenario: Scenario) -> None:
    decision = decide(scenario.release, scenario.seen, scenario.now)
    assert all(one.route == decision.status.order for one in decision.intents if isinstance(one, SetRoute))
