"""The sandbox's own client against the sandbox's API, on good days and bad ones."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from rollout.sandbox import shop
from rollout.sandbox.cluster_client import ClusterClient, ClusterError, Mirror
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
