"""What a request is about: its URL and method as verb, resource, namespace, name and subresource.

Belongs here: the URL scheme of k8s.io/apiserver/pkg/endpoints/request/requestinfo.go. Does not belong here:
carrying the request out.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Final

from starlette.requests import Request

from rollout.sandbox.kubernetes.refusals import (
    Cause,
    Refused,
    bad_request,
    invalid_options,
    method_not_allowed,
    no_such_path,
    no_such_resource,
    not_found,
)
from rollout.sandbox.kubernetes.resources import RESOURCES, GroupVersion, Resource, find

_BUILT_IN: Final = frozenset(r.stored.group for r in RESOURCES if not r.custom)
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_COLLECTION_VERBS: Final = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT_VERBS: Final = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SUBRESOURCE_VERBS: Final = {"GET": "get", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request points. `name` and `subresource` are empty for collections; `namespace` for all of them."""

    verb: str
    resource: Resource
    group_version: GroupVersion
    namespace: str
    name: str = ""
    subresource: str = ""


def flag(request: Request, parameter: str) -> bool:
    """A boolean query parameter."""
    return request.query_params.get(parameter, "") in _TRUE


def target_of(request: Request) -> Target:
    """Read method and path of a request below `/api` or `/apis`.

    Raises:
        Refused: 404, nothing is served there; 405, not with this method.
    """
    group_version, rest = _group_version(request.url.path.strip("/").split("/"))
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    resource = find(group_version, rest[0]) if rest else None
    if resource is None or len(rest) > 3 or "" in rest or (namespace and not resource.namespaced):
        raise _nothing(group_version)
    name, subresource = (*rest[1:], "", "")[:2]
    if resource.custom and subresource and not (subresource == "status" and resource.status):
        raise not_found(resource, name)
    if resource.namespaced and name and not namespace:
        raise no_such_path()
    if subresource and not (
        (subresource == "status" and resource.status) or (subresource == "scale" and resource.scale)
    ):
        raise _nothing(group_version)
    target = Target("", resource, group_version, namespace, name, subresource)
    return replace(target, verb=_verb(request, target))


def _nothing(group_version: GroupVersion) -> Refused:
    """Groups of kube-apiserver's own answer for themselves, all other paths have nobody."""
    return no_such_resource() if group_version.group in _BUILT_IN else no_such_path()


def _group_version(segments: list[str]) -> tuple[GroupVersion, list[str]]:
    if segments[0] == "api" and len(segments) > 2:
        return GroupVersion("", segments[1]), segments[2:]
    if segments[0] == "apis" and len(segments) > 3:
        return GroupVersion(segments[1], segments[2]), segments[3:]
    raise no_such_path()


def _verb(request: Request, target: Target) -> str:
    verbs = _COLLECTION_VERBS
    if target.name:
        verbs = _SUBRESOURCE_VERBS if target.subresource else _OBJECT_VERBS
    verb = verbs.get("GET" if request.method == "HEAD" else request.method)
    if target.resource.custom and not target.subresource:
        # One handler serves all of a CRD's paths, whatever they end in (apiextensions customresource_handler.go).
        if request.method == "POST" and target.name:
            verb = "create"
        if verb is None and request.method in _OBJECT_VERBS:
            raise bad_request("name must be provided")
    if verb is None:
        raise method_not_allowed(target.resource if target.resource.custom else None)
    if verb == "list" and flag(request, "watch"):
        return "watch"
    everywhere = not target.namespace and not target.name
    if everywhere and (verb == "deletecollection" or (verb == "create" and target.resource.namespaced)):
        raise no_such_path() if target.resource.custom else method_not_allowed()
    return verb


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Query parameters of a write.

    Attributes:
        dry_run: nothing is stored.
        manager: who owns the written fields.
        force: an apply takes fields over.
        validation: what happens to unknown fields: `Strict`, `Warn` or `Ignore`.
        warnings: what the answer will warn of; grows while the request is carried out.
    """

    dry_run: bool
    manager: str
    force: bool = False
    validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)


_OPTIONS_OF: Final = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}


def write_options(request: Request) -> WriteOptions:
    """Read them.

    Raises:
        Refused: 422, a value the API does not know.
    """
    kind = _OPTIONS_OF.get(request.method, "DeleteOptions")
    dry_run = request.query_params.getlist("dryRun")
    if any(value not in {"", "All"} for value in dry_run):
        why = f'Unsupported value: {json.dumps(dry_run)}: supported values: "All"'
        raise invalid_options(kind, Cause("dryRun", why, "FieldValueNotSupported"))
    validation = request.query_params.get("fieldValidation", "")
    if validation not in {"", "Ignore", "Warn", "Strict"}:
        why = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
        raise invalid_options(kind, Cause("fieldValidation", why, "FieldValueNotSupported"))
    agent = request.headers.get("user-agent", "unknown").partition("/")[0]
    return WriteOptions(
        dry_run="All" in dry_run,
        manager=request.query_params.get("fieldManager", "") or agent or "unknown",
        force=flag(request, "force"),
        validation=validation or "Warn",
    )
