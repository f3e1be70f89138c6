"""The Traffic port on Istio: VirtualService and DestinationRule over the Kubernetes API.

Belongs here: which object is asked for when, compare-and-set, epochs, what an answer means. Does not belong here: what
the objects say and how they change (`virtual_service.py`, `http_route.py`, `destination_rule.py`).

Every write is one JSON Patch that begins with a `test` of resourceVersion. A 409, a failed test and a newer epoch are
the same to the caller: somebody else was first, nothing was written, look again.
"""

import asyncio

from rollout.adapters.cluster import Cluster, Denied
from rollout.adapters.destination_rule import (
    JsonObject,
    Operation,
    revision,
    subset_for,
    subsets_of,
    with_subset,
    without_subset,
)
from rollout.adapters.virtual_service import landing, names_subset, order_of, ordered, reading, without
from rollout.core.route import Gone, Mesh, Problem, Route, Target, Unavailable, subset_name
from rollout.ports import Conflict, NotFound, Outage, Refused

GROUP = "networking.istio.io"
# One schema under three names, none of which every supported Istio serves: v1 from 1.22, v1beta1 from 1.5.
VERSIONS = ("v1", "v1beta1", "v1alpha3")


class IstioTraffic:
    """`ports.Traffic` by editing one http route of a VirtualService and the subsets of a DestinationRule."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._version = ""

    async def observe(self, target: Target) -> Mesh | Gone | Unavailable:
        """Read the route. Never raises."""
        try:
            virtual_service, rule = await self._both(target)
        except NotFound as error:
            return Gone(str(error))
        except (Outage, Refused, Conflict) as error:
            return Unavailable(str(error))
        return reading(virtual_service, rule, target)

    async def set_route(self, target: Target, route: Route, seen: Mesh) -> None:
        """Order it, unless it is so already.

        Raises:
            Conflict: it changed since `seen`, is gone, or another order with this epoch or a newer one stands.
            Refused: the share must not be raised on a route of this shape, or the API server does not accept it.
            Outage: the API server did not answer.
        """
        virtual_service, rule = await self._current(target, seen)
        epoch, release = order_of(virtual_service)
        if epoch > route.epoch or (epoch == route.epoch and release not in {"", target.release}):
            raise Conflict(
                f"VirtualService {target.namespace}/{target.virtual_service} carries epoch {epoch} of "
                f"release {release or 'unknown'}; this order has epoch {route.epoch}"
            )
        if route.percent < seen.percent:
            await self._check_landing(virtual_service, rule, target)
        await self._write(target, "virtualservices", ordered(virtual_service, rule, target, route))

    async def drop_destination(self, target: Target, version: str, seen: Mesh) -> None:
        """Take a version without traffic out of the route, if it is there.

        Raises:
            Conflict: it changed since `seen`, is gone, or another release ordered it.
            Refused: the version receives traffic, or the API server does not accept the change.
            Outage: the API server did not answer.
        """
        virtual_service, rule = await self._current(target, seen)
        _, release = order_of(virtual_service)
        if release not in {"", target.release}:
            raise Conflict(f"VirtualService {target.namespace}/{target.virtual_service} was ordered by {release}")
        await self._write(target, "virtualservices", without(virtual_service, rule, target, version))

    async def add_subset(self, target: Target, version: str) -> None:
        """Copy stable's subset for `version`, if it is not there.

        Raises:
            NotFound: there is no DestinationRule.
            Conflict: it changed meanwhile.
            Refused: nothing to copy, the name is taken, or the API server does not accept it.
            Outage: the API server did not answer.
        """
        await self._write(target, "destinationrules", with_subset(await self._rule(target), target, version))

    async def drop_subset(self, target: Target, version: str) -> None:
        """Remove the version's subset, if it is there and selects this version by our naming or by nothing else.

        Raises:
            Conflict: the rule changed meanwhile.
            Refused: a VirtualService names it still, it is not ours to remove, or the API server does not accept it.
            Outage: the API server did not answer.
        """
        try:
            rule = await self._rule(target)
        except NotFound:
            return
        subset = subset_for(version, subsets_of(rule, target))
        if subset is None:
            return
        where = f"DestinationRule {target.namespace}/{target.destination_rule}"
        if subset.name != subset_name(version) and not subset.exact:
            raise Refused(f"subset {subset.name!r} of {where} selects by more than the version: it was left")
        for virtual_service in await self._virtual_services(target):
            if names_subset(virtual_service, subset.name, target):
                metadata = virtual_service.get("metadata") or {}
                name = f"{metadata.get('namespace', target.namespace)}/{metadata.get('name')}"
                raise Refused(f"VirtualService {name} names subset {subset.name!r} of {where}: it was left")
        await self._write(target, "destinationrules", without_subset(rule, subset))

    async def _both(self, target: Target) -> tuple[JsonObject, JsonObject | None]:
        """The VirtualService and, if there is one, the DestinationRule. Raises NotFound for the former only."""
        rule_path = await self._path("destinationrules", target.namespace, target.destination_rule)
        service_path = await self._path("virtualservices", target.namespace, target.virtual_service)
        service, rule = await asyncio.gather(self._attempt(service_path), self._attempt(rule_path))
        if isinstance(service, Exception):
            raise service
        if isinstance(rule, NotFound):
            return service, None
        if isinstance(rule, Exception):
            # Without its labels a subset cannot be told from another: the share read would be a guess.
            raise rule
        return service, rule

    async def _attempt(self, path: str) -> JsonObject | Exception:
        """The object or the error: of two reads at once, none is left running when the other fails."""
        try:
            return await self._cluster.get(path)
        except Denied as error:
            # Perhaps this version of the group is served no longer: find out again, but not before it is needed.
            self._version = ""
            return error
        except (NotFound, Refused, Outage, Conflict) as error:
            return error

    async def _rule(self, target: Target) -> JsonObject:
        rule = await self._attempt(await self._path("destinationrules", target.namespace, target.destination_rule))
        if isinstance(rule, Exception):
            raise rule
        return rule

    async def _current(self, target: Target, seen: Mesh) -> tuple[JsonObject, JsonObject | None]:
        where = f"VirtualService {target.namespace}/{target.virtual_service}"
        try:
            virtual_service, rule = await self._both(target)
        except NotFound as error:
            raise Conflict(f"{where} is gone since it was read: {error}") from error
        if revision(virtual_service) != seen.revision:
            raise Conflict(f"{where} changed since it was read")
        return virtual_service, rule

    async def _check_landing(self, virtual_service: JsonObject, rule: JsonObject | None, target: Target) -> None:
        """Refuse to send working traffic to a subset that exists nowhere, where all of it would be answered 503 NC.

        Only certainty refuses: whatever cannot be looked up does not stand in the way of a rollback.
        """
        subsets = landing(virtual_service, rule, target)
        if subsets is None:
            return
        canary, stable = subsets
        known = {subset.name for subset in subsets_of(rule, target)}
        if stable in known or canary not in known:
            return
        try:
            # Istio merges all rules of a namespace for one host (destination_rule.go:mergeDestinationRule).
            rules = await self._cluster.list(await self._path("destinationrules", target.namespace))
        except (Outage, Refused, NotFound):
            return
        if not any(subset.name == stable for one in rules for subset in subsets_of(one, target)):
            raise Refused(
                f"DestinationRule {target.namespace}/{target.destination_rule} has lost subset {stable!r}, to which "
                "the traffic would return: every request would be answered 503; add the subset again"
            )

    async def _virtual_services(self, target: Target) -> list[JsonObject]:
        """Those of the cluster, since a gateway's may live anywhere; of the namespace where we may see no more."""
        try:
            return await self._cluster.list(await self._path("virtualservices"))
        except Refused:
            return await self._cluster.list(await self._path("virtualservices", target.namespace))

    async def _write(self, target: Target, plural: str, patch: list[Operation] | Problem) -> None:
        if isinstance(patch, Problem):
            raise Refused(patch.message)
        if not patch:
            return
        name = target.virtual_service if plural == "virtualservices" else target.destination_rule
        try:
            await self._cluster.patch(await self._path(plural, target.namespace, name), patch)
        except NotFound as error:
            raise Conflict(f"{plural} {target.namespace}/{name} is gone since it was read") from error

    async def _path(self, plural: str, namespace: str | None = None, name: str | None = None) -> str:
        """Raw API path under the version the cluster serves: asked once and kept, so that a rollback need not ask."""
        if not self._version:
            try:
                self._version = await self._cluster.served_version(GROUP, VERSIONS)
            except NotFound as error:
                raise Outage(f"the cluster serves no {GROUP}: {error}") from error
        scope = f"/namespaces/{namespace}" if namespace is not None else ""
        last = f"/{name}" if name is not None else ""
        return f"/apis/{GROUP}/{self._version}{scope}/{plural}{last}"
