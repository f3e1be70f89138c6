"""`rollout why`: the one check that matters most, with everything needed to believe it. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollout.cli.narrative import sentence, waits_for
from rollout.cli.terminal import columns
from rollout.core.judge import Verdict
from rollout.core.quantities import format_duration, format_instant, format_share
from rollout.core.release import Release

_DOUBT = ("no-bucket", "no-data", "low-data", "above-limit", "suspect")
"""Reasons of an unknown verdict, from the least telling to the most."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The check that decided, or is furthest from passing, and where its numbers come from."""

    verdict: Verdict
    weight: int
    since: datetime
    until: datetime
    query: str


def finding_of(release: Release, now: datetime) -> Finding | None:
    """The failing check, else the least certain one; None where nothing has been checked."""
    status = release.status
    if not status.verdicts or not status.steps:
        return None
    verdict = max(status.verdicts, key=_weight_of)
    step, window = status.steps[-1], status.window
    judged = window.judged_at if window is not None else None
    until = judged or step.until or status.finished_at or now
    return Finding(
        verdict=verdict,
        weight=step.weight,
        since=min(until, window.clean_from or step.since) if window is not None else step.since,
        until=max(until, step.since),
        query=status.query,
    )


def explanation(release: Release, now: datetime) -> list[str]:
    """Why the release is where it is, for people."""
    status = release.status
    head = sentence(release) if status.phase.terminal else f"waits for {waits_for(release, now)}"
    lines = [f"{release.name}: {head}"]
    found = finding_of(release, now)
    if found is None:
        return [*lines, "no check has looked at it" + ("" if status.phase.terminal else " yet")]
    return [*lines, "", *columns(["", ""], _facts(found))[1:]]


def explanation_object(release: Release, now: datetime) -> dict[str, Any]:
    """The same for scripts."""
    status, found = release.status, finding_of(release, now)
    answer: dict[str, Any] = {
        "id": release.name,
        "namespace": release.namespace,
        "phase": status.phase.value,
        "reason": status.reason,
        "message": sentence(release) if status.phase.terminal else waits_for(release, now),
    }
    if status.cause is not None:
        answer["cause"] = status.cause.wire()
    if found is not None:
        answer["check"] = {
            **found.verdict.wire(),
            "weight": found.weight,
            "since": format_instant(found.since),
            "until": format_instant(found.until),
            "query": found.query,
        }
    return answer


def _weight_of(verdict: Verdict) -> tuple[int, int, float]:
    doubt = _DOUBT.index(verdict.reason) if verdict.reason in _DOUBT else -1
    return {"fail": 2, "unknown": 1}.get(verdict.outcome, 0), doubt, verdict.evidence


def _facts(found: Finding) -> list[tuple[str, str]]:
    verdict = found.verdict
    reason = f" ({verdict.reason})" if verdict.reason else ""
    facts = [("check", verdict.check), ("verdict", f"{verdict.outcome}{reason}")]
    if verdict.value is not None:
        facts.append(("value", _share(verdict.value)))
    if verdict.limit is not None:
        facts.append(("limit", _share(verdict.limit)))
    if verdict.stable is not None:
        facts.append(("stable", _share(verdict.stable)))
    facts.append(("requests", f"{verdict.requests:,}, of which {verdict.bad:,} {_counted_as(verdict)}"))
    span = timedelta(seconds=round((found.until - found.since).total_seconds()))
    facts.append(
        ("window", f"{format_instant(found.since)} to {format_instant(found.until)} ({format_duration(span)})")
    )
    facts.append(("weight", f"{found.weight} %"))
    if verdict.convicts:
        facts.append(("chance", _chance(verdict)))
    return [*facts, ("in words", verdict.message), ("query", found.query)]


def _counted_as(verdict: Verdict) -> str:
    if verdict.check == "traffic":
        return "went to the canary"
    return "were too slow" if verdict.check.startswith("latency") else "failed"


def _chance(verdict: Verdict) -> str:
    """The evidence as a betting sentence; see `core/judge.py` for why it is one."""
    needed = f"rolled back from once in {verdict.convicts:,.0f}"
    if verdict.evidence <= 1:
        return f"nothing speaks against the canary ({needed})"
    return f"a tolerable canary looks this bad at most once in {min(verdict.evidence, 1e12):,.0f} ({needed})"


def _share(value: float) -> str:
    return format_share(round(value, 6)).replace("%", " %")
