"""What one write of the controller's is about, told from its path and body, so that two runs can be compared.

Belongs here: one name per kind of write. Numbers that differ from run to run (revisions, times, counts) are left out.
"""

import json
import re
from typing import Any

from rollout.sandbox.audit import AuditEntry

Write = str
"""Such as `save Shifting/0 Shifting, owes step.promoted` or `route 50 epoch 2`."""

_PATH = re.compile(
    r"/apis?/(?:[^/]+/)?v[^/]+(?:/namespaces/[^/]+)?/(?P<resource>[a-z]+)(?:/[^/]+(?:/(?P<subresource>[a-z]+))?)?"
)


def read_write(method: str, path: str, body: bytes) -> Write | None:
    """The write that a request asks for; None for a Lease, whose renewals are no decision."""
    found = _PATH.fullmatch(path)
    assert found is not None and method != "DELETE", f"nobody expected {method} {path}"
    return _named(found["resource"], found["subresource"] or "", json.loads(body))


def entry_write(entry: AuditEntry) -> Write | None:
    """The same, from the audit log."""
    return _named(entry.resource, entry.subresource, entry.request_object)


def _named(resource: str, subresource: str, body: Any) -> Write | None:
    match resource, subresource:
        case "leases", _:
            name = None
        case "events", _:
            name = f"event {body['reason']} on {body['regarding']['kind']}"
        case "releases", "status":
            name = _save(body["status"])
        case "releases", "":
            held = any(operation["op"] == "add" and operation["value"] for operation in body)
            name = "finalizer on" if held else "finalizer off"
        case "virtualservices", "":
            name = _route(body)
        case "destinationrules", "":
            name = f"subset {body[-1]['op']} {body[-1].get('value', {}).get('name', '')}".strip()
        case _:
            name = f"{resource} {subresource}"
    return name


def _save(status: dict[str, Any]) -> Write:
    step = status.get("step")
    owed = ", ".join(notice["name"] for notice in status.get("outbox", ()))
    place = status["phase"] if step is None else f"{status['phase']}/{step}"
    return f"save {place} {status.get('reason', '')}" + (f", owes {owed}" if owed else "")


def _route(operations: list[dict[str, Any]]) -> Write:
    weights: list[Any] = []
    epoch: Any = ""
    for operation in operations:
        path, value = operation["path"], operation.get("value", {})
        if operation["op"] == "remove":
            return "route drop"
        if path == "/metadata/annotations":
            epoch = value["rollout.dev/epoch"]
        elif path.endswith("rollout.dev~1epoch"):
            epoch = value
        elif path.startswith("/spec/http"):
            weights.append(value["weight"] if isinstance(value, dict) else value)
    return f"route {'/'.join(map(str, weights)) or 'claim'} epoch {epoch}"
