"""Two fixed subset names on an API: a slot is taken only where nothing goes to it, and it stays when all is over."""

from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.istio import IstioTraffic
from rollout.adapters.slots import with_slot
from rollout.core.route import Leg, Mesh, Problem, Route, Target
from rollout.ports import Conflict, NotFound, Refused
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.istio.objects import RULES, SERVICES, destination, destination_rule, virtual_service
from tests.adapters.istio.shapes import JsonObject, patched, target

WHOM = target(stable="v1", slots=("blue", "green"))
FULL = "checkout.shop.svc.cluster.local"


def slots(**versions: str) -> JsonObject:
    rule = destination_rule()
    rule["spec"]["subsets"] = [{"name": name, "labels": {"version": one}} for name, one in versions.items()]
    return rule


@pytest.fixture
async def shop(cluster: Cluster) -> Cluster:
    """v1 is stable, in blue; green is left from v0, listed without traffic."""
    await cluster.create(SERVICES, virtual_service(destination("blue", 100), destination("green", 0)))
    await cluster.create(RULES, slots(blue="v1", green="v0"))
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


async def versions(cluster: Cluster) -> dict[str, str]:
    rule = await cluster.get(f"{RULES}/checkout")
    return {subset["name"]: subset["labels"]["version"] for subset in rule["spec"]["subsets"]}


async def weights(cluster: Cluster) -> dict[str, int]:
    obj = await cluster.get(f"{SERVICES}/checkout")
    return {one["destination"]["subset"]: one.get("weight", 0) for one in obj["spec"]["http"][0]["route"]}


