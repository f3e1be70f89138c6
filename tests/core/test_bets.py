"""The judge's bets: none wins on average while the canary is tolerable, so evidence holds under peeking.

The means are enumerated, not sampled. What the judge makes of the bets is in test_judge.py.
"""

import math
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core import judge
from rollout.core.policy import Tolerance

TINY = 1e-9


def tolerance_of(ratio: float, margin: str) -> Tolerance:
    return Tolerance.model_validate({"ratio": ratio, "margin": margin})


BARELY = tolerance_of(1.25, "0.5%")
ALL_BETS = (1.4, 1.6, 2.2, 3.0, 5.0, 8.0, 20.0, 30.0, 1e4)


def binomial(n: int, p: float) -> Iterator[tuple[int, float]]:
    for k in range(n + 1):
        yield k, math.comb(n, k) * p**k * (1 - p) ** (n - k)


def poisson(mean: float, most: int = 150) -> Iterator[tuple[int, float]]:
    chance = math.exp(-mean)
    for k in range(most):
        yield k, chance
        chance *= mean / (k + 1)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 30])
@pytest.mark.parametrize("limit", [0.0001, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_bet_on_a_limit_wins_nothing_while_the_rate_is_within_it(n: int, limit: float, share: float) -> None:
    means = [0.0] * len(judge._LIMIT_BETS)
    for bad, chance in binomial(n, limit * share):
        for index, log in enumerate(judge._limit_bets(bad, n, limit)):
            means[index] += chance * math.exp(log)
    assert max(means) <= 1 + TINY


@pytest.mark.parametrize(("n", "rival_n"), [(1, 1), (1, 20), (5, 9), (12, 3), (20, 20)])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.2, 0.7])
@pytest.mark.parametrize("tolerance", [BARELY, tolerance_of(1, "0%"), tolerance_of(3, "20%")])
def test_a_bet_against_stable_wins_nothing_at_the_edge_of_the_tolerated(
    n: int, rival_n: int, rate: float, tolerance: Tolerance
) -> None:
    worst = min(1.0, tolerance.ratio * rate + tolerance.margin)
    means = [0.0] * len(ALL_BETS)
    for (bad, chance), (rival_bad, rival_chance) in product(binomial(n, worst), binomial(rival_n, rate)):
        logs = judge._comparison_bets((bad, n), (rival_bad, rival_n), tolerance, ALL_BETS)
        for index, log in enumerate(logs):
            means[index] += chance * rival_chance * math.exp(log)
    assert max(means) <= 1 + TINY


@pytest.mark.parametrize(("mean", "rival_mean"), [(0.1, 0.2), (2.0, 5.0), (6.0, 1.0)])
def test_a_bet_against_stable_is_exactly_fair_for_poisson_counts_at_the_edge(mean: float, rival_mean: float) -> None:
    n, tolerance = 100, BARELY
    rival_n = round(rival_mean * n * tolerance.ratio / (mean - n * tolerance.margin)) if mean > 0.5 else 0
    rival_n = rival_n or 50
    rate = rival_mean / rival_n
    worst = n * (tolerance.ratio * rate + tolerance.margin)
    bets = (1.4, 3.0)
    means = [0.0] * len(bets)
    for (bad, chance), (rival_bad, rival_chance) in product(poisson(worst), poisson(rival_mean)):
        for index, log in enumerate(judge._comparison_bets((bad, n), (rival_bad, rival_n), tolerance, bets)):
            means[index] += chance * rival_chance * math.exp(log)
    assert means == pytest.approx([1.0] * len(bets), abs=1e-6)


@pytest.mark.parametrize("n", [1, 3, 10, 40])
@pytest.mark.parametrize("weight", [1, 10, 50, 99, 100])
@pytest.mark.parametrize("skew", [1 / 1.5, 0.9, 1.0, 1.2, 1.5])
def test_a_bet_on_the_share_wins_nothing_while_the_odds_are_tolerated(n: int, weight: int, skew: float) -> None:
    # At weight 100 what is tolerated is a proxy in two hundred that has not heard of it.
    odds = min(weight, 99.5) / (100 - min(weight, 99.5)) * skew
    means = [0.0] * (2 * len(judge._SHARE_BETS))
    for arrived, chance in binomial(n, odds / (1 + odds)):
        for index, log in enumerate(judge._share_bets(arrived, n - arrived, weight, 1.5)):
            means[index] += chance * math.exp(log)
    assert max(means) <= 1 + TINY


def test_without_one_of_the_versions_nothing_is_compared() -> None:
    for canary, stable in (((0, 0), (3, 100)), ((3, 100), (0, 0))):
        assert judge._comparison_bets(canary, stable, BARELY, ALL_BETS) == (0.0,) * len(ALL_BETS)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from([1.5, 3.0, 10.0]))
def test_at_full_weight_nothing_is_bet_on_too_much(canary: int, stable: int, tolerance: float) -> None:
    bets = judge._share_bets(canary, stable, 100, tolerance)
    assert set(bets[len(judge._SHARE_BETS) :]) == {0.0}
    assert judge._share_bets(canary + 1, stable, 100, tolerance) <= bets
