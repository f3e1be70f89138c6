"""How bad requests come in clumps, learned from stable's past: what keeps bursts and noise from looking like proof.

A retry storm, one broken connection or a slow disk makes many requests bad for one reason. Counted as independent they
are overwhelming evidence; divided by the size of their clumps they are what they are. Everything is learned from
stable alone and before the release, so it cannot depend on what it is used on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from pydantic import Field

from rollout.core.judging.past import Block, Cell
from rollout.core.quantities import Listed, Model

LONG = 4
"""Blocks that are put together to see slower noise."""
_FIRST_GUESS = 2.0
_GUESSES = 8.0
"""The first guess of the clump size, and how many observations it is worth."""
_NEIGHBOURS = 3
_LASTING = 4
"""Blocks after which an excess is no clump any more but an incident, which hits both versions."""
_KEPT, _KEPT_MEAN, _NOISE = 0.9, 0.623, 1.3
"""Of squared deviations the lowest 90 % are used, whose mean is 0.623 of all of a chi-square's; what is above 1.3 times
that is noise. So rare incidents do not count as noise."""
_AROUND = 12
"""Blocks before and after, whose median rate a block's is held against: longer than noise of a minute lasts."""
_MOST_NOISE = 1.0
"""A rate that varies by more than itself varies by incidents, which hit both versions, and not by noise."""
_TAIL = 2.0
"""Noise lasts, and its tail is long: what the log-normal noise of the benchmark needs (docs/judge.md)."""
_MEDIAN_BOUND = 0.5
_SLOWEST_MS = 10_000.0
_MOST_BOUNDS = 16
"""Bounds that are compared; of more, evenly chosen ones: neighbours tell the same, and the memory is bounded."""


class Habit(Model):
    """How one kind of bad request came in stable's past."""

    rate: float = Field(default=0.0, ge=0)
    """Typical share of bad requests: the median over blocks, or the mean where the median is 0."""
    clump: float = Field(default=_FIRST_GUESS, ge=1)
    """Variance over mean between the pods of one block."""
    noise: float = Field(default=0.0, ge=0)
    """Squared coefficient of variation of the rate, from block to block."""
    slow_noise: float = Field(default=0.0, ge=0)
    """The same for stretches of `LONG` blocks."""

    def dispersion(self, expected: float) -> float:
        """The clump size to divide counts by, where a block has `expected` bad requests of a version."""
        noise = max(self.noise, LONG * self.slow_noise)
        spread = 1.0 + _TAIL * noise * expected
        return spread if spread > self.clump else self.clump  # noqa: FURB136 - forty calls a look


class Learned(Model):
    """What stable's past says; small, and frozen when the release starts."""

    blocks: int = 0
    """How many blocks had traffic; 0 where nothing could be learned."""
    pods: int = 0
    """How many pods of stable could be told apart."""
    per_second: float = 0.0
    """Requests of stable per second, while it had any."""
    errors: Habit = Field(default_factory=Habit)
    bounds: Listed[float] = ()
    """Latency bounds worth comparing, in milliseconds: from the one above stable's median up to 10 s."""
    latency: Listed[Habit] = ()
    """One for each of `slow_at`."""
    slow_at: Listed[float] = ()
    """Every bound that something was learned about."""

    def habit_at(self, bound: float) -> Habit:
        """How slow requests come at this bound; the first guess where nothing was learned."""
        return self.latency[self.slow_at.index(bound)] if bound in self.slow_at else Habit()


@dataclass(frozen=True, slots=True)
class _Row:
    """One metric in one block: (requests, bad) of the whole version and of each pod."""

    n: int
    bad: int
    pods: tuple[tuple[int, int], ...]


