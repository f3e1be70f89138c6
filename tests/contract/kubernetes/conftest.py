"""Servers the contract suite runs against. Today one kind; a real kube-apiserver will be one more of `_SERVERS`."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

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
async def _embedded_url() -> AsyncIterator[str]:
    server = KubernetesServer()
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


_SERVERS: dict[str, Callable[[], AbstractAsyncContextManager[str]]] = {"embedded": _embedded_url}


@asynccontextmanager
async def _api_at(url: str) -> AsyncIterator[Api]:
    async with connect(url) as http:
        api = Api(http, f"contract-{next(_numbers)}")
        answer = await http.post("/api/v1/namespaces", json={"metadata": {"name": api.namespace}})
        assert answer.status_code == 201, answer.text
        yield api


@pytest.fixture(params=_SERVERS)
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """What must be true of every Kubernetes API."""
    async with _SERVERS[request.param]() as url, _api_at(url) as api:
        yield api


@pytest.fixture
async def embedded_api(embedded: KubernetesServer) -> AsyncIterator[Api]:
    """What only the sandbox's own server can do."""
    async with _api_at(embedded.url) as api:
        yield api
