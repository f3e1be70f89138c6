"""A stretch of the past, cut into blocks: what each version, and each pod of one, did in each of them.

Long histories come in pieces (`Samples` of a few minutes each); every piece is cut here and then forgotten, so that an
hour of a large mesh never has to fit into memory at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from rollout.core.counts import (
    SERVER_FAILURES,
    Counts,
    Failing,
    Group,
    Instance,
    Points,
    Samples,
    Slow,
    Tally,
    kind_of,
)


class Cell(NamedTuple):
    """Requests of one version, or of one pod, in one block."""

    requests: int = 0
    errors: int = 0
    disconnects: int = 0
    timed: int = 0
    """Requests in the latency histogram."""
    slow: tuple[int, ...] = ()
    """Of these, slower than each of the bounds."""


@dataclass(frozen=True, slots=True)
class Block:
    """(start, end] in Unix seconds."""

    start: float
    end: float
    groups: Mapping[Group, Cell] = field(default_factory=dict)
    """Every group that did anything."""
    pods: Mapping[Instance, Cell] = field(default_factory=dict)
    """Stable's requests by the target that counted them: its pods, where the destination reports."""

    def tally(self, bounds: Sequence[float]) -> Tally:
        """The same as the judge counts an interval."""
        lost = self.groups.get("lost", Cell())
        return Tally(
            stable=_counts(self.groups.get("stable", Cell()), bounds),
            canary=_counts(self.groups.get("canary", Cell()), bounds),
            lost=lost.requests,
        )


def blocks(
    samples: Samples, bounds: Sequence[float], edges: Sequence[float], failing: Failing = SERVER_FAILURES
) -> list[Block]:
    """What happened between each two neighbouring `edges` (Unix seconds, ascending); `bounds` in milliseconds.

    Counting is `counts.increase`'s, in one pass over all blocks. A bound that no histogram here has counts as never
    exceeded; all histograms of a mesh have the same (Istio: `statsHistogramBuckets`).
    """
    wanted = tuple(bounds)
    size = len(edges) - 1
    present = {series.le for series in samples.series}
    known = tuple(bound in present for bound in wanted)
    groups: dict[Group, list[list[float]]] = {}
    pods: dict[Instance, list[list[float]]] = {}
    for series in samples.series:
        rises = rises_of(series.points, edges, samples.ups.get(series.instance))
        column = _column(series.le, kind_of(series, failing) if series.le is None else "", wanted)
        if column is None:
            continue
        rows = [groups.setdefault(series.group, [[0.0] * (4 + len(wanted)) for _ in range(size)])]
        if series.group == "stable":
            rows.append(pods.setdefault(series.instance, [[0.0] * (4 + len(wanted)) for _ in range(size)]))
        for table in rows:
            for row, rise in zip(table, rises, strict=True):
                row[column] += rise
    return [
        Block(
            start=edges[index],
            end=edges[index + 1],
            groups={name: cell for name, table in groups.items() if (cell := _cell(table[index], known)) is not None},
            pods={name: cell for name, table in pods.items() if (cell := _cell(table[index], known)) is not None},
        )
        for index in range(size)
    ]


def rises_of(points: Points, edges: Sequence[float], up: Points | None) -> list[float]:
    """How much a counter rose in each block, as `counts.increase` counts it over all of them."""
    rises = [0.0] * (len(edges) - 1)
    first, index = edges[0], 0
    last: float | None = None
    for when, value in points:
        if when <= first:
            last = value
            continue
        while index < len(rises) and when > edges[index + 1]:
            index += 1
        if index == len(rises):
            break
        if last is None:
            born = any(seen < when and alive == 1 for seen, alive in up or ())
            last = 0.0 if born else value
        rises[index] += value - last if value >= last else value
        last = value
    return rises


_ANSWERS, _ERRORS, _DISCONNECTS, _TIMED, _FIRST_BOUND = range(5)


def _column(le: float | None, kind: str, bounds: tuple[float, ...]) -> int | None:
    if le is None:
        return {"answers": _ANSWERS, "errors": _ERRORS, "disconnects": _DISCONNECTS}[kind]
    if le == inf:
        return _TIMED
    return _FIRST_BOUND + bounds.index(le) if le in bounds else None


def _cell(row: Sequence[float], known: tuple[bool, ...]) -> Cell | None:
    if not any(row):
        return None
    answers, errors, disconnects, timed, *within = (round(value) for value in row)
    return Cell(
        requests=answers + errors,
        errors=errors,
        disconnects=disconnects,
        timed=timed,
        slow=tuple(max(0, timed - count) if has else 0 for count, has in zip(within, known, strict=True)),
    )


def _counts(cell: Cell, bounds: Sequence[float]) -> Counts:
    return Counts(
        requests=cell.requests,
        errors=cell.errors,
        disconnects=cell.disconnects,
        timed=cell.timed,
        slow=tuple(
            Slow(bound=bound, requests=slow, timed=cell.timed) for bound, slow in zip(bounds, cell.slow, strict=False)
        ),
    )
