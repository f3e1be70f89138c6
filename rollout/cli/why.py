"""`rollout why`: the evidence, and the one check that matters most, with everything needed to believe it. Pure.

How evidence is put into words and numbers for people is said here once; the tables of `status` borrow it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from rollout.cli.narrative import answer_of, outlook, sentence, waits_for
from rollout.cli.terminal import columns, evidence_bar
from rollout.cli.weighing import chance, threshold, weighed
from rollout.core.checks import Tolerance
from rollout.core.judging import gates, guard
from rollout.core.judging.evidence import AT_FULL_WEIGHT, FAIL_FAST
from rollout.core.judging.verdicts import Verdict, odds, shortened
from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_duration, format_instant, format_share
from rollout.core.release import Release, Status

Sort = Literal["stable", "limit", "past", "traffic", "gate", "hard limit", "full weight"]
"""What a check holds the canary against."""
_OUTCOMES = ("unmeasured", "pass", "unknown", "fail")
"""From the least telling to the most."""
_DOUBT = ("no-bucket", "no-data", "warming-up", "low-data", "unproven", "stable-too", "gate", "suspect")
"""Reasons of an unknown verdict, likewise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The check that decided, or is furthest from passing, and where its numbers come from."""

    verdict: Verdict
    weight: int
    since: datetime
    until: datetime
    query: str
    """PromQL; "" where no single query is behind it."""
    per_second: float
    """Requests of the canary in this step."""

    @property
    def decides_in(self) -> timedelta | None:
        """How long until the check decides, at the present rate of requests; None where that is not known."""
        needs = self.verdict.needs
        if needs is None or self.per_second <= 0:
            return None
        return timedelta(seconds=min(round(needs / self.per_second), 8_640_000))


def sort_of(check: str) -> Sort:
    """What a check of this name holds the canary against."""
    if check.startswith(("custom ", "saturation ")):
        return "gate"
    by_name: dict[str, Sort] = {"traffic": "traffic", FAIL_FAST: "hard limit", AT_FULL_WEIGHT: "full weight"}
    if check in by_name:
        return by_name[check]
    if check.endswith(" vs the past"):
        return "past"
    return "stable" if check.endswith(" vs stable") else "limit"


def unmeasured(status: Status) -> str:
    """What no series exists for: `overflow, memory`; "" if nothing lacks."""
    names = (one.check.removeprefix("saturation ") for one in status.verdicts if one.outcome == "unmeasured")
    return ", ".join(names)


def finding_of(release: Release, now: datetime) -> Finding | None:
    """The failing check, else the least certain one; None where nothing has been checked."""
    status = release.status
    if not status.verdicts or not status.steps:
        return None
    verdict = max(status.verdicts, key=_weight_of)
    step, window = status.steps[-1], status.window
    judged = window.judged_at if window is not None else None
    until = judged or step.until or status.finished_at or now
    lasted = (until - step.since).total_seconds()
    # The counts begin anew when a hand was on the route: with the stay, not with the step.
    seen = status.confirmed
    since = seen.at if seen is not None and seen.route.percent == step.weight else step.since
    return Finding(
        verdict=verdict,
        weight=step.weight,
        since=min(until, since),
        until=max(until, step.since),
        query=_query(status, verdict),
        per_second=step.canary_requests / lasted if lasted > 0 else 0.0,
    )


def explanation(release: Release, now: datetime) -> list[str]:
    """Why the release is where it is, for people."""
    status = release.status
    head = sentence(release) if status.phase.terminal else outlook(release, now)
    lines = [f"{release.name}: {head}"]
    found = finding_of(release, now)
    gates = [(f"gate {run.gate}", answer_of(run)) for run in status.gate_runs]
    if found is None:
        looked = "no check has looked at it" + ("" if status.phase.terminal else " yet")
        return [*lines, looked, *(f"{gate} {answer}" for gate, answer in gates)]
    facts = [*_weighing(status, found.verdict), *_facts(status, found)]
    if missing := unmeasured(status):
        facts.append(("not measured", missing))
    return [*lines, "", *columns(["", ""], [*facts, *gates])[1:]]


def explanation_object(release: Release, now: datetime) -> dict[str, Any]:
    """The same for scripts, with every check."""
    status, found, opinion = release.status, finding_of(release, now), weighed(release.status)
    answer: dict[str, Any] = {
        "id": release.name,
        "namespace": release.namespace,
        "phase": status.phase.value,
        "reason": status.reason,
        "message": sentence(release) if status.phase.terminal else waits_for(release, now),
    }
    if status.cause is not None:
        answer["cause"] = status.cause.wire()
    if status.gate_runs:
        answer["gates"] = [run.wire() for run in status.gate_runs]
    if opinion is not None:
        answer["evidence"] = shortened(opinion.evidence)
        answer["convicts"] = opinion.convicts
        answer["opinion"] = {"kind": opinion.kind, "check": opinion.check}
        answer["retreats"], answer["strikes"] = status.evidence.retreats, status.evidence.strikes
    if found is not None:
        answer["check"] = {
            **found.verdict.wire(),
            "weight": found.weight,
            "since": format_instant(found.since),
            "until": format_instant(found.until),
            "query": found.query,
        }
        if (wait := found.decides_in) is not None and _goes_on(status):
            answer["check"]["needsSeconds"] = wait.total_seconds()
        answer["checks"] = [verdict.wire() for verdict in status.verdicts]
    return answer


def _weight_of(verdict: Verdict) -> tuple[int, int, float]:
    doubt = _DOUBT.index(verdict.reason) if verdict.reason in _DOUBT else -1
    return _OUTCOMES.index(verdict.outcome), doubt, verdict.evidence


def _goes_on(status: Status) -> bool:
    return status.cause is None and not status.phase.terminal


def _weighing(status: Status, verdict: Verdict) -> list[tuple[str, str]]:
    """The evidence of the whole release, and what became of it."""
    found = weighed(status)
    if found is None:
        return []
    facts = [("evidence", f"{evidence_bar(found.evidence, found.convicts, 20)}  {chance(found)}")]
    told = {"suspect": ["suspect: nothing advances"], "alarm": ["alarm: the weight goes back, to have a control again"]}
    notes = told.get(found.kind, [])
    if found.evidence > 1 and verdict.outcome != "fail" and sort_of(verdict.check) in {"stable", "limit", "traffic"}:
        notes = [*notes, f"{odds(verdict.evidence)} of it from {verdict.check}"]
    if notes:
        facts.append(("", "; ".join(notes)))
    if retreats := status.evidence.retreats:
        strikes = f"{status.evidence.strikes} of {guard.STRIKES} strikes"
        facts.append(("retreats", f"{retreats} of at most {guard.MOST_RETREATS} from the last step; {strikes}"))
    return facts


def _facts(status: Status, found: Finding) -> list[tuple[str, str]]:
    verdict = found.verdict
    reason = f" ({verdict.reason})" if verdict.reason else ""
    facts = [("check", f"{verdict.check}: {verdict.outcome}{reason}")]
    if verdict.value is None or sort_of(verdict.check) in {"gate", "full weight"}:
        facts.append(("in words", verdict.message))
    else:
        facts += _counts(status, verdict)
    if sort_of(verdict.check) == "past":
        weighs = f"{odds(verdict.evidence)} of the {threshold(verdict.convicts)} at which the weight goes back"
        facts.append(("alarm", f"{evidence_bar(verdict.evidence, verdict.convicts, 20)}  {weighs}"))
    if sort_of(verdict.check) in {"gate", "hard limit"}:
        facts.append(("chance", "not known: a threshold, not a statistic"))
    if status.policy is not None and sort_of(verdict.check) == "stable" and verdict.value is not None:
        facts.append(("proof", _proof(verdict, status.policy)))
    if _goes_on(status) and (decides := _decides(found)):
        facts.append(("decides", decides))
    span = timedelta(seconds=round((found.until - found.since).total_seconds()))
    facts.append(
        ("window", f"{format_instant(found.since)} to {format_instant(found.until)} ({format_duration(span)})")
    )
    facts.append(("weight", f"{found.weight} %"))
    return [*facts, ("query", found.query)] if found.query else facts


def _query(status: Status, verdict: Verdict) -> str:
    """A custom check's own PromQL as the policy has it; saturation is read in several queries, none is its own."""
    if sort_of(verdict.check) != "gate":
        return status.query
    custom = status.policy.checks.custom if status.policy is not None else ()
    return next((check.query for check in custom if gates.custom_name(check) == verdict.check), "")


