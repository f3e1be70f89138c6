"""The HTTP API's manifests render, and run what exists with an account of its own."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from rollout.administration import ControllerConfig
from rollout.cli.verbs import app
from rollout.settings import ApiSettings

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the manifests")
Manifests = dict[tuple[str, str], dict[str, Any]]
ACCOUNT = {"kind": "ServiceAccount", "name": "rollout-api", "namespace": "rollout"}


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    """Those of the overlay, by kind and name; the generated ConfigMap without its hash."""
    argv = ["kubectl", "kustomize", "deploy/overlays/api"]
    result = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True, timeout=60, text=True)
    found = {}
    for one in YAML(typ="safe", pure=True).load_all(result.stdout):
        name: str = one["metadata"]["name"]
        found[one["kind"], "rollout-api-config" if name.startswith("rollout-api-config-") else name] = one
    return found


@pytest.fixture(scope="module")
def container(manifests: Manifests) -> dict[str, Any]:
    [found] = manifests["Deployment", "rollout-api"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_the_api_has_all_it_takes_beside_two_controllers(manifests: Manifests) -> None:
    assert {
        ("Deployment", "rollout"),
        ("Deployment", "rollout-api"),
        ("ServiceAccount", "rollout-api"),
        ("Service", "rollout-api"),
        ("NetworkPolicy", "rollout-api"),
        ("PodDisruptionBudget", "rollout-api"),
        ("ConfigMap", "rollout-api-config"),
        ("ClusterRole", "rollout-api"),
        ("ClusterRole", "rollout-api-reviews"),
        ("Role", "rollout-api"),
    } <= manifests.keys()
    assert manifests["Deployment", "rollout"]["spec"]["replicas"] == 2
    assert manifests["Deployment", "rollout-api"]["spec"]["replicas"] == 2


def test_the_api_and_the_controller_share_an_image_and_no_account(manifests: Manifests) -> None:
    pods = [manifests["Deployment", name]["spec"]["template"]["spec"] for name in ("rollout", "rollout-api")]
    assert len({one["containers"][0]["image"] for one in pods}) == 1
    assert [one["serviceAccountName"] for one in pods] == ["rollout", "rollout-api"]
    for (kind, name), one in manifests.items():
        if kind.endswith("RoleBinding") and name.startswith("rollout-api"):
            assert one["subjects"] == [ACCOUNT]
            assert one["roleRef"]["name"] == name


def test_each_of_its_policies_is_bound_refuses_when_in_doubt_and_means_its_account(manifests: Manifests) -> None:
    user = 'request.userInfo.username == "system:serviceaccount:rollout:rollout-api"'
    names = [name for kind, name in manifests if kind == "ValidatingAdmissionPolicy" and "-api-" in name]
    assert sorted(names) == ["rollout-api-freezes", "rollout-api-leases", "rollout-api-releases"]
    for name in names:
        spec = manifests["ValidatingAdmissionPolicy", name]["spec"]
        assert spec["failurePolicy"] == "Fail"
        assert [one["expression"] for one in spec["matchConditions"]] == [user]
        bound = manifests["ValidatingAdmissionPolicyBinding", name]["spec"]
        assert bound == {"policyName": name, "validationActions": ["Deny"]}


def test_the_command_line_knows_every_flag_it_is_started_with(container: dict[str, Any]) -> None:
    verb, *flags = container["args"]
    command = get_command(app).commands[verb]  # type: ignore[attr-defined] # typer's own click
    assert {flag.partition("=")[0] for flag in flags} <= {flag for one in command.params for flag in one.opts}
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    settings = ApiSettings.model_validate({name.replace("-", "_"): value for name, value in given.items()})
    assert (settings.listen, settings.metrics_listen) == (":8443", ":8080")


def test_its_files_are_mounted_where_it_looks(manifests: Manifests, container: dict[str, Any]) -> None:
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in container["args"][1:])
    for flag in ("config", "tls-cert-file", "tls-key-file"):
        assert str(Path(flags[flag]).parent) in mounts
    assert flags["policies"] in mounts
    config = manifests["ConfigMap", "rollout-api-config"]["data"][Path(flags["config"]).name]
    assert ControllerConfig.model_validate(YAML(typ="safe", pure=True).load(config)).spec.api.audience == "rollout"


def test_callers_reach_the_port_it_listens_on_and_probes_the_other(
    manifests: Manifests, container: dict[str, Any]
) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {f"--listen=:{ports['https']}", f"--metrics-listen=:{ports['metrics']}"} <= set(container["args"])
    assert [one["targetPort"] for one in manifests["Service", "rollout-api"]["spec"]["ports"]] == ["https"]
    probes = [value["httpGet"] for key, value in container.items() if key.endswith("Probe")]
    assert {one["port"] for one in probes} == {"metrics"}
    ingress = manifests["NetworkPolicy", "rollout-api"]["spec"]["ingress"]
    assert [[port["port"] for port in rule["ports"]] for rule in ingress] == [[ports["https"]], [ports["metrics"]]]
    assert all(rule["from"] for rule in ingress)
    selected = manifests["Service", "rollout-api"]["spec"]["selector"]
    labels = manifests["Deployment", "rollout-api"]["spec"]["template"]["metadata"]["labels"]
    assert selected.items() <= labels.items()
    # The controller's own selector finds none of the API's pods.
    controllers = manifests["Deployment", "rollout"]["spec"]["selector"]["matchLabels"]
    assert not controllers.items() <= labels.items()
