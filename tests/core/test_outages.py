"""Outages of everything: intervals of hours, a stable without pods, a hand on the route; and what is ordered then."""

from collections.abc import Callable
from math import inf, isfinite

import pytest

from rollout.core.intents import SetRoute
from rollout.core.judging import betting, guard, judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import FAIL_FAST, LIMIT, PAST, Evidence
from rollout.core.judging.pace import Pace
from rollout.core.release import Phase, Reason
from rollout.core.route import Mesh, Unavailable
from rollout.core.workload import Health
from tests import given
from tests.core.meters import Meters
from tests.core.story import Story
from tests.core.traffic import calm, interval, looked, policy, version, worth

GONE = given.health(0)
LAST = len(given.POLICY.steps) - 1
HOUR = 3600.0
UNCAPPED = {"outage": "0s", "latency": "0s", "traffic": "0s"}

# --- Intervals of hours ---


@pytest.mark.parametrize("weight", [10, 50, 100])
@pytest.mark.parametrize("hours", [1, 24, 24 * 365])
def test_a_dead_canary_after_an_interval_of_hours_is_finite_evidence(hours: int, weight: int) -> None:
    by, learned = policy(compare=["500ms"], judge={"caps": UNCAPPED, "warmUp": "0s"}), calm(500.0)
    n = 10_000 * weight * hours
    late = interval(
        version(n, n, {500.0: n}), version(10_000 * hours * (100 - weight)), weight, lost=n, seconds=hours * HOUR
    )
    for count in (1, 2, 20):
        evidence = looked([late] * count, by, learned)
        assert isfinite(judge.opinion(evidence, by, learned, weight).evidence)
        assert all(isfinite(part) for part in guard.parts_of(evidence, by, learned).values())


def test_a_dead_canary_at_full_weight_is_alarming_after_one_interval_of_hours() -> None:
    by, learned = policy(judge={"caps": UNCAPPED}), calm()
    evidence = looked([interval(version(10**7, 10**7), version(0), 100, seconds=12 * HOUR)] * 2, by, learned)
    assert judge.opinion(evidence, by, learned, 100).kind == "alarm"


def test_the_guard_grows_to_something_finite_whatever_the_caps_and_the_interval() -> None:
    for caps in (UNCAPPED, {}, {"outage": "1ms", "latency": "1ms", "traffic": "1ms"}):
        by, learned = policy(compare=["500ms"], judge={"caps": caps}), calm(500.0)
        evidence = Evidence(seconds=HOUR)
        for seconds in (1e-3, 1.0, HOUR, 1000 * HOUR):
            dead = interval(version(10**6, 10**6, {500.0: 10**6}), version(0), 100, seconds=seconds)
            grown = guard.grow(evidence, dead.tally, Pace(by, seconds, evidence, None), by, learned)
            assert all(isfinite(wealth) for process in grown.values() for wealth in process)
            evidence = evidence.model_copy(update={"guard": grown})
        assert betting.worth(evidence.guard[PAST]) > guard.ALARM


@pytest.mark.parametrize("log", [0.0, 499.0, 501.0, 1e6, 1e300, inf])
@pytest.mark.parametrize("cap", [0.0, 1.0, 700.0, 1e9, inf])
def test_a_process_stays_finite_whatever_a_bet_pays_and_whatever_the_cap(cap: float, log: float) -> None:
    process: tuple[float, ...] = ()
    for _ in range(5):
        process = betting.grow(process, [log, -log], 0.5, cap)
        assert all(0 <= wealth <= betting.MOST for wealth in process)


# --- Stable without a pod ---


class Last(Story):
    """A release at its last step, which stable cannot take back while it has no pod."""

    def __init__(self, step: int = LAST) -> None:
        super().__init__(given.release(Phase.ANALYSING, step=step))
        self.meters = Meters()
        self.orders: list[int] = []

    def look(
        self,
        stable: Health | None,
        *,
        failed: int = 0,
        requests: int = 300,
        stable_requests: int = 0,
        blind: bool = False,
        after: float = 5.0,
        mesh: Mesh | Unavailable | None = None,
    ) -> None:
        """An interval with so many requests of the canary, of which so many fail, or without any metrics."""
        samples = self.meters.serve((stable_requests, 0), (requests, failed), after=given.seconds(after))
        seen = given.seen(
            mesh or given.as_ordered(self.release), samples=given.BLIND if blind else samples, stable_health=stable
        )
        found = self.turn(seen, given.seconds(after))
        self.orders += [one.route.percent for one in found if isinstance(one, SetRoute)]


def blind(story: Last, stable: Health | None) -> None:
    """Longer than the deadline of the metrics, which are 30 s."""
    for _ in range(8):
        story.look(stable, blind=True)


def undecided(story: Last, stable: Health | None) -> None:
    """Longer than the hold, 12 s, and the deadline of the verdict, 60 s, with hardly a request."""
    for _ in range(16):
        story.look(stable, requests=0)


