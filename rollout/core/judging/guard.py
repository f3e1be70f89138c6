"""The guard of the last step, where no control is left: stable's own past, and the way back to a control.

An alarm does not convict. It asks for a retreat to the first step's weight, which ends most of the harm at once and
gives the comparison its control back. If stable then has the same trouble, it was an incident; if not, that is a
strike, and with two of them the canary fails at full weight only.
"""

from collections.abc import Mapping
from math import log

from rollout.core.counts import Tally
from rollout.core.judging import betting
from rollout.core.judging.clumps import Habit, Learned
from rollout.core.judging.evidence import (
    LIMIT,
    NO_CONTROL,
    PAST,
    Evidence,
    against_past,
    bound_of,
    compared_bounds,
    failed,
    rate_of,
    slow_by_bound,
    slow_of,
)
from rollout.core.judging.pace import FIRST, Pace
from rollout.core.policy import PolicySpec

ALARM = 20.0
"""Evidence from which the guard asks for the control back: at most once in 20 releases for nothing."""
MOST_RETREATS = 4
STRIKES = 2
"""Alarms that vanished with the control back, stable being well, until the full weight itself is the finding."""
WATCHED = 2
"""Intervals after a retreat in which stable is looked at: does it have the same trouble?"""
_BETS = (1.5, 2.5, 5.0, 20.0)
_PARTS = {"errors": 0.5, "latency": 0.25, "limits": 0.25}


def parts_of(evidence: Evidence, policy: PolicySpec, learned: Learned) -> dict[str, float]:
    """What each check adds to the guard's evidence."""
    bounds = compared_bounds(policy, learned)
    weights = {PAST: _PARTS["errors"], LIMIT: _PARTS["limits"]}
    weights |= {against_past(bound): _PARTS["latency"] / len(bounds) for bound in bounds}
    return {check: weight * betting.worth(evidence.guard.get(check, ())) for check, weight in weights.items()}


def limit_of(check: str, evidence: Evidence, learned: Learned) -> float:
    """What stable's own past allows at the last step, generously: it is another time, and no control."""
    stable = evidence.before.stable
    if check == PAST:
        return min(1.0, 3 * max(learned.errors.rate, rate_of(stable.errors, stable.requests)) + 0.005)
    return _slow_limit(bound_of(check), evidence, learned)


def has_control(policy: PolicySpec) -> bool:
    """Whether the first step leaves stable enough to compare with."""
    return policy.steps[0].weight <= NO_CONTROL


def may_retreat(evidence: Evidence, policy: PolicySpec) -> bool:
    """Whether a retreat gives a control back, and has not been tried too often."""
    return evidence.retreats < MOST_RETREATS and has_control(policy)


def retreat(evidence: Evidence, check: str, policy: PolicySpec, learned: Learned) -> Evidence:
    """The evidence after the guard's alarm: whether stable has the same trouble is looked at next."""
    limit = policy.checks.errors.max if check == LIMIT else limit_of(check, evidence, learned)
    return evidence.model_copy(
        update={"alarm": check, "alarm_limit": limit, "watched": (0, 0, 0), "retreats": evidence.retreats + 1}
    )


def grow(
    evidence: Evidence, tally: Tally, pace: Pace, policy: PolicySpec, learned: Learned
) -> dict[str, tuple[float, ...]]:
    """Bets against stable's own past, where nothing is left to compare with."""
    guard = dict(evidence.guard)
    bad, n = failed(tally)
    limit = limit_of(PAST, evidence, learned)
    dead = rate_of(bad, n) - limit
    found: list[tuple[str, int, int, Habit, float, float, float]] = [
        (PAST, bad, n, learned.errors, limit, _PARTS["errors"], dead),
        (LIMIT, bad, n, learned.errors, policy.checks.errors.max, _PARTS["limits"], dead),
    ]
    if evidence.seconds >= policy.judge.warm_up.total_seconds():
        table = slow_by_bound(tally.canary)
        for bound in compared_bounds(policy, learned):
            slow, timed = table.get(bound, (0, 0))
            allowed = _slow_limit(bound, evidence, learned)
            habit = learned.habit_at(bound)
            found.append((against_past(bound), slow, timed, habit, allowed, _PARTS["latency"], 0.0))
    for check, bad, n, habit, limit, weight, dead in found:
        m = pace.clump(habit, n, limit)
        logs = betting.beyond(bad, n, m, limit, _BETS)
        span, outage = policy.judge.caps.latency.total_seconds(), policy.judge.caps.outage.total_seconds()
        outage = max(outage, 1.34 * pace.seconds)
        most = max(min(1 / 2, pace.seconds / max(1e-3, span)), pace.seconds * max(0.0, dead) / outage)
        cap = (log(ALARM / (weight * FIRST)) + log(2)) * most
        guard[check] = betting.grow(guard.get(check, ()), logs, pace.share(guard.get(check)), cap)
    return guard


def _slow_limit(bound: float, evidence: Evidence, learned: Learned) -> float:
    slow, timed = slow_of(evidence.before.stable, bound)
    return min(1.0, 2 * max(learned.habit_at(bound).rate, rate_of(slow, timed)) + 0.02)


def watch(evidence: Evidence, tally: Tally) -> Mapping[str, object]:
    """After a retreat: whether stable has the trouble that the canary was alarmed for."""
    if not evidence.alarm:
        return {}
    if evidence.alarm in {PAST, LIMIT}:
        bad, n = tally.stable.errors, tally.stable.requests
    else:
        bad, n = slow_of(tally.stable, bound_of(evidence.alarm))
    seen, requests, trouble = evidence.watched
    watched = (seen + 1, requests + n, trouble + bad)
    if watched[0] < WATCHED or watched[1] == 0:
        return {"watched": watched}
    acquitted = watched[2] > evidence.alarm_limit * watched[1]
    return {"watched": (0, 0, 0), "alarm": "", "strikes": evidence.strikes + (not acquitted)}
