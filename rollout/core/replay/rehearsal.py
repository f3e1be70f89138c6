"""Pseudo-releases over history: a split of stable plays canary against the rest, so that every rollback is a wrong one.

Here: who plays the canary, thinning to the weights, faults put in on purpose, and one release after another under the
rules of trial.py. What they add up to is `Outcome`; which tolerances follow from it is suggestions.py's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil, log, sqrt
from statistics import median
from typing import TypeVar

from rollout.core.counts import Counts, Instance, Slow, Tally
from rollout.core.judging import trial
from rollout.core.judging.clumps import Learned, learn
from rollout.core.judging.evidence import judged_bounds
from rollout.core.judging.past import Block, Cell
from rollout.core.judging.trial import Ended
from rollout.core.policy import PolicySpec
from rollout.core.replay.chance import Dice, binomial

K = TypeVar("K")
SPLITS = 4
"""Random splits per start, so that what was learned before a start is learned once."""
_Z = 1.959964
"""Of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is put into the canary's traffic on purpose, from its first request on."""

    errors: float = 0.0
    """Share of the good requests that fail as well."""
    latency: float = 0.0
    """How much longer each request takes: 0.25 for a quarter."""

    def __str__(self) -> str:
        return f"errors={self.errors * 100:g}%" if self.errors else f"latency=+{self.latency * 100:g}%"


HEALTHY = Fault()


@dataclass(frozen=True, slots=True)
class History:
    """What stable did, in blocks of the policy's interval."""

    blocks: Sequence[Block]
    """Ascending, without gaps, of equal length; the cells' `slow` stands for `bounds`."""
    bounds: tuple[float, ...]
    """Milliseconds, ascending."""
    by_pod: bool
    """Whether the blocks' `pods` are pods of stable, two or more."""
    since: float = 0.0
    """Unix seconds of the earliest start; what is before is only learned from."""


@dataclass(frozen=True, slots=True)
class Pseudo:
    """One pseudo-release and how it went."""

    start: float
    """Unix seconds."""
    ended: Ended
    requests: int = 0
    """The canary's."""
    failed: int = 0
    """Of these, failed only because of the fault."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Where and how often to rehearse: fixed before the first one, so that policies are compared on equal traffic."""

    history: History
    starts: tuple[int, ...]
    """Index of the block that each pseudo-release begins with, ascending."""
    most_seconds: float
    """How long each may take."""
    dice: Callable[[int], Dice]
    """A fresh source of randomness for each pseudo-release, the same for the same number."""
    past: dict[int, Learned] = field(default_factory=dict)
    """What was learned before each start, filled as it is needed; tolerances may differ from policy to policy, what is
    learned may not."""

    @property
    def apart(self) -> int:
        """How many of them fit into the history one after the other: no more are independent in time."""
        seconds = self.history.blocks[-1].end - self.history.blocks[self.starts[0]].start
        return max(1, int(seconds / self.most_seconds))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all pseudo-releases of one kind came to."""

    runs: int
    promoted: int
    rolled_back: dict[str, int]
    """How many were rolled back, by the check that did it; most first."""
    held: dict[str, int]
    """How many neither passed nor fell in their time, by what they waited for; most first."""
    to_promote: float | None
    """Median seconds from start to end; None without a promotion."""
    to_roll_back: tuple[float, float] | None
    """Median and 95th percentile of seconds to the rollback; None without one."""
    failed: float
    """Median of the requests that failed because of the fault, until the end."""
    hit: float
    """Median of the canary's requests, until the end."""

    @property
    def wrong(self) -> int:
        """How many were rolled back."""
        return sum(self.rolled_back.values())

    @property
    def rate(self) -> tuple[float, float, float]:
        """Share that was rolled back, with its 95 % interval."""
        return share_of(self.wrong, self.runs)


class TooShort(ValueError):  # noqa: N818 - an answer for the user, no programming error
    """The history has no room for the holds of a release. `needed` says how much time there must be."""

    def __init__(self, needed: timedelta) -> None:
        super().__init__(f"a release of this policy needs {needed} of history")
        self.needed = needed


