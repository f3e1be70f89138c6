"""What every Metrics port must say of saturation and custom checks, once on the fake, once on the real Prometheus."""

import pytest

from rollout.core.judging.gates import BREAKERS, MEMORY, PENDING, SIGNALS, THROTTLING, Reading
from tests.contract.metrics_world import ALONE, BROKEN, PROBE, World

ABOUT = 0.3
"""`increase()` extrapolates, and not every series alike."""


async def test_what_is_not_exported_is_not_measured(world: World) -> None:
    world.gateway.serve(world.service, "v2", 5)
    assert await world.readings(await world.scrape()) == dict.fromkeys(SIGNALS, Reading(None))


async def test_requests_that_a_full_pool_refused_are_a_share_of_all(world: World) -> None:
    world.gateway.connect(world.service, "v2.1", served=10_000, refused=10_000)
    world.gateway.connect(world.service, "v1", served=10_000, refused=10_000)
    world.sidecar.connect(world.service, "v2.1", served=10_000, refused=10_000)
    world.gateway.connect(f"{world.service}x", "v2.1", served=10_000)
    await world.scrape()
    world.gateway.connect(world.service, "v2.1", served=60, refused=10)
    world.sidecar.connect(world.service, "v2.1", served=30)
    world.gateway.connect(world.service, "v1", served=900)
    world.gateway.connect(f"{world.service}x", "v2.1", refused=100)
    reading = (await world.readings(await world.scrape()))[PENDING]
    assert reading.canary == pytest.approx(0.1, rel=ABOUT)
    assert reading.stable == 0


async def test_a_share_of_nothing_is_not_measured(world: World) -> None:
    world.gateway.connect(world.service, "v2.1", served=10)
    world.gateway.use(world.canary, periods=10)
    await world.scrape()
    readings = await world.readings(await world.scrape())
    assert (readings[PENDING], readings[THROTTLING]) == (Reading(None), Reading(None))
    assert readings[BREAKERS] == Reading(0.0)


async def test_one_open_circuit_breaker_is_seen_until_it_closes(world: World) -> None:
    world.gateway.connect(world.service, "v2.1")
    world.gateway.connect(world.service, "v1")
    world.sidecar.connect(world.service, "v2.1", is_open=True)
    assert (await world.readings(await world.scrape()))[BREAKERS] == Reading(1.0, 0.0)
    world.sidecar.connect(world.service, "v2.1", is_open=False)
    assert (await world.readings(await world.scrape()))[BREAKERS] == Reading(0.0, 0.0)


async def test_throttled_cpu_periods_are_those_of_the_versions_own_containers(world: World) -> None:
    def use(deployment: str, container: str, throttled: int) -> None:
        world.gateway.use(deployment, container, periods=100, throttled=throttled)

    for _ in range(2):
        use(world.canary, "app", 60)
        use(world.canary, "helper", 0)
        use(world.canary, "istio-proxy", 100)
        use(world.canary, "", 100)
        use(f"{world.canary}-old", "app", 100)
        use(world.stable, "app", 20)
        now = await world.scrape()
    reading = (await world.readings(now))[THROTTLING]
    assert reading.canary == pytest.approx(0.3, rel=ABOUT)
    assert reading.stable == pytest.approx(0.2, rel=ABOUT)


async def test_memory_is_that_of_the_fullest_container_with_a_limit(world: World) -> None:
    world.gateway.use(world.canary, "app", memory=75e6, limit=100e6)
    world.gateway.use(world.canary, "helper", memory=10e6, limit=100e6)
    world.gateway.use(world.canary, "unlimited", memory=900e6)
    world.gateway.use(world.canary, "istio-proxy", memory=99e6, limit=100e6)
    world.gateway.use(world.stable, "unlimited", memory=900e6)
    assert (await world.readings(await world.scrape()))[MEMORY] == Reading(0.75, None)


async def test_a_custom_check_is_asked_for_each_version_that_it_compares(world: World) -> None:
    now = await world.probe({"v2.1": 5.5, "v1": 2.0, "v2x1": 7.0})
    readings = await world.readings(now, PROBE, ALONE)
    assert readings["custom probe"] == Reading(5.5, 2.0)
    assert readings["custom alone"] == Reading(5.5, None)


async def test_a_custom_check_without_an_answer_is_not_measured(world: World) -> None:
    now = await world.probe({"v1": 2.0})
    assert (await world.readings(now, PROBE))["custom probe"] == Reading(None, 2.0)


async def test_a_custom_check_that_is_refused_troubles_no_other(world: World) -> None:
    now = await world.probe({"v2.1": 5.5})
    readings = await world.readings(now, BROKEN, ALONE)
    assert readings["custom broken"].trouble
    assert readings["custom broken"].canary is None
    assert readings["custom alone"] == Reading(5.5)
