"""Field sets: which leaves an object has, and their `fieldsV1` form.

Belongs here: paths of structured-merge-diff as far as server-side apply needs them; a path is a tuple of
`f:<field>`, `k:<keys of a list item>`, `v:<item of a set>` and `.` (the item itself). Does not belong here:
who owns a path (`ownership.py`).

Lists of custom resources are atomic unless our CRDs say otherwise; lists of built-in resources are maps where
`strategic.merge_key` says so. `metadata` is the same everywhere.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rollout.sandbox.kubernetes.definitions import list_keys
from rollout.sandbox.kubernetes.resources import JsonObject, Resource
from rollout.sandbox.kubernetes.strategic import merge_key

Path = tuple[str, ...]

_OWNABLE_METADATA: Final = frozenset({"labels", "annotations", "finalizers", "generateName", "ownerReferences"})
# Of built-in kinds: structs that are replaced as a whole, and maps; what is neither is a struct, always there.
_ATOMIC: Final = frozenset({"f:involvedObject", "f:related", "f:selector"})
_MAPS: Final = frozenset({"f:binaryData", "f:data", "f:stringData"})
_NEVER_OWNED: Final = frozenset({"apiVersion", "kind", "metadata"})


def item_key(resource: Resource, path: Path, item: Any) -> str | None:
    """The segment of one item of the list at `path`; None if that list is atomic."""
    in_metadata, field = path[0] == "f:metadata", path[-1].removeprefix("f:")
    if in_metadata and field == "finalizers":
        return f"v:{json.dumps(item)}"
    if resource.custom and not in_metadata:
        keys = list_keys(resource, path)
    else:
        keys = [key] if (key := merge_key(resource.kind, field)) else []
    if not keys or not isinstance(item, dict) or not all(key in item for key in keys):
        return None
    return f"k:{json.dumps({key: item[key] for key in keys}, separators=(',', ':'))}"


def leaves(resource: Resource, obj: JsonObject) -> dict[Path, Any]:
    """Every ownable leaf of an object with its value; an atomic list is one leaf."""
    metadata = obj.get("metadata") or {}
    found: dict[Path, Any] = {}
    for key in _OWNABLE_METADATA & metadata.keys():
        found.update(_below(resource, ("f:metadata", f"f:{key}"), metadata[key]))
    for key in obj.keys() - _NEVER_OWNED:
        found.update(_below(resource, (f"f:{key}",), obj[key]))
    return found


def _below(resource: Resource, path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value and (resource.custom or path[-1] not in _ATOMIC):
        for key, inner in value.items():
            yield from _below(resource, (*path, f"f:{key}"), inner)
    elif isinstance(value, list) and value and item_key(resource, path, value[0]) is not None:
        for item in value:
            segment = item_key(resource, path, item) or f"v:{json.dumps(item)}"
            if isinstance(item, dict):
                yield (*path, segment, "."), None
                yield from _below(resource, (*path, segment), item)
            else:
                yield (*path, segment), None
    else:
        yield path, value


def containers(resource: Resource, paths: Iterable[Path]) -> set[Path]:
    """The objects and keyed lists that the leaves stand in, as paths that end in `.`, where they can be owned."""
    return {
        (*path[:length], ".")
        for path in paths
        for length in range(1, len(path) - (path[-1] == "."))
        if path[:length] != ("f:metadata",)
        and (resource.custom or path[0] == "f:metadata" or path[length - 1] in _MAPS or path[length][0] in "kv")
    }


def removed(resource: Resource, obj: JsonObject, path: Path) -> JsonObject:
    """A copy without the leaf at `path`, nor the objects and lists that are empty then."""
    return _removed(resource, obj, path, 0) or {}


def _removed(resource: Resource, value: Any, path: Path, depth: int) -> Any:
    """`value` without the rest of the path; None when nothing is left of it."""
    if depth == len(path) or path[depth] == ".":
        return None
    segment = path[depth]
    if isinstance(value, dict) and (key := segment.removeprefix("f:")) in value:
        inner = _removed(resource, value[key], path, depth + 1)
        rest = {k: v for k, v in value.items() if k != key}
        return (rest if inner is None else {**value, key: inner}) or None
    if isinstance(value, list):
        kept = []
        for item in value:
            if item_key(resource, path[:depth], item) == segment:
                inner = _removed(resource, item, path, depth + 1)
                if inner is not None:
                    kept.append(inner)
            else:
                kept.append(item)
        return kept or None
    return value


def is_key(path: Path) -> bool:
    """Whether a leaf is what its list item is found by."""
    item, field = path[-2:] if len(path) > 1 else ("", "")
    return item.startswith("k:") and field.removeprefix("f:") in json.loads(item.removeprefix("k:"))


def to_fields_v1(paths: set[Path]) -> JsonObject:
    """The nested form kept in `managedFields`."""
    root: JsonObject = {}
    for path in sorted(paths):
        at = root
        for segment in path:
            at = at.setdefault(segment, {})
    return root


def from_fields_v1(fields: JsonObject) -> set[Path]:
    """The paths of the nested form."""

    def walk(at: JsonObject, path: Path) -> Iterator[Path]:
        for segment, below in at.items():
            if below:
                yield from walk(below, (*path, segment))
            else:
                yield (*path, segment)

    return set(walk(fields, ()))


def path_text(path: Path) -> str:
    """As conflicts name it: `.spec.template.spec.containers[name="app"].image`."""
    text = ""
    for segment in path:
        kind, _, rest = segment.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            keys = json.loads(rest)
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
        elif kind == "v":
            text += f"[={rest}]"
    return text
