"""The judge: what convicts, what is suspicious and what keeps a step from passing, each at its edge."""

import math
from typing import Any

import pytest

from rollout.core.counts import Tally
from rollout.core.judging import judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import (
    ERRORS,
    FAIL_FAST,
    LIMIT,
    NO_CONTROL,
    OVER,
    PAST,
    UNDER,
    Evidence,
    against_stable,
    next_step,
    over_limit,
)
from rollout.core.judging.judge import Opinion
from rollout.core.policy import PolicySpec
from tests.core.traffic import CALM, IDLE, calm, found, healthy, interval, looked, policy, verdict, version, worth

# --- From evidence to an opinion ---


def having(evidence: float) -> Evidence:
    """Evidence of just this much, all of it from the comparison of errors."""
    weight = judge.weights_of(policy(), CALM)[ERRORS]
    return Evidence(processes={ERRORS: (0.0, 1 + (evidence - 1) / weight)})


@pytest.mark.parametrize(
    ("evidence", "kind"), [(1, "open"), (9.99, "open"), (10.01, "suspect"), (99.9, "suspect"), (100.1, "guilty")]
)
def test_evidence_is_suspicious_from_ten_and_convicts_from_a_hundred(evidence: float, kind: str) -> None:
    got = found(having(evidence), policy())
    assert (got.kind, got.check) == (kind, "" if kind == "open" else ERRORS)
    assert got.evidence == pytest.approx(evidence)


@pytest.mark.parametrize(
    ("alpha", "evidence", "kind"),
    [
        ("0.1%", 999, "suspect"),
        ("0.1%", 1001, "guilty"),
        ("5%", 9.9, "open"),
        ("5%", 20.1, "guilty"),
        ("20%", 2.4, "open"),
        ("20%", 2.6, "suspect"),
        ("20%", 5.1, "guilty"),
    ],
)
def test_how_much_convicts_is_one_over_the_probability_of_a_false_rollback(
    alpha: str, evidence: float, kind: str
) -> None:
    assert found(having(evidence), policy(judge={"falseRollback": alpha})).kind == kind


def test_a_step_is_proven_when_every_check_is() -> None:
    by, learned = policy(compare=["500ms"], judge={"proof": {"risk": "5%"}}), calm(500.0)
    enough: tuple[float, ...] = (math.log(20.01),)
    too_little: tuple[float, ...] = (math.log(19.99),)
    latency = against_stable(500.0)
    assert found(Evidence(proof={ERRORS: enough, latency: enough}), by, learned).kind == "proven"
    for proof in ({ERRORS: enough}, {ERRORS: enough, latency: too_little}, {ERRORS: too_little, latency: enough}):
        assert found(Evidence(proof=proof), by, learned).kind == "open"
    assert found(having(11).model_copy(update={"proof": {ERRORS: enough}}), policy()).kind == "suspect"


def test_a_good_canary_is_proven_in_time_and_a_bad_one_is_not() -> None:
    assert verdict(*[healthy(50, 3000)] * 4).kind == "proven"
    assert verdict(*[interval(version(1500, 15), version(1500, 1), 50)] * 4).kind != "proven"


def test_a_proof_ends_with_its_step() -> None:
    by = policy()
    evidence = looked([healthy(50, 3000)] * 4, by)
    assert judge.is_proven(evidence, by, CALM)
    assert not judge.is_proven(next_step(evidence), by, CALM)


# --- What keeps a step from passing ---


def doubted(evidence: Evidence, by: PolicySpec, learned: Learned = CALM, weight: int = 10) -> str:
    return judge.doubt(evidence, by, learned, weight)


@pytest.mark.parametrize(
    ("canary", "lost", "reason"), [(49, 0, "low-data"), (50, 0, ""), (49, 1, ""), (0, 0, "low-data")]
)
def test_fewer_requests_than_asked_for_pass_nothing(canary: int, lost: int, reason: str) -> None:
    by = policy(checks={"minRequests": 50})
    assert doubted(looked([interval(version(canary), version(450), lost=lost)], by), by) == reason


