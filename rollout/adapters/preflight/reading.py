"""Reading for preflight: what may not be read is remembered as a finding, what is not installed is nothing at all.

Belongs here: gets and lists with fallbacks, discovery. Does not belong here: what the objects mean.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rollout.adapters.cluster import Cluster, Denied
from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.mesh_lists import MeshLists, Trim, trimmed, trimmed_rule, trimmed_service
from rollout.adapters.preflight.scene import listed, name_of, namespace_of
from rollout.core.preflight import Finding
from rollout.core.route import Unavailable
from rollout.ports import Conflict, NotFound, Outage, Refused


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, as the API's paths spell it."""

    group: str
    """"" is the core group."""
    versions: tuple[str, ...]
    """Best first."""
    plural: str
    kind: str
    trim: Trim = trimmed
    """What is kept of each in a list."""

    @property
    def resource(self) -> str:
        """`virtualservices.networking.istio.io`, as in rules of RBAC."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


SERVICES = Kind("", ("v1",), "services", "Service")
PODS = Kind("", ("v1",), "pods", "Pod")
DEPLOYMENTS = Kind("apps", ("v1",), "deployments", "Deployment")
_ISTIO = ("v1", "v1beta1", "v1alpha3")
VIRTUAL_SERVICES = Kind("networking.istio.io", _ISTIO, "virtualservices", "VirtualService", trimmed_service)
DESTINATION_RULES = Kind("networking.istio.io", _ISTIO, "destinationrules", "DestinationRule", trimmed_rule)
TELEMETRIES = Kind("telemetry.istio.io", ("v1", "v1alpha1"), "telemetries", "Telemetry")
HTTP_ROUTES = Kind("gateway.networking.k8s.io", ("v1", "v1beta1"), "httproutes", "HTTPRoute")
GRPC_ROUTES = Kind("gateway.networking.k8s.io", ("v1", "v1beta1"), "grpcroutes", "GRPCRoute")


@dataclass(slots=True)
class Reader:
    """Reads for one preflight. Never raises: whoever has read several things at once asks `trouble` afterwards."""

    cluster: Cluster
    lists: MeshLists
    since: float | None = None
    """Lists of the whole mesh have to be read after this, in the loop's time; None: any that is good still."""
    oldest: float = math.inf
    """When reading the oldest of them began."""
    denied: set[tuple[str, str, str]] = field(default_factory=set)
    """(verb, resource, namespace) that we have no right to; namespace "" is all of them."""
    elsewhere: dict[str, frozenset[str]] = field(default_factory=dict)
    """Resource -> the only namespaces that could be looked at."""
    _served: dict[str, dict[str, frozenset[str]]] = field(default_factory=dict)
    """Group -> version -> plurals; see `discover`."""
    _outage: Exception | None = None

    def trouble(self) -> Unavailable | None:
        """The first answer that said nothing; what was read is not complete then."""
        return None if self._outage is None else Unavailable(str(self._outage))

    async def discover(self) -> None:
        """Find out what is installed; to be awaited before anything is read."""
        kinds = (VIRTUAL_SERVICES, TELEMETRIES, HTTP_ROUTES)
        found = await asyncio.gather(*(self._versions(kind) for kind in kinds))
        self._served = {kind.group: served for kind, served in zip(kinds, found, strict=True)}

    async def get(self, kind: Kind, namespace: str, name: str) -> JsonObject | None:
        """One object; None where there is none, or none that may be read (`may` tells the two apart)."""
        path = self._collection(kind, namespace)
        if path is None:
            return None
        try:
            return await self.cluster.get(f"{path}/{name}")
        except NotFound:
            pass
        except Denied:
            self.denied.add(("get", kind.resource, namespace))
        except (Outage, Refused, Conflict) as error:
            self._fail(error)
        return None

    def may(self, verb: str, kind: Kind, namespace: str) -> bool:
        """Whether nothing was refused so far."""
        return (verb, kind.resource, namespace) not in self.denied

    async def everywhere(self, kind: Kind) -> list[JsonObject] | None:
        """All objects of the cluster, trimmed; None where that is not allowed."""
        path = self._collection(kind, None)
        if path is None:
            return []
        try:
            items, began = await self.lists.whole(path, kind.trim, self.since)
        except Denied:
            return None
        except (Outage, Refused, Conflict, NotFound) as error:
            self._fail(error)
            return []
        self.oldest = min(self.oldest, began)
        return [*items]

    async def inside(self, kind: Kind, namespaces: Iterable[str]) -> list[JsonObject]:
        """All objects of these namespaces, as far as we may."""
        places = sorted(set(namespaces))
        parts = await asyncio.gather(*(self.among(kind, place) for place in places))
        self.elsewhere[kind.resource] = frozenset(place for place in places if self.may("list", kind, place))
        return [obj for part in parts for obj in part]

    async def among(self, kind: Kind, namespace: str, selector: str | None = None) -> list[JsonObject]:
        """All objects of a namespace, as far as we may."""
        path = self._collection(kind, namespace)
        if path is None:
            return []
        try:
            return await self.cluster.list(path, label_selector=selector)
        except Denied:
            self.denied.add(("list", kind.resource, namespace))
        except (Outage, Refused, Conflict, NotFound) as error:
            self._fail(error)
        return []

    def findings(self, *, slots: bool = False) -> list[Finding]:
        """What could not be looked at, by right; `slots`: the release will write a version into a fixed subset."""
        by_right: dict[tuple[str, str], set[str]] = {}
        for verb, resource, namespace in self.denied:
            by_right.setdefault((verb, resource), set()).add(namespace)
        told = [
            found(
                "not-looked",
                resource,
                f"no right to {verb} {resource} in {listed(namespaces)}: nothing is known of them",
            )
            for (verb, resource), namespaces in sorted(by_right.items())
        ]
        for resource, namespaces in sorted(self.elsewhere.items()):
            if slots and resource == VIRTUAL_SERVICES.resource:
                told.append(
                    found(
                        "not-looked",
                        resource,
                        f"no right to list {resource} in all namespaces, and one that is not seen may send requests to "
                        "the subset that the release would give to its version",
                        action=f"grant `list` on {resource} in all namespaces (a ClusterRole) to the account that asks",
                        severity="error",
                    )
                )
            elif namespaces:
                message = f"no right to list {resource} in all namespaces: looked at {listed(namespaces)} only"
                told.append(found("not-looked", resource, message, severity="info"))
        return told

    def _fail(self, error: Exception) -> None:
        self._outage = self._outage or error

    def _collection(self, kind: Kind, namespace: str | None) -> str | None:
        """The path; None where the kind is not served."""
        scope = f"/namespaces/{namespace}" if namespace is not None else ""
        if not kind.group:
            return f"/api/v1{scope}/{kind.plural}"
        if kind.group == "apps":
            return f"/apis/apps/v1{scope}/{kind.plural}"
        served = self._served.get(kind.group, {})
        version = next((one for one in kind.versions if kind.plural in served.get(one, ())), None)
        return None if version is None else f"/apis/{kind.group}/{version}{scope}/{kind.plural}"

    async def _versions(self, kind: Kind) -> dict[str, frozenset[str]]:
        """Version -> plurals that are served under it, of the best version that is served."""
        group = await self._document(f"/apis/{kind.group}")
        served = [str(mapping(one).get("version")) for one in sequence(group.get("versions"))]
        best = next((one for one in kind.versions if one in served), None)
        if best is None:
            return {}
        resources = await self._document(f"/apis/{kind.group}/{best}")
        return {best: frozenset(str(mapping(one).get("name")) for one in sequence(resources.get("resources")))}

    async def _document(self, path: str) -> JsonObject:
        """A document of discovery; empty where it is not served."""
        try:
            return await self.cluster.get(path)
        except (Denied, NotFound):
            pass
        except (Outage, Refused, Conflict) as error:
            self._fail(error)
        return {}


def merged(*parts: Sequence[JsonObject | None]) -> list[JsonObject]:
    """Every object once, the first that was read."""
    every: dict[tuple[str, str], JsonObject] = {}
    for obj in (one for part in parts for one in part if one is not None):
        every.setdefault((namespace_of(obj), name_of(obj)), obj)
    return [*every.values()]
