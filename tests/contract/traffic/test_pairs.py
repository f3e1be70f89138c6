"""What every Traffic port must do where two VirtualServices carry the traffic, and one of them fails the other."""

from dataclasses import replace

import pytest

from rollout.core.route import Mesh, Route
from rollout.ports import Conflict, Outage, Refused
from tests.contract.traffic.worlds import ANOTHER, RELEASE, FakeWorld, World, everywhere, order, seen, split

pytestmark = pytest.mark.parametrize("world", [2], ids=["two"], indirect=True)


async def test_of_two_the_larger_share_counts_and_each_is_told(world: World) -> None:
    await split(world, 10)
    await world.edit(40, leg=1)
    mesh = await seen(world)
    assert mesh.percent == 40
    assert [part.percent for part in mesh.parts] == [10, 40]
    assert [part.leg for part in mesh.parts] == [*world.target.legs]


async def test_two_that_differ_before_the_first_order_are_uneven(world: World) -> None:
    await world.traffic.add_subset(world.target, "v2")
    await world.edit(100, leg=1)
    mesh = await seen(world)
    assert mesh.stable is None
    assert mesh.problem is not None
    assert mesh.problem.code == "uneven"


@pytest.mark.parametrize("touched", [0, 1])
async def test_a_rollback_reaches_the_one_that_it_can(world: World, touched: int) -> None:
    await split(world, 30)
    stale = await seen(world)
    await world.touch(touched)
    with pytest.raises(Conflict):
        await world.traffic.set_route(world.target, Route(percent=0, epoch=2), stale)
    shares = await world.weights()
    assert {"v1": 100} in shares
    assert {"v1": 70, "v2": 30} in shares
    await order(world, 0, epoch=2)
    assert await world.weights() == everywhere(world, {"v1": 100})


@pytest.mark.parametrize("touched", [0, 1])
async def test_a_higher_share_reaches_neither_where_one_has_changed(world: World, touched: int) -> None:
    await split(world, 10)
    stale = await seen(world)
    await world.touch(touched)
    with pytest.raises(Conflict):
        await world.traffic.set_route(world.target, Route(percent=30, epoch=2), stale)
    assert await world.weights() == everywhere(world, {"v1": 90, "v2": 10})


@pytest.mark.parametrize("taken", [0, 1])
async def test_beside_a_newer_order_on_one_neither_is_claimed_nor_raised(world: World, taken: int) -> None:
    await world.traffic.add_subset(world.target, "v2")
    await world.take(taken, percent=0, epoch=7)
    before = await seen(world)
    assert (before.epoch, before.release) == (7, ANOTHER)
    for percent in (0, 50):
        with pytest.raises(Conflict):
            await order(world, percent, epoch=6)
    assert await seen(world) == before


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_newer_order_on_one_stays_and_keeps_the_other_from_no_rollback(world: World, taken: int) -> None:
    await split(world, 30)
    await world.take(taken, percent=20, epoch=7)
    with pytest.raises(Conflict):
        await order(world, 0, epoch=2)
    after = await seen(world)
    assert [(part.percent, part.epoch, part.release) for part in after.parts] == [
        (20, 7, ANOTHER) if leg == taken else (0, 2, RELEASE) for leg in (0, 1)
    ]


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_claim_that_was_not_seen_is_not_overwritten_by_a_rollback(world: World, taken: int) -> None:
    await split(world, 30)
    stale = await seen(world)
    await world.take(taken, percent=30, epoch=2)
    with pytest.raises(Conflict):
        await world.traffic.set_route(world.target, Route(percent=0, epoch=9), stale)
    after = await seen(world)
    assert [(part.percent, part.epoch, part.release) for part in after.parts] == [
        (30, 2, ANOTHER) if leg == taken else (0, 9, RELEASE) for leg in (0, 1)
    ]


@pytest.mark.parametrize("hidden", [0, 1])
async def test_one_of_two_that_cannot_be_read_is_named_and_the_other_goes_back(world: World, hidden: int) -> None:
    await split(world, 30)
    world.hide(hidden)
    mesh = await seen(world)
    assert mesh.unread == world.target.legs[hidden : hidden + 1]
    assert [part.leg for part in mesh.parts] == [leg for leg in world.target.legs if leg not in mesh.unread]
    assert mesh.problem is not None
    assert mesh.problem.code == "leg-unreadable"
    with pytest.raises(Outage):
        await order(world, 0, epoch=2)
    assert await world.weights() == [{"v1": 70, "v2": 30} if leg == hidden else {"v1": 100} for leg in (0, 1)]
    with pytest.raises(Outage):
        await world.traffic.drop_destination(world.target, "v2", await seen(world))
    world.hide()
    await order(world, 0, epoch=2)
    assert await world.weights() == everywhere(world, {"v1": 100})


@pytest.mark.parametrize("hidden", [0, 1])
async def test_no_share_is_raised_while_one_of_two_cannot_be_read(world: World, hidden: int) -> None:
    await split(world, 10)
    whole = await seen(world)
    world.hide(hidden)
    half = await seen(world)
    for mesh in (whole, half):
        with pytest.raises(Outage):
            await world.traffic.set_route(world.target, Route(percent=30, epoch=2), mesh)
    world.hide()
    with pytest.raises(Conflict):
        await world.traffic.set_route(world.target, Route(percent=30, epoch=2), half)
    assert await seen(world) == whole


async def test_one_of_two_that_is_gone_is_missing_and_the_other_goes_back(world: World) -> None:
    await split(world, 30)
    stale = await seen(world)
    await world.delete(0)
    mesh = await seen(world)
    assert mesh.missing == world.target.legs[:1]
    assert [part.leg for part in mesh.parts] == [*world.target.legs[1:]]
    with pytest.raises(Conflict):
        await world.traffic.set_route(world.target, Route(percent=0, epoch=2), stale)
    await order(world, 0, epoch=3)
    assert await world.weights() == [{"v1": 100}]
    await world.traffic.drop_destination(world.target, "v2", await seen(world))
    assert (await seen(world)).listed == {"v1"}
    with pytest.raises(Refused):
        await order(world, 30, epoch=4)


async def test_an_order_that_reached_only_one_is_completed(world: World) -> None:
    await split(world, 10)
    # As if the controller had died between its two writes.
    half = replace(world.target, legs=world.target.legs[:1])
    if isinstance(world, FakeWorld):
        world.mesh.between = _died
        with pytest.raises(Outage):
            await order(world, 30, epoch=2)
        world.mesh.between = _nothing
    else:
        mesh = await world.traffic.observe(half)
        assert isinstance(mesh, Mesh)
        await world.traffic.set_route(half, Route(percent=30, epoch=2), mesh)
    mesh = await seen(world)
    assert (mesh.percent, mesh.problem) == (30, None)
    assert [(part.percent, part.epoch) for part in mesh.parts] == [(30, 2), (10, 1)]
    await order(world, 30, epoch=2)
    assert await world.weights() == everywhere(world, {"v1": 70, "v2": 30})


async def _died() -> None:
    raise Outage("the API server does not answer")


async def _nothing() -> None:
    """All is well."""
