"""VirtualServices in, VirtualServices out: every shape on disk, read and taken through a whole release."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from rollout.adapters.destination_rule import with_subset
from rollout.adapters.host_split import Services, hosts_of
from rollout.adapters.naming import UNASKED
from rollout.adapters.signature import EPOCH, RELEASE
from rollout.adapters.slots import with_slot
from rollout.adapters.virtual_service import feeds, ordered, reading, without
from rollout.core.route import Problem, Route, Target
from tests.adapters.istio.shapes import REVERSIBLE, SHAPES, STEPPABLE, JsonObject, Shape, patched


def named(shapes: list[Shape]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("shape", shapes, ids=[shape.name for shape in shapes])


def after_order(
    virtual_service: JsonObject, rule: JsonObject | None, target: Target, route: Route, services: Services = UNASKED
) -> JsonObject:
    operations = ordered(virtual_service, rule, target, route, services)
    assert not isinstance(operations, Problem), operations
    return patched(virtual_service, operations)


def after_drop(
    virtual_service: JsonObject, rule: JsonObject | None, target: Target, version: str, services: Services
) -> JsonObject:
    operations = without(virtual_service, rule, target, version, services)
    assert not isinstance(operations, Problem), operations
    return patched(virtual_service, operations)


def known(shape: Shape, target: Target) -> Services:
    """All Services, now that it is known who is stable."""
    return Services(there=frozenset(hosts_of(target)) & frozenset(shape.expected.get("services", ())))


def with_destinations(shape: Shape, destinations: Any, epoch: int, revision: str) -> JsonObject:
    """The shape as it came, but for its destinations and our two annotations."""
    result = copy.deepcopy(shape.virtual_service)
    result["spec"]["http"][shape.expected.get("index", 0)]["route"] = destinations
    home = shape.target.legs[0].namespace == shape.target.namespace
    ours = {EPOCH: str(epoch), RELEASE: ("" if home else "shop/") + shape.target.release}
    result["metadata"]["annotations"] = (result["metadata"].get("annotations") or {}) | ours
    result["metadata"]["resourceVersion"] = revision
    return result


def prepared(shape: Shape) -> tuple[JsonObject | None, Target]:
    """The DestinationRule with the canary's subset, and the target that knows who is stable."""
    stable = shape.target.stable or reading(shape.virtual_service, shape.rule, shape.target, shape.services).stable
    target = replace(shape.target, stable=stable)
    if target.host is not None:
        return shape.rule, target
    assert shape.rule is not None
    fed = {slot: "the route" for slot in target.slots if feeds(shape.virtual_service, slot, target)}
    operations = (
        with_slot(shape.rule, target, target.canary, fed)
        if target.slots
        else with_subset(shape.rule, target, target.canary)
    )
    assert not isinstance(operations, Problem)
    return patched(shape.rule, operations), target


@named(SHAPES)
def test_a_shape_is_read_as_it_stands(shape: Shape) -> None:
    wanted = {"epoch": 0, "release": "", "problem": shape.expected.get("problem")} | shape.expected["reading"]
    mesh = reading(shape.virtual_service, shape.rule, shape.target, shape.services)
    assert {
        "percent": mesh.percent,
        "stable": mesh.stable,
        "listed": sorted(mesh.listed),
        "subsets": sorted(mesh.subsets),
        "epoch": mesh.epoch,
        "release": mesh.release,
        "problem": mesh.problem.code if mesh.problem else None,
    } == wanted


