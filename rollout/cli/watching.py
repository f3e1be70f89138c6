"""`rollout status --watch`: a live table on a terminal, one line per event everywhere else."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rollout.cli.choices import Output
from rollout.cli.narrative import changes, sentence, waits_for
from rollout.cli.session import Access
from rollout.cli.terminal import bar, emit, evidence_bar, printable, remark, say
from rollout.cli.views import age_of, document, encoded, one_line, step_of
from rollout.cli.weighing import threshold, weighed
from rollout.core.judging.verdicts import odds
from rollout.core.release import Release, Status
from rollout.ports import Outage, Refused

Look = Callable[[], Awaitable[Sequence[Release]]]
Show = Callable[[Sequence[Release]], None]
_WIDE = 140
"""Columns of a terminal on which every column and the sentence fit beside each other."""
_KINDS = {"guilty": "red", "alarm": "yellow", "suspect": "yellow", "proven": "green"}


async def watch(access: Access, look: Look, output: Output, *, to_the_end: bool) -> None:
    """Show what `look` finds, again and again; with `to_the_end` until all of it has ended, else until interrupted.

    A look comes in its own time: it waits for something new, or for a while.
    """
    outage = False
    with _screen(access, output) as show:
        while True:
            try:
                releases = await look()
            except Outage as error:
                if isinstance(error, Refused):
                    raise
                if not outage:
                    remark(f"{access.other_side} does not answer, still trying: {error}")
                outage = True
                await asyncio.sleep(access.between_looks)
            else:
                outage = False
                show(releases)
                if to_the_end and all(release.status.phase.terminal for release in releases):
                    return


@contextlib.contextmanager
def _screen(access: Access, output: Output) -> Iterator[Show]:
    if output is not Output.TABLE:
        yield _changed_objects(output)
    elif sys.stdout.isatty():
        console = Console()
        with Live(console=console, auto_refresh=False) as live:
            yield lambda releases: live.update(
                live_table(releases, access.clock.now(), console.size.width), refresh=True
            )
    else:
        yield _event_lines(access)


def _changed_objects(output: Output) -> Show:
    """One JSON line, or one YAML document, per change of a release."""
    seen: dict[tuple[str, str], Release] = {}

    def show(releases: Sequence[Release]) -> None:
        for release in releases:
            if seen.get(release.key) != release:
                seen[release.key] = release
                found = document(release)
                if output is Output.JSON:
                    emit(one_line(found))
                else:
                    emit(f"---\n{encoded(found, output)}")

    return show


def _event_lines(access: Access) -> Show:
    seen: dict[tuple[str, str], Release] = {}

    def show(releases: Sequence[Release]) -> None:
        now = f"{access.clock.now():%H:%M:%SZ}"
        for release in releases:
            for line in changes(seen.get(release.key), release, access.home):
                say(f"{now} {release.name} {line}")
            seen[release.key] = release

    return show


def live_table(releases: Sequence[Release], now: datetime, width: int = _WIDE) -> RenderableType:
    """What is on the terminal while a release goes on: the canary's share, the evidence, why it is where it is.

    On a narrow terminal the bars are shorter, the counts are left out, and the sentences stand below.
    """
    wide = width >= _WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("SERVICE", "VERSION", "PHASE", "TRAFFIC", "STEP", "EVIDENCE"):
        table.add_column(head, no_wrap=True, overflow="ellipsis")
    for head in ("REQUESTS", "FAILED", "AGE") if wide else ():
        table.add_column(head, no_wrap=True, justify="left" if head == "AGE" else "right")
    if wide:
        table.add_column("")
    sentences = []
    for release in releases:
        status, color = release.status, _color_of(release)
        said = sentence(release) if status.phase.terminal else waits_for(release, now)
        cells = [
            _plain(release.spec.service),
            _plain(release.spec.version),
            Text(status.phase.value, style=color),
            Text(f"{bar(status.weight, 20 if wide else 8)} {status.weight:3} %", style=color),
            Text(step_of(release)),
            _evidence(status, wide=wide),
        ]
        counts = [
            f"{sum(step.canary_requests for step in status.steps):,}",
            f"{sum(step.canary_errors for step in status.steps):,}",
            age_of(release, now),
        ]
        table.add_row(*cells, *counts, _plain(said)) if wide else table.add_row(*cells)
        sentences.append(_plain(f"{release.spec.service} {release.spec.version}: {said}"))
    return table if wide else Group(table, *sentences)


def _evidence(status: Status, *, wide: bool) -> Text:
    """Full where the canary is rolled back."""
    found = weighed(status)
    if found is None:
        return Text("-")
    shown = evidence_bar(found.evidence, found.convicts, 12 if wide else 8)
    number = odds(found.evidence) + (f" of {threshold(found.convicts)}" if wide else "")
    return Text(f"{shown} {number}", style=_KINDS.get(found.kind, "cyan"))


def _plain(text: str) -> Text:
    """User text is never markup."""
    return Text(printable(text))


def _color_of(release: Release) -> str:
    status = release.status
    if status.phase.value == "Promoted":
        return "green"
    if status.cause is not None:
        return "red"
    return "yellow" if status.paused or status.drift is not None or status.blind_since is not None else "cyan"
