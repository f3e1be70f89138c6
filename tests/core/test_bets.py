"""What the judge makes of the bets: its evidence `E`, and the proof of a step, have mean 1 at most, look after look.

Small releases are enumerated outcome by outcome through `look` itself, with its stakes, caps, clump sizes and
suspended limits; whole releases are sampled. The algebra of a single bet is in test_betting.py.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

import numpy as np
import pytest

from rollout.core.counts import Counts, Tally
from rollout.core.judging import betting, judge
from rollout.core.judging.clumps import Habit, Learned
from rollout.core.judging.evidence import (
    ERRORS,
    LIMIT,
    OVER,
    UNDER,
    Evidence,
    Interval,
    against_stable,
    next_step,
    over_limit,
)
from rollout.core.policy import PolicySpec
from tests.core import test_betting
from tests.core.chances import binomial, clumps
from tests.core.traffic import CALM, calm, found, interval, looked, policy, stepped, version

TINY = 1e-9
Outcomes = Sequence[tuple[float, Interval]]
"""(probability, what then was counted)."""
Value = Callable[[Evidence], float]
NO_LIMIT = {"max": "100%", "overStable": {"ratio": 1.25, "margin": "5%"}}


def total(by: PolicySpec, learned: Learned) -> Value:
    return lambda evidence: sum(judge.parts_of(evidence, by, learned).values())


def mean_after(before: Evidence, outcomes: Outcomes, by: PolicySpec, learned: Learned, value: Value) -> float:
    return math.fsum(chance * value(judge.look(before, one, by, learned)) for chance, one in outcomes)


def never_grows_on_average(
    outcomes: Outcomes, by: PolicySpec, learned: Learned, value: Value, *, since: Iterable[Evidence] = (Evidence(),)
) -> bool:
    """Whether `value` has no higher mean than before, after one look, and again from each of what that may find."""
    for before in since:
        if mean_after(before, outcomes, by, learned, value) > value(before) * (1 + TINY):
            return False
        for chance, one in outcomes[:: max(1, len(outcomes) // 12)]:
            between = judge.look(before, one, by, learned)
            if chance and mean_after(between, outcomes, by, learned, value) > value(between) * (1 + TINY):
                return False
    return True


def errors_of(n: int, others: int, rate: float, worse: float, clump: int = 1) -> Outcomes:
    """Both versions' errors, one by one or in clumps of one size; clumps that nobody sees anymore are left out."""
    canary = binomial(n, worse) if clump == 1 else clumps(n * worse, {clump: 1.0}, 12 * clump)
    stable = binomial(others, rate) if clump == 1 else clumps(others * rate, {clump: 1.0}, 12 * clump)
    pairs = product([pair for pair in canary if pair[1]], [pair for pair in stable if pair[1]])
    return [
        (ours * theirs, interval(version(n, bad), version(others, others_bad), settling=True))
        for (bad, ours), (others_bad, theirs) in pairs
    ]


def earlier(by: PolicySpec, learned: Learned, *bounds: float) -> list[Evidence]:
    """Evidence as it may be found in the middle of a release: fresh, suspicious, idle for long, in a new step."""
    quiet = interval(version(30, 0, dict.fromkeys(bounds, 0)), version(300, 0, dict.fromkeys(bounds, 0)))
    harm = interval(version(30, 9, dict.fromkeys(bounds, 20)), version(300, 0, dict.fromkeys(bounds, 0)))
    suspect = looked([quiet] * 5 + [harm], by, learned)
    idle = looked([interval(Counts(), Counts())] * 100, by, learned)
    return [Evidence(), suspect, idle, next_step(suspect), next_step(idle)]


def test_the_judge_makes_no_other_bets_than_those_whose_means_are_enumerated() -> None:
    against = {*judge.ERROR_BETS, *judge._LATENCY_BETS, *judge._LIMIT_BETS}
    assert against <= set(test_betting.AGAINST)
    assert set(judge.PROOF_BETS) <= set(test_betting.IN_FAVOUR)
    assert set(judge._SHARE_BETS) <= set(test_betting.SHARES)


