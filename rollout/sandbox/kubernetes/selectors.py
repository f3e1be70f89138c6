"""Label and field selectors: parsing `labelSelector=`/`fieldSelector=` and asking whether an object matches.

Belongs here: the grammar of k8s.io/apimachinery/pkg/labels and pkg/fields. Does not belong here: lists and
watches, which call these.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from rollout.sandbox.kubernetes.conversion import core_field
from rollout.sandbox.kubernetes.naming import is_label_key, is_label_value
from rollout.sandbox.kubernetes.refusals import bad_request
from rollout.sandbox.kubernetes.resources import JsonObject, Resource

_COMMA_OUTSIDE_PARENTHESES: Final = re.compile(r",(?![^(]*\))")
_SET_BASED: Final = re.compile(r"(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALITY: Final = re.compile(r"(?P<key>[^=!\s]+)\s*(?P<op>==|!=|=)\s*(?P<value>[^=!\s]*)")
_EXISTS: Final = re.compile(r"(?P<not>!?)\s*(?P<key>[^=!\s()]+)")

Labels = dict[str, str]


def _label_requirement(text: str) -> Callable[[Labels], bool]:
    if found := _SET_BASED.fullmatch(text):
        key, wanted = found["key"], frozenset(value.strip() for value in found["values"].split(","))
        negated = found["op"] == "notin"
    elif found := _EQUALITY.fullmatch(text):
        key, wanted = found["key"], frozenset([found["value"]])
        negated = found["op"] == "!="
    elif found := _EXISTS.fullmatch(text):
        key, present = found["key"], not found["not"]
        if not is_label_key(key):
            raise bad_request(f'unable to parse requirement: invalid label key "{key}"')
        return lambda labels: (key in labels) is present
    else:
        raise bad_request(f'unable to parse requirement: "{text}"')
    if not is_label_key(key) or not all(is_label_value(value) for value in wanted):
        raise bad_request(f'unable to parse requirement: invalid label key or value in "{text}"')
    if negated:
        return lambda labels: labels.get(key) not in wanted
    return lambda labels: labels.get(key) in wanted


def _parts(selector: str) -> list[str]:
    return [part.strip() for part in _COMMA_OUTSIDE_PARENTHESES.split(selector) if part.strip()]


def _field_requirement(resource: Resource, text: str) -> Callable[[JsonObject], bool]:
    found = _EQUALITY.fullmatch(text)
    if not found:
        raise bad_request(f'invalid field selector: "{text}"')
    path = {
        "metadata.name": ("metadata", "name"),
        "metadata.namespace": ("metadata", "namespace"),
        **resource.selectable,
    }.get(core_field(resource, found["key"]))
    if path is None:
        raise bad_request(f"field label not supported: {found['key']}")
    value, equal = found["value"], found["op"] != "!="

    def matches(obj: JsonObject) -> bool:
        at: Any = obj
        for key in path:
            at = at.get(key) if isinstance(at, dict) else None
        return (("" if at is None else str(at)) == value) is equal

    return matches


@dataclass(frozen=True, slots=True)
class Selector:
    """Both selectors of a list or watch, over stored objects."""

    labels: tuple[Callable[[Labels], bool], ...]
    fields: tuple[Callable[[JsonObject], bool], ...]

    def __bool__(self) -> bool:
        return bool(self.labels or self.fields)

    def matches(self, obj: JsonObject) -> bool:
        """Whether every requirement holds."""
        labels = obj["metadata"].get("labels") or {}
        return all(holds(labels) for holds in self.labels) and all(holds(obj) for holds in self.fields)


def parse_selector(resource: Resource, label_selector: str, field_selector: str) -> Selector:
    """Both query parameters together.

    Raises:
        Refused: 400, a selector cannot be parsed or names a field this resource cannot be selected by.
    """
    return Selector(
        labels=tuple(_label_requirement(part) for part in _parts(label_selector)),
        fields=tuple(_field_requirement(resource, part) for part in _parts(field_selector)),
    )
