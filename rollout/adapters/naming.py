"""How the destinations of a route name versions: by subset, by one of two fixed subsets, or by host.

Belongs here: the one question that the three modes answer differently, asked by whoever reads or edits a route. Does
not belong here: what is particular to one of them (`destination_rule.py`, `slots.py`, `host_split.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from rollout.adapters.destination_rule import (
    JsonObject,
    Subset,
    mapping,
    rule_name,
    rule_problems,
    serves,
    service_named,
    subset_for,
    subsets_of,
    unusable,
    version_of,
)
from rollout.adapters.host_split import (
    Services,
    host_problems,
    no_service,
    on_host,
    version_of_service,
    versions_there,
)
from rollout.adapters.slots import slot_problems, slots_of, version_in
from rollout.core.route import Problem, Target, subset_name

UNASKED = Services()


@dataclass(frozen=True, slots=True)
class Named:
    """What one destination says."""

    ours: bool
    """It is the service's."""
    name: str | None
    """The subset or the Service that stands for a version; None where none does."""
    version: str | None
    """The version; None where it is not ours or names none."""


NOBODY = Named(ours=False, name=None, version=None)


class Naming(Protocol):
    """How versions are named in the route of one target. Nothing here raises, whatever the objects hold."""

    @property
    def there(self) -> frozenset[str]:
        """Versions that a request could reach: they have a subset, or a Service."""
        ...

    def read(self, destination: JsonObject, home: str) -> Named:
        """What a destination says that stands in an object of namespace `home`."""
        ...

    def name(self, version: str) -> str:
        """What stands for a version, or would."""
        ...

    def renamed(self, destination: JsonObject, version: str) -> JsonObject:
        """A copy of a destination of ours, for another version."""
        ...

    def nameless(self, which: str) -> Problem:
        """A destination of `which` route names no version."""
        ...

    def lacking(self, version: str) -> Problem | None:
        """Why nothing may be sent to the version."""
        ...

    def lost(self, name: str) -> Problem | None:
        """Why requests that a route sends to this name reach nobody."""
        ...

    def problems(self, stable: str | None) -> Iterator[Problem]:
        """Why no release may start; the first says best what to do. `stable` None skips what it decides."""
        ...


def naming_of(rule: JsonObject | None, target: Target, services: Services) -> Naming:
    """The mode that the target's policy chose."""
    if target.host is not None:
        return _ByHost(target, services)
    subsets = subsets_of(rule, target)
    return _BySlot(rule, target, subsets) if target.slots else _BySubset(rule, target, subsets)


@dataclass(frozen=True, slots=True)
class _BySubset:
    """A subset for each version."""

    rule: JsonObject | None
    target: Target
    subsets: tuple[Subset, ...]

    @property
    def there(self) -> frozenset[str]:
        return frozenset(one.version for one in self.subsets if one.version)

    def read(self, destination: JsonObject, home: str) -> Named:
        if not serves(destination.get("host"), home, self.target):
            return NOBODY
        name = destination.get("subset")
        if not isinstance(name, str) or not name:
            return Named(ours=True, name=None, version=None)
        return Named(ours=True, name=name, version=self._version(name))

    def _version(self, name: str) -> str:
        return version_of(name, self.subsets, self.target)

    def name(self, version: str) -> str:
        found = subset_for(version, self.subsets)
        return found.name if found is not None else subset_name(version)

    def renamed(self, destination: JsonObject, version: str) -> JsonObject:
        return destination | {"subset": self.name(version)}

    def nameless(self, which: str) -> Problem:
        return Problem("no-subset", f"{which} has a destination without a subset: name the subset of each version")

    def lacking(self, version: str) -> Problem | None:
        if version in self.there:
            return None
        return Problem(
            "canary-subset-missing",
            f"{rule_name(self.target)} has no subset of {version} yet: requests for it would be answered 503",
        )

    def lost(self, name: str) -> Problem | None:
        if unusable(self.rule, self.target) is not None or name in {one.name for one in self.subsets}:
            return None
        return Problem(
            "subset-missing",
            f"{rule_name(self.target)} has no subset {name!r}, to which the route sends requests: add it, they are "
            "answered 503",
        )

    def problems(self, stable: str | None) -> Iterator[Problem]:
        return rule_problems(self.rule, self.target, stable)


@dataclass(frozen=True, slots=True)
class _BySlot(_BySubset):
    """Two subsets of fixed names; all others of the rule are somebody else's."""

    @property
    def there(self) -> frozenset[str]:
        return frozenset(one.version for one in slots_of(self.subsets, self.target) if one.version)

    def _version(self, name: str) -> str:
        return version_in(name, self.subsets, self.target)

    def name(self, version: str) -> str:
        slots = slots_of(self.subsets, self.target)
        found = subset_for(version, slots)
        if found is not None:
            return found.name
        others = {slot.name for slot in slots if slot.version in {self.target.stable, self.target.canary}}
        return next((name for name in self.target.slots if name not in others), subset_name(version))

    def problems(self, stable: str | None) -> Iterator[Problem]:
        return slot_problems(self.rule, self.target, stable)


@dataclass(frozen=True, slots=True)
class _ByHost:
    """A Service for each version."""

    target: Target
    services: Services

    @property
    def there(self) -> frozenset[str]:
        return versions_there(self.target, self.services)

    def read(self, destination: JsonObject, home: str) -> Named:
        service = service_named(destination.get("host"), home, self.target)
        version = version_of_service(service, self.target) if service else None
        if version is not None:
            return Named(ours=True, name=service, version=version)
        return Named(ours=service == self.target.service, name=None, version=None)

    def name(self, version: str) -> str:
        return self.target.host_of(version) or ""

    def renamed(self, destination: JsonObject, version: str) -> JsonObject:
        return on_host(destination, self.name(version))

    def nameless(self, which: str) -> Problem:
        service = self.target.service
        return Problem(
            "no-version",
            f"{which} sends to {service!r} itself, which all versions are behind: name the Service of one version, "
            f"such as {self.name(self.target.canary)!r}",
        )

    def lacking(self, version: str) -> Problem | None:
        return None if version in self.there else no_service(self.target, version)

    def lost(self, name: str) -> Problem | None:
        # Whether the version's Service is there is asked for by version.
        del name
        return None

    def problems(self, stable: str | None) -> Iterator[Problem]:
        return host_problems(self.target, self.services, stable)


def destination_of(entry: JsonObject | None) -> JsonObject:
    """The `destination` of a route's entry, empty where it has none."""
    return mapping(mapping(entry).get("destination"))
