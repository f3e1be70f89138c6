"""Exact chances of small counts: what the tests of the bets take their means over. Nothing here is sampled."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

Chances = Sequence[tuple[int, float]]
"""(count, its probability)."""


def binomial(n: int, p: float) -> Chances:
    return [(k, math.comb(n, k) * p**k * (1 - p) ** (n - k)) for k in range(n + 1)]


def clumps(mean: float, sizes: Mapping[int, float], most: int = 160) -> Chances:
    """`mean` bad requests that come in clumps, each size with its part of the mean (Panjer's recursion).

    `{1: 1.0}` is the Poisson distribution.
    """
    rates = {size: mean * part / size for size, part in sizes.items()}
    chances = [math.exp(-sum(rates.values()))]
    for total in range(1, most):
        ways = (size * rate * chances[total - size] for size, rate in rates.items() if size <= total)
        chances.append(sum(ways) / total)
    return list(enumerate(chances))


def poisson(mean: float, most: int = 160) -> Chances:
    return clumps(mean, {1: 1.0}, most)


def means(chances: Iterable[tuple[int, float]], logs_of: Callable[[int], Sequence[float]]) -> list[float]:
    """The mean payoff of each of several bets, given their logarithms for each count."""
    parts = [[chance * math.exp(log) for log in logs_of(count)] for count, chance in chances if chance]
    return [math.fsum(column) for column in zip(*parts, strict=True)]
