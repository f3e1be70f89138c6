"""Every way the API says no: an exception that knows its `Status` object.

Belongs here: codes, reasons and details as k8s.io/apimachinery/pkg/api/errors builds them. Does not belong
here: deciding when to refuse.
"""

from dataclasses import dataclass
from typing import Any

from rollout.sandbox.kubernetes.resources import JsonObject, Resource


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that is wrong. `reason` is a metav1.CauseType such as `FieldValueInvalid`."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def as_json(self) -> JsonObject:
        """The entry of `details.causes`."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


class Refused(Exception):  # noqa: N818 - reads as what happened: "raise Refused"
    """The request is answered with a `Status` of `status: Failure`.

    Args:
        code: HTTP status code.
        reason: metav1.StatusReason, e.g. `NotFound`; empty for errors the real server does not classify.
        message: for people.
        details: `Status.details`, if there is more to say.
    """

    def __init__(self, code: int, reason: str, message: str, details: JsonObject | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def as_status(self) -> JsonObject:
        """The body of the answer."""
        status: JsonObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}


class Undecodable(Refused):
    """400: a field has the wrong type for what it is decoded into."""

    def __init__(self, why: str) -> None:
        super().__init__(400, "BadRequest", why)


def unreadable_patch(why: str) -> Refused:
    """422: what a patch makes of an object cannot be decoded (apiserver patch.go: no kind, no name)."""
    return invalid_kind("", "", "", Cause("patch", f"Invalid value: {why}"))


def _about(resource: Resource, name: str, group: str | None = None, **more: Any) -> JsonObject:
    group = resource.stored.group if group is None else group
    return {"name": name, **({"group": group} if group else {}), "kind": resource.plural, **more}


def not_found(resource: Resource, name: str, group: str | None = None) -> Refused:
    """404: no such object; `group` is the one that was asked, if the resource is in several."""
    key = resource.key if group is None else ".".join(part for part in (resource.plural, group) if part)
    return Refused(404, "NotFound", f'{key} "{name}" not found', _about(resource, name, group))


def no_such_path() -> Refused:
    """404 for a path no handler serves; answered in plain text (k8s.io/apiserver, http.NotFound)."""
    return Refused(404, "", "404 page not found\n")


def no_such_resource() -> Refused:
    """404 for a resource that is not in a group of kube-apiserver's own."""
    return Refused(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> Refused:
    """409 of a create."""
    return Refused(409, "AlreadyExists", f'{resource.key} "{name}" already exists', _about(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> Refused:
    """409 of a stale write or a failed precondition."""
    why = why or ("the object has been modified; please apply your changes to the latest version and try again")
    return Refused(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource.key} "{name}": {why}',
        _about(resource, name),
    )


def conflict_of_kind(resource: Resource, name: str, why: str) -> Refused:
    """409 of a delete whose precondition does not hold; it names the kind (rest.BeforeDelete)."""
    group = resource.stored.group
    kind = f"{resource.kind}.{group}" if group else resource.kind
    details = {"name": name, **({"group": group} if group else {}), "kind": resource.kind}
    return Refused(409, "Conflict", f'Operation cannot be fulfilled on {kind} "{name}": {why}', details)


def apply_conflict(causes: list[Cause]) -> Refused:
    """409 of a server-side apply: fields belong to someone else."""
    return Refused(
        409,
        "Conflict",
        f"Apply failed with {len(causes)} conflict{'s' if len(causes) > 1 else ''}: "
        + ", ".join(f"{cause.message}: {cause.field}" for cause in causes),
        {"causes": [cause.as_json() for cause in causes]},
    )


def invalid(resource: Resource, name: str, *causes: Cause) -> Refused:
    """422: the object was understood and is wrong."""
    return invalid_kind(resource.stored.group, resource.kind, name, *causes)


def invalid_version(resource: Resource, name: str) -> Refused:
    """422: an update that must say what it is based on does not (storage names the resource here, not the kind)."""
    why = "Invalid value: 0: must be specified for an update"
    return invalid_kind(resource.stored.group, resource.plural, name, Cause("metadata.resourceVersion", why))


def invalid_options(kind: str, *causes: Cause) -> Refused:
    """422: a parameter of the request, e.g. of a `DeleteOptions`."""
    return invalid_kind("meta.k8s.io", kind, "", *causes)


def invalid_kind(group: str, kind: str, name: str, *causes: Cause) -> Refused:
    """422: field.ErrorList, as apierrors.NewInvalid tells it."""
    said = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    details: JsonObject = {"name": name, "group": group, "kind": kind}
    return Refused(
        422,
        "Invalid",
        f'{kind}{"." if group else ""}{group} "{name}" is invalid: {listed}',
        {
            **{key: value for key, value in details.items() if value},
            "causes": [cause.as_json() for cause in causes],
        },
    )


def invalid_request() -> Refused:
    """422 without an object: a JSON patch that cannot be carried out, e.g. because its `test` failed."""
    return Refused(422, "Invalid", "the server rejected our request due to an error in our request", {})


def bad_request(why: str) -> Refused:
    """400: the request was not understood."""
    return Refused(400, "BadRequest", why)


def method_not_allowed(resource: Resource | None = None) -> Refused:
    """405; the handler of custom resources says which one."""
    details = {"group": resource.stored.group, "kind": resource.plural} if resource else {}
    return Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details)


def not_acceptable() -> Refused:
    """406: we speak JSON and none of the wanted media types is that."""
    return Refused(406, "NotAcceptable", "only the following media types are accepted: application/json", {})


def unsupported_media_type(accepted: tuple[str, ...]) -> Refused:
    """415: protobuf, or a patch type this resource does not know."""
    why = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return Refused(415, "UnsupportedMediaType", why)


def unsupported_patch_type() -> Refused:
    """415 of a patch of a built-in resource, which its handler's container gives."""
    return Refused(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def too_large(limit: int) -> Refused:
    """413."""
    return Refused(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def expired(why: str) -> Refused:
    """410: the asked-for moment is no longer remembered; list again."""
    return Refused(410, "Expired", why)


def from_the_future(asked: int, current: int) -> Refused:
    """504: a resource version that was not given out yet (apiserver storage.NewTooLargeResourceVersionError)."""
    return Refused(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )
