"""Markdown tables: every field of a policy and of the settings, every event a release can log."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.core.events import CATALOGUE, CONTEXT
from rollout.core.quantities import DURATION_PATTERN, SHARE_PATTERN
from rollout.documents.schema import Schema, inlined, policy_schema, settings_schema

_NAME_PATTERN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""How the patterns of Kubernetes names begin (RFC 1123)."""
_WRITTEN = {DURATION_PATTERN: "duration", SHARE_PATTERN: "percentage"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a policy."""

    path: str
    """Dotted; `steps[].weight` is a field of each step."""
    schema: Schema
    mandatory: bool
    """Its mapping is not valid without it."""


def fields(schema: Schema | None = None) -> Iterator[Field]:
    """Every field of a policy, or of another document, in the order of the file."""
    schema = schema or policy_schema()
    return _below(schema, "", schema["$defs"], {})


def policy_table() -> str:
    """Every field of a policy: path, type, default, meaning."""
    return _field_table(fields())


def settings_table() -> str:
    """The same of the administrator's settings."""
    return _field_table(fields(settings_schema()))


def _field_table(every: Iterable[Field]) -> str:
    rows = (
        (f"`{field.path}`", _kind(field.schema), _default(field), field.schema.get("description", ""))
        for field in every
    )
    return _table(("field", "type", "default", "meaning"), rows)


def event_table() -> str:
    """Every event: name, level, the fields it adds, what it tells."""
    rows = (
        (f"`{kind.name}`", kind.level.value, ", ".join(f"`{one}`" for one in kind.fields) or "-", kind.meaning)
        for kind in CATALOGUE.values()
    )
    return _table(("event", "level", "adds", "meaning"), rows)


def context_list() -> str:
    """The fields that every line of a release carries."""
    return ", ".join(f"`{name}`" for name in CONTEXT) + "."


def _below(node: Schema, prefix: str, definitions: dict[str, Schema], given: Any) -> Iterator[Field]:
    """The fields of a mapping. `given` is the default of the mapping as a whole, which its fields' defaults follow."""
    for name, inner in node.get("properties", {}).items():
        schema = _resolved(inner, definitions)
        if isinstance(given, dict) and name in given:
            schema = {**schema, "default": given[name]}
        path = prefix + name
        yield Field(path, schema, name in node.get("required", ()))
        if "items" in schema:
            yield from _below(inlined(schema["items"], definitions), f"{path}[].", definitions, None)
        else:
            yield from _below(schema, f"{path}.", definitions, schema.get("default"))


def _resolved(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """The node itself, or what it may be besides nothing."""
    schema = inlined(node, definitions)
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) != 1:
        return schema
    own = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**inlined(choices[0], definitions), **own}


def _kind(node: Schema) -> str:
    """The type in words."""
    if "anyOf" in node:
        return " or ".join(_kind(choice) for choice in node["anyOf"] if choice.get("type") != "null")
    words = node.get("enum") or [node[key] for key in ("const",) if key in node]
    if words:
        return " or ".join(f"`{word}`" for word in words)
    kinds = {
        "integer": f"whole number{_range(node)}",
        "number": f"number{_range(node)}",
        "array": f"list{_length(node)}",
        "object": "mapping",
        "boolean": "`true` or `false`",
    }
    return kinds.get(node["type"]) or _text(node)


def _text(node: Schema) -> str:
    pattern = node.get("pattern", "")
    if pattern in _WRITTEN:
        return _WRITTEN[pattern]
    if pattern.startswith(_NAME_PATTERN):
        return "name"
    return f"text such as `{node['examples'][0]}`" if "examples" in node else "text"


def _range(node: Schema) -> str:
    low, high, above = node.get("minimum"), node.get("maximum"), node.get("exclusiveMinimum")
    parts = [f"> {above:g}"] if above is not None else []
    parts += [f"≥ {low:g}"] if low is not None else []
    parts += [f"≤ {high:g}" if high < 1_000_000 else f"≤ {high:,}"] if high is not None else []
    return f" ({', '.join(parts)})" if parts else ""


def _length(node: Schema) -> str:
    low, high = node.get("minItems", 0), node.get("maxItems")
    return f" of {low} to {high}" if high is not None else ""


def _default(field: Field) -> str:
    value = field.schema.get("default")
    match value:
        case None | dict():
            return "**required**" if field.mandatory else "-"
        case [dict(), *_]:
            shown = "/".join(str(next(iter(item.values()))) for item in value)
        case list():
            shown = ", ".join(_plain(item) for item in value) or "[]"
        case "":
            return "-"
        case _:
            shown = _plain(value)
    return f"`{shown}`" + (", to be given with its mapping" if field.mandatory else "")


def _plain(value: Any) -> str:
    """A scalar as it would be typed: 1, not 1.0; true, not True."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
