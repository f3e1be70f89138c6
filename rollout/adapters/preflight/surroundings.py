"""Everything of a cluster that preflight looks at, read at once.

Belongs here: which objects, in which namespaces. Does not belong here: how one is read (`reading.py`), any rule.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from rollout.adapters.destination_rule import JsonObject
from rollout.adapters.preflight.reading import (
    DEPLOYMENTS,
    DESTINATION_RULES,
    GRPC_ROUTES,
    HTTP_ROUTES,
    PODS,
    SERVICES,
    TELEMETRIES,
    VIRTUAL_SERVICES,
    Kind,
    Reader,
    merged,
)
from rollout.adapters.preflight.scene import Scene
from rollout.adapters.preflight.versions import selector_of
from rollout.core.route import Target

_LISTED = (VIRTUAL_SERVICES, DESTINATION_RULES, TELEMETRIES, HTTP_ROUTES, GRPC_ROUTES)


@dataclass(frozen=True, slots=True)
class Routing:
    """The objects that the policy names, whole."""

    legs: list[JsonObject | None]
    rule: JsonObject | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that was read."""

    virtual_services: list[JsonObject]
    destination_rules: list[JsonObject]
    rule: JsonObject | None
    """The one that the policy names."""
    services: Mapping[str, JsonObject | None]
    """By name; empty where they may not be read."""
    canary: JsonObject | None
    """Its Deployment."""
    canary_known: bool
    """We had the right to look for it."""
    stable: JsonObject | None
    pods: list[JsonObject]
    """The canary's."""
    telemetries: list[JsonObject]
    routes: Mapping[str, list[JsonObject]]
    """Gateway API routes, by kind."""


async def routing(reader: Reader, target: Target) -> Routing:
    """Read them; see `Reader.trouble`."""
    await reader.discover()
    rule, legs = await asyncio.gather(
        reader.get(DESTINATION_RULES, target.namespace, target.destination_rule),
        asyncio.gather(*(reader.get(VIRTUAL_SERVICES, leg.namespace, leg.virtual_service) for leg in target.legs)),
    )
    return Routing([*legs], rule)


async def mesh_wide(reader: Reader) -> dict[str, list[JsonObject] | None]:
    """All objects of the cluster by `Kind.plural`; None where we have no right to that. Waits for its turn.

    Ends with the first one that cannot be read; see `Reader.trouble`.
    """
    whole: dict[str, list[JsonObject] | None] = {}
    for kind in _LISTED:
        whole[kind.plural] = await reader.everywhere(kind)
        if reader.trouble() is not None:
            break
    return whole


async def around(
    reader: Reader, scene: Scene, known: Routing, whole: Mapping[str, list[JsonObject] | None]
) -> Surroundings:
    """The rest: with no right to look everywhere, of the namespaces that have to do with the service."""
    target = scene.target
    near = {target.namespace, *scene.clients, *(leg.namespace for leg in target.legs)}
    names = [host.partition(".")[0] for host in scene.hosts]
    virtual_services, rules, bent, http, grpc = await asyncio.gather(
        _or_near(reader, VIRTUAL_SERVICES, near, whole),
        _or_near(reader, DESTINATION_RULES, near, whole),
        _or_near(reader, TELEMETRIES, near | {scene.root}, whole),
        _or_near(reader, HTTP_ROUTES, near, whole),
        _or_near(reader, GRPC_ROUTES, near, whole),
    )
    services, canary, stable = await asyncio.gather(
        asyncio.gather(*(reader.get(SERVICES, target.namespace, name) for name in names)),
        _deployment(reader, scene, target.canary),
        _deployment(reader, scene, target.stable),
    )
    selector = selector_of(canary) if canary is not None else ""
    pods = await reader.among(PODS, target.namespace, selector) if selector else []
    may_services = reader.may("get", SERVICES, target.namespace)
    return Surroundings(
        virtual_services=merged(known.legs, virtual_services),
        destination_rules=merged([known.rule], rules),
        rule=known.rule,
        services=dict(zip(names, services, strict=True)) if may_services else {},
        canary=canary,
        canary_known=reader.may("get", DEPLOYMENTS, target.namespace),
        stable=stable,
        pods=pods,
        telemetries=bent,
        routes={HTTP_ROUTES.kind: http, GRPC_ROUTES.kind: grpc},
    )


async def _or_near(
    reader: Reader, kind: Kind, near: set[str], whole: Mapping[str, list[JsonObject] | None]
) -> list[JsonObject]:
    everywhere = whole[kind.plural]
    return everywhere if everywhere is not None else await reader.inside(kind, near)


async def _deployment(reader: Reader, scene: Scene, version: str | None) -> JsonObject | None:
    if version is None:
        return None
    name = scene.policy.deployment_of(scene.target.service, version)
    return await reader.get(DEPLOYMENTS, scene.target.namespace, name)
