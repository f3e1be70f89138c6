"""The end of a release as Markdown, for a job's summary page. Pure.

One row per step, after the check that failed. Every text is escaped with backslashes, which CommonMark
allows before any ASCII punctuation, so that a reason can be no link, image, tag or table cell of its own.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from rollout.cli.narrative import duration_of, is_unproven
from rollout.cli.outcome import Outcome, Result
from rollout.cli.terminal import printable
from rollout.cli.weighing import chance, weighed
from rollout.core.judging.verdicts import Verdict, odds
from rollout.core.quantities import format_duration, format_instant, format_share
from rollout.core.release import Release, Status, StepRecord

_SPECIAL = re.compile(r"([\\`*_\[\]<>#!|~@&$]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
"""What begins markup in GitHub's Markdown within a line: its links without brackets and its formulas as well."""
_SIGNS = {Result.PROMOTED: "✅", Result.RUNNING: "⏳", Result.SUPERSEDED: "⏭️", Result.UNKNOWN: "❔"}


def markdown(outcome: Outcome) -> str:
    """The outcome in a sentence, the failing check, the steps, then all checks folded away."""
    named = text(" ".join(part for part in (outcome.service, outcome.version) if part) or "rollout")
    blocks = [f"**{_SIGNS.get(outcome.result, '❌')} {named} · {outcome.result}**: {text(outcome.sentence)}"]
    release = outcome.release
    if release is None:
        return blocks[0] + "\n"
    status = release.status
    failed = [one for one in status.verdicts if one.outcome == "fail"]
    if failed:
        blocks.append(_checks(failed))
    if status.steps:
        blocks.append(table(_STEPS, [_step(release, index) for index in range(len(status.steps))]))
    if status.verdicts:
        blocks.append(
            f"<details><summary>All checks</summary>\n\n{_checks(_worst_first(status.verdicts))}\n\n</details>"
        )
    blocks.append(" · ".join(_facts(outcome, release)))
    return "\n\n".join(blocks) + "\n"


def text(said: str) -> str:
    """Words of others as nothing but words, on one line."""
    return _SPECIAL.sub(r"\\\1", printable(said)).strip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of GitHub's Markdown; the cells are Markdown already."""
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


_STEPS = ("step", "weight", "time", "canary requests", "errors", "evidence", "verdict")
_CHECKS = ("check", "verdict", "canary", "stable", "limit", "evidence", "in words")


def verdict_of(status: Status, index: int) -> str:
    """How a step was left: passed, passed without proof, or not."""
    record = status.steps[index]
    if record.until is None:
        return "under way" if status.cause is None and not status.phase.terminal else "stopped here"
    later = status.steps[index + 1].weight if index + 1 < len(status.steps) else None
    if later is None and status.cause is not None:
        return "stopped here"
    if later is not None and later < record.weight:
        return "went back"
    return "passed, unproven" if is_unproven(record) else "passed"


def lasted(record: StepRecord, status: Status) -> timedelta | None:
    """How long a step took, in whole seconds; None while it goes on."""
    until = record.until or status.finished_at
    return None if until is None else timedelta(seconds=round((until - record.since).total_seconds()))


def _step(release: Release, index: int) -> list[str]:
    status = release.status
    record, took = status.steps[index], lasted(status.steps[index], status)
    share = f" ({_share(record.canary_errors / record.canary_requests)})" if record.canary_errors else ""
    return [
        str(index + 1),
        f"{record.weight} %",
        f"{format_instant(record.since)[11:19]}Z, {format_duration(took) if took is not None else 'since then'}",
        f"{record.canary_requests:,}",
        f"{record.canary_errors:,}{share}" if record.canary_requests else "-",
        _evidence(status) if index == len(status.steps) - 1 else "-",
        verdict_of(status, index),
    ]


def _evidence(status: Status) -> str:
    """Of the whole release, as it stood last."""
    found = weighed(status)
    return text(chance(found)) if found is not None else "-"


def _checks(verdicts: Sequence[Verdict]) -> str:
    return table(_CHECKS, [_check(one) for one in verdicts])


def _check(verdict: Verdict) -> list[str]:
    counted = verdict.requests > 0 and verdict.value is not None
    weighs = f"{odds(verdict.evidence)} of {odds(verdict.convicts)}" if verdict.convicts > 1 else "-"
    return [
        text(verdict.check),
        verdict.outcome + (f" ({text(verdict.reason)})" if verdict.reason else ""),
        f"{verdict.bad:,} of {verdict.requests:,} ({_share(verdict.value or 0.0)})" if counted else "-",
        f"{verdict.stable_bad:,} of {verdict.stable_requests:,}" if verdict.stable_requests else "-",
        _share(verdict.limit) if counted and verdict.limit is not None else "-",
        weighs,
        text(verdict.message) or "-",
    ]


def _worst_first(verdicts: Sequence[Verdict]) -> list[Verdict]:
    order = ("fail", "unknown", "pass", "unmeasured")
    return sorted(verdicts, key=lambda one: order.index(one.outcome))


def _facts(outcome: Outcome, release: Release) -> Iterator[str]:
    yield f"release `{printable(release.name).replace('`', '')}` in `{printable(release.namespace).replace('`', '')}`"
    if release.status.stable is not None:
        yield f"against {text(release.status.stable)}"
    if (took := duration_of(release)) is not None:
        yield f"took {format_duration(took)}"
    yield f"weight {outcome.weight} %"
    if outcome.code is not None:
        yield f"exit code {int(outcome.code)}"


def _share(value: float) -> str:
    """Three digits that mean something."""
    return format_share(float(f"{value:.3g}")).replace("%", " %")
