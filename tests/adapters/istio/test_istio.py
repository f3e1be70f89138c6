"""The Istio adapter against a real API's semantics: compare-and-set, epochs, outages, and what must not be removed."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster, Denied
from rollout.adapters.istio import IstioTraffic
from rollout.core.route import Gone, Mesh, Route, Target, Unavailable
from rollout.ports import Conflict, NotFound, Outage, Refused
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.istio.objects import RULES, SERVICES, destination, destination_rule, virtual_service
from tests.adapters.istio.shapes import JsonObject, target

WHOM = target(stable="v1")


@pytest.fixture
async def shop(cluster: Cluster) -> Cluster:
    """Stable v1 has all the traffic; v2 has nothing yet."""
    await cluster.create(SERVICES, virtual_service(destination("v1")))
    await cluster.create(RULES, destination_rule("v1"))
    return cluster


@pytest.fixture
def traffic(shop: Cluster) -> IstioTraffic:
    return IstioTraffic(shop)


async def seen(traffic: IstioTraffic, whom: Target = WHOM) -> Mesh:
    mesh = await traffic.observe(whom)
    assert isinstance(mesh, Mesh), mesh
    return mesh


async def order(traffic: IstioTraffic, percent: int, epoch: int, whom: Target = WHOM) -> None:
    await traffic.set_route(whom, Route(percent=percent, epoch=epoch), await seen(traffic, whom))


async def service_now(cluster: Cluster) -> JsonObject:
    return await cluster.get(f"{SERVICES}/checkout")


async def weights(cluster: Cluster) -> dict[str, int | None]:
    route = (await service_now(cluster))["spec"]["http"][0]["route"]
    return {entry["destination"]["subset"]: entry.get("weight") for entry in route}


async def subsets(cluster: Cluster) -> list[str]:
    return [subset["name"] for subset in (await cluster.get(f"{RULES}/checkout"))["spec"]["subsets"]]


async def edit(cluster: Cluster, *operations: JsonObject) -> None:
    """Somebody else's hand on the VirtualService."""
    await cluster.patch(f"{SERVICES}/checkout", operations)


ANNOTATE = {"op": "add", "path": "/metadata/annotations/touched", "value": "yes"}


async def test_a_whole_release_moves_the_traffic_and_tidies_up(shop: Cluster, traffic: IstioTraffic) -> None:
    before = await service_now(shop)
    await traffic.add_subset(WHOM, "v2")
    assert await subsets(shop) == ["v1", "v2"]
    for percent in (10, 50, 100):
        await order(traffic, percent, epoch=1)
        assert await weights(shop) == {"v1": 100 - percent, "v2": percent}
    await traffic.drop_destination(WHOM, "v1", await seen(traffic))
    await traffic.drop_subset(WHOM, "v1")
    assert await weights(shop) == {"v2": 100}
    assert await subsets(shop) == ["v2"]
    after = await service_now(shop)
    assert after["metadata"]["annotations"] == {
        "team": "payments",
        "rollout.dev/epoch": "1",
        "rollout.dev/release": WHOM.release,
    }
    after["spec"]["http"][0]["route"] = before["spec"]["http"][0]["route"]
    assert after["spec"] == before["spec"]


async def test_a_rollback_gives_stable_everything_and_leaves_the_rule_alone(
    shop: Cluster, traffic: IstioTraffic
) -> None:
    await traffic.add_subset(WHOM, "v2")
    await order(traffic, 30, epoch=1)
    await order(traffic, 0, epoch=2)
    assert await weights(shop) == {"v1": 100, "v2": 0}
    assert await subsets(shop) == ["v1", "v2"]
    mesh = await seen(traffic)
    assert (mesh.percent, mesh.epoch, mesh.release, mesh.stable) == (0, 2, WHOM.release, "v1")


