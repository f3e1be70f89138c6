"""What the API server last told about the objects of a collection: a list, kept up to date by a watch.

Belongs here: which collections are watched, since when nothing was heard of one, and when one is forgotten. Does not
belong here: what the objects mean. A collection is watched from the first question about it until nobody has asked for
five minutes. What was told is good for as long as its watch shows a sign of life at least every 25 seconds, for a
connection may die without a word; after that, and before the first list, an object is read from the server.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from rollout.adapters.cluster import Cluster, Expired, JsonObject
from rollout.ports import Conflict, NotFound, Outage, Refused

_WATCH_SECONDS = 20.0
FRESH_SECONDS = 25.0
"""How old what was told may be: a watch request ends, and so shows a sign of life, every 20 s."""
_IDLE_SECONDS = 300.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0

Trim = Callable[[JsonObject], JsonObject]


@dataclass
class _Copy:
    """One collection."""

    objects: dict[str, JsonObject] = field(default_factory=dict)
    heard_at: float = float("-inf")
    """When the server last said anything about it, on the loop's clock."""
    asked_at: float = 0.0
    task: asyncio.Task[None] | None = None


def without_bookkeeping(obj: JsonObject) -> JsonObject:
    """The object without its managed fields, which are half of it and say nothing to us."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


class Mirror:
    """Copies of collections; close it, or use it as a context manager.

    Args:
        cluster: where they are; stays open.
        trim: keeps of an object what is needed.
    """

    def __init__(self, cluster: Cluster, trim: Trim = without_bookkeeping) -> None:
        self._cluster = cluster
        self._trim = trim
        self._copies: dict[str, _Copy] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all watches."""
        tasks = [copy.task for copy in self._copies.values() if copy.task is not None]
        self._copies.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def get(self, collection: str, name: str) -> JsonObject:
        """The object as it was told last, or as the server holds it where nothing fresh is known.

        Raises NotFound, and what else `Cluster.get` raises.
        """
        copy = self._asked(collection)
        if copy is None:
            return await self._cluster.get(f"{collection}/{name}")
        if name not in copy.objects:
            raise NotFound(f"GET {collection}/{name}: not found, as its watch told")
        return copy.objects[name]

    async def list(self, collection: str) -> list[JsonObject]:
        """All objects as they were told last, or as the server holds them; raises what `Cluster.list` raises."""
        copy = self._asked(collection)
        return await self._cluster.list(collection) if copy is None else [*copy.objects.values()]

    def _asked(self, collection: str) -> _Copy | None:
        """The copy of a collection that is asked for and so kept up to date; None where nothing fresh is known."""
        now = asyncio.get_running_loop().time()
        copy = self._copies.setdefault(collection, _Copy())
        copy.asked_at = now
        if copy.task is None or copy.task.done():
            copy.task = asyncio.create_task(self._follow(collection, copy))
        return None if now - copy.heard_at > FRESH_SECONDS else copy

    async def _follow(self, collection: str, copy: _Copy) -> None:
        """List and watch until nobody asks any more; an error makes the copy old, and is found out by the reader."""
        loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
        while loop.time() - copy.asked_at < _IDLE_SECONDS:
            try:
                listing = await self._cluster.listing(collection)
                copy.objects = {obj["metadata"]["name"]: self._trim(obj) for obj in listing.items}
                copy.heard_at, revision = loop.time(), listing.revision
                while loop.time() - copy.asked_at < _IDLE_SECONDS:
                    revision = await self._watch(collection, copy, revision)
                    # Only a watch that lived: one that always fails would have everything listed again and again.
                    pause = _FIRST_PAUSE
            except (Expired, Outage, Refused, NotFound, Conflict):
                copy.heard_at = float("-inf")
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        copy.heard_at = float("-inf")
        copy.objects = {}

    async def _watch(self, collection: str, copy: _Copy, revision: str) -> str:
        """One watch request; the revision from which the next goes on."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        changes = self._cluster.watch(collection, resource_version=revision, timeout_s=_WATCH_SECONDS)
        async with contextlib.aclosing(changes):
            async for kind, obj in changes:
                copy.heard_at = loop.time()
                revision = obj["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    copy.objects.pop(obj["metadata"]["name"], None)
                elif kind != "BOOKMARK":
                    copy.objects[obj["metadata"]["name"]] = self._trim(obj)
        copy.heard_at = loop.time()
        if copy.heard_at - began < _FIRST_PAUSE:
            # A server that ends every watch at once must not be asked thousands of times a second.
            await asyncio.sleep(_FIRST_PAUSE)
        return revision
