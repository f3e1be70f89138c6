"""A release of the past, judged again: what this judge would have said about it, and when.

The weights are not known any more; they are inferred from how the requests were split. Here: finding the release in
the blocks, its weights, and one look after another at them. Releases that never were are rehearsal.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log
from typing import Literal

from rollout.core.counts import Counts, Tally, plus
from rollout.core.judging import judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import Evidence, Interval, blame, failed, next_step
from rollout.core.judging.past import Block
from rollout.core.policy import PolicySpec

_SWITCH = 8.0
"""Log-likelihood that a change of the weight must explain: so little traffic does not look like many changes."""
_MOST = 20.0
"""The most that one block says about its weight: a burst is no change."""
_ALMOST = 0.002
"""Requests that arrive although the weight is 0 or 100: those under way, and proxies that learn late."""
LEAD = 10
"""Intervals before a release in which requests without a version are counted, that are lost anyway."""
Kind = Literal["guilty", "alarm", "suspect", "proven", "open"]


@dataclass(frozen=True, slots=True)
class Turn:
    """The judge changed its mind. Times in Unix seconds."""

    at: float
    step: int
    weight: int
    kind: Kind
    check: str
    evidence: float
    convicts: float


@dataclass(frozen=True, slots=True)
class Stay:
    """One weight for a while, as it was inferred."""

    weight: int
    since: float
    until: float
    counted: Tally
    evidence: float
    """The most there was, over all checks."""
    proven_at: float | None
    kind: Kind
    """What was thought at its end."""


@dataclass(frozen=True, slots=True)
class Review:
    """One release of the past."""

    since: float
    until: float
    stays: tuple[Stay, ...]
    turns: tuple[Turn, ...]
    convicted: Turn | None
    """The first time the judge would have rolled back; None if never."""
    saved: int
    """Failed requests of the canary after that, beyond those that stable's rate explains."""
    finished: bool
    """Whether it reached the last weight and was there at the end."""


def weights_of(blocks: Sequence[Block], steps: Sequence[int]) -> list[int]:
    """The likeliest weight (percent) of the canary in each block, among 0 and the policy's steps.

    The requests of a block are binomial in the weight; the path that explains all blocks best, where every change of
    the weight costs something, is found by dynamic programming (Viterbi). Blocks without a request go with the rest.
    """
    if not blocks:
        return []
    states = (0, *steps)
    costs = [0.0] * len(states)
    came_from: list[list[int]] = []
    for block in blocks:
        best = min(range(len(states)), key=costs.__getitem__)
        origin = [state if costs[state] <= costs[best] + _SWITCH else best for state in range(len(states))]
        costs = [costs[source] + (0.0 if source == state else _SWITCH) for state, source in enumerate(origin)]
        surprise = _surprises(block, states)
        least = min(surprise)
        costs = [cost + min(_MOST, one - least) for cost, one in zip(costs, surprise, strict=True)]
        came_from.append(origin)
    state = min(range(len(states)), key=costs.__getitem__)
    path = []
    for origin in reversed(came_from):
        path.append(states[state])
        state = origin[state]
    return path[::-1]


def _surprises(block: Block, states: Sequence[int]) -> list[float]:
    canary, stable = block.groups.get("canary"), block.groups.get("stable")
    mine = canary.requests + canary.disconnects if canary else 0
    others = stable.requests + stable.disconnects if stable else 0
    shares = (min(1 - _ALMOST, max(_ALMOST, state / 100)) for state in states)
    return [-mine * log(share) - others * log(1 - share) for share in shares]


def releases(weights: Sequence[int]) -> list[range]:
    """The blocks of each release: from the first weight above 0 to the last before it is 0 again."""
    found, began = [], None
    for index, weight in enumerate((*weights, 0)):
        if weight and began is None:
            began = index
        elif not weight and began is not None:
            found.append(range(began, index))
            began = None
    return found


def usual_losses(blocks: Sequence[Block]) -> float:
    """Requests per second that are lost before any version, in the last blocks before a release."""
    last = blocks[-LEAD:]
    seconds = sum(block.end - block.start for block in last)
    lost = sum(block.groups["lost"].requests for block in last if "lost" in block.groups)
    return lost / seconds if seconds else 0.0


def review(
    policy: PolicySpec,
    learned: Learned,
    blocks: Sequence[Block],
    weights: Sequence[int],
    bounds: Sequence[float],
    losses: float = 0.0,
) -> Review:
    """Look at the blocks of one release, with the `weights` that each had; `losses` are usual, per second.

    History goes on whatever the judge says: after a conviction, and after an alarm at the last step, what really
    happened next is what is counted.
    """
    evidence = Evidence()
    turns: list[Turn] = []
    stays: list[Stay] = []
    convicted: Turn | None = None
    saved = 0.0
    steps = [step.weight for step in policy.steps]
    for index, (block, weight) in enumerate(zip(blocks, weights, strict=True)):
        first = index == 0 or weight != weights[index - 1]
        if first and index:
            evidence = next_step(evidence)
        tally = _without(block.tally(bounds), losses * (block.end - block.start))
        tally = blame(evidence, tally, weight)
        seconds = block.end - block.start
        interval = Interval(tally=tally, weight=weight, seconds=seconds, settling=first, straddles=first)
        evidence = judge.look(evidence, interval, policy, learned)
        found = judge.opinion(evidence, policy, learned, weight)
        if first:
            stays.append(Stay(weight, block.start, block.end, Tally(), 0.0, None, "open"))
        if first or (found.kind, found.check) != (turns[-1].kind, turns[-1].check):
            turns.append(
                Turn(block.end, steps.index(weight), weight, found.kind, found.check, found.evidence, found.convicts)
            )
        if convicted is not None:
            saved += _excess(tally)
        elif found.kind == "guilty":
            convicted = turns[-1]
        stay = stays[-1]
        stays[-1] = replace(
            stay,
            until=block.end,
            counted=plus(stay.counted, tally),
            evidence=max(stay.evidence, found.evidence),
            proven_at=block.end if stay.proven_at is None and found.kind == "proven" else stay.proven_at,
            kind=found.kind,
        )
    return Review(
        since=blocks[0].start,
        until=blocks[-1].end,
        stays=tuple(stays),
        turns=tuple(turns),
        convicted=convicted,
        saved=round(saved),
        finished=weights[-1] == steps[-1],
    )


def _without(tally: Tally, usual: float) -> Tally:
    return tally.model_copy(update={"lost": max(0, tally.lost - ceil(2 * usual))})


def _excess(tally: Tally) -> float:
    bad, n = failed(tally)
    stable: Counts = tally.stable
    return max(0.0, bad - n * (stable.errors / stable.requests if stable.requests else 0.0))
