"""Looks that change nothing but what was counted: what may wait to be saved, and for how long."""

from datetime import timedelta

import pytest

from rollout.core.judging.evidence import Evidence
from rollout.core.judging.gates import Gates
from rollout.core.looking import is_only_counted, is_steady, longest_unsaved
from rollout.core.release import Condition, Drift, Phase, StepRecord, Window
from tests import given

WATCHED = given.release(Phase.ANALYSING, step=1)
CONDITION = Condition(type="Progressing", status="True", reason="Holding", last_transition_time=given.NOW)


@pytest.mark.parametrize("phase", Phase)
def test_waiting_and_watching_are_steady(phase: Phase) -> None:
    assert is_steady(given.release(phase)) == (phase in {Phase.PREPARING, Phase.ANALYSING})
    assert not is_steady(given.release(phase, deleting=True))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"window": Window(anchor=given.NOW, judged_at=given.NOW)}, True),
        ({"evidence": Evidence(looks=3)}, True),
        ({"gates": Gates(), "query": "up", "message": "30 % to v2"}, True),
        ({"reason": "Paused"}, False),
        ({"drift": Drift(percent=5, at=given.NOW)}, False),
        ({"phase": Phase.ROLLING_BACK}, False),
        ({"blind_since": given.NOW}, False),
        ({"sequence": 2}, False),
    ],
)
def test_what_the_next_look_would_find_again_is_only_counted(change: dict[str, object], expected: bool) -> None:
    before = WATCHED.status
    assert is_only_counted(before, before.model_copy(update=change)) == expected


def test_requests_of_the_step_are_counted_and_a_new_step_is_news() -> None:
    before = WATCHED.status
    *rest, last = before.steps
    more = last.model_copy(update={"canary_requests": last.canary_requests + 100})
    assert is_only_counted(before, before.model_copy(update={"steps": (*rest, more)}))
    new = StepRecord(weight=100, since=given.NOW)
    assert not is_only_counted(before, before.model_copy(update={"steps": (*before.steps, new)}))


def test_a_condition_that_answers_differently_is_news() -> None:
    before = WATCHED.status.model_copy(update={"conditions": (CONDITION,)})
    reworded = CONDITION.model_copy(update={"message": "other words"})
    assert is_only_counted(before, before.model_copy(update={"conditions": (reworded,)}))
    turned = CONDITION.model_copy(update={"status": "False"})
    assert not is_only_counted(before, before.model_copy(update={"conditions": (turned,)}))


@pytest.mark.parametrize(("interval", "longest"), [("1s", 2.5), ("5s", 12.5), ("15s", 37.5), ("1m", 40)])
def test_fewer_than_two_writes_a_minute_are_enough_for_what_is_only_counted(interval: str, longest: float) -> None:
    policy = given.policy(interval=interval, deadlines={"total": "1d", "route": "2m"})
    assert longest_unsaved(given.release(policy=policy)) == timedelta(seconds=longest)


def test_without_a_policy_nothing_waits() -> None:
    assert longest_unsaved(given.release(Phase.PENDING)) == timedelta(0)
