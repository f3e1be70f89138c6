"""Freeze objects on strange servers: spoilt ones, a kind that is not installed, rights that are missing, a memory."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.freezes import ClusterFreezes, read_freeze
from rollout.adapters.mirror import Mirror
from rollout.core.freeze import FreezeSpec, in_force
from rollout.core.quantities import parse_duration
from rollout.core.release import API_VERSION
from rollout.core.route import Unavailable
from rollout.ports import Conflict, Outage, Refused
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.kubernetes.conftest import Strange, answer, write_kubeconfig
from tests.contract.release_stages import NOON

_FAR = NOON + parse_duration("10000d")


@pytest.fixture
async def homed(cluster: Cluster) -> ClusterFreezes:
    await cluster.create("/api/v1/namespaces", {"metadata": {"name": "rollout"}})
    return ClusterFreezes(cluster, "rollout")


# what cannot be read


@pytest.mark.parametrize(
    "spec",
    [None, {}, "text", 7, ["x"], {"until": "soon"}, {"service": "Not A Name"}, {"surprise": 1}, {"until": 5}],
)
@pytest.mark.parametrize("namespace", ["shop", "rollout"])
def test_a_freeze_that_cannot_be_read_freezes_its_namespace_for_ever(spec: Any, namespace: str) -> None:
    freeze = read_freeze({"metadata": {"namespace": namespace, "name": "odd"}, "spec": spec}, "rollout")
    assert freeze.scope == namespace
    assert in_force([freeze], _FAR) == freeze


@pytest.mark.parametrize(("namespace", "scope"), [("rollout", "all"), ("shop", "shop")])
def test_one_that_means_everything_and_cannot_be_read_means_it_at_home_only(namespace: str, scope: str) -> None:
    spec = {"everywhere": True, "until": "soon"}
    freeze = read_freeze({"metadata": {"namespace": namespace, "name": "odd"}, "spec": spec}, "rollout")
    assert freeze.scope == scope
    assert in_force([freeze], _FAR) == freeze


def test_one_of_a_service_that_also_says_everywhere_freezes_all_of_its_namespace() -> None:
    spec = {"everywhere": True, "service": "cart"}
    freeze = read_freeze({"metadata": {"namespace": "shop", "name": "odd"}, "spec": spec}, "rollout")
    assert freeze.scope == "shop"


# rights and kinds


def _denied(path: str) -> str:
    return json.dumps({"kind": "Status", "code": 403, "message": f"{path} is forbidden", "details": {}})


async def test_a_cluster_without_the_kind_has_no_freezes_and_is_not_asked_all_the_time(
    strange: Strange, tmp_path: Path
) -> None:
    asked: Counter[str] = Counter()

    async def without(head: str, writer: asyncio.StreamWriter) -> None:
        path = head.split(" ")[1].partition("?")[0]
        asked[path] += 1
        served = {"kind": "APIResourceList", "resources": [{"name": "releases"}]}
        known = path == f"/apis/{API_VERSION}"
        writer.write(answer(json.dumps(served)) if known else answer("404 page not found", 404, "text/plain"))

    async with strange(without) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        freezes = ClusterFreezes(cluster, "rollout")
        assert await freezes.of("shop", "checkout") == ()
        assert await freezes.list("shop") == []
        before = asked.total()
        for _ in range(10):
            assert await freezes.of("shop", "checkout", remembered=True) == ()
        assert asked.total() == before
        with pytest.raises(Refused):
            await freezes.put("shop", FreezeSpec())


async def test_a_right_that_is_missing_keeps_everybody_where_they_are_and_is_named(
    server: KubernetesServer, homed: ClusterFreezes
) -> None:
    server.faults.add(verb="list", resource="freezes", status=403)
    found = await homed.of("shop", "checkout")
    assert isinstance(found, Unavailable)
    for word in ("list", "freezes", "rollout.dev", "namespace shop"):
        assert word in found.message
    with pytest.raises(Refused):
        await homed.list("shop")


async def test_a_server_that_cannot_answer_now_keeps_everybody_where_they_are(
    server: KubernetesServer, homed: ClusterFreezes
) -> None:
    server.faults.add(verb="list", resource="freezes", status=503, times=1)
    assert isinstance(await homed.of("shop", "checkout"), Unavailable)
    assert await homed.of("shop", "checkout") == ()


async def test_discovery_that_makes_no_sense_is_no_proof_that_nothing_is_frozen(
    strange: Strange, tmp_path: Path
) -> None:
    async def senseless(head: str, writer: asyncio.StreamWriter) -> None:
        known = head.split(" ")[1] == f"/apis/{API_VERSION}"
        writer.write(answer("{}") if known else answer(_denied("freezes"), 403))

    async with strange(senseless) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        freezes = ClusterFreezes(cluster, "rollout")
        assert isinstance(await freezes.of("shop", "checkout"), Unavailable)
        with pytest.raises(Outage):
            await freezes.list("shop")


@pytest.mark.parametrize("name", ["..", "a/b", "A", "", "shop?watch=true"])
async def test_what_is_no_name_of_a_namespace_has_no_freezes_and_gets_none(homed: ClusterFreezes, name: str) -> None:
    assert await homed.of(name, "checkout") == ()
    assert await homed.list(name) == []
    with pytest.raises(Refused):
        await homed.put(name, FreezeSpec())
    with pytest.raises(Refused):
        await homed.remove(name, None)


# replacing


async def test_a_replaced_freeze_keeps_what_others_wrote_on_it(cluster: Cluster, homed: ClusterFreezes) -> None:
    path = f"/apis/{API_VERSION}/namespaces/shop/freezes"
    await homed.put("shop", FreezeSpec(reason="first"))
    await cluster.merge(f"{path}/namespace", {"metadata": {"labels": {"team": "shop"}}})
    await homed.put("shop", FreezeSpec(reason="second"))
    stored = await cluster.get(f"{path}/namespace")
    assert stored["metadata"]["labels"] == {"team": "shop"}
    assert stored["spec"] == {"reason": "second", "by": ""}


async def test_a_freeze_that_others_keep_changing_is_set_in_the_end(
    server: KubernetesServer, homed: ClusterFreezes
) -> None:
    await homed.put("shop", FreezeSpec(reason="first"))
    server.faults.add(verb="update", resource="freezes", status=409, times=3)
    assert (await homed.put("shop", FreezeSpec(reason="second"))).spec.reason == "second"


async def test_a_freeze_that_others_never_stop_changing_is_given_up(
    server: KubernetesServer, homed: ClusterFreezes
) -> None:
    first = await homed.put("shop", FreezeSpec(reason="first"))
    server.faults.add(verb="update", resource="freezes", status=409)
    with pytest.raises(Conflict):
        await homed.put("shop", FreezeSpec(reason="second"))
    assert await homed.list("shop") == [first]


# remembering


async def test_what_a_watch_told_costs_nothing_and_is_up_to_date(
    server: KubernetesServer, homed: ClusterFreezes
) -> None:
    cluster = homed._cluster
    async with Mirror(cluster) as mirror:
        freezes = ClusterFreezes(cluster, "rollout", mirror)

        async def until(scopes: set[str]) -> None:
            async with asyncio.timeout(5):
                while True:
                    found = await freezes.of("shop", "checkout", remembered=True)
                    if not isinstance(found, Unavailable) and {one.scope for one in found} == scopes:
                        return
                    await asyncio.sleep(0.01)

        await homed.put("shop", FreezeSpec())
        await until({"shop"})
        await homed.put(None, FreezeSpec(everywhere=True))
        await until({"shop", "all"})
        # From here on no list is answered: what is known must do.
        server.faults.add(verb="list", resource="freezes", status=503)
        assert isinstance(await freezes.of("shop", "checkout"), Unavailable)
        await homed._cluster.delete(f"/apis/{API_VERSION}/namespaces/shop/freezes/namespace")
        await until({"all"})


async def test_who_sets_or_lifts_a_freeze_sees_it_at_once(homed: ClusterFreezes) -> None:
    async with Mirror(homed._cluster) as mirror:
        freezes = ClusterFreezes(homed._cluster, "rollout", mirror)
        assert await freezes.of("shop", "checkout", remembered=True) == ()
        for _ in range(20):
            freeze = await freezes.put("shop", FreezeSpec())
            assert await freezes.of("shop", "checkout", remembered=True) == (freeze,)
            assert await freezes.remove("shop", None)
            assert await freezes.of("shop", "checkout", remembered=True) == ()
