"""The Kubernetes API that a world stands on: the embedded one, or a real control plane.

Belongs here: what differs between the two for a world. Does not belong here: either of them
(`kubernetes/`, `control_plane.py`).
"""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from rollout.documents.crd import crds
from rollout.sandbox.cluster_client import ClusterClient, ClusterError
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.deployment_statuses import DeploymentStatuses
from rollout.sandbox.installation import CONTROLLER, controller_token
from rollout.sandbox.kubelet import Kubelet
from rollout.sandbox.kubernetes.server import KubernetesServer
from rollout.sandbox.node import Replicas
from rollout.sandbox.processes import Child

_ACCOUNT_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.02


class ApiServer(Protocol):
    """What a world needs of one."""

    @property
    def url(self) -> str:
        """Where it is."""

    @property
    def children(self) -> list[Child]:
        """Its processes."""

    async def start(self, port: int) -> None:
        """Start it; port 0 is a free one."""

    async def stop(self) -> None:
        """End it; nothing if it does not run."""

    def client(self) -> ClusterClient:
        """The sandbox's own client, as administrator."""

    def write_kubeconfig(self, path: Path, namespace: str) -> None:
        """Write a kubeconfig of the administrator, that only its owner may read."""

    async def write_controller_kubeconfig(self, cluster: ClusterClient, path: Path) -> str:
        """Write a kubeconfig for the controller; who it is there, for people, "" where there are no users."""

    def replicas(self, cluster: ClusterClient, changed: Callable[[], None]) -> Replicas:
        """What stands in for whatever the server does not do about Pods."""

    async def learn_kinds(self) -> None:
        """Make it know all kinds that a world needs."""

    async def namespace_ready(self, cluster: ClusterClient, name: str) -> None:
        """Wait until Pods can be made in a new namespace."""


class Embedded:
    """Our own API in this process: no authentication, no controllers, every kind known."""

    def __init__(self) -> None:
        self._server = KubernetesServer()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return self._server.url

    @property
    def children(self) -> list[Child]:
        """It has no process of its own."""
        return []

    async def start(self, port: int) -> None:
        """Listen."""
        await self._server.start(port)

    async def stop(self) -> None:
        """End all watches and close the socket."""
        await self._server.stop()

    def client(self) -> ClusterClient:
        """Anybody's client."""
        return ClusterClient(self.url)

    def write_kubeconfig(self, path: Path, namespace: str) -> None:
        """A kubeconfig without a user."""
        self._server.write_kubeconfig(path, namespace)

    async def write_controller_kubeconfig(self, cluster: ClusterClient, path: Path) -> str:
        """The same, in a namespace of its own: it knows no users."""
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CONTROLLER}})
        self.write_kubeconfig(path, CONTROLLER)
        return ""

    def replicas(self, cluster: ClusterClient, changed: Callable[[], None]) -> Replicas:
        """It has no deployment controller."""
        return DeploymentStatuses(cluster, changed)

    async def learn_kinds(self) -> None:
        """It knows all of them."""

    async def namespace_ready(self, _cluster: ClusterClient, _name: str) -> None:
        """It makes no Pods."""


class Real:
    """etcd, kube-apiserver and kube-controller-manager.

    Args:
        run_dir: for their data, certificates and logs; emptied at the start.

    Raises:
        KubernetesMissingError: the programs are not on this machine.
    """

    def __init__(self, run_dir: Path) -> None:
        self._dir = run_dir
        self.plane = ControlPlane(run_dir)

    @property
    def url(self) -> str:
        """`https://127.0.0.1:port`."""
        return self.plane.url

    @property
    def children(self) -> list[Child]:
        """etcd, kube-apiserver, kube-controller-manager."""
        return self.plane.children

    async def start(self, port: int) -> None:
        """Start everything anew: nothing of an earlier run is taken over."""
        shutil.rmtree(self._dir, ignore_errors=True)
        self._dir.mkdir(mode=0o700)
        await self.plane.start(port)

    async def stop(self) -> None:
        """End all three."""
        await self.plane.stop()

    def client(self) -> ClusterClient:
        """The administrator's client."""
        return ClusterClient(self.url, ca=self.plane.ca, token=self.plane.token)

    def write_kubeconfig(self, path: Path, namespace: str) -> None:
        """A kubeconfig of a user in `system:masters`."""
        self.plane.write_kubeconfig(path, namespace)

    async def write_controller_kubeconfig(self, cluster: ClusterClient, path: Path) -> str:
        """A kubeconfig of the controller's ServiceAccount with the rights of deploy/, if that is at hand."""
        token = await controller_token(cluster)
        if token is None:
            self.plane.write_kubeconfig(path, CONTROLLER)
            return "the administrator: the manifests with its own account are not part of this installation"
        self.plane.write_kubeconfig(path, CONTROLLER, token)
        return f"system:serviceaccount:{CONTROLLER}:{CONTROLLER}"

    def replicas(self, cluster: ClusterClient, changed: Callable[[], None]) -> Replicas:
        """It has no kubelet and no scheduler."""
        return Kubelet(cluster, changed)

    async def learn_kinds(self) -> None:
        """It knows Kubernetes' own: create Istio's CRDs and ours."""
        for definitions in (self.plane.assets.istio_crds.read_text(), crds()):
            await self.plane.apply_crds(definitions)

    async def namespace_ready(self, cluster: ClusterClient, name: str) -> None:
        """Wait for the ServiceAccount that every Pod needs; a ReplicaSet that comes before it tries again late."""
        async with asyncio.timeout(_ACCOUNT_SECONDS):
            while True:
                try:
                    await cluster.get("v1", "ServiceAccount", "default", name)
                    return
                except ClusterError as error:
                    if error.code != 404:
                        raise
                    await asyncio.sleep(_POLL_SECONDS)
