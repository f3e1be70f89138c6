"""Who owns which field: `metadata.managedFields`, and server-side apply.

Belongs here: what a write does to the owners of fields, and when an apply conflicts (k8s.io/apimachinery
pkg/util/managedfields). Does not belong here: what a field is (`fields.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from rollout.sandbox.kubernetes.fields import (
    Path,
    containers,
    from_fields_v1,
    is_key,
    item_key,
    leaves,
    path_text,
    removed,
    to_fields_v1,
)
from rollout.sandbox.kubernetes.refusals import Cause, apply_conflict, bad_request
from rollout.sandbox.kubernetes.resources import JsonObject, Resource

_UPDATE: Final = "Update"
_APPLY: Final = "Apply"


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, how and when: one entry of managedFields without its fields. `now` is RFC 3339."""

    manager: str
    version: str
    subresource: str
    now: str


@dataclass(frozen=True, slots=True)
class _Claim:
    manager: str
    operation: str
    version: str
    subresource: str
    time: str
    paths: frozenset[Path]

    def is_of(self, writer: Writer, operation: str) -> bool:
        same = (self.manager, self.operation, self.subresource) == (writer.manager, operation, writer.subresource)
        return same and (operation == _APPLY or self.version == writer.version)

    def without(self, paths: Iterable[Path]) -> "_Claim":
        return replace(self, paths=self.paths - frozenset(paths))

    def as_json(self) -> JsonObject:
        return {
            "manager": self.manager,
            "operation": self.operation,
            "apiVersion": self.version,
            **({"time": self.time} if self.time else {}),
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields_v1(set(self.paths)),
            **({"subresource": self.subresource} if self.subresource else {}),
        }


def _claims(obj: JsonObject) -> list[_Claim]:
    entries = obj["metadata"].get("managedFields") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise bad_request("metadata.managedFields must be a list of objects")
    return [
        _Claim(
            manager=str(entry.get("manager", "")),
            operation=str(entry.get("operation", _UPDATE)),
            version=str(entry.get("apiVersion", "")),
            subresource=str(entry.get("subresource", "")),
            time=str(entry.get("time", "")),
            paths=frozenset(from_fields_v1(entry.get("fieldsV1") or {})),
        )
        for entry in entries
        if entry
    ]


def _with_claims(obj: JsonObject, claims: Iterable[_Claim]) -> JsonObject:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    # managedfields/internal/managers.go, sortEncodedManagedFields.
    ordered = sorted(claims, key=lambda one: (one.operation, one.time, one.manager, one.version, one.subresource))
    if entries := [claim.as_json() for claim in ordered if claim.paths]:
        metadata["managedFields"] = entries
    return {**obj, "metadata": metadata}


def after_update(resource: Resource, current: JsonObject, new: JsonObject, writer: Writer) -> JsonObject:
    """`new`, its changed fields owned by the writer alone.

    Args:
        resource: of both.
        current: the object before; `{"metadata": {}}` for a create.
        new: the object after, with the managedFields the client sent or else the present ones.
        writer: of this create, PUT or PATCH.
    """
    before, after = leaves(resource, current), leaves(resource, new)
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    changed |= containers(resource, changed) - containers(resource, before)
    gone = before.keys() - after.keys()
    gone |= containers(resource, before) - containers(resource, after)
    if not changed and not gone:
        return new
    claims, mine = [], None
    for claim in _claims(new):
        if claim.is_of(writer, _UPDATE):
            mine = replace(claim, time=writer.now, paths=(claim.paths - gone) | changed)
            claims.append(mine)
        else:
            claims.append(claim.without(changed | gone))
    if mine is None:
        claims.append(
            _Claim(writer.manager, _UPDATE, writer.version, writer.subresource, writer.now, frozenset(changed))
        )
    return _with_claims(new, claims)


