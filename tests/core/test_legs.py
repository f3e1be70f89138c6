"""Several VirtualServices that carry one service: an order stands when all of them say it, a hand on one is a hand."""

import pytest

from rollout.core.intents import SetRoute
from rollout.core.policy import PolicySpec
from rollout.core.release import Confirmed, Drift, Phase, Reason, Release
from rollout.core.route import Leg, Mesh, Part, Route
from rollout.core.standing import Standing, standing
from tests import given
from tests.core.story import Story

MESH, EDGE = Leg("shop", "checkout"), Leg("edge", "checkout", "api")
SHIFTING = given.release(Phase.SHIFTING, step=1)
"""Ordered 30 % under epoch 3; 10 % under epoch 2 was seen before."""
HOLDING = given.release(Phase.ANALYSING, step=1)
"""Ordered 30 % under epoch 3, and seen."""

Said = tuple[int, int, str]
ORDERED: Said = (30, 3, given.NAME)
BEFORE: Said = (10, 2, given.NAME)


def said(first: Said, second: Said, **fields: object) -> Mesh:
    """Both legs as one reading."""
    parts = tuple(Part(leg, *one, revision="7") for leg, one in ((MESH, first), (EDGE, second)))
    newest = max(parts, key=lambda part: part.epoch)
    share = max(first[0], second[0])
    return given.mesh(share, newest.epoch, newest.release, parts=parts, **fields)


@pytest.mark.parametrize(
    ("release", "first", "second", "expected"),
    [
        (SHIFTING, ORDERED, ORDERED, Standing.SEEN),
        (SHIFTING, ORDERED, BEFORE, Standing.PENDING),
        (SHIFTING, BEFORE, ORDERED, Standing.PENDING),
        (SHIFTING, BEFORE, BEFORE, Standing.PENDING),
        (HOLDING, ORDERED, (0, 3, given.NAME), Standing.BACK_AT_STABLE),
        (HOLDING, (20, 3, given.NAME), ORDERED, Standing.DRIFTED),
        (HOLDING, ORDERED, (30, 4, "checkout-v3"), Standing.TAKEN),
        (HOLDING, (20, 3, given.NAME), (0, 3, given.NAME), Standing.BACK_AT_STABLE),
    ],
)
def test_an_order_stands_when_every_virtual_service_says_it(
    release: Release, first: Said, second: Said, expected: Standing
) -> None:
    assert standing(release.status, said(first, second), given.NAME) is expected


def test_an_order_that_reached_one_of_two_is_written_again() -> None:
    story = Story(SHIFTING)
    half = said(ORDERED, BEFORE)
    assert story.sees(half) == (SetRoute(Route(percent=30, epoch=3), half),)
    story.sees(said(ORDERED, ORDERED))
    assert story.status.phase is Phase.ANALYSING


def test_a_way_back_ends_when_both_are_back() -> None:
    story = Story(given.release(Phase.ROLLING_BACK, step=1, added_destination=False, added_subset=False))
    back: Said = (0, 4, given.NAME)
    half = said(back, ORDERED)
    assert story.sees(half) == (SetRoute(Route(percent=0, epoch=4), half),)
    story.sees(said(back, back))
    assert story.status.phase is Phase.ROLLED_BACK


def test_a_hand_that_left_two_different_shares_is_shown_with_both() -> None:
    story = Story(HOLDING)
    story.sees(said(ORDERED, (20, 3, given.NAME)))
    assert story.status.reason == Reason.DRIFTED
    drift = story.status.drift
    assert drift == Drift(percent=30, at=given.NOW, said="30 % by shop/checkout, 20 % by edge/checkout")
    assert story.told("traffic.drift_detected") == 1
    story.sees(said(ORDERED, (20, 3, given.NAME)))
    assert story.told("traffic.drift_detected") == 1


def test_taking_two_different_shares_back_survives_a_crash_before_the_order_was_written() -> None:
    hand = said((20, 3, given.NAME), (5, 3, given.NAME))
    drifted = Drift(percent=20, said=hand.differing, at=given.NOW)
    wishes = {"resume": given.wish(at=given.NOW + given.seconds(60))}
    story = Story(given.release(Phase.ANALYSING, step=1, drift=drifted, wishes=wishes))
    order = (SetRoute(Route(percent=30, epoch=4), hand),)
    assert story.sees(hand, given.seconds(60)) == order
    assert story.status.confirmed == Confirmed(
        route=Route(percent=20, epoch=3), at=story.now, percents={str(MESH): 20, str(EDGE): 5}
    )
    assert story.sees(hand) == order


def test_shares_that_agree_are_said_once() -> None:
    assert str(said(ORDERED, ORDERED)) == "30 %"
    assert str(given.mesh(30)) == "30 %"


def test_a_policy_names_its_virtual_services() -> None:
    several = {"virtualServices": [{"name": "checkout"}, {"name": "checkout", "namespace": "edge", "route": "api"}]}
    target = given.release().target(given.policy(route=several))
    assert target.legs == (MESH, EDGE)


