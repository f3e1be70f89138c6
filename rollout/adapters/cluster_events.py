"""Kubernetes Events about releases, for `kubectl describe` and `kubectl events`: implements `ports.Announcer`.

Belongs here: which objects an event is told on, its name and its form (k8s.io/api/events/v1 types.go; limits in
kubernetes pkg/apis/core/validation/events.go), and what a failure to write it means. Does not belong here: its words
(`event_notes.py`), log lines (`log.py`).

An Event lives for an hour in most clusters (`--event-ttl`): it is news, not memory. It is written in the namespace of
the object it is about, under a name that is made of the decision, so that a decision told twice is one Event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from rollout.adapters.cluster import Cluster, JsonObject
from rollout.adapters.event_notes import WORDINGS, note_of, reason_of
from rollout.core.events import CATALOGUE, Level, Notice, Scalar
from rollout.core.release import API_VERSION, Release
from rollout.core.route import Leg
from rollout.ports import Announcer, Clock, Conflict, NotFound, Outage, Refused

CONTROLLER: Final = "rollout.dev/controller"
"""Who reports; `kubectl get events --field-selector reportingComponent=rollout.dev/controller`."""
REFUSED: Final = "events.refused"
"""The line of the log that says, once per namespace, that Events may not be written there."""

_API: Final = "events.k8s.io/v1"
_ISTIO: Final = "networking.istio.io"
_ISTIO_VERSIONS: Final = ("v1", "v1beta1", "v1alpha3")
_LONGEST_NAME: Final = 253
_LONGEST_INSTANCE: Final = 128
_DIGEST: Final = 10
_RECORDED: Final = frozenset({"traffic.apply_failed"})
"""Of what only describes a cycle, this alone is worth an Event: nothing else says why a release does not go on."""


_PATIENCE: Final = timedelta(minutes=1)
"""For how long an Event is tried again."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What one Event is about."""

    number: int
    """Its place in the history of the release."""
    decision: str
    """The same for the same decision alone."""


