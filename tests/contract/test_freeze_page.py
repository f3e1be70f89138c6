"""Every command of docs/freeze.md that is kubectl's, as it stands there, on both API servers."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.freezes import ClusterFreezes
from rollout.adapters.releases import ClusterReleases
from rollout.core.release import Phase, ReleaseSpec, Status
from rollout.core.route import Unavailable
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.contract.release_stages import NOON

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

PAGE = (Path(__file__).parents[2] / "docs" / "freeze.md").read_text(encoding="utf-8")
SET, BRAKE, GO_ON = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@dataclass
class Place:
    """A server with the controller's namespace and one of our own."""

    cluster: Cluster
    kubeconfig: Path
    home: str
    namespace: str

    async def run(self, commands: str) -> str:
        """Run a block of the page in bash, that stops at the first error; what it prints."""
        commands = commands.replace("-n rollout", f"-n {self.home}")
        environ = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        child = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", commands,
            env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(60):
            said, _ = await child.communicate()
        assert child.returncode == 0, said.decode()
        return said.decode()

    async def scopes(self, service: str) -> set[str]:
        """What a release of that service waits for."""
        found = await ClusterFreezes(self.cluster, self.home).of(self.namespace, service)
        assert not isinstance(found, Unavailable), found
        return {one.scope for one in found}


@pytest.fixture(params=["embedded", "real"])
def plane(request: pytest.FixtureRequest) -> ControlPlane | None:
    """The real API, or None for the embedded one."""
    found: ControlPlane | None = request.getfixturevalue("control_plane") if request.param == "real" else None
    return found


@pytest.fixture
async def place(plane: ControlPlane | None, tmp_path: Path) -> AsyncIterator[Place]:
    admin, kubeconfig, server = tmp_path / "admin", tmp_path / "kubeconfig", KubernetesServer()
    if plane is None:
        await server.start()
    try:
        (plane or server).write_kubeconfig(admin, "default")
        async with await Cluster.connect(admin) as cluster:
            body = {"metadata": {"generateName": "frozen-"}}
            home, namespace = [(await cluster.create("/api/v1/namespaces", body))["metadata"]["name"] for _ in range(2)]
            (plane or server).write_kubeconfig(kubeconfig, namespace)
            yield Place(cluster, kubeconfig, home, namespace)
    finally:
        if plane is None:
            await server.stop()


async def test_the_commands_of_the_page_do_what_it_says(place: Place) -> None:
    listed = await place.run(SET)
    assert "end of year" in listed
    assert "service-checkout" in listed
    assert await place.scopes("checkout") == {f"{place.namespace}/checkout"}
    assert await place.scopes("cart") == set()

    releases = ClusterReleases(place.cluster)
    spec = ReleaseSpec(service="checkout", version="v2")
    for name in ("over", "under-way", "new"):
        made = await releases.create(place.namespace, name, spec)
        if name == "over":
            await releases.save(made, Status(phase=Phase.PROMOTED, finished_at=NOON))
        if name == "under-way":
            await releases.save(made, Status(phase=Phase.ANALYSING))
    await place.run(BRAKE)
    assert await place.scopes("cart") == {"all"}
    found = {one.name: one.spec.abort for one in await releases.list(place.namespace)}
    assert {name: wish is not None for name, wish in found.items()} == {"over": False, "under-way": True, "new": True}
    assert found["new"] is not None
    assert (found["new"].by, found["new"].reason) == ("ann", "fire")

    await place.run(GO_ON)
    assert await place.scopes("cart") == set()
