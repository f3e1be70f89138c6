"""The servers the contract suite runs against: the sandbox's own one, and a real kube-apiserver."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.contract.kubernetes.client import Api, connect

_numbers = itertools.count(1)


@pytest.fixture
async def embedded() -> AsyncIterator[KubernetesServer]:
    server = KubernetesServer()
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def _namespace(http: httpx2.AsyncClient, server: KubernetesServer | ControlPlane) -> AsyncIterator[Api]:
    def write_kubeconfig(path: Path) -> None:
        server.write_kubeconfig(path, "default")

    api = Api(http, f"contract-{next(_numbers)}", write_kubeconfig)
    answer = await http.post("/api/v1/namespaces", json={"metadata": {"name": api.namespace}})
    assert answer.status_code == 201, answer.text
    yield api
    await http.delete(f"/api/v1/namespaces/{api.namespace}")


@asynccontextmanager
async def _embedded_api() -> AsyncIterator[Api]:
    server = KubernetesServer()
    await server.start()
    try:
        async with connect(server.url) as http, _namespace(http, server) as api:
            yield api
    finally:
        await server.stop()


@asynccontextmanager
async def _real_api(plane: ControlPlane) -> AsyncIterator[Api]:
    async with plane.client() as http, _namespace(http, plane) as api:
        yield api


@pytest.fixture(params=["embedded", "real"])
def server(request: pytest.FixtureRequest) -> ControlPlane | None:
    """The real server, or None for the embedded one."""
    if request.param == "embedded":
        return None
    plane: ControlPlane = request.getfixturevalue("control_plane")
    return plane


@pytest.fixture
async def api(server: ControlPlane | None) -> AsyncIterator[Api]:
    """What must be true of every Kubernetes API."""
    async with _real_api(server) if server else _embedded_api() as api:
        yield api


@pytest.fixture
async def embedded_api(embedded: KubernetesServer) -> AsyncIterator[Api]:
    """What only the sandbox's own server can do."""
    async with connect(embedded.url) as http, _namespace(http, embedded) as api:
        yield api
