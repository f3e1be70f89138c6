"""A service whose policy names another team's VirtualService: it is never stepped, and never written to."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.istio import IstioTraffic
from rollout.core.policy import PolicySpec
from rollout.core.release import Release, ReleaseSpec
from rollout.core.route import Gone, Mesh, Route
from rollout.ports import Conflict, NotFound, Refused
from rollout.sandbox.kubernetes.server import KubernetesServer

ISTIO = "/apis/networking.istio.io/v1/namespaces/{}/{}"
FULL = "{}.pay.svc.cluster.local"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Team pay has a payment service, and a gateway that leads to it; team shop has checkout."""
    server = KubernetesServer()
    await server.start()
    try:
        path = tmp_path / "mesh"
        server.write_kubeconfig(path)
        async with await Cluster.connect(path) as cluster:
            for name in ("shop", "pay"):
                await cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
            await cluster.create(ISTIO.format("shop", "destinationrules"), _rule("shop", "checkout"))
            for name, host in (("payment", "payment"), ("checkout", "checkout"), ("front", FULL.format("payment"))):
                await cluster.create(ISTIO.format("pay", "virtualservices"), _service(name, host))
            await cluster.create(ISTIO.format("pay", "destinationrules"), _rule("pay", "payment"))
            yield cluster
    finally:
        await server.stop()


def _rule(namespace: str, host: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": host, "namespace": namespace},
        "spec": {"host": host, "subsets": [{"name": one, "labels": {"version": one}} for one in ("v1", "v2")]},
    }


def _service(name: str, host: str) -> dict[str, Any]:
    entries = [{"destination": {"host": host, "subset": one}, "weight": 50} for one in ("v1", "v2")]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "pay"},
        "spec": {"hosts": [name], "http": [{"name": "main", "route": entries}]},
    }


ROUTES: dict[str, dict[str, Any]] = {
    "their service's own": {"virtualServices": [{"namespace": "pay", "name": "payment"}]},
    "theirs by the name of its route": {"virtualServices": [{"namespace": "pay", "name": "payment", "route": "main"}]},
    "theirs of the same name as ours": {"virtualServices": [{"namespace": "pay", "name": "checkout"}]},
    "their gateway's": {"virtualServices": [{"namespace": "pay", "name": "front"}]},
    "theirs with a rule of that name": {
        "virtualServices": [{"namespace": "pay", "name": "payment"}],
        "destinationRule": "payment",
    },
}


@pytest.mark.parametrize("what", ROUTES)
async def test_a_policy_that_names(what: str, mesh: Cluster) -> None:
    policy = PolicySpec.model_validate({"route": ROUTES[what]})
    release = Release(namespace="shop", name="checkout-v2", spec=ReleaseSpec(service="checkout", version="v2"))
    target, traffic = release.target(policy), IstioTraffic(mesh)
    before = await mesh.list(ISTIO.format("pay", "virtualservices"))
    seen = await traffic.observe(target)
    if isinstance(seen, Mesh):
        assert seen.problem is not None
        with pytest.raises((Refused, Conflict, NotFound)):
            await traffic.set_route(target, Route(percent=100, epoch=1), seen)
    else:
        assert isinstance(seen, Gone)
    assert await mesh.list(ISTIO.format("pay", "virtualservices")) == before
