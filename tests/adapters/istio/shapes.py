"""VirtualServices and DestinationRules for tests: the golden shapes on disk, and what every test of them shares.

A golden folder holds `virtualservice.yaml`, mostly a `destinationrule.yaml`, and `expected.yaml`: what the shape shows
(`about`), whom it is read for (`target`, changes of `target()`), the `reading` with its `problem` code, the `index` of
the route that is meant (0), the canary's `subset` as it is added, and that route's destinations `after` each order of a
whole release or after a `rollback` alone. All else must equal what came in. `entries` only holds YAML anchors.

Belongs here: reading golden files, applying patches. Does not belong here: assertions.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonpatch
from ruamel.yaml import YAML

from rollout.core.route import Target

JsonObject = dict[str, Any]
GOLDEN = Path(__file__).parent / "golden"
RELEASE = "checkout-v2-abcde"


def target(**changes: Any) -> Target:
    """Version v2 of service checkout, which has not found out yet who is stable."""
    usual: JsonObject = {
        "namespace": "shop",
        "service": "checkout",
        "virtual_service": "checkout",
        "destination_rule": "checkout",
        "route": None,
        "version_label": "version",
        "canary": "v2",
        "release": RELEASE,
    }
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
