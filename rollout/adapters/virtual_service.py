"""A VirtualService as this project reads and edits it: the route as it stands, and the patch that makes it as ordered.

Belongs here: dicts in, a `Mesh` or JSON Patch operations (RFC 6902) out; who else moves its traffic. Does not belong
here: which route is meant (`http_route.py`), what names a version (`naming.py`), who ordered last (`signature.py`),
several VirtualServices (`legs.py`), I/O (`istio.py`). A target here is one with a single leg: the VirtualService in
question.

A patch touches the weights of one http route, one added or removed destination of it, and two annotations. Objects are
edited as untyped data and never rebuilt, so that whatever a newer Istio adds survives (flagger#703, argo#2266).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from rollout.adapters.destination_rule import (
    JsonObject,
    Operation,
    guard,
    mapping,
    revision,
    rule_name,
    sequence,
    serves,
    subsets_of,
)
from rollout.adapters.host_split import Services
from rollout.adapters.http_route import (
    Destination,
    HttpRoute,
    Selection,
    http_routes,
    lost_destinations,
    named_leg,
    route_problems,
    select,
)
from rollout.adapters.naming import UNASKED, Naming, naming_of
from rollout.adapters.signature import order_of, signed
from rollout.adapters.slots import idle_slot, taken
from rollout.core.route import Mesh, Problem, Route, Target


@dataclass(frozen=True, slots=True)
class _View:
    """The VirtualService and what its destinations mean, read for one target."""

    target: Target
    selection: Selection
    naming: Naming

    @property
    def route(self) -> HttpRoute | None:
        return self.selection.route


def _view(virtual_service: JsonObject, rule: JsonObject | None, target: Target, services: Services) -> _View:
    (leg,) = target.legs
    naming = naming_of(rule, target, services)
    spec = mapping(virtual_service.get("spec"))
    selection = select(http_routes(spec, naming, leg.namespace), spec, target, leg)
    return _View(target, selection, naming)


def _where(target: Target) -> str:
    return named_leg(target.legs[0])


def reading(virtual_service: JsonObject, rule: JsonObject | None, target: Target, services: Services = UNASKED) -> Mesh:
    """The route as it stands; `rule` None where there is no DestinationRule. Never raises, whatever the objects hold.

    `problem` is why no release may start; all else is read as well as it can be even then, for a rollback needs it.
    """
    view = _view(virtual_service, rule, target, services)
    epoch, release = order_of(virtual_service, target, target.legs[0])
    holders = {one.version for one in view.route.carriers()} - {target.canary} if view.route else set()
    stable = next(iter(holders)) if len(holders) == 1 else None
    ours = bool(target.release) and release == target.release
    return Mesh(
        percent=view.route.percent(target.canary) if view.route else 0,
        epoch=epoch,
        release=release,
        stable=stable,
        listed=frozenset(one.version for one in view.route.destinations if one.version) if view.route else frozenset(),
        subsets=view.naming.there,
        revision=revision(virtual_service),
        problem=next(_problems(virtual_service, rule, view, target.stable or stable, ours=ours), None),
    )


def _problems(
    virtual_service: JsonObject, rule: JsonObject | None, view: _View, stable: str | None, *, ours: bool
) -> Iterator[Problem]:
    target = view.target
    where = _where(target)
    yield from _unwritable(virtual_service, where)
    for obj, name in ((virtual_service, where), (rule, rule_name(target))):
        owner = _owner(obj or {})
        if owner is not None:
            yield Problem("other-owner", f"{name} belongs to {owner}: only one controller may move its traffic")
    if view.selection.problem is not None:
        yield view.selection.problem
    if view.route is not None:
        yield from route_problems(view.route, target, view.naming, where, ours=ours)
    yield from view.naming.problems(stable)
    if target.slots and stable is not None:
        yield from _slot_problems(virtual_service, rule, view, stable)
    if view.route is not None:
        yield from lost_destinations(view.route, view.naming)


def _slot_problems(virtual_service: JsonObject, rule: JsonObject | None, view: _View, stable: str) -> Iterator[Problem]:
    """The slot that the canary would take must be nobody's."""
    target = replace(view.target, stable=stable)
    if target.canary in view.naming.there:
        return
    fed = frozenset(slot for slot in target.slots if feeds(virtual_service, slot, target))
    slot = idle_slot(subsets_of(rule, target), target, target.canary, fed)
    if isinstance(slot, str) and slot in fed:
        yield taken(slot, _where(target), target, target.canary)


