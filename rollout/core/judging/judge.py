"""The judge: one budget of evidence per release, carried through all steps and never reset.

`weigh` takes one interval into the evidence; `opinion` says what follows from it. Everything is a bet against the
canary (betting.py), tempered by how stable's own errors clump (clumps.py), capped so that no single scrape convicts,
and averaged into one e-process `E`: a canary that is tolerable is ever rolled back with probability at most
`falseRollback`, over all checks, steps and looks. Where no control is left, at the last step, a guard on stable's own
past takes its place; it cannot convict, only ask for the control back. What people read is written in verdicts.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from rollout.core.checks import Tolerance
from rollout.core.counts import Tally, plus
from rollout.core.judging import betting, guard
from rollout.core.judging.clumps import Habit, Learned
from rollout.core.judging.evidence import (
    AT_FULL_WEIGHT,
    ERRORS,
    FAIL_FAST,
    LIMIT,
    NO_CONTROL,
    OVER,
    UNDER,
    Evidence,
    Interval,
    against_stable,
    compared_bounds,
    failed,
    judged_bounds,
    over_limit,
    rate_of,
    slow_by_bound,
)
from rollout.core.judging.pace import ONE, STEP, Pace, Pair, compared, tempers
from rollout.core.policy import PolicySpec

SUSPICION = 10.0
"""Evidence from which nothing advances although nothing is proven; half of what convicts, where that is less."""
ERROR_BETS = (1.6, 3.0, 8.0, 30.0, 1e4)
PROOF_BETS = (0.1, 0.3, 0.5, 0.7, 0.85)
_LATENCY_BETS = (1.4, 2.2, 5.0, 20.0)
_LIMIT_BETS = (1.6, 3.0, 8.0)
_SHARE_BETS = (0.02, 0.2, 0.5, 0.8)
_PARTS = {"errors": 0.45, "latency": 0.25, "limits": 0.15, "traffic": 0.15}
_QUIET = 2.0
"""Evidence below which nothing has happened yet: then one interval does not convict, however much it shows."""
_STIRRED = 2.0
"""The guard's evidence from which the last step does not end: something is wrong, or only just begins to be."""
_NOTHING: Pair = (0, 0)
_Bets = dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What follows from the evidence."""

    evidence: float
    """`E`: one in so many tolerable canaries ever looks this bad."""
    convicts: float
    """Rolled back from here: one over the false-rollback probability."""
    kind: Literal["guilty", "alarm", "suspect", "proven", "open"]
    """guilty: roll back; alarm: get the control back; suspect: hold; proven: not worse than the margin; else open."""
    check: str = ""
    """The check that weighs most, unless it is open or proven."""


def look(evidence: Evidence, interval: Interval, policy: PolicySpec, learned: Learned) -> Evidence:
    """Take one interval into the evidence. Pure, total, about 100 logarithms and exponentials."""
    tally, seconds, clean = interval.tally, max(interval.seconds, 1e-3), not interval.straddles
    found = sum(parts_of(evidence, policy, learned).values())
    pace = Pace(policy, seconds, evidence, found if found < min(_QUIET, suspicion(policy)) else None)
    bets, suspended = dict(evidence.processes), list[str]()
    control = interval.weight <= NO_CONTROL
    # Around a retreat the canary's requests are from before it and stable's from after: no control, in one interval.
    compared = control and (clean or not evidence.alarm)
    if compared:
        _look_at_errors(bets, suspended, tally, pace, policy, learned)
        if evidence.seconds >= policy.judge.warm_up.total_seconds():
            _look_at_latency(bets, suspended, tally, pace, policy, learned)
    if not interval.settling:
        _look_at_traffic(bets, interval, pace, policy, first=not evidence.shared)
    streak, dead = (
        _hard_limit(evidence, tally, policy) if clean or not evidence.alarm else (evidence.streak, evidence.dead)
    )
    return evidence.model_copy(
        update={
            "processes": bets,
            "proof": _proof(evidence, tally, pace, policy, learned) if control and clean else evidence.proof,
            "guard": evidence.guard if control or not clean else guard.grow(evidence, tally, pace, policy, learned),
            "step": plus(evidence.step, tally) if clean else evidence.step,
            "straddled": evidence.straddled if clean else plus(evidence.straddled, tally),
            "seconds": evidence.seconds + seconds,
            "looks": evidence.looks + 1,
            "last": seconds,
            "shared": evidence.shared or not interval.settling,
            "streak": streak,
            "dead": dead,
            "suspended": tuple(suspended),
            "newest": failed(tally),
            **(guard.watch(evidence, tally) if control and clean else {}),
        }
    )


def suspicion(policy: PolicySpec) -> float:
    """Evidence from which nothing advances."""
    return min(SUSPICION, 0.5 / policy.judge.false_rollback)


def opinion(evidence: Evidence, policy: PolicySpec, learned: Learned, weight: int) -> Opinion:
    """What follows from the evidence at this weight."""
    parts = parts_of(evidence, policy, learned)
    total, worst = sum(parts.values()), max(parts, key=parts.__getitem__)
    convicts = 1 / policy.judge.false_rollback
    guarded = guard.parts_of(evidence, policy, learned) if weight > NO_CONTROL else {}
    kind: Literal["guilty", "alarm", "suspect", "proven", "open"] = "open"
    check = ""
    if evidence.dead or total >= convicts or evidence.strikes >= guard.STRIKES:
        kind, check = "guilty", evidence.dead or (worst if total >= convicts else AT_FULL_WEIGHT)
    elif sum(guarded.values()) >= guard.ALARM:
        # A policy whose first weight leaves no control either has only the past: then that convicts, at the full price.
        alone = not guard.has_control(policy) and sum(guarded.values()) >= convicts
        kind = "guilty" if alone else "alarm" if guard.may_retreat(evidence, policy) else "suspect"
        check = max(guarded, key=guarded.__getitem__)
    elif total >= suspicion(policy):
        kind, check = "suspect", worst
    elif is_proven(evidence, policy, learned):
        kind = "proven"
    return Opinion(total, convicts, kind, check)


def doubt(evidence: Evidence, policy: PolicySpec, learned: Learned, weight: int) -> str:
    """Why the step may not pass yet although nothing is suspected: a reason code, "" if it may."""
    if evidence.alarm or (weight > NO_CONTROL and is_stirred(evidence, policy, learned)):
        return "watching" if evidence.alarm else "suspect"
    canary = evidence.step.canary
    if canary.requests + evidence.step.lost < policy.checks.min_requests:
        return "low-data"
    if evidence.suspended:
        return "stable-too"
    bounds = judged_bounds(policy, learned)
    if bounds and evidence.seconds < policy.judge.warm_up.total_seconds():
        return "warming-up"
    if any(canary.slower_than(bound) is None for bound in bounds):
        return "no-bucket" if canary.timed else "no-data"
    return ""


def is_stirred(evidence: Evidence, policy: PolicySpec, learned: Learned) -> bool:
    """Whether the last step's guard sees something, or the newest interval broke the limit: no moment to promote."""
    guarded = sum(guard.parts_of(evidence, policy, learned).values())
    return guarded >= _STIRRED or rate_of(*evidence.newest) > policy.checks.errors.max


