"""Gateway API routes for the same Service: attached to it, or sending to it from a gateway.

Belongs here: rules over decoded HTTPRoutes and GRPCRoutes. Does not belong here: VirtualServices, reading.
"""

from collections.abc import Iterable, Iterator

from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.scene import Scene, labelled, namespace_of, spec_of
from rollout.core.preflight import Finding


def mixed(scene: Scene, kind: str, routes: Iterable[JsonObject]) -> Iterator[Finding]:
    """Routes of one kind that are for the service."""
    for route in routes:
        home, spec = namespace_of(route), spec_of(route)
        where = labelled(kind, route)
        # A parent has to say that it is a Service; a backend is one unless it says otherwise.
        if any(
            mapping(one).get("kind") == "Service" and _is_it(scene, one, home)
            for one in sequence(spec.get("parentRefs"))
        ):
            yield found(
                "mixed-apis", where, f"it routes requests for {scene.service} in the mesh, as the VirtualService does"
            )
        elif any(
            mapping(one).get("kind", "Service") == "Service" and _is_it(scene, one, home)
            for rule in sequence(spec.get("rules"))
            for one in sequence(mapping(rule).get("backendRefs"))
        ):
            yield found(
                "ingress-not-stepped",
                where,
                f"it sends to {scene.service} from a gateway, by weights of its own: these requests do not take "
                "part in the release",
                action="let the gateway route to it by a VirtualService that is named in route.virtualServices",
            )


def _is_it(scene: Scene, reference: object, home: str) -> bool:
    named = mapping(reference)
    if named.get("group") or str(named.get("namespace") or home) != scene.target.namespace:
        return False
    return scene.full(str(named.get("name"))) in scene.hosts
