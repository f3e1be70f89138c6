"""Exact counting: raw counter samples in, integers out.

Prometheus' own `increase()` extrapolates, and it loses what a series counted before its first sample: that is most of
a canary's first errors. Here increases are differences of raw samples: a counter that went down was reset, and its
new value is its increase; a series that was born inside the window starts from zero, provided its target was seen up
before, so that the birth is a birth and not the first look at an old counter.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import floor, inf, sqrt
from typing import Literal, NamedTuple

from pydantic import Field

from rollout.core.quantities import Listed, Model

Points = Sequence[tuple[float, float]]
"""(Unix seconds, counter value), ascending in time."""
Instance = tuple[str, str]
"""A scrape target: (job, instance)."""
GRPC_CODES = {
    "OK": "0", "CANCELLED": "1", "UNKNOWN": "2", "INVALID_ARGUMENT": "3", "DEADLINE_EXCEEDED": "4", "NOT_FOUND": "5",
    "ALREADY_EXISTS": "6", "PERMISSION_DENIED": "7", "RESOURCE_EXHAUSTED": "8", "FAILED_PRECONDITION": "9",
    "ABORTED": "10", "OUT_OF_RANGE": "11", "UNIMPLEMENTED": "12", "INTERNAL": "13", "UNAVAILABLE": "14",
    "DATA_LOSS": "15", "UNAUTHENTICATED": "16",
}  # fmt: skip
"""gRPC's status codes by name, as `grpc_response_status` spells them (grpc.io, "Status codes and their use")."""
Group = Literal["stable", "canary", "lost", "other"]
"""Whose requests a series counts; `lost` never reached a version (UH, NC, NR, UF without a peer)."""


@dataclass(frozen=True, slots=True)
class Failing:
    """Which answers are failures."""

    http: frozenset[str]
    """Codes and classes: 503, 5xx."""
    grpc: frozenset[str]
    """Status numbers; the HTTP code of a gRPC call is 200 even when it failed."""

    def includes(self, code: str, grpc: str) -> bool:
        """Whether such an answer is a failure; a code that is no number always is."""
        return not code.isdigit() or code in self.http or f"{code[:1]}xx" in self.http or grpc in self.grpc


SERVER_FAILURES = Failing(http=frozenset({"5xx"}), grpc=frozenset({"2", "4", "12", "13", "14", "15"}))
"""5xx, and the statuses that mean as much: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
The others are answers (NOT_FOUND) or the caller's (RESOURCE_EXHAUSTED is what 429 is)."""


@dataclass(frozen=True, slots=True)
class Series:
    """One counter, or one bucket of a histogram, as scraped from one target."""

    group: Group
    instance: Instance
    points: Points
    code: str = ""
    """HTTP response code of a request counter; "0" is a client that went away."""
    grpc: str = ""
    """gRPC status number of a gRPC call, whose HTTP code is 200 even when it failed; "" for all others."""
    flags: str = "-"
    """Envoy response flags, joined by commas."""
    le: float | None = None
    """Upper bound in milliseconds where this is a histogram bucket; inf for all requests."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What Prometheus holds about one service for a window: raw, complete, or it is not a `Samples` at all."""

    series: tuple[Series, ...]
    ups: Mapping[Instance, Points] = field(default_factory=dict)
    """The `up` samples of the targets that expose a series born inside the window."""
    newest: datetime | None = None
    """Time of the newest sample; None without any."""
    query: str = ""
    """The PromQL that a person can paste to see the same."""


class Slow(Model):
    """Requests that took longer than a bucket bound, out of those in histograms that have this bound."""

    bound: float
    """Milliseconds."""
    requests: int = Field(ge=0)
    timed: int = Field(ge=0)


class Counts(Model):
    """Requests of one version in a window. `requests` leaves out clients that went away (code 0)."""

    requests: int = Field(default=0, ge=0)
    errors: int = Field(default=0, ge=0)
    disconnects: int = Field(default=0, ge=0)
    timed: int = Field(default=0, ge=0)
    """Requests in the latency histogram; lags `requests` by a flush, so the two are never mixed in one share."""
    slow: Listed[Slow] = ()
    """For each bound that the policy judges and the histogram has."""

    def slower_than(self, bound: float) -> Slow | None:
        """Requests slower than `bound` milliseconds; None where no histogram has such a bucket."""
        return next((one for one in self.slow if one.bound == bound), None)


class Rise(NamedTuple):
    """How much a counter rose, and whether that is all: an unknown start hides what was counted before it."""

    by: int
    certain: bool


class Tally(Model):
    """What both versions did in the same window."""

    stable: Counts = Field(default_factory=Counts)
    canary: Counts = Field(default_factory=Counts)
    lost: int = Field(default=0, ge=0)
    """Requests for the service that failed before they reached any version, as far as they are the canary's."""
    astray: int = Field(default=0, ge=0)
    """Those that are not: stable's, or nobody's."""
    overflowed: int = Field(default=0, ge=0)
    """Requests of the canary, or of no version, that a full circuit breaker refused (UO)."""
    uncertain: int = Field(default=0, ge=0)
    """Series whose first sample may be an old counter's: counted only from that sample on."""


def increase(points: Points, since: float, until: float, up: Points | None) -> Rise:
    """How much a counter rose in (since, until].

    `up` are the samples of its target's `up`; a series without a sample at or before `since` counts from zero only if
    the target was up before the series' first sample. Else it may be an old counter seen for the first time: it counts
    from that first sample, and what came before is not known.
    """
    base: float | None = None
    inside: list[tuple[float, float]] = []
    for when, value in points:
        if when <= since:
            base = value
        elif when <= until:
            inside.append((when, value))
    if not inside:
        return Rise(0, certain=True)
    certain = base is not None or any(when < inside[0][0] and value == 1 for when, value in up or ())
    last = base if base is not None else 0.0 if certain else inside[0][1]
    total = 0.0
    for _, value in inside:
        total += value - last if value >= last else value
        last = value
    return Rise(round(total), certain)