# --- E, enumerated ---


@pytest.mark.parametrize(("n", "others"), [(6, 6), (12, 4), (3, 20)])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("learned", [CALM, calm(clump=3.0), Learned(errors=Habit(rate=0.02, clump=1.0, noise=0.5))])
def test_errors_at_the_edge_of_the_tolerated_give_no_evidence_on_average(
    n: int, others: int, rate: float, learned: Learned
) -> None:
    by = policy(checks={"errors": NO_LIMIT})
    outcomes = errors_of(n, others, rate, 1.25 * rate + 0.05)
    assert never_grows_on_average(outcomes, by, learned, total(by, learned), since=earlier(by, learned))


@pytest.mark.parametrize("clump", [2, 3])
def test_clumps_of_the_size_that_was_learned_give_no_evidence_on_average(clump: int) -> None:
    by, learned = policy(checks={"errors": NO_LIMIT}), calm(clump=clump)
    outcomes = errors_of(20, 40, 0.03, 1.25 * 0.03 + 0.05, clump)
    assert sum(chance for chance, _ in outcomes) == pytest.approx(1, abs=1e-6)
    assert never_grows_on_average(outcomes, by, learned, total(by, learned))


def test_clumps_larger_than_was_learned_are_taken_for_evidence() -> None:
    by = policy(checks={"errors": NO_LIMIT})
    outcomes = errors_of(20, 40, 0.03, 1.25 * 0.03 + 0.05, 3)
    assert not never_grows_on_average(outcomes, by, calm(clump=1.0), total(by, CALM))


@pytest.mark.parametrize("rate", [0.05, 0.3])
@pytest.mark.parametrize("most", ["5%", "10%"])
def test_errors_within_the_limit_give_no_evidence_on_average_also_where_stable_breaks_it(
    rate: float, most: str
) -> None:
    by = policy(checks={"errors": {"max": most, "overStable": {"ratio": 100.0, "margin": "0%"}}})
    limit = by.checks.errors.max

    def limit_alone(evidence: Evidence) -> float:
        return betting.worth(evidence.processes.get(LIMIT, ()))

    outcomes = errors_of(10, 8, rate, limit)
    assert any(judge.look(Evidence(), one, by, CALM).suspended for _, one in outcomes)
    assert never_grows_on_average(outcomes, by, CALM, limit_alone, since=earlier(by, CALM))


def slow_outcomes(n: int, others: int, rate: float, worse: float, bounds: tuple[float, ...]) -> Outcomes:
    """Requests that are slow are slower than every bound."""
    return [
        (
            ours * theirs,
            interval(
                version(n, 0, dict.fromkeys(bounds, bad)), version(others, 0, dict.fromkeys(bounds, others_bad)),
                settling=True,
            ),
        )
        for (bad, ours), (others_bad, theirs) in product(binomial(n, worse), binomial(others, rate))
    ]  # fmt: skip


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_latency_at_the_edge_of_the_tolerated_gives_no_evidence_on_average(rate: float) -> None:
    bounds = (100.0, 500.0)
    latency = {"overStable": {"ratio": 1.25, "margin": "2%"}}
    by = policy(compare=["100ms", "500ms"], checks={"latency": latency}, judge={"warmUp": "0s"})
    learned = calm(*bounds)
    outcomes = slow_outcomes(8, 8, rate, 1.25 * rate + 0.02, bounds)
    assert never_grows_on_average(outcomes, by, learned, total(by, learned), since=earlier(by, learned, *bounds))


def test_latency_within_its_objective_gives_no_evidence_on_average() -> None:
    latency = {"objectives": ["p90 < 500ms", "p95 < 1s"]}
    by = policy(checks={"latency": latency}, judge={"warmUp": "0s"})
    learned = calm(500.0, 1000.0)

    def limits_alone(evidence: Evidence) -> float:
        return sum(betting.worth(evidence.processes.get(over_limit(bound), ())) for bound in (500.0, 1000.0))

    outcomes = slow_outcomes(12, 6, 0.02, 0.05, (500.0, 1000.0))
    assert never_grows_on_average(outcomes, by, learned, limits_alone, since=earlier(by, learned, 500.0, 1000.0))


