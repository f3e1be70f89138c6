"""Stable's past out of Prometheus: long stretches read in pieces, cut into blocks, and what is learned from them.

Belongs here: how much is asked for at once, and in which order. Not here: how samples become blocks
(core/judging/past.py), what the blocks say (core/judging/clumps.py), how Prometheus is asked (the Metrics port).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import ceil, floor

from rollout.core.counts import Failing, Samples
from rollout.core.judging.clumps import Learned, learn
from rollout.core.judging.past import Block, blocks
from rollout.core.policy import PolicySpec
from rollout.core.route import Unavailable
from rollout.ports import Metrics, Subject

PATIENCE = timedelta(seconds=20)
"""How long a release waits for what can be learned of the past, before it goes on with less."""
_PIECE_S, _PIECE_BLOCKS = 300.0, 20
"""A piece is as long as the longer of these."""
_HALVINGS = 5
"""How often a piece is made smaller because there was no answer: it may have been too large, or too slow."""
_SLOWEST_MS = 10_000.0


@dataclass(slots=True)
class _Past:
    """Blocks of one subject, by number: block `n` is (n, n + 1] times `block_s` in Unix seconds."""

    metrics: Metrics
    subject: Subject
    failing: Failing
    block_s: float
    halvings: int = field(default=0, init=False)

    @property
    def most(self) -> int:
        """How many blocks are asked for at once now."""
        whole = max(_PIECE_BLOCKS, ceil(_PIECE_S / self.block_s))
        return max(1, whole >> self.halvings)

    def numbers(self, since: datetime, until: datetime) -> range:
        """The blocks that lie within this time as a whole."""
        return range(ceil(since.timestamp() / self.block_s), floor(until.timestamp() / self.block_s))

    async def earliest(self, wanted: range) -> list[Block] | Unavailable:
        """Some of the first of the wanted blocks; at least one."""
        return await self._read(lambda most: wanted[:most])

    async def latest(self, wanted: range) -> list[Block] | Unavailable:
        """Some of the last of the wanted blocks; at least one."""
        return await self._read(lambda most: wanted[-most:])

    async def exactly(self, wanted: range) -> list[Block] | Unavailable:
        """All of the wanted blocks."""
        found: list[Block] = []
        while len(found) < len(wanted):
            piece = await self.earliest(wanted[len(found) :])
            if isinstance(piece, Unavailable):
                return piece
            found += piece
        return found

    async def _read(self, some: Callable[[int], range]) -> list[Block] | Unavailable:
        while True:
            piece = some(self.most)
            samples = await self.metrics.samples(self.subject, self._edge_at(piece.start), self._edge_at(piece.stop))
            if isinstance(samples, Samples):
                # Half a million samples of a large mesh take a while to cut; releases go on meanwhile.
                return await asyncio.to_thread(self._cut, samples, piece)
            if self.halvings == _HALVINGS or len(piece) == 1:
                return samples
            self.halvings += 1

    def _cut(self, samples: Samples, piece: range) -> list[Block]:
        edges = [self._edge(number) for number in range(piece.start, piece.stop + 1)]
        return blocks(samples, self.subject.bounds_ms, edges, self.failing)

    def _edge(self, number: int) -> float:
        # Prometheus counts milliseconds: an edge between two of them would belong to no piece.
        return round(number * self.block_s, 3)

    def _edge_at(self, number: int) -> datetime:
        return datetime.fromtimestamp(self._edge(number), UTC)


async def stretch(
    metrics: Metrics,
    subject: Subject,
    since: datetime,
    until: datetime,
    *,
    block_s: float,
    failing: Failing,
    progress: Callable[[float], None] | None = None,
) -> list[Block] | Unavailable:
    """What happened in each block that lies whole in (since, until], oldest first; edges are multiples of `block_s`.

    `progress` hears which share is read, after every piece. A counter is followed from piece to piece as long as no gap
    in its samples is longer than the port's look back.
    """
    past = _Past(metrics, subject, failing, block_s)
    wanted = past.numbers(since, until)
    found: list[Block] = []
    while len(found) < len(wanted):
        piece = await past.earliest(wanted[len(found) :])
        if isinstance(piece, Unavailable):
            return piece
        found += piece
        if progress is not None:
            progress(len(found) / len(wanted))
    return found


async def learn_past(
    metrics: Metrics, subject: Subject, policy: PolicySpec, until: datetime, *, patience: timedelta = PATIENCE
) -> Learned | Unavailable:
    """What stable's past before `until` says, as far back as the policy wishes and patience allows; the newest first.

    The whole is counted as the policy's reporters see it, stable's pods as their own sidecars do, where they report.
    """
    asked = replace(subject, bounds_ms=bounds_to_learn(policy))
    newest = _Newest(_Past(metrics, asked, policy.checks.errors.failing(), policy.block_s))
    wanted = newest.past.numbers(until - policy.judge.learn, until)
    trouble: Unavailable | None = None
    try:
        async with asyncio.timeout(patience.total_seconds()):
            trouble = await newest.read(wanted)
    except TimeoutError:
        trouble = Unavailable(f"stable's past could not be read within {patience.total_seconds():g} s")
    if trouble is not None and not newest.whole:
        return trouble
    return await asyncio.to_thread(learn, newest.whole, asked.bounds_ms, newest.by_pod())


def bounds_to_learn(policy: PolicySpec) -> tuple[float, ...]:
    """The latency bounds (ms, ascending) that may be judged: those named, or else all of the mesh up to 10 s."""
    named = policy.named_bounds_ms()
    if policy.checks.latency.compare is not None:
        return named
    return tuple(sorted({*named, *(bound for bound in policy.metrics.buckets if bound <= _SLOWEST_MS)}))


@dataclass(slots=True)
class _Newest:
    """The newest of the wanted blocks, as far as they are read; an interruption loses at most a piece."""

    past: _Past
    whole: list[Block] = field(default_factory=list)
    pods: list[Block] = field(default_factory=list)
    """The newest of `whole`, by the pods' own count."""

    async def read(self, wanted: range) -> Unavailable | None:
        """Read on towards the oldest; why it ended before that."""
        policy = self.past.subject.policy
        by_pods = policy.model_copy(update={"reporters": ("destination",)})
        own: _Past | None = replace(self.past, subject=replace(self.past.subject, policy=by_pods))
        while len(self.whole) < len(wanted):
            left = wanted[: len(wanted) - len(self.whole)]
            piece = await self.past.latest(left)
            if isinstance(piece, Unavailable):
                return piece
            self.whole = [*piece, *self.whole]
            if own is None:
                continue
            seen = piece if by_pods == policy else await own.exactly(left[-len(piece) :])
            if isinstance(seen, Unavailable):
                own = None
                continue
            self.pods = [*seen, *self.pods]
        return None

    def by_pod(self) -> Sequence[Block]:
        """As many blocks as `whole`: where the pods' own count was not read, nobody did anything."""
        missing = self.whole[: len(self.whole) - len(self.pods)]
        return [*(Block(block.start, block.end) for block in missing), *self.pods]
