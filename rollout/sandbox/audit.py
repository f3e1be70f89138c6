"""The API server's audit log: what to write into it, and reading it back.

Belongs here: the audit policy and the entries of the log, both of `audit.k8s.io/v1`. Does not belong here: the server
that writes it (`control_plane.py`), what an entry proves.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

JsonObject = dict[str, Any]

_WRITES: Final = ["create", "update", "patch", "delete", "deletecollection"]
# The objects we write, or that people write about us: their changes are kept whole.
_OURS: Final = [
    {"group": "rollout.dev"},
    {"group": "networking.istio.io"},
    {"group": "coordination.k8s.io", "resources": ["leases"]},
    {"group": "apps", "resources": ["deployments", "deployments/scale", "deployments/status"]},
    {"group": "events.k8s.io", "resources": ["events"]},
    {"group": "", "resources": ["events", "services", "configmaps"]},
]

POLICY: Final[JsonObject] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {"level": "None", "nonResourceURLs": ["/livez*", "/readyz*", "/healthz*"]},
        {"level": "RequestResponse", "verbs": _WRITES, "resources": _OURS},
        {"level": "Metadata"},
    ],
}
"""For `--audit-policy-file`, as JSON, which is YAML."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One request that was answered to its end (stage ResponseComplete); a watch appears when it has ended.

    Attributes:
        verb: as RBAC calls it: get, list, watch, create, update, patch, delete, deletecollection; the HTTP method
            in lower case for a path that is no resource.
        user: who asked, e.g. `system:serviceaccount:rollout:rollout`.
        resource: plural, empty for a path that is no resource.
        subresource: e.g. `status`.
        group: the API group, empty for the core group.
        namespace: empty for what has none.
        name: as in the URL; of a create, the name in the answer where that was logged.
        code: the HTTP status.
        at: when the request came in, in UTC, to the microsecond.
        ended: when its answer was complete.
        request_object: the body of a write to one of our kinds.
        response_object: the answer to it.
        user_agent: the client's.
        request_uri: path and query.
        audit_id: one per request.
    """

    verb: str
    user: str
    resource: str
    subresource: str
    group: str
    namespace: str
    name: str
    code: int
    at: datetime
    ended: datetime
    request_object: Any
    response_object: Any
    user_agent: str
    request_uri: str
    audit_id: str


def read_audit(log: Path) -> list[AuditEntry]:
    """All finished requests in a log, in the order of their ends; empty if there is no log yet."""
    return list(_entries(log)) if log.exists() else []


def _entries(log: Path) -> Iterator[AuditEntry]:
    with log.open("rb") as lines:
        for line in lines:
            # The last line may be half written; a killed server may leave one in the middle.
            if not line.endswith(b"\n"):
                return
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("stage") == "ResponseComplete":
                yield _entry(event)


def _entry(event: JsonObject) -> AuditEntry:
    about, answer = event.get("objectRef") or {}, event.get("responseObject")
    name = about.get("name", "")
    if not name and event["verb"] == "create" and isinstance(answer, dict) and answer.get("kind") != "Status":
        name = (answer.get("metadata") or {}).get("name", "")
    return AuditEntry(
        verb=event["verb"],
        user=event.get("user", {}).get("username", ""),
        resource=about.get("resource", ""),
        subresource=about.get("subresource", ""),
        group=about.get("apiGroup", ""),
        namespace=about.get("namespace", ""),
        name=name,
        code=(event.get("responseStatus") or {}).get("code", 0),
        at=_moment(event["requestReceivedTimestamp"]),
        ended=_moment(event["stageTimestamp"]),
        request_object=event.get("requestObject"),
        response_object=answer,
        user_agent=event.get("userAgent", ""),
        request_uri=event.get("requestURI", ""),
        audit_id=event["auditID"],
    )


def _moment(text: str) -> datetime:
    """A metav1.MicroTime: RFC 3339 with six digits and `Z`."""
    return datetime.fromisoformat(text)