def waiting_for(evidence: Evidence, found: Opinion, policy: PolicySpec, learned: Learned, weight: int) -> str:
    """The reason code for which this step may not pass yet; "" if it may."""
    if found.kind not in {"open", "proven"}:
        return "suspect"
    if reason := doubt(evidence, policy, learned, weight):
        return reason
    unproven = found.kind != "proven" and weight <= NO_CONTROL
    return "unproven" if unproven and policy.judge.unproven == "hold" else ""


def may_leave(found: Opinion, held_for: str, stayed: float, hold: float, policy: PolicySpec) -> bool:
    """Whether a step may end after `stayed` of its `hold` seconds."""
    if held_for:
        return False
    early = policy.judge.early and found.kind == "proven"
    return stayed >= (min(hold, policy.judge.dwell.total_seconds()) if early else hold)


def parts_of(evidence: Evidence, policy: PolicySpec, learned: Learned) -> dict[str, float]:
    """What each check adds to `E`; at the beginning they add up to 1."""
    weights = weights_of(policy, learned)
    return {check: weight * betting.worth(evidence.processes.get(check, ())) for check, weight in weights.items()}


def weights_of(policy: PolicySpec, learned: Learned) -> Mapping[str, float]:
    """The weight of each check in `E`; they sum to 1, and are fixed before the first interval."""
    objectives = tuple(objective.bound_ms for objective in policy.checks.latency.objectives)
    return _weights(compared_bounds(policy, learned), objectives)


