"""An embedded Kubernetes API with two namespaces, and a connection to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster
from rollout.sandbox.kubernetes.server import KubernetesServer


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    server = KubernetesServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def cluster(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    kubeconfig = tmp_path / "kubeconfig"
    server.write_kubeconfig(kubeconfig)
    async with await Cluster.connect(kubeconfig, seconds=2) as cluster:
        for name in ("shop", "ingress"):
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await cluster.create("/api/v1/namespaces", namespace)
        yield cluster
