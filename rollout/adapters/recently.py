"""Answers that hold for a short while, of questions that many ask at once.

Belongs here: remembering them for as long as they hold, at most so many, and asking once for all who wait. Does not
belong here: what is asked, and how long it holds (`token_reviews.py`, `permissions.py`).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Final, Generic, TypeVar

from rollout.ports import Outage

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST_WAITING: Final = 64
"""Questions that are open at once. Whoever sends made-up tokens cannot make us ask more of the Kubernetes API."""


class Recently(Generic[K, V]):
    """The newest answers; those that were used longest ago go first.

    Args:
        most: how many are kept.
        now: seconds that only ever rise.
    """

    def __init__(self, most: int, now: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._now = now
        self._known: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._open: dict[K, asyncio.Future[V]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: K) -> V | None:
        """The answer, if it still holds."""
        until, value = self._known.get(key, (0.0, None))
        if value is None or self._now() >= until:
            self._known.pop(key, None)
            return None
        self._known.move_to_end(key)
        return value

    def put(self, key: K, value: V, seconds: float) -> None:
        """Remember it for so long; no time at all remembers nothing."""
        if seconds <= 0:
            return
        self._known[key] = (self._now() + seconds, value)
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    async def ask(self, key: K, question: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """The answer, known or asked for: `question` gives it and for how many seconds it holds.

        Of several who want the same answer the first one asks, and the others get what it gets, its failure too. Where
        the first one gives up, the next one asks. Raises Outage if too much is being asked already.
        """
        while True:
            known = self.get(key)
            if known is not None:
                return known
            waiting = self._open.get(key)
            if waiting is None:
                return await self._ask(key, question)
            await asyncio.wait({waiting})
            if not waiting.cancelled():
                return waiting.result()

    async def _ask(self, key: K, question: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        if len(self._open) >= MOST_WAITING:
            raise Outage("too many callers have to be looked up at once")
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._open[key] = answer
        try:
            value, seconds = await question()
        except Exception as error:
            answer.set_exception(error)
            # Looked at, so that nothing is said of a failure that nobody else waited for.
            answer.exception()
            raise
        else:
            self.put(key, value, seconds)
            answer.set_result(value)
            return value
        finally:
            del self._open[key]
            answer.cancel()
