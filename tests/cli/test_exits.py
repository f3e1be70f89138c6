import pytest

from rollout.cli.exits import ExitCode, outcome_of
from rollout.core.release import Cause, Phase, Reason
from tests.given import release

REFUSALS = [reason for reason in Reason if reason.refusal]
KIND = {"metrics": ExitCode.ROLLED_BACK, "infrastructure": ExitCode.INFRASTRUCTURE, "person": ExitCode.INFRASTRUCTURE}


def caused(kind: str, reason: Reason) -> Cause:
    return Cause.model_validate({"kind": kind, "reason": reason.value, "message": "so it is"})


def test_a_promoted_release_is_0() -> None:
    assert outcome_of(release(Phase.PROMOTED)) == 0


@pytest.mark.parametrize("phase", [Phase.ABORTED, Phase.ROLLED_BACK])
def test_a_release_that_made_room_for_a_newer_one_is_13(phase: Phase) -> None:
    assert outcome_of(release(phase, cause=caused("person", Reason.SUPERSEDED))) == 13


@pytest.mark.parametrize(("kind", "code"), [("metrics", 10), ("gate", 10), ("infrastructure", 12)])
def test_a_rollback_says_whether_the_canary_or_the_infrastructure_was_the_cause(kind: str, code: int) -> None:
    assert outcome_of(release(Phase.ROLLED_BACK, cause=caused(kind, Reason.CHECK_FAILED))) == code


@pytest.mark.parametrize("reason", [Reason.ABORTED, Reason.HAND_ON_ROUTE])
def test_an_abort_is_11_whoever_asked_for_it(reason: Reason) -> None:
    assert outcome_of(release(Phase.ABORTED, cause=caused("person", reason))) == 11


@pytest.mark.parametrize("reason", REFUSALS)
def test_what_was_refused_before_it_began_is_22(reason: Reason) -> None:
    assert outcome_of(release(Phase.FAILED, cause=caused("infrastructure", reason))) == 22


@pytest.mark.parametrize("reason", [Reason.CANARY_NOT_READY, Reason.METRICS_UNAVAILABLE, Reason.ROUTE_GONE])
def test_what_failed_on_its_way_is_12(reason: Reason) -> None:
    assert outcome_of(release(Phase.FAILED, cause=caused("infrastructure", reason))) == 12


def test_a_failed_release_without_a_cause_is_12() -> None:
    assert outcome_of(release(Phase.FAILED, cause=None, reason="")) == 12


def test_every_ended_phase_has_an_outcome_and_no_other() -> None:
    for phase in Phase:
        if phase.terminal:
            assert outcome_of(release(phase)) in set(ExitCode)
        else:
            with pytest.raises(ValueError, match="under way"):
                outcome_of(release(phase))
