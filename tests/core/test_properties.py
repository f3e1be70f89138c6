"""What holds for `decide` whatever the release, whatever the world, whatever the time."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from rollout.core.counts import Counts, Tally
from rollout.core.decide import TRANSITIONS, decide
from rollout.core.intents import Announce, LetGo, SetRoute
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import Evidence
from rollout.core.judging.gates import Gates, Reading
from rollout.core.judging.guard import MOST_RETREATS
from rollout.core.orders import SPLIT
from rollout.core.release import Cause, Confirmed, Drift, Phase, Reason, Release, SkipWish, Status, Window
from rollout.core.route import Gone, Mesh, Problem, Route, Unavailable
from rollout.core.turn import Seen
from tests import given as build

# The same examples every time: a failure here is a failure everywhere.
examples = settings(
    derandomize=True, database=None, deadline=None, max_examples=200, suppress_health_check=list(HealthCheck)
)

EDGES = {(transition.source, transition.target) for transition in TRANSITIONS}
STEPS = len(build.policy().steps)
READY = (build.health(1), build.health(2))
CHAIN = 12
"""So many decisions on one and the same sight come to rest: a few phases, and a few tries to put a subset away."""

PERCENTS = st.sampled_from((0, 5, 10, 20, 30, 99, 100))
MOMENTS = st.sampled_from((-30.0, -5.0, 0.0, 0.001, 5.0, 13.0, 25.0, 70.0, 90.0, 650.0)).map(
    lambda offset: build.NOW + timedelta(seconds=offset)
)
ROUTES = st.builds(Route, percent=PERCENTS, epoch=st.integers(0, 5))
PROBLEMS = st.sampled_from((None, None, Problem(SPLIT, "two share it"), Problem("delegate", "odd")))
CAUSES = (
    Cause(kind="metrics", reason=Reason.CHECK_FAILED, message="too many errors"),
    Cause(kind="person", reason=Reason.ABORTED, message="because"),
    Cause(kind="infrastructure", reason=Reason.DEADLINE, message="too late"),
)
ALARM = {"errors vs the past": (0.5, 100.0, 100.0, 100.0, 100.0)}
EVIDENCE = st.builds(
    Evidence,
    guard=st.sampled_from(({}, {}, ALARM)),
    processes=st.sampled_from(({}, {}, {"errors vs stable": (0.5, 30.0, 0.0, 0.0, 0.0, 0.0)})),
    seconds=st.sampled_from((0.0, 300.0)),
    looks=st.integers(0, 3),
    step=st.sampled_from((Tally(), Tally(stable=Counts(requests=900), canary=Counts(requests=100)))),
    retreats=st.integers(0, MOST_RETREATS),
    strikes=st.integers(0, 2),
    alarm=st.sampled_from(("", "errors vs the past")),
)
LEARNED = st.none() | st.builds(Learned, blocks=st.integers(0, 100))
VERSIONS = st.frozensets(st.sampled_from(("v1", "v2", "v3")))


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    return build.mesh(
        draw(PERCENTS),
        draw(st.integers(0, 7)),
        draw(st.sampled_from((build.NAME, build.NAME, build.NAME, "", "checkout-v3"))),
        stable=draw(st.sampled_from(("v1", "v1", "v3", None))),
        listed=draw(VERSIONS),
        subsets=draw(VERSIONS),
        problem=draw(PROBLEMS),
    )


@st.composite
def releases(draw: st.DrawFn, phases: tuple[Phase, ...] = tuple(Phase)) -> Release:
    """Any release that some history of saves could have left behind, and more."""
    phase = draw(st.sampled_from(phases))
    wishes = {
        "pause": draw(st.none() | st.just(build.wish())),
        "resume": draw(st.none() | MOMENTS.map(build.wish)),
        "abort": draw(st.sampled_from((None, None, None, build.wish()))),
        "promote": draw(st.none() | st.integers(0, STEPS - 1).map(lambda step: SkipWish(step=step))),
    }
    problem = draw(st.sampled_from(("", "", "", "spoilt")))
    deleting = draw(st.sampled_from((False, False, False, True)))
    held = draw(st.sampled_from((True, True, True, False)))
    if phase is Phase.PENDING:
        return build.release(phase, wishes=wishes, problem=problem, deleting=deleting, held=held)
    early = phase in {Phase.PREPARING, Phase.ROLLING_BACK} and (phase is Phase.PREPARING or draw(st.booleans()))
    step = None if early else STEPS - 1 if phase is Phase.FINISHING else draw(st.integers(0, STEPS - 1))
    status = build.release(phase, step=step).status
    assert status.order is not None
    more: dict[str, Any] = {
        "drift": draw(st.none() | st.builds(Drift, percent=PERCENTS, at=MOMENTS)),
        "since": draw(MOMENTS),
        "started_at": draw(MOMENTS),
        "blind_since": draw(st.none() | MOMENTS),
        "paused": draw(st.booleans()),
        "reorders": draw(st.integers(0, 4)),
        "tries": draw(st.integers(0, 7)),
        "added_destination": draw(st.booleans()),
        "added_subset": draw(st.booleans()),
        "reason": draw(st.sampled_from(tuple(Reason))).value,
        "order": Route(percent=status.order.percent, epoch=draw(st.integers(1, 6))),
    }
    if phase is Phase.PREPARING:
        more["prepared_at"] = draw(st.none() | MOMENTS)
        more["learned"] = draw(LEARNED)
    if phase not in {Phase.ANALYSING, Phase.FINISHING}:
        more["confirmed"] = draw(st.none() | st.builds(Confirmed, route=ROUTES, at=MOMENTS))
    if phase is Phase.ANALYSING:
        more["window"] = Window(anchor=build.NOW, judged_at=draw(st.none() | MOMENTS))
        more["evidence"] = draw(EVIDENCE)
        more["gates"] = draw(st.builds(Gates, streaks=st.sampled_from(({}, {"saturation memory": 3}))))
    if phase is Phase.ROLLING_BACK:
        more["cause"] = draw(st.sampled_from(CAUSES))
    return build.release(phase, step=step, wishes=wishes, problem=problem, deleting=deleting, held=held, **more)


HEALTHS = st.sampled_from((None, Unavailable("no answer"), build.health(0), build.health(1), build.health(2)))
READINGS = st.sampled_from((None, build.BLIND, {}, {"memory": Reading(0.95, 0.2)}, {"memory": Reading(None)}))
SAMPLES = st.sampled_from((None, build.BLIND)) | st.builds(
    build.samples,
    stable=st.sampled_from(((900, 0), (90, 2), (0, 0))),
    canary=st.sampled_from(((100, 0), (300, 0), (100, 60), (0, 0), (1000, 1))),
    at=MOMENTS,
    lost=st.sampled_from((0, 0, 40)),
)


def sights(mesh: st.SearchStrategy[Mesh | Gone | Unavailable | None]) -> st.SearchStrategy[Seen]:
    return st.builds(
        Seen,
        mesh=mesh,
        health=HEALTHS,
        stable_health=HEALTHS,
        samples=SAMPLES,
        past=LEARNED | st.just(build.BLIND),
        readings=READINGS,
        policy=st.sampled_from((build.policy(), build.policy(), Problem("no-policy", "none"), None)),
        rivals=st.sampled_from(((), (), ("checkout-v1",))),
        announced=st.integers(0, 1),
    )


UNREADABLE = st.sampled_from((None, Unavailable("no answer")))
ANYTHING = sights(meshes() | UNREADABLE | st.just(Gone("gone")))


def saved(release: Release, status: Status) -> Release:
    """As it comes back from the API server."""
    return release.model_copy(update={"status": Status.model_validate(status.wire())})


@examples
@given(release=releases(), seen=ANYTHING, now=MOMENTS)
def test_every_release_gets_a_decision_and_the_same_one_each_time(release: Release, seen: Seen, now: build.Now) -> None:
    decision = decide(release, seen, now)
    assert decision == decide(release, seen, now)
    before, after = release.status, decision.status
    assert before.phase is after.phase or (before.phase, after.phase) in EDGES
    assert decision.requeue_after is None or decision.requeue_after >= timedelta(0)
    assert after.phase.terminal or decision.requeue_after is not None


@examples
@given(release=releases(), seen=ANYTHING, now=MOMENTS)
def test_orders_stay_within_bounds_and_epochs_never_fall(release: Release, seen: Seen, now: build.Now) -> None:
    before, decision = release.status.order, decide(release, seen, now)
    after = decision.status.order
    if after is not None:
        assert 0 <= after.percent <= 100
        assert before is None or after.epoch > before.epoch or after == before
    orders = [intent for intent in decision.intents if isinstance(intent, SetRoute)]
    assert len(orders) <= 1
    for order in orders:
        assert order.route == after
        assert order.seen == seen.mesh
        assert isinstance(seen.mesh, Mesh)
        assert order.route.epoch > seen.mesh.epoch or seen.mesh.release in {"", release.name}


@examples
@given(release=releases(tuple(phase for phase in Phase if phase.terminal)), seen=ANYTHING, now=MOMENTS)
def test_an_end_is_an_end(release: Release, seen: Seen, now: build.Now) -> None:
    decision = decide(release, seen, now)
    told: dict[str, Any] = {"outbox": (), "announced": 0, "notified": {}}
    assert decision.status.model_copy(update=told) == release.status.model_copy(update=told)
    assert all(isinstance(intent, Announce | LetGo) for intent in decision.intents)


@examples
@given(release=releases((Phase.ROLLING_BACK,)), seen=ANYTHING, now=MOMENTS)
def test_a_rollback_never_unhappens(release: Release, seen: Seen, now: build.Now) -> None:
    after = decide(release, seen, now).status
    assert after.phase is Phase.ROLLING_BACK or (after.phase.terminal and after.phase is not Phase.PROMOTED)
    assert after.order is not None
    assert after.order.percent == 0


@examples
@given(release=releases(), seen=sights(UNREADABLE), now=MOMENTS)
def test_a_route_that_cannot_be_read_raises_no_share(release: Release, seen: Seen, now: build.Now) -> None:
    after = decide(release, seen, now).status
    if release.status.phase is Phase.PENDING:
        assert after.phase is not Phase.PREPARING
    elif after.phase is Phase.ROLLING_BACK and release.status.phase is not Phase.ROLLING_BACK:
        assert after.order is not None
        assert after.order.percent == 0
    else:
        assert (after.phase, after.step, after.order) == tuple(
            getattr(release.status, name) for name in ("phase", "step", "order")
        )


@examples
@given(release=releases(), seen=sights(meshes()), now=MOMENTS)
def test_silence_never_advances(release: Release, seen: Seen, now: build.Now) -> None:
    quiet = replace(seen, samples=build.BLIND)
    before, after = release.status, decide(release, quiet, now).status
    assert (after.step or 0) <= (before.step or 0)
    assert before.step is not None or after.step is None
    assert before.phase is not Phase.ANALYSING or after.phase is not Phase.FINISHING


@examples
@given(release=releases(), seen=sights(meshes()), now=MOMENTS)
def test_an_abort_is_under_way_in_the_very_turn_that_sees_it(release: Release, seen: Seen, now: build.Now) -> None:
    wished = release.model_copy(update={"spec": release.spec.model_copy(update={"abort": build.wish()})})
    deleted = release.model_copy(update={"deleting": True})
    for unwanted in (wished, deleted):
        decision = decide(unwanted, seen, now)
        assert decision.status.phase is Phase.ROLLING_BACK or decision.status.phase.terminal
        if decision.status.phase is Phase.ROLLING_BACK and release.status.phase is not Phase.ROLLING_BACK:
            assert any(isinstance(intent, SetRoute) and intent.route.percent == 0 for intent in decision.intents)


@examples
@given(release=releases(), seen=ANYTHING, now=MOMENTS)
def test_no_share_is_ordered_for_an_object_that_is_not_held_yet(release: Release, seen: Seen, now: build.Now) -> None:
    unheld = release.model_copy(update={"held": False})
    after = decide(unheld, seen, now).status
    assert release.status.phase is not Phase.PREPARING or after.phase is not Phase.SHIFTING


@examples
@given(release=releases(), seen=ANYTHING, now=MOMENTS)
def test_only_what_is_over_and_told_is_let_go_of(release: Release, seen: Seen, now: build.Now) -> None:
    decision = decide(release, seen, now)
    if LetGo() in decision.intents:
        assert decision.status.phase.terminal
        assert release.status.phase.terminal
        assert not decision.status.outbox


@examples
@given(release=releases(), seen=ANYTHING, now=MOMENTS)
def test_what_is_remembered_survives_the_wire(release: Release, seen: Seen, now: build.Now) -> None:
    status = decide(release, seen, now).status
    assert Status.model_validate(status.wire()) == status


@examples
@given(release=releases(), seen=ANYTHING, now=MOMENTS)
def test_deciding_again_on_the_same_sight_orders_nothing_new_and_comes_to_rest(
    release: Release, seen: Seen, now: build.Now
) -> None:
    """A crash between save and act means: the same world, the new status.

    The phases that follow may be gone through on that sight, each may take in at its first turn what it finds there
    (a pause, the past), and tries to put a subset away are counted; but no order is replaced by another one, unless it
    is by the way back, and news is not told twice.
    """
    seen = replace(seen, announced=0)
    entered = release.status.phase
    release = saved(release, decide(release, seen, now).status)
    for _ in range(CHAIN):
        before = release.status
        after = decide(release, seen, now).status
        assert after.order == before.order or after.phase is Phase.ROLLING_BACK
        if after.phase is before.phase:
            assert after.order == before.order or after.reorders > before.reorders
            same = after.model_copy(update={"tries": 0}) == before.model_copy(update={"tries": 0})
            assert same or entered is not before.phase
        entered, release = before.phase, saved(release, after)
    assert decide(release, seen, now).status == release.status


@examples
@given(release=releases(), seen=ANYTHING, now=MOMENTS)
def test_a_decision_that_moves_traffic_up_has_seen_ready_pods(release: Release, seen: Seen, now: build.Now) -> None:
    before, after = release.status, decide(release, seen, now).status
    advanced = after.phase is Phase.SHIFTING and (after.step or 0) > (before.step or 0)
    assert not advanced or seen.health in READY


@st.composite
def alarmed(draw: st.DrawFn) -> tuple[Release, Seen]:
    """A release at some step whose guard has seen enough, most often with the route as it ordered it."""
    evidence = draw(EVIDENCE).model_copy(update={"guard": ALARM, "strikes": 0, "processes": {}})
    window = Window(anchor=build.NOW, judged_at=build.NOW)
    pause = draw(st.none() | st.just(build.wish()))
    release = build.release(
        step=draw(st.sampled_from((STEPS - 1, STEPS - 1, 1))), evidence=evidence, window=window, wishes={"pause": pause}
    )
    seen = draw(sights(st.just(build.as_ordered(release)) | st.just(build.as_ordered(release)) | meshes()))
    return release, seen


@examples
@given(sight=alarmed(), now=MOMENTS)
def test_a_retreat_lowers_the_share_onto_ready_pods_and_is_counted(sight: tuple[Release, Seen], now: build.Now) -> None:
    release, seen = sight
    before, after = release.status, decide(release, seen, now).status
    assert before.order is not None
    assert after.order is not None
    lowered = after.phase is Phase.SHIFTING and (after.step or 0) < (before.step or 0)
    assert after.evidence.retreats == before.evidence.retreats + lowered
    assert after.evidence.retreats <= MOST_RETREATS
    if lowered:
        event("retreated")
        assert before.step == STEPS - 1
        assert after.step == 0
        assert after.order.percent < before.order.percent
        assert after.order.epoch > before.order.epoch
        assert seen.stable_health in READY


@examples
@given(release=releases(), seen=ANYTHING, now=MOMENTS)
def test_evidence_is_never_forgotten(release: Release, seen: Seen, now: build.Now) -> None:
    before, after = release.status.evidence, decide(release, seen, now).status.evidence
    assert after.seconds >= before.seconds
    assert after.retreats >= before.retreats
    assert after.strikes >= before.strikes
    assert set(after.processes) >= set(before.processes)
    for check, process in before.processes.items():
        # Cash is only ever staked; a process that began anew would have all of it.
        assert after.processes[check][0] <= process[0]
    assert after.processes == before.processes or after.seconds > before.seconds


@examples
@given(release=releases((Phase.PREPARING,)), seen=ANYTHING, now=MOMENTS)
def test_nothing_moves_before_the_past_was_asked_for(release: Release, seen: Seen, now: build.Now) -> None:
    curious = build.policy(judge=build.JUDGE | {"learn": "1h"})
    asking = release.model_copy(update={"status": release.status.model_copy(update={"policy": curious})})
    after = decide(asking, seen, now).status
    assert after.phase is not Phase.SHIFTING or after.learned is not None
