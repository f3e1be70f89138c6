"""The whole sandbox: what its parts say about the same traffic, and how fast they follow orders."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from rollout.sandbox import shop
from rollout.sandbox.load_client import Counts
from rollout.sandbox.prometheus import PrometheusMissingError, find_prometheus
from rollout.sandbox.world import World

pytestmark = [pytest.mark.envoy, pytest.mark.prometheus, pytest.mark.asyncio(loop_scope="module")]

WEIGHTS = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/checkout"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with World(tmp_path_factory.mktemp("world"), rate=400) as world:
        await world.apply(shop.deployment("checkout", "v2", errors="0%", slow="0%"))
        await world.apply(shop.destination_rule(versions=("v1", "v2", "v3")))
        yield world


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def healthy(world: World) -> None:
    await world.load.pause()
    await world.set_knobs("checkout", "v2", errors="0%", slow="0%", latency="0ms", ready=True)
    await world.set_knobs("checkout", "v1", errors="0%", slow="0%", latency="0ms", ready=True)
    await world.traffic_split({"v1": 100})
    await eventually(lambda: serves(world, "v1"))


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.005)


async def get(world: World, path: str = "/") -> httpx2.Response:
    """A request that the load generator does not know of; none of them while `traffic` counts."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.get(world.envoy_url + path, headers={"host": shop.HOST})


async def serves(world: World, version: str) -> bool:
    return bool((await get(world)).headers.get("x-version") == version)


async def traffic(world: World, requests: int = 400) -> tuple[Counter[tuple[str, int]], Counter[tuple[str, int]]]:
    """Let the load generator send at least so many: what it counted, and what Prometheus counted."""
    before, measured = await settled(world)
    await world.load.resume()

    async def enough() -> bool:
        return (await world.counts()).answered >= sum(before.values()) + requests

    await eventually(enough, 30)
    after, measured_after = await settled(world)
    return after - before, measured_after - measured


async def settled(world: World) -> tuple[Counter[tuple[str, int]], Counter[tuple[str, int]]]:
    counts = await world.settled()
    assert counts.lost == counts.in_flight == 0
    return Counter(counts.answers), Counter(await world.measured())


async def test_the_world_is_ready_with_load_and_samples(world: World) -> None:
    counts = await world.counts()
    assert counts.of("v1") > 0
    assert (await world.measured())["v1", 200] > 0
    assert world.policies.is_dir()
    assert list(world.policies.iterdir()) == []
    assert await world.envoy.rejected() == 0


async def test_prometheus_counts_what_the_users_counted_with_a_split(world: World) -> None:
    await world.traffic_split({"v1": 70, "v2": 30})
    await eventually(lambda: serves(world, "v2"))
    sent, measured = await traffic(world)
    assert sent == measured
    assert sent.keys() == {("v1", 200), ("v2", 200)}


async def test_prometheus_counts_what_the_users_counted_with_errors(world: World) -> None:
    await world.set_knobs("checkout", "v2", errors="25%")
    await world.traffic_split({"v1": 70, "v2": 30})
    await eventually(lambda: serves(world, "v2"))
    sent, measured = await traffic(world)
    assert sent == measured
    assert sent["v2", 500] > 0
    errors = sent["v2", 500] / (sent["v2", 200] + sent["v2", 500])
    assert errors == pytest.approx(0.25, abs=0.01)


async def test_prometheus_counts_what_the_users_counted_without_endpoints(world: World) -> None:
    await world.traffic_split({"v1": 70, "v3": 30})
    await eventually(lambda: fails(world))
    sent, measured = await traffic(world)
    assert sent == measured
    assert sent["unknown", 503] > 0
    flags = await world.prometheus.query('sum by (response_flags) (istio_requests_total{response_code="503"})')
    assert [sample["metric"]["response_flags"] for sample in flags] == ["UH"]


async def test_prometheus_counts_what_the_users_counted_for_an_undeclared_subset(world: World) -> None:
    await world.traffic_split({"v1": 70, "v9": 30})
    await eventually(lambda: fails(world))
    sent, measured = await traffic(world)
    assert sent == measured
    assert sent["unknown", 503] > 0


async def fails(world: World) -> bool:
    return bool((await get(world)).status_code == 503)


async def test_latency_buckets_count_every_slow_answer(world: World) -> None:
    bucket = 'sum(istio_request_duration_milliseconds_bucket{destination_version="v2",le="%s"})'

    async def slower_than_50() -> float:
        every, fast = [await world.prometheus.query(bucket % le) for le in ("+Inf", "50")]
        return float(every[0]["value"][1]) - float(fast[0]["value"][1])

    await world.traffic_split({"v1": 50, "v2": 50})
    await traffic(world, 50)
    before = await slower_than_50(), (await world.counts()).of("v2")
    await world.set_knobs("checkout", "v2", slow="20%")
    await traffic(world)
    requests = (await world.counts()).of("v2") - before[1]
    # Exactly a fifth is slow; a busy machine may add a few.
    assert 0.19 < (await slower_than_50() - before[0]) / requests < 0.3


async def test_labels_are_those_of_istio(world: World) -> None:
    await traffic(world, 100)
    (sample,) = await world.prometheus.query('istio_requests_total{destination_version="v1",response_code="200"}')
    expected = {
        "reporter": "source",
        "destination_workload": "checkout-v1",
        "destination_workload_namespace": "shop",
        "destination_canonical_service": "checkout",
        "destination_canonical_revision": "v1",
        "destination_service": "checkout.shop.svc.cluster.local",
        "destination_service_name": "checkout",
        "destination_service_namespace": "shop",
        "destination_app": "checkout",
        "response_flags": "-",
        "request_protocol": "http",
        "job": "kubernetes-pods",
    }
    assert {name: sample["metric"].get(name) for name in expected} == expected


