"""A Lease of coordination.k8s.io: implements `ports.Leases`.

Belongs here: which request reads or writes it, and the form of the object. Does not belong here: what is written when
(`core/lease.py`), HTTP (`cluster.py`).
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.adapters.cluster import Cluster, JsonObject
from rollout.core.lease import Claim, Lease
from rollout.ports import Clock, NotFound, Refused

_GROUP = "/apis/coordination.k8s.io/v1"
_WATCH_SECONDS = 300.0
_STEP = timedelta(microseconds=1)
_SET_BACK = timedelta(minutes=1)


class ClusterLease:
    """One Lease object, by name.

    Args:
        cluster: where it is; best a connection of its own, so that no list delays a renewal. Stays open.
        namespace: where the Lease is kept.
        name: what it is called.
        clock: for the times that people read; nothing is decided by them.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str, clock: Clock) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._clock = clock
        self._last: JsonObject = {}

    async def get(self) -> Lease | None:
        """The Lease as the API server holds it now; None if there is none."""
        try:
            return self._read(await self._cluster.get(self._path))
        except NotFound:
            return None

    async def put(self, claim: Claim, over: Lease | None) -> Lease:
        """A PUT with the resourceVersion that was read, or a POST. A Lease that was deleted is made again by either.

        Raises Conflict if the Lease is not as it was read or was made meanwhile, Refused or NotFound if the namespace
        is gone, Refused if the server does not let us.
        """
        if over is None:
            body = self._written({"metadata": {"name": self._name, "namespace": self._namespace}}, claim)
            try:
                return self._read(await self._cluster.create(self._collection, body))
            except NotFound as error:
                raise Refused(f"there is no namespace {self._namespace} to keep the Lease in") from error
        # Labels and whatever else others put on it stay; where another object was read last, the revision guards.
        known = self._last if _revision(self._last) == over.revision else {}
        metadata = {**known.get("metadata", {}), "name": self._name, "namespace": self._namespace}
        # With a uid, a PUT to an object that was deleted is refused; without one it makes the Lease again
        # (pkg/registry/coordination/lease/strategy.go, AllowCreateOnUpdate), and whoever holds it goes on.
        metadata.pop("uid", None)
        body = self._written({**known, "metadata": {**metadata, "resourceVersion": over.revision}}, claim)
        return self._read(await self._cluster.replace(self._path, body))

    async def watch(self, since: Lease) -> AsyncGenerator[Lease | None, None]:
        """Every state after `since`; None when it was deleted. Ends when the server ends it; leave it with `aclosing`.

        Raises Outage, also when the server no longer knows the revision of `since`.
        """
        changes = self._cluster.watch(
            self._collection,
            resource_version=since.revision,
            field_selector=f"metadata.name={self._name}",
            timeout_s=_WATCH_SECONDS,
        )
        async with aclosing(changes):
            async for kind, obj in changes:
                if kind == "DELETED":
                    yield None
                elif kind != "BOOKMARK":
                    yield self._read(obj)

    @property
    def _collection(self) -> str:
        return f"{_GROUP}/namespaces/{self._namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._name}"

    def _read(self, obj: JsonObject) -> Lease:
        """Any Lease, also one made by hand that says little; a field of another type counts as not there."""
        self._last = obj
        spec = _spec(obj)
        holder = spec.get("holderIdentity")
        stamp = f"{obj['metadata'].get('uid')} {spec.get('acquireTime')} {spec.get('renewTime')}"
        return Lease(
            holder=holder if isinstance(holder, str) else "",
            duration=max(0, _whole(spec.get("leaseDurationSeconds"))),
            transitions=max(0, _whole(spec.get("leaseTransitions"))),
            stamp=stamp,
            revision=_revision(obj),
        )

    def _written(self, obj: JsonObject, claim: Claim) -> JsonObject:
        spec = _spec(obj)
        now = self._clock.now()
        last = _instant(spec.get("renewTime"))
        if last is not None and now <= last < now + _SET_BACK:
            # A clock that stands still, or was set back a little, must not make a renewal that looks like none.
            now = last + _STEP
        time = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        new = {
            "holderIdentity": claim.holder,
            "leaseDurationSeconds": claim.duration,
            "leaseTransitions": claim.transitions,
            "acquireTime": time if claim.fresh else spec.get("acquireTime", time),
            "renewTime": time,
        }
        return {**obj, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {**spec, **new}}


def _spec(obj: JsonObject) -> JsonObject:
    spec = obj.get("spec")
    return spec if isinstance(spec, dict) else {}


def _revision(obj: JsonObject) -> str:
    metadata = obj.get("metadata")
    return str(metadata.get("resourceVersion", "")) if isinstance(metadata, dict) else ""


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _instant(text: Any) -> datetime | None:
    """A metav1.MicroTime; None for what is none."""
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None else None
