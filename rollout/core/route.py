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
class Leg:
    """One VirtualService that carries the service's traffic: the mesh's, or a gateway's."""

    namespace: str
    virtual_service: str
    route: str | None = None
    """Name of the http route; None where the only weighted one is meant."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.virtual_service}"


@dataclass(frozen=True, slots=True)
class Target:
    """Which objects carry the traffic of one service, and which two versions share it."""

    namespace: str
    service: str
    legs: tuple[Leg, ...]
    """Every VirtualService that is stepped; most services have one."""
    destination_rule: str
    version_label: str
    """Pod label whose value is the version (key of the DestinationRule's subset labels)."""
    canary: str
    stable: str | None = None
    """None before the release has found out who holds the traffic."""
    release: str = ""
    """Name of the release that orders; written beside the epoch."""
    slots: tuple[str, ...] = ()
    """Subset names that versions take by turns; none where each version has a subset of its own name."""
    host: str | None = None
    """Template of a version's own Service (`{service}-{version}`); None where subsets tell the versions apart."""

    def host_of(self, version: str) -> str | None:
        """Name of the version's own Service; None where subsets tell the versions apart."""
        return None if self.host is None else named(self.host, self.service, version)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a route cannot be stepped: a stable code for machines, a sentence that says what to do for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one of several VirtualServices says."""

    leg: Leg
    percent: int
    epoch: int
    release: str
    revision: str


@dataclass(frozen=True, slots=True)
class Mesh:
    """The route as read from the mesh, with what is needed to change it without overwriting anybody.

    Where several VirtualServices carry it, `percent` is the largest share that one of them gives, `epoch` the newest
    order on any of them and `release` its author; `parts` has what each says.
    """

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
    parts: tuple[Part, ...] = ()
    """What each VirtualService says, where there are several."""
    missing: tuple[Leg, ...] = ()
    """Those of several that do not exist."""
    unread: tuple[Leg, ...] = ()
    """Those of several that could not be read: nothing may be raised before they are."""

    @property
    def authors(self) -> dict[str, str]:
        """Who ordered last, by VirtualService; by the empty name where there is one."""
        return {str(part.leg): part.release for part in self.parts} or {"": self.release}

    @property
    def differing(self) -> str:
        """`30 % by shop/checkout, 0 % by edge/checkout`; empty where all say the same."""
        if len({part.percent for part in self.parts}) < 2:
            return ""
        return ", ".join(f"{part.percent} % by {part.leg}" for part in self.parts)

    def __str__(self) -> str:
        return self.differing or f"{self.percent} %"


@dataclass(frozen=True, slots=True)
class Gone:
    """The object that carries the route does not exist (the API server said so)."""

    message: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """We could not look: no answer, or none that can be trusted. Never a fact about the canary."""

    message: str


def named(template: str, service: str, version: str) -> str:
    """A name that the policy makes of a service and a version."""
    return template.replace("{service}", service).replace("{version}", version)


def subset_name(version: str) -> str:
    """The DestinationRule subset of a version: an RFC 1123 label, so dots become dashes (Istio validateSubsetName)."""
    return version.replace(".", "-")
