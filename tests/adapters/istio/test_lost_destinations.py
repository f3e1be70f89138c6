"""A route that sends requests to a subset that the rule has not: they are answered 503 whoever is stable."""

from typing import Any

import pytest

from rollout.adapters.virtual_service import reading
from rollout.core.route import Leg, Target

TARGET = Target("shop", "checkout", (Leg("shop", "checkout"),), "checkout", "version", "v2")


def route(*destinations: tuple[str, int]) -> dict[str, Any]:
    entries = [{"destination": {"host": "checkout", "subset": name}, "weight": weight} for name, weight in destinations]
    return {"metadata": {"resourceVersion": "1"}, "spec": {"hosts": ["checkout"], "http": [{"route": entries}]}}


def rule(**subsets: str) -> dict[str, Any]:
    entries = [{"name": name, "labels": {"version": version}} for name, version in subsets.items()]
    return {"spec": {"host": "checkout", "subsets": entries}}


@pytest.mark.parametrize(
    ("subsets", "code"),
    [({"v1": "v1"}, None), ({"old": "v1"}, "subset-missing"), ({"v1": "v1", "old": "v1"}, None)],
)
def test_no_release_starts_where_stables_requests_are_lost_already(subsets: dict[str, str], code: str | None) -> None:
    problem = reading(route(("v1", 100)), rule(**subsets), TARGET).problem
    assert (problem.code if problem is not None else None) == code


def test_a_destination_without_requests_may_name_what_is_not_there() -> None:
    assert reading(route(("v1", 100), ("v9", 0)), rule(v1="v1"), TARGET).problem is None
