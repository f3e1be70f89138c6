"""The manifests render, ask for no more than they need, and run what exists."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from rollout.adapters.policy_yaml import read
from rollout.cli.verbs import app
from rollout.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the manifests")
Manifests = dict[tuple[str, str], dict[str, Any]]


def _render(folder: str) -> Manifests:
    result = subprocess.run(
        ["kubectl", "kustomize", folder], cwd=ROOT, capture_output=True, check=True, timeout=60, text=True
    )
    documents = list(YAML(typ="safe", pure=True).load_all(result.stdout))
    found = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    assert len(found) == len(documents)
    return found


@pytest.fixture(scope="module")
def base() -> Manifests:
    return _render("deploy/base")


@pytest.fixture(scope="module")
def namespaced() -> Manifests:
    return _render("deploy/overlays/namespaced")


def _container(manifests: Manifests) -> dict[str, Any]:
    (container,) = manifests["Deployment", "rollout"]["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def test_the_base_has_all_it_takes(base: Manifests) -> None:
    assert base.keys() == {
        ("Namespace", "rollout"),
        ("CustomResourceDefinition", "releases.rollout.dev"),
        ("CustomResourceDefinition", "servicepolicies.rollout.dev"),
        ("ServiceAccount", "rollout"),
        ("ClusterRole", "rollout-controller"),
        ("ClusterRoleBinding", "rollout-controller"),
        ("ClusterRole", "rollout-view"),
        ("ClusterRole", "rollout-operate"),
        ("ConfigMap", "rollout-policies"),
        ("Deployment", "rollout"),
    }


def test_the_controller_may_do_what_it_does_and_no_more(base: Manifests) -> None:
    rights = {
        (group, resource): set(rule["verbs"])
        for rule in base["ClusterRole", "rollout-controller"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert rights == {
        ("networking.istio.io", "virtualservices"): {"get", "list", "watch", "patch"},
        ("networking.istio.io", "destinationrules"): {"get", "list", "patch"},
        ("apps", "deployments"): {"get"},
        ("rollout.dev", "releases"): {"get", "list", "watch", "patch"},
        ("rollout.dev", "releases/status"): {"update"},
    }


def test_nobody_gets_a_wildcard_or_a_secret(base: Manifests, namespaced: Manifests) -> None:
    for manifests in (base, namespaced):
        for (kind, _), one in manifests.items():
            for rule in one.get("rules", ()) if kind.endswith("Role") else ():
                assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
                assert "secrets" not in rule["resources"]


def test_in_one_namespace_the_same_rules_are_a_role_there(base: Manifests, namespaced: Manifests) -> None:
    role, binding = namespaced["Role", "rollout-controller"], namespaced["RoleBinding", "rollout-controller"]
    assert role["rules"] == base["ClusterRole", "rollout-controller"]["rules"]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "shop"
    assert binding["roleRef"]["kind"] == "Role"
    assert ("ClusterRoleBinding", "rollout-controller") not in namespaced
    assert "--namespace=shop" in _container(namespaced)["args"]


def test_the_pod_is_restricted(base: Manifests) -> None:
    deployment = base["Deployment", "rollout"]["spec"]
    pod, container = deployment["template"]["spec"], _container(base)
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (1, "Recreate")
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }
    assert container["resources"]["limits"]["memory"]
    assert base["Namespace", "rollout"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_probes_ask_where_the_controller_listens(base: Manifests) -> None:
    container = _container(base)
    assert "--listen=:8080" in container["args"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8080}
    probes = {key: value["httpGet"] for key, value in container.items() if key.endswith("Probe")}
    assert {key: value["path"] for key, value in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {value["port"] for value in probes.values()} == {"http"}


def test_the_mounted_policies_are_where_the_controller_looks_and_are_valid(base: Manifests) -> None:
    container, config = _container(base), base["ConfigMap", "rollout-policies"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "policies"]
    assert f"--policies={mount['mountPath']}" in container["args"]
    assert Path(mount["mountPath"]) == Settings().policies
    for name, text in config["data"].items():
        assert read(text, name)


def test_the_command_line_knows_every_flag_it_is_started_with(base: Manifests, namespaced: Manifests) -> None:
    known = {flag for parameter in get_command(app).commands["serve"].params for flag in parameter.opts}  # type: ignore[attr-defined] # typer's own click
    for manifests in (base, namespaced):
        verb, *flags = _container(manifests)["args"]
        assert verb == "serve"
        assert {flag.partition("=")[0] for flag in flags} <= known


def test_the_selector_matches_the_pods(base: Manifests) -> None:
    spec = base["Deployment", "rollout"]["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_the_image_runs_as_the_user_the_pod_names_and_is_built_by_the_uv_of_the_makefile(base: Manifests) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    security = base["Deployment", "rollout"]["spec"]["template"]["spec"]["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in dockerfile
    (uv,) = re.findall(r"uv==(\S+)", dockerfile)
    assert re.search(rf"^UV_VERSION := {re.escape(uv)}$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