def tally(
    samples: Samples, bounds: Iterable[float], since: datetime, until: datetime, failing: Failing = SERVER_FAILURES
) -> Tally:
    """Add the increases of every series in (since, until] up, per version. `bounds` in milliseconds.

    Errors are the answers that `failing` includes. A response code 0 is a client that went away: neither a
    success nor an error. Requests that were lost before they reached a version are counted apart.
    """
    start, end = since.timestamp(), until.timestamp()
    sums: Counter[tuple[str, str]] = Counter()
    buckets: Counter[tuple[str, Instance, float]] = Counter()
    uncertain = overflowed = 0
    for series in samples.series:
        rise = increase(series.points, start, end, samples.ups.get(series.instance))
        uncertain += not rise.certain
        if series.group in {"canary", "lost"} and "UO" in series.flags:
            overflowed += rise.by
        if series.le is not None:
            buckets[series.group, series.instance, series.le] += rise.by
        else:
            sums[series.group, kind_of(series, failing)] += rise.by
    wanted = tuple(bounds)
    return Tally(
        stable=_counts("stable", sums, buckets, wanted),
        canary=_counts("canary", sums, buckets, wanted),
        lost=sums["lost", "errors"] + sums["lost", "answers"],
        overflowed=overflowed,
        uncertain=uncertain,
    )


def plus(one: Tally, other: Tally) -> Tally:
    """Two windows that follow each other, as one."""
    return Tally(
        stable=_both(one.stable, other.stable),
        canary=_both(one.canary, other.canary),
        lost=one.lost + other.lost,
        astray=one.astray + other.astray,
        overflowed=one.overflowed + other.overflowed,
        uncertain=other.uncertain,
    )


def since_then(now: Tally, before: Tally) -> Tally:
    """What `now` counts beyond `before`, two tallies of windows that begin together; never negative."""
    return Tally(
        stable=_beyond(now.stable, before.stable),
        canary=_beyond(now.canary, before.canary),
        lost=max(0, now.lost - before.lost),
        astray=max(0, now.astray - before.astray),
        overflowed=max(0, now.overflowed - before.overflowed),
        uncertain=now.uncertain,
    )


def blamed(tally: Tally, weight: float) -> Tally:
    """Tell whose the lost requests are: the canary's are those that it lacks of its weight's share, beyond chance.

    Two standard deviations are given to chance; what is the canary's all the same is missed by its traffic share.
    """
    gone, share = tally.lost + tally.astray, weight / 100
    if not gone:
        return tally
    arrived = tally.canary.requests + tally.canary.disconnects
    everything = arrived + tally.stable.requests + tally.stable.disconnects + gone
    lacks = everything * share - arrived - 2 * sqrt(everything * share * (1 - share))
    own = min(gone, max(0, floor(lacks)))
    return tally.model_copy(update={"lost": own, "astray": gone - own})


def kind_of(series: Series, failing: Failing) -> Literal["disconnects", "errors", "answers"]:
    """What the requests of a counter are; code 0 is a client that went away."""
    if series.code == "0":
        return "disconnects"
    return "errors" if failing.includes(series.code, series.grpc) else "answers"


def _counts(
    group: str,
    sums: Mapping[tuple[str, str], int],
    buckets: Mapping[tuple[str, Instance, float], int],
    bounds: Iterable[float],
) -> Counts:
    errors = sums.get((group, "errors"), 0)
    # A proxy with other buckets says nothing about a bound that it does not have: each bound has its own total.
    everything = {instance: rise for (whose, instance, le), rise in buckets.items() if whose == group and le == inf}
    slow = []
    for bound in bounds:
        within = {one: buckets[group, one, bound] for one in everything if (group, one, bound) in buckets}
        if within:
            timed = sum(everything[one] for one in within)
            # Never negative, save where the start of one bucket's series is uncertain and the other's is not.
            slow.append(Slow(bound=bound, requests=max(0, timed - sum(within.values())), timed=timed))
    return Counts(
        requests=errors + sums.get((group, "answers"), 0),
        errors=errors,
        disconnects=sums.get((group, "disconnects"), 0),
        timed=sum(everything.values()),
        slow=tuple(slow),
    )


def _both(one: Counts, other: Counts) -> Counts:
    slow = {each.bound: each for each in one.slow}
    for each in other.slow:
        known = slow.get(each.bound)
        if known is not None:
            requests, timed = known.requests + each.requests, known.timed + each.timed
            slow[each.bound] = Slow(bound=each.bound, requests=requests, timed=timed)
        else:
            slow[each.bound] = each
    return Counts(
        requests=one.requests + other.requests,
        errors=one.errors + other.errors,
        disconnects=one.disconnects + other.disconnects,
        timed=one.timed + other.timed,
        slow=tuple(slow[bound] for bound in sorted(slow)),
    )


def _beyond(now: Counts, before: Counts) -> Counts:
    nothing = Slow(bound=0, requests=0, timed=0)
    pairs = ((slow, before.slower_than(slow.bound) or nothing) for slow in now.slow)
    return Counts(
        requests=max(0, now.requests - before.requests),
        errors=max(0, now.errors - before.errors),
        disconnects=max(0, now.disconnects - before.disconnects),
        timed=max(0, now.timed - before.timed),
        slow=tuple(
            Slow(
                bound=slow.bound,
                requests=max(0, slow.requests - earlier.requests),
                timed=max(0, slow.timed - earlier.timed),
            )
            for slow, earlier in pairs
        ),
    )
