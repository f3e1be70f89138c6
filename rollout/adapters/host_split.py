"""A Service of its own for each version (`route.host` of the policy): which host is which version's.

Belongs here: names of Services, and what to say where one is missing. Does not belong here: what a host means in an
Istio object (`destination_rule.py`), routes (`http_route.py`), I/O (`istio.py`).

CI makes the Services, as it makes the Deployments. No DestinationRule is needed, and none is read: a version's Service
selects its pods. The Service that all clients call, the apex, selects the pods of all versions and is no version.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rollout.adapters.destination_rule import JsonObject
from rollout.core.route import Problem, Target, named

# RFC 1123, what the API server accepts as the name of a Service at most.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ANY = "\x00"
"""Stands for the version in a template; no name can contain it."""


@dataclass(frozen=True, slots=True)
class Services:
    """Which Services are there and which are not; what is in neither could not be asked."""

    there: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()


def hosts_of(target: Target) -> tuple[str, ...]:
    """Names of the Services of the versions that are known: the canary's, then stable's."""
    versions = (target.canary, target.stable)
    return tuple(host for version in versions if version and (host := target.host_of(version)))


def is_service_name(name: str) -> bool:
    """Whether a Service can be called so."""
    return _LABEL.fullmatch(name) is not None


def version_of_service(service: str, target: Target) -> str | None:
    """Whose Service this is, lower case as hosts are compared; None where the name does not follow the template."""
    for version in (target.canary, target.stable):
        if version and (target.host_of(version) or "").lower() == service:
            return version
    before, _, after = named(target.host or "", target.service, _ANY).partition(_ANY)
    # A version that stands twice in the template stands for the same thing twice.
    pattern = re.escape(before) + "(?P<version>.+?)" + re.escape(after).replace(re.escape(_ANY), "(?P=version)")
    found = re.fullmatch(pattern, service)
    return found["version"] if found else None


def versions_there(target: Target, services: Services) -> frozenset[str]:
    """Those of the two versions whose Service exists."""
    versions = (target.canary, target.stable)
    return frozenset(version for version in versions if version and target.host_of(version) in services.there)


def on_host(destination: JsonObject, service: str) -> JsonObject:
    """A copy of the destination for another Service, in the same spelling, short or full; subsets are another's."""
    _, dot, rest = destination["host"].partition(".")
    return {key: value for key, value in destination.items() if key != "subset"} | {"host": f"{service}{dot}{rest}"}


def host_problems(target: Target, services: Services, stable: str | None) -> Iterator[Problem]:
    """Why a release cannot rely on these Services; a canary's that is not there yet is waited for."""
    canary = target.host_of(target.canary) or ""
    if not is_service_name(canary):
        yield Problem(
            "service-name", f"no Service can be called {canary!r}: correct route.host, or name the version so"
        )
    host = target.host_of(stable) if stable is not None else None
    if host is not None and host in services.absent:
        yield Problem(
            "stable-service-missing",
            f"there is no Service {target.namespace}/{host} of {stable}, which holds the traffic",
        )


def no_service(target: Target, version: str) -> Problem:
    """The version has no Service, so that nothing may be sent to it."""
    return Problem(
        "canary-service-missing",
        f"there is no Service {target.namespace}/{target.host_of(version)} of {version} yet: it is made with the "
        "version's Deployment, by whoever makes that; requests for it would be answered 503",
    )
