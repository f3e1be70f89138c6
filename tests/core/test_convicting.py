"""What each check convicts for, and what it does not. Their bets are in test_bets.py."""

import pytest

from rollout.core.counts import Counts
from rollout.core.judging import judge
from rollout.core.judging.evidence import (
    ERRORS,
    LIMIT,
    OVER,
    UNDER,
    against_stable,
    next_step,
    over_limit,
)
from tests.core.traffic import CALM, calm, found, healthy, interval, looked, policy, verdict, version, worth

# --- What each check finds ---


def test_evidence_grows_over_intervals_that_convict_nobody_alone() -> None:
    one = interval(version(150, 8), version(1350, 1))
    kinds = [verdict(*[one] * looks).kind for looks in range(1, 12)]
    assert kinds[0] != "guilty"
    assert kinds[-1] == "guilty"
    assert kinds == sorted(kinds, key=["open", "suspect", "guilty"].index)


def test_only_what_stable_did_at_the_same_time_is_compared_with() -> None:
    by, harm = policy(), interval(version(100, 30), version(900))
    before = interval(version(0), version(900, 300), settling=True)
    alone, after = looked([harm], by), looked([before, harm], by)
    assert judge.parts_of(after, by, CALM)[ERRORS] > 0.5 * judge.parts_of(alone, by, CALM)[ERRORS] > 1


def test_errors_in_clumps_are_less_evidence() -> None:
    one = interval(version(1000, 12), version(9000, 9))
    seen = [verdict(one, learned=calm(clump=clump)).evidence for clump in (1.0, 4.0, 10.0, 30.0)]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 2
    assert seen[-1] < 1


def test_the_absolute_limit_convicts_whatever_the_comparison_says() -> None:
    by = policy(checks={"errors": {"max": "5%", "overStable": {"ratio": 100.0, "margin": "1%"}}})
    got = verdict(*[interval(version(300, 90), version(2700, 27))] * 6, by=by)
    assert (got.kind, got.check) == ("guilty", LIMIT)


def test_a_slow_canary_is_convicted_by_its_latency_alone() -> None:
    by, learned = policy(compare=["500ms"], judge={"warmUp": "0s"}), calm(500.0)
    got = verdict(*[interval(version(400, 0, {500.0: 40}), version(3600, 0, {500.0: 36}))] * 12, by=by, learned=learned)
    assert (got.kind, got.check) == ("guilty", against_stable(500.0))


def test_a_small_shift_of_latency_is_tolerated_however_much_traffic_there_is() -> None:
    by, learned = policy(compare=["500ms"], judge={"warmUp": "0s"}), calm(500.0)
    shifted = interval(version(100_000, 0, {500.0: 1150}), version(100_000, 0, {500.0: 1000}), 50)
    assert verdict(*[shifted] * 100, by=by, learned=learned).kind in {"open", "proven"}


def test_a_latency_objective_convicts_whatever_the_comparison_says() -> None:
    latency = {"objectives": ["p99 < 500ms"], "overStable": {"ratio": 100.0, "margin": "1%"}}
    by = policy(compare=["500ms"], checks={"latency": latency}, judge={"warmUp": "0s"})
    slow = interval(version(400, 0, {500.0: 60}), version(3600, 0, {500.0: 18}))
    got = verdict(*[slow] * 12, by=by, learned=calm(500.0))
    assert (got.kind, got.check) == ("guilty", over_limit(500.0))


def test_lost_requests_are_failures_of_the_canary() -> None:
    lost = interval(version(50), version(900), lost=50)
    failed = interval(version(100, 50), version(900))
    assert worth(looked([lost], policy()), ERRORS) == worth(looked([failed], policy()), ERRORS) > 1


# --- The share of the traffic ---


def test_a_black_hole_is_convicted_by_the_traffic_it_swallows() -> None:
    got = verdict(*[interval(version(0), version(1500))] * 8)
    assert (got.kind, got.check) == ("guilty", UNDER)


def test_a_canary_that_gets_more_than_its_weight_is_convicted() -> None:
    got = verdict(*[interval(version(750), version(750))] * 8)
    assert (got.kind, got.check) == ("guilty", OVER)


@pytest.mark.parametrize("weight", [1, 10, 50, 99, 100])
def test_the_share_that_the_weight_says_is_never_suspicious(weight: int) -> None:
    by = policy()
    evidence = looked([healthy(weight)] * 240, by)
    assert judge.parts_of(evidence, by, CALM)[UNDER] + judge.parts_of(evidence, by, CALM)[OVER] < 0.2


def test_disconnects_and_lost_requests_have_arrived_too() -> None:
    by = policy()
    plain = looked([interval(version(100), version(900))], by)
    mixed = looked([interval(Counts(requests=40, disconnects=30), Counts(requests=800, disconnects=100), lost=30)], by)
    assert [mixed.processes[check] for check in (UNDER, OVER)] == [plain.processes[check] for check in (UNDER, OVER)]


def test_at_full_weight_a_proxy_that_has_not_heard_of_it_yet_convicts_nobody() -> None:
    assert worth(looked([interval(version(1990), version(10), 100)] * 50, policy()), UNDER) <= 1


def test_at_full_weight_traffic_that_stays_with_stable_convicts() -> None:
    got = verdict(*[interval(version(750), version(750), 100)] * 8)
    assert (got.kind, got.check) == ("guilty", UNDER)


def test_at_full_weight_nothing_is_too_much() -> None:
    evidence = looked([healthy(50), healthy(100), healthy(100)], policy())
    assert evidence.processes[OVER] == looked([healthy(50)], policy()).processes[OVER]


def test_a_black_hole_that_begins_with_a_later_step_is_found_as_soon() -> None:
    by = policy()
    quiet = interval(version(450), version(1050), 30)
    begun = next_step(looked([quiet] * 20, by))
    settling = interval(version(0), version(1500), 50, settling=True, straddles=True)
    hole = interval(version(0), version(1500), 50)
    kinds = [found(looked([settling, *[hole] * looks], by, CALM, begun), by).kind for looks in range(1, 9)]
    assert "guilty" in kinds
