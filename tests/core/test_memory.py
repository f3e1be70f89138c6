"""A status that another version of the controller wrote: what is remembered of it, and that the way back stays open."""

from copy import deepcopy
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.decide import decide
from rollout.core.intents import SetRoute
from rollout.core.judging.evidence import Evidence
from rollout.core.judging.gates import Gates
from rollout.core.policy import PolicySpec
from rollout.core.release import Phase, Release, Status
from rollout.core.route import Route
from tests import given
from tests.core.meters import Meters
from tests.core.story import Story

OLD_EVIDENCE: dict[str, Any] = {
    "bets": {"errors vs stable": [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]},
    "step": {"stable": {"requests": 900}, "canary": {"requests": 100, "errors": 3}, "lost": 1},
    "looks": 4,
}
"""As it was kept when a process of bets was called otherwise."""
KEPT = ("phase", "order", "confirmed", "step", "weight", "stable", "policy", "steps", "window")
"""What a rollback, or the next step, is decided on."""
ODD: dict[str, tuple[str, Any]] = {
    "evidence of other bets": ("evidence", OLD_EVIDENCE),
    "evidence with a field that is unknown here": ("evidence", {"looks": 3, "mood": "grim"}),
    "evidence of another type": ("evidence", {"processes": ["errors"], "looks": "many"}),
    "evidence that is no object": ("evidence", "none"),
    "verdicts with an outcome that is unknown here": ("verdicts", [{"check": "errors", "outcome": "perhaps"}]),
    "verdicts that are no list": ("verdicts", {"errors": "pass"}),
    "gates of another shape": ("gates", {"streaks": [1, 2], "stable": {}}),
    "gates with a field that is unknown here": ("gates", {"doors": 2}),
    "a past of another shape": ("learned", {"blocks": "240", "errors": 0.001}),
}
odd = pytest.mark.parametrize(("field", "value"), ODD.values(), ids=ODD)
both_ways = pytest.mark.parametrize("lenient", [False, True], ids=["strictly", "leniently"])


def remembered(**fields: Any) -> dict[str, Any]:
    """The status of a release in its first step, with some of its fields as another version wrote them."""
    story, meters = Story(given.release(Phase.ANALYSING)), Meters()
    for _ in range(2):
        samples = meters.serve((450, 0), (50, 0))
        story.turn(given.seen(given.as_ordered(story.release), samples=samples), given.INTERVAL)
    return deepcopy(story.status.wire()) | fields


