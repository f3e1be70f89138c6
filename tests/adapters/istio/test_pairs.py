"""Two VirtualServices of one service: golden pairs taken through a release, and what only pairs can do wrong."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rollout.adapters.cluster import Cluster
from rollout.adapters.istio import IstioTraffic
from rollout.adapters.signature import EPOCH, RELEASE
from rollout.core.route import Leg, Mesh, Route, Target, Unavailable
from rollout.ports import Conflict, Outage, Refused
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.istio.objects import RULES, SERVICES, destination, destination_rule, virtual_service
from tests.adapters.istio.shapes import JsonObject, target

PAIRS = sorted((Path(__file__).parent / "pairs").iterdir())
AWAY = SERVICES.replace("/shop/", "/ingress/")


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def path_of(leg: Leg) -> str:
    return f"{SERVICES.replace('/shop/', f'/{leg.namespace}/')}/{leg.virtual_service}"


async def order(traffic: IstioTraffic, whom: Target, percent: int, epoch: int) -> None:
    mesh = await traffic.observe(whom)
    assert isinstance(mesh, Mesh), mesh
    assert mesh.problem is None
    await traffic.set_route(whom, Route(percent=percent, epoch=epoch), mesh)


@pytest.mark.parametrize("folder", PAIRS, ids=[folder.name for folder in PAIRS])
async def test_a_pair_is_stepped_together_and_nothing_else_of_it_changes(cluster: Cluster, folder: Path) -> None:
    expected = read(folder / "expected.yaml")
    whom = target(stable="v1", legs=expected["legs"])
    await cluster.create(RULES, read(folder / "destinationrule.yaml"))
    before = []
    for number, leg in enumerate(whom.legs, start=1):
        collection, _, _ = path_of(leg).rpartition("/")
        before.append(await cluster.create(collection, read(folder / f"{number}.yaml")))
    traffic = IstioTraffic(cluster)

    async def check(state: str, epoch: int) -> None:
        for leg, index, destinations, obj in zip(
            whom.legs, expected["index"], expected["after"][state], before, strict=True
        ):
            wanted = copy.deepcopy(obj)
            wanted["spec"]["http"][index]["route"] = destinations
            wanted["metadata"]["annotations"] = (wanted["metadata"].get("annotations") or {}) | {
                EPOCH: str(epoch),
                RELEASE: ("" if leg.namespace == "shop" else "shop/") + whom.release,
            }
            now = await cluster.get(path_of(leg))
            for name in ("resourceVersion", "generation", "managedFields"):
                wanted["metadata"][name] = now["metadata"].get(name)
            assert now == {**wanted, "metadata": {key: value for key, value in wanted["metadata"].items() if value}}

    await traffic.add_subset(whom, "v2")
    for epoch, percent in enumerate((10, 50, 100), start=1):
        await order(traffic, whom, percent, epoch)
        await check(str(percent), epoch)
    await order(traffic, whom, 0, 4)
    await check("rollback", 4)
    mesh = await traffic.observe(whom)
    assert isinstance(mesh, Mesh)
    await traffic.drop_destination(whom, "v2", mesh)
    await check("returned", 4)


PAIR = target(stable="v1", legs=(Leg("shop", "checkout"), Leg("ingress", "public")))
FULL = "checkout.shop.svc.cluster.local"


@pytest.fixture
async def traffic(cluster: Cluster) -> IstioTraffic:
    """A mesh's and a gateway's, both with all traffic at v1; v2 has its subset."""
    await cluster.create(SERVICES, virtual_service(destination("v1")))
    edge = virtual_service(destination("v1", host=FULL), name="public", namespace="ingress")
    await cluster.create(AWAY, edge)
    await cluster.create(RULES, destination_rule("v1", "v2"))
    return IstioTraffic(cluster)


async def shares(cluster: Cluster) -> list[int]:
    """v2's weight in both."""
    found = []
    for leg in PAIR.legs:
        obj = await cluster.get(path_of(leg))
        weights = {one["destination"]["subset"]: one.get("weight") for one in obj["spec"]["http"][0]["route"]}
        found.append(weights.get("v2") or 0)
    return found


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}])
async def test_a_rollback_whose_first_write_fails_writes_the_second(
    cluster: Cluster, server: KubernetesServer, traffic: IstioTraffic, fault: JsonObject
) -> None:
    await order(traffic, PAIR, 30, 1)
    server.faults.add(verb="patch", resource="virtualservices", times=1, **fault)
    with pytest.raises(Outage):
        await order(traffic, PAIR, 0, 2)
    assert await shares(cluster) == [30, 0]
    await order(traffic, PAIR, 0, 2)
    assert await shares(cluster) == [0, 0]


