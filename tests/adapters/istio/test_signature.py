"""Who ordered last, where a name is one in its namespace only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters.cluster import Cluster
from rollout.adapters.istio import IstioTraffic
from rollout.adapters.signature import EPOCH, RELEASE, author_of, order_of, signature
from rollout.core.route import Leg, Mesh, Route, Target
from rollout.ports import Conflict
from tests.adapters.istio.objects import SERVICES, destination_rule, virtual_service
from tests.adapters.istio.shapes import JsonObject, target

HOME, EDGE = Leg("shop", "checkout"), Leg("edge", "public")
names = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", fullmatch=True)
namespaces = st.sampled_from(["shop", "edge", "pay"])


def test_a_release_signs_by_its_name_at_home_and_with_its_namespace_elsewhere() -> None:
    whom = target(release="v2")
    assert signature(whom, HOME) == "v2"
    assert signature(whom, EDGE) == "shop/v2"


@pytest.mark.parametrize(
    ("written", "leg", "read"),
    [
        ("v2", HOME, "v2"),
        ("shop/v2", HOME, "v2"),
        ("pay/v2", HOME, "pay/v2"),
        ("v2", EDGE, "edge/v2"),
        ("shop/v2", EDGE, "v2"),
        ("pay/v2", EDGE, "pay/v2"),
        ("", EDGE, ""),
        ("shop/", EDGE, "shop/"),
        ("/v2", HOME, "/v2"),
        ("shop/v2/x", EDGE, "v2/x"),
    ],
)
def test_a_name_is_bare_only_for_releases_of_our_own_namespace(written: str, leg: Leg, read: str) -> None:
    assert author_of(written, target(), leg) == read


@given(names, names, namespaces, namespaces, namespaces)
def test_two_releases_read_the_same_name_only_where_they_are_the_same(
    one: str, other: str, first: str, second: str, place: str
) -> None:
    leg = Leg(place, "public")
    ours, theirs = target(namespace=first, release=one), target(namespace=second, release=other)
    assert author_of(signature(ours, leg), ours, leg) == one
    assert (author_of(signature(theirs, leg), ours, leg) == one) == ((first, one) == (second, other))


@pytest.mark.parametrize("value", [None, 7, ["shop/v2"], {}])
def test_what_is_no_name_is_nobodys(value: object) -> None:
    assert order_of({"metadata": {"annotations": {EPOCH: "3", RELEASE: value}}}, target(), EDGE) == (3, "")


def _route(service: str, namespace: str) -> JsonObject:
    host = f"{service}.{namespace}.svc.cluster.local"
    return {"name": service, "route": [{"destination": {"host": host, "subset": "v1"}, "weight": 100}]}


def _whom(service: str, namespace: str) -> Target:
    return target(
        namespace=namespace,
        service=service,
        legs=(Leg("ingress", "public", service),),
        destination_rule=service,
        stable="v1",
        release="v2",
    )


@pytest.fixture
async def traffic(cluster: Cluster) -> IstioTraffic:
    """Services of two namespaces behind one gateway; both release under the name `v2`."""
    await cluster.create("/api/v1/namespaces", {"metadata": {"name": "pay"}})
    for service, namespace in (("checkout", "shop"), ("ledger", "pay")):
        rule = destination_rule("v1", "v2", name=service)
        rule["metadata"]["namespace"] = namespace
        rule["spec"]["host"] = service
        await cluster.create(f"/apis/networking.istio.io/v1/namespaces/{namespace}/destinationrules", rule)
    edge = virtual_service(name="public", namespace="ingress")
    edge["spec"]["http"] = [
        {"match": [{"uri": {"prefix": "/c"}}], **_route("checkout", "shop")},
        _route("ledger", "pay"),
    ]
    await cluster.create(SERVICES.replace("/shop/", "/ingress/"), edge)
    return IstioTraffic(cluster)


async def test_two_releases_of_one_name_behind_one_gateway_are_told_apart(traffic: IstioTraffic) -> None:
    ours, theirs = _whom("checkout", "shop"), _whom("ledger", "pay")
    mesh = await traffic.observe(ours)
    assert isinstance(mesh, Mesh)
    await traffic.set_route(ours, Route(percent=30, epoch=5), mesh)
    mesh = await traffic.observe(theirs)
    assert isinstance(mesh, Mesh)
    assert (mesh.percent, mesh.release) == (0, "shop/v2")
    with pytest.raises(Conflict):
        await traffic.set_route(theirs, Route(percent=0, epoch=5), mesh)
    with pytest.raises(Conflict):
        await traffic.drop_destination(theirs, "v2", mesh)
    now = await traffic.observe(ours)
    assert isinstance(now, Mesh)
    assert (now.percent, now.epoch, now.release, now.problem) == (30, 5, "v2", None)
