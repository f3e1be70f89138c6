"""What changed between two looks at a release: retreats, doubts, and the commands that are hinted at."""

import re

import pytest

from rollout.cli.narrative import changes, sentence, waits_for
from rollout.cli.views import portrait
from rollout.cli.weighing import weighed
from rollout.cli.why import explanation, explanation_object
from rollout.core.gating import GateRun
from rollout.core.judging.guard import MOST_RETREATS, retreat
from rollout.core.judging.verdicts import Verdict
from rollout.core.release import Cause, Drift, Phase, Reason, Release, StepRecord
from rollout.core.route import Route
from tests.given import NAME, NOW, policy, release, seconds
from tests.looked import looked


def test_a_retreat_from_the_last_step_is_told_with_the_alarm_and_the_step_is_not_called_passed() -> None:
    before, retreated, back = retreating()
    told = list(changes(before, retreated))
    assert any(line.startswith("step 3 of 3 cut short") for line in told)
    assert "back to 10 % to get a control: errors vs the past alarmed at full weight" in told
    assert not any("passed" in line for line in told)
    again = list(changes(retreated, back))
    assert any(line.startswith("step 1 of 3: 10 % to v2") for line in again)
    assert not any("to get a control" in line for line in again)


def test_a_retreat_is_told_even_when_the_next_step_has_begun_meanwhile() -> None:
    before, _, back = retreating()
    told = list(changes(before, back))
    order = [next(i for i, line in enumerate(told) if part in line) for part in ("cut short", "a control", "step 1 of")]
    assert order == sorted(order)


def test_whoever_looks_late_is_told_of_a_retreat_once() -> None:
    _, _, back = retreating()
    told = list(changes(None, back))
    assert sum("to get a control" in line for line in told) == 1
    assert sum("passed" in line for line in told) == 2


def test_a_retreat_whose_alarm_is_forgotten_is_told_without_one() -> None:
    before, retreated, _ = retreating()
    forgotten = retreated.status.evidence.model_copy(update={"alarm": ""})
    assert "back to 10 % to get a control" in changes(before, with_status(retreated, evidence=forgotten))


@pytest.mark.parametrize(("proven", "said"), [(False, "passed, unproven"), (True, "passed"), (None, "passed")])
def test_a_step_that_was_left_without_proof_says_so(proven: bool | None, said: str) -> None:
    record = StepRecord(weight=30, since=NOW, canary_requests=607, canary_errors=8)
    left = record.model_copy(update={"until": NOW + seconds(60), "proven": proven})
    told = list(changes(release(steps=(record,)), release(steps=(left,))))
    assert told == [f"step 2 of 3 {said}: 607 requests, 8 failed"]


def test_a_promotion_says_how_many_steps_were_unproven() -> None:
    def left(weight: int, *, proven: bool) -> StepRecord:
        return StepRecord(weight=weight, since=NOW, until=NOW + seconds(60), proven=proven)

    again = (left(10, proven=False), left(30, proven=False), left(100, proven=False), left(10, proven=True))
    assert sentence(release(Phase.PROMOTED, steps=again)).endswith("; 1 of 3 steps unproven")
    assert "unproven" not in sentence(release(Phase.PROMOTED, steps=again[2:]))


def test_a_suspected_release_waits_for_no_hold_to_end() -> None:
    said = waits_for(looked([2, 0] * 7), NOW + seconds(60))
    assert re.fullmatch(r"suspected: errors vs stable, evidence 1 in [1-9][0-9], rolls back at 1 in 100", said)
    assert "end of the hold" in waits_for(looked([0] * 6), NOW + seconds(60))


def test_what_the_guard_of_the_last_step_suspects_is_not_called_evidence() -> None:
    given = looked([9] * 6, weight=100)
    evidence = given.status.evidence.model_copy(update={"retreats": MOST_RETREATS})
    found = weighed(with_status(given, evidence=evidence).status)
    assert found is not None
    assert found.kind == "suspect"
    assert "suspected" not in waits_for(with_status(given, evidence=evidence), NOW)


def retreating() -> tuple[Release, Release, Release]:
    """An alarm at 100 %, the decision to go back, and the first step once more."""
    alarmed = looked([9] * 6, weight=100)
    passed = [StepRecord(weight=weight, since=NOW, until=NOW + seconds(9), canary_requests=700) for weight in (10, 30)]
    last = alarmed.status.steps[-1]
    before = with_status(alarmed, steps=(*passed, last))
    assert alarmed.status.policy is not None
    assert alarmed.status.learned is not None
    evidence = retreat(alarmed.status.evidence, "errors vs the past", alarmed.status.policy, alarmed.status.learned)
    left = (*passed, last.model_copy(update={"until": NOW + seconds(30)}))
    retreated = with_status(
        before, phase=Phase.SHIFTING, reason="Shifting", evidence=evidence, steps=left, step=0,
        order=Route(percent=10, epoch=5),
    )  # fmt: skip
    steps = (*left, StepRecord(weight=10, since=NOW + seconds(31)))
    return before, retreated, with_status(retreated, phase=Phase.ANALYSING, reason="Holding", verdicts=(), steps=steps)


