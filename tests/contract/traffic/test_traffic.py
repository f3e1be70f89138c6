"""What every Traffic port must do: on the fake, and by the Istio adapter on the embedded API and on the real one.

Each with one VirtualService, and with two that are stepped together; what only two can show is in `test_pairs.py`.
Shapes of objects are in `tests/adapters/istio`.
"""

import asyncio
from dataclasses import replace

import pytest

from rollout.core.route import Gone, Mesh, Route, Unavailable
from rollout.ports import Conflict, Outage, Refused
from tests.contract.traffic.worlds import RELEASE, World, everywhere, order, seen, split


async def test_before_the_first_order_stable_has_everything(world: World) -> None:
    mesh = await seen(world)
    assert (mesh.percent, mesh.stable, mesh.epoch, mesh.release) == (0, "v1", 0, "")
    assert mesh.listed == {"v1"}
    assert mesh.subsets == {"v1"}
    assert mesh.problem is None
    assert mesh.missing == ()
    assert len(mesh.parts) == (0 if len(world.target.legs) == 1 else 2)


async def test_a_claim_moves_no_traffic_and_is_read_back(world: World) -> None:
    await order(world, 0, epoch=1)
    mesh = await seen(world)
    assert (mesh.percent, mesh.epoch, mesh.release) == (0, 1, RELEASE)
    assert {(part.epoch, part.release) for part in mesh.parts} <= {(1, RELEASE)}
    assert await world.weights() == everywhere(world, {"v1": 100})


async def test_shares_rise_and_fall_as_ordered(world: World) -> None:
    await world.traffic.add_subset(world.target, "v2")
    for epoch, percent in enumerate((0, 10, 50, 100, 30), start=1):
        await order(world, percent, epoch)
        mesh = await seen(world)
        assert (mesh.percent, mesh.epoch, mesh.problem) == (percent, epoch, None)
        shares = {"v1": 100 - percent, "v2": percent}
        assert await world.weights() == everywhere(world, {name: share for name, share in shares.items() if share})


async def test_a_rollback_gives_stable_everything_back(world: World) -> None:
    await split(world, 50)
    await order(world, 0, epoch=2)
    assert await world.weights() == everywhere(world, {"v1": 100})
    mesh = await seen(world)
    assert (mesh.stable, mesh.epoch, mesh.subsets) == ("v1", 2, frozenset({"v1", "v2"}))


async def test_an_order_that_stands_is_not_written_again(world: World) -> None:
    await split(world, 10)
    before = await seen(world)
    await order(world, 10, epoch=1)
    assert await seen(world) == before


async def test_no_share_is_raised_before_the_version_has_its_subset(world: World) -> None:
    with pytest.raises(Refused):
        await order(world, 10, epoch=1)
    assert await world.weights() == everywhere(world, {"v1": 100})


async def test_an_order_on_a_stale_reading_changes_nothing(world: World) -> None:
    await world.traffic.add_subset(world.target, "v2")
    stale = await seen(world)
    for leg in range(len(world.target.legs)):
        await world.touch(leg)
    with pytest.raises(Conflict):
        await world.traffic.set_route(world.target, Route(percent=10, epoch=1), stale)
    assert await world.weights() == everywhere(world, {"v1": 100})
    assert (await seen(world)).epoch == 0


async def test_of_two_orders_on_one_reading_exactly_one_wins(world: World) -> None:
    await world.traffic.add_subset(world.target, "v2")
    mesh = await seen(world)
    orders = [Route(percent=percent, epoch=1) for percent in (10, 30)]
    results = await asyncio.gather(
        *(world.traffic.set_route(world.target, route, mesh) for route in orders), return_exceptions=True
    )
    winners = [route.percent for route, result in zip(orders, results, strict=True) if result is None]
    # With two VirtualServices each may win one: then neither has won, and the next look finds out.
    assert len(winners) == 1 or (len(world.target.legs) == 2 and not winners)
    assert all(isinstance(result, Conflict) for result in results if result is not None)


@pytest.mark.parametrize("percent", [0, 50])
async def test_a_newer_epoch_refuses_an_older_order(world: World, percent: int) -> None:
    await split(world, 10, epoch=5)
    with pytest.raises(Conflict):
        await order(world, percent, epoch=4)
    assert await world.weights() == everywhere(world, {"v1": 90, "v2": 10})


async def test_the_same_epoch_of_another_release_refuses_an_order(world: World) -> None:
    await world.traffic.add_subset(world.target, "v2")
    theirs = replace(world.target, release="another")
    await world.traffic.set_route(theirs, Route(percent=10, epoch=3), await seen(world))
    with pytest.raises(Conflict):
        await order(world, 0, epoch=3)
    await order(world, 0, epoch=4)
    assert (await seen(world)).release == RELEASE


