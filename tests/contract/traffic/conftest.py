"""The worlds of the Traffic contract, with one VirtualService and with two: fake, embedded API, real API."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.contract.traffic.worlds import FakeWorld, IstioWorld, PartlyBlind, World

_numbers = itertools.count(1)


@pytest.fixture(params=["fake", "embedded", "real"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plane(request: pytest.FixtureRequest, place: str) -> ControlPlane | None:
    """The real API, where it is asked for: a session's fixture cannot start inside a running loop."""
    if place != "real":
        return None
    found: ControlPlane = request.getfixturevalue("control_plane")
    return found


@pytest.fixture(params=[1, 2], ids=["one", "two"])
async def world(
    request: pytest.FixtureRequest, place: str, plane: ControlPlane | None, tmp_path: Path
) -> AsyncIterator[World]:
    legs: int = request.param
    if place == "fake":
        yield FakeWorld(legs)
        return
    kubeconfig, namespace = tmp_path / "kubeconfig", f"traffic-{next(_numbers)}"
    server = KubernetesServer() if plane is None else None
    if server is not None:
        await server.start()
        server.write_kubeconfig(kubeconfig)
        http = httpx2.AsyncClient(base_url=server.url)
    else:
        assert plane is not None
        plane.write_kubeconfig(kubeconfig, namespace)
        http = plane.client()
    try:
        async with await PartlyBlind.connect(kubeconfig) as cluster, http:
            await cluster.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
            made = IstioWorld(cluster, http, namespace, legs)
            await made.begin()
            yield made
            await http.delete(f"/api/v1/namespaces/{namespace}")
    finally:
        if server is not None:
            await server.stop()