def with_status(given: Release, **fields: object) -> Release:
    return given.model_copy(update={"status": given.status.model_copy(update=fields)})


@pytest.mark.parametrize("reason", ["suspect", "stable-too", "gate", "no-bucket"])
def test_a_check_that_becomes_doubtful_and_fine_again_is_told(reason: str) -> None:
    doubtful = Verdict(check="errors", outcome="unknown", reason=reason, message="errors: something is odd")
    fine = Verdict(check="errors", outcome="pass", message="errors: 1 of 90 requests failed")
    early = Verdict(check="errors", outcome="unknown", reason="low-data", message="errors: waiting for 50 requests")
    began, odd, well = (release(verdicts=(one,)) for one in (early, doubtful, fine))
    assert any(doubtful.message in line for line in changes(began, odd))
    assert any(fine.message in line for line in changes(odd, well))
    assert not any(early.message in line for line in changes(odd, began) if "again" not in line)


@pytest.mark.parametrize("reason", ["low-data", "warming-up", "unproven", "no-data"])
def test_what_is_only_early_is_not_told(reason: str) -> None:
    early = Verdict(check="errors", outcome="unknown", reason=reason, message="errors: it is early")
    assert list(changes(release(), release(verdicts=(early,)))) == []


def test_what_is_not_measured_is_no_check_that_passes() -> None:
    fine = Verdict(check="errors", outcome="pass")
    missing = Verdict(check="saturation memory", outcome="unmeasured")
    assert list(changes(release(), release(verdicts=(fine, missing)))) == ["nothing is suspected (1 check)"]
    assert list(changes(release(), release(verdicts=(missing,)))) == []


@pytest.mark.parametrize(("home", "named"), [("shop", False), ("pay", True), (None, False)])
def test_a_command_that_is_hinted_at_names_a_namespace_that_is_not_the_readers(
    home: str | None, *, named: bool
) -> None:
    drifted = release(drift=Drift(percent=70, at=NOW))
    told = " ".join(changes(release(), drifted, home))
    assert f"rollout resume {NAME}" in told
    assert (f"{NAME} -n shop`" in told) == named


GATED = policy(gates=[{"name": "qa", "before": "promotion"}, {"name": "smoke", "kind": "webhook", "use": "smoke"}])


def gated(*runs: GateRun, reason: Reason = Reason.WAITING_FOR_APPROVAL, message: str = "gate qa") -> Release:
    return release(policy=GATED, reason=reason.value, message=message, observed_generation=1, gate_runs=runs)


def test_who_waits_for_an_approval_is_told_the_command_that_gives_it() -> None:
    waiting = gated(GateRun(gate="qa", since=NOW), GateRun(gate="smoke", since=NOW, state="passed"))
    [told] = [line for line in changes(release(), waiting, "other") if "rollout approve" in line]
    assert f"`rollout approve {NAME} -n shop --gate qa`" in told
    assert "smoke" not in told
    assert f"`rollout approve {NAME} --gate qa`" in waits_for(waiting, NOW)


def test_a_webhook_that_is_asked_is_no_matter_of_approval() -> None:
    asked = gated(GateRun(gate="smoke", since=NOW), reason=Reason.WAITING_FOR_GATE)
    assert not [line for line in changes(release(), asked) if "rollout approve" in line]


def test_a_webhook_that_said_no_may_be_overruled() -> None:
    refused = gated(GateRun(gate="smoke", since=NOW, state="failed", message="500 of 500 failed"))
    assert "--gate smoke`" in waits_for(refused, NOW)


def test_what_a_gate_answered_is_told_once_with_who_and_why() -> None:
    waiting = gated(GateRun(gate="qa", since=NOW))
    passed = gated(GateRun(gate="qa", since=NOW, state="passed", by="ann", message="looks good"))
    [told] = [line for line in changes(waiting, passed) if line.startswith("gate qa")]
    assert "ann" in told
    assert "looks good" in told
    assert not [line for line in changes(passed, passed) if "gate" in line]


def test_a_release_that_made_room_says_for_which() -> None:
    cause = Cause(kind="person", reason=Reason.SUPERSEDED, message="superseded by checkout-v3")
    assert sentence(release(Phase.ABORTED, cause=cause)).startswith("superseded by checkout-v3; v1 holds")


def test_why_and_status_show_the_gates() -> None:
    passed = gated(GateRun(gate="qa", since=NOW, state="passed", by="ann", message="looks good"))
    assert "approved by ann: looks good" in "\n".join(explanation(passed, NOW))
    assert "approved by ann: looks good" in "\n".join(portrait(passed, NOW))
    assert explanation_object(passed, NOW)["gates"][0]["gate"] == "qa"


def test_a_release_that_is_to_start_later_says_when_and_on_which_terms() -> None:
    wishes = {"not_before": NOW + seconds(3600), "on_conflict": "queue"}
    shown = "\n".join(portrait(release(Phase.PENDING, wishes=wishes), NOW))
    assert "not before 2026-03-01T13:00:00.000Z" in shown
    assert "waits for the one before it" in shown
