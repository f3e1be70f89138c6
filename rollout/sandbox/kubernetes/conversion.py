"""One object, several API versions: from what is stored to what a client asked for, and back.

Belongs here: `apiVersion` rewriting (CRD conversion strategy None) and the two faces of an Event. Does not
belong here: defaulting, validation.
"""

from typing import Final

from rollout.sandbox.kubernetes.resources import EVENTS, GroupVersion, JsonObject, Resource

# kubernetes pkg/apis/events/v1/conversion.go: core name -> events.k8s.io name.
_EVENT_NAMES: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
# Left out when empty in events.k8s.io, and only there.
_UNSAID: Final = ("reportingComponent", "reportingInstance")
_CORE_NAMES: Final = {new: old for old, new in _EVENT_NAMES.items()}


def _renamed(obj: JsonObject, names: dict[str, str]) -> JsonObject:
    return {names.get(key, key): value for key, value in obj.items()}


def to_served(resource: Resource, obj: JsonObject, wanted: GroupVersion) -> JsonObject:
    """The stored object as `wanted` shows it; shares everything below the top level with the store."""
    if wanted == resource.stored:
        return obj
    shown = {**obj, "apiVersion": wanted.text}
    if resource is not EVENTS:
        return shown
    return _renamed({key: value for key, value in shown.items() if value or key not in _UNSAID}, _EVENT_NAMES)


def to_stored(resource: Resource, obj: JsonObject, given: GroupVersion) -> JsonObject:
    """The object a client wrote under `given`, as it is stored."""
    stored = {**obj, "apiVersion": resource.stored.text, "kind": resource.kind}
    if resource is EVENTS and given != resource.stored:
        return _renamed(stored, _CORE_NAMES)
    return stored


def core_field(resource: Resource, path: str) -> str:
    """A field selector's field under the name it has in the store."""
    first, dot, rest = path.partition(".")
    return f"{_CORE_NAMES.get(first, first)}{dot}{rest}" if resource is EVENTS else path