def _unwritable(virtual_service: JsonObject, where: str) -> Iterator[Problem]:
    metadata = mapping(virtual_service.get("metadata"))
    if not revision(virtual_service) or not isinstance(metadata.get("annotations") or {}, dict):
        yield Problem("unreadable", f"{where} has no usable metadata: a write could not be guarded against others")


def _owner(obj: JsonObject) -> str | None:
    """Who else moves this object's traffic, by the marks that Argo Rollouts and Flagger leave."""
    metadata = mapping(obj.get("metadata"))
    annotations, labels = mapping(metadata.get("annotations")), mapping(metadata.get("labels"))
    if any(str(key).startswith("argo-rollouts.argoproj.io/") for key in annotations):
        return "Argo Rollouts"
    owners = metadata.get("ownerReferences")
    kinds = [
        (str(mapping(one).get("apiVersion")), mapping(one).get("kind"))
        for one in (owners if isinstance(owners, list) else [])
    ]
    marked = any(str(key).startswith("flagger.kubernetes.io/") for key in annotations)
    managed = labels.get("app.kubernetes.io/managed-by") == "flagger"
    if marked or managed or any(api.startswith("flagger.app/") and kind == "Canary" for api, kind in kinds):
        return "Flagger"
    return None


@dataclass(slots=True)
class _Edit:
    """The operations on one http route's destinations, in the order they will be applied."""

    route: HttpRoute
    operations: list[Operation] = field(default_factory=list)
    added: int = 0

    def weigh(self, one: Destination, weight: int) -> None:
        """Write a weight, unless it is that already."""
        if one.entry is None or (one.sane and one.entry.get("weight") == weight):
            return
        # On a member of an object `add` also replaces (RFC 6902 §4.1); the verb tells a reader which of the two it is.
        verb = "replace" if "weight" in one.entry else "add"
        path = f"/spec/http/{self.route.index}/route/{one.index}/weight"
        self.operations.append({"op": verb, "path": path, "value": weight})

    def append(self, template: JsonObject, destination: JsonObject, weight: int) -> None:
        """Add an entry like `template`, headers and all, for another destination."""
        entry = copy.deepcopy(template)
        entry["destination"] = copy.deepcopy(destination)
        entry["weight"] = weight
        place = len(self.route.destinations) + self.added
        self.added += 1
        self.operations.append({"op": "add", "path": f"/spec/http/{self.route.index}/route/{place}", "value": entry})


def ordered(
    virtual_service: JsonObject,
    rule: JsonObject | None,
    target: Target,
    route: Route,
    services: Services = UNASKED,
) -> list[Operation] | Problem:
    """The patch after which the object is as `route` orders; empty where it is so already. Never raises.

    A share is raised only on a route without a problem. It is lowered, to 0 above all, on every shape that names the
    canary: its weight goes to stable's destination, which is added again where it is missing; others keep theirs.
    """
    where = _where(target)
    unwritable = next(_unwritable(virtual_service, where), None)
    if unwritable is not None:
        return unwritable
    view = _view(virtual_service, rule, target, services)
    http = view.route
    operations: list[Operation] = []
    if http is None and route.percent > 0:
        assert view.selection.problem is not None, "no route is selected without a reason"
        return view.selection.problem
    if http is not None and not http.gives(target.canary, route.percent):
        seen = reading(virtual_service, rule, target, services)
        if route.percent >= seen.percent:
            obstacle = _obstacle(virtual_service, rule, view, target.stable or seen.stable)
            if obstacle is not None:
                return obstacle
        shares = _shares(http, view, target.stable or seen.stable, route.percent)
        if isinstance(shares, Problem):
            return shares
        operations += shares
    operations += signed(virtual_service, target, target.legs[0], route)
    return [guard(virtual_service), *operations] if operations else []


def _obstacle(virtual_service: JsonObject, rule: JsonObject | None, view: _View, stable: str | None) -> Problem | None:
    """Why the canary's share must not be raised."""
    # A split between stable and canary forbids a start, not the next step after somebody edited the weights by hand.
    found = next(_problems(virtual_service, rule, view, stable, ours=True), None)
    return found if found is not None else view.naming.lacking(view.target.canary)


