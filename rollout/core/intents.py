"""What the core wants done to the world: effects as data. The reconciler carries them out, in order, after the save."""

from dataclasses import dataclass

from rollout.core.events import Notice
from rollout.core.route import Mesh, Route


@dataclass(frozen=True, slots=True)
class Hold:
    """Put our finalizer on the Release: from now on it cannot disappear while it moves traffic."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Take our finalizer off the Release: nothing depends on it any more, it may be deleted."""


@dataclass(frozen=True, slots=True)
class SetRoute:
    """Order the mesh, unless the VirtualService changed since `seen`."""

    route: Route
    seen: Mesh


@dataclass(frozen=True, slots=True)
class AddSubset:
    """Give a version its DestinationRule subset, a copy of stable's but for name and label."""

    version: str


@dataclass(frozen=True, slots=True)
class DropDestination:
    """Take a version without traffic out of the route, unless the VirtualService changed since `seen`."""

    version: str
    seen: Mesh


@dataclass(frozen=True, slots=True)
class DropSubset:
    """Take a version's subset out of the DestinationRule, if no VirtualService names it any more."""

    version: str


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the world about an event."""

    notice: Notice


RouteChange = SetRoute | AddSubset | DropDestination | DropSubset
Intent = Hold | LetGo | RouteChange | Announce
