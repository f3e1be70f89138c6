"""What depends on the time that an interval took: stakes, caps and clump sizes; and the comparison they temper."""

from collections.abc import Sequence
from datetime import timedelta
from math import inf, log

from rollout.core.checks import Tolerance
from rollout.core.judging import betting
from rollout.core.judging.clumps import Habit
from rollout.core.judging.evidence import Evidence, rate_of
from rollout.core.policy import PolicySpec

Pair = tuple[int, int]
"""(bad, all)"""
FIRST, STEP = 1 / 2, 1 / 3
"""What is staked in the first interval of the release, and of every later step: a step up often triggers the fault."""
INCIDENT = 0.5
"""Squared coefficient of variation with which an incident, what stable does beyond twice its habit, hits a version."""
ONE = 1 / 3
"""Of the evidence that is needed, the most that one interval may give, short of an outage."""


def needed_for(weight: float, policy: PolicySpec) -> float:
    """The log-evidence that a check of this weight needs to convict alone, from its first interval's stake on."""
    return log(1 / (policy.judge.false_rollback * weight * FIRST)) + log(2)


class Pace:
    """What depends on the time that an interval took, and on what was found before it."""

    __slots__ = ("_ceiling", "_first", "_policy", "blocks", "seconds")

    def __init__(self, policy: PolicySpec, seconds: float, evidence: Evidence, found: float | None) -> None:
        """`found` is `E` before the interval, where that is not suspicious yet; None if it is."""
        self._policy = policy
        self._first = evidence.looks == 0
        self._ceiling = inf if found is None else log(0.99 / (policy.judge.false_rollback * max(found, 1.0)))
        self.seconds = seconds
        self.blocks = policy.block_s / seconds

    def grow(
        self, process: tuple[float, ...] | None, logs: Sequence[float], cap: float, least: float = 0.0
    ) -> tuple[float, ...]:
        """The process after this interval. `E` grows by exp(ceiling) at most, so that suspicion comes before guilt."""
        return betting.grow(process or (), logs, max(least, self.share(process)), min(cap, self._ceiling))

    def share(self, process: tuple[float, ...] | None) -> float:
        """How much of its cash a process stakes now."""
        if process is None:
            return FIRST
        if self._first:
            return STEP
        return min(STEP, self.seconds / self._policy.judge.onset.total_seconds())

    def cap(self, weight: float, most: float, *, dead: float = 0.0) -> float:
        """The most log-evidence this interval may give: `most` of what is needed, more for a canary that is dead.

        An interval that is shorter than a scrape, because somebody woke us, gives as much less: looking more often
        convicts no sooner.
        """
        outage = max(self._policy.judge.caps.outage.total_seconds(), 1.34 * self.seconds)
        whole = min(1.0, self.seconds / self._policy.interval.total_seconds())
        return needed_for(weight, self._policy) * max(most * whole, self.seconds * max(0.0, dead) / outage)

    def cap_for(self, span: timedelta, weight: float, most: float) -> float:
        """The same for a check that needs `span` to convict."""
        return needed_for(weight, self._policy) * min(most, self.seconds / max(1e-3, span.total_seconds()))

    def clump(self, habit: Habit, n: int, rate: float) -> float:
        """The clump size for `n` requests of which `rate` are expected to be bad.

        It may be more than all of them: where there is little traffic, a clump lasts for several intervals.
        """
        return habit.dispersion(n * self.blocks * rate)


def tempers(habit: Habit, pace: Pace, n: int, rate: float, usual: float, now: float) -> tuple[float, float]:
    """Clump sizes for `n` requests: by habit, at the tolerated `rate`; and as what stable does `now` implies.

    Where stable does more than twice its habit there is an incident, and incidents hit versions unequally.
    """
    by_habit = pace.clump(habit, n, rate)
    if now <= habit.rate:
        return by_habit, by_habit
    extra = INCIDENT * max(0.0, now - 2 * habit.rate) * pace.blocks * n
    return by_habit, max(by_habit, pace.clump(habit, n, usual), 1 + extra)


def compared(
    habit: Habit, pace: Pace, canary: Pair, stable: Pair, tolerance: Tolerance, bets: tuple[float, ...]
) -> list[float]:
    """Log-payoffs of the bets; where stable does worse than usual, the lesser of those with either clump size."""
    (bad, n), (others_bad, others), ratio, margin = canary, stable, tolerance.ratio, tolerance.margin
    now = rate_of(others_bad, others)
    m, more = tempers(habit, pace, n, tolerance.of(habit.rate), tolerance.of(now), now)
    others_m, others_more = tempers(habit, pace, others, habit.rate, now, now)
    logs = betting.comparison(bad, n, m, others_bad, others, others_m, ratio, margin, bets)
    if (more, others_more) != (m, others_m):
        again = betting.comparison(bad, n, more, others_bad, others, others_more, ratio, margin, bets)
        logs = [min(one, other) for one, other in zip(logs, again, strict=True)]
    return logs