async def test_a_higher_share_stops_at_the_first_write_that_fails(
    cluster: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    server.faults.add(verb="patch", resource="virtualservices", times=1, status=503)
    with pytest.raises(Outage):
        await order(traffic, PAIR, 30, 1)
    assert await shares(cluster) == [0, 0]


async def test_what_has_to_sink_sinks_before_anything_rises(cluster: Cluster, traffic: IstioTraffic) -> None:
    half = target(stable="v1", legs=PAIR.legs[1:])
    await order(traffic, half, 60, 1)
    mesh = await traffic.observe(PAIR)
    assert isinstance(mesh, Mesh)
    await cluster.merge(path_of(PAIR.legs[1]), {"metadata": {"labels": {"touched": "yes"}}})
    with pytest.raises(Conflict):
        await traffic.set_route(PAIR, Route(percent=30, epoch=2), mesh)
    assert await shares(cluster) == [0, 60]
    await order(traffic, PAIR, 30, 2)
    assert await shares(cluster) == [30, 30]


async def test_a_share_rises_in_neither_where_one_route_forbids_it(cluster: Cluster, traffic: IstioTraffic) -> None:
    mesh = await traffic.observe(PAIR)
    assert isinstance(mesh, Mesh)
    path = "/spec/http/0/route/0/destination/host"
    await cluster.patch(path_of(PAIR.legs[1]), [{"op": "replace", "path": path, "value": "checkout"}])
    after = await traffic.observe(PAIR)
    assert isinstance(after, Mesh)
    assert after.problem is not None
    assert after.problem.code == "other-host"
    with pytest.raises(Refused):
        await traffic.set_route(PAIR, Route(percent=30, epoch=1), after)
    assert await shares(cluster) == [0, 0]


async def test_a_problem_that_lasts_is_told_before_a_split_that_does_not(
    cluster: Cluster, traffic: IstioTraffic
) -> None:
    split = [destination("v1", 70), destination("v2", 30)]
    await cluster.patch(path_of(PAIR.legs[0]), [{"op": "replace", "path": "/spec/http/0/route", "value": split}])
    mesh = await traffic.observe(PAIR)
    assert isinstance(mesh, Mesh)
    assert mesh.problem is not None
    assert mesh.problem.code == "already-split"
    other = [destination("v1", host="cart")]
    await cluster.patch(path_of(PAIR.legs[1]), [{"op": "replace", "path": "/spec/http/0/route", "value": other}])
    mesh = await traffic.observe(PAIR)
    assert isinstance(mesh, Mesh)
    assert mesh.problem is not None
    assert mesh.problem.code == "other-host"


DEAF = [{"status": 403}, {"status": 503}, {"drop": True}]
"""Ways in which the API server does not tell what an object says."""


@pytest.mark.parametrize("fault", DEAF)
@pytest.mark.parametrize("name", ["checkout", "public"])
async def test_one_that_cannot_be_read_does_not_hide_the_other(
    server: KubernetesServer, traffic: IstioTraffic, name: str, fault: JsonObject
) -> None:
    server.faults.add(verb="get", resource="virtualservices", name=name, **fault)
    mesh = await traffic.observe(PAIR)
    assert isinstance(mesh, Mesh)
    assert [leg.virtual_service for leg in mesh.unread] == [name]
    assert [part.leg.virtual_service for part in mesh.parts] == [one for one in ("checkout", "public") if one != name]
    assert mesh.missing == ()
    assert mesh.problem is not None
    assert mesh.problem.code == "leg-unreadable"


@pytest.mark.parametrize("fault", DEAF)
async def test_what_cannot_be_read_at_all_is_unavailable_even_where_the_rest_is_gone(
    cluster: Cluster, server: KubernetesServer, traffic: IstioTraffic, fault: JsonObject
) -> None:
    server.faults.add(verb="get", resource="virtualservices", **fault)
    assert isinstance(await traffic.observe(PAIR), Unavailable)
    server.faults.clear()
    server.faults.add(verb="get", resource="virtualservices", name="public", **fault)
    absent = target(stable="v1", legs=(Leg("shop", "nowhere"), PAIR.legs[1]))
    assert isinstance(await traffic.observe(absent), Unavailable)
    mesh = await traffic.observe(target(stable="v1", legs=(*PAIR.legs, Leg("shop", "nowhere"))))
    assert isinstance(mesh, Mesh)
    assert (mesh.missing, mesh.unread) == ((Leg("shop", "nowhere"),), PAIR.legs[1:])
    assert len(await cluster.list(AWAY)) == 1


@pytest.mark.parametrize("fault", DEAF)
@pytest.mark.parametrize("hidden", [0, 1])
async def test_one_that_cannot_be_read_keeps_the_other_from_no_rollback(
    cluster: Cluster, server: KubernetesServer, traffic: IstioTraffic, hidden: int, fault: JsonObject
) -> None:
    await order(traffic, PAIR, 30, 1)
    server.faults.add(verb="get", resource="virtualservices", name=PAIR.legs[hidden].virtual_service, **fault)
    mesh = await traffic.observe(PAIR)
    assert isinstance(mesh, Mesh)
    with pytest.raises(Outage):
        await traffic.set_route(PAIR, Route(percent=0, epoch=2), mesh)
    server.faults.clear()
    assert await shares(cluster) == [30 * (hidden == 0), 30 * (hidden == 1)]
    await order(traffic, PAIR, 0, 2)
    assert await shares(cluster) == [0, 0]


async def test_one_that_was_not_seen_is_looked_at_before_it_is_ordered(
    cluster: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    await order(traffic, PAIR, 30, 1)
    server.faults.add(verb="get", resource="virtualservices", name="public", status=503)
    mesh = await traffic.observe(PAIR)
    assert isinstance(mesh, Mesh)
    server.faults.clear()
    for percent in (60, 0):
        with pytest.raises(Conflict):
            await traffic.set_route(PAIR, Route(percent=percent, epoch=2), mesh)
    assert await shares(cluster) == [0, 30]


class WithoutDiscovery(Cluster):
    """A cluster that says for some time only which versions of an API group it serves."""

    silent = False

    async def served_version(self, group: str, candidates: Sequence[str]) -> str:
        if self.silent:
            raise Outage("the API server does not answer")
        return await super().served_version(group, candidates)


async def test_a_leg_that_is_denied_makes_a_rollback_of_the_other_ask_nothing_more(
    cluster: Cluster, server: KubernetesServer, traffic: IstioTraffic, tmp_path: Path
) -> None:
    await order(traffic, PAIR, 30, 1)
    server.faults.add(verb="get", resource="virtualservices", name="public", status=403)
    async with await WithoutDiscovery.connect(tmp_path / "kubeconfig") as other:
        asking = IstioTraffic(other)
        mesh = await asking.observe(PAIR)
        assert isinstance(mesh, Mesh)
        other.silent = True
        with pytest.raises(Outage):
            await asking.set_route(PAIR, Route(percent=0, epoch=2), mesh)
    server.faults.clear()
    assert await shares(cluster) == [0, 30]


async def test_without_sight_of_the_cluster_a_leg_elsewhere_still_keeps_its_subset(
    cluster: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    await order(traffic, PAIR, 10, 1)
    await order(traffic, PAIR, 0, 2)
    only_here = target(stable="v1", legs=PAIR.legs[:1])
    mesh = await traffic.observe(only_here)
    assert isinstance(mesh, Mesh)
    await traffic.drop_destination(only_here, "v2", mesh)
    server.faults.add(verb="list", resource="virtualservices", status=403, times=1)
    with pytest.raises(Refused):
        await traffic.drop_subset(PAIR, "v2")
    rule = await cluster.get(f"{RULES}/checkout")
    assert [subset["name"] for subset in rule["spec"]["subsets"]] == ["v1", "v2"]
