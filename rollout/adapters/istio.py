"""The Traffic port on Istio: VirtualService and DestinationRule over the Kubernetes API.

Belongs here: which object is asked for when, which is written when. Does not belong here: what forbids a write
(`sight.py`), what the objects say and how they change (`virtual_service.py`, `http_route.py`, `destination_rule.py`).

Every write is one JSON Patch that begins with a `test` of resourceVersion. A 409, a failed test and a newer epoch are
the same to the caller: somebody else was first, nothing was written, look again.
"""

import asyncio
from collections.abc import Iterable, Sequence

from rollout.adapters.cluster import Cluster, Denied
from rollout.adapters.destination_rule import (
    JsonObject,
    Operation,
    mapping,
    rule_name,
    subset_for,
    subsets_of,
    with_subset,
    without_subset,
)
from rollout.adapters.host_split import Services, hosts_of, is_service_name, no_service
from rollout.adapters.http_route import named_leg
from rollout.adapters.legs import alone, joined
from rollout.adapters.mirror import Mirror
from rollout.adapters.sight import Sight, check_epoch, first_of, order_for, unchanged, wanted
from rollout.adapters.signature import order_of
from rollout.adapters.slots import with_slot
from rollout.adapters.virtual_service import feeds, landing, names_subset, reading, without
from rollout.core.route import Gone, Leg, Mesh, Route, Target, Unavailable, subset_name
from rollout.ports import Conflict, NotFound, Outage, Refused

GROUP = "networking.istio.io"
# One schema under three names, none of which every supported Istio serves: v1 from 1.22, v1beta1 from 1.5.
VERSIONS = ("v1", "v1beta1", "v1alpha3")


