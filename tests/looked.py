"""Releases that the real judge has looked at: evidence, verdicts and gates as a controller would have saved them."""

from collections.abc import Mapping, Sequence
from typing import Any

from rollout.core.counts import Counts, Slow, Tally
from rollout.core.judging import gates, judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import Evidence, Interval
from rollout.core.judging.gates import Gates, Reading
from rollout.core.judging.verdicts import Verdict, verdicts
from rollout.core.policy import PolicySpec
from rollout.core.release import Confirmed, Phase, Release, StepRecord, Window
from rollout.core.route import Route
from tests.given import NOW, policy, release, seconds

LONG_HOLDS = policy(steps=[{"weight": weight, "hold": "2m"} for weight in (10, 30, 100)])
LATENCY = policy(
    steps=[{"weight": weight, "hold": "2m"} for weight in (10, 30, 100)],
    checks={"minRequests": 20, "latency": {"compare": ["500ms"], "objectives": ["p99 < 500ms"]}},
    judge={"warmUp": "0s"},
)
EVERY_S = 5


def looked(
    failed: Sequence[int],
    *,
    weight: int = 10,
    slow: int | None = None,
    policy: PolicySpec = LONG_HOLDS,
    readings: Mapping[str, Reading] | None = None,
    phase: Phase = Phase.ANALYSING,
    evidence: Evidence | None = None,
    **status: Any,
) -> Release:
    """One look per number: of 60 requests of the canary in five seconds so many failed; stable failed 1 of 540.

    With `slow`, every interval's requests are timed at 500 ms, and so many of the canary's took longer.
    """
    found, kept, learned = evidence or Evidence(), Gates(), Learned()
    gated: tuple[Verdict, ...] = ()
    for number, errors in enumerate(failed):
        tally = Tally(canary=_counts(60, errors, slow), stable=_beside(weight, slow))
        first = number == 0
        interval = Interval(tally=tally, weight=weight, seconds=EVERY_S, settling=first, straddles=first)
        found = judge.look(found, interval, policy, learned)
        kept, gated = gates.look(kept, readings or {}, tally, weight, policy)
    order, at = Route(percent=weight, epoch=2), NOW + seconds(EVERY_S * len(failed))
    opinion = judge.opinion(found, policy, learned, weight)
    requests = 60 * len(failed)
    saved: dict[str, Any] = {
        "learned": learned,
        "evidence": found,
        "gates": kept,
        "verdicts": (*verdicts(found, opinion, policy, learned, weight), *gated),
        "window": Window(anchor=NOW, judged_at=at, clean_from=NOW + seconds(EVERY_S)),
        "steps": (StepRecord(weight=weight, since=NOW, canary_requests=requests, canary_errors=sum(failed)),),
        "weight": weight,
        "order": order,
        "confirmed": Confirmed(route=order, at=NOW),
        "reason": "Holding",
    }
    step = [one.weight for one in policy.steps].index(weight)
    return release(phase, step=step, policy=policy, **(saved | status))


def _counts(requests: int, errors: int, slow: int | None) -> Counts:
    timed = () if slow is None else (Slow(bound=500.0, requests=slow, timed=requests),)
    return Counts(requests=requests, errors=errors, timed=requests if timed else 0, slow=timed)


def _beside(weight: int, slow: int | None) -> Counts:
    return Counts() if weight == 100 else _counts(540 if weight == 10 else 140, 1, None if slow is None else 0)