@pytest.mark.parametrize("weight", [1, 10, 50, 99])
@pytest.mark.parametrize("skew", [1 / 1.5, 1.0, 1.5])
@pytest.mark.parametrize("n", [4, 30])
def test_a_share_within_the_tolerated_odds_gives_no_evidence_on_average(weight: int, skew: float, n: int) -> None:
    by = policy()
    odds = weight / (100 - weight) * skew
    outcomes = [
        (chance, interval(version(got), version(n - got), weight)) for got, chance in binomial(n, odds / (1 + odds))
    ]
    assert never_grows_on_average(outcomes, by, CALM, total(by, CALM), since=earlier(by, CALM))


def test_errors_and_arrivals_together_give_no_evidence_on_average() -> None:
    by, rate, n, odds = policy(checks={"errors": NO_LIMIT}), 0.1, 10, 1.5
    outcomes = [
        (arrived * ours * theirs, interval(version(got, bad), version(n - got, others_bad), 50))
        for got, arrived in binomial(n, odds / (1 + odds))
        for bad, ours in binomial(got, 1.25 * rate + 0.05)
        for others_bad, theirs in binomial(n - got, rate)
    ]
    assert never_grows_on_average(outcomes, by, CALM, total(by, CALM))


# --- The proof of a step, enumerated ---


def proof_of(check: str) -> Value:
    return lambda evidence: betting.mean_of(evidence.proof.get(check, ()))


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("clump", [1, 2])
def test_errors_at_the_margin_prove_nothing_on_average(rate: float, clump: int) -> None:
    by = policy(judge={"proof": {"errors": {"ratio": 1.5, "margin": "5%"}}})
    learned = calm(clump=clump)
    outcomes = errors_of(14, 8, rate, 1.5 * rate + 0.05, clump if rate < 0.1 else 1)
    assert never_grows_on_average(outcomes, by, learned, proof_of(ERRORS))


def test_latency_at_the_margin_proves_nothing_on_average() -> None:
    by = policy(compare=["500ms"], judge={"warmUp": "0s", "proof": {"latency": {"ratio": 1.5, "margin": "5%"}}})
    outcomes = slow_outcomes(12, 9, 0.1, 1.5 * 0.1 + 0.05, (500.0,))
    assert never_grows_on_average(outcomes, by, calm(500.0), proof_of(against_stable(500.0)))


# --- Whole releases ---

RUNS = 200


