"""The Release objects in a Kubernetes API: implements `ports.Releases`.

Belongs here: which request reads or writes what, and which failure of it means what. Does not belong here: the form of
the objects (`release_object.py`), HTTP (`cluster.py`).
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from rollout.adapters.cluster import Cluster, Expired, JsonObject
from rollout.adapters.release_object import (
    hold_change,
    is_name,
    new_object,
    oldest_first,
    read_release,
    spec_change,
    status_object,
)
from rollout.adapters.rivals import Rivals
from rollout.core.release import API_VERSION, Release, ReleaseSpec, Status
from rollout.ports import Conflict, NotFound, Outage, Refused

_WATCH_SECONDS = 20.0
"""Short, because a connection that died without a word is only noticed when a watch should have ended."""
_FRESH_SECONDS = 25.0
"""For how long after its last sign of life a watch is believed that nothing changed."""
_TOO_SHORT = 0.5
_MOST_SHORT = 5

Known = dict[tuple[str, str], tuple[str, int, bool]]
"""(namespace, name) -> (uid, generation, whether it was deleted) as last yielded."""


class ClusterReleases:
    """Releases as custom resources.

    Args:
        cluster: where they are; stays open.
        watch_seconds: how long the server keeps one watch request; the watch itself goes on with the next.
    """

    def __init__(self, cluster: Cluster, *, watch_seconds: float = _WATCH_SECONDS) -> None:
        self._cluster = cluster
        self._watch_seconds = watch_seconds
        self._told: dict[tuple[str, str], str] = {}
        """(namespace, name) -> newest revision that a watch told."""
        self._rivals = Rivals()
        self._heard_at: dict[str | None, float] = {}
        """When the watch of a namespace (None: of all) last showed a sign of life, on the loop's clock."""

    async def get(self, namespace: str, name: str) -> Release | None:
        """The release as the API server holds it now; None if there is none."""
        if not is_name(namespace) or not is_name(name):
            return None
        try:
            return read_release(await self._cluster.get(_path(namespace, name)))
        except NotFound:
            return None

    async def list(self, namespace: str | None, service: str | None = None) -> Sequence[Release]:
        """All releases, oldest first. Told apart by their spec, not by the label, which one made by hand lacks."""
        found = [read_release(obj) for obj in await self._cluster.list(_path(namespace)) if _may_be_of(obj, service)]
        return oldest_first(one for one in found if service in {None, one.spec.service})

    async def create(self, namespace: str, name: str, spec: ReleaseSpec, key_hash: str = "") -> Release:
        """Make a new one. Raises Conflict if the name is taken, Refused if the server does not accept it."""
        try:
            made = await self._cluster.create(_path(namespace), new_object(namespace, name, spec, key_hash))
        except NotFound as error:
            raise Refused(f"there is no namespace {namespace}") from error
        if _key(made) not in self._told:
            # Who starts another one next must not be faster than the watch.
            self._rivals.note(made)
        return read_release(made)

    async def wish(self, release: Release, spec: ReleaseSpec) -> Release:
        """Replace the wishes by a merge patch of what changed; all else in the object stays as it is.

        Raises Conflict if the release changed since it was read, NotFound if it is gone, Refused if not accepted.
        """
        return read_release(await self._cluster.merge(_path(*release.key), spec_change(release, spec)))

    async def save(self, release: Release, status: Status) -> Release:
        """Replace the whole status by a PUT to `/status`.

        A PUT, because its 409 means a stale revision and nothing else, while a JSON patch whose `test` fails is
        answered with the same 422 as an invalid status; because it works whether there is a status already or not; and
        because a client may repeat it by itself when a kept-alive connection turns out dead: the repetition of a write
        that did happen ends in Conflict, and the next cycle reads what was written.

        Raises Conflict if the release changed since it was read, NotFound if it is gone, Refused if not accepted.
        """
        path = f"{_path(*release.key)}/status"
        return read_release(await self._cluster.replace(path, status_object(release, status)))

    async def hold(self, release: Release) -> None:
        """Put our finalizer on it, as it was read.

        Raises Conflict if the release changed since, NotFound if it is gone, Refused if not accepted (a release that is
        being deleted already takes no new finalizer).
        """
        await self._set_held(release, held=True)

    async def let_go(self, release: Release) -> None:
        """Take our finalizer off, and leave those of others; a release that is gone is fine.

        Raises Conflict if the release changed since it was read, Refused if not accepted.
        """
        try:
            await self._set_held(release, held=False)
        except NotFound:
            return

    async def _set_held(self, release: Release, *, held: bool) -> None:
        path = _path(*release.key)
        obj = await self._cluster.get(path)
        if obj["metadata"].get("uid", "") != release.uid:
            raise NotFound(f"{release.name} is another one by now")
        if obj["metadata"]["resourceVersion"] != release.revision:
            raise Conflict(f"{release.name} was modified")
        if change := hold_change(obj, held=held):
            await self._cluster.patch(path, change)

    def unchanged(self, release: Release) -> bool:
        """Whether the watch is alive and says that nobody has changed the release since it was read or saved."""
        return self._is_fresh(release.namespace) and self._told.get(release.key) == release.revision

    def superseder(self, release: Release) -> str:
        """Name of the youngest Queued release of the service that asks for this one to be put back; "" if none."""
        return self._rivals.superseder(release) if self._is_fresh(release.namespace) else ""

    def unfinished(self, namespace: str, service: str) -> tuple[tuple[str, str], ...] | None:
        """Keys of the releases of a service that are not over, oldest first; None where no watch is alive."""
        return self._rivals.unfinished(namespace, service) if self._is_fresh(namespace) else None

    def _is_fresh(self, namespace: str) -> bool:
        now = asyncio.get_running_loop().time()
        heard = max(self._heard_at.get(scope, -math.inf) for scope in (None, namespace))
        return now - heard <= _FRESH_SECONDS

    async def watch(self, namespace: str | None) -> AsyncGenerator[Release, None]:
        """Releases that are new, or whose generation changed, or that are being deleted; status changes wake nobody.

        Begins with all there are, and lists again by itself when the server has forgotten where we were. Ends by
        raising Outage, after which the caller begins anew; nothing is missed by that, only told again. Leave it with
        `contextlib.aclosing`.
        """
        known: Known = {}
        revision = ""
        short = 0
        loop = asyncio.get_running_loop()
        while True:
            if not revision:
                listing = await self._cluster.listing(_path(namespace))
                revision = listing.revision
                present = {_key(obj): obj for obj in listing.items}
                for gone in known.keys() - present.keys():
                    del known[gone]
                    self._forget(gone)
                for obj in present.values():
                    self._note(obj)
                self._heard_at[namespace] = loop.time()
                for obj in present.values():
                    if _is_news(known, obj):
                        yield read_release(obj)
            began = loop.time()
            changes = self._cluster.watch(_path(namespace), resource_version=revision, timeout_s=self._watch_seconds)
            try:
                async with aclosing(changes):
                    async for kind, obj in changes:
                        revision = obj["metadata"]["resourceVersion"]
                        short = 0
                        self._heard_at[namespace] = loop.time()
                        if kind == "DELETED":
                            known.pop(_key(obj), None)
                            self._forget(_key(obj))
                        elif kind != "BOOKMARK":
                            self._note(obj)
                            if _is_news(known, obj):
                                yield read_release(obj)
                self._heard_at[namespace] = loop.time()
            except Expired:
                revision = ""
            # A server that ends every watch at once would otherwise be asked thousands of times a second.
            short = short + 1 if loop.time() - began < _TOO_SHORT else 0
            if short >= _MOST_SHORT:
                raise Outage(f"GET {_path(namespace)}: the server ends every watch at once")

    def _note(self, obj: JsonObject) -> None:
        self._told[_key(obj)] = obj["metadata"]["resourceVersion"]
        self._rivals.note(obj)

    def _forget(self, key: tuple[str, str]) -> None:
        self._told.pop(key, None)
        self._rivals.forget(key)


def _path(namespace: str | None, name: str = "") -> str:
    where = f"/namespaces/{namespace}" if namespace is not None else ""
    return f"/apis/{API_VERSION}{where}/releases" + (f"/{name}" if name else "")


def _key(obj: JsonObject) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _may_be_of(obj: JsonObject, service: str | None) -> bool:
    """Whether it is worth reading, where only one service is asked for: a namespace holds years of releases."""
    parts = [obj.get("spec"), obj.get("status")]
    said = {part.get("service") for part in parts if isinstance(part, dict)}
    return service is None or service in said or not isinstance(obj.get("spec"), dict)


def _is_news(known: Known, obj: JsonObject) -> bool:
    """Whether the spec of this very object, or its deletion, was not told yet; from now on it was."""
    metadata = obj["metadata"]
    now = (metadata["uid"], metadata["generation"], metadata.get("deletionTimestamp") is not None)
    if known.get(_key(obj)) == now:
        return False
    known[_key(obj)] = now
    return True
