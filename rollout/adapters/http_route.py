"""Which http route of a VirtualService is meant, and how its requests are shared out.

Belongs here: selection among `spec.http`, shares as Istio computes them, and why a route cannot be stepped. Does not
belong here: edits and epochs (`virtual_service.py`), what names a version (`naming.py`), I/O (`istio.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.adapters.naming import Naming, destination_of
from rollout.core.route import Leg, Problem, Target

_INT32 = 2**31 - 1
# Neither narrows a match: names are for logs and statistics.
_MATCH_NAMES = frozenset({"name", "statPrefix"})
_EVERY_PATH: tuple[JsonObject, ...] = ({"prefix": "/"}, {"regex": ".*"})


@dataclass(frozen=True, slots=True)
class Destination:
    """One entry of a route's `route` list."""

    index: int
    entry: JsonObject | None
    """As it is in the object; None where it is no object."""
    ours: bool
    """It names the service."""
    name: str | None
    """The subset or Service that tells the version; None where none does."""
    version: str | None
    """What that stands for; None where it is not ours or names no version."""
    weight: int
    """0 where it is absent or makes no sense."""
    sane: bool
    """Its weight is absent or an int32 that is not negative."""


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One entry of `spec.http`."""

    index: int
    name: str | None
    everything: bool
    """It matches every request that reaches it."""
    instead: str | None
    """What it has in place of destinations: delegate, redirect or directResponse."""
    destinations: tuple[Destination, ...]

    @property
    def total(self) -> int:
        """Sum of the weights. One destination takes everything, whatever its weight (route.go: `len(in.Route)==1`)."""
        return 1 if len(self.destinations) == 1 else sum(one.weight for one in self.destinations)

    def share(self, one: Destination) -> int:
        """This destination's part of `total`."""
        return 1 if len(self.destinations) == 1 else one.weight

    def of(self, version: str | None) -> tuple[Destination, ...]:
        """The destinations of this version, in order."""
        return tuple(one for one in self.destinations if version is not None and one.version == version)

    def part(self, version: str | None) -> int:
        """This version's part of `total`."""
        return sum(self.share(one) for one in self.of(version))

    def percent(self, version: str) -> int:
        """This version's share, rounded; 0 and 100 only where they are exact, for one in a thousand is traffic too."""
        part, total = self.part(version), self.total
        if part == 0:
            return 0
        return 100 if part == total else min(99, max(1, (200 * part + total) // (2 * total)))

    def gives(self, version: str, percent: int) -> bool:
        """Whether this version's share is exactly that."""
        part = self.part(version)
        return part == 0 if percent == 0 else self.total > 0 and part * 100 == percent * self.total

    def carriers(self) -> tuple[Destination, ...]:
        """The destinations that receive requests. With two or more, weight 0 or absent is not programmed at all."""
        return tuple(one for one in self.destinations if self.share(one) > 0)


@dataclass(frozen=True, slots=True)
class Selection:
    """The route that is meant, or the best guess and why it is one."""

    route: HttpRoute | None
    problem: Problem | None = None


def http_routes(spec: JsonObject, naming: Naming, home: str) -> tuple[HttpRoute, ...]:
    """Every entry of `spec.http` that is an object; `home` is the VirtualService's namespace. Never raises."""
    return tuple(
        _http_route(index, entry, naming, home)
        for index, entry in enumerate(sequence(spec.get("http")))
        if isinstance(entry, dict)
    )


def _http_route(index: int, entry: JsonObject, naming: Naming, home: str) -> HttpRoute:
    name = entry.get("name")
    destinations = tuple(
        _destination(place, item, naming, home) for place, item in enumerate(sequence(entry.get("route")))
    )
    return HttpRoute(
        index=index,
        name=name if isinstance(name, str) and name else None,
        everything=_matches_everything(entry.get("match")),
        instead=next((key for key in ("delegate", "redirect", "directResponse") if entry.get(key)), None),
        destinations=destinations,
    )


def _matches_everything(match: Any) -> bool:
    """No match, or one alternative that is catch-all (route.go:BuildHTTPRoutesForVirtualService)."""
    return not match or any(_catches_all(mapping(one)) for one in sequence(match) if isinstance(one, dict))


def _catches_all(match: JsonObject) -> bool:
    narrowing = {key: value for key, value in match.items() if value and key not in _MATCH_NAMES}
    return not narrowing or (set(narrowing) == {"uri"} and narrowing["uri"] in _EVERY_PATH)


def _destination(index: int, item: Any, naming: Naming, home: str) -> Destination:
    entry = item if isinstance(item, dict) else None
    named = naming.read(destination_of(entry), home)
    weight = mapping(entry).get("weight")
    sane = weight is None or (type(weight) is int and 0 <= weight <= _INT32)
    return Destination(
        index=index,
        entry=entry,
        ours=named.ours,
        name=named.name,
        version=named.version,
        weight=weight if type(weight) is int and sane else 0,
        sane=sane,
    )


def select(routes: tuple[HttpRoute, ...], spec: JsonObject, target: Target, leg: Leg) -> Selection:
    """The route to step: the named one, else the only one that sends to the service, a match or none.

    Of several the one that takes what no match takes is meant. Where that is not exactly one, the route that a
    rollback would have to change is guessed. Never raises.
    """
    where = named_leg(leg)
    if not routes:
        others = [kind for kind in ("tls", "tcp") if spec.get(kind)]
        if others:
            return Selection(
                None,
                Problem(
                    "not-http",
                    f"{where} has {' and '.join(others)} routes only, whose weights are per connection and whose every "
                    "change closes connections: only http routes can be stepped",
                ),
            )
        return Selection(None, Problem("no-http-route", f"{where} has no http route: add one for {target.service!r}"))
    if leg.route is not None:
        named = [route for route in routes if route.name == leg.route]
        problem = _naming_problem(len(named), routes, leg)
        if problem is not None:
            return Selection(_guess(tuple(named) or routes, target), problem)
        return Selection(named[0], _shadow(routes, named[0], where))
    able = [route for route in routes if _could_be_meant(route)] or [*routes]
    meant = [route for route in able if route.everything] or able
    if len(meant) == 1:
        return Selection(meant[0], _shadow(routes, meant[0], where))
    return Selection(
        _guess(routes, target),
        Problem(
            "several-routes",
            f"{where} has {len(routes)} http routes and {len(meant)} that could be meant: "
            "give the right one a name and put it into the policy's route",
        ),
    )


def named_leg(leg: Leg) -> str:
    """How a VirtualService is called in messages."""
    return f"VirtualService {leg}"


def _naming_problem(count: int, routes: tuple[HttpRoute, ...], leg: Leg) -> Problem | None:
    where = named_leg(leg)
    if count == 1:
        return None
    if count:
        return Problem(
            "route-name-twice", f"{where} has {count} http routes named {leg.route!r}: give each its own name"
        )
    known = ", ".join(repr(route.name) for route in routes if route.name) or "none has a name"
    return Problem(
        "route-not-found", f"{where} has no http route named {leg.route!r} ({known}): correct the policy's route"
    )


def _shadow(routes: tuple[HttpRoute, ...], chosen: HttpRoute, where: str) -> Problem | None:
    """The first match wins: behind a route that takes everything no other is reached."""
    before = next((route for route in routes if route.everything and route.index < chosen.index), None)
    if before is None:
        return None
    return Problem(
        "route-unreachable",
        f"http route {chosen.index} of {where} is never reached: route {before.index} before it takes every request",
    )


def _could_be_meant(route: HttpRoute) -> bool:
    """A redirect, a fixed answer or another service's route carries nothing of ours; a delegate might."""
    return route.instead == "delegate" or any(one.ours for one in route.destinations)


def _guess(routes: tuple[HttpRoute, ...], target: Target) -> HttpRoute | None:
    """The route in which the canary's traffic most likely is.

    A match with one destination is somebody's own detour (`x-canary: true`), not a split: left alone unless it is all
    there is.
    """
    likely = [route for route in routes if route.everything or len(route.destinations) > 1 or len(routes) == 1]

    def rank(route: HttpRoute) -> tuple[bool, bool, bool, bool, int]:
        percent = route.percent(target.canary)
        split = 0 < percent < 100
        return not split, percent == 0, not route.of(target.canary), not route.everything, route.index

    return min(likely, key=rank, default=None)


def route_problems(route: HttpRoute, target: Target, naming: Naming, where: str, *, ours: bool) -> Iterator[Problem]:
    """Why no release may start on this route; the first says best what to do. `ours`: its release ordered it."""
    which = f"http route {route.name!r} of {where}" if route.name else f"http route {route.index} of {where}"
    if route.instead is not None:
        yield Problem(_INSTEAD[route.instead][0], f"{which} {_INSTEAD[route.instead][1]}")
        return
    if not route.destinations:
        yield Problem("no-destination", f"{which} has no destination: add one with host and subset")
        return
    several = len(route.destinations) > 1
    if any(not one.sane for one in route.destinations) or (several and route.total == 0):
        yield Problem("bad-weight", f"{which} has weights that make no sense: each must be 0..100, together 100")
    if any(one.entry is None or not one.ours for one in route.destinations):
        yield Problem("other-host", f"{which} sends to other hosts than {target.service!r}: split them off first")
    if any(one.name is None for one in route.destinations):
        yield naming.nameless(which)
    # Before it is taken, the idle slot may well carry the label of the version that holds the traffic.
    told = [one.name if target.slots else one.version for one in route.destinations]
    if len(set(told)) < len(told):
        yield Problem("destination-twice", f"{which} names the same version twice: leave one destination of each")
    if target.stable is not None:
        strangers = {one.version for one in route.carriers() if one.version} - {target.canary, target.stable}
        if strangers:
            yield Problem("other-version", f"{which} sends to {min(strangers)}, which has no part in this release")
    weighted = [one for one in route.carriers() if several]
    if len(weighted) > 2:
        yield Problem("too-many-destinations", f"{which} splits between {len(weighted)} destinations: leave one or two")
    shown = " and ".join(f"{one.name} {one.weight}" for one in weighted)
    if len(weighted) == 2 and not any(one.version == target.canary for one in weighted):
        yield Problem("no-stable", f"{which} is split between others ({shown}): give one of them all traffic first")
    elif len(weighted) == 2 and not ours:
        yield Problem("already-split", f"{which} is already split ({shown}): give one version all traffic first")


def lost_destinations(route: HttpRoute, naming: Naming) -> Iterator[Problem]:
    """What the route sends requests to that does not exist."""
    lost = (naming.lost(one.name) for one in route.carriers() if one.ours and one.name is not None)
    yield from (problem for problem in lost if problem is not None)


_INSTEAD = {
    "delegate": (
        "delegate",
        "hands over to another VirtualService: name that one in the policy's route, its weights are in force",
    ),
    "redirect": ("redirect", "is a redirect and sends to no version: name another one in the policy's route"),
    "directResponse": (
        "direct-response",
        "answers by itself and sends to no version: name another one in the policy's route",
    ),
}
