"""Verdicts: what the counts of an interval say about the canary.

Each check is a bet against the canary, kept as an e-process: a non-negative number with mean at most 1 for as long as
the canary is tolerable, whatever its rate and however often one looks. By Ville's inequality it then ever reaches 1/a
with probability at most a, so looking after every scrape costs nothing (Howard et al. 2021; Waudby-Smith & Ramdas 2024;
the conditional form for two rates is Lindon & Malek, arXiv 2011.03567, with an absolute margin added).

One budget, `FALSE_ROLLBACK`, is divided over the checks and the steps; every step begins with fresh evidence. The
bets assume that bad requests arrive independently of each other given the rates of the interval; shared incidents
cancel in the comparison with stable, bursts that hit one version alone do not.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from pydantic import Field

from rollout.core.counts import Counts, Tally, plus
from rollout.core.policy import PolicySpec, Tolerance
from rollout.core.quantities import Listed, Model, format_duration, format_share

FALSE_ROLLBACK = 0.01
"""Probability that a tolerable canary is ever rolled back on metrics, over all checks, steps and looks."""
SUSPICION = 10.0
"""Evidence from which a check no longer passes although it does not fail yet."""
_ERROR_BETS = (1.6, 3.0, 8.0, 30.0, 1e4)
_LATENCY_BETS = (1.4, 2.2, 5.0, 20.0)
_LIMIT_BETS = (1.3, 1.6, 3.0, 8.0)
_SHARE_BETS = (0.02, 0.2, 0.5)
_MOST_LOG = 500.0
"""Log-evidence is kept within ±500: exp() stays finite, and nothing there changes a verdict any more."""

Outcome = Literal["pass", "fail", "unknown"]


class Verdict(Model):
    """What one check says, with everything a person needs to believe it."""

    check: str
    outcome: Outcome
    reason: str = ""
    """Why it is unknown: `low-data`, `suspect`, `stable-too`, `above-limit`, `no-bucket`, `no-data`."""
    value: float | None = None
    """The canary's share of bad requests in this step (traffic: its share of the requests)."""
    limit: float | None = None
    """What `value` is held against."""
    bad: int = 0
    requests: int = 0
    stable: float | None = None
    """Stable's share of bad requests in the same time."""
    evidence: float = 0.0
    """Against the canary: 1 is none, `convicts` fails the check."""
    convicts: float = 0.0
    message: str = ""
    """The same in one sentence."""


class Evidence(Model):
    """The judge's whole memory for the step under way; small, and the same after a round trip through JSON."""

    bets: dict[str, Listed[float]] = Field(default_factory=dict)
    """Per check, the log-evidence of each bet."""
    step: Tally = Field(default_factory=Tally)
    """Everything counted in this step so far."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened since the last look."""

    tally: Tally
    weight: int
    """The canary's share of the requests that the mesh was ordered to send, percent."""
    settling: bool = False
    """The weight may still be arriving at the proxies: the traffic share is not judged."""
    straddles: bool = False
    """It began before the weight was seen: it may convict the canary, but nothing in it helps to pass."""


@dataclass(frozen=True, slots=True)
class _Finding:
    """One check's raw result, before it becomes a verdict."""

    check: str
    log_bets: tuple[float, ...]
    value: float
    limit: float
    bad: int
    requests: int
    stable: float | None
    what: str
    suspended: bool = False
    """Stable breaks the limit too: nothing was bet in this interval."""


def checks_of(policy: PolicySpec) -> int:
    """How many ways the budget is divided: every check of every step."""
    latency = policy.checks.latency
    return len(policy.steps) * (3 + len(latency.objectives) + len(latency.compare))


def look(evidence: Evidence, interval: Interval, policy: PolicySpec) -> tuple[Evidence, tuple[Verdict, ...]]:
    """Take one interval into the evidence and say where each check stands. Pure, total, O(bets)."""
    shown = plus(evidence.step, interval.tally)
    step = evidence.step if interval.straddles else shown
    findings = tuple(_findings(evidence, interval, shown, policy))
    convicts = checks_of(policy) / FALSE_ROLLBACK
    bets = {finding.check: finding.log_bets for finding in findings}
    verdicts = tuple(
        _verdict(finding, convicts, policy.checks.min_requests, clean=not interval.straddles) for finding in findings
    )
    missing = tuple(
        Verdict(
            check=f"latency {_bound(bound)}",
            outcome="unknown",
            reason="no-bucket" if shown.canary.timed else "no-data",
            message=f"latency: the canary has no histogram bucket at {_bound(bound)} yet",
        )
        for bound in policy.bounds_ms()
        if shown.canary.slower_than(bound) is None
    )
    return Evidence(bets=bets, step=step), (*verdicts, *missing)


