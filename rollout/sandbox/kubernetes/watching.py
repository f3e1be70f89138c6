"""Watches: changes of one resource as a stream of JSON lines.

Belongs here: what a watch says and when it ends. Does not belong here: remembering changes (`store.py`).
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rollout.sandbox.kubernetes.negotiation import to_json
from rollout.sandbox.kubernetes.refusals import Refused
from rollout.sandbox.kubernetes.resources import GroupVersion, JsonObject, Resource
from rollout.sandbox.kubernetes.selectors import Selector
from rollout.sandbox.kubernetes.store import Change, ChangeType, Store, Subscription

BOOKMARK_SECONDS: Final = 5.0
"""The real server sends one a minute and one about 2 s before the end; sooner is allowed and tests more."""

_PRESENT_TOLD: Final[JsonObject] = {"k8s.io/initial-events-end": "true"}
_BEFORE_THE_END: Final = 2.0
# apiserver --min-request-timeout: a watch without timeoutSeconds ends after 30 to 60 minutes.
_DEFAULT_LIFE: Final = (1800.0, 3600.0)

Shape = Callable[[JsonObject, bool], JsonObject]
"""How an event's object is shown: (stored object, is it the first event of the stream)."""


@dataclass(frozen=True, slots=True)
class WatchOrder:
    """What a client asked for.

    `since` None means: the present objects first, as ADDED; `marks_the_present`: and a bookmark after them.
    """

    resource: Resource
    shown_as: GroupVersion
    namespace: str
    selector: Selector
    since: int | None
    bookmarks: bool
    marks_the_present: bool
    seconds: float | None

    def sees(self, obj: JsonObject | None) -> bool:
        """Whether an object, as it is or was, is in what is watched."""
        if obj is None or (self.namespace and obj["metadata"].get("namespace") != self.namespace):
            return False
        return self.selector.matches(obj)


class WatchResponse(Response):
    """Streams until the time is up, the client is gone, or the store closes the subscription."""

    def __init__(self, store: Store, order: WatchOrder, shape: Shape) -> None:
        super().__init__()
        self._store = store
        self._order = order
        self._shape = shape
        self._first = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Answer. An ASGI application, because only that sees a client leave while nothing happens."""
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache, private")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        present = [] if self._order.since is not None else self._present()
        since = self._store.revision if self._order.since is None else self._order.since
        try:
            subscription = self._store.subscribe(self._order.resource, since)
        except Refused as refused:
            # Once a watch is understood, errors are told inside the stream (apiserver cacher.go, errWatcher).
            await send(_line({"type": "ERROR", "object": refused.as_status()}))
            await send({"type": "http.response.body", "body": b""})
            return
        departure = asyncio.create_task(_closed_when_gone(receive, subscription))
        try:
            for obj in present:
                await send(_line(self._event(ChangeType.ADDED, obj)))
            if self._order.marks_the_present and self._order.bookmarks:
                await send(_line(self._bookmark(_PRESENT_TOLD)))
            async for event in self._events(subscription):
                await send(_line(event))
            await send({"type": "http.response.body", "body": b""})
        finally:
            subscription.close()
            departure.cancel()
            with suppress(asyncio.CancelledError):
                await departure

    def _present(self) -> list[JsonObject]:
        objects = self._store.list(self._order.resource, self._order.namespace)
        return [obj for obj in objects if self._order.sees(obj)]

    def _event(self, kind: str, obj: JsonObject) -> JsonObject:
        first, self._first = self._first, False
        return {"type": kind, "object": self._shape(obj, first)}

    async def _events(self, subscription: Subscription) -> AsyncIterator[JsonObject]:
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._order.seconds or random.uniform(*_DEFAULT_LIFE))
        bookmark_at = self._next_bookmark(loop.time(), end)
        while (now := loop.time()) < end:
            change = await subscription.next(max(0.0, min(bookmark_at, end) - now))
            if change is not None:
                for event in self._seen(change):
                    yield event
            elif subscription.closed:
                return
            if loop.time() >= bookmark_at and subscription.idle:
                bookmark_at = self._next_bookmark(loop.time(), end)
                if self._order.bookmarks:
                    yield self._bookmark()
        if self._order.bookmarks and subscription.idle:
            yield self._bookmark()

    def _next_bookmark(self, now: float, end: float) -> float:
        last = end - _BEFORE_THE_END
        return min(now + BOOKMARK_SECONDS, last) if now < last else end + 1.0

    def _seen(self, change: Change) -> Iterator[JsonObject]:
        before = self._order.sees(change.previous)
        now = change.type is not ChangeType.DELETED and self._order.sees(change.obj)
        if now:
            yield self._event(ChangeType.MODIFIED if before else ChangeType.ADDED, change.obj)
        elif before:
            yield self._event(ChangeType.DELETED, _left(change))

    def _bookmark(self, annotations: JsonObject | None = None) -> JsonObject:
        gv, resource = self._order.shown_as, self._order.resource
        metadata: dict[str, Any] = {"resourceVersion": str(self._store.revision)}
        if annotations:
            metadata["annotations"] = annotations
        obj = {"kind": resource.kind, "apiVersion": gv.text, "metadata": metadata}
        return {"type": "BOOKMARK", "object": obj}


def _left(change: Change) -> JsonObject:
    """The object as a watch last saw it, with the revision at which it left."""
    if change.type is ChangeType.DELETED:
        return change.obj
    assert change.previous is not None
    metadata = {**change.previous["metadata"], "resourceVersion": str(change.revision)}
    return {**change.previous, "metadata": metadata}


def _line(event: JsonObject) -> dict[str, Any]:
    return {"type": "http.response.body", "body": to_json(event) + b"\n", "more_body": True}


async def _closed_when_gone(receive: Receive, subscription: Subscription) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            subscription.close()
            return