def policy_with(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A frozen policy in which one field was added or replaced."""
    document = given.policy(checks={"custom": [{"name": "lag", "query": "lag{}", "max": 3.0}]}).wire()
    at: Any = document
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return document


def read(*, lenient: bool = False, **fields: Any) -> Status:
    """`lenient` as from a Release object: unknown fields anywhere in a status are another version's business."""
    return Status.model_validate(remembered(**fields), extra="ignore" if lenient else None)


def released(status: Status, **wishes: Any) -> Release:
    return given.release(Phase.ANALYSING, wishes=wishes).model_copy(update={"status": status})


@odd
@both_ways
def test_what_moves_the_traffic_is_read_beside_a_memory_that_is_not_understood(
    field: str, value: Any, *, lenient: bool
) -> None:
    same, status = read(), read(lenient=lenient, **{field: value})
    assert [getattr(status, name) for name in KEPT] == [getattr(same, name) for name in KEPT]


@odd
@both_ways
def test_a_release_whose_memory_is_not_understood_can_be_rolled_back(field: str, value: Any, *, lenient: bool) -> None:
    release = released(read(lenient=lenient, **{field: value}), abort=given.wish())
    decision = decide(release, given.seen(given.as_ordered(release)), given.NOW)
    assert decision.status.phase is Phase.ROLLING_BACK
    assert [one.route for one in decision.intents if isinstance(one, SetRoute)] == [Route(percent=0, epoch=3)]


@odd
@both_ways
def test_a_release_whose_memory_is_not_understood_is_judged_from_here_on(
    field: str, value: Any, *, lenient: bool
) -> None:
    story, meters = Story(released(read(lenient=lenient, **{field: value}))), Meters()
    story.now = given.NOW + 2 * given.INTERVAL
    for _ in range(2):
        meters.serve((450, 0), (50, 0))
    orders: list[int] = []
    for _ in range(10):
        samples = meters.serve((450, 0), (50, 50))
        found = story.turn(given.seen(given.as_ordered(story.release), samples=samples), given.INTERVAL)
        orders += [one.route.percent for one in found if isinstance(one, SetRoute)]
        if orders:
            break
    assert orders == [0]


@both_ways
def test_a_memory_that_does_not_fit_is_begun_anew(*, lenient: bool) -> None:
    status = read(
        lenient=lenient,
        evidence={"processes": ["errors"], "looks": 3},
        gates={"streaks": [1], "stable": {"cpu": 0.5}},
        learned={"blocks": "240"},
        verdicts=[{"check": "errors", "outcome": "perhaps"}],
    )
    assert (status.evidence, status.gates, status.learned, status.verdicts) == (Evidence(), Gates(), None, ())


@both_ways
def test_bets_that_were_kept_under_another_name_neither_convict_nor_acquit(*, lenient: bool) -> None:
    status = read(lenient=lenient, evidence=OLD_EVIDENCE)
    assert (status.evidence.processes, status.evidence.proof, status.evidence.dead) == ({}, {}, "")


def test_what_this_version_wrote_is_read_back_exactly() -> None:
    status = read()
    assert status.evidence.processes
    assert status.verdicts
    assert Status.model_validate(status.wire()) == status


@pytest.mark.parametrize(
    "path",
    [
        ("wishful",),
        ("checks", "wishful"),
        ("checks", "errors", "failFast", "wishful"),
        ("judge", "caps", "wishful"),
        ("steps", 1, "wishful"),
        ("checks", "custom", 0, "wishful"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
@pytest.mark.parametrize("value", [5, "text", {"deeper": [1, {"still": None}]}], ids=["number", "text", "object"])
@both_ways
def test_a_field_of_the_frozen_policy_that_is_unknown_here_is_left_out(
    path: tuple[str | int, ...], value: Any, *, lenient: bool
) -> None:
    known = given.policy(checks={"custom": [{"name": "lag", "query": "lag{}", "max": 3.0}]})
    assert read(lenient=lenient, policy=policy_with(path, value)).policy == known


def test_several_unknown_fields_of_the_frozen_policy_are_left_out_together() -> None:
    document = policy_with(("checks", "errors", "failFast", "wishful"), 1)
    document |= {"mood": "good", "steps": [step | {"colour": "red"} for step in document["steps"]]}
    before = deepcopy(document)
    assert read(policy=document).policy == PolicySpec.model_validate(policy_with(("interval",), "5s"))
    assert document == before, "what was read is the caller's"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("steps", 0, "weight"), "ten"),
        (("interval",), 5),
        (("checks", "errors", "max"), 0.05),
        (("steps",), [{"weight": 50, "hold": "12s"}]),
    ],
    ids=["weight", "interval", "share", "never reaches 100"],
)
def test_a_frozen_policy_that_says_something_else_is_an_error_and_never_guessed(
    path: tuple[str | int, ...], value: Any
) -> None:
    for more in ({}, {"wishful": 1}):
        for lenient in (False, True):
            with pytest.raises(ValidationError):
                read(lenient=lenient, policy=policy_with(path, value) | more)


@pytest.mark.parametrize("value", ["a policy", 7, []], ids=["text", "number", "list"])
def test_a_frozen_policy_that_is_no_object_is_an_error(value: Any) -> None:
    with pytest.raises(ValidationError):
        read(policy=value)


def test_a_release_that_has_no_policy_yet_is_read_without_one() -> None:
    assert Status.model_validate({}).policy is None
    assert Status.model_validate({"policy": None}).policy is None
