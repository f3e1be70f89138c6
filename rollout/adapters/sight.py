"""All objects of one target as read at one moment, and whether an order may be written on top of them.

Belongs here: what was read, what was not, and what forbids a write: a change since, a newer order, another author. Does
not belong here: how they are read, in which order they are written (`istio.py`), what they say (`virtual_service.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rollout.adapters.destination_rule import JsonObject, Operation, revision
from rollout.adapters.host_split import Services
from rollout.adapters.http_route import named_leg
from rollout.adapters.legs import alone
from rollout.adapters.signature import order_of
from rollout.adapters.virtual_service import ordered
from rollout.core.route import Leg, Mesh, Problem, Route, Target
from rollout.ports import Conflict, NotFound, Outage, Refused


@dataclass(frozen=True, slots=True)
class Sight:
    """All objects that say something about one target, as read at one moment."""

    legs: Mapping[Leg, JsonObject | Exception]
    """The VirtualServices; an error where there is none (NotFound), or where it could not be read (any other)."""
    rule: JsonObject | None
    """None where there is none, or none is needed."""
    services: Services

    def there(self) -> list[tuple[Leg, JsonObject]]:
        """The VirtualServices that exist, in order."""
        return [(leg, found) for leg, found in self.legs.items() if not isinstance(found, Exception)]

    def missing(self) -> dict[Leg, NotFound]:
        """Those that do not exist."""
        return {leg: found for leg, found in self.legs.items() if isinstance(found, NotFound)}

    def unread(self) -> dict[Leg, Exception]:
        """Those that may exist, but could not be read."""
        failed = {leg: found for leg, found in self.legs.items() if isinstance(found, Exception)}
        return {leg: error for leg, error in failed.items() if not isinstance(error, NotFound)}

    def check_all_read(self) -> None:
        """Raises Outage: what could not be read may be read any moment, and has to be ordered then."""
        for leg, error in self.unread().items():
            raise _unread(leg, error)


def first_of(errors: Mapping[Leg, Exception]) -> str:
    """What the first of them says; there is one."""
    return str(next(iter(errors.values())))


def _unread(leg: Leg, error: Exception) -> Outage:
    return error if isinstance(error, Outage) else Outage(f"{named_leg(leg)} cannot be read: {error}")


def order_for(leg: Leg, sight: Sight, target: Target, route: Route, seen: Mesh) -> list[Operation]:
    """The patch that makes one VirtualService as ordered. Raises Conflict, Refused, Outage."""
    obj = unchanged(leg, sight, target, seen)
    check_epoch(leg, obj, target, route)
    return wanted(ordered(obj, sight.rule, alone(target, leg), route, sight.services))


def unchanged(leg: Leg, sight: Sight, target: Target, seen: Mesh) -> JsonObject:
    """The VirtualService, if it is the one that was seen, by the same author. Raises Conflict, Outage."""
    obj = sight.legs[leg]
    if isinstance(obj, NotFound):
        raise Conflict(f"{named_leg(leg)} is gone since it was read: {obj}") from obj
    if isinstance(obj, Exception):
        raise _unread(leg, obj)
    known = {part.leg: (part.revision, part.release) for part in seen.parts} or {leg: (seen.revision, seen.release)}
    if (revision(obj), order_of(obj, target, leg)[1]) != known.get(leg):
        raise Conflict(f"{named_leg(leg)} changed since it was read")
    return obj


def check_epoch(leg: Leg, obj: JsonObject, target: Target, route: Route) -> None:
    """Raises Conflict where a newer order stands, or another release's of the same epoch."""
    epoch, release = order_of(obj, target, leg)
    if epoch > route.epoch or (epoch == route.epoch and release not in {"", target.release}):
        raise Conflict(
            f"{named_leg(leg)} carries epoch {epoch} of release {release or 'unknown'}; "
            f"this order has epoch {route.epoch}"
        )


def wanted(patch: list[Operation] | Problem) -> list[Operation]:
    """The patch; raises Refused where there is a problem instead."""
    if isinstance(patch, Problem):
        raise Refused(patch.message)
    return patch
