"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902) of decoded objects.

Belongs here: patch in, patched copy out, without any knowledge of Kubernetes objects. Does not belong here:
strategic merge patch (`strategic.py`) and server-side apply (`ownership.py`).
"""

import copy
from typing import Any, Final

import jsonpatch
import jsonpointer

from rollout.sandbox.kubernetes.refusals import bad_request, invalid_request, too_large
from rollout.sandbox.kubernetes.resources import JsonObject

_OPERATIONS_LIMIT: Final = 10_000


def merge_patched(obj: JsonObject, patch: Any) -> JsonObject:
    """RFC 7386; the result shares unchanged parts with `obj`.

    Raises:
        Refused: 400, the patch is no JSON object.
    """
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a merge patch must be a JSON object")
    return _merged(obj, patch)


def _merged(target: JsonObject, patch: JsonObject) -> JsonObject:
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result


def json_patched(obj: JsonObject, patch: Any) -> JsonObject:
    """RFC 6902 on a deep copy.

    Raises:
        Refused: 400, not a list of operations; 413, more than 10,000 operations; 422, an operation is not known
            or cannot be carried out, a failed `test` included.
    """
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("error decoding patch: a JSON patch must be an array of operations")
    if len(patch) > _OPERATIONS_LIMIT:
        raise too_large(_OPERATIONS_LIMIT)
    try:
        result = jsonpatch.apply_patch(copy.deepcopy(obj), patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        # The library lets a TypeError through when a pointer walks into a number or a string.
        raise invalid_request() from error
    if not isinstance(result, dict):
        raise invalid_request()
    return result