async def test_versions_take_the_slots_by_turns_and_nothing_is_put_away(shop: Cluster, traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    assert await versions(shop) == {"blue": "v1", "green": "v2"}
    await order(traffic, 100, epoch=1)
    for version in ("v1", "v2"):
        await traffic.drop_destination(WHOM, version, await seen(traffic))
        await traffic.drop_subset(WHOM, version)
    assert await weights(shop) == {"blue": 0, "green": 100}
    assert await versions(shop) == {"blue": "v1", "green": "v2"}
    after = target(canary="v3", slots=WHOM.slots, release="next")
    mesh = await seen(traffic, after)
    assert (mesh.percent, mesh.stable, mesh.problem) == (0, "v2", None)
    after = target(canary="v3", stable="v2", slots=WHOM.slots, release="next")
    await traffic.add_subset(after, "v3")
    assert await versions(shop) == {"blue": "v3", "green": "v2"}
    await order(traffic, 10, epoch=2, whom=after)
    assert await weights(shop) == {"blue": 10, "green": 90}


async def test_a_version_that_has_a_slot_changes_nothing(shop: Cluster, traffic: IstioTraffic) -> None:
    await traffic.add_subset(WHOM, "v2")
    before = await shop.get(f"{RULES}/checkout")
    await traffic.add_subset(WHOM, "v2")
    assert await shop.get(f"{RULES}/checkout") == before


@pytest.mark.parametrize("place", ["sole route", "weight", "tcp", "mirror", "elsewhere"])
async def test_a_slot_to_which_anything_goes_is_not_taken(shop: Cluster, traffic: IstioTraffic, place: str) -> None:
    other = virtual_service(destination("blue"), name="other")
    route = other["spec"]["http"][0]
    match place:
        case "sole route":
            route["route"] = [destination("green", 0)]
        case "weight":
            route["route"].append(destination("green", 1))
        case "tcp":
            other["spec"]["tcp"] = [{"route": [destination("green")]}]
        case "mirror":
            route["mirror"] = destination("green")["destination"]
        case _:
            other["metadata"]["namespace"] = "ingress"
            route["route"] = [destination("green", host=FULL)]
    await shop.create(SERVICES.replace("/shop/", f"/{other['metadata']['namespace']}/"), other)
    with pytest.raises(Refused):
        await traffic.add_subset(WHOM, "v2")
    assert await versions(shop) == {"blue": "v1", "green": "v0"}


async def test_another_virtual_service_that_lists_the_slot_at_0_is_no_obstacle(
    shop: Cluster, traffic: IstioTraffic
) -> None:
    other = virtual_service(destination("blue", 100), destination("green", 0), name="other")
    await shop.create(SERVICES, other)
    await traffic.add_subset(WHOM, "v2")
    assert await versions(shop) == {"blue": "v1", "green": "v2"}


@pytest.fixture
def namespaced(server: KubernetesServer) -> None:
    """The next list of all VirtualServices of the cluster is refused, those of namespaces are not."""
    server.faults.add(verb="list", resource="virtualservices", status=403, times=1)


@pytest.mark.usefixtures("namespaced")
@pytest.mark.parametrize("legs", [WHOM.legs, (*WHOM.legs, Leg("ingress", "public"))])
async def test_no_slot_is_taken_where_it_cannot_be_seen_who_sends_to_it(
    shop: Cluster, traffic: IstioTraffic, legs: tuple[Leg, ...]
) -> None:
    edge = virtual_service(destination("green", host=FULL), name="public", namespace="ingress")
    await shop.create(SERVICES.replace("/shop/", "/ingress/"), edge)
    with pytest.raises(Refused):
        await traffic.add_subset(target(stable="v1", slots=WHOM.slots, legs=legs), "v2")
    assert await versions(shop) == {"blue": "v1", "green": "v0"}


@pytest.mark.usefixtures("namespaced")
async def test_no_slot_is_added_where_it_cannot_be_seen_who_sends_to_it(cluster: Cluster) -> None:
    await cluster.create(SERVICES, virtual_service(destination("green")))
    await cluster.create(RULES, slots(green="v1"))
    with pytest.raises(Refused):
        await IstioTraffic(cluster).add_subset(WHOM, "v2")
    assert await versions(cluster) == {"green": "v1"}


async def test_a_version_that_has_a_slot_needs_no_right_to_see_who_sends_to_it(
    shop: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    await traffic.add_subset(WHOM, "v2")
    server.faults.add(verb="list", resource="virtualservices", status=403)
    await traffic.add_subset(WHOM, "v2")
    assert await versions(shop) == {"blue": "v1", "green": "v2"}


@pytest.mark.usefixtures("namespaced")
async def test_stable_gets_its_spoilt_slot_back_whoever_else_sends_there(shop: Cluster, traffic: IstioTraffic) -> None:
    spoilt = [{"op": "replace", "path": f"/spec/subsets/{slot}/labels/version", "value": "v2"} for slot in (0, 1)]
    await shop.patch(f"{RULES}/checkout", spoilt)
    await shop.patch(
        f"{SERVICES}/checkout",
        [{"op": "replace", "path": f"/spec/http/0/route/{slot}/weight", "value": 100 * slot} for slot in (0, 1)],
    )
    await traffic.add_subset(WHOM, "v1")
    assert await versions(shop) == {"blue": "v1", "green": "v2"}


class HastyRival(Cluster):
    """A cluster on which somebody takes the slot while we look who uses it."""

    async def list(self, path: str, *, label_selector: str | None = None) -> list[JsonObject]:
        found = await super().list(path, label_selector=label_selector)
        taking = {"op": "replace", "path": "/spec/subsets/1/labels/version", "value": "v9"}
        await self.patch(f"{RULES}/checkout", [taking])
        return found


async def test_a_slot_taken_by_somebody_faster_is_a_conflict(shop: Cluster, tmp_path: Path) -> None:
    async with await HastyRival.connect(tmp_path / "kubeconfig") as cluster:
        with pytest.raises(Conflict):
            await IstioTraffic(cluster).add_subset(WHOM, "v2")
    assert await versions(shop) == {"blue": "v1", "green": "v9"}


async def test_a_missing_slot_is_added_under_its_name(cluster: Cluster) -> None:
    await cluster.create(SERVICES, virtual_service(destination("green")))
    await cluster.create(RULES, slots(green="v1"))
    traffic = IstioTraffic(cluster)
    await traffic.add_subset(WHOM, "v2")
    assert await versions(cluster) == {"green": "v1", "blue": "v2"}
    await order(traffic, 10, epoch=1)
    assert await weights(cluster) == {"green": 90, "blue": 10}


async def test_without_a_rule_there_are_no_slots(cluster: Cluster) -> None:
    await cluster.create(SERVICES, virtual_service(destination("green")))
    with pytest.raises(NotFound):
        await IstioTraffic(cluster).add_subset(WHOM, "v2")


async def test_a_rollback_finds_the_way_to_a_slot_that_was_taken_out_of_the_rule(
    shop: Cluster, traffic: IstioTraffic
) -> None:
    await traffic.add_subset(WHOM, "v2")
    await order(traffic, 30, epoch=1)
    await shop.patch(f"{RULES}/checkout", [{"op": "remove", "path": "/spec/subsets/0"}])
    mesh = await seen(traffic)
    assert (mesh.percent, mesh.stable) == (30, "v1")
    assert isinstance(mesh.problem, Problem)
    with pytest.raises(Refused):
        await order(traffic, 0, epoch=2)
    await traffic.add_subset(WHOM, "v1")
    assert await versions(shop) == {"green": "v2", "blue": "v1"}
    await order(traffic, 0, epoch=2)
    assert await weights(shop) == {"blue": 100, "green": 0}


@pytest.mark.parametrize(
    ("rule", "whom"),
    [
        (slots(blue="v1", green="v0") | {"spec": {"host": "cart", "subsets": []}}, WHOM),
        (slots(blue="v0", green="v0"), WHOM),
        (slots(blue="v1", green="v0"), target(slots=WHOM.slots)),
        (slots(), WHOM),
    ],
    ids=["another host", "stable in neither", "nobody knows who is stable", "no slot at all"],
)
def test_no_slot_is_taken_where_it_is_not_known_which_one_is_free(rule: JsonObject, whom: Target) -> None:
    assert isinstance(with_slot(rule, whom, "v2", {}), Problem)


@pytest.mark.parametrize("labels", [{"track": "green"}, {"version": "v0", "pod-template-hash": "abc"}, None])
def test_a_slot_that_selects_by_anything_else_is_not_taken(labels: JsonObject | None) -> None:
    rule = slots(blue="v1", green="v0")
    rule["spec"]["subsets"][1]["labels"] = labels
    assert isinstance(with_slot(rule, WHOM, "v2", {}), Problem)


def test_a_lost_slot_of_stable_is_given_back_to_it_before_all_goes_there() -> None:
    rule = slots(blue="v9", green="v2")
    operations = with_slot(rule, WHOM, "v1", {"blue": "the route", "green": "the route"})
    assert isinstance(operations, list)
    assert operations[-1] == {"op": "replace", "path": "/spec/subsets/0/labels/version", "value": "v1"}


def test_a_version_label_with_a_slash_is_a_path_of_one_step() -> None:
    whom = target(stable="v1", slots=WHOM.slots, version_label="app.kubernetes.io/version")
    rule = slots()
    rule["spec"]["subsets"] = [
        {"name": name, "labels": {whom.version_label: version}} for name, version in (("blue", "v1"), ("green", "v0"))
    ]
    operations = with_slot(rule | {"metadata": {"resourceVersion": "7"}}, whom, "v2", {})
    assert isinstance(operations, list)
    after = patched(rule | {"metadata": {"resourceVersion": "7"}}, operations)
    assert after["spec"]["subsets"][1]["labels"] == {whom.version_label: "v2"}