class ClusterEvents:
    """Writes one Event per decision on the Release, and where it is about traffic on each VirtualService too.

    Args:
        cluster: where the objects are; stays open.
        log: told once per namespace when Events are refused there.
        clock: for the time of what has none of its own.
        instance: which controller this is, such as the name of its pod.
    """

    def __init__(self, cluster: Cluster, log: Announcer, clock: Clock, *, instance: str) -> None:
        self._cluster = cluster
        self._log = log
        self._clock = clock
        self._instance = instance[:_LONGEST_INSTANCE] or CONTROLLER
        self._refused: set[str] = set()

    async def announce(self, release: Release, notice: Notice) -> None:
        """Write it; one that is there already is fine, one that is refused is said in the log and let go.

        Raises Outage when the API does not answer: whoever calls keeps the notice and tells it again, for a minute.
        After that it is let go of too: Events may be kept by an etcd of their own, and no release waits for that.
        """
        if notice.name not in WORDINGS:
            # Decided by another version of the controller, which knows more kinds than we do.
            return
        try:
            await self._announce(release, notice)
        except Outage as error:
            if self._clock.now() - notice.at < _PATIENCE:
                raise
            await self._say_once(release, release.namespace, error)

    async def _announce(self, release: Release, notice: Notice) -> None:
        mark = _Mark(notice.sequence, f"{release.uid}/{notice.sequence}")
        for regarding in await self._regarded(release, on_route=WORDINGS[notice.name].on_route):
            told = self._told(release, notice.name, notice.fields, notice.at)
            await self._write(release, told | _about(release, regarding, mark))

    async def record(self, release: Release, name: str, fields: Mapping[str, Scalar]) -> None:
        """Write that an order could not be written, once per order and error; nothing else. Never raises."""
        if name not in _RECORDED:
            return
        epoch = release.status.order.epoch if release.status.order is not None else 0
        mark = _Mark(release.status.sequence, f"{release.uid}/{epoch}/{name}/{fields.get('error')}")
        told = self._told(release, name, fields, self._clock.now())
        try:
            await self._write(release, told | _about(release, _release(release), mark))
        except Outage:
            # It is owed to nobody, and most orders that cannot be written fail for the same reason.
            return

    def _told(self, release: Release, name: str, fields: Mapping[str, Scalar], at: datetime) -> JsonObject:
        """The part of an Event that is the same on every object."""
        urgent = CATALOGUE[name].level not in {Level.DEBUG, Level.INFO}
        return {
            "apiVersion": _API,
            "kind": "Event",
            # A MicroTime has exactly six digits (k8s.io/apimachinery/pkg/apis/meta/v1/micro_time.go).
            "eventTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": WORDINGS[name].action,
            "reason": reason_of(name),
            "type": "Warning" if urgent else "Normal",
            "note": note_of(release, name, fields),
        }

    async def _regarded(self, release: Release, *, on_route: bool) -> list[JsonObject]:
        """References to the objects that an event is told on; a VirtualService that is not there is left out."""
        policy = release.status.policy
        legs = release.target(policy).legs if on_route and policy is not None else ()
        routes = [await self._route(release, leg) for leg in legs]
        return [_release(release), *(one for one in routes if one is not None)]

    async def _route(self, release: Release, leg: Leg) -> JsonObject | None:
        try:
            version = await self._cluster.served_version(_ISTIO, _ISTIO_VERSIONS)
            path = f"/apis/{_ISTIO}/{version}/namespaces/{leg.namespace}/virtualservices/{leg.virtual_service}"
            found = await self._cluster.get(path)
        except NotFound:
            return None
        except Refused as error:
            await self._say_once(release, leg.namespace, error)
            return None
        return _reference(f"{_ISTIO}/{version}", "VirtualService", leg.namespace, leg.virtual_service, found)

    async def _write(self, release: Release, event: JsonObject) -> None:
        namespace = event["metadata"]["namespace"]
        try:
            await self._cluster.create(f"/apis/{_API}/namespaces/{namespace}/events", event)
        except (Conflict, NotFound):
            # It was written before; or its namespace is gone, and everybody who could read it there.
            return
        except Refused as error:
            # Before Outage: a denial is both, and trying again would not change it.
            await self._say_once(release, namespace, error)

    async def _say_once(self, release: Release, namespace: str, error: Outage | Refused) -> None:
        if namespace not in self._refused:
            self._refused.add(namespace)
            await self._log.record(release, REFUSED, {"error": str(error)})


def _release(release: Release) -> JsonObject:
    metadata = {"metadata": {"uid": release.uid}}
    return _reference(API_VERSION, "Release", release.namespace, release.name, metadata)


def _reference(api_version: str, kind: str, namespace: str, name: str, obj: JsonObject) -> JsonObject:
    """As `kubectl describe` looks for it: by kind, namespace, name and uid."""
    uid = obj["metadata"].get("uid", "")
    return {"apiVersion": api_version, "kind": kind, "namespace": namespace, "name": name, "uid": uid}


def _about(release: Release, regarding: JsonObject, mark: _Mark) -> JsonObject:
    """The part of an Event that differs from object to object."""
    name = event_name(release.name, mark, regarding)
    metadata = {"name": name, "namespace": regarding["namespace"]}
    related = {} if regarding["kind"] == "Release" else {"related": _release(release)}
    return {"metadata": metadata, "regarding": regarding, **related}


def event_name(release: str, mark: _Mark, regarding: JsonObject) -> str:
    """`<release>.<number>.<digest>`, the same for the same decision and object, whoever tells it and however often.

    In the order of what happened: kubectl sorts by a time that events.k8s.io/v1 leaves empty, and so keeps the list's.
    """
    parts = (mark.decision, regarding["kind"], regarding["namespace"], regarding["name"])
    digest = sha256("\n".join(parts).encode()).hexdigest()[:_DIGEST]
    ending = f".{mark.number:04}.{digest}"
    return release[: _LONGEST_NAME - len(ending)].rstrip("-.") + ending