def _findings(evidence: Evidence, interval: Interval, step: Tally, policy: PolicySpec) -> Iterable[_Finding]:
    now, weight = interval.tally, interval.weight
    compared = weight < 100
    wealth = evidence.bets.get

    def limit(
        check: str, grown: tuple[int, int], rival: tuple[int, int], total: tuple[int, int], most: float, what: str
    ) -> _Finding:
        # Where stable breaks the limit too, it is an incident and not the canary; whether the bet is made depends on
        # stable's count alone, so the evidence stays an e-process.
        suspended = _share(*rival) > most
        logs = (0.0,) * len(_LIMIT_BETS) if suspended else _limit_bets(*grown, most)
        log_bets = _add(wealth(check), logs)
        return _Finding(check, log_bets, _share(*total), most, *total, None, what, suspended=suspended)

    def against(
        check: str, grown: tuple[int, int], rival: tuple[int, int],
        total: tuple[int, int], rival_total: tuple[int, int],
        tolerance: Tolerance, bets: tuple[float, ...], what: str,
    ) -> _Finding:  # fmt: skip
        logs = _comparison_bets(grown, rival, tolerance, bets)
        stable = _share(*rival_total)
        tolerated = min(1.0, tolerance.ratio * stable + tolerance.margin)
        return _Finding(check, _add(wealth(check), logs), _share(*total), tolerated, *total, stable, what)

    errors = policy.checks.errors
    grown, total = _failed(now), _failed(step)
    yield limit("errors", grown, (now.stable.errors, now.stable.requests), total, errors.max, "failed")
    if compared:
        rival, rival_total = (
            (now.stable.errors, now.stable.requests),
            (step.stable.errors, step.stable.requests),
        )
        yield against("errors vs stable", grown, rival, total, rival_total, errors.over_stable, _ERROR_BETS, "failed")
    latency = policy.checks.latency
    for objective in latency.objectives:
        bound = objective.bound / timedelta(milliseconds=1)
        if (slow := _slow(step.canary, bound)) is not None:
            grown = _slow(now.canary, bound) or (0, 0)
            what = f"took longer than {_bound(bound)}"
            rival = _slow(now.stable, bound) or (0, 0)
            yield limit(f"latency {_bound(bound)}", grown, rival, slow, objective.max, what)
    for duration in latency.compare if compared else ():
        bound = duration / timedelta(milliseconds=1)
        if (slow := _slow(step.canary, bound)) is not None:
            grown, rival = _slow(now.canary, bound) or (0, 0), _slow(now.stable, bound) or (0, 0)
            yield against(
                f"latency {_bound(bound)} vs stable", grown, rival, slow, _slow(step.stable, bound) or (0, 0),
                latency.over_stable, _LATENCY_BETS, f"took longer than {_bound(bound)}",
            )  # fmt: skip
    yield _traffic(evidence, interval, step, policy)


def _traffic(evidence: Evidence, interval: Interval, step: Tally, policy: PolicySpec) -> _Finding:
    """Sample ratio mismatch: the canary gets more or less than its weight says, beyond the tolerated odds."""
    arrived = interval.tally.canary.requests + interval.tally.canary.disconnects + interval.tally.lost
    others = interval.tally.stable.requests + interval.tally.stable.disconnects
    logs = (0.0,) * (2 * len(_SHARE_BETS))
    if not interval.settling:
        logs = _share_bets(arrived, others, interval.weight, policy.checks.traffic.tolerance)
    all_arrived = step.canary.requests + step.canary.disconnects + step.lost
    everything = all_arrived + step.stable.requests + step.stable.disconnects
    return _Finding(
        check="traffic",
        log_bets=_add(evidence.bets.get("traffic"), logs),
        value=_share(all_arrived, everything),
        limit=interval.weight / 100,
        bad=all_arrived,
        requests=everything,
        stable=None,
        what="went to the canary",
    )


def _failed(tally: Tally) -> tuple[int, int]:
    """(failed, all) of the canary; requests lost before any version count against the step that lost them."""
    return tally.canary.errors + tally.lost, tally.canary.requests + tally.lost


def _slow(counts: Counts, bound: float) -> tuple[int, int] | None:
    """(slower, timed) at a bound, or None where no histogram has it."""
    slow = counts.slower_than(bound)
    return None if slow is None else (slow.requests, slow.timed)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _limit_bets(bad: int, requests: int, most: float) -> tuple[float, ...]:
    """Bets that the rate is rho times the limit: E exp(S ln rho - n L (rho - 1)) <= 1 while the rate is at most L."""
    return tuple(bad * math.log(rho) - requests * most * (rho - 1) for rho in _LIMIT_BETS)


