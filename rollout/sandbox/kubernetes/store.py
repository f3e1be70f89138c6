"""What the sandbox's API remembers: objects, one global revision, and the recent changes watches replay.

Belongs here: storing and telling. Does not belong here: what an object must look like (`registry.py`), HTTP.
Everything runs on one event loop and nothing here awaits, so every call is atomic.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rollout.sandbox.kubernetes.refusals import expired
from rollout.sandbox.kubernetes.resources import JsonObject, Resource

HISTORY_LENGTH: Final = 2048
"""Changes remembered per resource; an older watch gets 410 Expired."""

_SUBSCRIPTION_LIMIT: Final = 8192


class ChangeType(StrEnum):
    """The types of watch events that carry a change."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `previous` is the object before it, if there was one."""

    revision: int
    type: ChangeType
    obj: JsonObject
    previous: JsonObject | None


class Subscription:
    """Changes of one resource, in order, from a revision on, until someone closes it."""

    def __init__(self, backlog: Iterator[Change]) -> None:
        self._changes = deque(backlog)
        self._news = asyncio.Event()
        self.closed = False

    def tell(self, change: Change) -> None:
        """Queue a change. A reader that is too slow is cut off, as the real watch cache does."""
        if len(self._changes) >= _SUBSCRIPTION_LIMIT:
            self.close()
        if not self.closed:
            self._changes.append(change)
            self._news.set()

    def close(self) -> None:
        """End it; what is queued can still be read."""
        self.closed = True
        self._news.set()

    @property
    def idle(self) -> bool:
        """Everything told so far has been read."""
        return not self._changes

    async def next(self, seconds: float) -> Change | None:
        """The next change, or None when none came within `seconds` or the subscription is closed."""
        if not self._changes and not self.closed:
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return None
        return self._changes.popleft() if self._changes else None


class _Shelf:
    """The objects of one resource and their recent changes."""

    def __init__(self, revision: int) -> None:
        self.objects: dict[tuple[str, str], JsonObject] = {}
        self.history: deque[Change] = deque()
        self.forgotten = revision
        self.subscriptions: set[Subscription] = set()


class Store:
    """Objects by resource, namespace and name; cluster-scoped objects have namespace `""`.

    Objects handed out are shared: treat them as frozen. `first_revision` should be larger than any revision of
    an earlier life on the same address, so that old watchers get 410 instead of silence.

    Attributes:
        revision: of the last write.
        compacted: nothing before this revision is remembered for anyone.
    """

    def __init__(self, first_revision: int = 1) -> None:
        self.compacted = first_revision
        self.revision = first_revision
        self._shelves: dict[str, _Shelf] = {}

    def _shelf(self, resource: Resource) -> _Shelf:
        if resource.key not in self._shelves:
            self._shelves[resource.key] = _Shelf(self.compacted)
        return self._shelves[resource.key]

    def get(self, resource: Resource, namespace: str, name: str) -> JsonObject | None:
        """One object."""
        return self._shelf(resource).objects.get((namespace, name))

    def list(self, resource: Resource, namespace: str = "") -> list[JsonObject]:
        """The objects of a namespace, or of all with `""`, sorted by namespace and name."""
        objects = self._shelf(resource).objects
        return [objects[key] for key in sorted(objects) if not namespace or key[0] == namespace]

    def put(self, resource: Resource, obj: JsonObject) -> JsonObject:
        """Write an object and tell watchers.

        Returns:
            The stored object: a copy of `obj`, one level deep, with its new `metadata.resourceVersion`.
        """
        shelf, key = self._shelf(resource), _key(obj)
        previous = shelf.objects.get(key)
        stored = self._stamped(obj)
        shelf.objects[key] = stored
        kind = ChangeType.ADDED if previous is None else ChangeType.MODIFIED
        self._publish(shelf, Change(self.revision, kind, stored, previous))
        return stored

    def remove(self, resource: Resource, obj: JsonObject) -> JsonObject:
        """Delete an object; watchers see its last state with the revision of the deletion."""
        shelf, key = self._shelf(resource), _key(obj)
        previous = shelf.objects.pop(key)
        last = self._stamped(obj)
        self._publish(shelf, Change(self.revision, ChangeType.DELETED, last, previous))
        return last

    def subscribe(self, resource: Resource, since: int) -> Subscription:
        """All changes after revision `since`; close it when done.

        Raises:
            Refused: 410, that far back is forgotten.
        """
        shelf = self._shelf(resource)
        if since < shelf.forgotten:
            raise expired(f"too old resource version: {since} ({shelf.forgotten})")
        subscription = Subscription(change for change in shelf.history if change.revision > since)
        shelf.subscriptions = {one for one in shelf.subscriptions if not one.closed}
        shelf.subscriptions.add(subscription)
        return subscription

    def forget_history(self) -> None:
        """Compact now: a watch from any earlier revision is answered with 410."""
        self.revision += 1
        for shelf in self._shelves.values():
            shelf.history.clear()
            shelf.forgotten = self.revision
        self.compacted = self.revision

    def drop_subscriptions(self) -> int:
        """Close every subscription; returns how many were open."""
        dropped = 0
        for shelf in self._shelves.values():
            for subscription in shelf.subscriptions:
                dropped += not subscription.closed
                subscription.close()
            shelf.subscriptions.clear()
        return dropped

    def _stamped(self, obj: JsonObject) -> JsonObject:
        self.revision += 1
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}

    def _publish(self, shelf: _Shelf, change: Change) -> None:
        shelf.history.append(change)
        if len(shelf.history) > HISTORY_LENGTH:
            shelf.forgotten = shelf.history.popleft().revision
        for subscription in shelf.subscriptions:
            subscription.tell(change)


def _key(obj: JsonObject) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
