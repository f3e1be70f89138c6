"""The rules of our definitions (`x-kubernetes-validations`): finding them in a schema, and saying what breaks them.

Belongs here: k8s.io/apiextensions-apiserver pkg/apiserver/schema/cel/validation.go, as far as a client can see it.
Does not belong here: the language (`cel.py`); its cost limits, which a real API server has besides.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from rollout.sandbox.kubernetes.cel import CelError, compiled
from rollout.sandbox.kubernetes.refusals import Cause
from rollout.sandbox.kubernetes.resources import JsonObject

_KEYWORD: Final = "x-kubernetes-validations"


def broken(schema: JsonObject, new: Any, old: Any, path: str) -> Iterator[Cause]:
    """The rules that a value breaks.

    Args:
        schema: of the value.
        new: the value; it has passed the other checks of the schema.
        old: the value before, or None: rules about changes then do not count.
        path: where it stands; empty for a whole object.
    """
    for entry in schema.get(_KEYWORD, ()):
        if old is None and "oldSelf" in entry["rule"]:
            continue
        if why := _broken(entry, new, old):
            yield Cause(f"{path}{entry.get('fieldPath', '')}", why, entry.get("reason", "FieldValueInvalid"))
    if isinstance(new, dict):
        for key, inner in schema.get("properties", {}).items():
            if key in new:
                before = old.get(key) if isinstance(old, dict) else None
                yield from broken(inner, new[key], before, f"{path}.{key}" if path else key)
    elif isinstance(new, list) and "items" in schema:
        for at, item in enumerate(new):
            # The items of an atomic list have no past: nothing says which one was which.
            yield from broken(schema["items"], item, None, f"{path}[{at}]")


def _broken(entry: JsonObject, new: Any, old: Any) -> str:
    kind = '"object"' if isinstance(new, dict) else '"array"' if isinstance(new, list) else json.dumps(new)
    try:
        holds = compiled(entry["rule"])(new, old)
    except CelError as error:
        return f"Invalid value: {kind}: rule evaluation error: {error}"
    return "" if holds else f"Invalid value: {kind}: {entry.get('message', entry['rule'])}"


def rules_in(schema: JsonObject) -> Iterator[str]:
    """Every rule of a schema."""
    yield from (entry["rule"] for entry in schema.get(_KEYWORD, ()))
    for inner in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from rules_in(inner)
