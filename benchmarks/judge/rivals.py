"""The rules of others, as contenders on the same traffic: what is compared with, not what is recommended.

Each is the rule alone, in the most favourable setting: it sees exact counts without delay, and the canary's own
requests. Rules and where they were read: Flagger `pkg/controller/scheduler.go`, `pkg/metrics/observers/istio.go`
(15bd6ad5); Argo Rollouts `analysis/analysis.go` (9f8d111d8); Kayenta `MannWhitney.scala` (a69573be); Lindon & Malek,
"Anytime-valid inference for multinomial count data" (arXiv 2011.03567).
"""

from collections.abc import Callable
from functools import reduce
from math import exp, lgamma, log, sqrt
from typing import Literal, Protocol

import numpy as np

from benchmarks.judge.latencies import BOUNDS_MS
from benchmarks.judge.outcomes import STEPS, Contender, Outcome
from benchmarks.judge.streams import LONGEST_S, Stream
from benchmarks.judge.worlds import Fault, World
from rollout.core.counts import Counts, Tally, plus

Verdict = Literal["back", "stay", "on"]
"""Roll back; do not end the step now; end it if its hold is over."""
SUCCESS, QUANTILE, LIMIT_MS = 0.99, 0.99, 500.0
"""Flagger's tutorial: success rate at least 99 %, p99 at most 500 ms, over a minute."""
MINUTE_S = 60.0
_ALPHA = 0.01
_Z_ONE_SIDED = 2.326
_SLOW_MS = 100.0
"""The bound whose share of slower requests stands for latency in the naive test: near the usual p94."""


class Rule(Protocol):
    """One release's worth of a rule."""

    def look(self, now: float, weight: int, tally: Tally) -> tuple[Verdict, str]:
        """What follows from one more interval that ended at `now`; and why."""
        ...


def contender(rule: Callable[[float], Rule]) -> Contender:
    """A rule as a contender; it is made anew for each release, with the seconds between looks."""

    def release(world: World, fault: Fault, seed: int, interval: float) -> Outcome:
        stream, judge = Stream(world, fault, seed), rule(interval)
        step, began, now, why = 0, 0.0, 0.0, ""
        while (tally := stream.tally(STEPS[step][0], now, now + interval)) is not None:
            now += interval
            weight, hold = STEPS[step]
            verdict, why = judge.look(now, weight, tally)
            if verdict == "back":
                return Outcome("rolled back", now, why, stream.first_bad, stream.harmed, weight)
            if verdict == "on" and now - began >= hold:
                if step + 1 == len(STEPS):
                    return Outcome("promoted", now, "", stream.first_bad, stream.harmed, weight)
                step, began = step + 1, now
        return Outcome("held", LONGEST_S, why, stream.first_bad, stream.harmed, STEPS[step][0])

    return release


class _Minute:
    """The canary's last minute, as both threshold rules query it."""

    def __init__(self) -> None:
        self._since = 0.0
        self._requests = self._errors = self._slow = self._timed = 0

    def add(self, tally: Tally) -> None:
        canary = tally.canary
        self._requests += canary.requests
        self._errors += canary.errors
        slow, timed = _slow(canary, LIMIT_MS)
        self._slow += slow
        self._timed += timed

    def over(self, now: float) -> bool:
        """Whether a minute is over; `failed` then asks about it and begins the next."""
        return now - self._since >= MINUTE_S

    def failed(self, now: float) -> str:
        """Which of the two metrics fails; no request at all is NaN, which fails both."""
        requests, errors, slow, timed = self._requests, self._errors, self._slow, self._timed
        self._since = now
        self._requests = self._errors = self._slow = self._timed = 0
        if not requests:
            return "no values"
        if 1 - errors / requests < SUCCESS:
            return "success rate"
        # The limit is a bucket bound: p99 exceeds it exactly when more than 1 % of the requests do.
        return "p99" if timed and slow / timed > 1 - QUANTILE else ""


class Flagger:
    """Failed checks add up over the whole release; the tick after they reached the threshold rolls back."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._minute = _Minute()
        self._failures = 0
        self._why = ""

    def look(self, now: float, weight: int, tally: Tally) -> tuple[Verdict, str]:
        """A tick a minute; a failed one keeps the weight."""
        del weight
        self._minute.add(tally)
        if not self._minute.over(now):
            return "stay", self._why
        if self._failures >= self._threshold:
            return "back", self._why
        failed = self._minute.failed(now)
        self._failures += bool(failed)
        self._why = failed or self._why
        return ("stay" if failed else "on"), self._why


class Argo:
    """An analysis in the background, a measurement a minute; more failures than the limit abort."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._minute = _Minute()
        self._failures = 0

    def look(self, now: float, weight: int, tally: Tally) -> tuple[Verdict, str]:
        """Steps go by the clock."""
        del weight
        self._minute.add(tally)
        if not self._minute.over(now):
            return "on", ""
        failed = self._minute.failed(now)
        self._failures += bool(failed)
        return ("back" if self._failures > self._limit else "on"), failed


