"""How much one caller may ask: a bucket of requests each, and so many streams at once.

Belongs here: counting. Does not belong here: who the caller is (`doorway.py`), what is told to one who asked too much.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from rollout.api.problems import Problem

_MOST_CALLERS = 10_000
"""How many buckets are remembered; who asked longest ago is forgotten, and their bucket was full again by then."""


class Requests:
    """Token buckets, one per caller.

    Args:
        per_minute: how many tokens a bucket gains.
        burst: how many it holds.
        monotonic: seconds.
    """

    def __init__(self, per_minute: int, burst: int, monotonic: Callable[[], float]) -> None:
        self._per_second = per_minute / 60
        self._burst = float(burst)
        self._monotonic = monotonic
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, caller: Hashable) -> None:
        """Take a token. Raises Problem `limited`, saying when there is one again, if the bucket is empty."""
        now = self._monotonic()
        left, at = self._buckets.get(caller, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        allowed = left >= 1
        self._buckets[caller] = (left - allowed, now)
        self._buckets.move_to_end(caller)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        if not allowed:
            seconds = math.ceil((1 - left) / self._per_second)
            raise _limited(f"more than {self._per_second * 60:g} requests a minute; ask again in {seconds} s", seconds)


class Streams:
    """How many event streams and long polls each caller has open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[Hashable] = Counter()

    @contextmanager
    def opened(self, caller: Hashable) -> Iterator[None]:
        """Count one for as long as it lasts. Raises Problem `limited` if they have as many as they may."""
        self.check(caller)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def check(self, caller: Hashable) -> None:
        """Raise Problem `limited` if they have as many as they may."""
        if self._open[caller] >= self._most:
            raise _limited(f"{self._most} streams and long polls are open already", 1)

    def __len__(self) -> int:
        return self._open.total()


def _limited(detail: str, seconds: int) -> Problem:
    return Problem("limited", detail, headers={"retry-after": str(seconds)})
