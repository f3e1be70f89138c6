"""The real API as the sandbox runs it: found, started, interrupted, written to as somebody, and overheard."""

import asyncio
import json
import shutil
import stat
import subprocess
from pathlib import Path

import httpx2
import pytest

from rollout.sandbox.control_plane import Assets, ControlPlane, KubernetesMissingError, find_assets

_SCRIPT = Path(__file__).parents[2] / "scripts" / "kubernetes.sh"
_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
_RELEASES = "/apis/rollout.dev/v1alpha1/namespaces/{}/releases"


def _programs(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).touch(mode=0o755)
    return directory


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROLLOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path / "cache"


def test_the_newest_build_in_the_cache_is_used(cache: Path) -> None:
    for version in ("v1.9.0", "v1.34.4", "v1.31.12"):
        _programs(cache / f"kubernetes-{version}", *_PROGRAMS, "istio-crds.yaml")
    assert find_assets().apiserver == cache / "kubernetes-v1.34.4" / "kube-apiserver"


def test_half_a_build_is_no_build(cache: Path) -> None:
    _programs(cache / "kubernetes-v1.34.4", "etcd", "kube-apiserver", "istio-crds.yaml")
    with pytest.raises(KubernetesMissingError):
        find_assets()


def test_programs_named_by_the_environment_come_first(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = _programs(cache / "kubernetes-v1.34.4", *_PROGRAMS, "istio-crds.yaml")
    given = _programs(tmp_path / "given", *_PROGRAMS)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(given))
    etcd, apiserver, manager = (given / name for name in _PROGRAMS)
    assert find_assets() == Assets(etcd, apiserver, manager, built / "istio-crds.yaml")


def test_an_envtest_archive_without_a_controller_manager_is_not_enough(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(_programs(tmp_path / "given", "etcd", "kube-apiserver", "kubectl")))
    with pytest.raises(KubernetesMissingError):
        find_assets()
    built = _programs(cache / "kubernetes-v1.34.4", *_PROGRAMS, "istio-crds.yaml")
    assert find_assets().etcd == built / "etcd"


