"""What is watched and how sure one must be: the `checks` and `judge` parts of a policy, and what makes no sense."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.checks import PLACEHOLDERS, Checks, CustomCheck, Errors, Judge, Objective, Tolerance
from rollout.core.counts import GRPC_CODES, SERVER_FAILURES

QUERY = 'sum(rate(sales_total{version="{{version}}"}[{{interval}}]))'


def custom(**fields: Any) -> CustomCheck:
    return CustomCheck.model_validate({"name": "sales", "query": QUERY, **fields})


@pytest.mark.parametrize(("rate", "tolerated"), [(0.0, 0.01), (0.1, 0.16), (0.66, 1.0), (1.0, 1.0)])
def test_a_tolerance_is_a_factor_and_a_margin_and_never_more_than_all(rate: float, tolerated: float) -> None:
    tolerance = Tolerance.model_validate({"ratio": 1.5, "margin": "1%"})
    assert tolerance.of(rate) == pytest.approx(tolerated)


@pytest.mark.parametrize("ratio", [0.99, 100.1, "1.5"])
def test_a_tolerance_never_asks_for_better_than_stable(ratio: Any) -> None:
    with pytest.raises(ValidationError):
        Tolerance.model_validate({"ratio": ratio, "margin": "1%"})


# --- Which answers are failures ---


def test_by_default_servers_fail_and_callers_do_not() -> None:
    failing = Errors().failing()
    assert failing is SERVER_FAILURES
    assert {code for code in ("200", "404", "408", "429", "499", "500", "503") if failing.includes(code, "")} == {
        "500",
        "503",
    }
    assert not failing.includes("200", GRPC_CODES["NOT_FOUND"])
    assert failing.includes("200", GRPC_CODES["UNAVAILABLE"])


def test_throttled_and_timed_out_requests_may_count() -> None:
    failing = Errors.model_validate({"codes": ["5xx", "429", "408"]}).failing()
    assert failing.includes("429", "")
    assert failing.includes("502", "")
    assert not failing.includes("404", "")


def test_which_grpc_statuses_count_is_the_policys_to_say() -> None:
    failing = Errors.model_validate({"grpc": ["NOT_FOUND"]}).failing()
    assert failing.includes("200", GRPC_CODES["NOT_FOUND"])
    assert not failing.includes("200", GRPC_CODES["INTERNAL"])
    assert failing.includes("500", "")


def test_the_defaults_in_words_are_the_defaults_in_numbers() -> None:
    assert {GRPC_CODES[name] for name in Errors().grpc} == SERVER_FAILURES.grpc
    assert set(Errors().codes) == SERVER_FAILURES.http


@pytest.mark.parametrize("code", ["6xx", "5XX", "50", "all", "0", 503])
def test_a_code_is_three_digits_or_a_class(code: Any) -> None:
    with pytest.raises(ValidationError):
        Errors.model_validate({"codes": [code]})


@pytest.mark.parametrize("status", ["OK", "unavailable", "14"])
def test_a_grpc_status_is_spelled_as_grpc_does(status: str) -> None:
    with pytest.raises(ValidationError):
        Errors.model_validate({"grpc": [status]})


# --- Latency ---


@given(st.integers(1, 999), st.integers(1, 100_000))
def test_an_objective_in_words_is_the_same_as_in_numbers(tenths: int, milliseconds: int) -> None:
    checks = Checks.model_validate({"latency": {"objectives": [f"p{tenths / 10} < {milliseconds}ms"]}})
    (objective,) = checks.latency.objectives
    assert objective.bound_ms == milliseconds
    assert objective.max == pytest.approx(1 - tenths / 1000)
    assert Objective.model_validate(objective.wire()) == objective
    assert Checks.model_validate(checks.wire()) == checks


def test_a_bound_has_one_objective() -> None:
    with pytest.raises(ValidationError):
        Checks.model_validate({"latency": {"objectives": ["p99 < 500ms", "p95 < 500ms"]}})
    two = Checks.model_validate({"latency": {"objectives": ["p99 < 500ms", "p95 < 250ms"]}})
    assert len(two.latency.objectives) == 2


def test_an_objective_says_what_it_limits() -> None:
    assert str(Objective.model_validate({"bound": "1s500ms", "max": "0.5%"})) == "0.5% slower than 1s500ms"


@pytest.mark.parametrize("bad", ["p99 < 500", "p100 < 1s", "p0 < 1s", "99 < 1s", 5])
def test_anything_else_is_no_objective(bad: Any) -> None:
    with pytest.raises(ValidationError):
        Checks.model_validate({"latency": {"objectives": [bad]}})


# --- Custom checks ---


@pytest.mark.parametrize("rule", [{"max": 5.0}, {"min": 0.0}, {"overStable": {"ratio": 1.5}}, {"min": 0.0, "max": 1.0}])
def test_a_custom_check_says_what_is_good(rule: dict[str, Any]) -> None:
    check = custom(**rule)
    assert CustomCheck.model_validate(check.wire()) == check


def test_a_custom_check_for_which_every_value_is_good_is_refused() -> None:
    with pytest.raises(ValidationError):
        custom()


@pytest.mark.parametrize("name", PLACEHOLDERS)
@pytest.mark.parametrize("form", ["{{%s}}", "{{ %s }}"])
def test_a_query_may_name_what_is_released(name: str, form: str) -> None:
    query = f"up{{x='{form % name}'}}"
    assert custom(query=query, max=1.0).query == query


@pytest.mark.parametrize("query", ["up{x='{{pod}}'}", "up{x='{{}}'}", "up{x='{{version}}', y='{{Version}}'}"])
def test_a_query_may_name_nothing_else(query: str) -> None:
    with pytest.raises(ValidationError):
        custom(query=query, max=1.0)


@pytest.mark.parametrize(
    ("query", "fine"),
    [("up{x='{{version}}'}", True), ("up{x='{{ workload }}'}", True), ("up{x='{{service}}'}", False), ("up", False)],
)
def test_a_query_that_is_compared_with_stable_tells_the_versions_apart(query: str, fine: bool) -> None:
    assert custom(query=query, max=1.0).over_stable is None
    if fine:
        assert custom(query=query, overStable={}).over_stable is not None
    else:
        with pytest.raises(ValidationError):
            custom(query=query, overStable={})


@pytest.mark.parametrize("name", ["", "Sales", "-a", "a-", "a b", "a" * 64])
def test_a_custom_check_is_named_as_a_label(name: str) -> None:
    with pytest.raises(ValidationError):
        custom(name=name, max=1.0)


def test_custom_checks_have_different_names() -> None:
    one, other = ({"name": name, "query": QUERY, "max": 1.0} for name in ("one", "other"))
    assert len(Checks.model_validate({"custom": [one, other]}).custom) == 2
    with pytest.raises(ValidationError):
        Checks.model_validate({"custom": [one, one]})


# --- How sure one must be ---


@pytest.mark.parametrize(
    "fields",
    [
        {"falseRollback": "0%"},
        {"falseRollback": "20.000001%"},
        {"proof": {"risk": "0%"}},
        {"proof": {"risk": "50.000001%"}},
        {"learn": "6h1s"},
        {"block": "999ms"},
        {"onset": "999ms"},
        {"unproven": "maybe"},
    ],
)
def test_what_would_make_no_sense_of_the_evidence_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Judge.model_validate(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"falseRollback": "20%", "proof": {"risk": "50%"}, "learn": "6h", "block": "1s", "onset": "1s"},
        {"falseRollback": "0.000001%", "proof": {"risk": "0.000001%"}, "learn": "0s", "warmUp": "0s"},
    ],
)
def test_the_edges_are_allowed(fields: dict[str, Any]) -> None:
    judge = Judge.model_validate(fields)
    assert Judge.model_validate(judge.wire()) == judge


def test_the_defaults_are_those_that_were_measured() -> None:
    judge, checks = Judge(), Checks()
    assert judge.false_rollback == 0.01
    assert judge.proof.risk == 0.05
    assert (judge.learn, judge.onset) == (timedelta(hours=1), timedelta(minutes=30))
    assert (checks.errors.over_stable.ratio, checks.errors.over_stable.margin) == (1.25, 0.0005)
    assert (checks.latency.over_stable.ratio, checks.latency.over_stable.margin) == (1.25, 0.002)
    assert (judge.proof.errors.ratio, judge.proof.errors.margin) == (1.5, 0.005)
    assert (judge.proof.latency.ratio, judge.proof.latency.margin) == (1.5, 0.01)
    assert checks.traffic.tolerance == 1.5
    assert (checks.errors.fail_fast.max, checks.errors.fail_fast.requests) == (0.9, 50)


@pytest.mark.parametrize(("share", "sane"), [("0%", False), ("4.9%", False), ("5%", True), ("100%", True)])
def test_a_hard_limit_is_for_outages(share: str, sane: bool) -> None:
    if sane:
        assert Errors.model_validate({"failFast": {"max": share}}).fail_fast.max > 0
    else:
        with pytest.raises(ValidationError, match="enabled"):
            Errors.model_validate({"failFast": {"max": share}})


def test_a_custom_check_that_no_value_passes_is_refused() -> None:
    assert custom(min=5, max=5).min == 5
    with pytest.raises(ValidationError, match="no value is good"):
        custom(min=5.1, max=5)