def errors_at_the_edge(seed: int, looks: int, clump: int) -> Iterator[Interval]:
    """A release over three weights, with incidents that both versions share, at the very edge of the tolerated."""
    random = np.random.default_rng(seed)
    for look in range(looks):
        weight = (10, 30, 50)[look * 3 // looks]
        rate = 0.2 if random.random() < 0.05 else 0.002
        n, others = (int(random.poisson(600 * part / 100)) for part in (weight, 100 - weight))
        bad = clump * int(random.poisson(n * (1.25 * rate + 0.0005) / clump))
        others_bad = clump * int(random.poisson(others * rate / clump))
        yield interval(version(n, min(n, bad)), version(others, min(others, others_bad)), weight)


@pytest.mark.parametrize("clump", [1, 10])
def test_a_canary_at_the_edge_is_rolled_back_in_one_release_of_a_hundred_at_most(clump: int) -> None:
    by = policy(checks={"errors": {"max": "30%"}})
    learned = calm(clump=clump, rate=0.002)
    convicted, ends = 0, []
    for seed in range(RUNS):
        evidence, most = Evidence(), 0.0
        for one in errors_at_the_edge(seed, 36, clump):
            evidence = judge.look(evidence, one, by, learned)
            most = max(most, found(evidence, by, learned).evidence)
        convicted += most >= 100
        ends.append(found(evidence, by, learned).evidence)
    assert convicted <= 0.01 * RUNS + 3 * math.sqrt(0.01 * RUNS)
    assert np.mean(ends) <= 1 + 3 * np.std(ends) / math.sqrt(RUNS)


def test_a_canary_at_the_margin_is_proven_in_one_step_of_twenty_at_most() -> None:
    by = policy(checks={"errors": NO_LIMIT})
    learned, proven = calm(rate=0.002), 0
    for seed in range(RUNS):
        random, evidence, ever = np.random.default_rng(seed), Evidence(), False
        for _ in range(30):
            bad, others_bad = int(random.poisson(300 * (1.5 * 0.002 + 0.005))), int(random.poisson(300 * 0.002))
            evidence = judge.look(evidence, interval(version(300, bad), version(300, others_bad), 50), by, learned)
            ever = ever or judge.is_proven(evidence, by, learned)
        proven += ever
    assert 0 < proven <= 0.05 * RUNS + 3 * math.sqrt(0.05 * RUNS)


def test_all_that_is_judged_at_once_convicts_a_tolerable_canary_in_one_release_of_a_hundred_at_most() -> None:
    latency = {"objectives": ["p95 < 500ms"]}
    by = policy(compare=["100ms", "500ms"], checks={"latency": latency}, judge={"warmUp": "30s"})
    learned, convicted, runs = calm(100.0, 500.0), 0, RUNS // 2
    for seed in range(runs):
        random, evidence, most = np.random.default_rng(seed), Evidence(), 0.0
        for look in range(30):
            got = int(random.binomial(400, 0.13 / 1.13))
            rates = ((got, 1.25, 0.0005, 0.002), (400 - got, 1.0, 0.0, 0.0))
            (bad, slow), (others_bad, others_slow) = (
                (
                    int(random.binomial(n, ratio * 0.01 + margin)),
                    int(random.binomial(n, ratio * 0.03 + more)),
                )
                for n, ratio, margin, more in rates
            )
            canary, stable = (
                version(got, bad, {100.0: slow, 500.0: slow}),
                version(400 - got, others_bad, {100.0: others_slow, 500.0: others_slow}),
            )
            evidence = judge.look(evidence, interval(canary, stable, settling=look == 0), by, learned)
            most = max(most, found(evidence, by, learned).evidence)
        convicted += most >= 100
    assert convicted <= 0.01 * runs + 3 * math.sqrt(0.01 * runs)


# --- Weights ---


@pytest.mark.parametrize("bounds", [(), (500.0,), (100.0, 250.0, 500.0)])
@pytest.mark.parametrize("objectives", [[], ["p99 < 500ms"], ["p99 < 500ms", "p95 < 100ms"]])
def test_the_budget_is_divided_over_every_check_and_nothing_is_left(
    bounds: tuple[float, ...], objectives: list[str]
) -> None:
    by = policy(compare=[f"{bound:g}ms" for bound in bounds], checks={"latency": {"objectives": objectives}})
    weights = judge.weights_of(by, CALM)
    assert sum(weights.values()) == pytest.approx(1)
    assert sum(judge.parts_of(Evidence(), by, CALM).values()) == pytest.approx(1)
    assert found(Evidence(), by).evidence == pytest.approx(1)
    assert weights[UNDER] == pytest.approx(2 * weights[OVER])
    assert len(weights) == 4 + len(bounds) + len(objectives)
    assert sum(weights[against_stable(bound)] for bound in bounds) == pytest.approx(
        weights[ERRORS] * 0.25 / 0.45 if bounds else 0
    )


def test_nothing_is_forgotten_from_step_to_step() -> None:
    by = policy()
    harm = interval(version(100, 8), version(900))
    one, two = stepped([harm], by=by), stepped([harm], [], by=by)
    assert judge.parts_of(one, by, CALM) == judge.parts_of(two, by, CALM)
    assert two.step == Tally()
    assert two.before == one.step == harm.tally
