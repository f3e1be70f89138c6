"""What deploy/ runs fits the `restricted` Pod Security Standard, and sees no Secret but the certificate it shows.

The real API server admits the same pods in tests/deploy. Source of the rules:
kubernetes.io/docs/concepts/security/pod-security-standards.
"""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = sorted(one.name for one in (ROOT / "deploy/overlays").iterdir() if one.is_dir())


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    """Every object of an overlay."""
    argv = ["kubectl", "kustomize", f"deploy/overlays/{overlay}"]
    made = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return [one for one in YAML(typ="safe", pure=True).load_all(made.stdout) if one]


def pods(overlay: str) -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in rendered(overlay) if one["kind"] == "Deployment"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    assert pods(overlay)
    for pod in pods(overlay):
        security = pod["securityContext"]
        assert security["runAsNonRoot"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["runAsUser"] > 0
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= {
            "configMap", "emptyDir", "secret", "projected", "downwardAPI",
        }  # fmt: skip
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert not own.get("privileged")
            assert container["resources"]["limits"]["memory"]
            assert {"livenessProbe", "readinessProbe", "startupProbe"} <= set(container)
            assert all("hostPort" not in port for port in container["ports"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_sees_a_secret_but_the_certificate(overlay: str) -> None:
    for pod in pods(overlay):
        secrets = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
        assert secrets in ([], ["rollout-api-tls"])
        assert not [one for container in pod["containers"] for one in container.get("env", []) if "value" in one]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_role_of_ours_has_a_wildcard_or_sees_secrets(overlay: str) -> None:
    roles = [one for one in rendered(overlay) if one["kind"] in {"Role", "ClusterRole"}]
    assert roles
    for role in roles:
        for rule in role.get("rules") or []:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"secrets", "serviceaccounts/token", "pods/exec"} & set(rule["resources"])
            assert not {"impersonate", "escalate", "bind"} & set(rule["verbs"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_deployment_has_its_network_policy_and_mounts_its_token_on_purpose(overlay: str) -> None:
    objects = rendered(overlay)
    selected = [one["spec"]["podSelector"]["matchLabels"] for one in objects if one["kind"] == "NetworkPolicy"]
    for deployment in (one for one in objects if one["kind"] == "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert [wanted for wanted in selected if wanted.items() <= labels.items()]
    accounts = [one for one in objects if one["kind"] == "ServiceAccount"]
    assert all(one["automountServiceAccountToken"] is False for one in accounts)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_namespace_of_ours_enforces_it(overlay: str) -> None:
    for namespace in (one for one in rendered(overlay) if one["kind"] == "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