def applied(
    resource: Resource, current: JsonObject | None, wanted: JsonObject, writer: Writer, *, force: bool
) -> JsonObject:
    """The object after a server-side apply, owners included.

    Fields the writer applied before and leaves out now are removed, unless someone else owns them too.

    Args:
        resource: of both.
        current: the object, if it exists.
        wanted: the applied configuration, in stored form.
        writer: who applies.
        force: take fields over instead of conflicting.

    Raises:
        Refused: 409, fields with other values belong to others; 400, it brings managedFields.
    """
    if "managedFields" in wanted["metadata"]:
        raise bad_request("metadata.managedFields must be nil")
    wanted = _without_nulls(wanted)
    if resource.status:
        # The status belongs to /status and everything else does not.
        wanted = {key: value for key, value in wanted.items() if (key == "status") is bool(writer.subresource)} | {
            key: wanted[key] for key in ("apiVersion", "kind", "metadata")
        }
    targets = leaves(resource, wanted)
    if current is None:
        return _with_claims(wanted, [_applied_claim(writer, targets, writer.now)])
    claims = _claims(current)
    mine = next((claim for claim in claims if claim.is_of(writer, _APPLY)), None)
    others = [claim for claim in claims if claim is not mine]
    live = leaves(resource, current)
    contested = {path for path, value in targets.items() if path not in live or live[path] != value}
    if not resource.custom:
        # What is empty there is the same as what is not there.
        contested -= {path for path in contested if targets[path] in ({}, []) and path not in live}
    fought = [(claim, path) for claim in others for path in sorted(claim.paths & contested)]
    if fought and not force:
        raise apply_conflict([_cause(claim, path) for claim, path in fought])
    others = [claim.without(contested) for claim in others]
    result = _overlaid(resource, (), current, wanted)
    kept = {path for claim in others for path in claim.paths}
    dropped = (mine.paths if mine else frozenset()) - targets.keys() - kept
    # Whole items first: a leaf of theirs is then gone already, and an item without its key cannot be found.
    for path in sorted(dropped, key=lambda path: (path[-1] != ".", path)):
        if not is_key(path):
            result = removed(resource, result, path)
    # Whoever owned a field of an item owns nothing more once the item's owner has taken it away.
    left = leaves(resource, result)
    present = left.keys() | containers(resource, left)
    others = [claim.without(path for path in claim.paths - present if _in_an_item(path)) for claim in others]
    # The time is that of the last change, not of the last apply.
    unchanged = mine.time if mine else ""
    return _with_claims(result, [*others, _applied_claim(writer, targets, unchanged if left == live else writer.now)])


def _in_an_item(path: Path) -> bool:
    return any(segment.startswith("k:") for segment in path)


def _applied_claim(writer: Writer, targets: Iterable[Path], time: str) -> _Claim:
    return _Claim(writer.manager, _APPLY, writer.version, writer.subresource, time, frozenset(targets))


def _cause(claim: _Claim, path: Path) -> Cause:
    said = f'conflict with "{claim.manager}"'
    if claim.subresource:
        said += f' with subresource "{claim.subresource}"'
    if claim.operation == _UPDATE:
        said += f" using {claim.version}"
    return Cause(path_text(path), said, "FieldManagerConflict")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def _overlaid(resource: Resource, path: Path, base: Any, over: Any) -> Any:
    """`over` laid on `base`: objects and keyed lists merge, everything else is replaced."""
    if isinstance(over, dict) and isinstance(base, dict):
        merged = {k: _overlaid(resource, (*path, f"f:{k}"), base.get(k), v) for k, v in over.items()}
        return {**base, **merged}
    if isinstance(over, list) and isinstance(base, list) and over:
        keys = [item_key(resource, path, item) for item in over]
        if path and keys[0] is not None:
            result = list(base)
            places = {item_key(resource, path, item): at for at, item in enumerate(base)}
            for key, item in zip(keys, over, strict=True):
                if key in places:
                    at = places[key]
                    result[at] = _overlaid(resource, (*path, str(key)), base[at], item)
                else:
                    result.append(item)
            return result
    return over
