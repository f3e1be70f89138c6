"""Makes the pods of every Deployment of a real API ready, as a scheduler and a kubelet would."""

import asyncio

import httpx2

from rollout.sandbox.cluster_client import ClusterClient, ClusterError, Mirror
from rollout.sandbox.kubelet import Kubelet


class Pods:
    """Runs until cancelled. Versions in `unready` have pods that are not ready (`namespace.deployment`)."""

    def __init__(self, cluster: ClusterClient) -> None:
        self.unready: set[str] = set()
        self._wake = asyncio.Event()
        self._kubelet = Kubelet(cluster, self._wake.set)
        self._deployments = Mirror(cluster, "apps/v1", "Deployment", self._wake.set)

    async def run(self) -> None:
        """Follow Deployments and Pods."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._kubelet.run())
            tasks.create_task(self._deployments.run())
            while True:
                await self._wake.wait()
                self._wake.clear()
                known = {f"{namespace}.{name}": obj for (namespace, name), obj in self._deployments.objects.items()}
                try:
                    await self._kubelet.report(known, {key: key not in self.unready for key in known})
                except (ClusterError, httpx2.TransportError):
                    # A conflict or an outage: the next look settles it.
                    self._wake.set()
                    await asyncio.sleep(0.1)
