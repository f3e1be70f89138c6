"""The last step has no control: its alarm puts most of the traffic back to get one, and never convicts by itself."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from rollout.core.decide import Decision
from rollout.core.intents import SetRoute
from rollout.core.judging import guard
from rollout.core.judging.clumps import Habit, Learned
from rollout.core.judging.evidence import AT_FULL_WEIGHT, ERRORS, Evidence
from rollout.core.judging.gates import Reading
from rollout.core.policy import PolicySpec
from rollout.core.release import Phase, Reason, SkipWish, Status
from rollout.core.route import Mesh, Route, Unavailable
from rollout.core.workload import Health
from tests import given
from tests.core.meters import Meters
from tests.core.story import Story

POLICY = given.policy()
FIRST, LAST = 0, len(POLICY.steps) - 1
PAST = Learned(blocks=100, errors=Habit(rate=0.001))
REQUESTS = 300
"""Per interval, of the whole service."""
TROUBLE, WELL = 0.3, 0.0
"""Shares of failed requests."""


class AtFullWeight(Story):
    """A release that has all the traffic; `look` lets an interval pass with so many failures of each version."""

    stable_health: Health | Unavailable | None = given.HEALTHY
    health = given.HEALTHY

    def __init__(self, policy: PolicySpec = POLICY, **fields: Any) -> None:
        last = len(policy.steps) - 1
        super().__init__(given.release(Phase.ANALYSING, step=last, policy=policy, learned=PAST, **fields))
        self.meters = Meters()

    @property
    def decision(self) -> Decision:
        assert self.last is not None
        return self.last

    def wishes(self, **wishes: object) -> None:
        spec = self.release.spec.model_copy(update=wishes)
        self.release = self.release.model_copy(update={"spec": spec})

    def look(self, canary: float, stable: float = WELL, mesh: Mesh | None = None) -> list[SetRoute]:
        """The canary's and stable's share of failures; the orders that follow."""
        route = mesh or given.as_ordered(self.release)
        to_canary = REQUESTS * route.percent // 100
        to_stable = REQUESTS - to_canary
        samples = self.meters.serve((to_stable, int(to_stable * stable)), (to_canary, int(to_canary * canary)))
        seen = given.seen(route, health=self.health, samples=samples, stable_health=self.stable_health)
        return [intent for intent in self.turn(seen, given.INTERVAL) if isinstance(intent, SetRoute)]

    def until_ordered(self, canary: float, stable: float = WELL, most: int = 30) -> SetRoute:
        """Look on until an order is given."""
        for _ in range(most):
            if orders := self.look(canary, stable):
                (order,) = orders
                return order
        pytest.fail(f"no order; {self.status.phase} {self.status.reason} {self.status.message}")

    def arrives(self) -> None:
        """The order is seen on the route."""
        self.sees(given.as_ordered(self.release))
        assert self.status.phase is Phase.ANALYSING

    def climbs(self) -> None:
        """From the first step to the last, with nothing wrong."""
        for step in POLICY.steps[FIRST + 1 :]:
            assert self.until_ordered(WELL).route.percent == step.weight
            self.arrives()
        assert self.status.step == LAST


def retreated() -> AtFullWeight:
    """A release whose canary failed at full weight, back at the first weight."""
    story = AtFullWeight()
    story.until_ordered(TROUBLE)
    story.arrives()
    return story


def test_trouble_at_full_weight_orders_the_first_weight_under_a_new_epoch() -> None:
    story = AtFullWeight()
    before = story.order
    order = story.until_ordered(TROUBLE)
    assert order.route == story.order == Route(percent=10, epoch=before.epoch + 1)
    assert (story.status.phase, story.status.step) == (Phase.SHIFTING, FIRST)
    assert story.status.evidence.retreats == 1
    assert story.status.evidence.alarm
    (notice,) = [one for one in story.status.outbox if one.name == "step.retreated"]
    assert (notice.fields["weight_from"], notice.fields["weight_to"]) == (100, 10)
    assert story.told("rollback.started") == 0


def test_a_healthy_canary_at_full_weight_is_never_taken_back() -> None:
    story = AtFullWeight()
    while story.status.phase is Phase.ANALYSING:
        assert story.look(0.002) == []
    assert story.status.phase is Phase.FINISHING


@pytest.mark.parametrize("trouble", [1.0, TROUBLE, 0.1])
def test_what_begins_to_fail_just_before_the_end_of_the_hold_is_not_promoted(trouble: float) -> None:
    for good in range(2, 5):
        story = AtFullWeight(given.policy(steps=[{"weight": 10, "hold": "12s"}, {"weight": 100, "hold": "22s"}]))
        for _ in range(good):
            story.look(WELL)
        orders: list[SetRoute] = []
        while not orders:
            orders = story.look(trouble)
            assert story.status.phase is not Phase.FINISHING
        assert orders[0].route.percent < 100


def test_a_flicker_at_the_end_of_the_hold_only_makes_it_longer() -> None:
    story = AtFullWeight()
    story.look(WELL)
    story.look(WELL)
    story.look(0.06)
    assert (story.status.phase, story.status.reason) == (Phase.ANALYSING, Reason.UNKNOWN_VERDICT)
    for _ in range(10):
        story.look(WELL)
        if story.status.phase is Phase.FINISHING:
            break
    assert story.status.phase is Phase.FINISHING


@pytest.mark.parametrize(
    "down", [given.health(0), Unavailable("not allowed"), None], ids=["none", "unknown", "unasked"]
)
def test_no_traffic_goes_back_to_pods_that_are_not_known_to_be_ready(down: Health | Unavailable | None) -> None:
    story = AtFullWeight()
    story.stable_health = down
    for _ in range(10):
        assert story.look(TROUBLE) == []
    assert (story.status.phase, story.status.step) == (Phase.ANALYSING, LAST)
    assert story.status.evidence.retreats == 0
    story.stable_health = given.health(1)
    assert story.until_ordered(TROUBLE, most=1).route.percent == 10


@pytest.mark.parametrize(("ready", "enough"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_no_traffic_goes_back_to_a_stable_with_less_than_half_of_the_canarys_pods(ready: int, enough: int) -> None:
    story = AtFullWeight()
    story.health = given.health(ready)
    story.stable_health = given.health(enough - 1)
    for _ in range(8):
        assert story.look(TROUBLE) == []
    assert story.status.evidence.retreats == 0
    story.stable_health = given.health(enough)
    assert story.until_ordered(TROUBLE, most=1).route.percent == 10


def test_a_retreat_that_was_saved_and_not_written_is_written_by_the_next_cycle() -> None:
    story = AtFullWeight()
    before = given.as_ordered(story.release)
    order = story.until_ordered(TROUBLE)
    again = story.look(TROUBLE, mesh=before)
    assert [one.route for one in again] == [order.route]
    assert story.status.evidence.retreats == 1
    assert story.told("step.retreated") == 1


def test_what_convicts_is_carried_on_and_what_passes_begins_anew() -> None:
    story = AtFullWeight()
    story.until_ordered(TROUBLE)
    carried = story.status.evidence
    story.arrives()
    now = story.status.evidence
    assert now.processes == carried.processes
    assert now.seconds == carried.seconds
    assert now.step.canary.requests == now.looks == 0
    assert not now.guard
    assert not story.status.verdicts


def test_each_stay_at_a_weight_is_on_record() -> None:
    story = retreated()
    story.climbs()
    assert [step.weight for step in story.status.steps] == [10, 30, 100, 10, 30, 100]
    assert all(step.until is not None for step in story.status.steps[2:5])


def test_after_a_retreat_every_step_is_held_again_for_as_long() -> None:
    story = retreated()
    for step, following in pairwise(POLICY.steps):
        assert story.until_ordered(WELL).route.percent == following.weight
        assert story.now - story.status.steps[-1].since >= step.hold
        story.arrives()
    assert story.status.step == LAST


def test_a_canary_that_fails_at_the_first_weight_too_is_rolled_back_by_the_comparison() -> None:
    story = retreated()
    assert story.until_ordered(TROUBLE).route.percent == 0
    assert story.status.cause is not None
    assert story.status.cause.reason is Reason.CHECK_FAILED
    (notice,) = [one for one in story.status.outbox if one.name == "rollback.started"]
    assert notice.fields["check"] == ERRORS


def test_two_alarms_that_vanish_beside_a_healthy_stable_are_the_end() -> None:
    story = retreated()
    story.climbs()
    assert story.status.evidence.strikes == 1
    assert story.until_ordered(TROUBLE).route.percent == 10
    story.arrives()
    assert story.until_ordered(WELL).route.percent == 0
    assert (story.status.phase, story.status.reason) == (Phase.ROLLING_BACK, Reason.CHECK_FAILED)
    (notice,) = [one for one in story.status.outbox if one.name == "rollback.started"]
    assert notice.fields["check"] == AT_FULL_WEIGHT


def test_an_incident_that_stable_has_too_is_no_strike_and_the_release_goes_on_after_it() -> None:
    story = retreated()
    for _ in range(4):
        assert story.look(TROUBLE, stable=TROUBLE) == []
    assert (story.status.evidence.strikes, story.status.evidence.alarm) == (0, "")
    story.climbs()
    while story.status.phase is Phase.ANALYSING:
        assert story.look(WELL) == []
    assert story.status.phase is Phase.FINISHING


def test_after_so_many_retreats_the_weight_is_held_and_in_the_end_given_up() -> None:
    story = AtFullWeight()
    for times in range(1, guard.MOST_RETREATS + 1):
        assert story.until_ordered(TROUBLE).route.percent == 10
        assert story.status.evidence.retreats == times
        story.arrives()
        for _ in range(4):
            assert story.look(TROUBLE, stable=TROUBLE) == []
        story.climbs()
    held_since, held = story.now, story.told("step.held")
    order = story.until_ordered(TROUBLE, most=100)
    assert order.route.percent == 0
    assert story.now - held_since > POLICY.deadlines.verdict
    assert story.status.reason == Reason.INCONCLUSIVE
    assert story.told("step.retreated") == guard.MOST_RETREATS
    assert story.told("step.held") == held + 1


def test_a_person_who_pauses_a_release_does_not_stop_its_retreat() -> None:
    story = AtFullWeight()
    story.wishes(pause=given.wish())
    assert story.until_ordered(TROUBLE).route.percent == 10
    story.arrives()
    for _ in range(10):
        assert story.look(WELL) == []
    assert (story.status.phase, story.status.reason) == (Phase.ANALYSING, Reason.PAUSED)


def test_a_hand_on_the_route_is_respected_by_a_retreat_too() -> None:
    """A hand that leaves no control: the guard sees trouble, and nothing is ordered over a person's head."""
    story = AtFullWeight()
    for _ in range(10):
        assert story.look(TROUBLE, mesh=given.mesh(99, story.order.epoch)) == []
    assert story.status.reason == Reason.DRIFTED
    assert story.decision.opinion is not None
    assert story.decision.opinion.kind == "alarm"
    assert story.status.evidence.retreats == 0