def prepare(history: History, policy: PolicySpec, runs: int, dice: Callable[[int], Dice]) -> Rehearsal:
    """Spread `runs` starts evenly over the history. Raises TooShort if not one release fits."""
    holds = sum(step.hold.total_seconds() for step in policy.steps)
    # Time for a retreat, or for a suspicion to pass; where the history is short, promotion must at least be possible.
    most = holds + min(policy.deadlines.verdict.total_seconds(), holds / 2)
    interval = policy.interval.total_seconds()
    first = next((index for index, block in enumerate(history.blocks) if block.start >= history.since), None)
    there = 0 if first is None else len(history.blocks) - first
    if first is None or there * interval < holds:
        raise TooShort(timedelta(seconds=ceil(holds / interval) * interval))
    most = min(most, there * interval)
    room = max(0, there - ceil(most / interval))
    different = min(ceil(runs / SPLITS), room + 1)
    places = [first + room * place // max(1, different - 1) for place in range(different)]
    starts = sorted(places[number % different] for number in range(runs))
    return Rehearsal(history, tuple(starts), most, dice)


def rehearse(
    rehearsal: Rehearsal,
    policy: PolicySpec,
    fault: Fault = HEALTHY,
    *,
    only: Sequence[int] | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Pseudo]:
    """Every pseudo-release (or `only` those of these numbers) under this policy; the same traffic for the same number.

    `progress` is told the share that is done.
    """
    numbers = range(len(rehearsal.starts)) if only is None else only
    done = []
    for count, number in enumerate(numbers, start=1):
        done.append(_one(rehearsal, policy, fault, number))
        if progress is not None:
            progress(count / len(numbers))
    return done


def outcome(pseudos: Sequence[Pseudo]) -> Outcome:
    """Add them up."""
    by_check: dict[str, int] = {}
    by_reason: dict[str, int] = {}
    for one in pseudos:
        if one.ended.outcome == "rolled back":
            by_check[one.ended.check] = by_check.get(one.ended.check, 0) + 1
        elif one.ended.outcome == "held":
            reason = one.ended.check or "no time left"
            by_reason[reason] = by_reason.get(reason, 0) + 1
    back = sorted(one.ended.seconds for one in pseudos if one.ended.outcome == "rolled back")
    through = [one.ended.seconds for one in pseudos if one.ended.outcome == "promoted"]
    return Outcome(
        runs=len(pseudos),
        promoted=len(through),
        rolled_back=_most_first(by_check),
        held=_most_first(by_reason),
        to_promote=median(through) if through else None,
        to_roll_back=(median(back), back[ceil(0.95 * len(back)) - 1]) if back else None,
        failed=median(one.failed for one in pseudos),
        hit=median(one.requests for one in pseudos),
    )


def share_of(count: int, n: int) -> tuple[float, float, float]:
    """The share `count / n` and its 95 % interval (Wilson's, which is sound at 0 and at n)."""
    share, square = count / n, _Z * _Z
    center = (share + square / (2 * n)) / (1 + square / n)
    spread = _Z / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    low, high = max(0.0, center - spread), min(1.0, center + spread)
    return share, 0.0 if count == 0 else low, 1.0 if count == n else high


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def learned_before(history: History, policy: PolicySpec, index: int) -> Learned:
    """What the policy would have learned from stable before the block at `index`, or from what there is."""
    span = round(policy.judge.learn / policy.interval)
    past = together(
        history.blocks[max(0, index - span) : index], round(policy.block_s / policy.interval.total_seconds())
    )
    return learn(past, history.bounds, past if history.by_pod else ())


def together(blocks: Sequence[Block], size: int) -> list[Block]:
    """Each `size` blocks as one, the newest ones whole; an older rest is left out."""
    pieces = (blocks[first : first + size] for first in range(len(blocks) % size, len(blocks), size))
    return list(blocks) if size <= 1 else [_as_one(piece) for piece in pieces]


def added(cells: Iterable[Cell], bounds: int) -> Cell:
    """All of them as one, with so many `bounds`."""
    slow = [0] * bounds
    requests = errors = disconnects = timed = 0
    for cell in cells:
        requests += cell.requests
        errors += cell.errors
        disconnects += cell.disconnects
        timed += cell.timed
        for index, count in enumerate(cell.slow):
            slow[index] += count
    return Cell(requests, errors, disconnects, timed, tuple(slow))


def split(dice: Dice, cell: Cell, share: float) -> tuple[Cell, Cell]:
    """A random `share` of the requests of a cell, and the others."""
    errors = binomial(dice, cell.errors, share)
    good = binomial(dice, cell.requests - cell.errors, share)
    gone = binomial(dice, cell.disconnects, share)
    # Between each two bounds lie as many as are slower than the one and not than the other.
    above, edges = cell.timed, []
    for slow in (*cell.slow, 0):
        edges.append(binomial(dice, max(0, above - slow), share))
        above = min(above, slow)
    mine = sum(edges)
    slows, left = [], mine
    for edge in edges[:-1]:
        left -= edge
        slows.append(left)
    part = Cell(good + errors, errors, gone, mine, tuple(slows))
    rest = Cell(
        requests=cell.requests - part.requests,
        errors=cell.errors - errors,
        disconnects=cell.disconnects - gone,
        timed=cell.timed - mine,
        slow=tuple(max(0, whole - own) for whole, own in zip(cell.slow, slows, strict=True)),
    )
    return part, rest


def slowed(dice: Dice, cell: Cell, bounds: Sequence[float], by: float) -> Cell:
    """The cell if every request took 1 + `by` times as long; within a bucket they are taken to lie log-evenly.

    Those beyond the last bound stay there, where a histogram cannot tell them apart.
    """
    grown = list(cell.slow)
    above, lower = cell.timed, 0.0
    for index, (bound, slow) in enumerate(zip(bounds, cell.slow, strict=True)):
        left = max(0, above - slow)
        shares = [_beyond(lower, bound, one / (1 + by)) for one in bounds[index:]]
        before = 1.0
        for later, share in enumerate(shares, start=index):
            left = binomial(dice, left, share / before) if before > 0 else 0
            grown[later] += left
            before = share
        above, lower = min(above, slow), bound
    return cell._replace(slow=tuple(grown))


def _as_one(blocks: Sequence[Block]) -> Block:
    def total(tables: Sequence[Mapping[K, Cell]]) -> dict[K, Cell]:
        names = {name: None for table in tables for name in table}
        found = {name: [table[name] for table in tables if name in table] for name in names}
        return {name: added(cells, max(len(cell.slow) for cell in cells)) for name, cells in found.items()}

    return Block(
        start=blocks[0].start,
        end=blocks[-1].end,
        groups=total([block.groups for block in blocks]),
        pods=total([block.pods for block in blocks]),
    )


def _beyond(lower: float, upper: float, bound: float) -> float:
    """The share of a bucket's requests that took longer than `bound`."""
    if bound <= lower:
        return 1.0
    if bound >= upper:
        return 0.0
    return log(upper / bound) / log(upper / lower) if lower > 0 else 1 - bound / upper


def _one(rehearsal: Rehearsal, policy: PolicySpec, fault: Fault, number: int) -> Pseudo:
    history, start = rehearsal.history, rehearsal.starts[number]
    learned = rehearsal.past.get(start)
    if learned is None:
        learned = rehearsal.past[start] = learned_before(history, policy, start)
    traffic = _Traffic(history, start, judged_bounds(policy, learned), fault, rehearsal.dice(number))
    interval = policy.interval.total_seconds()
    ended = trial.run(
        policy,
        learned,
        lambda weight, since, _until: traffic.at(weight, round(since / interval)),
        most_seconds=rehearsal.most_seconds,
    )
    return Pseudo(history.blocks[start].start, ended, traffic.requests, traffic.failed)


class _Traffic:
    """What canary and stable of one pseudo-release get."""

    def __init__(self, history: History, start: int, bounds: tuple[float, ...], fault: Fault, dice: Dice) -> None:
        self._history = history
        self._start = start
        self._bounds = bounds
        self._places = tuple(history.bounds.index(bound) for bound in bounds if bound in history.bounds)
        self._fault = fault
        self._dice = dice
        self._plays: dict[Instance, bool] = {}
        self.requests = self.failed = 0

    def at(self, weight: int, number: int) -> Tally | None:
        index = self._start + number
        if index >= len(self._history.blocks):
            return None
        block = self._history.blocks[index]
        canary, stable = self._by_pod(block, weight) if self._history.by_pod else self._of_all(block, weight)
        if self._fault.errors:
            more = binomial(self._dice, canary.requests - canary.errors, self._fault.errors)
            canary = canary._replace(errors=canary.errors + more)
            self.failed += more
        if self._fault.latency:
            canary = slowed(self._dice, canary, self._history.bounds, self._fault.latency)
        self.requests += canary.requests
        return Tally(canary=self._counts(canary), stable=self._counts(stable))

    def _of_all(self, block: Block, weight: int) -> tuple[Cell, Cell]:
        return split(self._dice, self._sum([block.groups.get("stable", Cell())]), weight / 100)

    def _by_pod(self, block: Block, weight: int) -> tuple[Cell, Cell]:
        fresh = sorted(name for name in block.pods if name not in self._plays)
        for name in sorted(fresh, key=lambda _: self._dice.random()):
            # As many on either side as can be, and which has one more is chance.
            ahead = 2 * sum(self._plays.values()) - len(self._plays)
            self._plays[name] = ahead < 0 or (ahead == 0 and self._dice.random() < 0.5)
        mine = self._sum(cell for name, cell in block.pods.items() if self._plays[name])
        others = self._sum(cell for name, cell in block.pods.items() if not self._plays[name])
        if weight == 100:
            return (mine, self._sum([])) if mine.requests else self._of_all(block, weight)
        if not mine.requests or not others.requests:
            return self._of_all(block, weight)
        # As many of the one as the weight says beside the other; whoever has too many gives some up.
        ratio = weight / (100 - weight) * others.requests / mine.requests
        return (
            split(self._dice, mine, min(1.0, ratio))[0],
            split(self._dice, others, min(1.0, 1 / ratio))[0],
        )

    def _sum(self, cells: Iterable[Cell]) -> Cell:
        return added(cells, len(self._history.bounds))

    def _counts(self, cell: Cell) -> Counts:
        return Counts(
            requests=cell.requests,
            errors=cell.errors,
            disconnects=cell.disconnects,
            timed=cell.timed,
            slow=tuple(
                Slow(bound=self._history.bounds[place], requests=cell.slow[place], timed=cell.timed)
                for place in self._places
            ),
        )
