"""The real Prometheus of this test session, and the adapter that asks it."""

from collections.abc import AsyncIterator

import pytest

from rollout.adapters.prometheus import PrometheusMetrics
from tests.adapters.prometheus.real import RealPrometheus, shared


@pytest.fixture
def real(request: pytest.FixtureRequest) -> RealPrometheus:
    return shared(request.config)


@pytest.fixture
async def metrics(real: RealPrometheus) -> AsyncIterator[PrometheusMetrics]:
    adapter = PrometheusMetrics(real.url)
    yield adapter
    await adapter.close()
