"""What stable's past says is taken in before anything moves, once; without it a release goes on with guesses."""

from datetime import timedelta
from typing import Any

import pytest

from rollout.core.intents import SetRoute
from rollout.core.judging.clumps import Habit, Learned
from rollout.core.judging.evidence import judged_bounds
from rollout.core.judging.gates import Reading
from rollout.core.looking import needs_past
from rollout.core.policy import PolicySpec
from rollout.core.release import Phase, Reason, Release, Status
from rollout.core.route import Unavailable
from tests import given
from tests.core.story import Story

POLICY = given.policy(judge=given.JUDGE | {"learn": "1h"}, checks={"minRequests": 20})
PAST = Learned(
    blocks=720,
    pods=3,
    per_second=50.0,
    errors=Habit(rate=0.001, clump=3.0),
    bounds=(250.0, 500.0),
    latency=(Habit(rate=0.2), Habit(rate=0.01)),
    slow_at=(250.0, 500.0),
)
NO_PAST = Unavailable("too many samples")
SETTLED = POLICY.settle


def preparing(policy: PolicySpec = POLICY, **fields: Any) -> Release:
    return given.release(Phase.PREPARING, policy=policy, **fields)


class Beginning(Story):
    """A release that has everything but, perhaps, the past."""

    def look(self, past: Learned | Unavailable | None, after: timedelta = SETTLED) -> list[SetRoute]:
        at = self.now + after
        seen = given.seen(given.as_ordered(self.release), samples=given.samples(at=at), past=past)
        return [intent for intent in self.turn(seen, after) if isinstance(intent, SetRoute)]


def test_nothing_moves_before_the_past_was_asked_for() -> None:
    story = Beginning(preparing())
    for _ in range(3):
        assert story.look(None) == []
    assert (story.status.phase, story.status.reason) == (Phase.PREPARING, Reason.WAITING_FOR_METRICS)
    assert story.status.learned is None
    assert story.last is not None
    assert story.last.requeue_after is not None


def test_what_the_past_says_is_kept_told_and_goes_with_the_release() -> None:
    story = Beginning(preparing())
    (order,) = story.look(PAST)
    assert order.route.percent == 10
    assert story.status.learned == PAST
    assert Status.model_validate(story.status.wire()).learned == PAST
    (notice,) = [one for one in story.status.outbox if one.name == "history.learned"]
    assert notice.fields == {"blocks": 720, "pods": 3, "error_rate": 0.001, "clump": 3.0, "bounds": 2}


def test_what_was_learned_says_at_which_bounds_latency_is_counted() -> None:
    assert judged_bounds(POLICY, PAST) == (250.0, 500.0)
    assert set(judged_bounds(POLICY, None)) > {250.0, 500.0}


def test_the_past_is_learned_once() -> None:
    story = Beginning(preparing(learned=PAST, wishes={"pause": given.wish()}))
    story.look(Learned(blocks=5))
    story.look(NO_PAST, POLICY.deadlines.metrics * 2)
    assert story.status.learned == PAST
    assert story.told("history.learned") == story.told("history.unavailable") == 0


def test_a_past_that_cannot_be_read_is_waited_for_but_not_for_ever() -> None:
    story = Beginning(preparing())
    assert story.look(NO_PAST, POLICY.deadlines.metrics) == []
    assert (story.status.phase, story.status.reason) == (Phase.PREPARING, Reason.WAITING_FOR_METRICS)
    assert NO_PAST.message in story.status.message
    (order,) = story.look(NO_PAST, given.seconds(0.001))
    assert order.route.percent == 10
    assert story.status.learned == Learned()
    assert story.told("history.unavailable") == 1


def test_a_past_that_comes_while_it_is_waited_for_is_taken() -> None:
    story = Beginning(preparing())
    story.look(NO_PAST)
    story.look(PAST)
    assert story.status.learned == PAST
    assert story.told("history.unavailable") == 0


def test_a_past_without_traffic_is_a_past_too() -> None:
    story = Beginning(preparing())
    (order,) = story.look(Learned())
    assert order.route.percent == 10
    assert story.told("history.learned") == 1


def test_who_wants_no_past_waits_for_none() -> None:
    story = Beginning(preparing(given.policy()))
    assert not needs_past(story.release)
    (order,) = story.look(None)
    assert order.route.percent == 10
    assert story.status.learned == Learned()
    assert story.told("history.learned") == story.told("history.unavailable") == 0


@pytest.mark.parametrize("phase", Phase)
def test_the_past_is_asked_for_only_while_preparing(phase: Phase) -> None:
    assert needs_past(given.release(phase, policy=POLICY)) == (phase is Phase.PREPARING)


def test_the_past_is_asked_for_only_as_long_as_it_is_wanted() -> None:
    assert needs_past(preparing())
    assert not needs_past(preparing(learned=PAST))
    assert not needs_past(preparing(wishes={"abort": given.wish()}))
    assert not needs_past(preparing(deleting=True))


def test_a_custom_check_that_cannot_be_asked_is_told_before_anything_moves() -> None:
    story = Story(preparing(given.POLICY))
    at = story.now + SETTLED
    readings = {
        "memory": Reading(0.5),
        "custom carts": Reading(None, trouble="answered HTTP 400: unclosed parenthesis"),
    }
    seen = given.seen(given.as_ordered(story.release), samples=given.samples(at=at), readings=readings)
    assert not [intent for intent in story.turn(seen, SETTLED) if isinstance(intent, SetRoute)]
    assert (story.status.phase, story.status.reason) == (Phase.PREPARING, Reason.WAITING_FOR_METRICS)
    assert "unclosed parenthesis" in story.status.message
    mended = given.seen(
        given.as_ordered(story.release), samples=given.samples(at=at), readings={"memory": Reading(0.5)}
    )
    (order,) = (intent for intent in story.turn(mended, SETTLED) if isinstance(intent, SetRoute))
    assert order.route.percent == 10
