"""Random counts, drawn exactly: how many of n requests, how many requests in a while.

The core has no source of randomness; whoever calls brings one (`random.Random(seed)` is a `Dice`), so that the same
seed gives the same numbers. What the counts mean is not known here.
"""

from math import exp, floor, lgamma, log, sqrt
from typing import Protocol

_LARGE = 10.0
"""From this mean on rejection is quicker than counting; both are exact."""


class Dice(Protocol):
    """A source of randomness."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...


def binomial(dice: Dice, n: int, p: float) -> int:
    """How many of `n` happen, each with probability `p`; 0 for p <= 0, n for p >= 1."""
    if n <= 0 or p <= 0:
        return 0
    if p >= 1:
        return n
    if p > 0.5:
        return n - binomial(dice, n, 1 - p)
    return _rejected_binomial(dice, n, p) if n * p >= _LARGE else _skipping(dice, n, p)


def poisson(dice: Dice, mean: float) -> int:
    """How many happen where `mean` are expected; 0 for mean <= 0."""
    if mean <= 0:
        return 0
    if mean >= _LARGE:
        return _rejected_poisson(dice, mean)
    count, product, limit = 0, dice.random(), exp(-mean)
    while product > limit:
        count += 1
        product *= dice.random()
    return count


def _positive(dice: Dice) -> float:
    """Uniform in (0, 1]: its logarithm exists."""
    return 1.0 - dice.random()


def _skipping(dice: Dice, n: int, p: float) -> int:
    """From one that happens to the next: the failures between are geometric."""
    scale = log(1 - p)
    if scale == 0:  # p is below the precision of 1 - p
        return 0
    count, at = 0, 0
    while True:
        at += floor(log(_positive(dice)) / scale) + 1
        if at > n:
            return count
        count += 1


def _rejected_binomial(dice: Dice, n: int, p: float) -> int:
    """Transformed rejection, BTRS (Hörmann, J. Stat. Comput. Simul. 46, 1993)."""
    spread = sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    center, quick = n * p + 0.5, 0.92 - 4.2 / b
    alpha, odds = (2.83 + 5.1 / b) * spread, log(p / (1 - p))
    mode = floor((n + 1) * p)
    top = lgamma(mode + 1) + lgamma(n - mode + 1)
    while True:
        u, v = _positive(dice) - 0.5, _positive(dice)
        us = max(0.5 - abs(u), 1e-12)
        k = floor((2 * a / us + b) * u + center)
        if us >= 0.07 and v <= quick:
            return k
        if not 0 <= k <= n:
            continue
        if log(v * alpha / (a / (us * us) + b)) <= top - lgamma(k + 1) - lgamma(n - k + 1) + (k - mode) * odds:
            return k


def _rejected_poisson(dice: Dice, mean: float) -> int:
    """Transformed rejection, PTRS (Hörmann, Insurance: Mathematics and Economics 12, 1993)."""
    b = 0.931 + 2.53 * sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse, quick = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = _positive(dice) - 0.5, _positive(dice)
        us = max(0.5 - abs(u), 1e-12)
        k = floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= quick:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        if log(v) + log(inverse) - log(a / (us * us) + b) <= k * log(mean) - mean - lgamma(k + 1):
            return k
