"""A cluster of these tests' own, so that nobody else's rights are in it, and the manifests applied to it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial

import httpx2
import pytest

from rollout.sandbox.control_plane import ControlPlane, KubernetesMissingError
from tests.deploy.cluster import ISTIO, RELEASES, Cluster, JsonObject, create, patch, until


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Istio's CRDs are in it, and nothing of ours."""
    folder = tmp_path_factory.mktemp("cluster")
    try:
        plane = ControlPlane(folder)
    except KubernetesMissingError as missing:
        pytest.skip(str(missing))
    kubeconfig = tmp_path_factory.mktemp("kubeconfig") / "config"
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(plane.start())
            runner.run(plane.apply_crds(plane.assets.istio_crds.read_text(encoding="utf-8")))
            plane.write_kubeconfig(kubeconfig, "default")
            found = Cluster(plane, kubeconfig)
            for namespace in ("shop", "pay", "istio-system"):
                found.kubectl("create", "namespace", namespace)
            yield found
        finally:
            runner.run(plane.stop())


@pytest.fixture
async def cluster_wide(cluster: Cluster) -> Cluster:
    """Installed for the whole cluster."""
    await cluster.install("cluster-wide")
    return cluster


@pytest.fixture
async def namespaced(cluster: Cluster) -> Cluster:
    """Installed for namespace `shop` alone."""
    await cluster.install("namespaced")
    return cluster


@pytest.fixture(scope="session")
def policies(cluster: Cluster) -> None:
    """The ValidatingAdmissionPolicies, which are the same in all overlays, are in force."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(cluster.install("cluster-wide"))
        runner.run(_policies_in_force(cluster))


async def _policies_in_force(cluster: Cluster) -> None:
    """The API server compiles a policy some time after it is written."""
    kinds: dict[str, tuple[str, JsonObject]] = {
        f"{ISTIO}/virtualservices": ("VirtualService", {"hosts": ["probe"]}),
        f"{ISTIO}/destinationrules": ("DestinationRule", {"host": "probe"}),
        RELEASES: ("Release", {"service": "probe", "version": "v2"}),
    }
    change = [{"op": "add", "path": "/metadata/labels", "value": {"probe": "yes"}}]
    async with cluster.plane.client() as admin, cluster.plane.client(await cluster.token()) as controller:
        for path, (kind, spec) in kinds.items():
            version = "/".join(path.split("/")[2:4])
            await create(
                admin, path, {"apiVersion": version, "kind": kind, "metadata": {"name": "probe"}, "spec": spec}
            )
            await until(partial(_refused, controller, f"{path}/probe", change))
            await admin.delete(f"{path}/probe")


async def _refused(http: httpx2.AsyncClient, path: str, change: list[JsonObject]) -> bool:
    answer = await patch(http, path, change, dry=True)
    return bool(answer.status_code == 422)


@pytest.fixture
async def admin(cluster: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    """Requests as the administrator."""
    async with cluster.plane.client() as http:
        yield http


@pytest.fixture
async def controller(policies: None, cluster_wide: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    """Requests as the controller's ServiceAccount, installed for the whole cluster."""
    del policies
    async with cluster_wide.plane.client(await cluster_wide.token()) as http:
        yield http
