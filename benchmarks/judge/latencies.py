"""How long requests take: log-normal, seen through the buckets of Istio's histogram."""

from functools import cache
from math import erfc, log, sqrt

import numpy as np
import numpy.typing as npt

BOUNDS_MS = (50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)
"""Istio's default histogram bounds from the one above the median to 10 s."""
MEDIAN_MS, SIGMA = 40.0, 0.6
VERY_SLOW_MS = 4000.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LOG_STEP, _LOG_LEAST, _LOG_MOST = 0.005, -2.0, 4.0


def usual_tails(slower: float = 1.0, very_slow: float = 0.0) -> Floats:
    """Shares of requests slower than each bound where nothing disturbs."""
    found: Floats = with_very_slow(tails_of(np.array([log(slower)])), np.array([very_slow]))[0]
    return found


def with_very_slow(tails: Floats, shares: Floats) -> Floats:
    """The same where in addition so large a share of the requests takes `VERY_SLOW_MS`."""
    reached = np.array([bound < VERY_SLOW_MS for bound in BOUNDS_MS], dtype=float)
    mixed: Floats = tails + shares[..., None] * (reached - tails)
    return mixed


@cache
def _table() -> Floats:
    """Shares slower than each bound, by the logarithm of the factor on latency."""
    factors = np.arange(_LOG_LEAST, _LOG_MOST, _LOG_STEP)
    rows = [[0.5 * erfc((log(bound / MEDIAN_MS) - one) / (SIGMA * sqrt(2))) for bound in BOUNDS_MS] for one in factors]
    return np.array(rows)


def tails_of(logs: Floats) -> Floats:
    """Shares of requests slower than each bound, where latency is multiplied by exp(`logs`); one axis more."""
    table = _table()
    index = np.rint((logs - _LOG_LEAST) / _LOG_STEP).astype(np.int64)
    found: Floats = table[np.clip(index, 0, len(table) - 1)]
    return found


def slower(rng: np.random.Generator, n: Ints, tails: Floats) -> Ints:
    """Of `n` requests each, how many are slower than each bound."""
    upper = np.concatenate([np.ones((*tails.shape[:-1], 1)), tails], axis=-1)
    lower = np.concatenate([tails, np.zeros((*tails.shape[:-1], 1))], axis=-1)
    buckets = rng.multinomial(n, upper - lower)
    found: Ints = np.cumsum(buckets[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    return found