@named(STEPPABLE)
def test_every_step_changes_the_destinations_and_our_annotations_alone(shape: Shape) -> None:
    rule, target = prepared(shape)
    wanted, services = shape.expected["after"], known(shape, target)
    now, states = shape.virtual_service, {}
    for percent in (10, 50, 100):
        now = after_order(now, rule, target, Route(percent=percent, epoch=5), services)
        states[percent] = now
        assert now == with_destinations(shape, wanted[str(percent)], 5, now["metadata"]["resourceVersion"])
        assert reading(now, rule, target, services).percent == percent
        assert reading(now, rule, target, services).problem is None
    back = after_order(states[50], rule, target, Route(percent=0, epoch=6), services)
    assert back == with_destinations(shape, wanted["rollback"], 6, back["metadata"]["resourceVersion"])
    if target.slots:
        # The loser stays where it is, without traffic, until the next version takes its slot.
        return
    assert target.stable is not None
    promoted = after_drop(states[100], rule, target, target.stable, services)
    assert promoted == with_destinations(shape, wanted["promoted"], 5, promoted["metadata"]["resourceVersion"])
    returned = after_drop(back, rule, target, target.canary, services)
    assert returned == with_destinations(shape, wanted["returned"], 6, returned["metadata"]["resourceVersion"])


@named(STEPPABLE)
def test_the_same_order_twice_writes_nothing_the_second_time(shape: Shape) -> None:
    rule, target = prepared(shape)
    order = Route(percent=10, epoch=5)
    services = known(shape, target)
    once = after_order(shape.virtual_service, rule, target, order, services)
    assert ordered(once, rule, target, order, services) == []


@named([shape for shape in STEPPABLE if "subset" in shape.expected])
def test_the_canarys_subset_is_stables_but_for_name_and_version(shape: Shape) -> None:
    assert shape.rule is not None
    rule, target = prepared(shape)
    assert rule is not None
    expected = copy.deepcopy(shape.rule)
    expected["spec"]["subsets"].append(shape.expected["subset"])
    expected["metadata"]["resourceVersion"] = rule["metadata"]["resourceVersion"]
    assert rule == expected
    assert (
        with_slot(rule, target, target.canary, {}) if target.slots else with_subset(rule, target, target.canary)
    ) == []


@named([shape for shape in SHAPES if "rule" in shape.expected])
def test_a_slot_is_taken_by_its_label_alone(shape: Shape) -> None:
    rule, target = prepared(shape)
    assert rule is not None
    assert [[one["name"], one["labels"]["version"]] for one in rule["spec"]["subsets"]] == shape.expected["rule"]
    assert shape.rule is not None
    for before, after in zip(shape.rule["spec"]["subsets"], rule["spec"]["subsets"], strict=False):
        assert before | {"labels": {}} == after | {"labels": {}}
    assert with_slot(rule, target, target.canary, dict.fromkeys(target.slots, "all of them")) == []


@named([shape for shape in SHAPES if shape.expected.get("problem")])
def test_no_share_is_raised_on_a_shape_that_no_release_may_start_on(shape: Shape) -> None:
    raised = ordered(shape.virtual_service, shape.rule, shape.target, Route(percent=99, epoch=5), shape.services)
    if shape.expected["problem"] == "already-split" and "rollback" in shape.expected:
        # Between stable and canary a split by hand is no obstacle to a release that runs, only to a start.
        assert isinstance(raised, list)
    elif shape.expected["reading"]["percent"] < 99:
        assert isinstance(raised, Problem)


@named(REVERSIBLE)
def test_a_rollback_works_on_every_shape_that_names_the_canary(shape: Shape) -> None:
    back = after_order(shape.virtual_service, shape.rule, shape.target, Route(percent=0, epoch=5))
    assert back == with_destinations(shape, shape.expected["rollback"], 5, back["metadata"]["resourceVersion"])
    assert reading(back, shape.rule, shape.target).percent == 0


def test_each_problem_has_its_own_code_and_a_message_of_its_own() -> None:
    found: dict[str, set[str]] = {}
    for shape in SHAPES:
        problem = reading(shape.virtual_service, shape.rule, shape.target, shape.services).problem
        if problem is not None:
            found.setdefault(problem.code, set()).add(problem.message)
    messages = [message for group in found.values() for message in group]
    assert len(found) >= 20
    assert len(set(messages)) == len(messages)