def _counts(status: Status, verdict: Verdict) -> list[tuple[str, str]]:
    """What both versions did, and what the canary may do."""
    what, value = _counted_as(verdict), verdict.value or 0.0
    facts = [("canary", f"{verdict.bad:,} of {verdict.requests:,} requests {what} ({_share(value)})")]
    if verdict.stable is not None:
        stable = f"{verdict.stable_bad:,} of {verdict.stable_requests:,} requests {what} ({_share(verdict.stable)})"
        facts.append(("stable", stable))
    if verdict.limit is not None:
        facts.append(("allowed", _share(verdict.limit) + _allowance(verdict, status.policy)))
    return facts


def _counted_as(verdict: Verdict) -> str:
    if verdict.check == "traffic":
        return "went to the canary"
    return "were too slow" if verdict.check.startswith("latency") else "failed"


def _allowance(verdict: Verdict, policy: PolicySpec | None) -> str:
    """Where the limit comes from."""
    if policy is None:
        return ""
    checks = policy.checks
    match sort_of(verdict.check):
        case "stable":
            over = checks.latency.over_stable if verdict.check.startswith("latency") else checks.errors.over_stable
            return f": {_tolerance(over)}"
        case "traffic":
            return f" expected, the odds up to {checks.traffic.tolerance:g} times more or less"
        case "past":
            return " by stable's own past: at this weight nothing is left to compare with"
        case "hard limit":
            return f" of {checks.errors.fail_fast.requests:,} requests or more"
        case _:
            return ", whatever stable does"