class Kayenta:
    """Once per step, Mann-Whitney on the step's series of error rates and of p99: 98 % confidence, 25 % tolerance.

    Worse is a lower confidence bound of the shift above a quarter of its estimate. Without a control (the last step)
    the metrics are "no data", which passes.
    """

    _POINT_S = 15.0
    _Z = 2.326

    def __init__(self, interval: float) -> None:
        self._per_point = max(1, round(self._POINT_S / interval))
        self._looks: list[Tally] = []
        self._last = self._began = 0.0
        self._weight = 0

    def look(self, now: float, weight: int, tally: Tally) -> tuple[Verdict, str]:
        """Judge at the end of the step."""
        if weight != self._weight:
            self._weight, self._looks, self._began = weight, [], self._last
        self._last = now
        self._looks.append(tally)
        hold = next(hold for one, hold in STEPS if one == weight)
        if now - self._began < hold:
            return "stay", ""
        size = self._per_point
        points = [reduce(plus, self._looks[first : first + size]) for first in range(0, len(self._looks), size)]
        for name, value in (("errors", _error_rate), ("p99", _p99)):
            canary = [found for one in points if (found := value(one.canary)) is not None]
            stable = [found for one in points if (found := value(one.stable)) is not None]
            if len(canary) > 1 and len(stable) > 1 and self._worse(canary, stable):
                return "back", name
        return "on", ""

    def _worse(self, canary: list[float], stable: list[float]) -> bool:
        n, m = len(canary), len(stable)
        shifts = np.sort(np.subtract.outer(np.array(canary), np.array(stable)).ravel())
        rank = max(0, int(n * m / 2 - self._Z * sqrt(n * m * (n + m + 1) / 12)))
        return bool(shifts[rank] > 0.25 * max(0.0, float(np.median(shifts))))


class NaiveZ:
    """A two-proportion z-test of all that was counted so far, at every look, as if it were the only one."""

    def __init__(self, interval: float) -> None:
        del interval
        self._sums = {"errors": [0, 0, 0, 0], "slow": [0, 0, 0, 0]}

    def look(self, now: float, weight: int, tally: Tally) -> tuple[Verdict, str]:
        """One-sided at 1 %, for errors and for slow requests."""
        del now, weight
        canary, stable = _failed(tally), (tally.stable.errors, tally.stable.requests)
        slow = (*_slow(tally.canary, _SLOW_MS), *_slow(tally.stable, _SLOW_MS))
        for name, seen in {"errors": (*canary, *stable), "slow": slow}.items():
            sums = self._sums[name] = [old + new for old, new in zip(self._sums[name], seen, strict=True)]
            bad, n, others_bad, others = sums
            if not n or not others:
                continue
            pooled = (bad + others_bad) / (n + others)
            variance = pooled * (1 - pooled) * (1 / n + 1 / others)
            if variance > 0 and (bad / n - others_bad / others) / sqrt(variance) > _Z_ONE_SIDED:
                return "back", name
        return "on", ""


class LindonMalek:
    """The textbook anytime-valid test: bad requests split between the versions as their requests do.

    A Beta-binomial Bayes factor against that share, begun anew with each step's share and multiplied; the prior is
    worth ten bad requests. Half of the budget is for errors, half for the latency bounds.
    """

    _PRIOR = 10.0

    def __init__(self, interval: float) -> None:
        del interval
        self._weight = 0
        self._before: dict[str, float] = {}
        self._split: dict[str, tuple[int, int]] = {}

    def look(self, now: float, weight: int, tally: Tally) -> tuple[Verdict, str]:
        """Roll back when the mean of the Bayes factors is 100, for the metric that is largest."""
        del now
        if weight == 100:
            return "on", ""
        share = weight / 100
        if weight != self._weight:
            self._before = {name: self._before.get(name, 0.0) + self._log(name) for name in self._split}
            self._weight, self._split = weight, {}
        bad, _ = _failed(tally)
        seen = {"errors": (bad, tally.stable.errors)}
        seen |= {f"{bound:g}ms": (_slow(tally.canary, bound)[0], _slow(tally.stable, bound)[0]) for bound in BOUNDS_MS}
        total, worst, most = 0.0, "", 0.0
        for name, (mine, others) in seen.items():
            old_mine, old_others = self._split.get(name, (0, 0))
            self._split[name] = (old_mine + mine, old_others + others)
            if self._split[name][0] <= share * sum(self._split[name]):
                continue
            part = 0.5 if name == "errors" else 0.5 / len(BOUNDS_MS)
            found = part * exp(min(500.0, self._before.get(name, 0.0) + self._log(name)))
            total += found
            if found > most:
                worst, most = name, found
        return ("back" if total >= 1 / _ALPHA else "on"), worst

    def _log(self, name: str) -> float:
        mine, others = self._split[name]
        p = self._weight / 100
        a, b = self._PRIOR * p, self._PRIOR * (1 - p)
        marginal = _log_beta(a + mine, b + others) - _log_beta(a, b)
        return marginal - mine * log(p) - others * log(1 - p)


RIVALS: dict[str, Contender] = {
    "flagger tutorial": contender(lambda _: Flagger(5)),
    "flagger default": contender(lambda _: Flagger(1)),
    "flagger threshold 2": contender(lambda _: Flagger(2)),
    "argo-like 1m": contender(lambda _: Argo(1)),
    "kayenta-like": contender(Kayenta),
    "naive z": contender(NaiveZ),
    "lindon-malek": contender(LindonMalek),
}
TUTORIAL = "flagger tutorial"


def _failed(tally: Tally) -> tuple[int, int]:
    return tally.canary.errors + tally.lost, tally.canary.requests + tally.lost


def _slow(counts: Counts, bound: float) -> tuple[int, int]:
    found = counts.slower_than(bound)
    return (0, 0) if found is None else (found.requests, found.timed)


def _error_rate(counts: Counts) -> float | None:
    return counts.errors / counts.requests if counts.requests else None


def _p99(counts: Counts) -> float | None:
    """As histogram_quantile interpolates it, ms."""
    if not counts.timed:
        return None
    rank = QUANTILE * counts.timed
    lower, below = 0.0, 0
    for one in counts.slow:
        within = one.timed - one.requests
        if within >= rank:
            return lower + (one.bound - lower) * (rank - below) / (within - below)
        lower, below = one.bound, within
    return BOUNDS_MS[-1]


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
