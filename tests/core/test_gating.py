"""Gates: what a policy may say, and which question is due."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.gating import Gate, GateRun, Question, due, is_asked, run_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def gate(name: str = "tests", **fields: Any) -> Gate:
    return Gate.model_validate({"name": name} | fields)


def run(name: str = "tests", **fields: Any) -> GateRun:
    return GateRun(gate=name, since=NOON, **fields)


@pytest.mark.parametrize("before", ["start", "promotion", 1, 50, 100])
def test_a_gate_stands_before_the_start_a_weight_or_the_promotion(before: object) -> None:
    assert gate(before=before).before == before
    assert Gate.model_validate(gate(before=before).wire()) == gate(before=before)


@pytest.mark.parametrize("before", ["end", "", "50", 0, 101, -1, 10.5, 10.0, True, None, [10], {"weight": 10}])
def test_nothing_else_can_be_gated(before: object) -> None:
    with pytest.raises(ValidationError) as caught:
        gate(before=before)
    assert [error["loc"] for error in caught.value.errors()] == [("before",)]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"kind": "webhook"}, "use"),
        ({"kind": "job"}, "use"),
        ({"kind": "approval", "use": "x"}, "use"),
        ({"timeout": "999ms"}, "timeout"),
        ({"timeout": "30d1ms"}, "timeout"),
    ],
)
def test_fields_that_disagree_are_refused_at_the_one_to_change(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        gate(**fields)
    assert [error["ctx"]["path"] for error in caught.value.errors()] == [path]


def test_a_webhook_and_a_job_are_named_not_addressed() -> None:
    assert gate(kind="webhook", use="release-calendar").use == "release-calendar"
    for address in ("https://evil.example", "evil.example/x", "Job"):
        with pytest.raises(ValidationError):
            gate(kind="job", use=address)


def test_due_are_the_gates_at_this_point_that_have_not_passed() -> None:
    gates = (gate("a"), gate("b"), gate("c", before=50), gate("d", before="promotion"))
    assert due((), gates, "start") == (gates[0], gates[1])
    assert due((run("a", state="passed"), run("b", state="failed")), gates, "start") == (gates[1],)
    assert due((run("a", state="passed"), run("b")), gates, 50) == (gates[2],)
    assert due((), gates, 100) == ()


def test_a_gate_is_remembered_by_its_name() -> None:
    runs = (run("a"), run("b", attempt=2))
    assert run_of(runs, "b") == runs[1]
    assert run_of(runs, "c") is None


def test_an_open_question_is_put_at_its_time_and_an_answered_one_never_again() -> None:
    assert is_asked(run(), NOON)
    later = run(ask_at=NOON + timedelta(seconds=5))
    assert not is_asked(later, NOON)
    assert is_asked(later, NOON + timedelta(seconds=5))
    assert not is_asked(run(state="passed"), NOON)
    assert not is_asked(run(state="failed"), NOON)


def question(uid: str = "u", name: str = "tests", **fields: Any) -> Question:
    known: dict[str, Any] = {
        "namespace": "shop", "release": "one", "uid": uid, "service": "checkout", "version": "v2", "stable": "v1",
        "step": 1, "weight": 30, "gate": gate(name), "attempt": 1,
    }  # fmt: skip
    return Question(**known | fields)


def test_a_question_keeps_its_key_through_all_attempts_and_shares_it_with_no_other() -> None:
    assert question().key == question(attempt=2, weight=50, step=None).key
    assert len({question().key, question(uid="other").key, question(name="other").key}) == 3
    assert len(question().key) == 32
