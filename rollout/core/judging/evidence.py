"""What the judge remembers and what it looks at: the evidence, an interval, and the names of the checks.

Belongs here: the data of judge.py, guard.py and verdicts.py. What is concluded from it does not.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

from pydantic import Field

from rollout.core.counts import Counts, Tally, blamed, plus
from rollout.core.judging.clumps import Learned
from rollout.core.policy import PolicySpec
from rollout.core.quantities import Listed, Model, format_duration, parse_duration

NO_CONTROL = 98
"""Above this weight stable gets too little to be compared with."""
ERRORS = "errors vs stable"
LIMIT = "errors"
UNDER, OVER = "traffic under", "traffic over"
PAST = "errors vs the past"
AT_FULL_WEIGHT = "last step"
FAIL_FAST = "fail fast"
_UNKNOWN = (100.0, 10_000.0)
"""Bounds (ms) between which latency is compared where nothing is known of stable's."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened since the last look."""

    tally: Tally
    weight: int
    """The canary's share of the requests that the mesh was ordered to send, percent."""
    seconds: float
    """How long it was; counters accumulate, so a missed scrape only makes it longer."""
    settling: bool = False
    """The weight may still be arriving at the proxies: the traffic share is not judged."""
    straddles: bool = False
    """It began before the weight was seen: it may convict the canary, but nothing in it helps to pass."""


class Evidence(Model):
    """The judge's whole memory of a release; small, and the same after a round trip through JSON."""

    processes: dict[str, Listed[float]] = Field(default_factory=dict)
    """Per check (cash, wealth of each bet), from the first interval of the release on."""
    proof: dict[str, Listed[float]] = Field(default_factory=dict)
    """Per check the log-wealth of bets for the canary, in this step."""
    guard: dict[str, Listed[float]] = Field(default_factory=dict)
    """Per check (cash, wealth of each bet) against stable's past, in this stay at the last step."""
    step: Tally = Field(default_factory=Tally)
    """Everything counted in this step that may acquit."""
    straddled: Tally = Field(default_factory=Tally)
    """What else was counted in this step: in intervals that began before it."""
    before: Tally = Field(default_factory=Tally)
    """Everything counted in the steps before that may acquit."""
    seconds: float = 0.0
    """How long the canary has had traffic."""
    looks: int = 0
    """Intervals in this step."""
    last: float = 0.0
    """Seconds of the last interval."""
    newest: Listed[int] = (0, 0)
    """(failed, all) of the canary in the last interval."""
    streak: Listed[int] = (0, 0, 0, 0)
    """For the hard limit: the canary's requests and failures, stable's requests and failures, since it last looked."""
    shared: bool = False
    """Whether the traffic share was looked at in this step."""
    dead: str = ""
    """What the hard limit found."""
    suspended: Listed[str] = ()
    """Limits that stable broke too in the last interval."""
    alarm: str = ""
    """The guard's check that asked for the last retreat, as long as stable is looked at because of it."""
    alarm_limit: float = 0.0
    watched: Listed[int] = (0, 0, 0)
    """After a retreat: intervals seen, stable's requests, its bad ones of the alarm's kind."""
    retreats: int = 0
    strikes: int = 0


def next_step(evidence: Evidence) -> Evidence:
    """The evidence at the beginning of a step: what convicts is carried on, what passes begins anew."""
    return evidence.model_copy(
        update={
            "proof": {},
            "guard": {},
            "step": Tally(),
            "straddled": Tally(),
            "before": plus(evidence.before, evidence.step),
            "looks": 0,
            "shared": False,
        }
    )


def compared_bounds(policy: PolicySpec, learned: Learned) -> tuple[float, ...]:
    """The latency bounds (ms) at which canary and stable are compared."""
    named = policy.checks.latency.compare
    if named is not None:
        return tuple(sorted(one / timedelta(milliseconds=1) for one in named))
    if learned.blocks:
        return learned.bounds
    return tuple(sorted(bound for bound in policy.metrics.buckets if _UNKNOWN[0] <= bound <= _UNKNOWN[1]))


def judged_bounds(policy: PolicySpec, learned: Learned | None) -> tuple[float, ...]:
    """Every latency bound (ms) that the judge needs counts for, ascending."""
    return tuple(sorted({*policy.named_bounds_ms(), *compared_bounds(policy, learned or Learned())}))


def against_stable(bound: float) -> str:
    """Name of the check that compares slow requests at a bound (ms)."""
    return f"latency {spelled(bound)} vs stable"


def against_past(bound: float) -> str:
    """The same for the guard."""
    return f"latency {spelled(bound)} vs the past"


def over_limit(bound: float) -> str:
    """The same for an objective."""
    return f"latency {spelled(bound)}"


def bound_of(check: str) -> float:
    """The bound (ms) in the name of a latency check."""
    text = check.split(" ")[1]
    return float(text.removesuffix("ms")) if "." in text else parse_duration(text) / timedelta(milliseconds=1)


@lru_cache(maxsize=1024)
def spelled(milliseconds: float) -> str:
    """A bound for people: 500ms, 2s500ms."""
    if milliseconds != int(milliseconds):
        return f"{milliseconds!r}ms"
    return format_duration(timedelta(milliseconds=milliseconds))


def blame(evidence: Evidence, tally: Tally, weight: int) -> Tally:
    """Tell whose the lost requests of an interval are, by what the canary lacks in the whole step.

    Chance grows with the root of the requests only, so what is forgiven in one interval is not in many.
    """
    if not tally.lost:
        return tally
    own = blamed(plus(evidence.step, tally), weight).lost - evidence.step.lost
    own = min(tally.lost, max(0, own))
    others = tally.lost - own
    # A full circuit breaker's refusals have no version either: those that are not the canary's do not fill its own.
    refused = max(0, tally.overflowed - others)
    return tally.model_copy(update={"lost": own, "astray": tally.astray + others, "overflowed": refused})


def failed(tally: Tally) -> tuple[int, int]:
    """(failed, all) of the canary; requests lost before any version count against the step that lost them."""
    return tally.canary.errors + tally.lost, tally.canary.requests + tally.lost


def slow_of(counts: Counts, bound: float) -> tuple[int, int]:
    """(slower, timed) at a bound; nothing where no histogram has it."""
    slow = counts.slower_than(bound)
    return (0, 0) if slow is None else (slow.requests, slow.timed)


def slow_by_bound(counts: Counts) -> dict[float, tuple[int, int]]:
    """(slower, timed) at every bound that a histogram has."""
    return {slow.bound: (slow.requests, slow.timed) for slow in counts.slow}


def rate_of(bad: int, n: int) -> float:
    """The share of bad requests; 0 of none."""
    return bad / n if n else 0.0
