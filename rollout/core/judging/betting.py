"""Bets against the canary whose payoff has mean at most 1 while the canary is tolerable: the algebra of the judge.

Each function gives the logarithm of one payoff for one interval, from exact counts; `grow` puts part of what a process
has into them. A process of such bets is an e-process: by Ville's inequality it ever reaches 1/a with probability at
most a, however often one looks (Howard, Ramdas, McAuliffe, Sekhon 2021; Waudby-Smith & Ramdas 2024, betting). Bad
requests may come in clumps of up to `m`: for 0 <= x <= 1, e^(Lx) - 1 <= x (e^L - 1), so counts divided by m keep the
mean at most 1 (docs/judge.md has the proof).
"""

from collections.abc import Sequence
from math import exp, log, log1p

MOST = 1e200
"""Wealth is kept below: nothing changes a verdict up there, and products stay finite."""
_MOST_LOG = 500.0


def comparison(
    bad: int,
    n: int,
    m: float,
    stable_bad: int,
    stable_n: int,
    stable_m: float,
    ratio: float,
    margin: float,
    rhos: Sequence[float],
) -> list[float]:
    """Bets that the canary's rate is `rho` times the tolerated one, ratio * stable's rate + margin.

    With a = n/m of the canary and b of stable, u = rho (r a + b) / (rho r a + b), v = (r a + b) / (rho r a + b), the
    payoff is u^(S_c/m_c) v^(S_s/m_s) exp(-a d (u - 1)); b (1 - v) = r a (u - 1), so its mean is at most
    exp(a (u - 1) (rate_c - r rate_s - d)), which is at most 1 for every tolerable canary, whatever stable's rate.
    With d = 0 and m = 1 it is the conditional binomial test of Lindon & Malek (arXiv 2011.03567).
    """
    if n == 0 or stable_n == 0:
        return [0.0] * len(rhos)
    a, b = n / m, stable_n / stable_m
    weighted, clumps, stable_clumps = ratio * a, bad / m, stable_bad / stable_m
    tolerated = weighted + b
    logs = []
    for rho in rhos:
        v = tolerated / (rho * weighted + b)
        u = rho * v
        logs.append(clumps * log(u) + stable_clumps * log(v) - a * margin * (u - 1))
    return logs


def beyond(bad: int, n: int, m: float, limit: float, rhos: Sequence[float]) -> list[float]:
    """Bets that the canary's rate is `rho` times `limit`; mean at most 1 while it is at most `limit`."""
    clumps, allowed = bad / m, n / m * limit
    return [clumps * log(rho) - allowed * (rho - 1) for rho in rhos]


def too_little(part: int, other: int, m: float, odds: float, factors: Sequence[float]) -> list[float]:
    """Bets that `part` gets `u` times its odds against `other` or less; mean at most 1 while they are at least `odds`.

    With p = o / (1 + o): p u + (1 - p) (1 + o (1 - u)) = 1.
    """
    return [part / m * log(u) + other / m * log1p(odds * (1 - u)) for u in factors]


def not_worse(
    bad: int,
    n: int,
    m: float,
    stable_bad: int,
    stable_n: int,
    stable_m: float,
    ratio: float,
    margin: float,
    factors: Sequence[float],
) -> list[float]:
    """Bets for the canary, that its rate is `u` times ratio * stable's + margin; mean at most 1 while it is worse.

    The same algebra with the signs turned: no error in n requests is worth n d (1 - u) / m nats.
    """
    if n == 0 or stable_n == 0:
        return [0.0] * len(factors)
    a, b = n / m, stable_n / stable_m
    odds, clumps, stable_clumps = ratio * a / b, bad / m, stable_bad / stable_m
    return [clumps * log(u) + stable_clumps * log1p(odds * (1 - u)) + a * margin * (1 - u) for u in factors]


def grow(process: Sequence[float], logs: Sequence[float], share: float, cap: float) -> tuple[float, ...]:
    """Put `share` of the cash on all bets alike, let every bet pay; (cash, wealth of each bet) again.

    Cash never loses, so a canary that was good for long has not used up the means to convict it; capping a payoff only
    lowers it. A process that never bet is all cash; one that was kept with other bets than these brings what it had.
    """
    cash, *bets = process if len(process) == len(logs) + 1 else (worth(process), *([0.0] * len(logs)))
    stake, cap = share * cash / len(logs), min(cap, _MOST_LOG)
    grown = [cash - share * cash]
    for bet, one in zip(bets, logs, strict=True):
        wealth = (bet + stake) * exp(one if one < cap else cap)  # noqa: FURB136 - a call costs more than the exp
        grown.append(wealth if wealth < MOST else MOST)  # noqa: FURB136 - same
    return tuple(grown)


def worth(process: Sequence[float]) -> float:
    """The evidence in a process: what it has altogether; 1 before it ever bet."""
    return sum(process) if process else 1.0


def held(process: Sequence[float], logs: Sequence[float]) -> tuple[float, ...]:
    """Bets with everything staked at once, as their logarithms; for the proof of a step."""
    if len(process) != len(logs):
        return tuple(map(_kept, logs))
    return tuple([_kept(old + one) for old, one in zip(process, logs, strict=True)])


def _kept(one: float) -> float:
    return _MOST_LOG if one > _MOST_LOG else max(-_MOST_LOG, one)


def mean_of(logs: Sequence[float]) -> float:
    """The evidence of `held` bets; 1 without any."""
    return sum(map(exp, logs)) / len(logs) if logs else 1.0
