"""A Service for each version on an API: no DestinationRule, and no request to a Service that nobody has made."""

import httpx2
import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.istio import IstioTraffic
from rollout.core.route import Mesh, Route, Target
from rollout.ports import NotFound, Outage, Refused
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.istio.objects import RULES, SERVICES, virtual_service
from tests.adapters.istio.shapes import JsonObject, target

WHOM = target(stable="v1", host="{service}-{version}")
KUBERNETES_SERVICES = "/api/v1/namespaces/shop/services"


def to(host: str, weight: int | None = None) -> JsonObject:
    entry: JsonObject = {"destination": {"host": host, "port": {"number": 8080}}}
    return entry if weight is None else entry | {"weight": weight}


async def create_service(cluster: Cluster, name: str) -> None:
    spec = {"selector": {"app": "checkout"}, "ports": [{"name": "http", "port": 8080}]}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    await cluster.create(KUBERNETES_SERVICES, body)


@pytest.fixture
async def shop(cluster: Cluster) -> Cluster:
    """v1 is stable and has its Service; there is no DestinationRule."""
    await cluster.create(SERVICES, virtual_service(to("checkout-v1")))
    await create_service(cluster, "checkout-v1")
    return cluster


@pytest.fixture
def traffic(shop: Cluster) -> IstioTraffic:
    return IstioTraffic(shop)


async def seen(traffic: IstioTraffic, whom: Target = WHOM) -> Mesh:
    mesh = await traffic.observe(whom)
    assert isinstance(mesh, Mesh), mesh
    return mesh


async def order(traffic: IstioTraffic, percent: int, epoch: int) -> None:
    await traffic.set_route(WHOM, Route(percent=percent, epoch=epoch), await seen(traffic))


async def weights(cluster: Cluster) -> dict[str, int | None]:
    obj = await cluster.get(f"{SERVICES}/checkout")
    return {one["destination"]["host"]: one.get("weight") for one in obj["spec"]["http"][0]["route"]}


async def test_a_whole_release_needs_no_destination_rule(shop: Cluster, traffic: IstioTraffic) -> None:
    await create_service(shop, "checkout-v2")
    await traffic.add_subset(WHOM, "v2")
    assert (await seen(traffic)).subsets == {"v1", "v2"}
    for percent in (10, 50, 100):
        await order(traffic, percent, epoch=1)
        assert await weights(shop) == {"checkout-v1": 100 - percent, "checkout-v2": percent}
    await traffic.drop_destination(WHOM, "v1", await seen(traffic))
    await traffic.drop_subset(WHOM, "v1")
    assert await weights(shop) == {"checkout-v2": 100}
    assert await shop.get(f"{KUBERNETES_SERVICES}/checkout-v1")
    assert await shop.list(RULES) == []


async def test_nothing_is_sent_to_a_service_that_nobody_has_made(shop: Cluster, traffic: IstioTraffic) -> None:
    with pytest.raises(NotFound):
        await traffic.add_subset(WHOM, "v2")
    assert (await seen(traffic)).subsets == {"v1"}
    with pytest.raises(Refused):
        await order(traffic, 10, epoch=1)
    assert await weights(shop) == {"checkout-v1": None}


async def test_who_is_stable_is_told_by_the_host(traffic: IstioTraffic) -> None:
    mesh = await seen(traffic, target(host=WHOM.host))
    assert (mesh.percent, mesh.stable, mesh.problem) == (0, "v1", None)


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 503}])
async def test_services_that_cannot_be_asked_do_not_stand_in_the_way_of_a_rollback(
    shop: Cluster, server: KubernetesServer, traffic: IstioTraffic, fault: JsonObject
) -> None:
    await create_service(shop, "checkout-v2")
    await order(traffic, 30, epoch=1)
    server.faults.add(verb="get", resource="services", **fault)
    assert (await seen(traffic)).percent == 30
    with pytest.raises((Refused, Outage)):
        await traffic.add_subset(WHOM, "v2")
    with pytest.raises(Refused):
        await order(traffic, 50, epoch=2)
    await order(traffic, 0, epoch=2)
    assert await weights(shop) == {"checkout-v1": 100, "checkout-v2": 0}


async def test_traffic_does_not_return_to_a_service_that_is_gone(
    shop: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    await create_service(shop, "checkout-v2")
    await order(traffic, 30, epoch=1)
    async with httpx2.AsyncClient(base_url=server.url) as http:
        assert (await http.delete(f"{KUBERNETES_SERVICES}/checkout-v1")).is_success
    with pytest.raises(Refused):
        await order(traffic, 0, epoch=2)
    assert await weights(shop) == {"checkout-v1": 70, "checkout-v2": 30}


async def test_a_weight_that_is_held_costs_no_question_about_services(
    shop: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    await create_service(shop, "checkout-v2")
    await order(traffic, 30, epoch=1)
    server.faults.add(verb="get", resource="services", status=503)
    mesh = await traffic.observe(WHOM, remembered=True)
    assert isinstance(mesh, Mesh)
    assert (mesh.percent, mesh.subsets) == (30, frozenset({"v1", "v2"}))
