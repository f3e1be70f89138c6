"""A stable without pods: requests for it are lost, and nobody is sent back to it because of them."""

import pytest

from rollout.core.intents import SetRoute
from rollout.core.judging.evidence import PAST, Evidence
from rollout.core.release import Phase, Reason
from rollout.core.route import Route, Unavailable
from rollout.core.workload import Health
from tests import given
from tests.core.meters import Meters
from tests.core.story import Story

GONE = given.health(0)


class Beside(Story):
    """A release at its first step; `look` lets an interval pass with so many requests of each version."""

    def __init__(self) -> None:
        super().__init__(given.release(Phase.ANALYSING))
        self.meters = Meters()

    def look(
        self, canary_failed: int = 0, lost: int = 0, stable_health: Health | Unavailable | None = given.HEALTHY
    ) -> list[SetRoute]:
        samples = self.meters.serve((270 - lost, 0), (30, canary_failed), lost=lost)
        seen = given.seen(given.as_ordered(self.release), samples=samples, stable_health=stable_health)
        return [one for one in self.turn(seen, given.INTERVAL) if isinstance(one, SetRoute)]


def test_a_rollback_onto_a_stable_without_pods_is_withheld_and_said_once() -> None:
    story = Beside()
    story.look()
    for _ in range(10):
        assert story.look(canary_failed=30, lost=270, stable_health=GONE) == []
    assert (story.status.phase, story.status.reason) == (Phase.ANALYSING, Reason.STABLE_NOT_READY)
    assert story.told("step.held") == 1
    assert story.told("rollback.started") == 0


def test_a_canary_that_fails_beside_a_stable_that_came_back_is_rolled_back() -> None:
    story = Beside()
    for _ in range(4):
        story.look(canary_failed=30, lost=270, stable_health=GONE)
    orders: list[SetRoute] = []
    for _ in range(10):
        orders = orders or story.look(canary_failed=30)
    assert [order.route.percent for order in orders] == [0]
    assert story.status.phase is Phase.ROLLING_BACK


def test_a_stable_that_was_gone_for_a_while_is_not_held_against_the_canary() -> None:
    story = Beside()
    story.look()
    for _ in range(6):
        assert story.look(lost=270, stable_health=GONE) == []
        assert story.status.phase is Phase.ANALYSING
    orders: list[SetRoute] = []
    for _ in range(10):
        orders = orders or story.look()
    assert [order.route.percent for order in orders] == [30]


def test_a_hand_on_the_route_beside_a_stable_without_pods_is_told_once() -> None:
    story = Beside()
    story.look()
    for _ in range(5):
        seen = given.seen(given.mesh(20, 2), samples=story.meters.serve((216, 0), (60, 0)), stable_health=GONE)
        assert story.turn(seen, given.INTERVAL) == ()
    assert story.told("traffic.drift_detected") == 1
    assert story.told("step.held") <= 1


def test_a_dead_canary_at_full_weight_stays_where_there_is_nothing_else() -> None:
    last = len(given.policy().steps) - 1
    story = Story(given.release(Phase.ANALYSING, step=last))
    meters = Meters()
    for stable, orders in ((GONE, 0), (GONE, 0), (GONE, 0), (given.HEALTHY, 1)):
        samples = meters.serve((0, 0), (300, 300))
        seen = given.seen(given.as_ordered(story.release), samples=samples, stable_health=stable)
        assert len(story.turn(seen, given.INTERVAL)) == orders
    assert story.status.phase is Phase.ROLLING_BACK
    assert story.told("step.held") == 1


def test_pods_that_nobody_could_count_protect_no_canary() -> None:
    for unknown in (None, Unavailable("not allowed")):
        story = Beside()
        orders: list[SetRoute] = []
        for _ in range(6):
            orders = orders or story.look(canary_failed=30, stable_health=unknown)
        assert [order.route.percent for order in orders] == [0]


def test_a_person_who_aborts_gets_the_traffic_back_to_stable_whatever_is_left_of_it() -> None:
    story = Beside()
    story.look(canary_failed=30, lost=270, stable_health=GONE)
    spec = story.release.spec.model_copy(update={"abort": given.wish()})
    story.release = story.release.model_copy(update={"spec": spec})
    assert [one.route for one in story.look(stable_health=GONE)] == [Route(percent=0, epoch=3)]


@pytest.mark.parametrize(
    ("stable", "canary", "percents"),
    [
        (given.health(2), given.health(2), [10]),
        (given.health(2), given.health(4), [10]),
        (given.health(2), given.health(5), []),
        (given.health(1), given.health(3), []),
        (GONE, given.health(2), []),
        (given.health(2), None, []),
        (given.health(2), Unavailable("not allowed"), []),
        (None, given.health(2), []),
        (Unavailable("not allowed"), given.health(2), []),
    ],
    ids=[
        "as many",
        "half",
        "less than half",
        "a third",
        "none",
        "unasked",
        "unknown",
        "stable unasked",
        "unknown stable",
    ],
)
def test_an_alarm_at_full_weight_sends_traffic_back_only_to_a_stable_with_half_as_many_pods(
    stable: Health | Unavailable | None, canary: Health | Unavailable | None, percents: list[int]
) -> None:
    last = len(given.POLICY.steps) - 1
    alarmed = Evidence(guard={PAST: (0.5, 100.0, 100.0, 100.0, 100.0)})
    story = Story(given.release(Phase.ANALYSING, step=last, evidence=alarmed))
    samples = Meters().serve((0, 0), (300, 60))
    seen = given.seen(given.as_ordered(story.release), health=canary, samples=samples, stable_health=stable)
    found = story.turn(seen, given.INTERVAL)
    assert [one.route.percent for one in found if isinstance(one, SetRoute)] == percents
    assert story.told("step.retreated") == len(percents)
