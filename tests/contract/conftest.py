"""The world of the Metrics contract, once around the fake, once around the real Prometheus."""

from collections.abc import AsyncIterator

import pytest

from rollout.adapters.prometheus import PrometheusMetrics
from tests.adapters.prometheus.real import shared
from tests.contract.metrics_world import FakeWorld, RealWorld, World


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.prometheus)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fake":
        made: World = FakeWorld()
        await made.scrape()
        yield made
        return
    real = shared(request.config)
    adapter = PrometheusMetrics(real.url)
    yield RealWorld(real, adapter)
    for proxy in real.proxies.values():
        proxy.reachable = True
    await adapter.close()
