"""What a client wrote, checked against where it was sent, in the form that is stored.

Belongs here: kind, apiVersion, name and namespace of a body, and the types of the fields every object has.
Does not belong here: syntax (`negotiation.py`), rules about values (`naming.py`, `registry.py`).
"""

from typing import Any, Final

from rollout.sandbox.kubernetes.conversion import to_stored
from rollout.sandbox.kubernetes.refusals import Cause, Undecodable, bad_request, conflict, invalid, invalid_kind
from rollout.sandbox.kubernetes.resources import JsonObject
from rollout.sandbox.kubernetes.targets import Target

_OBJECTS: Final = ("spec", "status", "data", "involvedObject", "regarding")
# Fields of built-in kinds that Go leaves out when they are empty (`omitempty` in k8s.io/api).
_OMITTED: Final = ("data", "binaryData", "stringData")
_STRINGS: Final = ("name", "generateName", "namespace", "uid", "resourceVersion")
_EMPTIED: Final = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")
_STRING_MAPS: Final = ("labels", "annotations")


def read_body(target: Target, body: JsonObject, *, applies: bool = False) -> JsonObject:
    """The object as it would be stored: name and namespace filled in from the URL, null metadata dropped.

    Args:
        target: where it was sent; without a name for a collection.
        body: in the target's group version.
        applies: it is an apply, which must say its kind for built-in resources too.

    Raises:
        Refused: 400, body and URL disagree or a field has the wrong type; 422, the latter in `spec` or
            `status` of a custom resource.
    """
    resource, given = target.resource, target.group_version
    kind, version = body.get("kind") or "", body.get("apiVersion") or ""
    if (resource.custom or applies) and not (kind and version):
        raise bad_request("Object 'Kind' or 'apiVersion' is missing in the body")
    if kind not in ("", resource.kind):
        if resource.custom and not applies:
            # A CRD's handler decodes anything and finds the kind wrong only when it validates.
            name = str((body.get("metadata") or {}).get("name", ""))
            cause = Cause("kind", f'Invalid value: "{kind}": must be {resource.kind}')
            raise invalid_kind(resource.stored.group, kind, name, cause)
        raise bad_request(f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})")
    if version not in ("", given.text):
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({given.text})"
        )
    metadata = _read_metadata(body.get("metadata"))
    if target.name and metadata.setdefault("name", target.name) != target.name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif metadata.setdefault("namespace", target.namespace) != target.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    for part in _OBJECTS:
        if not isinstance(body.get(part) or {}, dict):
            if resource.custom:
                cause = Cause(part, "Invalid value: must be of type object", "FieldValueTypeInvalid")
                raise invalid(resource, target.name, cause)
            raise Undecodable(f"json: cannot unmarshal {part} into an object")
    # An apply owns even what it leaves empty.
    whole = resource.custom or applies
    kept = body if whole else {key: value for key, value in body.items() if value or key not in _OMITTED}
    return to_stored(resource, {**kept, "metadata": metadata}, given)


def without_a_past(target: Target, body: JsonObject) -> JsonObject:
    """The body of a PUT that creates: what it was based on is gone (registry/generic/registry/store.go, Update).

    Raises:
        Refused: 409, it is about one object of that name, which its uid tells from all others.
    """
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return body
    if metadata.get("uid"):
        raise conflict(target.resource, target.name, f"Precondition failed: UID in precondition: {metadata['uid']}")
    return {**body, "metadata": {key: value for key, value in metadata.items() if key != "resourceVersion"}}


def _read_metadata(found: Any) -> JsonObject:
    if not isinstance(found or {}, dict):
        raise Undecodable("json: cannot unmarshal metadata into an object")
    metadata = {key: value for key, value in (found or {}).items() if value is not None}
    for key in _STRINGS:
        if not isinstance(metadata.get(key, ""), str):
            raise Undecodable(f"json: cannot unmarshal metadata.{key} into a string")
    for key in _STRING_MAPS:
        entries = metadata.get(key, {})
        if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
            raise Undecodable(f"json: cannot unmarshal metadata.{key} into a map of strings")
    finalizers = metadata.get("finalizers", [])
    if not isinstance(finalizers, list) or not all(isinstance(entry, str) for entry in finalizers):
        raise Undecodable("json: cannot unmarshal metadata.finalizers into a list of strings")
    return {key: value for key, value in metadata.items() if value or key not in _EMPTIED}