def _comparison_bets(
    canary: tuple[int, int], stable: tuple[int, int], tolerance: Tolerance, bets: tuple[float, ...]
) -> tuple[float, ...]:
    """Bets that the canary's rate is rho times what stable's rate in the same interval allows.

    With u = rho (r a + b) / (rho r a + b) and v = (r a + b) / (rho r a + b), u^S_c v^S_s exp(-a d (u - 1)) has mean at
    most 1 while rate_c <= r rate_s + d, for every rate_s: the exponents are Poisson, and b (1 - v) = r a (u - 1).
    """
    (bad, n), (rival_bad, rival_n) = canary, stable
    if n == 0 or rival_n == 0:
        return (0.0,) * len(bets)
    weighted = tolerance.ratio * n
    logs = []
    for rho in bets:
        whole = rho * weighted + rival_n
        u, v = rho * (weighted + rival_n) / whole, (weighted + rival_n) / whole
        logs.append(bad * math.log(u) + rival_bad * math.log(v) - n * tolerance.margin * (u - 1))
    return tuple(logs)


def _share_bets(canary: int, stable: int, weight: float, tolerance: float) -> tuple[float, ...]:
    """Bets on under- and over-delivery: (p u + (1 - p)(1 + (o/t)(1 - u)))^N <= 1 while the odds are at least o/t.

    At weight 100 nothing is too much, and the odds that stable may still have are those of a proxy in two hundred.
    """
    odds = min(weight, 99.5) / (100 - min(weight, 99.5))
    under = [canary * math.log(u) + stable * math.log1p(odds / tolerance * (1 - u)) for u in _SHARE_BETS]
    over = [stable * math.log(u) + canary * math.log1p((1 - u) / (odds * tolerance)) for u in _SHARE_BETS]
    return (*under, *(over if weight < 100 else (0.0,) * len(over)))


def _add(before: tuple[float, ...] | None, grown: tuple[float, ...]) -> tuple[float, ...]:
    if before is None or len(before) != len(grown):
        before = (0.0,) * len(grown)
    return tuple(max(-_MOST_LOG, min(_MOST_LOG, one + more)) for one, more in zip(before, grown, strict=True))


def _verdict(finding: _Finding, convicts: float, least: int, *, clean: bool) -> Verdict:
    evidence = sum(map(math.exp, finding.log_bets)) / len(finding.log_bets)
    outcome: Outcome = "pass"
    reason = ""
    if evidence >= convicts:
        outcome = "fail"
    elif finding.requests < least or not clean:
        outcome, reason = "unknown", "low-data"
    elif finding.suspended:
        outcome, reason = "unknown", "stable-too"
    elif evidence >= SUSPICION:
        outcome, reason = "unknown", "suspect"
    elif finding.check != "traffic" and finding.value > finding.limit:
        outcome, reason = "unknown", "above-limit"
    return Verdict(
        check=finding.check,
        outcome=outcome,
        reason=reason,
        value=round(finding.value, 8),
        limit=round(finding.limit, 8),
        bad=finding.bad,
        requests=finding.requests,
        stable=None if finding.stable is None else round(finding.stable, 8),
        evidence=float(f"{min(evidence, 1e200):.4g}"),
        convicts=convicts,
        message=_sentence(finding, outcome, reason, evidence, convicts, least if clean else None),
    )


def _sentence(
    finding: _Finding, outcome: Outcome, reason: str, evidence: float, convicts: float, least: int | None
) -> str:
    share = f"{finding.bad:,} of {finding.requests:,} requests {finding.what} ({finding.value:.2%})"
    if finding.check == "traffic":
        held = f"its weight is {finding.limit:.0%}"
    elif finding.stable is None:
        held = f"the limit is {format_share(round(finding.limit, 6))}"
    else:
        held = f"stable's {finding.stable:.2%} allows {finding.limit:.2%}"
    head = f"{finding.check}: {share}, {held}"
    if outcome == "fail":
        return f"{head}; by chance at most once in {min(evidence, 1e12):,.0f} (rolls back at {convicts:,.0f})"
    if reason == "stable-too":
        return f"{head}; stable breaks it too, so nothing is held against the canary and nothing advances"
    if reason == "low-data" and least is None:
        return f"{head}; not counted for passing, it began before the weight was seen everywhere"
    if reason == "low-data":
        return f"{head}; waiting for {least:,} requests at this weight"
    if reason:
        return f"{head}; not proven yet, evidence {evidence:,.1f} of {convicts:,.0f}"
    return head


def _bound(milliseconds: float) -> str:
    if milliseconds < 1:
        return f"{milliseconds:g}ms"
    return format_duration(timedelta(milliseconds=milliseconds))
