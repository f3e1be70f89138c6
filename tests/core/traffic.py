"""Made-up traffic and policies: the words in which the tests of the judge are told."""

from collections.abc import Iterable, Mapping
from typing import Any

from rollout.core.counts import Counts, Slow, Tally
from rollout.core.judging.clumps import Habit, Learned
from rollout.core.judging.evidence import Evidence, Interval, next_step
from rollout.core.judging.judge import Opinion, look, opinion
from rollout.core.policy import PolicySpec

Slower = Mapping[float, int]
"""Requests slower than each bound, in milliseconds."""
CALM = Learned(blocks=240, pods=3, per_second=100.0, errors=Habit(rate=0.001, clump=1.0))
"""A stable version whose errors never come together, and whose latency nobody compares."""


def policy(*, fail_fast: bool = False, compare: Iterable[str] = (), **fields: Any) -> PolicySpec:
    """A policy in its wire form, without the plain threshold unless asked for, comparing latency at `compare` alone."""
    checks: dict[str, Any] = dict(fields.pop("checks", {}))
    checks["errors"] = {"failFast": {"enabled": fail_fast}, **checks.get("errors", {})}
    checks["latency"] = {"compare": list(compare), **checks.get("latency", {})}
    return PolicySpec.model_validate({**fields, "checks": checks})


def calm(*bounds: float, clump: float = 1.0, rate: float = 0.001) -> Learned:
    """What a past without noise says, of latency too."""
    habits = (Habit(rate=0.01, clump=clump),) * len(bounds)
    errors = Habit(rate=rate, clump=clump)
    return CALM.model_copy(update={"errors": errors, "bounds": bounds, "latency": habits, "slow_at": bounds})


def version(requests: int, errors: int = 0, slower: Slower | None = None, *, timed: int | None = None) -> Counts:
    """`requests`, all of them `timed` unless told otherwise."""
    timed = requests if timed is None else timed
    slow = tuple(Slow(bound=bound, requests=count, timed=timed) for bound, count in sorted((slower or {}).items()))
    return Counts(requests=requests, errors=errors, timed=timed, slow=slow)


def interval(
    canary: Counts, stable: Counts, weight: int = 10, *, lost: int = 0, seconds: float = 15.0, **flags: bool
) -> Interval:
    return Interval(tally=Tally(canary=canary, stable=stable, lost=lost), weight=weight, seconds=seconds, **flags)


def healthy(weight: int = 10, requests: int = 1500, slower: Iterable[float] = ()) -> Interval:
    """Fifteen seconds in which nothing goes wrong and every request goes where the weight says."""
    canary = requests * weight // 100
    none = dict.fromkeys(slower, 0)
    return interval(version(canary, 0, none), version(requests - canary, 0, none), weight)


DEAD = interval(version(150, 150), version(1350))
"""An outage of the canary alone."""
IDLE = interval(Counts(), Counts())
"""Nobody sent anything."""


def looked(
    intervals: Iterable[Interval], by: PolicySpec, learned: Learned = CALM, since: Evidence | None = None
) -> Evidence:
    evidence = since or Evidence()
    for one in intervals:
        evidence = look(evidence, one, by, learned)
    return evidence


def found(evidence: Evidence, by: PolicySpec, learned: Learned = CALM, weight: int = 10) -> Opinion:
    return opinion(evidence, by, learned, weight)


def verdict(*intervals: Interval, by: PolicySpec | None = None, learned: Learned = CALM) -> Opinion:
    """The opinion after these intervals, at the weight of the last."""
    by = by or policy()
    return found(looked(intervals, by, learned), by, learned, intervals[-1].weight)


def stepped(*steps: Iterable[Interval], by: PolicySpec, learned: Learned = CALM) -> Evidence:
    """The evidence after the intervals of one step after the other."""
    evidence = Evidence()
    for number, intervals in enumerate(steps):
        evidence = looked(intervals, by, learned, next_step(evidence) if number else evidence)
    return evidence


def worth(evidence: Evidence, check: str) -> float:
    """What the bets of one check have come to; 1 before the first."""
    return sum(evidence.processes.get(check, (1.0,)))
