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
_CORE_NAMES: Final = {new: old for old, new in _EVENT_NAMES.items()}


def _renamed(obj: JsonObject, names: dict[str, str]) -> JsonObject:
    return {names.get(key, key): value for key, value in obj.items()}


def to_served(resource: Resource, obj: JsonObject, wanted: GroupVersion) -> JsonObject:
    """The stored object as `wanted` shows it; shares everything below the top level with the store."""
    if wanted == resource.stored:
        return obj
    shown = {**obj, "apiVersion": wanted.text}
    return _renamed(shown, _EVENT_NAMES) if resource is EVENTS else shown


def to_stored(resource: Resource, obj: JsonObject, given: GroupVersion) -> JsonObject:
    """The object a client wrote under `given`, as it is stored."""
    stored = {**obj, "apiVersion": resource.stored.text, "kind": resource.kind}
    if resource is EVENTS and given != resource.stored:
        return _renamed(stored, _CORE_NAMES)
    return stored