def learn(past: Sequence[Block], bounds: Sequence[float], by_pod: Sequence[Block] = ()) -> Learned:
    """What stable's `past` says, in blocks of equal length; `by_pod` the same blocks as its own pods counted them.

    `bounds` (ms) are those that the cells' `slow` stand for. Without `by_pod`, or with one pod only, clumps are seen
    over time instead, where an excess that lasts longer than a block is taken for an incident.
    """
    cells = [block.groups.get("stable", Cell()) for block in past]
    pods: list[tuple[Cell, ...]] = [() for _ in past]
    names = sorted({name for block in by_pod for name in block.pods})
    if len(names) > 1 and len(by_pod) == len(past):
        pods = [tuple(block.pods.get(name, Cell()) for name in names) for block in by_pod]
    seen = [cell for cell in cells if cell.requests]
    if not seen:
        return Learned()
    seconds = sum(block.end - block.start for block, cell in zip(past, cells, strict=True) if cell.requests)
    errors = [
        _Row(cell.requests, cell.errors, tuple((pod.requests, pod.errors) for pod in each))
        for cell, each in zip(cells, pods, strict=True)
    ]
    habits = []
    for index in range(len(bounds)):
        rows = [
            _Row(cell.timed, _slow(cell, index), tuple((pod.timed, _slow(pod, index)) for pod in each))
            for cell, each in zip(cells, pods, strict=True)
        ]
        habits.append(_habit(rows))
    timed = sum(cell.timed for cell in cells)
    shares = [sum(_slow(cell, index) for cell in cells) / timed if timed else 0.0 for index in range(len(bounds))]
    worth = [
        bound
        for bound, share in zip(bounds, shares, strict=True)
        if timed and share <= _MEDIAN_BOUND and bound <= _SLOWEST_MS
    ]
    every = max(1, -(-len(worth) // _MOST_BOUNDS))
    return Learned(
        blocks=len(seen),
        pods=len(names) if any(pods) else 0,
        per_second=sum(cell.requests for cell in cells) / seconds if seconds else 0.0,
        errors=_habit(errors),
        bounds=tuple(worth[::every]),
        latency=tuple(habits),
        slow_at=tuple(bounds),
    )


def _slow(cell: Cell, index: int) -> int:
    return cell.slow[index] if index < len(cell.slow) else 0


def _habit(rows: Sequence[_Row]) -> Habit:
    used = [row for row in rows if row.n]
    if not used:
        return Habit()
    rate = median(row.bad / row.n for row in used)
    if rate == 0:
        rate = _trimmed_mean(used)
    clump = _between_pods(used, rate) if any(len(row.pods) > 1 for row in used) else _over_time(used, rate)
    return Habit(rate=rate, clump=clump, noise=_noise(used, _AROUND), slow_noise=_noise(_together(used), _AROUND // 2))


def _trimmed_mean(rows: Sequence[_Row]) -> float:
    """The rate where most blocks have no bad request at all; the worst twentieth is left out, as an incident may be."""
    kept = sorted(rows, key=lambda row: row.bad / row.n)[: max(1, round(len(rows) * 0.95))]
    return sum(row.bad for row in kept) / sum(row.n for row in kept)


def _between_pods(rows: Sequence[_Row], rate: float) -> float:
    """Variance over mean between pods of one block, where not several of them are out of the usual together."""
    above = below = 0.0
    for row in rows:
        n = sum(count for count, _ in row.pods)
        if not n or sum(bad > 3 * count * rate + 5 for count, bad in row.pods) >= 2:
            continue
        q = sum(bad for _, bad in row.pods) / n
        above += sum((bad - count * q) ** 2 for count, bad in row.pods)
        below += sum(count * q * (1 - count / n) for count, _ in row.pods)
    return _shrunk(above, below)


def _over_time(rows: Sequence[_Row], rate: float) -> float:
    """The same from block to block, for one pod; what is out of the usual for `_LASTING` blocks is an incident."""
    odd = [row.bad > 3 * row.n * rate + 5 for row in rows]
    mean = sum(row.bad for row in rows) / sum(row.n for row in rows)
    above = below = 0.0
    for begin, end in _runs(odd):
        for index in range(begin, end) if not odd[begin] or end - begin < _LASTING else ():
            row, first = rows[index], max(0, index - _NEIGHBOURS)
            near = [rows[one] for one in range(first, min(len(rows), index + 1 + _NEIGHBOURS)) if not odd[one]]
            expected = row.n * (median(one.bad / one.n for one in near if one is not row) if len(near) > 1 else 0)
            expected = expected or row.n * mean
            above += (row.bad - expected) ** 2
            below += expected * (1 + 1.5 / max(1, len(near)))
    # No clump has more bad requests than a block ever had.
    return min(_shrunk(above, below), max(_FIRST_GUESS, *(row.bad for row in rows)))


def _runs(odd: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Where stretches of equal values begin and end."""
    begin = 0
    for index in range(1, len(odd) + 1):
        if index == len(odd) or odd[index] != odd[begin]:
            yield begin, index
            begin = index


def _shrunk(above: float, below: float) -> float:
    return max(1.0, (_GUESSES * _FIRST_GUESS + above) / (_GUESSES + below))


def _noise(rows: Sequence[_Row], around: int) -> float:
    """Squared coefficient of variation of the rate against its surroundings; 0 where counts are too small to tell."""
    squares, means = [], []
    for index, row in enumerate(rows):
        near = [*rows[max(0, index - around) : index], *rows[index + 1 : index + 1 + around]]
        if len(near) < around:
            continue
        expected = row.n * median(other.bad / other.n for other in near)
        if expected > 0:
            squares.append((row.bad - expected) ** 2 / (expected * (1 + 1.5 / len(near))))
            means.append(expected)
    if not means or sum(means) / len(means) < 2:
        return 0.0
    kept = sorted(squares)[: max(1, round(len(squares) * _KEPT))]
    excess = sum(kept) / len(kept) / _KEPT_MEAN - _NOISE
    return min(_MOST_NOISE, max(0.0, excess) / (sum(means) / len(means)))


def _together(rows: Sequence[_Row]) -> list[_Row]:
    stretches = [rows[first : first + LONG] for first in range(0, len(rows) - LONG + 1, LONG)]
    return [_Row(sum(row.n for row in stretch), sum(row.bad for row in stretch), ()) for stretch in stretches]