def _run_script(cache: Path, path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    for tool in ("bash", "dirname", "sed", "head", "mkdir", "rm", "sort"):
        if not (path / tool).exists():
            (path / tool).symlink_to(shutil.which(tool) or tool)
    argv = ["bash", str(_SCRIPT), str(cache)]
    given = {"PATH": str(path), **environment}
    return subprocess.run(argv, env=given, capture_output=True, text=True, timeout=30, check=False)


def test_a_build_without_go_says_so_and_leaves_nothing_behind(cache: Path, tmp_path: Path) -> None:
    bin_dir = _programs(tmp_path / "bin")
    result = _run_script(cache, bin_dir)
    assert result.returncode == 1
    assert "Go 1.21" in result.stderr
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_build_with_an_old_go_says_so(cache: Path, tmp_path: Path) -> None:
    bin_dir = _programs(tmp_path / "bin")
    (bin_dir / "go").write_text("#!/bin/sh\necho go1.19.8\n")
    (bin_dir / "go").chmod(0o755)
    result = _run_script(cache, bin_dir)
    assert result.returncode == 1
    assert "go1.19.8" in result.stderr


def test_a_complete_cache_needs_no_go(cache: Path, tmp_path: Path) -> None:
    modules = _SCRIPT.parents[1] / "tests" / "apiserver"
    words = (modules / "go.mod").read_text().split()
    version = words[words.index("k8s.io/kubernetes") + 1]
    istio = (modules / "istio" / "go.mod").read_text().split()[-1]
    built = _programs(cache / f"kubernetes-{version}", *_PROGRAMS)
    (built / "istio-crds.yaml").write_text(f"# istio.io/api {istio}\n")
    before = {path: path.stat().st_mtime_ns for path in built.iterdir()}
    result = _run_script(cache, _programs(tmp_path / "bin"))
    assert (result.returncode, result.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in built.iterdir()} == before


async def _service_account(plane: ControlPlane, namespace: str, name: str) -> str:
    """Make a ServiceAccount; returns a token of it."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    async with plane.client() as http:
        made = await http.post(path, json={"metadata": {"name": name}})
        assert made.status_code == 201, made.text
        answer = await http.post(f"{path}/{name}/token", json={"spec": {"expirationSeconds": 3600}})
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["status"]["token"]
        return token


def _release(name: str) -> dict[str, object]:
    head = {"apiVersion": "rollout.dev/v1alpha1", "kind": "Release", "metadata": {"name": name}}
    return {**head, "spec": {"service": "checkout", "version": "v2"}}


async def test_a_service_account_may_only_what_it_was_given(control_plane: ControlPlane, real_namespace: str) -> None:
    token = await _service_account(control_plane, real_namespace, "rollout")
    user = f"system:serviceaccount:{real_namespace}:rollout"
    path = _RELEASES.format(real_namespace)
    async with control_plane.client(token) as http:
        assert (await http.get(path)).status_code == 403
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{real_namespace}"
    rule = {"apiGroups": ["rollout.dev"], "resources": ["releases"], "verbs": ["list"]}
    about = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subject = {"kind": "ServiceAccount", "name": "rollout", "namespace": real_namespace}
    async with control_plane.client() as admin:
        await admin.post(f"{rbac}/roles", json={"metadata": {"name": "reader"}, "rules": [rule]})
        binding = {"metadata": {"name": "reader"}, "roleRef": about, "subjects": [subject]}
        await admin.post(f"{rbac}/rolebindings", json=binding)
    async with control_plane.client(token) as http, asyncio.timeout(20):
        # RBAC answers from caches that learn of a binding a moment later.
        while (await http.get(path)).status_code != 200:
            await asyncio.sleep(0.02)
        assert (await http.post(path, json=_release("a"))).status_code == 403
    codes = {(entry.verb, entry.code) for entry in control_plane.audit() if entry.user == user}
    assert {("list", 403), ("list", 200), ("create", 403)} <= codes


async def test_a_write_is_in_the_audit_log_as_soon_as_it_is_answered(
    control_plane: ControlPlane, real_namespace: str
) -> None:
    path = _RELEASES.format(real_namespace)
    async with control_plane.client() as http:
        made = (await http.post(path, json=_release("a"), headers={"user-agent": "tester/1"})).json()
    entries = [entry for entry in control_plane.audit() if entry.namespace == real_namespace and entry.verb == "create"]
    (entry,) = [entry for entry in entries if entry.resource == "releases"]
    assert (entry.group, entry.name, entry.subresource, entry.code) == ("rollout.dev", "a", "", 201)
    assert (entry.user_agent, entry.request_uri) == ("tester/1", path)
    assert entry.request_object["spec"] == {"service": "checkout", "version": "v2"}
    assert entry.response_object["metadata"]["uid"] == made["metadata"]["uid"]
    assert entry.at <= entry.ended


def test_a_kubeconfig_is_its_owners_alone(control_plane: ControlPlane, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text("old")
    path.chmod(0o644)
    control_plane.write_kubeconfig(path, "checkout", token="somebody")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = json.loads(path.read_text())
    assert config["clusters"][0]["cluster"]["server"] == control_plane.url
    assert config["contexts"][0]["context"]["namespace"] == "checkout"
    assert config["users"][0]["user"] == {"token": "somebody"}
    assert list(tmp_path.iterdir()) == [path]


async def test_deployments_become_pods(control_plane: ControlPlane, real_namespace: str) -> None:
    labels = {"app": "checkout"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    body = {"metadata": {"name": "checkout"}, "spec": spec}
    async with control_plane.client() as http, asyncio.timeout(30):
        await http.post(f"/apis/apps/v1/namespaces/{real_namespace}/deployments", json=body)
        pods = f"/api/v1/namespaces/{real_namespace}/pods"
        while len((await http.get(pods)).json()["items"]) != 2:
            await asyncio.sleep(0.05)


async def test_an_outage_ends_with_the_same_api_on_the_same_port(tmp_path: Path, control_plane: ControlPlane) -> None:
    # One of its own: nobody else's tests may notice.
    plane = ControlPlane(tmp_path, control_plane.assets)
    await plane.start()
    try:
        url, children = plane.url, plane.children
        async with plane.client() as http:
            await http.post("/api/v1/namespaces", json={"metadata": {"name": "kept"}})
            await plane.stop_apiserver()
            with pytest.raises(httpx2.TransportError):
                await http.get("/readyz")
            await plane.start_apiserver()
            assert plane.url == url
            assert (await http.get("/api/v1/namespaces/kept")).status_code == 200
        children += plane.children
    finally:
        await plane.stop()
    assert len(children) == 6
    assert all(child.returncode is not None for child in children)
    assert plane.children == []


async def test_what_is_no_definition_is_not_applied(control_plane: ControlPlane) -> None:
    with pytest.raises(ValueError, match="not a CustomResourceDefinition"):
        await control_plane.apply_crds("kind: ConfigMap\nmetadata: {}\n")
    with pytest.raises(httpx2.HTTPStatusError):
        await control_plane.apply_crds("kind: CustomResourceDefinition\nmetadata:\n  name: things.nobody.example\n")
