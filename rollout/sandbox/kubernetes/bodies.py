"""What a client wrote, checked against where it was sent, in the form that is stored.

Belongs here: kind, apiVersion, name and namespace of a body, and the types of the fields every object has.
Does not belong here: syntax (`negotiation.py`), rules about values (`naming.py`, `registry.py`).
"""

from typing import Any, Final

from rollout.sandbox.kubernetes.conversion import to_stored
from rollout.sandbox.kubernetes.refusals import Cause, bad_request, invalid
from rollout.sandbox.kubernetes.resources import JsonObject
from rollout.sandbox.kubernetes.targets import Target

_OBJECTS: Final = ("spec", "status", "data", "involvedObject", "regarding")
_STRINGS: Final = ("name", "generateName", "namespace", "uid", "resourceVersion")
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
            raise bad_request(f"json: cannot unmarshal {part} into an object")
    return to_stored(resource, {**body, "metadata": metadata}, given)


def _read_metadata(found: Any) -> JsonObject:
    if not isinstance(found or {}, dict):
        raise bad_request("json: cannot unmarshal metadata into an object")
    metadata = {key: value for key, value in (found or {}).items() if value is not None}
    for key in _STRINGS:
        if not isinstance(metadata.get(key, ""), str):
            raise bad_request(f"json: cannot unmarshal metadata.{key} into a string")
    for key in _STRING_MAPS:
        entries = metadata.get(key, {})
        if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
            raise bad_request(f"json: cannot unmarshal metadata.{key} into a map of strings")
    finalizers = metadata.get("finalizers", [])
    if not isinstance(finalizers, list) or not all(isinstance(entry, str) for entry in finalizers):
        raise bad_request("json: cannot unmarshal metadata.finalizers into a list of strings")
    return metadata