class IstioTraffic:
    """`ports.Traffic` by editing one http route of each VirtualService and the subsets of a DestinationRule.

    Args:
        cluster: where they are; stays open.
        mirror: for what a watch told a moment ago; stays open.
    """

    def __init__(self, cluster: Cluster, mirror: Mirror | None = None) -> None:
        self._cluster = cluster
        self._mirror = mirror
        self._version = ""

    async def observe(self, target: Target, *, remembered: bool = False) -> Mesh | Gone | Unavailable:
        """Read the route, as far as it can be read. Never raises."""
        try:
            sight = await self._look(target, remembered=remembered)
        except (Outage, Refused, Conflict) as error:
            return Unavailable(str(error))
        said = [(leg, reading(obj, sight.rule, alone(target, leg), sight.services)) for leg, obj in sight.there()]
        missing, unread = sight.missing(), sight.unread()
        if said:
            return joined(target, said, [*missing], [*unread])
        return Unavailable(first_of(unread)) if unread else Gone(first_of(missing))

    async def set_route(self, target: Target, route: Route, seen: Mesh) -> None:
        """Order it, in every VirtualService in which it is not so already.

        Where there are several, those whose share sinks come first, and one that cannot be read or written, or carries
        a newer order, keeps no other from it. Then those whose share rises, if nothing is in the way on any of them, up
        to the first that cannot be written. Where no share sinks, nothing is written beside a newer order.

        Raises:
            Conflict: one changed since `seen`, is gone, or another order with this epoch or a newer one stands.
            Refused: the share must not be raised on a route of this shape, or the API server does not accept it.
            Outage: the API server did not answer, or one could not be read.
        """
        sight = await self._look(target)
        unread = sight.unread()
        before = {part.leg: part.percent for part in seen.parts} or {target.legs[0]: seen.percent}
        known = [leg for leg in target.legs if leg not in unread and (leg in before or leg not in sight.missing())]
        sinking = [leg for leg in known if route.percent <= before.get(leg, -1)]
        rising = [leg for leg in known if leg not in sinking]
        if all(route.percent == before[leg] for leg in sinking):
            if rising:
                sight.check_all_read()
            for leg, obj in sight.there():
                check_epoch(leg, obj, target, route)
        failure: Exception | None = None
        for leg in sinking:
            try:
                patch = order_for(leg, sight, target, route, seen)
                if route.percent < before[leg]:
                    await self._check_landing(leg, sight, target)
                await self._write(leg, patch)
            except (Conflict, Refused, Outage) as error:
                failure = failure or error
        if failure is not None:
            raise failure
        sight.check_all_read()
        patches = [(leg, order_for(leg, sight, target, route, seen)) for leg in rising]
        if rising and len(known) < len(target.legs):
            raise Refused(f"the share is not raised in some VirtualServices alone: {first_of(sight.missing())}")
        for leg, patch in patches:
            await self._write(leg, patch)

    async def drop_destination(self, target: Target, version: str, seen: Mesh) -> None:
        """Take a version without traffic out of the route, if it is there; in slots the loser stays where it is.

        Raises:
            Conflict: it changed since `seen`, is gone, or another release ordered it.
            Refused: the version receives traffic, or the API server does not accept the change.
            Outage: the API server did not answer.
        """
        if target.slots:
            return
        sight = await self._look(target)
        patches = []
        for leg in target.legs:
            if leg in seen.missing and isinstance(sight.legs[leg], NotFound):
                continue
            obj = unchanged(leg, sight, target, seen)
            _, release = order_of(obj, target, leg)
            if release not in {"", target.release}:
                raise Conflict(f"{named_leg(leg)} was ordered by {release}")
            patches.append((leg, wanted(without(obj, sight.rule, alone(target, leg), version, sight.services))))
        for leg, patch in patches:
            await self._write(leg, patch)

    async def add_subset(self, target: Target, version: str) -> None:
        """Copy stable's subset for `version`, if it is not there; or give it the idle slot; or look for its Service.

        Raises:
            NotFound: there is no DestinationRule, or no Service of the version.
            Conflict: it changed meanwhile.
            Refused: nothing to copy, the name is taken, no slot is idle or known to be, or the API server says no.
            Outage: the API server did not answer.
        """
        if target.host is not None:
            await self._check_service(target, version)
            return
        rule = await self._rule(target)
        if not target.slots:
            await self._write_rule(target, wanted(with_subset(rule, target, version)))
            return
        if with_slot(rule, target, version, {}) == []:
            return
        # Stable's own slot, spoilt by hand, is given back to it whoever else sends there: a rollback needs it.
        found = await self._virtual_services(target, all_needed=version != target.stable)
        fed = {
            slot: _called(virtual_service, target)
            for virtual_service in found
            for slot in target.slots
            if feeds(virtual_service, slot, target)
        }
        await self._write_rule(target, wanted(with_slot(rule, target, version, fed)))

    async def drop_subset(self, target: Target, version: str) -> None:
        """Remove the version's subset, if it is there and selects this version by our naming or by nothing else.

        Slots stay, and Services are not ours.

        Raises:
            Conflict: the rule changed meanwhile.
            Refused: a VirtualService names it still, it is not ours to remove, or the API server does not accept it.
            Outage: the API server did not answer.
        """
        if target.slots or target.host is not None:
            return
        try:
            rule = await self._rule(target)
        except NotFound:
            return
        subset = subset_for(version, subsets_of(rule, target))
        if subset is None:
            return
        where = rule_name(target)
        if subset.name != subset_name(version) and not subset.exact:
            raise Refused(f"subset {subset.name!r} of {where} selects by more than the version: it was left")
        for virtual_service in await self._virtual_services(target):
            if names_subset(virtual_service, subset.name, target):
                name = _called(virtual_service, target)
                raise Refused(f"{name} names subset {subset.name!r} of {where}: it was left")
        await self._write_rule(target, without_subset(rule, subset))

    async def _look(self, target: Target, *, remembered: bool = False) -> Sight:
        """Read everything at once. Raises Outage, Refused or Conflict where the DestinationRule cannot be read."""
        legs = (
            self._attempt("virtualservices", leg.namespace, leg.virtual_service, remembered=remembered)
            for leg in target.legs
        )
        found, rule, services = await asyncio.gather(
            asyncio.gather(*legs),
            self._rule_if_any(target, remembered=remembered),
            self._services(target, remembered=remembered),
        )
        self._doubt_version(found)
        # Without its labels a subset cannot be told from another: the share read would be a guess.
        settled = _settled(rule)
        return Sight(
            dict(zip(target.legs, found, strict=True)), None if isinstance(settled, NotFound) else settled, services
        )

    async def _rule_if_any(self, target: Target, *, remembered: bool) -> JsonObject | Exception:
        if target.host is not None:
            return NotFound("a host split needs no DestinationRule")
        return await self._attempt("destinationrules", target.namespace, target.destination_rule, remembered=remembered)

    async def _services(self, target: Target, *, remembered: bool) -> Services:
        """Which versions have a Service. Never raises: the way back needs no more than the route itself.

        Services are not watched. While a weight is held, those that were there are taken to be there.
        """
        hosts = hosts_of(target)
        if remembered:
            return Services(there=frozenset(hosts))
        found = await asyncio.gather(*(self._service(target, host) for host in hosts))
        answers = list(zip(hosts, found, strict=True))
        return Services(
            there=frozenset(host for host, answer in answers if not isinstance(answer, Exception)),
            absent=frozenset(host for host, answer in answers if isinstance(answer, NotFound)),
        )

    async def _service(self, target: Target, host: str) -> JsonObject | Exception:
        if not is_service_name(host):
            return NotFound(f"no Service can be called {host!r}")
        try:
            return await self._cluster.get(f"/api/v1/namespaces/{target.namespace}/services/{host}")
        except (NotFound, Refused, Outage, Conflict) as error:
            return error

    async def _check_service(self, target: Target, version: str) -> None:
        answer = await self._service(target, target.host_of(version) or "")
        if isinstance(answer, NotFound):
            raise NotFound(no_service(target, version).message) from answer
        if isinstance(answer, Exception):
            raise answer

    async def _attempt(
        self, plural: str, namespace: str, name: str, *, remembered: bool = False
    ) -> JsonObject | Exception:
        """The object or the error: of several reads at once, none is left running when another fails."""
        try:
            collection = await self._path(plural, namespace)
            if remembered and self._mirror is not None:
                return await self._mirror.get(collection, name)
            return await self._cluster.get(f"{collection}/{name}")
        except (NotFound, Refused, Outage, Conflict) as error:
            return error

    def _doubt_version(self, answers: Iterable[JsonObject | Exception]) -> None:
        """Where all was denied, perhaps this version of the group is served no longer: find out before the next call.

        Not where one was answered: the way back must not hang on a question whose answer is known.
        """
        if all(isinstance(answer, Denied) for answer in answers):
            self._version = ""

    async def _rule(self, target: Target) -> JsonObject:
        rule = await self._attempt("destinationrules", target.namespace, target.destination_rule)
        self._doubt_version([rule])
        if isinstance(rule, Exception):
            raise rule
        return rule

    async def _check_landing(self, leg: Leg, sight: Sight, target: Target) -> None:
        """Refuse to send working traffic to what exists nowhere, where all of it would be answered 503 NC.

        Only certainty refuses: whatever cannot be looked up does not stand in the way of a rollback.
        """
        obj = sight.legs[leg]
        names = None if isinstance(obj, Exception) else landing(obj, sight.rule, alone(target, leg), sight.services)
        if names is None:
            return
        canary, stable = names
        if target.host is not None:
            if stable in sight.services.absent and canary in sight.services.there:
                raise Refused(f"there is no Service {target.namespace}/{stable}, to which the traffic would return")
            return
        known = {subset.name for subset in subsets_of(sight.rule, target)}
        if stable in known or canary not in known:
            return
        try:
            # Istio merges all rules of a namespace for one host (destination_rule.go:mergeDestinationRule).
            rules = await self._cluster.list(await self._path("destinationrules", target.namespace))
        except (Outage, Refused, NotFound):
            return
        if not any(subset.name == stable for one in rules for subset in subsets_of(one, target)):
            raise Refused(
                f"{rule_name(target)} has lost subset {stable!r}, to which the traffic would return: every request "
                "would be answered 503; add the subset again"
            )

    async def _virtual_services(self, target: Target, *, all_needed: bool = False) -> Sequence[JsonObject]:
        """Those of the cluster, since a gateway's may live anywhere; else those of the namespace, and all legs.

        Raises Refused where the rest would not do (`all_needed`).
        """
        try:
            return await self._cluster.list(await self._path("virtualservices"))
        except Refused as error:
            if all_needed:
                raise Refused(
                    f"`list virtualservices` in all namespaces is not granted, and one in any of them may send to a "
                    f"subset of {rule_name(target)}: grant it, or take route.subsets out of the policy ({error})"
                ) from error
            here = await self._cluster.list(await self._path("virtualservices", target.namespace))
        away = [leg for leg in target.legs if leg.namespace != target.namespace]
        found = await asyncio.gather(
            *(self._attempt("virtualservices", leg.namespace, leg.virtual_service) for leg in away)
        )
        settled = [_settled(answer) for answer in found]
        return [*here, *(one for one in settled if not isinstance(one, NotFound))]

    async def _write(self, leg: Leg, patch: list[Operation]) -> None:
        await self._patch("virtualservices", leg.namespace, leg.virtual_service, patch)

    async def _write_rule(self, target: Target, patch: list[Operation]) -> None:
        await self._patch("destinationrules", target.namespace, target.destination_rule, patch)

    async def _patch(self, plural: str, namespace: str, name: str, patch: list[Operation]) -> None:
        if not patch:
            return
        try:
            await self._cluster.patch(f"{await self._path(plural, namespace)}/{name}", patch)
        except NotFound as error:
            raise Conflict(f"{plural} {namespace}/{name} is gone since it was read") from error

    async def _path(self, plural: str, namespace: str | None = None) -> str:
        """Raw API path under the version the cluster serves: asked once and kept, so that a rollback need not ask."""
        if not self._version:
            try:
                self._version = await self._cluster.served_version(GROUP, VERSIONS)
            except NotFound as error:
                raise Outage(f"the cluster serves no {GROUP}: {error}") from error
        scope = f"/namespaces/{namespace}" if namespace is not None else ""
        return f"/apis/{GROUP}/{self._version}{scope}/{plural}"


def _settled(answer: JsonObject | Exception) -> JsonObject | NotFound:
    """What an answer says of an object. Raises what says nothing of it."""
    if isinstance(answer, Exception) and not isinstance(answer, NotFound):
        raise answer
    return answer


def _called(virtual_service: JsonObject, target: Target) -> str:
    metadata = mapping(virtual_service.get("metadata"))
    return f"VirtualService {metadata.get('namespace', target.namespace)}/{metadata.get('name')}"