@lru_cache(maxsize=256)
def _weights(bounds: tuple[float, ...], objectives: tuple[float, ...]) -> Mapping[str, float]:
    groups = {
        "errors": [ERRORS],
        "latency": [against_stable(bound) for bound in bounds],
        "limits": [LIMIT, *(over_limit(bound) for bound in objectives)],
        "traffic": [UNDER, UNDER, OVER],
    }
    whole = sum(_PARTS[name] for name, members in groups.items() if members)
    weights: dict[str, float] = {}
    for name, members in groups.items():
        for member in members:
            weights[member] = weights.get(member, 0.0) + _PARTS[name] / whole / len(members)
    return MappingProxyType(weights)


def is_proven(evidence: Evidence, policy: PolicySpec, learned: Learned) -> bool:
    """Whether this step is proven: every check rejects "worse than the margin" on its own, so no correction is due."""
    needed = 1 / policy.judge.proof.risk
    checks = [ERRORS, *(against_stable(bound) for bound in compared_bounds(policy, learned))]
    return all(betting.mean_of(evidence.proof.get(check, ())) >= needed for check in checks)


def _look_at_errors(
    bets: _Bets, suspended: list[str], tally: Tally, pace: Pace, policy: PolicySpec, learned: Learned
) -> None:
    errors, habit = policy.checks.errors, learned.errors
    canary, stable = failed(tally), (tally.stable.errors, tally.stable.requests)
    dead = rate_of(*canary) - rate_of(*stable)
    logs = compared(habit, pace, canary, stable, errors.over_stable, ERROR_BETS)
    bets[ERRORS] = pace.grow(bets.get(ERRORS), logs, pace.cap(_PARTS["errors"], ONE, dead=dead))
    # Whether the bet is made depends on stable's counts alone, so the evidence stays an e-process.
    if rate_of(*stable) > errors.max:
        suspended.append(LIMIT)
    if rate_of(*stable) > errors.max or not tally.stable.requests:
        return
    bad, n = canary
    now = rate_of(*stable)
    _, m = tempers(habit, pace, n, errors.over_stable.of(habit.rate), errors.over_stable.of(now), now)
    logs = betting.beyond(bad, n, m, errors.max, _LIMIT_BETS)
    bets[LIMIT] = pace.grow(bets.get(LIMIT), logs, pace.cap(_PARTS["limits"], ONE, dead=dead))


def _look_at_latency(
    bets: _Bets, suspended: list[str], tally: Tally, pace: Pace, policy: PolicySpec, learned: Learned
) -> None:
    latency, span = policy.checks.latency, policy.judge.caps.latency
    canary, stable = slow_by_bound(tally.canary), slow_by_bound(tally.stable)
    cap = pace.cap_for(span, _PARTS["latency"], ONE)
    for bound in compared_bounds(policy, learned):
        name, habit = against_stable(bound), learned.habit_at(bound)
        pairs = canary.get(bound, _NOTHING), stable.get(bound, _NOTHING)
        logs = compared(habit, pace, *pairs, latency.over_stable, _LATENCY_BETS)
        bets[name] = pace.grow(bets.get(name), logs, cap)
    cap = pace.cap_for(span, _PARTS["limits"], ONE)
    for objective in latency.objectives:
        bound = objective.bound_ms
        name = over_limit(bound)
        slow, timed = stable.get(bound, _NOTHING)
        if rate_of(slow, timed) > objective.max:
            suspended.append(name)
        if rate_of(slow, timed) > objective.max or not timed:
            continue
        bad, n = canary.get(bound, _NOTHING)
        m = pace.clump(learned.habit_at(bound), n, objective.max)
        bets[name] = pace.grow(bets.get(name), betting.beyond(bad, n, m, objective.max, _LIMIT_BETS), cap)