def test_a_policy_may_name_fixed_subsets_or_a_service_per_version() -> None:
    assert given.release().target(given.policy(route={"subsets": ["blue", "green"]})).slots == ("blue", "green")
    target = given.release().target(given.policy(route={"host": "{service}-{version}"}))
    assert target.host_of(given.CANARY) == "checkout-v2"
    assert given.release().target(given.policy()).host_of(given.CANARY) is None


@pytest.mark.parametrize(
    "route",
    [
        {"virtualService": "a", "virtualServices": [{"name": "b"}]},
        {"name": "api", "virtualServices": [{"name": "b"}]},
        {"virtualServices": [{"name": "b"}, {"name": "b"}]},
        {"subsets": ["blue", "blue"]},
        {"subsets": ["blue", "green"], "host": "{service}-{version}"},
        {"subsets": ["blue"]},
        {"host": "checkout"},
        {"host": ""},
    ],
)
def test_a_route_that_contradicts_itself_is_no_policy(route: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="route"):
        PolicySpec.model_validate({"route": route})


@pytest.mark.parametrize("phase", [Phase.FINISHING, Phase.ROLLING_BACK])
def test_fixed_subsets_stay_for_the_next_release(phase: Phase) -> None:
    policy = given.policy(route={"subsets": ["blue", "green"]})
    story = Story(given.release(phase, policy=policy))
    assert story.sees(given.as_ordered(story.release)) == ()
    assert story.status.phase.terminal


def test_a_versions_own_service_is_not_ours_to_remove() -> None:
    policy = given.policy(route={"host": "{service}-{version}"})
    story = Story(given.release(Phase.ROLLING_BACK, policy=policy, added_destination=False))
    assert story.sees(given.as_ordered(story.release), given.seconds(5)) == ()
    assert story.status.phase is Phase.ROLLED_BACK


def test_a_route_that_cannot_be_read_in_part_holds_the_release() -> None:
    story = Story(HOLDING)
    half = given.as_ordered(HOLDING, parts=(Part(MESH, *ORDERED, revision="7"),), unread=(EDGE,))
    assert story.sees(half) == ()
    assert story.status.phase is Phase.ANALYSING
    assert story.told("traffic.unreadable") == 1
    story.sees(said(ORDERED, ORDERED))
    assert story.told("traffic.readable") == 1


def test_an_abort_goes_wherever_it_can_and_does_not_end_before_all_was_seen() -> None:
    story = Story(given.release(Phase.ANALYSING, step=1, wishes={"abort": given.wish()}, added_subset=False))
    half = given.as_ordered(HOLDING, parts=(Part(MESH, *ORDERED, revision="7"),), unread=(EDGE,))
    back = Route(percent=0, epoch=4)
    assert SetRoute(back, half) in story.sees(half)
    there = given.mesh(0, 4, parts=(Part(MESH, 0, 4, given.NAME, "8"),), unread=(EDGE,))
    assert story.sees(there) == (SetRoute(back, there),)
    assert story.status.phase is Phase.ROLLING_BACK
    all_back: Said = (0, 4, given.NAME)
    story.turn(given.seen(said(all_back, all_back, listed=frozenset({given.STABLE}))))
    assert story.status.phase.value == "Aborted"


def test_nothing_begins_on_a_route_that_cannot_be_read_in_part() -> None:
    for age, patience in ((0, 1), (60, 15), (600, 30)):
        story = Story(given.release(Phase.PENDING), given.NOW + given.seconds(age))
        assert story.sees(given.untouched(unread=(EDGE,))) == ()
        assert story.status.phase is Phase.PENDING
        assert story.last is not None
        assert story.last.requeue_after == given.seconds(patience)
    ageless = given.release(Phase.PENDING).model_copy(update={"created_at": None})
    story = Story(ageless)
    story.sees(given.untouched(unread=(EDGE,)))
    assert story.last is not None
    assert story.last.requeue_after == given.seconds(1)


CLAIMING = given.release(Phase.PREPARING, confirmed=None, authors={str(MESH): "", str(EDGE): "ledger-v1"})
"""Ordered 0 % under epoch 1 when the gateway's last author was ledger-v1."""


def test_a_claim_is_not_written_over_one_that_came_in_between() -> None:
    order = CLAIMING.status.order
    assert order is not None
    claimed: Said = (0, order.epoch, given.NAME)
    assert standing(CLAIMING.status, said(claimed, (0, 0, "ledger-v1")), given.NAME) is Standing.PENDING
    assert standing(CLAIMING.status, said(claimed, (0, 0, "ledger-v2")), given.NAME) is Standing.TAKEN


def test_what_another_release_took_is_left_to_it_and_the_rest_goes_back() -> None:
    story = Story(given.release(Phase.ANALYSING, step=1, added_destination=False, added_subset=False))
    robbed = said(ORDERED, (0, 9, "ledger-v2"))
    assert story.sees(robbed) == (SetRoute(Route(percent=0, epoch=4), robbed),)
    assert story.status.phase is Phase.ROLLING_BACK
    assert story.sees(robbed) == (SetRoute(Route(percent=0, epoch=4), robbed),)
    story.sees(said((0, 4, given.NAME), (0, 9, "ledger-v2")))
    assert story.status.phase.value == "Aborted"
