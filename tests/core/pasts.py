"""Made-up histories: what stable, and perhaps a canary, did in block after block."""

import random
from collections.abc import Callable, Sequence

from rollout.core.judging.past import Block, Cell
from rollout.core.policy import PolicySpec
from rollout.core.replay.chance import binomial, poisson
from rollout.core.replay.rehearsal import History, added

BOUNDS = (10.0, 50.0, 100.0, 500.0)
SLOWER = (0.9, 0.3, 0.05, 0.001)
"""Shares of requests slower than each bound."""
BLOCK_S = 15.0
QUICK = PolicySpec.model_validate(
    {
        "steps": [{"weight": 20, "hold": "1m"}, {"weight": 50, "hold": "1m"}, {"weight": 100, "hold": "1m"}],
        "judge": {"learn": "10m", "warm_up": "15s"},
        "metrics": {"buckets": list(BOUNDS)},
    }
)
"""Three minutes from start to end."""


def dice(number: int) -> random.Random:
    return random.Random(f"seed/{number}")


def cell(rng: random.Random, requests: float, errors: float = 0.001, slower: Sequence[float] = SLOWER) -> Cell:
    """About so many requests, of which a share fails and shares are slower than `BOUNDS`."""
    n = poisson(rng, requests)
    slow, left, before = [], n, 1.0
    for share in slower:
        left = binomial(rng, left, share / before)
        slow.append(left)
        before = share
    return Cell(n, binomial(rng, n, errors), binomial(rng, n, 0.001), n, tuple(slow))


def block(index: int, **cells: Cell) -> Block:
    """Of the groups `stable`, `canary`, `lost`; block `index` ends 15 s after it starts."""
    groups = {name: one for name, one in cells.items() if one.requests}
    return Block(index * BLOCK_S, (index + 1) * BLOCK_S, groups, {})  # type: ignore[arg-type]  # names are groups


def by_pod(blocks: int, pods: int = 4, requests: float = 300.0, errors: float = 0.001, since: int = 40) -> History:
    """A quiet history of some pods."""
    rng = random.Random("by pod")
    found = []
    for index in range(blocks):
        each = {("pods", f"pod-{pod}"): cell(rng, requests / pods, errors) for pod in range(pods)}
        whole = {"stable": added(each.values(), len(BOUNDS))}
        found.append(Block(index * BLOCK_S, (index + 1) * BLOCK_S, whole, each))  # type: ignore[arg-type]
    return History(found, BOUNDS, by_pod=True, since=since * BLOCK_S)


def as_a_whole(blocks: int, make: Callable[[int], Cell], since: int = 40) -> History:
    """A history whose pods cannot be told apart."""
    return History([block(index, stable=make(index)) for index in range(blocks)], BOUNDS, False, since * BLOCK_S)