def _look_at_traffic(bets: _Bets, interval: Interval, pace: Pace, policy: PolicySpec, *, first: bool) -> None:
    """Sample ratio mismatch: the canary gets more or less than its weight says, beyond the tolerated odds."""
    tally, weight = interval.tally, interval.weight
    arrived = tally.canary.requests + tally.canary.disconnects + tally.lost
    others = tally.stable.requests + tally.stable.disconnects + tally.astray
    # At weight 100 nothing is too much, and the odds that stable may still have are those of a proxy in two hundred.
    share = min(weight, 99.5) / 100
    odds, tolerance = share / (1 - share), policy.checks.traffic.tolerance
    expected = (arrived + others) * share
    m = max(1.0, min(3 + 3 * 0.15**2 * expected * pace.blocks, expected))
    cap = pace.cap_for(policy.judge.caps.traffic, _PARTS["traffic"], 0.6)
    least = STEP if first else 0.0
    logs = betting.too_little(arrived, others, m, odds / tolerance, _SHARE_BETS)
    bets[UNDER] = pace.grow(bets.get(UNDER), logs, cap, least)
    if weight < 100:
        logs = betting.too_little(others, arrived, m, 1 / (odds * tolerance), _SHARE_BETS)
        bets[OVER] = pace.grow(bets.get(OVER), logs, cap, least)


def _proof(evidence: Evidence, tally: Tally, pace: Pace, policy: PolicySpec, learned: Learned) -> _Bets:
    """Bets for the canary: that it is not worse than the margin of promotion."""
    proof = dict(evidence.proof)
    for check, habit, (bad, n), (others_bad, others), margin in _pairs(tally, policy, learned):
        m, others_m = pace.clump(habit, n, margin.of(habit.rate)), pace.clump(habit, others, habit.rate)
        logs = betting.not_worse(bad, n, m, others_bad, others, others_m, margin.ratio, margin.margin, PROOF_BETS)
        proof[check] = betting.held(proof.get(check, ()), logs)
    return proof


def _pairs(tally: Tally, policy: PolicySpec, learned: Learned) -> Iterator[tuple[str, Habit, Pair, Pair, Tolerance]]:
    margins = policy.judge.proof
    yield ERRORS, learned.errors, failed(tally), (tally.stable.errors, tally.stable.requests), margins.errors
    canary, stable = slow_by_bound(tally.canary), slow_by_bound(tally.stable)
    for bound in compared_bounds(policy, learned):
        pairs = canary.get(bound, _NOTHING), stable.get(bound, _NOTHING)
        yield against_stable(bound), learned.habit_at(bound), *pairs, margins.latency


def _hard_limit(evidence: Evidence, tally: Tally, policy: PolicySpec) -> tuple[tuple[int, ...], str]:
    """The threshold for the impatient, over as many intervals as its number of requests takes."""
    limit = policy.checks.errors.fail_fast
    bad, n = failed(tally)
    grown = (n, bad, tally.stable.requests, tally.stable.errors)
    streak = tuple(old + new for old, new in zip(evidence.streak, grown, strict=True))
    if not limit.enabled or evidence.dead:
        return evidence.streak, evidence.dead
    if streak[0] < limit.requests:
        return streak, ""
    over = streak[1] >= limit.max * streak[0] - 1e-9 and rate_of(streak[3], streak[2]) < limit.max / 2
    return (streak, FAIL_FAST) if over else ((0, 0, 0, 0), "")
