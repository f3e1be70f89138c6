import random
from collections import Counter
from collections.abc import Iterator
from math import exp, lgamma, log, sqrt

import pytest

from rollout.core.replay.chance import binomial, poisson

DRAWS = 20_000


def far_from(observed: Counter[int], expected: dict[int, float]) -> float:
    """Largest deviation in standard errors, over the values that are expected often enough to tell."""
    return max(
        abs(observed[value] - DRAWS * share) / sqrt(DRAWS * share)
        for value, share in expected.items()
        if DRAWS * share > 30
    )


def log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (8, 0.3), (500, 0.004), (40, 0.9), (60, 0.3), (400, 0.05), (90, 0.6)])
def test_binomial_counts_have_their_distribution(n: int, p: float) -> None:
    rng = random.Random(n)
    observed = Counter(binomial(rng, n, p) for _ in range(DRAWS))
    exact = {k: exp(log_choose(n, k) + k * log(p) + (n - k) * log(1 - p)) for k in range(n + 1)}
    assert set(observed) <= set(exact)
    assert far_from(observed, exact) < 4.5


@pytest.mark.parametrize("mean", [0.2, 3.0, 9.9, 10.1, 60.0])
def test_poisson_counts_have_their_distribution(mean: float) -> None:
    rng = random.Random(str(mean))
    observed = Counter(poisson(rng, mean) for _ in range(DRAWS))
    exact = {k: exp(k * log(mean) - mean - lgamma(k + 1)) for k in range(200)}
    assert far_from(observed, exact) < 4.5


@pytest.mark.parametrize(("n", "p", "count"), [(0, 0.5, 0), (7, 0.0, 0), (7, 1.0, 7), (7, 2.0, 7), (9, 1e-18, 0)])
def test_what_is_certain_needs_no_dice(n: int, p: float, count: int) -> None:
    assert binomial(random.Random(1), n, p) == count


def test_where_nothing_is_expected_nothing_happens() -> None:
    assert poisson(random.Random(1), 0.0) == 0


class Loaded:
    """Dice that fall as they are told, then fairly."""

    def __init__(self, *falls: float) -> None:
        self._falls: Iterator[float] = iter(falls)
        self._fair = random.Random(1)

    def random(self) -> float:
        return next(self._falls, None) or self._fair.random()


@pytest.mark.parametrize("falls", [(1e-17, 0.5), (1 - 2**-53, 1 - 2**-53), (1 - 2**-53, 1e-17)])
def test_the_rarest_falls_of_the_dice_do_no_harm(falls: tuple[float, float]) -> None:
    assert 0 <= binomial(Loaded(*falls), 100, 0.3) <= 100
    assert poisson(Loaded(*falls), 30.0) >= 0
