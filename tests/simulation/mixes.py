"""What differs from seed to seed besides the faults: the policy. And what must not: when work in threads is done."""

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from rollout.core.policy import PolicySpec
from tests import given

T = TypeVar("T")
CUSTOM = "custom carts"
"""The custom check that some policies have, as its reading is named."""


def drawn_policy(rng: random.Random) -> PolicySpec:
    """One that learns from the past, asks a question of its own, or hurries, now and then."""
    judge, checks = dict(given.JUDGE), {"minRequests": 20, "latency": {"compare": []}}
    if rng.random() < 0.2:
        judge["learn"] = "1m"
    if rng.random() < 0.2:
        judge |= {"early": True, "dwell": "6s"}
    if rng.random() < 0.3:
        checks["custom"] = [
            {
                "name": "carts",
                "query": 'carts{version="{{version}}"}',
                "max": 3,
                "failures": rng.choice((1, 2, 5)),
                "action": rng.choice(("rollback", "hold")),
                "noData": rng.choice(("hold", "pass", "fail")),
            }
        ]
    gates = []
    if rng.random() < 0.3:
        before = rng.choice(("start", 10, 30, 100, "promotion"))
        kind = rng.choice(("approval", "webhook", "job"))
        use = {} if kind == "approval" else {"use": "smoke"}
        fate = rng.choice(("rollback", "hold"))
        gates.append({"name": "gate", "before": before, "kind": kind, "timeout": "2m", "onFailure": fate, **use})
    return given.policy(judge=judge, checks=checks, gates=gates)


class InThisThread(ThreadPoolExecutor):
    """Work that is handed to a thread is done at once, or no seed would be the same world twice."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
