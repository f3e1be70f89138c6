"""How the demo looks: one live frame while it plays, one table when it is over. Reads, never decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rollout.core.judging import judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.verdicts import Verdict
from rollout.core.release import Phase, Release, Status
from rollout.sandbox.load_client import Counts
from rollout.sandbox.story import Chapter, Result
from rollout.telemetry import clean

_BAR = 40
_LEVELS = {"debug": "dim", "info": "", "warning": "yellow", "error": "bold red", "critical": "bold white on red"}
_PHASES = {Phase.PROMOTED: "green", Phase.ROLLED_BACK: "red", Phase.ABORTED: "yellow", Phase.FAILED: "red"}
_OUTCOMES = {"pass": "green", "fail": "bold red", "unknown": "yellow", "unmeasured": "dim"}
_KINDS = {"guilty": "bold red", "alarm": "yellow", "suspect": "yellow", "proven": "green"}
_CONVICTS_AT = 30
"""The cell of the evidence bar, of `_BAR`, behind which a canary is rolled back."""
_SMALL = 8
_MOST_EVENTS, _MOST_CHECKS = 8, 8
_SEEN_AS_BAR = "judge.looked"
"""Told after every scrape; here the bar shows it, and the log has room for what is news."""
_HIDDEN = {
    "ts",
    "level",
    "event",
    "release",
    "service",
    "namespace",
    "version",
    "phase",
    "step",
    "weight",
    "epoch",
    "id",
    "at",
}


@dataclass(slots=True)
class Scene:
    """What is on the screen now."""

    chapter: Chapter
    release: Release
    counts: Counts
    p99: Mapping[str, str] = field(default_factory=dict)
    """Per version, the histogram bucket that holds its 99th percentile."""
    events: Sequence[Mapping[str, Any]] = ()
    done: Sequence[Result] = ()
    lines: int = 40
    """Height of the terminal."""


def frame(scene: Scene) -> RenderableType:
    """The live picture."""
    release, status = scene.release, scene.release.status
    canary, stable = scene.chapter.version, status.stable or "?"
    step = f"step {status.step + 1}" if status.step is not None else "no step yet"
    head = Text.assemble(
        (f"{release.spec.service} {canary}", "bold"), f"  {scene.chapter.title}\n",
        (f"{status.phase}", _PHASES.get(status.phase, "cyan")), f"  {step}  ", (clean(status.message), "italic"),
    )  # fmt: skip
    parts: list[RenderableType] = [head, _weights(stable, canary, status.weight), _numbers(scene, (stable, canary))]
    if status.verdicts:
        parts += [_evidence(status), _verdicts(status.verdicts)]
    news = [event for event in scene.events if event.get("event") != _SEEN_AS_BAR]
    return Group(
        *(_line(result) for result in scene.done),
        Panel(Group(*parts), title="rollout demo", border_style="cyan"),
        Panel(Group(*(event_line(event) for event in news[-_room(scene) :])), title="controller log"),
    )


def _room(scene: Scene) -> int:
    """How many log lines fit below the rest, so that it is never the newest that are cut off."""
    wrapped = 2 * min(_MOST_CHECKS, len(scene.release.status.verdicts))
    return max(2, min(_MOST_EVENTS, scene.lines - 14 - wrapped - len(scene.done)))


def _weights(stable: str, canary: str, percent: int) -> RenderableType:
    filled = round(percent * _BAR / 100)
    return Text.assemble(
        f"{stable:>4} ", ("█" * (_BAR - filled), "blue"), ("█" * filled, "magenta"), f" {canary}  ",
        (f"{100 - percent} %", "blue"), " / ", (f"{percent} %", "magenta"),
    )  # fmt: skip


def _numbers(scene: Scene, versions: Sequence[str]) -> RenderableType:
    table = Table("version", "answers", "errors", "p99 within", box=None, pad_edge=False, header_style="dim")
    for version in versions:
        errors = scene.counts.failed(version)
        table.add_row(
            version,
            f"{scene.counts.of(version):,}",
            Text(f"{errors:,}", "red" if errors else ""),
            scene.p99.get(version, "-"),
        )
    return table


def _evidence(status: Status) -> RenderableType:
    """The evidence of the whole release, growing towards the mark at which it is rolled back."""
    if status.policy is None or status.order is None or not status.evidence.processes:
        return Text("evidence: nothing was counted yet", "dim")
    found = judge.opinion(status.evidence, status.policy, status.learned or Learned(), status.order.percent)
    full, style = grown(found.evidence, found.convicts), _KINDS.get(found.kind, "cyan")
    bar = "█" * full + "░" * (_BAR - full)
    said = f"1 in {min(found.evidence, 1e6):,.1f} by chance" if found.evidence > 1 else "none beyond chance"
    return Text.assemble(
        "evidence ", (bar[:_CONVICTS_AT], style), ("┃", "bold red"), (bar[_CONVICTS_AT:], style),
        f"  {said}, {found.kind}; rolls back at ┃ {found.convicts:,.0f}",
    )  # fmt: skip


def grown(evidence: float, convicts: float, at: int = _CONVICTS_AT, cells: int = _BAR) -> int:
    """How many cells of a bar are full, on a log scale; `at` of them say that the canary is rolled back."""
    full = int(at * log(max(1.0, evidence)) / log(convicts))
    return min(cells, max(full, at)) if evidence >= convicts else min(full, at - 1)


def _verdicts(verdicts: Sequence[Verdict]) -> RenderableType:
    """The checks, the worst first, each with its own share of the evidence."""
    table = Table(box=None, show_header=False, pad_edge=False)
    measured = sorted(
        (verdict for verdict in verdicts if verdict.outcome != "unmeasured"),
        key=lambda verdict: ("fail", "unknown", "pass").index(verdict.outcome),
    )
    for verdict in measured[:_MOST_CHECKS]:
        small = ""
        if verdict.convicts > 1:
            full = grown(verdict.evidence, verdict.convicts, _SMALL, _SMALL)
            small = "█" * full + "░" * (_SMALL - full)
        table.add_row(
            Text(verdict.outcome, _OUTCOMES[verdict.outcome]),
            Text(small, _OUTCOMES[verdict.outcome]),
            Text(clean(verdict.message), overflow="fold"),
        )
    left_out = len(measured) - _MOST_CHECKS
    missing = [verdict.check.removeprefix("saturation ") for verdict in verdicts if verdict.outcome == "unmeasured"]
    rest = [f"and {left_out} more checks"] if left_out > 0 else []
    rest += [f"not measured: {', '.join(missing)}"] if missing else []
    return Group(table, Text(clean("; ".join(rest)), "dim")) if rest else table


def event_line(event: Mapping[str, Any]) -> Text:
    """One log line for people: time, event, weight, and what is special about it."""
    special = " ".join(f"{name}={value}" for name, value in event.items() if name not in _HIDDEN and value is not None)
    style = _LEVELS.get(str(event.get("level")), "")
    weight = event.get("weight")
    at = str(event.get("ts", ""))[11:23]
    text = f"{at} {event.get('event')} {weight if weight is not None else '-'}% {special}"
    return Text(clean(text), style, no_wrap=True, overflow="ellipsis")


def _line(result: Result) -> Text:
    status = result.release.status
    mark = ("✓ ", "green") if result.as_told else ("✗ ", "bold red")
    return Text.assemble(mark, f"{result.chapter.version} {status.phase}: {clean(status.message)}", overflow="ellipsis")


def summary(results: Sequence[Result]) -> RenderableType:
    """The table at the end of the story: the numbers, then the reasons, so that neither squeezes the other."""
    numbers = Table(
        "release", "outcome", "seconds per step", box=SIMPLE_HEAD, title="What happened", title_justify="left"
    )
    for name in ("canary requests", "of them failed", "first bad answer (or abort) to all back"):
        numbers.add_column(name, justify="right")
    reasons = Table("release", "what it was", "reason", box=SIMPLE_HEAD)
    for result in results:
        status, version = result.release.status, result.chapter.version
        steps = [
            f"{step.weight}%: {(step.until - step.since).total_seconds():.1f}" for step in status.steps if step.until
        ]
        numbers.add_row(
            version,
            Text(f"{status.phase}{'' if result.as_told else ' (unexpected)'}", _PHASES[status.phase]),
            "  ".join(steps) or "-",
            f"{result.requests:,}",
            f"{result.failed:,}",
            f"{result.back_s:.1f} s" if result.back_s is not None else "-",
        )
        reasons.add_row(version, result.chapter.title, clean(status.message))
    return Group(numbers, reasons)