def test_a_hand_on_the_route_that_gives_a_control_back_lets_the_comparison_convict() -> None:
    story = AtFullWeight()
    by_hand, orders = given.mesh(60, story.order.epoch), list[SetRoute]()
    for _ in range(10):
        orders = orders or story.look(TROUBLE, mesh=by_hand)
    assert [one.route.percent for one in orders] == [0]
    assert story.status.cause is not None
    assert story.status.cause.reason is Reason.CHECK_FAILED
    assert story.status.evidence.retreats == 0


def test_a_healthy_canary_under_a_persons_hand_is_left_where_it_is() -> None:
    story = AtFullWeight()
    for _ in range(30):
        assert story.look(WELL, mesh=given.mesh(60, story.order.epoch)) == []
    assert (story.status.phase, story.status.reason) == (Phase.ANALYSING, Reason.DRIFTED)


@pytest.mark.parametrize("what", ["abort", "delete", "no pod"])
def test_whoever_wants_all_traffic_back_gets_all_of_it_while_retreating(what: str) -> None:
    story = AtFullWeight()
    story.until_ordered(TROUBLE)
    seen = given.seen(given.as_ordered(story.release))
    if what == "abort":
        story.wishes(abort=given.wish())
    elif what == "delete":
        story.release = story.release.model_copy(update={"deleting": True})
    else:
        seen = given.seen(given.as_ordered(story.release), health=given.health(0))
    story.turn(seen)
    assert story.status.phase is Phase.ROLLING_BACK
    assert story.order.percent == 0


