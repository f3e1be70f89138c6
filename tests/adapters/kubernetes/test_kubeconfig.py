"""Where credentials are looked for, in which order, and what happens when they are bad or run out."""

import asyncio
import json
import os
import sys
from pathlib import Path

import certifi
import pytest

from rollout.adapters.cluster import Cluster, Denied
from rollout.adapters.kubeconfig import Access, find_access
from rollout.ports import Outage, Refused
from tests.adapters.kubernetes.conftest import KUBECONFIG, Strange, answer, write_kubeconfig


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a kubeconfig, outside of any pod."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account as the kubelet mounts it."""
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("pod-token")
    (account / "namespace").write_text("rollout-system\n")
    (account / "ca.crt").write_text(Path(certifi.where()).read_text())
    monkeypatch.setattr("rollout.adapters.kubeconfig._SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    return account


async def namespace_of(kubeconfig: Path | None = None, context: str | None = None) -> str:
    async with await Cluster.connect(kubeconfig, context) as cluster:
        return cluster.namespace


def with_namespace(path: Path, namespace: str) -> Path:
    text = KUBECONFIG.format(url="http://127.0.0.1:1", user="{}").replace("namespace: shop", f"namespace: {namespace}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


async def test_the_file_named_comes_before_the_environment_before_the_home(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_namespace(nowhere / ".kube" / "config", "home")
    assert await namespace_of() == "home"
    monkeypatch.setenv("KUBECONFIG", str(with_namespace(tmp_path / "environment", "environment")))
    assert await namespace_of() == "environment"
    assert await namespace_of(with_namespace(tmp_path / "named", "named")) == "named"


async def test_files_in_the_environment_are_merged_as_kubectl_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = with_namespace(tmp_path / "1", "first"), with_namespace(tmp_path / "2", "second")
    paths = [tmp_path / "absent", first, second]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, paths)))
    assert await namespace_of() == "first"


async def test_a_context_has_its_own_namespace_or_default(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", "http://127.0.0.1:1")
    assert await namespace_of(path) == "shop"
    assert await namespace_of(path, "bare") == "default"


async def test_an_unknown_context_is_refused(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", "http://127.0.0.1:1")
    with pytest.raises(Refused):
        await namespace_of(path, "elsewhere")


async def test_without_any_configuration_it_is_refused_and_says_where_it_looked(nowhere: Path) -> None:
    with pytest.raises(Refused, match=str(nowhere / ".kube" / "config")):
        await namespace_of()
    with pytest.raises(Refused):
        await namespace_of(context="main")


async def test_a_named_file_that_does_not_exist_is_refused(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_namespace(nowhere / ".kube" / "config", "home")
    with pytest.raises(Refused):
        await namespace_of(tmp_path / "absent")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(Refused):
        await namespace_of()


@pytest.mark.parametrize(
    "text", ["", "[]", "hello", "{", "clusters: 3", "current-context: a\ncontexts: []\nclusters: []\nusers: []\n"]
)
async def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k"
    path.write_text(text)
    with pytest.raises(Refused):
        await namespace_of(path)


async def test_a_cluster_without_a_server_is_refused(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", "http://127.0.0.1:1")
    path.write_text(path.read_text().replace('server: "http://127.0.0.1:1"', "insecure-skip-tls-verify: true"))
    with pytest.raises(Refused):
        await namespace_of(path)


async def test_a_server_that_is_not_there_is_found_out_when_it_is_asked(tmp_path: Path) -> None:
    async with await Cluster.connect(write_kubeconfig(tmp_path / "k", "http://127.0.0.1:1")) as cluster:
        with pytest.raises(Outage):
            await cluster.get("/version")


@pytest.mark.usefixtures("pod")
async def test_in_a_pod_the_namespace_is_the_pods_own() -> None:
    assert await namespace_of() == "rollout-system"


@pytest.mark.usefixtures("pod")
async def test_in_a_pod_a_kubeconfig_at_home_still_comes_first(nowhere: Path) -> None:
    with_namespace(nowhere / ".kube" / "config", "home")
    assert await namespace_of() == "home"


@pytest.mark.parametrize("file", ["token", "ca.crt"])
async def test_a_pod_without_its_whole_service_account_is_refused(pod: Path, file: str) -> None:
    (pod / file).unlink()
    with pytest.raises(Refused):
        await namespace_of()


async def test_credentials_that_ran_out_and_cannot_be_renewed_are_denied(
    pod: Path, tmp_path: Path, strange: Strange
) -> None:
    async def guard(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer('{"kind": "Status", "message": "Unauthorized", "code": 401}', 401))

    in_pod = await find_access(None, None)
    async with strange(guard) as url:
        outside = await find_access(write_kubeconfig(tmp_path / "k", url), None)
        async with Cluster(Access(outside.configuration, "shop", in_pod.renew)) as cluster:
            for _ in range(2):
                with pytest.raises(Denied):
                    await cluster.get("/x")
                (pod / "token").unlink(missing_ok=True)


async def test_a_certificate_that_is_none_is_refused(pod: Path) -> None:
    (pod / "ca.crt").write_text("no certificate")
    with pytest.raises(Refused):
        await namespace_of()


async def test_a_token_that_ran_out_is_fetched_again(strange: Strange, tmp_path: Path) -> None:
    """Short-lived tokens of a plugin, as every managed cluster has them, must not end a long wait."""
    issued = tmp_path / "issued"
    issued.write_text("0")
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import json, pathlib\n"
        f"path = pathlib.Path({str(issued)!r})\n"
        "number = int(path.read_text()) + 1\n"
        "path.write_text(str(number))\n"
        "status = {'token': f't{number}', 'expirationTimestamp': '2000-01-01T00:00:00Z'}\n"
        "print(json.dumps({'kind': 'ExecCredential', 'apiVersion': 'client.authentication.k8s.io/v1', "
        "'status': status}))\n"
    )
    user = json.dumps(
        {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": sys.executable,
                "args": [str(plugin)],
                "interactiveMode": "Never",
            }
        }
    )
    accepted = "t1"

    async def guard(head: str, writer: asyncio.StreamWriter) -> None:
        if f"authorization: bearer {accepted}\r\n" in head.lower():
            writer.write(answer('{"ok": true}'))
        else:
            writer.write(answer('{"kind": "Status", "message": "Unauthorized", "code": 401}', 401))

    async with strange(guard) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url, user)) as cluster:
        assert await cluster.get("/x") == {"ok": True}
        accepted = "t2"
        assert await cluster.get("/x") == {"ok": True}
        accepted = "nobody's"
        with pytest.raises(Denied):
            await cluster.get("/x")