async def test_an_order_that_stands_already_is_not_written_again(traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    await order(traffic, 10, epoch=1)
    revision = (await seen(traffic)).revision
    await order(traffic, 10, epoch=1)
    await traffic.drop_destination(WHOM, "v9", await seen(traffic))
    assert (await seen(traffic)).revision == revision


async def test_an_order_based_on_a_stale_reading_is_refused(shop: Cluster, traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    stale = await seen(traffic)
    await edit(shop, ANNOTATE)
    with pytest.raises(Conflict):
        await traffic.set_route(WHOM, Route(percent=10, epoch=1), stale)
    with pytest.raises(Conflict):
        await traffic.drop_destination(WHOM, "v1", stale)
    assert await weights(shop) == {"v1": None}


async def test_of_two_controllers_that_order_at_once_exactly_one_wins(shop: Cluster, traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    mesh = await seen(traffic)
    orders = [Route(percent=percent, epoch=1) for percent in (10, 30, 50)]
    results = await asyncio.gather(*(traffic.set_route(WHOM, route, mesh) for route in orders), return_exceptions=True)
    winners = [route for route, result in zip(orders, results, strict=True) if result is None]
    assert len(winners) == 1
    assert all(isinstance(result, Conflict) for result in results if result is not None)
    assert (await weights(shop))["v2"] == winners[0].percent


@pytest.mark.parametrize("percent", [0, 50])
async def test_an_older_epoch_is_refused_whatever_it_orders(shop: Cluster, traffic: IstioTraffic, percent: int) -> None:
    await traffic.add_subset(WHOM, "v2")
    await order(traffic, 10, epoch=5, whom=replace(WHOM, release="newer"))
    with pytest.raises(Conflict):
        await order(traffic, percent, epoch=4)
    assert await weights(shop) == {"v1": 90, "v2": 10}


async def test_the_same_epoch_of_another_release_is_refused(shop: Cluster, traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    await order(traffic, 10, epoch=5, whom=replace(WHOM, release="twin"))
    with pytest.raises(Conflict):
        await order(traffic, 30, epoch=5)
    with pytest.raises(Conflict):
        await traffic.drop_destination(WHOM, "v2", await seen(traffic))
    assert await weights(shop) == {"v1": 90, "v2": 10}


async def test_a_share_is_not_raised_before_the_canary_has_its_subset(shop: Cluster, traffic: IstioTraffic) -> None:
    with pytest.raises(Refused):
        await order(traffic, 10, epoch=1)
    assert await weights(shop) == {"v1": None}


async def test_a_version_with_traffic_is_not_taken_out_of_the_route(shop: Cluster, traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    await order(traffic, 10, epoch=1)
    with pytest.raises(Refused):
        await traffic.drop_destination(WHOM, "v2", await seen(traffic))
    assert await weights(shop) == {"v1": 90, "v2": 10}


async def test_an_absent_virtual_service_is_gone_and_refuses_orders(traffic: IstioTraffic) -> None:
    mesh = await seen(traffic)
    absent = target(stable="v1", virtual_service="nowhere")
    assert isinstance(await traffic.observe(absent), Gone)
    with pytest.raises(Conflict):
        await traffic.set_route(absent, Route(percent=0, epoch=1), mesh)


async def test_an_absent_destination_rule_is_a_problem_and_no_outage(traffic: IstioTraffic) -> None:
    absent = replace(WHOM, destination_rule="nowhere")
    mesh = await seen(traffic, absent)
    assert mesh.problem is not None
    assert mesh.problem.code == "destination-rule-missing"
    with pytest.raises(NotFound):
        await traffic.add_subset(absent, "v2")
    await traffic.drop_subset(absent, "v2")


@pytest.mark.parametrize("resource", ["virtualservices", "destinationrules"])
@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 403}, {"drop": True}, {"delay_ms": 1000}])
async def test_what_cannot_be_read_is_unavailable_and_never_a_fact(
    shop: Cluster, server: KubernetesServer, tmp_path: Path, resource: str, fault: dict[str, Any]
) -> None:
    server.faults.add(verb="get", resource=resource, **fault)
    async with await Cluster.connect(tmp_path / "kubeconfig", seconds=0.3) as impatient:
        assert isinstance(await IstioTraffic(impatient).observe(WHOM), Unavailable)
    server.faults.clear()
    assert isinstance(await IstioTraffic(shop).observe(WHOM), Mesh)


async def test_an_outage_while_writing_is_told_and_leaves_the_route(
    shop: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    await traffic.add_subset(WHOM, "v2")
    server.faults.add(verb="patch", resource="virtualservices", status=503, times=1)
    with pytest.raises(Outage):
        await order(traffic, 10, epoch=1)
    assert await weights(shop) == {"v1": None}


async def test_a_write_whose_answer_was_lost_is_found_done_on_the_next_look(
    server: KubernetesServer, traffic: IstioTraffic
) -> None:
    await traffic.add_subset(WHOM, "v2")
    server.faults.add(verb="patch", resource="virtualservices", drop=True, when="after", times=1)
    with pytest.raises(Outage):
        await order(traffic, 10, epoch=1)
    mesh = await seen(traffic)
    assert (mesh.percent, mesh.epoch) == (10, 1)
    await order(traffic, 10, epoch=1)
    assert (await seen(traffic)).revision == mesh.revision


async def test_traffic_does_not_return_to_a_subset_that_was_taken_away(shop: Cluster, traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    await order(traffic, 30, epoch=1)
    await shop.patch(f"{RULES}/checkout", [{"op": "remove", "path": "/spec/subsets/0"}])
    with pytest.raises(Refused):
        await order(traffic, 0, epoch=2)
    assert await weights(shop) == {"v1": 70, "v2": 30}
    await shop.create(RULES, destination_rule("v1", name="checkout-stable"))
    await order(traffic, 0, epoch=2)
    assert await weights(shop) == {"v1": 100, "v2": 0}


async def test_a_rollback_does_not_wait_for_a_question_that_gets_no_answer(
    shop: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    await traffic.add_subset(WHOM, "v2")
    await order(traffic, 30, epoch=1)
    await shop.patch(f"{RULES}/checkout", [{"op": "remove", "path": "/spec/subsets/0"}])
    server.faults.add(verb="list", status=503)
    await order(traffic, 0, epoch=2)
    assert await weights(shop) == {"v1": 100, "v2": 0}


async def test_a_subset_is_added_once_with_stables_policy(shop: Cluster, traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    once = await shop.get(f"{RULES}/checkout")
    await traffic.add_subset(WHOM, "v2")
    assert await shop.get(f"{RULES}/checkout") == once
    assert once["spec"]["subsets"] == destination_rule("v1", "v2")["spec"]["subsets"]


async def test_a_subset_whose_name_is_taken_is_not_added(shop: Cluster, traffic: IstioTraffic) -> None:
    await shop.patch(
        f"{RULES}/checkout",
        [{"op": "add", "path": "/spec/subsets/1", "value": {"name": "v2", "labels": {"version": "x"}}}],
    )
    with pytest.raises(Refused):
        await traffic.add_subset(WHOM, "v2")
    assert (await shop.get(f"{RULES}/checkout"))["spec"]["subsets"][1]["labels"] == {"version": "x"}


@pytest.mark.parametrize(
    ("namespace", "host"),
    [("shop", "checkout"), ("ingress", "checkout.shop.svc.cluster.local"), ("shop", "CHECKOUT.shop.svc.cluster.local")],
)
@pytest.mark.parametrize("place", ["route", "mirror", "tcp"])
async def test_a_subset_that_any_virtual_service_names_is_left(
    shop: Cluster, traffic: IstioTraffic, namespace: str, host: str, place: str
) -> None:
    await traffic.add_subset(WHOM, "v2")
    other = virtual_service(destination("v1"), name="other", namespace=namespace)
    named = destination("v2", host=host)
    if place == "tcp":
        other["spec"]["tcp"] = [{"route": [named]}]
    else:
        other["spec"]["http"][0][place] = [named] if place == "route" else named["destination"]
    await shop.create(SERVICES.replace("/shop/", f"/{namespace}/"), other)
    with pytest.raises(Refused):
        await traffic.drop_subset(WHOM, "v2")
    assert await subsets(shop) == ["v1", "v2"]


async def test_a_short_host_of_another_namespace_is_another_service(shop: Cluster, traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    other = virtual_service(destination("v2"), name="other", namespace="ingress")
    await shop.create(SERVICES.replace("/shop/", "/ingress/"), other)
    await traffic.drop_subset(WHOM, "v2")
    assert await subsets(shop) == ["v1"]
    await traffic.drop_subset(WHOM, "v2")


async def test_without_sight_of_the_cluster_the_namespace_is_looked_through(
    shop: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    await traffic.add_subset(WHOM, "v2")
    server.faults.add(verb="list", resource="virtualservices", status=403, times=1)
    await traffic.drop_subset(WHOM, "v2")
    assert await subsets(shop) == ["v1"]
    await traffic.add_subset(WHOM, "v2")
    await order(traffic, 10, epoch=1)
    server.faults.add(verb="list", resource="virtualservices", status=403, times=1)
    with pytest.raises(Refused):
        await traffic.drop_subset(WHOM, "v2")
    assert await subsets(shop) == ["v1", "v2"]


async def test_a_subset_that_selects_more_than_a_version_and_has_a_name_of_its_own_is_left(
    shop: Cluster, traffic: IstioTraffic
) -> None:
    special = {"name": "beta", "labels": {"version": "v2", "region": "eu"}}
    await shop.patch(f"{RULES}/checkout", [{"op": "add", "path": "/spec/subsets/1", "value": special}])
    with pytest.raises(Refused):
        await traffic.drop_subset(WHOM, "v2")
    assert await subsets(shop) == ["v1", "beta"]


class OneVersionCluster(Cluster):
    """A cluster that serves Istio's group under one name only, which may change while we run."""

    served = "v1beta1"

    async def served_version(self, group: str, candidates: Sequence[str]) -> str:
        assert group == "networking.istio.io"
        assert self.served in candidates
        return self.served

    async def get(self, path: str) -> JsonObject:
        self._check(path)
        return await super().get(path)

    async def patch(self, path: str, operations: Sequence[JsonObject], *, dry_run: bool = False) -> JsonObject:
        self._check(path)
        return await super().patch(path, operations, dry_run=dry_run)

    def _check(self, path: str) -> None:
        if f"/{self.served}/" not in path:
            raise Denied("the server could not find the requested resource")


async def test_the_served_version_is_found_out_and_again_after_an_upgrade(shop: Cluster, tmp_path: Path) -> None:
    async with await OneVersionCluster.connect(tmp_path / "kubeconfig") as cluster:
        traffic = IstioTraffic(cluster)
        await traffic.add_subset(WHOM, "v2")
        await order(traffic, 10, epoch=1)
        cluster.served = "v1"
        assert isinstance(await traffic.observe(WHOM), Unavailable)
        await order(traffic, 30, epoch=1)
    assert await weights(shop) == {"v1": 70, "v2": 30}
    assert (await service_now(shop))["apiVersion"] == "networking.istio.io/v1"
