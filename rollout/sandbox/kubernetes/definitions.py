"""The definitions of our own kinds, as a cluster would have them: schema, names and columns of each CRD.

Belongs here: looking them up. Does not belong here: writing them (`rollout.documents.crd`), checking objects against
them (`schemas.py`). Istio's definitions are not ours to carry: its kinds take any fields here.
"""

from functools import cache
from typing import Any, Final

from rollout.sandbox.kubernetes.resources import JsonObject, Resource

_GROUP: Final = "rollout.dev"


@cache
def _crds() -> dict[str, JsonObject]:
    # Made from the models, which takes a while that not everybody who names a resource wants to wait for.
    from rollout.documents.crd import freeze_crd, policy_crd, release_crd

    crds: list[dict[str, Any]] = [release_crd(), policy_crd(), freeze_crd()]
    return {crd["spec"]["names"]["plural"]: crd for crd in crds}


def _version(resource: Resource) -> JsonObject:
    version: JsonObject = _crds()[resource.plural]["spec"]["versions"][0]
    return version


def names_of(resource: Resource) -> JsonObject:
    """What discovery says of a resource: `shortNames` and `categories`, where there are any."""
    found: JsonObject = {"shortNames": resource.short_names, "categories": resource.categories}
    if resource.stored.group == _GROUP:
        found = {key: _crds()[resource.plural]["spec"]["names"].get(key) for key in found}
    return {key: list(names) for key, names in found.items() if names}


def schema_of(resource: Resource) -> JsonObject | None:
    """The `openAPIV3Schema` of one of our kinds; None for all others."""
    if resource.stored.group != _GROUP:
        return None
    schema: JsonObject = _version(resource)["schema"]["openAPIV3Schema"]
    return schema


def columns_of(resource: Resource) -> list[JsonObject] | None:
    """The `additionalPrinterColumns` of one of our kinds; None for all others."""
    if resource.stored.group != _GROUP:
        return None
    columns: list[JsonObject] = _version(resource)["additionalPrinterColumns"]
    return columns


@cache
def list_keys(resource: Resource, path: tuple[str, ...]) -> list[str]:
    """The fields that tell the items of a list apart; empty for an atomic one.

    Args:
        resource: one of our kinds, or any.
        path: of the list, as in `fields.py`.
    """
    schema = schema_of(resource) or {}
    for segment in path:
        kind, _, name = segment.partition(":")
        schema = schema.get("properties", {}).get(name, {}) if kind == "f" else schema.get("items", {})
    keys: list[str] = schema.get("x-kubernetes-list-map-keys", [])
    return keys
