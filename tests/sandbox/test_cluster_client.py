"""The sandbox's own client against the sandbox's API, on good days and bad ones."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from rollout.sandbox import shop
from rollout.sandbox.cluster_client import ClusterClient, ClusterError, Mirror
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    server = KubernetesServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def cluster(server: KubernetesServer) -> AsyncIterator[ClusterClient]:
    client = ClusterClient(server.url)
    await client.apply(shop.namespace())
    yield client
    await client.close()


@asynccontextmanager
async def closing(client: ClusterClient) -> AsyncIterator[ClusterClient]:
    """A client for the time of an `async with`."""
    try:
        yield client
    finally:
        await client.close()


class Watched:
    """A mirror of Deployments that runs."""

    def __init__(self, cluster: ClusterClient) -> None:
        self._changed = asyncio.Event()
        self.mirror = Mirror(cluster, "apps/v1", "Deployment", self._changed.set)
        self._task = asyncio.create_task(self.mirror.run())

    def errors(self, version: str) -> str | None:
        """The errors knob of a version, as mirrored."""
        obj = self.mirror.objects.get(("shop", f"checkout-{version}"))
        return None if obj is None else obj["metadata"]["annotations"].get("sandbox.rollout.dev/errors")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a state of the mirror."""
        async with asyncio.timeout(5):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        """Stop mirroring."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def watched(cluster: ClusterClient) -> AsyncIterator[Watched]:
    await cluster.apply(shop.deployment("checkout", "v1", errors="1%"))
    watched = Watched(cluster)
    await watched.until(lambda: watched.errors("v1") == "1%")
    yield watched
    await watched.close()


async def test_applying_creates_and_then_merges(cluster: ClusterClient) -> None:
    await cluster.apply(shop.deployment("checkout", "v1", errors="1%"))
    await cluster.apply(shop.deployment("checkout", "v1", slow="2%"))
    found = await cluster.get("apps/v1", "Deployment", "checkout-v1", "shop")
    assert found["metadata"]["annotations"] == {
        "sandbox.rollout.dev/errors": "1%",
        "sandbox.rollout.dev/slow": "2%",
    }


async def test_what_is_not_there_is_an_error_with_its_code(cluster: ClusterClient) -> None:
    with pytest.raises(ClusterError) as caught:
        await cluster.get("apps/v1", "Deployment", "nobody", "shop")
    assert caught.value.code == 404
    await cluster.delete("apps/v1", "Deployment", "nobody", "shop")


async def test_a_kind_the_server_does_not_know_is_an_error(cluster: ClusterClient) -> None:
    with pytest.raises(ClusterError):
        await cluster.get("apps/v1", "Banana", "one", "shop")


async def test_a_mirror_follows_additions_changes_and_deletions(cluster: ClusterClient, watched: Watched) -> None:
    await cluster.apply(shop.deployment("checkout", "v2", errors="2%"))
    await watched.until(lambda: watched.errors("v2") == "2%")
    await cluster.apply(shop.deployment("checkout", "v2", errors="3%"))
    await watched.until(lambda: watched.errors("v2") == "3%")
    await cluster.delete("apps/v1", "Deployment", "checkout-v2", "shop")
    await watched.until(lambda: watched.errors("v2") is None)


async def test_a_mirror_survives_dropped_watches(
    server: KubernetesServer, cluster: ClusterClient, watched: Watched
) -> None:
    for errors in ("4%", "5%", "6%"):
        server.faults.drop_watches()
        await cluster.apply(shop.deployment("checkout", "v1", errors=errors))
        await watched.until(lambda errors=errors: watched.errors("v1") == errors)  # type: ignore[misc] # bound now


async def test_a_mirror_lists_again_when_history_is_forgotten(
    server: KubernetesServer, cluster: ClusterClient, watched: Watched
) -> None:
    server.faults.add(verb="watch", status=503, times=2)
    server.faults.drop_watches()
    await cluster.delete("apps/v1", "Deployment", "checkout-v1", "shop")
    await cluster.apply(shop.deployment("checkout", "v2", errors="2%"))
    server.faults.forget_history()
    await watched.until(lambda: watched.errors("v1") is None and watched.errors("v2") == "2%")


async def test_a_mirror_survives_a_restart_of_the_server(
    server: KubernetesServer, cluster: ClusterClient, watched: Watched
) -> None:
    port = int(server.url.rpartition(":")[2])
    await server.stop()
    with pytest.raises(httpx2.TransportError):
        await cluster.get("v1", "Namespace", "shop")
    await server.start(port)
    await cluster.apply(shop.deployment("checkout", "v1", errors="7%"))
    await watched.until(lambda: watched.errors("v1") == "7%")


async def test_a_kubeconfig_of_the_embedded_api_leads_to_it(server: KubernetesServer, tmp_path: Path) -> None:
    server.write_kubeconfig(tmp_path / "kubeconfig", "shop")
    async with closing(ClusterClient.of_kubeconfig(tmp_path / "kubeconfig")) as client:
        await client.apply(shop.namespace())


async def test_a_kubeconfig_of_a_real_api_carries_its_certificate_and_its_token(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    control_plane.write_kubeconfig(tmp_path / "kubeconfig", "default")
    async with closing(ClusterClient.of_kubeconfig(tmp_path / "kubeconfig")) as client:
        assert (await client.get("v1", "Namespace", "default"))["kind"] == "Namespace"


async def test_a_wrong_token_is_nobody(control_plane: ControlPlane) -> None:
    async with closing(ClusterClient(control_plane.url, ca=control_plane.ca, token="wrong")) as client:
        with pytest.raises(ClusterError) as caught:
            await client.get("v1", "Namespace", "default")
    assert caught.value.code == 401


async def test_a_server_with_another_certificate_is_not_trusted(control_plane: ControlPlane) -> None:
    async with closing(ClusterClient(control_plane.url, token=control_plane.token)) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("v1", "Namespace", "default")


async def test_a_kind_that_is_installed_later_is_found_then(control_plane: ControlPlane) -> None:
    group = "late.example"
    names = {"kind": "Late", "listKind": "LateList", "plural": "lates", "singular": "late"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": group, "names": names, "scope": "Namespaced", "versions": [version]}
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    metadata = {"name": f"lates.{group}"}
    token, ca = control_plane.token, control_plane.ca
    async with closing(ClusterClient(control_plane.url, ca=ca, token=token)) as client:
        with pytest.raises(ClusterError):
            await client.collection(f"{group}/v1", "Late", "default")
        await client.apply({**definition, "metadata": metadata, "spec": spec})
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await client.collection(f"{group}/v1", "Late", "default")
                    break
                except ClusterError:
                    await asyncio.sleep(0.05)
        await client.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", metadata["name"])
