"""Other VirtualServices for the same host or the same service, and clients that the stepped ones do not reach.

Belongs here: rules over decoded VirtualServices. Does not belong here: the stepped route's own problems
(`adapters/virtual_service.py`), Gateway API routes (`gateway_api.py`), reading.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.scene import (
    MESH,
    Scene,
    age_of,
    exported,
    labelled,
    listed,
    name_of,
    namespace_of,
    spec_of,
)
from rollout.core.preflight import Finding

_KIND = "VirtualService"


@dataclass(frozen=True, slots=True)
class Carriers:
    """All VirtualServices of the cluster, by their part in the release."""

    legs: tuple[JsonObject, ...]
    """Those that are stepped."""
    roots: tuple[JsonObject, ...]
    """Those that delegate to one of them."""
    others: tuple[JsonObject, ...]

    @property
    def bound(self) -> tuple[JsonObject, ...]:
        """Those that bring hosts and gateways: roots for delegates, the stepped ones otherwise."""
        return tuple(one for one in (*self.legs, *self.roots) if not is_delegate(one))


def carriers(scene: Scene, services: Iterable[JsonObject]) -> Carriers:
    """Sort them out."""
    named = {(leg.namespace, leg.virtual_service) for leg in scene.target.legs}
    every = {(namespace_of(one), name_of(one)): one for one in services}
    legs = tuple(one for key, one in every.items() if key in named)
    delegates = {key for key, one in every.items() if key in named and is_delegate(one)}
    roots = tuple(one for key, one in every.items() if key not in named and delegates & set(_delegated(one)))
    others = tuple(one for key, one in every.items() if key not in named and one not in roots)
    return Carriers(legs, roots, others)


def is_delegate(obj: JsonObject) -> bool:
    """It has no hosts of its own: only roots that name it bring it requests."""
    return not sequence(spec_of(obj).get("hosts"))


def _delegated(obj: JsonObject) -> Iterator[tuple[str, str]]:
    for route in sequence(spec_of(obj).get("http")):
        delegate = mapping(mapping(route).get("delegate"))
        if delegate:
            yield str(delegate.get("namespace") or namespace_of(obj)), str(delegate.get("name") or "")


def gateways_of(obj: JsonObject) -> frozenset[str]:
    """`mesh` and `namespace/name` of all it is bound to (pilot/pkg/model/virtualservice.go, resolveGatewayName)."""
    spec, home = spec_of(obj), namespace_of(obj)
    named = [*sequence(spec.get("gateways"))] or [MESH]
    for route in sequence(spec.get("http")):
        for match in sequence(mapping(route).get("match")):
            named += sequence(mapping(match).get("gateways"))
    return frozenset(_gateway(str(one), home) for one in named)


def _gateway(name: str, home: str) -> str:
    if name == MESH:
        return name
    if "/" in name:
        namespace, _, rest = name.partition("/")
        return f"{home if namespace == '.' else namespace}/{rest}"
    first, dot, rest = name.partition(".")
    return f"{rest.partition('.')[0]}/{first}" if dot else f"{home}/{name}"


def _hosts(scene: Scene, obj: JsonObject) -> frozenset[str]:
    return frozenset(scene.resolved(host, namespace_of(obj)) for host in sequence(spec_of(obj).get("hosts")))


def destinations(obj: JsonObject) -> Iterator[JsonObject]:
    """Every `destination` of its routes."""
    for kind in ("http", "tls", "tcp"):
        for route in sequence(spec_of(obj).get(kind)):
            for entry in sequence(mapping(route).get("route")):
                yield mapping(mapping(entry).get("destination"))


def _sends(scene: Scene, obj: JsonObject) -> bool:
    return any(scene.means(one.get("host"), namespace_of(obj)) for one in destinations(obj))


def conflicts(scene: Scene, sorted_out: Carriers) -> Iterator[Finding]:
    """Another VirtualService for a host of ours, on a gateway of ours."""
    for other in sorted_out.others:
        for ours in sorted_out.bound:
            hosts = _hosts(scene, ours) & _hosts(scene, other)
            gateways = gateways_of(ours) & gateways_of(other)
            if hosts and gateways:
                yield _conflict(scene, ours, other, min(hosts), gateways)
                break


def _conflict(scene: Scene, ours: JsonObject, other: JsonObject, host: str, gateways: frozenset[str]) -> Finding:
    winner, loser = sorted((ours, other), key=age_of)
    where = labelled(_KIND, other)
    if MESH not in gateways:
        return found(
            "virtual-service-conflict",
            where,
            f"it has host {host} at gateway {min(gateways)} as {labelled(_KIND, ours)} has: their routes are joined, "
            f"those of {labelled(_KIND, winner)} first, and of two that take everything the second is never reached",
            severity="warning",
        )
    # A private one elsewhere is for the clients of its own namespace; there it comes before ours.
    readers = {scene.target.namespace, *scene.clients}
    private = not any(exported(other, one) for one in readers)
    return found(
        "virtual-service-conflict",
        where,
        f"it has host {host} in the mesh as {labelled(_KIND, ours)} has: Istio follows the older one, "
        f"{labelled(_KIND, winner)}, and ignores {labelled(_KIND, loser)}",
        severity="warning" if private or loser is other else "error",
    )


def bypasses(scene: Scene, sorted_out: Carriers) -> Iterator[Finding]:
    """VirtualServices with no part in the release that send to the service all the same."""
    ours = sorted_out.bound
    for other in sorted_out.others:
        if not _sends(scene, other):
            continue
        gateways = gateways_of(other)
        if any(_hosts(scene, one) & _hosts(scene, other) and gateways_of(one) & gateways for one in ours):
            continue
        outside = sorted(gateways - {MESH})
        if is_delegate(other):
            yield found(
                "other-route",
                labelled(_KIND, other),
                "it is a delegate that sends to the service: these requests follow no weights",
            )
        elif outside:
            yield found(
                "ingress-not-stepped",
                labelled(_KIND, other),
                f"it sends to the service from gateway {outside[0]}, by weights of its own: these requests do not take "
                "part in the release",
            )
        else:
            hosts = listed(_hosts(scene, other))
            yield found(
                "other-route",
                labelled(_KIND, other),
                f"it sends requests for {hosts} to the service, by weights of its own: they take no part in it",
            )


def unreached(sorted_out: Carriers, callers: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Bound to gateways only, while pods of the mesh call the service; `callers`: (namespace, workload) of clients."""
    bound = sorted_out.bound
    if not bound or any(MESH in gateways_of(one) for one in bound):
        return
    # Gateways report as clients too, and nothing in the metrics says that they are gateways but their names.
    inside = [f"{space}/{name}" for space, name in sorted(callers) if "gateway" not in name and "ingress" not in name]
    if inside:
        yield found(
            "mesh-not-stepped",
            labelled(_KIND, bound[0]),
            f"it is bound to {listed(gateways_of(bound[0]))} only, but {listed(inside)} called the service through the "
            "mesh: such requests follow no weights",
        )


