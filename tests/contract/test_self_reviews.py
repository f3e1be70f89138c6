"""Who we are, and what we may do, as a real API server says and as one says that keeps no rights."""

from pathlib import Path

from rollout.adapters.cluster import Cluster
from rollout.adapters.self_reviews import SelfReviews
from rollout.core.access import Right
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer


async def test_an_administrator_may_everything(
    control_plane: ControlPlane, real_namespace: str, tmp_path: Path
) -> None:
    control_plane.write_kubeconfig(tmp_path / "config", real_namespace)
    async with await Cluster.connect(tmp_path / "config") as cluster:
        caller = await SelfReviews(cluster).whoami(real_namespace)
    assert "system:masters" in caller.groups
    assert caller.may == {right.value: True for right in Right}


async def test_an_account_without_a_role_is_known_by_name_and_may_nothing(
    control_plane: ControlPlane, real_namespace: str, tmp_path: Path
) -> None:
    accounts = f"/api/v1/namespaces/{real_namespace}/serviceaccounts"
    async with control_plane.client() as http:
        assert (await http.post(accounts, json={"metadata": {"name": "stranger"}})).status_code == 201
        token = await http.post(f"{accounts}/stranger/token", json={"spec": {}})
    control_plane.write_kubeconfig(tmp_path / "config", real_namespace, token.json()["status"]["token"])
    async with await Cluster.connect(tmp_path / "config") as cluster:
        caller = await SelfReviews(cluster).whoami(real_namespace)
    assert caller.name == f"system:serviceaccount:{real_namespace}:stranger"
    assert caller.may == {right.value: False for right in Right}


async def test_a_server_that_keeps_no_rights_says_nothing_about_them(tmp_path: Path) -> None:
    server = KubernetesServer()
    await server.start()
    try:
        server.write_kubeconfig(tmp_path / "config")
        async with await Cluster.connect(tmp_path / "config") as cluster:
            assert (await SelfReviews(cluster).whoami("shop")).may is None
    finally:
        await server.stop()
