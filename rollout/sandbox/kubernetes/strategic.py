"""Strategic merge patch, for built-in resources: merge patch that knows which lists are maps.

Belongs here: k8s.io/apimachinery pkg/util/strategicpatch as far as `kubectl apply`, `patch`, `set` and
`rollout restart` use it, and the table of merge keys (`patchMergeKey` in k8s.io/api). Does not belong here:
custom resources, which refuse this patch type.
"""

from typing import Any, Final

from rollout.sandbox.kubernetes.refusals import bad_request
from rollout.sandbox.kubernetes.resources import JsonObject

MERGE_KEYS: Final = {
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""List field -> key of its items, wherever in an object it stands; `ports` depends on the place."""

_SETS: Final = frozenset({"finalizers"})
_REPLACE, _DELETE, _MERGE = "replace", "delete", "merge"


def merge_key(kind: str, field: str) -> str | None:
    """The key of a list's items, or None for a list that is replaced as a whole."""
    if field == "ports":
        return "port" if kind == "Service" else "containerPort"
    return MERGE_KEYS.get(field)


def strategic_patched(kind: str, obj: JsonObject, patch: Any) -> JsonObject:
    """The patched copy; shares unchanged parts with `obj`.

    Raises:
        Refused: 400, the patch is no object, has an unknown directive, or an item lacks its merge key.
    """
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch must be a JSON object")
    return _merged(kind, obj, patch)


def _merged(kind: str, target: JsonObject, patch: JsonObject) -> JsonObject:
    directive = patch.get("$patch")
    if directive == _REPLACE:
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == _DELETE:
        return {}
    if directive not in {None, _MERGE}:
        raise bad_request(f"unrecognized type: {directive}")
    for key, value in patch.items():
        if key.startswith("$") and key != "$patch" and not isinstance(value, list):
            raise bad_request(f"expected a list of values for {key}")
    kept = patch.get("$retainKeys")
    result = {key: value for key, value in target.items() if kept is None or key in kept}
    for key, value in patch.items():
        word, slash, field = key.partition("/")
        if slash and word == "$deleteFromPrimitiveList":
            result[field] = [item for item in result.get(field) or [] if item not in value]
        elif not key.startswith("$"):
            _set(kind, result, key, value)
    for key, order in patch.items():
        word, slash, field = key.partition("/")
        if slash and word == "$setElementOrder" and isinstance(result.get(field), list):
            result[field] = _ordered(merge_key(kind, field), result[field], order)
    return result


def _set(kind: str, result: JsonObject, key: str, value: Any) -> None:
    """Merge one field of a patch into `result`."""
    below = result.get(key)
    if value is None:
        result.pop(key, None)
    elif isinstance(value, dict):
        result[key] = _merged(kind, below if isinstance(below, dict) else {}, value)
    elif isinstance(value, list):
        result[key] = _merged_list(kind, key, below if isinstance(below, list) else [], value)
    else:
        result[key] = value


def _merged_list(kind: str, field: str, target: list[Any], patch: list[Any]) -> list[Any]:
    if field in _SETS:
        return [*target, *(item for item in patch if item not in target)]
    key = merge_key(kind, field)
    if key is None or not all(isinstance(item, dict) for item in patch):
        return patch
    if any(item.get("$patch") == _REPLACE for item in patch):
        return [item for item in patch if item.get("$patch") != _REPLACE]
    result = list(target)
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        at = next((i for i, present in enumerate(result) if present.get(key) == item[key]), None)
        if item.get("$patch") == _DELETE:
            if at is not None:
                del result[at]
        elif at is None:
            result.append(_merged(kind, {}, item))
        else:
            result[at] = _merged(kind, result[at], item)
    return result


def _ordered(key: str | None, items: list[Any], order: list[Any]) -> list[Any]:
    """Items named in `order` in that order; the others keep their places at the end."""
    wanted = [entry[key] if key and isinstance(entry, dict) else entry for entry in order]

    def place(item: Any) -> int:
        name = item.get(key) if key and isinstance(item, dict) else item
        return wanted.index(name) if name in wanted else len(wanted)

    return sorted(items, key=place)
