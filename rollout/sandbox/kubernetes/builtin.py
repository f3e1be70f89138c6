"""Built-in kinds: the fields of those that our controller writes, and what may stand in them.

Belongs here: ConfigMap, Lease and Event, from k8s.io/api and kubernetes pkg/apis/{core,coordination}/validation.
Does not belong here: kinds that are only read or left to others (Deployment, Pod, Service …), which take any fields.
"""

import json
from typing import Any, Final

from rollout.sandbox.kubernetes.naming import is_label_key
from rollout.sandbox.kubernetes.refusals import Cause
from rollout.sandbox.kubernetes.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    GroupVersion,
    JsonObject,
    Resource,
)

_TEXT: Final[JsonObject] = {"type": "string"}
_WHOLE: Final[JsonObject] = {"type": "integer"}
_TIME: Final[JsonObject] = {"type": "string", "format": "date-time", "nullable": True}
_MICRO_TIME: Final[JsonObject] = {"type": "string", "format": "micro-time", "nullable": True}
_TEXTS: Final[JsonObject] = {"type": "object", "additionalProperties": _TEXT}
_REFERENCE: Final[JsonObject] = {
    "type": "object",
    "properties": dict.fromkeys(
        ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"), _TEXT
    ),
}


def _fields(**properties: JsonObject) -> JsonObject:
    return {"type": "object", "properties": properties}


SCHEMAS: Final[dict[str, JsonObject]] = {
    CONFIGMAPS.key: _fields(data=_TEXTS, binaryData=_TEXTS, immutable={"type": "boolean"}),
    LEASES.key: _fields(
        spec=_fields(
            holderIdentity=_TEXT,
            leaseDurationSeconds=_WHOLE,
            acquireTime=_MICRO_TIME,
            renewTime=_MICRO_TIME,
            leaseTransitions=_WHOLE,
            strategy=_TEXT,
            preferredHolder=_TEXT,
        )
    ),
    EVENTS.key: _fields(
        involvedObject=_REFERENCE,
        related=_REFERENCE,
        source=_fields(component=_TEXT, host=_TEXT),
        series=_fields(count=_WHOLE, lastObservedTime=_MICRO_TIME),
        firstTimestamp=_TIME,
        lastTimestamp=_TIME,
        eventTime=_MICRO_TIME,
        count=_WHOLE,
        **dict.fromkeys(("reason", "message", "type", "action", "reportingComponent", "reportingInstance"), _TEXT),
    ),
}
"""By `Resource.key`, in the stored version."""

# Fields that Go writes even when they are empty, in the stored version (no `omitempty` in k8s.io/api).
_WRITTEN_ALWAYS: Final[dict[str, JsonObject]] = {
    EVENTS.key: {
        "eventTime": None,
        "firstTimestamp": None,
        "lastTimestamp": None,
        "reportingComponent": "",
        "reportingInstance": "",
        "source": {},
    }
}


def written_out(resource: Resource, obj: JsonObject) -> JsonObject:
    """The object with the fields that are there even when nobody has set them."""
    return {**_WRITTEN_ALWAYS.get(resource.key, {}), **obj}


def causes_in(resource: Resource, obj: JsonObject, current: JsonObject | None, given: GroupVersion) -> list[Cause]:
    """What is wrong with the values of an object whose fields have the right types.

    Args:
        resource: of the object.
        obj: in the stored version.
        current: the object before; None if there is none.
        given: the version it was written under; events.k8s.io asks for more than the core group.
    """
    if resource is DEPLOYMENTS:
        return _deployment_causes(obj.get("spec") or {}, current)
    if resource is LEASES:
        return _lease_causes(obj.get("spec") or {})
    if resource is EVENTS:
        return _event_causes(obj, strictly=current is None and bool(given.group))
    return []


def _lease_causes(spec: JsonObject) -> list[Cause]:
    causes = []
    if (seconds := spec.get("leaseDurationSeconds")) is not None and seconds <= 0:
        causes.append(Cause("spec.leaseDurationSeconds", f"Invalid value: {seconds}: must be greater than 0"))
    if (count := spec.get("leaseTransitions")) is not None and count < 0:
        causes.append(Cause("spec.leaseTransitions", f"Invalid value: {count}: must be greater than or equal to 0"))
    return causes


def _deployment_causes(spec: JsonObject, current: JsonObject | None) -> list[Cause]:
    """Kubernetes pkg/apis/apps/validation: of a spec, only what ties it to its pods."""
    selector, template = spec.get("selector") or {}, spec.get("template") or {}
    labels, causes = (template.get("metadata") or {}).get("labels") or {}, []
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        why = f"Invalid value: {json.dumps(labels)}: `selector` does not match template `labels`"
        causes.append(Cause("spec.template.metadata.labels", why))
    if current is not None and selector != (current.get("spec") or {}).get("selector", {}):
        causes.append(Cause("spec.selector", f"Invalid value: {json.dumps(selector)}: field is immutable"))
    return causes


def _event_causes(event: JsonObject, *, strictly: bool) -> list[Cause]:
    """Kubernetes pkg/apis/core/validation/events.go."""
    namespace, about = event["metadata"].get("namespace", ""), event.get("involvedObject") or {}
    where = about.get("namespace", "")
    if not strictly or not event.get("eventTime"):
        causes = [_required("eventTime")] if strictly else []
        if not strictly and where != namespace:
            causes.append(Cause("involvedObject.namespace", 'Invalid value: "": does not match event.namespace'))
        return causes
    causes = [_required(field) for field in ("reportingController",) if not event.get("reportingComponent")]
    if not is_label_key(event.get("reportingComponent") or ""):
        causes.append(Cause("reportingController", 'Invalid value: "": name part must be a qualified name'))
    causes += [_required(field) for field in ("reportingInstance", "action", "reason") if not event.get(field)]
    causes += [
        Cause(field, f'Invalid value: "": can have at most {most} characters')
        for field, most in (("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024))
        if len(event.get(field) or "") > most
    ]
    kind: Any = event.get("type") or ""
    if kind not in {"Normal", "Warning"}:
        causes.append(Cause("type", f'Invalid value: "": has invalid value: {kind}'))
    if not where and namespace != "default":
        causes.append(Cause("involvedObject.namespace", 'Invalid value: "": does not match event.namespace'))
    return causes


def _required(field: str) -> Cause:
    return Cause(field, "Required value", "FieldValueRequired")
