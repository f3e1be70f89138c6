"""Everything that the controller's own code writes to the mesh is admitted by the policies that limit it."""

import copy
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from rollout.adapters.cluster import Cluster as Api
from rollout.adapters.istio import IstioTraffic
from rollout.core.route import Leg, Mesh, Route, Target
from rollout.ports import Refused
from tests.adapters.istio.shapes import REVERSIBLE, STEPPABLE, JsonObject, Shape, target
from tests.deploy.cluster import CONTROLLER, Cluster, create

# Not the one that no server takes: an annotation's key that is none, fields of tomorrow.
POSSIBLE = [shape for shape in STEPPABLE if shape.name != "everything-istio-has-and-more"]


@pytest.fixture
async def traffic(policies: None, cluster_wide: Cluster, tmp_path: Path) -> AsyncIterator[IstioTraffic]:
    """The adapter, connected as the controller's ServiceAccount."""
    del policies
    kubeconfig = tmp_path / "kubeconfig"
    cluster_wide.plane.write_kubeconfig(kubeconfig, "rollout", await cluster_wide.token())
    api = await Api.connect(kubeconfig)
    yield IstioTraffic(api)
    await api.close()


@pytest.fixture
def refusals(cluster: Cluster) -> "Refusals":
    return Refusals(cluster)


class Refusals:
    """What the API server refused the controller since this was made, as paths."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._before = len(self._all())

    def _all(self) -> list[str]:
        entries = self._cluster.plane.audit()
        return [one.request_uri for one in entries if one.user == CONTROLLER and one.code in {403, 422}]

    @property
    def new(self) -> list[str]:
        return self._all()[self._before :]


@pytest.fixture
async def shape(request: pytest.FixtureRequest, admin: httpx2.AsyncClient) -> AsyncIterator[Shape]:
    """A golden shape, its objects made in the cluster."""
    found: Shape = request.param
    paths = [await _made_service(admin, name) for name in found.expected.get("services", ())]
    for plural, obj in (("virtualservices", found.virtual_service), ("destinationrules", found.rule)):
        if obj is not None:
            paths.append(await _made(admin, plural, obj))
    yield found
    for path in paths:
        assert (await admin.delete(path)).is_success


async def _made_service(admin: httpx2.AsyncClient, name: str) -> str:
    path = "/api/v1/namespaces/shop/services"
    await create(admin, path, {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
    return f"{path}/{name}"


async def _made(admin: httpx2.AsyncClient, plural: str, obj: JsonObject) -> str:
    new = copy.deepcopy(obj)
    new["metadata"].pop("resourceVersion")
    namespace = obj["metadata"]["namespace"]
    made = await admin.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
    assert made.status_code in {201, 409}, made.text
    path = f"/apis/{obj['apiVersion']}/namespaces/{namespace}/{plural}"
    answer = await admin.post(path, json=new)
    assert answer.status_code == 201, answer.text
    return f"{path}/{new['metadata']['name']}"


async def _seen(traffic: IstioTraffic, target: Target) -> Mesh:
    mesh = await traffic.observe(target)
    assert isinstance(mesh, Mesh), mesh
    return mesh


async def _order(traffic: IstioTraffic, target: Target, percent: int, epoch: int) -> Mesh:
    await traffic.set_route(target, Route(percent=percent, epoch=epoch), await _seen(traffic, target))
    seen = await _seen(traffic, target)
    assert (seen.percent, seen.epoch) == (percent, epoch)
    return seen


async def _put_away(traffic: IstioTraffic, target: Target, version: str) -> None:
    await traffic.drop_destination(target, version, await _seen(traffic, target))
    try:
        await traffic.drop_subset(target, version)
    except Refused:
        # By the adapter itself, of a subset that is named elsewhere or not ours; the API server refused nothing.
        return


def _names(shapes: list[Shape]) -> list[str]:
    return [one.name for one in shapes]


@pytest.mark.parametrize("promoted", [True, False], ids=["promoted", "rolled back"])
@pytest.mark.parametrize("shape", POSSIBLE, ids=_names(POSSIBLE), indirect=True)
async def test_a_whole_release_is_admitted_on_every_shape(
    shape: Shape, promoted: bool, traffic: IstioTraffic, refusals: Refusals
) -> None:
    first = await _seen(traffic, shape.target)
    target = replace(shape.target, stable=shape.target.stable or first.stable)
    assert target.stable is not None
    epoch = first.epoch + 1
    await _order(traffic, target, first.percent, epoch)
    await traffic.add_subset(target, target.canary)
    for percent in (10, 50, 100):
        seen = await _order(traffic, target, percent, epoch)
        assert seen.problem is None
    if promoted:
        await _put_away(traffic, target, target.stable)
    else:
        await _order(traffic, target, 0, epoch + 1)
        await _put_away(traffic, target, target.canary)
    assert not refusals.new


@pytest.mark.parametrize("shape", REVERSIBLE, ids=_names(REVERSIBLE), indirect=True)
async def test_a_rollback_is_admitted_on_every_shape_that_names_the_canary(
    shape: Shape, traffic: IstioTraffic, refusals: Refusals
) -> None:
    first = await _seen(traffic, shape.target)
    await _order(traffic, shape.target, 0, first.epoch + 1)
    assert not refusals.new


def _service(name: str, http: list[JsonObject]) -> JsonObject:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"},
        "spec": {"hosts": ["checkout"], "http": http},
    }


async def _through_a_release(traffic: IstioTraffic, target: Target) -> None:
    await _order(traffic, target, 0, 1)
    await traffic.add_subset(target, target.canary)
    for percent in (10, 100):
        await _order(traffic, target, percent, 1)
    await _order(traffic, target, 0, 2)
    await _put_away(traffic, target, target.canary)


async def test_a_release_over_two_fixed_subsets_is_admitted(
    admin: httpx2.AsyncClient, traffic: IstioTraffic, refusals: Refusals
) -> None:
    both = [{"name": "blue", "labels": {"version": "v1"}}, {"name": "green", "labels": {"version": "v0"}}]
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "slots", "namespace": "shop", "resourceVersion": "1"},
        "spec": {"host": "checkout", "subsets": both},
    }
    service = _service("slots", [{"route": [{"destination": {"host": "checkout", "subset": "blue"}}]}])
    for plural, obj in (("virtualservices", service), ("destinationrules", rule)):
        await _made(admin, plural, obj)
    one = Leg("shop", "slots")
    await _through_a_release(
        traffic, target(stable="v1", legs=(one,), destination_rule="slots", slots=("blue", "green"))
    )
    assert not refusals.new


async def test_a_release_over_a_service_for_each_version_in_two_virtual_services_is_admitted(
    admin: httpx2.AsyncClient, traffic: IstioTraffic, refusals: Refusals
) -> None:
    for version in ("v1", "v2"):
        await _made_service(admin, f"twin-{version}")
    hosts = {"inside": "twin-v1", "outside": "twin-v1.shop.svc.cluster.local"}
    for name, host in hosts.items():
        await _made(admin, "virtualservices", _service(name, [{"route": [{"destination": {"host": host}}]}]))
    legs = tuple(Leg("shop", name) for name in hosts)
    await _through_a_release(traffic, target(stable="v1", legs=legs, host="twin-{version}"))
    assert not refusals.new
