"""Release objects in memory, with the rules of an API server: a fake that passes the real adapter's contract suite.

It keeps what a server keeps (JSON, not models), so that whatever would not survive the wire does not survive here.
Besides `ports.Releases` it has the hands of others (`put`, `edit`, `delete`) and a switch for outages.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC
from typing import Any

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
from rollout.core.release import FINALIZER, Release, ReleaseSpec, Status
from rollout.ports import Clock, Conflict, NotFound, Outage, Refused

JsonObject = dict[str, Any]
Key = tuple[str, str]


class FakeReleases:
    """In-memory `ports.Releases`; deterministic, given its clock and the order of the calls."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._objects: dict[Key, JsonObject] = {}
        self._read: dict[Key, Release] = {}
        self._revision = 0
        self._outage = ""
        self._breaks = 0
        self._watchers: set[asyncio.Event] = set()
        self._rivals = Rivals()

    # ports.Releases

    async def get(self, namespace: str, name: str) -> Release | None:
        self._answer()
        return self._release((namespace, name))

    async def list(self, namespace: str | None, service: str | None = None) -> Sequence[Release]:
        self._answer()
        found = (self._release(key) for key in self._objects if namespace in {None, key[0]})
        return oldest_first(one for one in found if one is not None and service in {None, one.spec.service})

    async def create(self, namespace: str, name: str, spec: ReleaseSpec, key_hash: str = "") -> Release:
        self._answer()
        if not is_name(name):
            raise Refused(f"{name} is no name")
        if (namespace, name) in self._objects:
            raise Conflict(f"{name} exists")
        return self.put(new_object(namespace, name, spec, key_hash))

    async def wish(self, release: Release, spec: ReleaseSpec) -> Release:
        self._answer()
        now = self._unchanged_since(release)
        return self._store({**now, "spec": _merged(now["spec"], spec_change(release, spec).get("spec", {}))})

    async def save(self, release: Release, status: Status) -> Release:
        self._answer()
        now = self._unchanged_since(release)
        return self._store({**now, "status": status_object(release, status)["status"]})

    async def hold(self, release: Release) -> None:
        self._answer()
        if (now := self._objects.get(release.key)) is None or now["metadata"]["uid"] != release.uid:
            raise NotFound(release.name)
        now = self._unchanged_since(release)
        if "deletionTimestamp" in now["metadata"] and FINALIZER not in now["metadata"].get("finalizers", []):
            raise Refused("no new finalizers can be added if the object is being deleted")
        self._set_held(now, held=True)

    async def let_go(self, release: Release) -> None:
        self._answer()
        now = self._objects.get(release.key)
        if now is not None and now["metadata"]["uid"] == release.uid:
            self._set_held(self._unchanged_since(release), held=False)

    def unchanged(self, release: Release) -> bool:
        now = self._objects.get(release.key)
        return not self._outage and now is not None and now["metadata"]["resourceVersion"] == release.revision

    def superseder(self, release: Release) -> str:
        return "" if self._outage else self._rivals.superseder(release)

    def unfinished(self, namespace: str, service: str) -> tuple[Key, ...] | None:
        return None if self._outage or not self._watchers else self._rivals.unfinished(namespace, service)

    async def watch(self, namespace: str | None) -> AsyncGenerator[Release, None]:
        self._answer()
        known: dict[Key, tuple[str, int, bool]] = {}
        changed, breaks = asyncio.Event(), self._breaks
        self._watchers.add(changed)
        try:
            while True:
                changed.clear()
                for release in await self.list(namespace):
                    now = (release.uid, release.generation, release.deleting)
                    if known.get(release.key) != now:
                        known[release.key] = now
                        yield release
                await changed.wait()
                if self._breaks != breaks:
                    raise Outage("the watch was dropped")
        finally:
            self._watchers.discard(changed)

    # the hands of others

    def put(self, obj: JsonObject) -> Release:
        """Create an object as it is, readable or not; like a server, it drops a status that comes with it."""
        metadata = obj["metadata"]
        self._revision += 1
        born = {
            "uid": f"uid-{self._revision}",
            "generation": 1,
            "creationTimestamp": self._stamp(),
            "resourceVersion": str(self._revision),
        }
        made = {key: value for key, value in obj.items() if key != "status"}
        return self._keep({**made, "metadata": {**metadata, **born}})

    def edit(self, namespace: str, name: str, change: Callable[[JsonObject], None]) -> Release:
        """Change an object in place as somebody with kubectl would, unconditionally, status included."""
        obj: JsonObject = json.loads(json.dumps(self._objects[namespace, name]))
        change(obj)
        return self._store(obj)

    def delete(self, namespace: str, name: str) -> None:
        """Remove an object; one with finalizers is marked only, and goes with the last of them."""
        obj = self._objects[namespace, name]
        metadata = obj["metadata"]
        if not metadata.get("finalizers"):
            self._remove((namespace, name))
        elif "deletionTimestamp" not in metadata:
            marked = {**metadata, "generation": metadata["generation"] + 1, "deletionTimestamp": self._stamp()}
            self._revision += 1
            self._keep({**obj, "metadata": {**marked, "resourceVersion": str(self._revision)}})

    def fail(self, reason: str) -> None:
        """From now on every call raises Outage, and open watches end with it."""
        self._outage = reason
        self.break_watches()

    def recover(self) -> None:
        """Answer again."""
        self._outage = ""

    def break_watches(self) -> None:
        """End all open watches, as when connections are lost."""
        self._breaks += 1
        self._wake()

    def _answer(self) -> None:
        if self._outage:
            raise Outage(self._outage)

    def _stamp(self) -> str:
        return self._clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _set_held(self, now: JsonObject, *, held: bool) -> None:
        if change := hold_change(now, held=held):
            self._store({**now, "metadata": {**now["metadata"], "finalizers": change[-1]["value"]}})

    def _remove(self, key: Key) -> None:
        self._revision += 1
        del self._objects[key]
        self._rivals.forget(key)
        self._read.pop(key, None)
        self._wake()

    def _release(self, key: Key) -> Release | None:
        if key not in self._objects:
            return None
        if key not in self._read:
            self._read[key] = read_release(self._objects[key])
        return self._read[key]

    def _unchanged_since(self, release: Release) -> JsonObject:
        now = self._objects.get(release.key)
        if now is None:
            raise NotFound(release.name)
        if now["metadata"]["resourceVersion"] != release.revision:
            raise Conflict(f"{release.name} was modified")
        return now

    def _store(self, obj: JsonObject) -> Release:
        """Keep a new state; what changes nothing is no write, and only a changed spec is a new generation."""
        metadata = obj["metadata"]
        key = (metadata["namespace"], metadata["name"])
        before = self._objects[key]
        if obj == before:
            return self._keep(before)
        self._revision += 1
        generation = before["metadata"]["generation"] + (obj.get("spec") != before.get("spec"))
        new = {**obj, "metadata": {**metadata, "resourceVersion": str(self._revision), "generation": generation}}
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self._remove(key)
            return read_release(new)
        return self._keep(new)

    def _keep(self, obj: JsonObject) -> Release:
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if self._objects.get(key) is not obj:
            self._objects[key] = obj
            self._rivals.note(obj)
            self._read.pop(key, None)
            self._wake()
        release = self._release(key)
        assert release is not None
        return release

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.set()


def _merged(target: JsonObject, patch: JsonObject) -> JsonObject:
    """RFC 7386."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result
