import asyncio

import pytest

from tests.contract.kubernetes.client import PATIENCE, Api

_OURS = {
    "networking.istio.io/v1": {"virtualservices", "virtualservices/status", "destinationrules"},
    "rollout.dev/v1alpha1": {"releases", "releases/status", "servicepolicies", "freezes"},
    "apps/v1": {"deployments", "deployments/status", "deployments/scale"},
    "coordination.k8s.io/v1": {"leases"},
}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_the_server_is_healthy(api: Api, path: str) -> None:
    answer = await api.http.get(path)
    assert (answer.status_code, answer.text) == (200, "ok")


async def test_the_server_has_a_version(api: Api) -> None:
    found = (await api.http.get("/version")).json()
    assert found["major"] == "1"
    assert found["gitVersion"].startswith("v1.")


@pytest.mark.parametrize("group_version", _OURS)
async def test_a_group_version_lists_its_resources(api: Api, group_version: str) -> None:
    found = (await api.http.get(f"/apis/{group_version}")).json()
    assert (found["kind"], found["groupVersion"]) == ("APIResourceList", group_version)
    assert _OURS[group_version] <= {resource["name"] for resource in found["resources"]}


async def test_a_release_can_be_called_rel(api: Api) -> None:
    found = (await api.http.get("/apis/rollout.dev/v1alpha1")).json()["resources"]
    (release,) = [resource for resource in found if resource["name"] == "releases"]
    assert (release["kind"], release["singularName"], release["namespaced"]) == ("Release", "release", True)
    assert release["shortNames"] == ["rel"]
    verbs = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
    assert set(release["verbs"]) == verbs


async def test_istio_prefers_its_newest_version(api: Api) -> None:
    groups = (await api.http.get("/apis")).json()["groups"]
    (istio,) = [group for group in groups if group["name"] == "networking.istio.io"]
    assert [entry["version"] for entry in istio["versions"]] == ["v1", "v1beta1", "v1alpha3"]
    assert istio["preferredVersion"]["version"] == "v1"
    assert (await api.http.get("/apis/networking.istio.io")).json()["preferredVersion"] == istio["preferredVersion"]


async def test_the_core_group_is_served(api: Api) -> None:
    assert (await api.http.get("/api")).json()["versions"] == ["v1"]
    names = {entry["name"] for entry in (await api.http.get("/api/v1")).json()["resources"]}
    assert {"namespaces", "services", "pods", "events", "configmaps", "secrets"} <= names


@pytest.mark.parametrize("path", ["/apis/nobody.example", "/apis/rollout.dev/v9"])
async def test_an_unknown_group_is_not_found(api: Api, path: str) -> None:
    assert (await api.http.get(path)).status_code == 404


async def test_openapi_says_that_writes_can_be_validated_by_the_server(api: Api) -> None:
    async with asyncio.timeout(PATIENCE):
        # A real server describes a CRD some moments after it serves it.
        while "apis/rollout.dev/v1alpha1" not in (index := (await api.http.get("/openapi/v3")).json()["paths"]):
            await asyncio.sleep(0.05)
    place = index["apis/rollout.dev/v1alpha1"]["serverRelativeURL"]
    paths = (await api.http.get(place)).json()["paths"]
    item = "/apis/rollout.dev/v1alpha1/namespaces/{namespace}/releases/{name}"
    parameters = {parameter["name"] for parameter in paths[item]["patch"]["parameters"]}
    assert {"dryRun", "fieldManager", "fieldValidation"} <= parameters