def test_requests_of_the_step_before_count_for_nothing() -> None:
    by = policy()
    evidence = looked([healthy()], by)
    assert doubted(evidence, by) == ""
    assert doubted(next_step(evidence), by) == "low-data"


def test_a_limit_that_stable_breaks_too_convicts_nobody_and_lets_nobody_pass() -> None:
    by = policy(compare=[], checks={"latency": {"objectives": ["p90 < 500ms"]}}, judge={"warmUp": "0s"})
    broken = interval(version(300, 60, {500.0: 60}), version(2700, 540, {500.0: 540}))
    evidence = looked([broken] * 3, by)
    assert set(evidence.suspended) == {LIMIT, over_limit(500.0)}
    assert (worth(evidence, LIMIT), worth(evidence, over_limit(500.0))) == (1, 1)
    assert doubted(evidence, by) == "stable-too"
    fine = interval(version(300, 0, {500.0: 0}), version(2700, 0, {500.0: 0}))
    assert doubted(looked([fine], by, since=evidence), by) == ""


@pytest.mark.parametrize(("errors", "suspended"), [(50, False), (51, True)])
def test_a_limit_is_suspended_when_stable_is_beyond_it(errors: int, suspended: bool) -> None:
    by = policy(checks={"errors": {"max": "5%"}})
    assert bool(looked([interval(version(100), version(1000, errors))], by).suspended) == suspended


def test_an_incident_of_both_versions_is_not_held_against_the_canary() -> None:
    incident = interval(version(300, 60), version(2700, 540))
    assert verdict(healthy(), *[incident] * 20).kind in {"open", "proven"}


def test_latency_is_not_judged_while_caches_are_cold() -> None:
    by, learned = policy(compare=["500ms"], judge={"warmUp": "30s"}), calm(500.0)
    cold = interval(version(150, 0, {500.0: 150}), version(1350, 0, {500.0: 0}))
    check = against_stable(500.0)
    looks = [looked([cold] * count, by, learned) for count in range(1, 4)]
    assert [check in evidence.processes for evidence in looks] == [False, False, True]
    assert [doubted(evidence, by, learned) for evidence in looks] == ["warming-up", "", ""]


def test_without_bounds_nobody_waits_for_caches() -> None:
    by = policy(judge={"warmUp": "10m"})
    assert doubted(looked([healthy()], by), by) == ""


def test_a_missing_bucket_and_a_missing_histogram_are_told_apart() -> None:
    by = policy(compare=["500ms"], judge={"warmUp": "0s"})
    without = interval(version(100), version(900, 0, {500.0: 0}))
    assert doubted(looked([without], by, calm(500.0)), by, calm(500.0)) == "no-bucket"
    silent = interval(version(100, timed=0), version(900, 0, {500.0: 0}))
    assert doubted(looked([silent], by, calm(500.0)), by, calm(500.0)) == "no-data"


def test_a_bucket_that_one_version_lacks_convicts_nobody() -> None:
    by, learned = policy(compare=["500ms"], judge={"warmUp": "0s"}), calm(500.0)
    slow, unknown = version(1000, 0, {500.0: 900}), version(1000)
    for one in (interval(slow, unknown, 50), interval(unknown, slow, 50)):
        assert worth(looked([one] * 5, by, learned), against_stable(500.0)) == 1


def test_a_step_waits_until_stable_was_looked_at_after_a_retreat() -> None:
    by = policy()
    evidence = looked([healthy()], by).model_copy(update={"alarm": PAST})
    assert doubted(evidence, by) == "watching"


@pytest.mark.parametrize(("guarded", "reason"), [(judge._STIRRED - 0.01, ""), (judge._STIRRED + 0.01, "suspect")])
def test_what_stirs_the_guard_a_little_is_no_moment_to_promote(guarded: float, reason: str) -> None:
    by = policy()
    evidence = looked([healthy(100)], by).model_copy(update={"guard": {PAST: (0.0, 2 * (guarded - 0.25))}})
    assert doubted(evidence, by, weight=100) == reason
    assert doubted(evidence, by, weight=50) == ""


