"""A gatekeeper in front of a receiver and of both API servers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.outbound.receiver import Receiver, receiving
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 11, 21, 12, tzinfo=UTC))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    server = KubernetesServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def cluster(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A connection to the embedded server, with a namespace `shop`."""
    path = tmp_path / "kubeconfig"
    server.write_kubeconfig(path)
    async with await Cluster.connect(path, seconds=2) as cluster:
        await cluster.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
        yield cluster
