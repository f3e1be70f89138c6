"""Who ordered last: two annotations on a VirtualService, and whose name is whose across namespaces.

Belongs here: reading and writing them. Does not belong here: weights (`virtual_service.py`), what follows from somebody
else's name (`istio.py`, `core/standing.py`).

A VirtualService may be stepped by releases of several namespaces, as a gateway's is; names are unique in one only. In
the release's own namespace its bare name is written, elsewhere `<namespace>/<name>`.
"""

import re

from rollout.adapters.destination_rule import JsonObject, Operation, mapping, pointer
from rollout.core.route import Leg, Route, Target

# No `istio.io` in the keys: istiod pushes nothing for a change of other metadata (config_compare.go:NeedsPush).
EPOCH = "rollout.dev/epoch"
RELEASE = "rollout.dev/release"

_EPOCH = re.compile(r"[0-9]{1,18}")


def order_of(virtual_service: JsonObject, target: Target, leg: Leg) -> tuple[int, str]:
    """(epoch, author) of the last order on `leg`; (0, "") where none can be read. The author as in `author_of`."""
    annotations = mapping(mapping(virtual_service.get("metadata")).get("annotations"))
    epoch, written = annotations.get(EPOCH), annotations.get(RELEASE)
    return (
        int(epoch) if isinstance(epoch, str) and _EPOCH.fullmatch(epoch) else 0,
        author_of(written, target, leg) if isinstance(written, str) else "",
    )


def author_of(written: str, target: Target, leg: Leg) -> str:
    """A name on `leg` as the target's namespace says it: bare for a release of its own, else `<namespace>/<name>`.

    A bare name is of the namespace in which it stands.
    """
    namespace, slash, name = written.partition("/")
    if not slash:
        namespace, name = leg.namespace, written
    if not name:
        return written
    return name if namespace == target.namespace else f"{namespace}/{name}"


def signature(target: Target, leg: Leg) -> str:
    """The target's own release as it is written on `leg`; `author_of` reads it back."""
    return target.release if leg.namespace == target.namespace else f"{target.namespace}/{target.release}"


def signed(virtual_service: JsonObject, target: Target, leg: Leg, route: Route) -> list[Operation]:
    """Operations that write the order's epoch and release, where they are not there yet."""
    wanted = {EPOCH: str(route.epoch), RELEASE: signature(target, leg)}
    there = mapping(virtual_service["metadata"].get("annotations"))
    missing = {key: value for key, value in wanted.items() if there.get(key) != value}
    if not virtual_service["metadata"].get("annotations"):
        # An empty map too is replaced: a null would let no member be added (RFC 6902 §4.1).
        return [{"op": "add", "path": "/metadata/annotations", "value": missing}] if missing else []
    return [
        {
            "op": "replace" if key in there else "add",
            "path": f"/metadata/annotations/{pointer(key)}",
            "value": value,
        }
        for key, value in missing.items()
    ]
