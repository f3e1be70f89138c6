"""What a watch told a moment ago will do for a look that most likely changes nothing, and for nothing else."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.istio import IstioTraffic
from rollout.adapters.mirror import Mirror
from rollout.core.route import Gone, Mesh, Route, Unavailable
from rollout.ports import Conflict
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.istio.objects import RULES, SERVICES, destination, destination_rule, virtual_service
from tests.adapters.istio.shapes import target

WHOM = target(stable="v1")


@pytest.fixture
async def traffic(cluster: Cluster) -> AsyncIterator[IstioTraffic]:
    await cluster.create(SERVICES, virtual_service(destination("v1")))
    await cluster.create(RULES, destination_rule("v1", "v2"))
    async with Mirror(cluster) as mirror:
        yield IstioTraffic(cluster, mirror)


async def remembered(traffic: IstioTraffic, server: KubernetesServer) -> Mesh:
    """Once the watches have told: no request reads the objects any more."""
    async with asyncio.timeout(10):
        while True:
            mesh = await traffic.observe(WHOM, remembered=True)
            assert isinstance(mesh, Mesh), mesh
            server.faults.add(verb="get", resource="virtualservices", status=503)
            server.faults.add(verb="get", resource="destinationrules", status=503)
            told = await traffic.observe(WHOM, remembered=True)
            server.faults.clear()
            if isinstance(told, Mesh):
                return told
            await asyncio.sleep(0.02)


async def test_a_remembered_look_says_what_a_direct_one_says(server: KubernetesServer, traffic: IstioTraffic) -> None:
    assert await remembered(traffic, server) == await traffic.observe(WHOM)


async def test_only_a_remembered_look_survives_that_nothing_can_be_read(
    server: KubernetesServer, traffic: IstioTraffic
) -> None:
    mesh = await remembered(traffic, server)
    server.faults.add(verb="get", resource="virtualservices", status=503)
    assert await traffic.observe(WHOM, remembered=True) == mesh
    assert isinstance(await traffic.observe(WHOM), Unavailable)


async def test_an_order_is_never_given_on_what_was_only_remembered(
    cluster: Cluster, server: KubernetesServer, traffic: IstioTraffic
) -> None:
    stale = await remembered(traffic, server)
    await cluster.merge(f"{SERVICES}/checkout", {"metadata": {"labels": {"touched": "yes"}}})
    with pytest.raises(Conflict):
        await traffic.set_route(WHOM, Route(percent=10, epoch=1), stale)


async def test_an_object_of_which_the_watch_never_told_is_gone(server: KubernetesServer, traffic: IstioTraffic) -> None:
    await remembered(traffic, server)
    absent = target(stable="v1", virtual_service="nowhere")
    assert isinstance(await traffic.observe(absent, remembered=True), Gone)