def _skip(step: int, at: timedelta | None) -> SkipWish:
    return SkipWish(step=step, at=None if at is None else given.NOW + at)


@pytest.mark.parametrize("step", range(len(POLICY.steps)))
@pytest.mark.parametrize("at", [None, timedelta(0)], ids=["undated", "dated"])
def test_a_wish_to_promote_from_before_a_retreat_skips_no_hold_after_it(step: int, at: timedelta | None) -> None:
    story = AtFullWeight()
    story.until_ordered(TROUBLE)
    story.wishes(promote=_skip(step, at))
    for index, one in enumerate(POLICY.steps):
        if index:
            assert story.until_ordered(WELL).route.percent == one.weight
        story.arrives()
        began = story.now
        assert story.status.step == index
        while story.now + given.INTERVAL < began + one.hold:
            assert story.look(WELL) == []
            assert story.status.phase is Phase.ANALYSING


def test_a_wish_to_promote_after_a_retreat_skips_the_hold_it_was_made_in() -> None:
    hold = POLICY.steps[FIRST].hold * 10
    patient = given.policy(steps=[{"weight": 10, "hold": hold}, {"weight": 100, "hold": "12s"}])
    story = AtFullWeight(patient)
    story.until_ordered(TROUBLE)
    story.arrives()
    began = story.now
    story.wishes(promote=SkipWish(step=FIRST, at=began + given.seconds(1)))
    assert story.until_ordered(WELL).route.percent == 100
    assert story.now - began < hold


