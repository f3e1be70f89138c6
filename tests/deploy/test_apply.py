"""Each overlay goes onto a real cluster as docs/install.md says, and the controller's pods are made."""

from pathlib import Path

import httpx2
import pytest
from ruamel.yaml import YAML

from tests.deploy.cluster import ROOT, Cluster, until

OVERLAYS = {"cluster-wide": 1, "namespaced": 1, "ha": 2, "istio-strict": 2, "api": 2}
_PODS = "/api/v1/namespaces/rollout/pods"
_DEPLOYMENT = "/apis/apps/v1/namespaces/rollout/deployments/rollout"
_API = f"{_DEPLOYMENT}-api"


async def _pods_made(http: httpx2.AsyncClient, count: int, path: str = _DEPLOYMENT) -> list[str]:
    """Names of the pods of a Deployment's newest ReplicaSet, once there are so many."""

    async def made() -> list[str]:
        deployment = (await http.get(path)).json()
        sets = [
            one
            for one in (await http.get("/apis/apps/v1/namespaces/rollout/replicasets")).json()["items"]
            if one["metadata"]["ownerReferences"][0]["uid"] == deployment["metadata"]["uid"]
        ]
        revision = deployment["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision")
        newest = [
            one["metadata"]["uid"]
            for one in sets
            if one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision
        ]
        observed = deployment.get("status", {}).get("observedGeneration") == deployment["metadata"]["generation"]
        pods = (await http.get(_PODS)).json()["items"]
        ours = [
            pod["metadata"]["name"]
            for pod in pods
            if pod["metadata"]["ownerReferences"][0]["uid"] in newest and "deletionTimestamp" not in pod["metadata"]
        ]
        return ours if observed and len(ours) == count else []

    return list(await until(made))


@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_an_overlay_is_applied_without_a_warning_and_its_pods_are_admitted_as_restricted(
    overlay: str, cluster: Cluster, admin: httpx2.AsyncClient
) -> None:
    # Each begins with the Deployment of none, so that a pod left over from another overlay is none of this one's.
    if (await admin.get(_DEPLOYMENT)).status_code == 200:
        cluster.kubectl("delete", "deployment", "rollout", "--namespace=rollout", "--cascade=foreground", "--wait")
    cluster.installed = ""
    assert not await cluster.install(overlay)
    assert len(await _pods_made(admin, OVERLAYS[overlay])) == OVERLAYS[overlay]
    deployment = (await admin.get(_DEPLOYMENT)).json()
    failures = [one for one in deployment["status"]["conditions"] if one["type"] == "ReplicaFailure"]
    assert not failures


@pytest.mark.usefixtures("namespaced")
async def test_the_namespace_does_enforce_restricted_pods(admin: httpx2.AsyncClient) -> None:
    pod = {"metadata": {"name": "root"}, "spec": {"containers": [{"name": "root", "image": "rollout"}]}}
    assert (await admin.post(_PODS, json=pod, params={"dryRun": "All"})).status_code == 403


async def test_applying_twice_changes_nothing(cluster: Cluster) -> None:
    await cluster.install("istio-strict")
    differences = cluster.kubectl("diff", "--server-side", "-k", "deploy/overlays/istio-strict")
    assert not differences.stdout


async def test_the_api_server_finds_no_fault_with_the_policies_types(
    cluster: Cluster, admin: httpx2.AsyncClient
) -> None:
    await cluster.install("api")
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"

    async def checked() -> list[dict[str, object]]:
        items = (await admin.get(path)).json()["items"]
        done = all(one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"] for one in items)
        return items if done else []

    policies = await until(checked)
    assert {one["metadata"]["name"] for one in policies} == {
        "rollout-virtualservices",
        "rollout-destinationrules",
        "rollout-releases",
        "rollout-api-releases",
        "rollout-api-freezes",
        "rollout-api-leases",
    }
    assert [one["status"].get("typeChecking") for one in policies] == [{}] * len(policies)


async def test_both_components_go_with_the_whole_cluster_too(cluster: Cluster, tmp_path: Path) -> None:
    # kustomize reads nothing above itself but folders, by relative paths.
    folder = tmp_path / "overlay"
    folder.mkdir()
    deploy = Path("../" * len(folder.parts)) / ROOT.relative_to("/") / "deploy"
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(deploy / "overlays/cluster-wide")],
        "components": [str(deploy / "components/ha"), str(deploy / "components/istio-strict")],
    }
    with (folder / "kustomization.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(kustomization, file)
    cluster.installed = ""
    assert not cluster.apply(folder)


async def test_the_apis_pods_are_admitted_as_restricted(cluster: Cluster, admin: httpx2.AsyncClient) -> None:
    await cluster.install("api")
    assert len(await _pods_made(admin, 2, _API)) == 2
    deployment = (await admin.get(_API)).json()
    assert not [one for one in deployment["status"]["conditions"] if one["type"] == "ReplicaFailure"]


async def test_the_api_goes_into_a_strict_mesh_and_may_be_given_preflights_eyes(
    cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "overlay"
    folder.mkdir()
    deploy = Path("../" * len(folder.parts)) / ROOT.relative_to("/") / "deploy"
    names = ("istio-strict", "api-istio-strict", "api-preflight")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(deploy / "overlays/api")],
        "components": [str(deploy / "components" / name) for name in names],
    }
    with (folder / "kustomization.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(kustomization, file)
    cluster.installed = ""
    try:
        assert not cluster.apply(folder)
        rendered = cluster.kubectl("get", "deployment", "rollout-api", "--namespace=rollout", "--output=yaml").stdout
        assert "tls" not in rendered
    finally:
        cluster.kubectl("delete", "-f", ROOT / "deploy/components/api-preflight/rbac.yaml")
        cluster.kubectl("delete", "-f", ROOT / "deploy/components/api-istio-strict/mesh.yaml")
        # Without the mesh's own fields, which a later apply of another overlay does not know.
        cluster.kubectl("delete", "deployment", "rollout-api", "--namespace=rollout")
        cluster.kubectl("delete", "service", "rollout-api", "--namespace=rollout")