def overdue(story: Last, stable: Health | None) -> None:
    """Longer than all of the release may take, 10 minutes; paused, so that nothing else ends it."""
    story.release = story.release.model_copy(
        update={"spec": story.release.spec.model_copy(update={"pause": given.wish()})}
    )
    for _ in range(130):
        story.look(stable)


LATE = {
    Reason.METRICS_UNAVAILABLE: blind,
    Reason.INCONCLUSIVE: undecided,
    Reason.DEADLINE: overdue,
}
late = pytest.mark.parametrize(("reason", "wait"), LATE.items(), ids=[str(reason) for reason in LATE])
Wait = Callable[[Last, Health | None], None]


@late
def test_no_deadline_sends_anybody_back_to_a_stable_without_pods(reason: Reason, wait: Wait) -> None:
    story = Last()
    wait(story, GONE)
    assert (story.orders, story.status.phase, story.status.cause) == ([], Phase.ANALYSING, None)
    assert story.told("rollback.started") == 0
    wait(story, given.HEALTHY)
    assert story.orders[:1] == [0]
    assert story.status.cause is not None
    assert story.status.cause.reason is reason


@pytest.mark.parametrize("wait", LATE.values(), ids=[str(reason) for reason in LATE])
@pytest.mark.parametrize("step", range(LAST))
def test_nor_does_one_at_a_weight_at_which_both_versions_have_traffic(wait: Wait, step: int) -> None:
    story = Last(step)
    wait(story, GONE)
    assert (story.orders, story.status.phase, story.status.cause) == ([], Phase.ANALYSING, None)
    assert story.status.reason == Reason.STABLE_NOT_READY
    wait(story, given.HEALTHY)
    assert story.orders[:1] == [0]


@late
def test_pods_that_nobody_counted_keep_no_deadline_from_ending_a_release(reason: Reason, wait: Wait) -> None:
    story = Last()
    wait(story, None)
    assert story.orders[:1] == [0]
    assert story.status.cause is not None
    assert story.status.cause.reason is reason


@late
def test_a_person_who_aborts_gets_the_traffic_back_all_the_same(reason: Reason, wait: Wait) -> None:
    story = Last()
    wait(story, GONE)
    spec = story.release.spec.model_copy(update={"abort": given.wish()})
    story.release = story.release.model_copy(update={"spec": spec})
    story.look(GONE)
    assert story.orders == [0]
    assert story.status.cause is not None
    assert story.status.cause.reason is Reason.ABORTED is not reason


def test_a_release_that_is_deleted_gives_the_traffic_back_all_the_same() -> None:
    story = Last()
    story.look(GONE)
    story.release = story.release.model_copy(update={"deleting": True})
    story.look(GONE)
    assert story.orders == [0]


def test_no_deadline_orders_a_way_back_to_no_pods_over_a_route_that_cannot_be_read() -> None:
    story = Last()
    story.look(GONE, after=605, mesh=Unavailable("no answer"))
    assert story.status.phase is Phase.ANALYSING
    story.look(GONE)
    assert story.orders == []
    story.look(given.HEALTHY)
    assert story.orders == [0]


@pytest.mark.parametrize("minutes", [0.5, 1, 2, 5])
def test_a_healthy_canary_goes_on_beside_a_stable_that_came_back_however_long_it_was_gone(minutes: float) -> None:
    story = Last(0)
    for _ in range(round(60 * minutes / 5)):
        story.look(GONE, requests=50)
    for _ in range(10):
        if not story.orders:
            story.look(given.HEALTHY, requests=50, stable_requests=450)
    assert story.orders == [given.POLICY.steps[1].weight]


# --- A hand on the route ---


def by_hand(percent: int = 100) -> Mesh:
    return given.mesh(percent, 2)


def test_a_dead_canary_that_a_hand_gave_everything_is_rolled_back_as_an_outage() -> None:
    story = Last(0)
    story.look(given.HEALTHY, requests=30)
    for _ in range(6):
        if not story.orders:
            story.look(given.HEALTHY, failed=300, mesh=by_hand())
    assert story.orders == [0]
    assert story.told("traffic.drift_detected") == 1
    assert story.status.evidence.dead == FAIL_FAST


def test_a_failing_canary_that_a_hand_gave_everything_is_held_against_the_past() -> None:
    story = Last(0)
    story.look(given.HEALTHY, requests=30)
    for _ in range(12):
        story.look(given.HEALTHY, failed=90, mesh=by_hand())
    parts = guard.parts_of(story.status.evidence, given.POLICY, Learned())
    assert sum(parts.values()) >= guard.ALARM
    assert {PAST, LIMIT} <= {verdict.check for verdict in story.status.verdicts}


def test_a_canary_that_a_hand_gave_everything_is_not_missed_by_its_share_of_the_traffic() -> None:
    story = Last(0)
    story.look(given.HEALTHY, requests=30)
    for _ in range(30):
        story.look(given.HEALTHY, mesh=by_hand())
    assert story.orders == []
    assert story.status.weight == 100
    assert story.status.evidence.guard
    assert all(worth(story.status.evidence, check) <= 1 for check in story.status.evidence.processes)
