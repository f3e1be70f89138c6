"""What every Traffic port must do: on the fake, and by the Istio adapter on the embedded API and on the real one.

Each with one VirtualService, and with two that are stepped together. Shapes of objects are in `tests/adapters/istio`.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.istio import IstioTraffic
from rollout.core.route import Gone, Mesh, Route
from rollout.ports import Conflict, Outage, Refused
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.contract.traffic_world import RELEASE, FakeWorld, IstioWorld, World, seen

_numbers = itertools.count(1)
TWO = pytest.mark.parametrize("world", [2], ids=["two"], indirect=True)


@pytest.fixture(params=["fake", "embedded", "real"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plane(request: pytest.FixtureRequest, place: str) -> ControlPlane | None:
    """The real API, where it is asked for: a session's fixture cannot start inside a running loop."""
    if place != "real":
        return None
    found: ControlPlane = request.getfixturevalue("control_plane")
    return found


@pytest.fixture(params=[1, 2], ids=["one", "two"])
async def world(
    request: pytest.FixtureRequest, place: str, plane: ControlPlane | None, tmp_path: Path
) -> AsyncIterator[World]:
    legs: int = request.param
    if place == "fake":
        yield FakeWorld(legs)
        return
    kubeconfig, namespace = tmp_path / "kubeconfig", f"traffic-{next(_numbers)}"
    server = KubernetesServer() if plane is None else None
    if server is not None:
        await server.start()
        server.write_kubeconfig(kubeconfig)
        http = httpx2.AsyncClient(base_url=server.url)
    else:
        assert plane is not None
        plane.write_kubeconfig(kubeconfig, namespace)
        http = plane.client()
    try:
        async with await Cluster.connect(kubeconfig) as cluster, http:
            await cluster.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
            made = IstioWorld(IstioTraffic(cluster), http, namespace, legs)
            await made.begin()
            yield made
            await http.delete(f"/api/v1/namespaces/{namespace}")
    finally:
        if server is not None:
            await server.stop()


async def order(world: World, percent: int, epoch: int) -> None:
    await world.traffic.set_route(world.target, Route(percent=percent, epoch=epoch), await seen(world))


async def split(world: World, percent: int, epoch: int = 1) -> None:
    """v2 has its subset and a share."""
    await world.traffic.add_subset(world.target, "v2")
    await order(world, percent, epoch)


def everywhere(world: World, weights: dict[str, int]) -> list[dict[str, int]]:
    return [weights] * len(world.target.legs)


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


@TWO
async def test_of_two_the_larger_share_counts_and_each_is_told(world: World) -> None:
    await split(world, 10)
    await world.edit(40, leg=1)
    mesh = await seen(world)
    assert mesh.percent == 40
    assert [part.percent for part in mesh.parts] == [10, 40]
    assert [part.leg for part in mesh.parts] == [*world.target.legs]


@TWO
async def test_two_that_differ_before_the_first_order_are_uneven(world: World) -> None:
    await world.traffic.add_subset(world.target, "v2")
    await world.edit(100, leg=1)
    mesh = await seen(world)
    assert mesh.stable is None
    assert mesh.problem is not None
    assert mesh.problem.code == "uneven"


@TWO
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


@TWO
@pytest.mark.parametrize("touched", [0, 1])
async def test_a_higher_share_reaches_neither_where_one_has_changed(world: World, touched: int) -> None:
    await split(world, 10)
    stale = await seen(world)
    await world.touch(touched)
    with pytest.raises(Conflict):
        await world.traffic.set_route(world.target, Route(percent=30, epoch=2), stale)
    assert await world.weights() == everywhere(world, {"v1": 90, "v2": 10})


@TWO
async def test_a_newer_epoch_on_one_refuses_an_order_for_both(world: World) -> None:
    await world.traffic.add_subset(world.target, "v2")
    first = replace(world.target, legs=world.target.legs[:1], release="another")
    if isinstance(world, FakeWorld):
        world.mesh.all[0].epoch, world.mesh.all[0].release = 7, "another"
    else:
        mesh = await world.traffic.observe(first)
        assert isinstance(mesh, Mesh)
        await world.traffic.set_route(first, Route(percent=20, epoch=7), mesh)
    before = await seen(world)
    assert (before.epoch, before.release) == (7, "another")
    for percent in (0, 50):
        with pytest.raises(Conflict):
            await order(world, percent, epoch=6)
    assert await seen(world) == before


@TWO
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


@TWO
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
