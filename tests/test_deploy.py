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
from rollout.core.lease import lease_name
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
def overlays() -> dict[str, Manifests]:
    return {one: _render(f"deploy/overlays/{one}") for one in ("cluster-wide", "namespaced", "ha", "istio-strict")}


@pytest.fixture(scope="module")
def cluster_wide(overlays: dict[str, Manifests]) -> Manifests:
    return overlays["cluster-wide"]


@pytest.fixture(scope="module")
def namespaced(overlays: dict[str, Manifests]) -> Manifests:
    return overlays["namespaced"]


def _container(manifests: Manifests) -> dict[str, Any]:
    (container,) = manifests["Deployment", "rollout"]["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def _rights(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


SHARED = {
    ("Namespace", "rollout"),
    ("CustomResourceDefinition", "releases.rollout.dev"),
    ("CustomResourceDefinition", "servicepolicies.rollout.dev"),
    ("CustomResourceDefinition", "freezes.rollout.dev"),
    ("ServiceAccount", "rollout"),
    ("Role", "rollout-lease"),
    ("RoleBinding", "rollout-lease"),
    ("ClusterRole", "rollout-view"),
    ("ClusterRole", "rollout-operate"),
    ("Role", "rollout-see-freezes"),
    ("RoleBinding", "rollout-see-freezes"),
    ("ConfigMap", "rollout-policies"),
    ("Deployment", "rollout"),
    ("NetworkPolicy", "rollout"),
    *(
        (kind, f"rollout-{plural}")
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
        for plural in ("virtualservices", "destinationrules", "releases")
    ),
}
EVERYWHERE = {("ClusterRole", "rollout-controller"), ("ClusterRoleBinding", "rollout-controller")}
IN_SHOP = {(kind, f"rollout-{name}") for kind in ("Role", "RoleBinding") for name in ("controller", "telemetries")}
TWO = {("PodDisruptionBudget", "rollout")}
IN_A_STRICT_MESH = {("PeerAuthentication", "rollout"), ("AuthorizationPolicy", "rollout")}


def test_each_overlay_has_all_it_takes(overlays: dict[str, Manifests]) -> None:
    assert {name: set(manifests) - SHARED for name, manifests in overlays.items()} == {
        "cluster-wide": EVERYWHERE,
        "namespaced": IN_SHOP,
        "ha": IN_SHOP | TWO,
        "istio-strict": IN_SHOP | TWO | IN_A_STRICT_MESH,
    }
    assert all(manifests.keys() >= SHARED for manifests in overlays.values())


def test_the_controller_may_do_what_it_does_and_no_more(cluster_wide: Manifests) -> None:
    assert _rights(cluster_wide["ClusterRole", "rollout-controller"]) == {
        ("networking.istio.io", "virtualservices"): {"get", "list", "watch", "patch"},
        ("networking.istio.io", "destinationrules"): {"get", "list", "watch", "patch"},
        ("telemetry.istio.io", "telemetries"): {"list"},
        ("gateway.networking.k8s.io", "httproutes"): {"list"},
        ("gateway.networking.k8s.io", "grpcroutes"): {"list"},
        ("apps", "deployments"): {"get", "list", "watch"},
        ("", "services"): {"get"},
        ("", "pods"): {"list"},
        ("rollout.dev", "releases"): {"get", "list", "watch", "patch"},
        ("rollout.dev", "releases/status"): {"update"},
        ("rollout.dev", "servicepolicies"): {"get"},
        ("rollout.dev", "freezes"): {"list", "watch"},
        ("events.k8s.io", "events"): {"create"},
    }


def test_the_lease_that_may_be_renewed_is_called_after_what_is_watched(overlays: dict[str, Manifests]) -> None:
    for name, manifests in overlays.items():
        creating, renewing = manifests["Role", "rollout-lease"]["rules"]
        assert creating["verbs"] == ["create"]
        assert renewing["verbs"] == ["get", "watch", "update"]
        assert renewing["resourceNames"] == ["rollout" if name == "cluster-wide" else "rollout-shop"]


def test_nobody_gets_a_wildcard_or_a_secret(overlays: dict[str, Manifests]) -> None:
    for manifests in overlays.values():
        for (kind, _), one in manifests.items():
            for rule in one.get("rules", ()) if kind.endswith("Role") else ():
                assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
                assert "secrets" not in rule["resources"]


def test_in_one_namespace_the_same_rules_are_a_role_there(cluster_wide: Manifests, namespaced: Manifests) -> None:
    role, binding = namespaced["Role", "rollout-controller"], namespaced["RoleBinding", "rollout-controller"]
    assert role["rules"] == cluster_wide["ClusterRole", "rollout-controller"]["rules"]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "shop"
    assert binding["roleRef"]["kind"] == "Role"
    assert "--namespace=shop" in _container(namespaced)["args"]


def test_every_binding_and_every_policy_means_the_account_that_the_pods_have(overlays: dict[str, Manifests]) -> None:
    for manifests in overlays.values():
        deployment, account = manifests["Deployment", "rollout"], manifests["ServiceAccount", "rollout"]
        namespace, name = deployment["metadata"]["namespace"], account["metadata"]["name"]
        assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == name
        assert account["metadata"]["namespace"] == namespace
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        bindings = [
            one
            for (kind, bound), one in manifests.items()
            if kind in {"RoleBinding", "ClusterRoleBinding"} and bound != "rollout-see-freezes"
        ]
        assert [one["subjects"] for one in bindings] == [[subject]] * len(bindings)
        policies = [one for (kind, _), one in manifests.items() if kind == "ValidatingAdmissionPolicy"]
        user = f'request.userInfo.username == "system:serviceaccount:{namespace}:{name}"'
        assert [[one["expression"] for one in policy["spec"]["matchConditions"]] for policy in policies] == [[user]] * 3


def test_everybody_may_look_at_the_freezes_of_everything_and_at_nothing_else(overlays: dict[str, Manifests]) -> None:
    for manifests in overlays.values():
        role, binding = manifests["Role", "rollout-see-freezes"], manifests["RoleBinding", "rollout-see-freezes"]
        home = manifests["Deployment", "rollout"]["metadata"]["namespace"]
        assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == home
        assert _rights(role) == {("rollout.dev", "freezes"): {"get", "list", "watch"}}
        assert [one["name"] for one in binding["subjects"]] == ["system:authenticated"]


def test_a_policy_that_cannot_be_evaluated_refuses_and_each_is_bound(cluster_wide: Manifests) -> None:
    for kind, name in SHARED:
        if kind == "ValidatingAdmissionPolicyBinding":
            assert cluster_wide[kind, name]["spec"] == {"policyName": name, "validationActions": ["Deny"]}
            assert cluster_wide["ValidatingAdmissionPolicy", name]["spec"]["failurePolicy"] == "Fail"


def test_at_no_time_is_there_no_pod_and_two_wait_for_one_lease(overlays: dict[str, Manifests]) -> None:
    replicas = {name: one["Deployment", "rollout"]["spec"]["replicas"] for name, one in overlays.items()}
    assert replicas == {"cluster-wide": 1, "namespaced": 1, "ha": 2, "istio-strict": 2}
    for manifests in overlays.values():
        strategy = manifests["Deployment", "rollout"]["spec"]["strategy"]
        assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        (where,) = [one for one in _container(manifests)["env"] if one["name"] == "POD_NAMESPACE"]
        assert where["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


def test_what_selects_the_pods_selects_them(overlays: dict[str, Manifests]) -> None:
    for manifests in overlays.values():
        deployment = manifests["Deployment", "rollout"]["spec"]
        labels = deployment["template"]["metadata"]["labels"].items()
        spreads = deployment["template"]["spec"].get("topologySpreadConstraints", [])
        selectors = [deployment["selector"], *(one["labelSelector"] for one in spreads)]
        selectors.append(manifests["NetworkPolicy", "rollout"]["spec"]["podSelector"])
        for kind, name in TWO | IN_A_STRICT_MESH:
            if (kind, name) in manifests:
                selectors.append(manifests[kind, name]["spec"]["selector"])
        assert all(one["matchLabels"].items() <= labels for one in selectors)


def test_nothing_goes_out_or_comes_in_but_what_is_named(overlays: dict[str, Manifests]) -> None:
    for name, manifests in overlays.items():
        spec = manifests["NetworkPolicy", "rollout"]["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        out = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
        (rule,) = spec["ingress"]
        assert rule["from"]
        strict = name == "istio-strict"
        assert out == {53, 443, 6443, 9090} | ({15012} if strict else set())
        assert {port["port"] for port in rule["ports"]} == {8080} | ({15020} if strict else set())
        address = next(flag for flag in _container(manifests)["args"] if flag.startswith("--prometheus="))
        assert address.endswith(".istio-system:9090")


def test_in_a_strict_mesh_only_prometheus_reads_the_metrics(overlays: dict[str, Manifests]) -> None:
    manifests = overlays["istio-strict"]
    assert manifests["PeerAuthentication", "rollout"]["spec"]["mtls"] == {"mode": "STRICT"}
    policy = manifests["AuthorizationPolicy", "rollout"]["spec"]
    assert policy["action"] == "ALLOW"
    (rule,) = policy["rules"]
    assert rule["from"] == [{"source": {"principals": ["cluster.local/ns/istio-system/sa/prometheus"]}}]
    assert rule["to"] == [{"operation": {"methods": ["GET"], "paths": ["/metrics"], "ports": ["8080"]}}]
    assert manifests["Namespace", "rollout"]["metadata"]["labels"]["istio-injection"] == "enabled"


def test_the_pod_is_restricted(cluster_wide: Manifests) -> None:
    pod, container = cluster_wide["Deployment", "rollout"]["spec"]["template"]["spec"], _container(cluster_wide)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }
    assert container["resources"]["limits"]["memory"]
    assert (
        cluster_wide["Namespace", "rollout"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    )


def test_the_probes_ask_where_the_controller_listens(cluster_wide: Manifests) -> None:
    container = _container(cluster_wide)
    assert "--listen=:8080" in container["args"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8080}
    probes = {key: value["httpGet"] for key, value in container.items() if key.endswith("Probe")}
    assert {key: value["path"] for key, value in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {value["port"] for value in probes.values()} == {"http"}


def test_the_mounted_policies_are_where_the_controller_looks_and_are_valid(cluster_wide: Manifests) -> None:
    container, config = _container(cluster_wide), cluster_wide["ConfigMap", "rollout-policies"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "policies"]
    assert f"--policies={mount['mountPath']}" in container["args"]
    assert Path(mount["mountPath"]) == Settings().policies
    for name, text in config["data"].items():
        assert read(text, name)


def test_the_command_line_knows_every_flag_it_is_started_with(overlays: dict[str, Manifests]) -> None:
    known = {flag for parameter in get_command(app).commands["serve"].params for flag in parameter.opts}  # type: ignore[attr-defined] # typer's own click
    for manifests in overlays.values():
        verb, *flags = _container(manifests)["args"]
        assert verb == "serve"
        assert {flag.partition("=")[0] for flag in flags} <= known


def test_the_image_runs_as_the_user_the_pod_names_and_is_built_by_the_uv_of_the_makefile(
    cluster_wide: Manifests,
) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    security = cluster_wide["Deployment", "rollout"]["spec"]["template"]["spec"]["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in dockerfile
    (uv,) = re.findall(r"uv==(\S+)", dockerfile)
    assert re.search(rf"^UV_VERSION := {re.escape(uv)}$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_overlay_of_the_installation_page_renders_with_its_image(tmp_path: Path) -> None:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    (overlay,) = re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", page, re.DOTALL)
    digest = f"sha256:{'0' * 64}"
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / "your-overlay").mkdir()
    (tmp_path / "your-overlay/kustomization.yaml").write_text(overlay.replace("sha256:…", digest), encoding="utf-8")
    manifests = _render(str(tmp_path / "your-overlay"))
    assert manifests.keys() == SHARED | EVERYWHERE | TWO
    assert _container(manifests)["image"] == f"registry.example/rollout@{digest}"


def test_the_installation_page_knows_how_the_lease_of_several_namespaces_is_called() -> None:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`(printf pay,shop [^`]*)`", page)
    digits = subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=10, text=True).stdout
    assert lease_name(["shop", "pay"]) == f"rollout-{digits.strip()}"
    assert lease_name(["shop"]) == "rollout-shop"
    assert lease_name([]) == "rollout"