async def test_an_edit_by_hand_is_seen_and_keeps_the_order_it_undid(world: World) -> None:
    await split(world, 10)
    await world.edit(60)
    mesh = await seen(world)
    assert (mesh.percent, mesh.epoch, mesh.release) == (60, 1, RELEASE)


async def test_an_object_put_in_place_of_ours_has_no_order(world: World) -> None:
    await split(world, 30)
    for leg in range(len(world.target.legs)):
        await world.replace(30, leg)
    mesh = await seen(world)
    assert (mesh.percent, mesh.epoch, mesh.release) == (30, 0, "")
    assert mesh.problem is not None
    assert mesh.problem.code == "already-split"
    await order(world, 50, epoch=2)
    assert await world.weights() == everywhere(world, {"v1": 50, "v2": 50})


async def test_a_third_version_with_traffic_forbids_more_and_keeps_its_part_in_a_rollback(world: World) -> None:
    await split(world, 10)
    await world.give_to("v3", 40)
    mesh = await seen(world)
    assert mesh.problem is not None
    assert mesh.problem.code == "other-version"
    with pytest.raises(Refused):
        await order(world, 30, epoch=2)
    await order(world, 0, epoch=2)
    assert (await world.weights())[0] == {"v1": 60, "v3": 40}


async def test_without_any_virtual_service_the_route_is_gone_and_takes_no_order(world: World) -> None:
    mesh = await seen(world)
    for leg in range(len(world.target.legs)):
        await world.delete(leg)
    assert isinstance(await world.traffic.observe(world.target), Gone)
    with pytest.raises(Conflict):
        await world.traffic.set_route(world.target, Route(percent=0, epoch=1), mesh)


async def test_a_subset_is_added_once_and_dropped_once(world: World) -> None:
    for _ in range(2):
        await world.traffic.add_subset(world.target, "v2")
        assert await world.subsets() == {"v1", "v2"}
    for _ in range(2):
        await world.traffic.drop_subset(world.target, "v2")
        assert await world.subsets() == {"v1"}


async def test_a_subset_that_the_route_names_is_not_dropped(world: World) -> None:
    await split(world, 10)
    await order(world, 0, epoch=2)
    with pytest.raises(Refused):
        await world.traffic.drop_subset(world.target, "v2")
    assert await world.subsets() == {"v1", "v2"}


async def test_the_loser_leaves_the_route_and_then_the_rule(world: World) -> None:
    await split(world, 100)
    await world.traffic.drop_destination(world.target, "v1", await seen(world))
    await world.traffic.drop_subset(world.target, "v1")
    mesh = await seen(world)
    assert (mesh.percent, mesh.listed, mesh.subsets) == (100, frozenset({"v2"}), frozenset({"v2"}))
    assert await world.weights() == everywhere(world, {"v2": 100})


async def test_a_version_with_traffic_or_another_releases_route_is_left(world: World) -> None:
    await split(world, 10)
    with pytest.raises(Refused):
        await world.traffic.drop_destination(world.target, "v2", await seen(world))
    await order(world, 0, epoch=2)
    theirs = replace(world.target, release="another")
    with pytest.raises(Conflict):
        await world.traffic.drop_destination(theirs, "v2", await seen(world))
    stale = await seen(world)
    await world.touch()
    with pytest.raises(Conflict):
        await world.traffic.drop_destination(world.target, "v2", stale)
    assert (await seen(world)).listed == {"v1", "v2"}


async def test_a_release_of_the_same_name_in_another_namespace_is_another(world: World) -> None:
    theirs = replace(world.target, namespace="pay", service="ledger", destination_rule="ledger")
    mesh = await world.traffic.observe(theirs)
    assert isinstance(mesh, Mesh)
    await world.traffic.set_route(theirs, Route(percent=0, epoch=3), mesh)
    taken = await seen(world)
    assert (taken.epoch, taken.release) == (3, f"pay/{RELEASE}")
    assert {part.release for part in taken.parts} <= {f"pay/{RELEASE}"}
    with pytest.raises(Conflict):
        await order(world, 0, epoch=3)
    with pytest.raises(Conflict):
        await world.traffic.drop_destination(world.target, "v2", taken)
    await order(world, 0, epoch=4)
    assert (await seen(world)).release == RELEASE
    mesh = await world.traffic.observe(theirs)
    assert isinstance(mesh, Mesh)
    assert mesh.release == f"{world.target.namespace}/{RELEASE}"


async def test_a_route_of_which_nothing_can_be_read_is_unavailable_and_takes_no_order(world: World) -> None:
    await split(world, 10)
    before = await seen(world)
    world.hide(0, 1)
    assert isinstance(await world.traffic.observe(world.target), Unavailable)
    with pytest.raises(Outage):
        await world.traffic.set_route(world.target, Route(percent=0, epoch=2), before)
    world.hide()
    assert await seen(world) == before