@pytest.mark.parametrize(("errors", "reason"), [(75, ""), (76, "suspect")])
def test_an_interval_beyond_the_limit_is_no_moment_to_promote(errors: int, reason: str) -> None:
    by = policy(checks={"errors": {"max": "5%"}})
    newest = interval(version(1500, errors), version(0), 100)
    evidence = looked([healthy(100)] * 20, by).model_copy(update={"guard": {}})
    assert doubted(looked([newest], by, since=evidence).model_copy(update={"guard": {}}), by, weight=100) == reason


@pytest.mark.parametrize(("unproven", "reason"), [("advance", ""), ("hold", "unproven")])
def test_whether_an_unproven_step_may_pass_is_the_policys_to_say(unproven: str, reason: str) -> None:
    by = policy(judge={"unproven": unproven})
    evidence = looked([healthy()], by)
    got = found(evidence, by)
    assert got.kind == "open"
    assert judge.waiting_for(evidence, got, by, CALM, 10) == reason
    assert judge.waiting_for(evidence, got, by, CALM, 100) == ""
    proven = looked([healthy(50, 3000)] * 4, by)
    assert judge.waiting_for(proven, found(proven, by), by, CALM, 50) == ""


def test_suspicion_and_doubt_are_what_a_step_waits_for() -> None:
    by = policy()
    assert judge.waiting_for(having(11), found(having(11), by), by, CALM, 10) == "suspect"
    assert judge.waiting_for(Evidence(), found(Evidence(), by), by, CALM, 10) == "low-data"


@pytest.mark.parametrize(
    ("kind", "early", "stayed", "may"),
    [
        ("open", False, 299, False),
        ("open", False, 300, True),
        ("open", True, 299, False),
        ("proven", False, 299, False),
        ("proven", True, 59, False),
        ("proven", True, 60, True),
    ],
)
def test_a_step_may_end_when_its_hold_is_over_or_early_when_it_is_proven(
    kind: Any, early: bool, stayed: float, may: bool
) -> None:
    by = policy(judge={"early": early, "dwell": "1m"})
    assert judge.may_leave(Opinion(1, 100, kind), "", stayed, 300, by) == may
    assert not judge.may_leave(Opinion(1, 100, kind), "low-data", stayed, 300, by)


def test_a_hold_shorter_than_the_dwell_is_long_enough() -> None:
    by = policy(judge={"early": True, "dwell": "1m"})
    assert judge.may_leave(Opinion(1, 100, "proven"), "", 30, 30, by)


# --- Intervals that the weight had not reached, and those at its ends ---


def test_while_the_weight_is_arriving_shares_are_not_judged() -> None:
    evidence = looked([interval(version(0), version(900), settling=True)] * 8, policy())
    assert not {UNDER, OVER} & set(evidence.processes)
    assert not evidence.shared


def test_an_interval_that_began_before_the_weight_may_convict() -> None:
    dead = interval(version(150, 150), version(1350), settling=True, straddles=True)
    assert verdict(dead, dead).kind == "guilty"
    assert looked([dead], policy(fail_fast=True)).dead == FAIL_FAST


def test_an_interval_that_began_before_the_weight_helps_nobody_to_pass() -> None:
    by = policy()
    early = interval(version(3000), version(3000), 50, straddles=True)
    evidence = looked([early] * 4, by)
    assert (evidence.step, evidence.proof) == (Tally(), {})
    assert evidence.straddled.canary.requests == 12_000
    assert doubted(evidence, by) == "low-data"


@pytest.mark.parametrize(("weight", "compared"), [(NO_CONTROL, True), (NO_CONTROL + 1, False), (100, False)])
def test_without_a_control_the_guard_takes_the_place_of_the_comparison(weight: int, compared: bool) -> None:
    evidence = looked([healthy(weight)], policy())
    assert (ERRORS in evidence.processes, ERRORS in evidence.proof, bool(evidence.guard)) == (
        compared,
        compared,
        not compared,
    )


def test_silence_is_no_evidence_and_passes_nothing() -> None:
    by = policy(compare=["500ms"])
    evidence = looked([IDLE] * 50, by, calm(500.0))
    assert found(evidence, by, calm(500.0)).evidence == pytest.approx(1)
    assert doubted(evidence, by, calm(500.0)) == "low-data"
