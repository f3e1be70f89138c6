"""What goes to a terminal: text that cannot steer it, complaints on stderr, aligned columns, bars."""

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from math import floor, log

from rollout.cli.exits import ExitCode, Stop

_RUNNERS_COMMAND = re.compile(r"##(?=\[|vso\[)")


def printable(text: str) -> str:
    """`text` on one line, without control, format (bidi) or unpaired characters: a blank stands for each.

    Nor can it be a command to the CI system that reads it: GitHub's runner obeys `##[command]` anywhere in a line, and
    `::command::` at its beginning; Azure's obeys `##vso[command]`.
    """
    plain = "".join(char if char.isprintable() else " " for char in text)
    plain = _RUNNERS_COMMAND.sub("# #", plain)
    return plain.replace("::", ": :", 1) if plain.lstrip().startswith("::") else plain


def say(text: str) -> None:
    """One line on stdout, at once: a pipe reads it while we go on. `?` stands for what stdout has no character for."""
    encoding = sys.stdout.encoding or "utf-8"
    emit(printable(text).encode(encoding, "replace").decode(encoding))


def instruct(text: str) -> None:
    """One line on stdout that is meant for the CI system's runner: `::error::…`, everything in it escaped by then."""
    emit("".join(char if char.isprintable() else " " for char in _RUNNERS_COMMAND.sub("# #", text)))


def emit(text: str) -> None:
    """Text on stdout as it is: JSON and YAML, which are ASCII. Stop(OK) if its reader has seen enough (`| head`)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would flush once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Stop(ExitCode.OK) from None


def remark(text: str) -> None:
    """One line on stderr, at once. If nobody reads it, we go on: a release is not aborted for want of a listener."""
    with contextlib.suppress(BrokenPipeError):
        print(printable(text), file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """An error for the user, on stderr; further lines of `text` are what to do next."""
    for line in text.splitlines():
        remark(f"rollout: {line}")


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns, three blanks apart, as kubectl prints them."""
    cells = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def bar(percent: int, width: int = 20) -> str:
    """The canary's share as a bar; any share above 0 shows, any below 100 leaves room."""
    full = round(width * percent / 100)
    if 0 < percent < 100:
        full = min(max(full, 1), width - 1)
    return _cells(full, width)


def evidence_bar(evidence: float, convicts: float, width: int = 10) -> str:
    """Evidence against the canary on a log scale: empty up to 1, full from `convicts` on and never before."""
    if evidence >= convicts:
        return _cells(width, width)
    return _cells(min(width - 1, floor(width * log(max(1.0, evidence)) / log(convicts))), width)


def _cells(full: int, width: int) -> str:
    dark, light = ("█", "░") if _shows("█░") else ("#", "-")
    return dark * full + light * (width - full)


def _shows(text: str) -> bool:
    """Whether stdout has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
