"""What `kubectl get` prints: objects as rows of a `meta.k8s.io/v1` Table.

Belongs here: columns per resource and how a cell is read from an object. Does not belong here: padding and
headers, which kubectl does.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rollout.sandbox.kubernetes.definitions import columns_of
from rollout.sandbox.kubernetes.resources import JsonObject, Resource

_STEP: Final = re.compile(r"""\.(\w+)|\[\?\(@\.(\w+)==["'](\w+)["']\)\]|\[\*\]""")
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `cell` gets the stored object. `format` is OpenAPI's, `name` for the object's name."""

    name: str
    cell: Callable[[JsonObject], Any]
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


def human_duration(seconds: float) -> str:
    """`90s`, `5m20s`, `3h10m`, `4d`: k8s.io/apimachinery pkg/util/duration.HumanDuration."""
    whole = int(seconds)
    if whole < 0:
        return "<invalid>" if whole < -1 else "0s"
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    for limit, unit, letter, below, below_letter in (
        (10 * _MINUTE, _MINUTE, "m", 1, "s"),
        (3 * _HOUR, _MINUTE, "m", 0, ""),
        (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
        (2 * _DAY, _HOUR, "h", 0, ""),
        (8 * _DAY, _DAY, "d", _HOUR, "h"),
        (2 * _YEAR, _DAY, "d", 0, ""),
        (8 * _YEAR, _YEAR, "y", _DAY, "d"),
    ):
        if whole < limit:
            rest = whole % unit // below if below else 0
            return f"{whole // unit}{letter}" + (f"{rest}{below_letter}" if rest else "")
    return f"{whole // _YEAR}y"


def _age(moment: Any, now: datetime) -> str:
    if not isinstance(moment, str):
        return "<unknown>"
    return human_duration((now - datetime.fromisoformat(moment).astimezone(UTC)).total_seconds())


def _at(*path: str) -> Callable[[JsonObject], Any]:
    def read(obj: JsonObject) -> Any:
        found: Any = obj
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return json.dumps(found, separators=(",", ":")) if isinstance(found, list | dict) else found

    return read


def _count(*path: str) -> Callable[[JsonObject], int]:
    read = _at(*path)
    return lambda obj: read(obj) or 0


def _items(obj: JsonObject, part: str, field: str) -> list[JsonObject]:
    found = (obj.get(part) or {}).get(field)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _deployment_ready(obj: JsonObject) -> str:
    return f"{_count('status', 'readyReplicas')(obj)}/{_count('spec', 'replicas')(obj)}"


def _pod_ready(obj: JsonObject) -> str:
    ready = [status for status in _items(obj, "status", "containerStatuses") if status.get("ready")]
    return f"{len(ready)}/{len(_items(obj, 'spec', 'containers'))}"


def _restarts(obj: JsonObject) -> int:
    return sum(status.get("restartCount", 0) for status in _items(obj, "status", "containerStatuses"))


def _ports(obj: JsonObject) -> str:
    ports = _items(obj, "spec", "ports")
    return ",".join(f"{port.get('port')}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>"


def _event_subject(obj: JsonObject) -> str:
    subject = obj.get("involvedObject") or {}
    return f"{str(subject.get('kind', '')).lower()}/{subject.get('name', '')}"


_COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "VirtualService": (
        Column("Gateways", _at("spec", "gateways")),
        Column("Hosts", _at("spec", "hosts")),
    ),
    "DestinationRule": (Column("Host", _at("spec", "host")),),
    "Deployment": (
        Column("Ready", _deployment_ready),
        Column("Up-to-date", _count("status", "updatedReplicas"), "integer"),
        Column("Available", _count("status", "availableReplicas"), "integer"),
    ),
    "Pod": (
        Column("Ready", _pod_ready),
        Column("Status", _at("status", "phase")),
        Column("Restarts", _restarts, "integer"),
    ),
    "Service": (
        Column("Type", lambda obj: _at("spec", "type")(obj) or "ClusterIP"),
        Column("Cluster-IP", lambda obj: _at("spec", "clusterIP")(obj) or "<none>"),
        Column("Port(s)", _ports),
    ),
    "Namespace": (Column("Status", _at("status", "phase")),),
    "Lease": (Column("Holder", _at("spec", "holderIdentity")),),
}
_EVENT_COLUMNS: Final = (
    Column("Type", _at("type")),
    Column("Reason", _at("reason")),
    Column("Object", _event_subject),
    Column("Message", _at("message")),
)
_NAME: Final = Column("Name", _at("metadata", "name"), "string", "name")


def _last_seen(obj: JsonObject) -> Any:
    return obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")


def _columns(resource: Resource, now: datetime) -> tuple[Column, ...]:
    if resource.kind == "Event":
        return (Column("Last Seen", lambda obj: _age(_last_seen(obj), now)), *_EVENT_COLUMNS)
    if defined := columns_of(resource):
        return (_NAME, *(_defined(column, now) for column in defined))
    kind = "date" if resource.custom else "string"
    age = Column("Age", lambda obj: _age(obj["metadata"].get("creationTimestamp"), now), kind)
    return (_NAME, *_COLUMNS.get(resource.kind, ()), age)


def _defined(column: JsonObject, now: datetime) -> Column:
    """A column of a CRD (apiextensions pkg/registry/customresource/tableconvertor)."""
    path, kind = column["jsonPath"], column["type"]
    steps = _STEP.findall(path)

    def cell(obj: JsonObject) -> Any:
        found = [obj]
        for name, wanted_key, wanted in steps:
            found = [inner for value in found for inner in _stepped(value, name, wanted_key, wanted)]
        if not found:
            return None
        if kind == "date":
            return _age(found[0], now)
        return _text(found[0]) if kind == "string" else found[0]

    description = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    return Column(column["name"], cell, kind, column.get("format", ""), column.get("priority", 0), description)


def _stepped(value: Any, name: str, wanted_key: str, wanted: str) -> list[Any]:
    """One step of a JSONPath: `.name`, `[*]`, or `[?(@.key=="wanted")]`."""
    if name:
        return [value[name]] if isinstance(value, dict) and name in value else []
    items = value if isinstance(value, list) else []
    return [item for item in items if not wanted_key or item.get(wanted_key) == wanted]


def _said(resource: Resource, value: Any) -> Any:
    """Printers of built-in kinds write nothing where those of a CRD write that there is nothing."""
    return "" if value is None and not resource.custom else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def table(
    resource: Resource,
    objects: Iterable[JsonObject],
    metadata: JsonObject,
    now: datetime,
    *,
    headers: bool = True,
) -> JsonObject:
    """A Table of stored objects.

    Args:
        resource: what they are.
        objects: one row each.
        metadata: of the list (resourceVersion, continue).
        now: ages are counted to this moment.
        headers: later events of a watch leave the column definitions out.
    """
    columns = _columns(resource, now)
    definitions = [
        {"name": c.name, "type": c.type, "format": c.format, "description": c.description, "priority": c.priority}
        for c in columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions if headers else [],
        "rows": [
            {"cells": [_said(resource, c.cell(obj)) for c in columns], "object": metadata_only(obj)} for obj in objects
        ],
    }


def metadata_only(obj: JsonObject) -> JsonObject:
    """The object as a PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }
