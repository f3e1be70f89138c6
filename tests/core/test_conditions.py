"""What `kubectl wait` waits for: the three conditions of a release, and its place among the steps."""

from datetime import timedelta

import pytest

from rollout.core.conditions import conditions, progress
from rollout.core.decide import decide
from rollout.core.release import Condition, Phase, Reason, Release, Status
from tests.given import NOW, POLICY, release, seen, wish

LATER = NOW + timedelta(minutes=3)
UNDER_WAY = [phase for phase in Phase if not phase.terminal]
OVER = [phase for phase in Phase if phase.terminal]


def told(status: Status) -> dict[str, Condition]:
    return {one.type: one for one in conditions(status, NOW)}


def answers(status: Status) -> dict[str, str]:
    return {name: one.status for name, one in told(status).items()}


@pytest.mark.parametrize("phase", UNDER_WAY)
def test_a_release_under_way_is_progressing_and_nobody_knows_its_outcome(phase: Phase) -> None:
    found = answers(Status(phase=phase, reason=Reason.HOLDING))
    assert found == {"Progressing": "True", "Finished": "False", "Promoted": "Unknown"}


@pytest.mark.parametrize("reason", [Reason.PAUSED, Reason.DRIFTED, Reason.STUCK])
def test_a_release_that_waits_for_a_person_is_not_progressing(reason: Reason) -> None:
    found = answers(Status(phase=Phase.ANALYSING, reason=reason))
    assert found == {"Progressing": "False", "Finished": "False", "Promoted": "Unknown"}


@pytest.mark.parametrize("phase", OVER)
def test_a_release_that_is_over_is_promoted_or_is_not(phase: Phase) -> None:
    promoted = "True" if phase is Phase.PROMOTED else "False"
    assert answers(Status(phase=phase)) == {"Progressing": "False", "Finished": "True", "Promoted": promoted}


@pytest.mark.parametrize("phase", [*UNDER_WAY, *OVER])
def test_every_condition_has_a_reason_as_kubernetes_demands(phase: Phase) -> None:
    # metav1.Condition: ^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$, at least one character.
    for one in told(Status(phase=phase)).values():
        assert one.reason.isalnum()
        assert one.reason[0].isalpha()


def test_the_outcome_is_told_with_its_reason_and_message() -> None:
    found = told(Status(phase=Phase.ROLLED_BACK, reason=Reason.CHECK_FAILED, message="too many errors"))
    assert {(one.reason, one.message) for one in found.values()} == {("CheckFailed", "too many errors")}


def test_what_is_waited_for_is_told_where_it_is_looked_for() -> None:
    found = told(Status(phase=Phase.ANALYSING, reason=Reason.HOLDING, message="10 % to v2"))
    assert (found["Progressing"].reason, found["Progressing"].message) == ("Holding", "10 % to v2")
    assert (found["Finished"].reason, found["Finished"].message) == ("Analysing", "")


def test_a_condition_keeps_the_time_at_which_its_answer_changed() -> None:
    before = Status(phase=Phase.SHIFTING, reason=Reason.SHIFTING)
    before = before.model_copy(update={"conditions": conditions(before, NOW)})
    paused = before.model_copy(update={"phase": Phase.ANALYSING, "reason": Reason.PAUSED.value})
    found = {one.type: one for one in conditions(paused, LATER)}
    assert found["Progressing"].last_transition_time == LATER
    assert found["Finished"].last_transition_time == NOW
    assert found["Promoted"].last_transition_time == NOW


def test_each_condition_says_which_spec_it_speaks_of() -> None:
    assert {one.observed_generation for one in told(Status(observed_generation=7)).values()} == {7}


@pytest.mark.parametrize(("step", "shown"), [(None, "0/3"), (0, "1/3"), (2, "3/3")])
def test_progress_counts_steps_as_people_do(step: int | None, shown: str) -> None:
    assert progress(Status(policy=POLICY, step=step)) == shown


def test_there_is_no_progress_before_there_are_steps() -> None:
    assert progress(Status()) == ""


def test_every_decision_keeps_them_current() -> None:
    paused = release(wishes={"pause": wish()})
    status = decide(paused, seen(), NOW).status
    assert status.observed_generation == paused.generation
    assert status.progress == "1/3"
    assert {one.type: one.status for one in status.conditions} == answers(status)


def _over(generation: int) -> Release:
    done = release(Phase.PROMOTED, reason=Reason.PROMOTED.value)
    status = done.status.model_copy(update={"conditions": conditions(done.status, NOW)})
    return done.model_copy(update={"status": status, "generation": generation})


def test_a_wish_after_the_end_is_seen_so_that_nobody_waits_for_ever() -> None:
    status = decide(_over(generation=2), seen(), LATER).status
    assert status.observed_generation == 2
    assert {one.observed_generation for one in status.conditions} == {2}
    assert {one.last_transition_time for one in status.conditions} == {NOW}


def test_an_end_that_was_seen_is_left_alone() -> None:
    assert decide(_over(generation=1), seen(), LATER).status == _over(generation=1).status
