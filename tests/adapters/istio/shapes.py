"""VirtualServices and DestinationRules for tests: the golden shapes on disk, and what every test of them shares.

A golden folder holds `virtualservice.yaml`, mostly a `destinationrule.yaml`, and `expected.yaml`: what the shape shows
(`about`), whom it is read for (`target`, changes of `target()`), which `services` there are where hosts tell the
versions apart, the `reading` with its `problem` code, the `index` of the route that is meant (0), the canary's `subset`
as it is added, the `rule`'s names and versions once the canary has its slot, and that route's destinations `after` each
order of a whole release or after a `rollback` alone. All else must equal what came in; `entries` only holds YAML
anchors.

Belongs here: reading golden files, applying patches. Does not belong here: assertions.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonpatch
from ruamel.yaml import YAML

from rollout.adapters.host_split import Services, hosts_of
from rollout.core.route import Leg, Target

JsonObject = dict[str, Any]
GOLDEN = Path(__file__).parent / "golden"
RELEASE = "checkout-v2-abcde"


def target(**changes: Any) -> Target:
    """Version v2 of service checkout, which has not found out yet who is stable."""
    leg = {"virtual_service": "checkout", "route": None}
    usual: JsonObject = {
        "namespace": "shop",
        "service": "checkout",
        "legs": (Leg("shop", **{key: changes.pop(key, value) for key, value in leg.items()}),),
        "destination_rule": "checkout",
        "version_label": "version",
        "canary": "v2",
        "release": RELEASE,
    }
    if "legs" in changes:
        changes["legs"] = tuple(Leg(**one) if isinstance(one, dict) else one for one in changes["legs"])
    if "slots" in changes:
        changes["slots"] = tuple(changes["slots"])
    return Target(**usual | changes)


@dataclass(frozen=True)
class Shape:
    """One golden folder."""

    name: str
    virtual_service: JsonObject
    rule: JsonObject | None
    expected: JsonObject

    @property
    def target(self) -> Target:
        """Whom its expectations are about."""
        return target(**self.expected.get("target", {}))

    @property
    def services(self) -> Services:
        """Those of the versions: which are there, and that the others are not."""
        there = frozenset(self.expected.get("services", ()))
        asked = frozenset(hosts_of(self.target))
        return Services(there=asked & there, absent=asked - there)


def _read(path: Path) -> JsonObject:
    loaded = YAML(typ="safe").load(path)
    assert isinstance(loaded, dict)
    return loaded


def _shape(folder: Path) -> Shape:
    rule = folder / "destinationrule.yaml"
    return Shape(
        name=folder.name,
        virtual_service=_read(folder / "virtualservice.yaml"),
        rule=_read(rule) if rule.exists() else None,
        expected=_read(folder / "expected.yaml"),
    )


SHAPES = [_shape(folder) for folder in sorted(GOLDEN.iterdir())]
STEPPABLE = [shape for shape in SHAPES if "after" in shape.expected]
REVERSIBLE = [shape for shape in SHAPES if "rollback" in shape.expected]


def patched(obj: JsonObject, operations: Sequence[JsonObject]) -> JsonObject:
    """The object after the patch, as an API server would store it: with a new resourceVersion."""
    result: JsonObject = jsonpatch.apply_patch(copy.deepcopy(obj), [*operations])
    if operations:
        result["metadata"]["resourceVersion"] = str(int(obj["metadata"]["resourceVersion"]) + 1)
    return result
