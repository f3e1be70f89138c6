"""What a request is about: its URL and method as verb, resource, namespace, name and subresource.

Belongs here: the URL scheme of k8s.io/apiserver/pkg/endpoints/request/requestinfo.go. Does not belong here:
carrying the request out.
"""

from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request

from rollout.sandbox.kubernetes.refusals import bad_request, method_not_allowed, no_such_path
from rollout.sandbox.kubernetes.resources import GroupVersion, Resource, find

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
        raise no_such_path()
    name, subresource = (*rest[1:], "", "")[:2]
    if resource.namespaced and name and not namespace:
        raise no_such_path()
    if subresource and not (
        (subresource == "status" and resource.status) or (subresource == "scale" and resource.scale)
    ):
        raise no_such_path()
    target = Target("", resource, group_version, namespace, name, subresource)
    return replace(target, verb=_verb(request, target))


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
    verb = verbs.get(request.method)
    if verb is None:
        raise method_not_allowed()
    if verb == "list" and flag(request, "watch"):
        return "watch"
    everywhere = not target.namespace and not target.name
    if everywhere and (verb == "deletecollection" or (verb == "create" and target.resource.namespaced)):
        raise method_not_allowed()
    return verb


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Query parameters of a write. `manager` is who owns the written fields."""

    dry_run: bool
    manager: str
    force: bool = False


def write_options(request: Request) -> WriteOptions:
    """Read them.

    Raises:
        Refused: 400, a value the API does not know.
    """
    dry_run = request.query_params.getlist("dryRun")
    if any(value not in {"", "All"} for value in dry_run):
        raise bad_request(f"invalid dryRun: {dry_run}: supported values: All")
    validation = request.query_params.get("fieldValidation", "")
    if validation not in {"", "Ignore", "Warn", "Strict"}:
        raise bad_request(f"invalid fieldValidation: {validation}: supported values: Ignore, Warn, Strict")
    agent = request.headers.get("user-agent", "unknown").partition("/")[0]
    return WriteOptions(
        dry_run="All" in dry_run,
        manager=request.query_params.get("fieldManager", "") or agent or "unknown",
        force=flag(request, "force"),
    )
