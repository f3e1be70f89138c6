"""A Release as the Kubernetes API holds it, read into our words and written back; pure.

Belongs here: metadata, spec and status of one object, what to make of one that somebody spoilt, and the smallest change
from one spec to another. Does not belong here: any request (`releases.py`).
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from rollout.core.release import API_VERSION, FINALIZER, Phase, Release, ReleaseSpec, Status

KIND = "Release"
SERVICE_LABEL = "rollout.dev/service"
"""For people and their selectors only: a Release made by hand does not carry it."""
KEY_ANNOTATION = "rollout.dev/key"
"""SHA-256 of the idempotency key that the release was started with."""

_UNREADABLE = "unreadable"
_MOST_ERRORS = 3
# RFC 1123 subdomain, which the API server demands of the name of every custom resource.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def is_name(text: str) -> bool:
    """Whether an object may be called that; nothing else may become part of a path."""
    return len(text) <= 253 and _NAME.fullmatch(text) is not None


def new_object(namespace: str, name: str, spec: ReleaseSpec, key_hash: str) -> dict[str, Any]:
    """The body of a POST."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": {SERVICE_LABEL: spec.service}}
    if key_hash:
        metadata["annotations"] = {KEY_ANNOTATION: key_hash}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec.wire()}


def status_object(release: Release, status: Status) -> dict[str, Any]:
    """The body of a PUT to `/status`.

    The server takes everything but the status from the object it holds (apiextensions-apiserver,
    pkg/registry/customresource/status_strategy.go); the uid is left out, because with it a PUT to an object that is
    gone is answered with 409 in place of 404.
    """
    metadata = {"name": release.name, "namespace": release.namespace, "resourceVersion": release.revision}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status.wire()}


def spec_change(release: Release, spec: ReleaseSpec) -> dict[str, Any]:
    """A merge patch that turns the spec that was read into `spec`, and nothing else.

    It carries the resourceVersion that was read, so that the server refuses it with 409 if anything changed since.
    """
    change = _difference(release.spec.wire(), spec.wire())
    return {"metadata": {"resourceVersion": release.revision}, **({"spec": change} if change else {})}


def hold_change(obj: Mapping[str, Any], *, held: bool) -> list[dict[str, Any]]:
    """The JSON patch that puts our finalizer on or takes it off; empty where that is so already.

    The whole list is written, guarded by the resourceVersion of the object it was read from, so that nobody else's
    finalizer is lost or comes back.
    """
    metadata = obj["metadata"]
    before = metadata.get("finalizers") or []
    if (FINALIZER in before) == held:
        return []
    after = [*before, FINALIZER] if held else [one for one in before if one != FINALIZER]
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "add", "path": "/metadata/finalizers", "value": after},
    ]


def read_release(obj: Mapping[str, Any]) -> Release:
    """Any object of our kind; never raises for what a user can have written into spec or status.

    A spec that does not fit is read as far as it does, a spec whose service or version was changed after the start is
    read as it was, and a status that does not fit is read as `Failed`; `problem` says so.
    """
    metadata = obj["metadata"]
    problems: list[str] = []
    status = _status(obj.get("status"), problems)
    spec = _spec(obj.get("spec"), status, problems)
    return Release(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        created_at=_instant(metadata.get("creationTimestamp")),
        spec=spec,
        status=status,
        deleting=metadata.get("deletionTimestamp") is not None,
        held=FINALIZER in (metadata.get("finalizers") or []),
        problem="; ".join(problems),
        revision=metadata.get("resourceVersion", ""),
    )


def oldest_first(releases: Iterable[Release]) -> list[Release]:
    """In the order in which they were created; creation times are whole seconds, so names break ties."""
    return sorted(releases, key=lambda one: (one.created_at is not None, str(one.created_at), one.name))


def complaints(error: ValidationError, where: str = "spec") -> str:
    """The errors of a model as `spec.policy.steps.1.weight: …`, the first three."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    said = [f"{'.'.join((where, *map(str, one['loc'])))}: {one['msg']}" for one in errors]
    more = len(said) - _MOST_ERRORS
    return "; ".join(said[:_MOST_ERRORS]) + (f"; and {more} more" if more > 0 else "")


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _status(raw: Any, problems: list[str]) -> Status:
    if raw is None:
        return Status()
    try:
        # Ignored at every depth: what a newer controller wrote must not stop an older one from rolling back.
        return Status.model_validate(raw, extra="ignore")
    except ValidationError as error:
        problem = complaints(error, "status")
        problems.append(problem)
        return Status(phase=Phase.FAILED, message=problem)


def _spec(raw: Any, status: Status, problems: list[str]) -> ReleaseSpec:
    try:
        spec = ReleaseSpec.model_validate(raw)
    except ValidationError as error:
        problems.append(complaints(error))
        spec = _salvaged(raw, error)
    began = {
        name: was
        for name, was in (("service", status.service), ("version", status.version))
        if was and was != getattr(spec, name)
    }
    if began and not problems:
        problems += [f"spec.{name}: was {was} when the release began, and cannot change" for name, was in began.items()]
    return spec.model_copy(update=began)


def _salvaged(raw: Any, error: ValidationError) -> ReleaseSpec:
    """The fields that are sound by themselves, names that say so where service or version is not."""
    spoilt = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
    sound = {key: value for key, value in raw.items() if key not in spoilt} if isinstance(raw, dict) else {}
    if "abort" in spoilt and isinstance(raw, dict) and raw["abort"]:
        # Whatever was written there, somebody wants the traffic back.
        sound["abort"] = {"reason": "the abort in the spec cannot be read, but it is there"}
    return ReleaseSpec.model_validate({"service": _UNREADABLE, "version": _UNREADABLE, **sound})


def _difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386: what turns `old` into `new`. Neither may hold null, which a merge patch cannot write."""
    change: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            change[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            if below := _difference(old[key], value):
                change[key] = below
        elif value != old[key]:
            change[key] = value
    return change