def _tolerance(over: Tolerance) -> str:
    return f"{over.ratio:g} times stable's rate + {format_share(over.margin)}"


def _proof(verdict: Verdict, policy: PolicySpec) -> str:
    proof = policy.judge.proof
    margin = _tolerance(proof.latency if verdict.check.startswith("latency") else proof.errors)
    if verdict.proof >= 1 / proof.risk:
        return f"proven not worse than the margin, {margin}; wrong at most once in {threshold(1 / proof.risk)}"
    return f"not yet: odds {odds(verdict.proof)} of {threshold(1 / proof.risk)} that it is within {margin}"


def _decides(found: Finding) -> str:
    """What is still needed for a decision, at the rates of this step."""
    verdict = found.verdict
    if verdict.needs is None:
        return "not in sight at these rates" if sort_of(verdict.check) == "stable" and verdict.requests else ""
    if verdict.needs == 0:
        return ""
    worse = (verdict.value or 0.0) > (verdict.limit or 0.0)
    aim = "if it goes on like this it is rolled back" if worse else "then it is proven"
    wait = "" if found.decides_in is None else f", {format_duration(found.decides_in)} at {found.per_second:.3g}/s"
    return f"after about {verdict.needs:,} more canary requests{wait}: {aim}"


def _share(value: float) -> str:
    """Three digits that mean something; close to 100 % as many as it takes not to say 100."""
    return format_share(round(float(f"{value:.3g}") if value < 0.9 else value, 6)).replace("%", " %")