async def test_weights_reach_envoy_within_50_ms(world: World) -> None:
    await world.traffic_split({"v1": 100, "v2": 0})
    times = []
    async with httpx2.AsyncClient(base_url=world.envoy_url, headers={"host": shop.HOST}, trust_env=False) as client:
        for turn in range(10):
            to_v1, wanted = (100, "v1") if turn % 2 else (0, "v2")
            values = enumerate((to_v1, 100 - to_v1))
            operations: list[dict[str, Any]] = [
                {"op": "replace", "path": f"/spec/http/0/route/{index}/weight", "value": value}
                for index, value in values
            ]
            ordered = time.perf_counter()
            await world.cluster.patch(WEIGHTS, operations)
            times.append(await _first(client, wanted) - ordered)
    assert statistics.median(times) < 0.05


async def _first(client: httpx2.AsyncClient, version: str) -> float:
    """When the first request that a version answered was sent."""
    async with asyncio.timeout(5):
        while True:
            sent = time.perf_counter()
            if (await client.get("/")).headers.get("x-version") == version:
                return sent


async def test_a_knob_is_felt_within_100_ms(world: World) -> None:
    times = []
    for turn in range(6):
        turned = time.perf_counter()
        await world.set_knobs("checkout", "v1", errors="0%" if turn % 2 else "100%")
        code = 200 if turn % 2 else 500
        async with asyncio.timeout(5):
            while (await get(world)).status_code != code:
                pass
        times.append(time.perf_counter() - turned)
    assert statistics.median(times) < 0.1


async def test_latency_is_added_to_every_answer(world: World) -> None:
    await world.set_knobs("checkout", "v1", latency="+150ms")

    async def late() -> bool:
        sent = time.perf_counter()
        await get(world)
        return time.perf_counter() - sent > 0.15

    await eventually(late)


async def status(world: World, version: str) -> dict[str, Any]:
    obj = await world.cluster.get("apps/v1", "Deployment", f"checkout-{version}", "shop")
    found: dict[str, Any] = obj.get("status") or {}
    return {**found, "current": found.get("observedGeneration") == obj["metadata"]["generation"]}


async def test_an_unready_version_says_so_and_gets_nothing(world: World) -> None:
    await world.apply(shop.deployment("checkout", "v4", ready="no"))

    async def unready() -> bool:
        found = await status(world, "v4")
        return bool(found["current"]) and found.get("unavailableReplicas") == 2

    await eventually(unready)
    assert "readyReplicas" not in await status(world, "v4")
    assert "checkout-v4" not in {endpoint.workload for endpoint in world.node.endpoints}
    await world.set_knobs("checkout", "v4", ready="yes")

    async def ready() -> bool:
        found = await status(world, "v4")
        return bool(found["current"]) and found.get("readyReplicas") == 2

    await eventually(ready)
    assert "checkout-v4" in {endpoint.workload for endpoint in world.node.endpoints}


async def test_a_version_comes_takes_all_traffic_and_goes_without_a_lost_request(world: World) -> None:
    before = await world.load.pause()
    await world.load.resume()
    await world.apply(shop.deployment("checkout", "v5"))
    await world.apply(shop.destination_rule(versions=("v1", "v2", "v3", "v5")))
    await world.until(lambda: "checkout-v5" in {endpoint.workload for endpoint in world.node.endpoints})
    for share in (10, 50, 90, 0):
        await world.traffic_split({"v1": 100 - share, "v5": share})
        await more_traffic(world, 100)
    await world.traffic_split({"v1": 100})
    await world.apply(shop.destination_rule(versions=("v1", "v2", "v3")))
    await world.cluster.merge(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "checkout-v5", "namespace": "shop"},
            "spec": {"replicas": 0},
        }
    )
    await world.until(lambda: "checkout-v5" not in {endpoint.workload for endpoint in world.node.endpoints})
    await more_traffic(world, 100)
    after = await world.load.pause()
    changed = Counter(after.answers) - Counter(before.answers)
    assert changed.keys() == {("v1", 200), ("v5", 200)}
    assert after.lost == 0


async def more_traffic(world: World, requests: int) -> Counts:
    goal = (await world.counts()).answered + requests

    async def enough() -> bool:
        return (await world.counts()).answered >= goal

    await eventually(enough, 10)
    return await world.counts()


async def test_an_object_that_makes_no_sense_leaves_the_routes_as_they_were(world: World) -> None:
    await world.apply({**shop.virtual_service("broken"), "spec": {"hosts": ["broken"], "http": [{"route": [{}]}]}})
    await world.traffic_split({"v2": 100})
    assert await serves(world, "v1")
    await world.cluster.delete("networking.istio.io/v1", "VirtualService", "broken", "shop")
    await eventually(lambda: serves(world, "v2"))


async def test_the_first_error_of_a_version_has_a_time(world: World) -> None:
    turned = time.time()  # noqa: TID251 - the load generator tells wall clock time
    await world.set_knobs("checkout", "v2", errors="50%")
    await world.traffic_split({"v1": 50, "v2": 50})
    await world.load.resume()
    await more_traffic(world, 100)
    counts = await world.load.pause()
    seen = counts.versions["v2"]
    assert turned < seen.last_error <= seen.last
    assert seen.first_error <= seen.last_error
    assert counts.failed("v2") > 0
    assert counts.versions["v1"].first_error == 0


async def test_without_the_binary_the_world_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_PROMETHEUS", "/nowhere/prometheus")
    with pytest.raises(PrometheusMissingError, match="make prometheus"):
        find_prometheus()