def _shares(http: HttpRoute, view: _View, stable: str | None, percent: int) -> list[Operation] | Problem:
    """Weights that sum to 100: the canary's as ordered, the others' as they are, the rest for stable."""
    target = view.target
    canaries = http.of(target.canary)
    stable = stable if stable != target.canary else None
    stables = http.of(stable)[:1]
    others = [one for one in http.destinations if one not in canaries and one not in stables]
    kept = {one.index: 100 * http.share(one) // http.total if http.total else 0 for one in others}
    canary_weight = min(percent, 100 - sum(kept.values()))
    stable_weight = 100 - sum(kept.values()) - canary_weight
    edit = _Edit(http)
    for one in others:
        # An absent weight says 0 already; to write it would be a change without a meaning.
        if one.weight != kept[one.index] or not one.sane:
            edit.weigh(one, kept[one.index])
    for one in canaries:
        edit.weigh(one, canary_weight if one is canaries[0] else 0)
    if stables:
        edit.weigh(stables[0], stable_weight)
    template = next((one.entry for one in (*canaries, *stables) if one.entry is not None), None)
    for version, there, weight in ((target.canary, canaries, canary_weight), (stable, stables, stable_weight)):
        if there or weight == 0:
            continue
        if version is None or template is None:
            return Problem(
                "stable-unknown",
                f"{_where(target)} does not name the version that held the traffic: set its weights by hand",
            )
        edit.append(template, view.naming.renamed(template["destination"], version), weight)
    return edit.operations


def without(
    virtual_service: JsonObject,
    rule: JsonObject | None,
    target: Target,
    version: str,
    services: Services = UNASKED,
) -> list[Operation] | Problem:
    """The patch that takes a version without traffic out of the route; empty where it is not there. Never raises."""
    where = _where(target)
    unwritable = next(_unwritable(virtual_service, where), None)
    if unwritable is not None:
        return unwritable
    http = _view(virtual_service, rule, target, services).route
    leaving = http.of(version) if http is not None else ()
    if http is None or not leaving:
        return []
    # A sum of 0 carries nothing yet; with one destination less it could be 100 % of what is left (one takes all).
    if http.part(version) > 0 or http.total == 0:
        return Problem("has-traffic", f"{version} still receives traffic by {where}: it stays in the route")
    removals = [
        {"op": "remove", "path": f"/spec/http/{http.index}/route/{one.index}"}
        for one in sorted(leaving, key=lambda one: -one.index)
    ]
    return [guard(virtual_service), *removals]


def landing(
    virtual_service: JsonObject, rule: JsonObject | None, target: Target, services: Services = UNASKED
) -> tuple[str, str] | None:
    """(canary's, stable's) subset or Service as an order for 0 uses them; None where it moves nothing."""
    view = _view(virtual_service, rule, target, services)
    stable = target.stable or reading(virtual_service, rule, target, services).stable
    if view.route is None or stable is None or view.route.part(target.canary) == 0:
        return None
    canary = view.route.of(target.canary)[0].name or ""
    returning = next((one.name for one in view.route.of(stable)), None)
    return canary, returning or view.naming.name(stable)


def feeds(virtual_service: JsonObject, subset: str, target: Target) -> bool:
    """Whether a request, or a copy of one, reaches this subset by it: all that names it, but for weights of 0.

    One destination takes everything, whatever its weight; of several, weight 0 or none is not programmed (route.go).
    """
    spec = mapping(virtual_service.get("spec"))
    loaded: JsonObject = dict(spec)
    for kind in ("http", "tls", "tcp"):
        routes = [mapping(entry) for entry in sequence(spec.get(kind))]
        loaded[kind] = [entry | {"route": _loaded(entry.get("route"))} for entry in routes]
    return names_subset(virtual_service | {"spec": loaded}, subset, target)


def _loaded(destinations: Any) -> list[Any]:
    entries = sequence(destinations)
    # Not `in {None, 0}`: what stands there may be anything, and not everything can be hashed.
    idle = [
        len(entries) > 1 and (weight is None or weight == 0)
        for weight in (mapping(one).get("weight") for one in entries)
    ]
    return [one for one, is_idle in zip(entries, idle, strict=True) if not is_idle]


def names_subset(virtual_service: JsonObject, subset: str, target: Target) -> bool:
    """Whether it sends anything to this subset of the service: routes of any kind, mirrors, anything.

    Whatever has a `host` and a `subset` counts, known field or not: a subset that is kept too long hurts nobody, one
    that goes too early answers 503 NC.
    """
    namespace = mapping(virtual_service.get("metadata")).get("namespace")
    home = namespace if isinstance(namespace, str) else target.namespace
    todo: list[Any] = [virtual_service.get("spec")]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if value.get("subset") == subset and serves(value.get("host"), home, target):
                return True
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return False
