"""What the mesh is ordered to do, and what it was seen doing.

A `Route` is an order: the canary's share and the number that orders orders (a fencing token). A `Mesh` is what was read
from the VirtualService and the DestinationRule. Nothing here knows how Istio spells either.
"""

from dataclasses import dataclass

from pydantic import Field

from rollout.core.quantities import Model


class Route(Model):
    """An order for the mesh: `percent` of the requests to the canary, under `epoch`."""

    percent: int = Field(ge=0, le=100)
    epoch: int = Field(ge=0)


@dataclass(frozen=True, slots=True)
class Target:
    """Which objects carry the traffic of one service, and which two versions share it."""

    namespace: str
    service: str
    virtual_service: str
    destination_rule: str
    route: str | None
    """Name of the http route; None where the only weighted one is meant."""
    version_label: str
    """Pod label whose value is the version (key of the DestinationRule's subset labels)."""
    canary: str
    stable: str | None = None
    """None before the release has found out who holds the traffic."""
    release: str = ""
    """Name of the release that orders; written beside the epoch."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a route cannot be stepped: a stable code for machines, a sentence that says what to do for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Mesh:
    """The route as read from the mesh, with what is needed to change it without overwriting anybody."""

    percent: int
    """The canary's share, 0..100, of the selected route."""
    epoch: int
    """Epoch of the last order; 0 where nobody has ordered yet."""
    release: str
    """Name of the release that gave that order; "" where nobody has."""
    stable: str | None
    """The version that holds the traffic beside the canary; None where that is not exactly one."""
    listed: frozenset[str]
    """Versions that the route names, whatever their weight."""
    subsets: frozenset[str]
    """Versions that have a subset in the DestinationRule."""
    revision: str
    """resourceVersion of the VirtualService that was read: a write is refused if it has changed since."""
    problem: Problem | None = None
    """Why no release may start on this route; a rollback is possible all the same."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The object that carries the route does not exist (the API server said so)."""

    message: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """We could not look: no answer, or none that can be trusted. Never a fact about the canary."""

    message: str


def subset_name(version: str) -> str:
    """The DestinationRule subset of a version: an RFC 1123 label, so dots become dashes (Istio validateSubsetName)."""
    return version.replace(".", "-")
