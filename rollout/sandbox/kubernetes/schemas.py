"""Structural schemas: what a CRD's schema does to an object that is written.

Belongs here: pruning, and the checks of k8s.io/apiextensions-apiserver pkg/apiserver/{schema,validation}, for the
keywords that our own definitions use. Does not belong here: the definitions (`definitions.py`), the rules in CEL
(`rules.py`), rules about metadata (`naming.py`).
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from rollout.sandbox.kubernetes.refusals import Cause
from rollout.sandbox.kubernetes.resources import JsonObject

OPEN: Final = "x-kubernetes-preserve-unknown-fields"
EITHER: Final = "x-kubernetes-int-or-string"

UNDERSTOOD: Final = frozenset({
    "additionalProperties", "description", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "items",
    "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum",
    "nullable", "pattern", "properties", "required", "type", "x-kubernetes-list-map-keys", "x-kubernetes-list-type",
    "x-kubernetes-map-type", "x-kubernetes-validations", OPEN, EITHER,
})  # fmt: skip
"""The keywords a definition may use; a test holds ours against it."""

# metav1.MicroTime, which only our own schemas of built-in kinds name: exactly six digits.
_MICRO: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[-+]\d\d:\d\d)")
_TYPES: Final[dict[type, str]] = {
    dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null",
}  # fmt: skip
_OPEN: Final[JsonObject] = {OPEN: True}
# What is not declared may be null, what is declared may not: without a schema, we take every field for a declared one.
_ANY: Final[JsonObject] = {"additionalProperties": True}
_ROOT_FIELDS: Final = frozenset({"apiVersion", "kind", "metadata"})
_METADATA_FIELDS: Final = frozenset({
    "annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers",
    "generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences",
    "resourceVersion", "selfLink", "uid",
})  # fmt: skip


def pruned(schema: JsonObject | None, obj: JsonObject) -> tuple[JsonObject, list[str]]:
    """A custom object as it is stored: fields that nobody declared are dropped, and nulls where none may be.

    Args:
        schema: of the whole object; None takes all fields.
        obj: as it was written.

    Returns:
        The object, and the paths of the fields that were dropped for being unknown, sorted.
    """
    unknown: list[str] = []
    metadata = {}
    for key, value in obj["metadata"].items():
        if key in _METADATA_FIELDS:
            metadata[key] = value
        else:
            unknown.append(f"metadata.{key}")
    rest = {key: value for key, value in obj.items() if key not in _ROOT_FIELDS}
    kept = _pruned(_ANY if schema is None else schema, rest, "", unknown)
    names = {key: obj[key] for key in ("apiVersion", "kind") if key in obj}
    return {**names, "metadata": metadata, **kept}, sorted(unknown)


def _pruned(schema: JsonObject, value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, list):
        items = schema.get("items", _ANY if schema.get("additionalProperties") is True else _OPEN)
        return [_pruned(items, item, f"{path}[{at}]", unknown) for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, inner in value.items():
        below = _below(schema, key)
        place = f"{path}.{key}" if path else key
        if below is None:
            unknown.append(place)
        elif inner is not None or below.get("nullable") or (OPEN in schema and key not in schema.get("properties", {})):
            kept[key] = _pruned(below, inner, place, unknown)
    return kept


def _below(schema: JsonObject, key: str) -> JsonObject | None:
    """The schema of one field; None if there may be no such field."""
    declared: JsonObject | None = schema.get("properties", {}).get(key)
    if declared is None and isinstance(schema.get("additionalProperties"), dict):
        declared = schema["additionalProperties"]
    if declared is None and schema.get("additionalProperties") is True:
        declared = _ANY
    return _OPEN if declared is None and schema.get(OPEN) else declared


def check(schema: JsonObject, value: Any, path: str) -> Iterator[Cause]:
    """What is wrong with a value, its rules in CEL aside.

    Args:
        schema: of the value.
        value: pruned.
        path: where it stands, e.g. `spec.steps[0]`; empty for a whole object.
    """
    if value is None and schema.get("nullable"):
        return
    if wrong := _type_cause(schema, value, path):
        yield wrong
        return
    if "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(json.dumps(choice) for choice in schema["enum"])
        why = f"Unsupported value: {json.dumps(value)}: supported values: {choices}"
        yield Cause(path, why, "FieldValueNotSupported")
    if isinstance(value, dict):
        yield from _check_object(schema, value, path)
    elif isinstance(value, list):
        yield from _check_list(schema, value, path)
    elif isinstance(value, str):
        yield from _check_text(schema, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_number(schema, value, path)


def _type_cause(schema: JsonObject, value: Any, path: str) -> Cause | None:
    wanted, found = schema.get("type"), _TYPES[type(value)]
    if isinstance(value, float) and value.is_integer():
        found = "integer"
    if schema.get(EITHER):
        fits = found in {"integer", "string"}
    else:
        fits = wanted in {None, found} or (wanted == "number" and found == "integer")
    if fits:
        return None
    why = f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
    return Cause(path, why, "FieldValueTypeInvalid")


def _check_object(schema: JsonObject, value: JsonObject, path: str) -> Iterator[Cause]:
    for name in schema.get("required", ()):
        if name not in value:
            yield Cause(f"{path}.{name}" if path else name, "Required value", "FieldValueRequired")
    if len(value) > schema.get("maxProperties", len(value)):
        most = schema["maxProperties"]
        yield Cause(path, f"Too many: {len(value)}: must have at most {most} items", "FieldValueTooMany")
    if len(value) < schema.get("minProperties", 0):
        yield _wrong(path, len(value), f"should have at least {schema['minProperties']} properties")
    for key, inner in value.items():
        below = _below(schema, key)
        if below is not None:
            yield from check(below, inner, f"{path}.{key}" if path else key)


def _check_list(schema: JsonObject, value: list[Any], path: str) -> Iterator[Cause]:
    if len(value) > schema.get("maxItems", len(value)):
        most = schema["maxItems"]
        yield Cause(path, f"Too many: {len(value)}: must have at most {most} items", "FieldValueTooMany")
    if len(value) < schema.get("minItems", 0):
        yield _wrong(path, len(value), f"should have at least {schema['minItems']} items")
    items = schema.get("items", {})
    for at, item in enumerate(value):
        yield from check(items, item, f"{path}[{at}]")
    if schema.get("x-kubernetes-list-type") == "map":
        yield from _check_keys(schema["x-kubernetes-list-map-keys"], value, path)


def _check_keys(names: list[str], items: list[Any], path: str) -> Iterator[Cause]:
    seen = set()
    for at, item in enumerate(items):
        key = json.dumps({name: item.get(name) for name in names} if isinstance(item, dict) else item)
        if key in seen:
            yield Cause(f"{path}[{at}]", f"Duplicate value: {key}", "FieldValueDuplicate")
        seen.add(key)


def _check_text(schema: JsonObject, value: str, path: str) -> Iterator[Cause]:
    if len(value) > schema.get("maxLength", len(value)):
        most = schema["maxLength"]
        yield Cause(path, f"Too long: may not be more than {most} bytes", "FieldValueTooLong")
    # The first of these only, as go-openapi's stringValidator does.
    elif len(value) < schema.get("minLength", 0):
        yield _wrong(path, value, f"should be at least {schema['minLength']} chars long")
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        yield _wrong(path, value, f"should match '{schema['pattern']}'")
    form = schema.get("format", "")
    if (form == "date-time" and not _is_moment(value)) or (form == "micro-time" and not _MICRO.fullmatch(value)):
        said = json.dumps(value)
        yield Cause(
            path, f"Invalid value: {said}: {path} in body must be of type {form}: {said}", "FieldValueTypeInvalid"
        )


def _is_moment(text: str) -> bool:
    """RFC 3339, with a zone."""
    try:
        return "T" in text.upper() and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _check_number(schema: JsonObject, value: float, path: str) -> Iterator[Cause]:
    if "minimum" in schema:
        least, beyond = schema["minimum"], schema.get("exclusiveMinimum", False)
        if value < least or (beyond and value == least):
            yield _wrong(path, value, f"should be greater than {'' if beyond else 'or equal to '}{least}")
    if "maximum" in schema:
        most, beyond = schema["maximum"], schema.get("exclusiveMaximum", False)
        if value > most or (beyond and value == most):
            yield _wrong(path, value, f"should be less than {'' if beyond else 'or equal to '}{most}")


def _wrong(path: str, value: Any, rule: str) -> Cause:
    return Cause(path, f"Invalid value: {json.dumps(value)}: {path} in body {rule}")
