"""OpenAPI, as much as kubectl needs: which parameters writes take, and what `kubectl explain` prints.

Belongs here: `/openapi/v2` (empty) and `/openapi/v3`. Our own kinds are described from
their definitions; all others as objects with any fields. Nothing is validated against this.
"""

from functools import cache
from typing import Final

from rollout.sandbox.kubernetes.definitions import schema_of
from rollout.sandbox.kubernetes.discovery import VERSION
from rollout.sandbox.kubernetes.refusals import no_such_path
from rollout.sandbox.kubernetes.resources import (
    GroupVersion,
    JsonObject,
    Resource,
    resources_in,
    served_group_versions,
)

_INFO: Final = {"title": "rollout sandbox", "version": VERSION["gitVersion"]}
# kubectl asks a document for these before it uses server-side validation and dry runs.
_WRITE_PARAMETERS: Final = ("dryRun", "fieldManager", "fieldValidation", "force")
_KEPT_KEYWORDS: Final = frozenset({"type", "description", "enum", "required"})
_METHODS: Final = {"get": "get", "put": "put", "patch": "patch", "delete": "delete"}

V2: Final[JsonObject] = {"swagger": "2.0", "info": _INFO, "paths": {}, "definitions": {}}


def index() -> JsonObject:
    """`/openapi/v3`: where the document of each group version is."""
    return {"paths": {gv.path: {"serverRelativeURL": f"/openapi/v3/{gv.path}"} for gv in served_group_versions()}}


@cache
def document(path: str) -> JsonObject:
    """The document of one group version; `path` as in `GroupVersion.path`.

    Raises:
        Refused: 404, no such group version.
    """
    found = next((gv for gv in served_group_versions() if gv.path == path), None)
    if found is None:
        raise no_such_path()
    paths: JsonObject = {}
    schemas: JsonObject = {}
    for resource in resources_in(found):
        paths.update(_paths(found, resource))
        schemas.update(_schemas(found, resource))
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": schemas}}


def _kind(gv: GroupVersion, resource: Resource) -> JsonObject:
    return {"group": gv.group, "version": gv.version, "kind": resource.kind}


def _paths(gv: GroupVersion, resource: Resource) -> JsonObject:
    place = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"/{gv.path}{place}/{resource.plural}"

    def operation(action: str) -> JsonObject:
        names = () if action in {"get", "list"} else _WRITE_PARAMETERS
        parameters = [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in names
        ]
        return {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _kind(gv, resource),
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
        }

    return {
        collection: {"get": operation("list"), "post": operation("post")},
        f"{collection}/{{name}}": {method: operation(action) for method, action in _METHODS.items()},
    }


def _schemas(gv: GroupVersion, resource: Resource) -> JsonObject:
    prefix = ".".join([*reversed((gv.group or "api").split(".")), gv.version])
    properties: JsonObject = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": {"type": "object"},
        **({"status": {"type": "object"}} if resource.status else {}),
    }
    own = _openapi_3_0(schema_of(resource) or {})
    schema = {
        "type": "object",
        "description": own.get("description", f"A {resource.kind}."),
        "properties": {**properties, **own.get("properties", {})},
        "x-kubernetes-group-version-kind": [_kind(gv, resource)],
    }
    return {f"{prefix}.{resource.kind}": schema}


def _openapi_3_0(schema: JsonObject) -> JsonObject:
    """A structural schema cut down to what kubectl's parser reads: it refuses a document for one strange keyword."""
    result = {key: schema[key] for key in _KEPT_KEYWORDS & schema.keys()}
    if "properties" in schema:
        result["properties"] = {name: _openapi_3_0(entry) for name, entry in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            result[key] = _openapi_3_0(schema[key])
    return result