def test_without_a_weight_that_leaves_a_control_there_is_nowhere_to_retreat_to_and_the_past_convicts() -> None:
    story = AtFullWeight(given.policy(steps=[{"weight": 100, "hold": "12s"}]))
    kinds: list[str] = []
    orders: list[SetRoute] = []
    while not orders:
        orders = story.look(TROUBLE)
        assert story.decision.opinion is not None
        kinds.append(story.decision.opinion.kind)
        assert len(kinds) <= 8
    assert [one.route.percent for one in orders] == [0]
    assert "suspect" in kinds
    assert "alarm" not in kinds
    assert story.status.cause is not None
    assert story.status.cause.reason is Reason.CHECK_FAILED
    assert (story.status.evidence.retreats, story.told("step.retreated")) == (0, 0)


def test_a_gate_that_fails_at_full_weight_rolls_back_and_does_not_retreat() -> None:
    full = given.policy(
        checks={"minRequests": 20, "latency": {"compare": []}, "saturation": {"failures": 2, "memory": "90%"}}
    )
    story = AtFullWeight(full)
    readings = {"memory": Reading(0.99)}
    orders: list[SetRoute] = []
    for _ in range(2):
        samples = story.meters.serve((0, 0), (REQUESTS, 0))
        seen = given.seen(given.as_ordered(story.release), samples=samples, readings=readings)
        orders += [one for one in story.turn(seen, given.INTERVAL) if isinstance(one, SetRoute)]
    assert [one.route.percent for one in orders] == [0]
    assert story.status.cause is not None
    assert "memory" in story.status.cause.message


def test_the_memory_of_a_retreat_survives_the_wire() -> None:
    story = retreated()
    assert Status.model_validate(story.status.wire()) == story.status
    assert Evidence.model_validate_json(story.status.evidence.model_dump_json()) == story.status.evidence