def roots(sorted_out: Carriers) -> Iterator[Finding]:
    """Who hands requests to a delegate."""
    for root in sorted_out.roots:
        yield found("delegate-root", labelled(_KIND, root), "it delegates to the VirtualService that is stepped")


def hidden(scene: Scene, sorted_out: Carriers) -> Iterator[Finding]:
    """A stepped VirtualService for the mesh that is not exported to a namespace that calls the service."""
    for one in sorted_out.bound:
        if MESH not in gateways_of(one):
            continue
        blind = [
            client for client in sorted(scene.clients) if client != namespace_of(one) and not exported(one, client)
        ]
        if blind:
            yield found(
                "not-exported",
                labelled(_KIND, one),
                f"clients in {listed(blind)} do not see it: their requests follow no weights and reach every version",
            )


def mirrors(scene: Scene, legs: Sequence[JsonObject], subsets: Collection[str]) -> Iterator[Finding]:
    """Mirrored requests that reach the canary, where the policy counts them; `subsets`: names of the canary's."""
    if "destination" not in scene.policy.metrics.reporters:
        return
    own = scene.target.host_of(scene.target.canary)
    for obj in legs:
        for route in sequence(spec_of(obj).get("http")):
            entry = mapping(route)
            copies = [
                mapping(entry.get("mirror")),
                *(mapping(one).get("destination") for one in sequence(entry.get("mirrors"))),
            ]
            for copy in map(mapping, copies):
                if not scene.means(copy.get("host"), namespace_of(obj)):
                    continue
                named = copy.get("subset")
                to_canary = (
                    scene.resolved(copy.get("host"), namespace_of(obj)) == scene.full(own)
                    if own
                    else named in {None, *subsets}
                )
                if to_canary:
                    yield found(
                        "mirrored",
                        labelled(_KIND, obj),
                        f"it mirrors requests to {scene.target.canary}: reporter destination counts them too",
                    )
