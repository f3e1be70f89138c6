"""A subset that selects by more than the version: its copy would select none of the canary's pods."""

import pytest

from rollout.adapters.preflight.versions import further_labels
from tests.adapters.preflight.shapes import JsonObject, codes, deployment, pod, scene

TRACKED = {"app": "checkout", "version": "v2", "track": "canary"}


def rule(*subsets: dict[str, str]) -> JsonObject:
    entries = [{"name": labels["version"], "labels": labels} for labels in subsets]
    return {"spec": {"host": "checkout", "subsets": entries}}


STABLES = {"version": "v1", "track": "stable"}


@pytest.mark.parametrize(
    ("subsets", "carried", "wrong"),
    [
        ([{"version": "v1"}], None, False),
        ([STABLES], None, True),
        ([STABLES], TRACKED, True),
        ([STABLES], {**TRACKED, "track": "stable"}, False),
        ([STABLES, {"version": "v2", "track": "canary"}], TRACKED, False),
        ([STABLES, {"version": "v2", "track": "canary"}], None, True),
        ([{"version": "v1", "topology.istio.io/cluster": "east"}], None, False),
        ([], None, False),
    ],
)
def test_the_canarys_pods_must_carry_all_that_its_subset_selects_by(
    subsets: list[dict[str, str]], carried: dict[str, str] | None, wrong: bool
) -> None:
    found = codes(further_labels(scene(), rule(*subsets), deployment("v2", carried), []))
    assert found == ({("error", "version-label-differs")} if wrong else set())


def test_a_label_that_pods_were_given_counts() -> None:
    given = pod()
    given["metadata"]["labels"]["track"] = "stable"
    assert not codes(further_labels(scene(), rule(STABLES), deployment("v2"), [given]))


def test_without_a_rule_or_pods_of_ones_own_nothing_is_said() -> None:
    assert not codes(further_labels(scene(), None, deployment("v2"), []))
    assert not codes(further_labels(scene(), rule(STABLES), None, []))
    assert not codes(further_labels(scene(host="{service}-{version}"), rule(STABLES), deployment("v2"), []))
