"""Discovery: which groups, versions and resources there are.

Belongs here: the documents below `/api`, `/apis` and `/version`. Does not belong here: the table they are
made from (`resources.py`). The aggregated form is left out; kubectl falls back to these.
"""

from typing import Final

from rollout.sandbox.kubernetes.definitions import names_of
from rollout.sandbox.kubernetes.refusals import no_such_path
from rollout.sandbox.kubernetes.resources import (
    GroupVersion,
    JsonObject,
    Resource,
    resources_in,
    served_group_versions,
)

VERSION: Final[JsonObject] = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.4+rollout-sandbox",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2024-12-11T18:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}

_COLLECTION_VERBS: Final = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_SUBRESOURCE_VERBS: Final = ["get", "patch", "update"]


def core_versions(address: str) -> JsonObject:
    """`/api`; `address` is `host:port` of this server."""
    by_address = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": by_address}


def groups() -> JsonObject:
    """`/apis`."""
    names = dict.fromkeys(gv.group for gv in served_group_versions() if gv.group)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in names]}


def _group(name: str) -> JsonObject:
    versions = [{"groupVersion": gv.text, "version": gv.version} for gv in served_group_versions() if gv.group == name]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def group(name: str) -> JsonObject:
    """`/apis/<group>`.

    Raises:
        Refused: 404.
    """
    if not name or name not in {gv.group for gv in served_group_versions()}:
        raise no_such_path()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}


def resource_list(group_version: GroupVersion) -> JsonObject:
    """`/api/v1` and `/apis/<group>/<version>`.

    Raises:
        Refused: 404.
    """
    if group_version not in served_group_versions():
        raise no_such_path()
    entries = [entry for resource in resources_in(group_version) for entry in _entries(resource)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version.text,
        "resources": entries,
    }


def _entries(resource: Resource) -> list[JsonObject]:
    entry: JsonObject = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _COLLECTION_VERBS,
    }
    entries = [entry | names_of(resource)]
    sub: JsonObject = {"singularName": "", "namespaced": resource.namespaced, "verbs": _SUBRESOURCE_VERBS}
    if resource.status:
        entries.append({"name": f"{resource.plural}/status", "kind": resource.kind, **sub})
    if resource.scale:
        scale = {"kind": "Scale", "group": "autoscaling", "version": "v1"}
        entries.append({"name": f"{resource.plural}/scale", **scale, **sub})
    return entries
