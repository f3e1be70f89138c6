import asyncio
from typing import Any

import httpx2
import pytest

from tests.contract.kubernetes.client import (
    PATIENCE,
    Api,
    config_map,
    deployment,
    lease,
    refused_as,
    revision,
    virtual_service,
    weights,
)


async def test_a_created_object_gets_an_identity(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    metadata = created["metadata"]
    assert metadata["namespace"] == api.namespace
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"].endswith("Z")
    assert metadata["generation"] == 1
    assert revision(created) > 0
    assert await api.get("virtualservices", "a") == created


async def test_creating_a_taken_name_is_refused_with_already_exists(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a", 70))
    answer = await api.http.post(api.path("virtualservices"), json=virtual_service("a", 20))
    details = refused_as(answer, 409, "AlreadyExists")["details"]
    assert (details["name"], details["group"], details["kind"]) == ("a", "networking.istio.io", "virtualservices")
    assert weights(await api.get("virtualservices", "a")) == [70, 30]


async def test_an_absent_object_is_not_found(api: Api) -> None:
    answer = await api.http.get(api.path("virtualservices", "nobody"))
    details = refused_as(answer, 404, "NotFound")["details"]
    assert (details["name"], details["group"], details["kind"]) == (
        "nobody",
        "networking.istio.io",
        "virtualservices",
    )


async def test_nothing_is_created_in_a_namespace_that_does_not_exist(api: Api) -> None:
    answer = await api.http.post("/api/v1/namespaces/nowhere/configmaps", json=config_map("a"))
    assert refused_as(answer, 404, "NotFound")["details"]["kind"] == "namespaces"


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "dash-", "a..b", "a" * 254])
async def test_a_name_that_is_no_dns_name_is_refused(api: Api, name: str) -> None:
    answer = await api.http.post(api.path("virtualservices"), json=virtual_service(name))
    causes = refused_as(answer, 422, "Invalid")["details"]["causes"]
    assert {cause["field"] for cause in causes} == {"metadata.name"}


async def test_an_object_without_a_name_is_refused(api: Api) -> None:
    body = virtual_service("a")
    del body["metadata"]["name"]
    answer = await api.http.post(api.path("virtualservices"), json=body)
    refused_as(answer, 422, "Invalid")


async def test_generate_name_makes_a_fresh_name_each_time(api: Api) -> None:
    body = config_map("x")
    body["metadata"] = {"generateName": "note-"}
    names = {(await api.create("configmaps", body))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("note-") and len(name) > len("note-") for name in names)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"apiVersion": "networking.istio.io/v1beta1"},
        {"kind": ""},
        {"metadata": {"name": "a", "namespace": "elsewhere"}},
        {"metadata": {"name": "a", "labels": {"n": 1}}},
        {"metadata": {"name": "a", "labels": ["n"]}},
        {"metadata": "a"},
    ],
)
async def test_a_body_that_does_not_belong_here_is_a_bad_request(api: Api, spoilt: dict[str, Any]) -> None:
    answer = await api.http.post(api.path("virtualservices"), json={**virtual_service("a"), **spoilt})
    refused_as(answer, 400, "BadRequest")
    assert await api.names("virtualservices") == []


async def test_a_custom_object_of_another_kind_is_invalid(api: Api) -> None:
    body = {**virtual_service("a"), "kind": "DestinationRule"}
    refused = refused_as(await api.http.post(api.path("virtualservices"), json=body), 422, "Invalid")
    assert [cause["field"] for cause in refused["details"]["causes"]] == ["kind"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"metadata": {"name": NaN}}'])
async def test_a_body_that_is_no_json_object_is_a_bad_request(api: Api, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await api.http.post(api.path("configmaps"), content=body, headers=headers)
    refused_as(answer, 400, "BadRequest")


async def test_yaml_is_understood_and_timestamps_stay_strings(api: Api) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: {at: '2026-01-01T00:00:00Z'}\n"
    headers = {"content-type": "application/yaml"}
    answer = await api.http.post(api.path("configmaps"), content=text, headers=headers)
    assert answer.status_code == 201
    assert answer.json()["metadata"]["annotations"] == {"at": "2026-01-01T00:00:00Z"}


async def test_an_unknown_media_type_is_unsupported(api: Api) -> None:
    headers = {"content-type": "text/csv"}
    answer = await api.http.post(api.path("configmaps"), content=b"a,b", headers=headers)
    refused_as(answer, 415, "UnsupportedMediaType")


async def test_an_answer_nobody_can_write_is_not_acceptable(api: Api) -> None:
    answer = await api.http.get(api.path("configmaps"), headers={"accept": "text/html"})
    assert answer.status_code == 406


async def test_a_huge_body_is_refused(api: Api) -> None:
    answer = await api.http.post(api.path("configmaps"), json=config_map("a", {"x": "y" * 4_000_000}))
    refused_as(answer, 413, "RequestEntityTooLarge")


async def test_a_client_does_not_choose_what_the_server_sets(api: Api) -> None:
    chosen: dict[str, Any] = {"uid": "mine", "generation": 7, "creationTimestamp": "2001-01-01T00:00:00Z"}
    created = await api.create("virtualservices", virtual_service("a", **chosen))
    assert all(created["metadata"][key] != value for key, value in chosen.items())


async def test_an_object_is_born_without_a_status(api: Api) -> None:
    body = virtual_service("a")
    body["status"] = {"conditions": [{"type": "Reconciled", "status": "True"}]}
    assert not (await api.create("virtualservices", body)).get("status")


async def test_a_new_object_cannot_bring_a_resource_version(api: Api) -> None:
    answer = await api.http.post(api.path("virtualservices"), json=virtual_service("a", resourceVersion="5"))
    assert answer.status_code >= 400
    assert not await api.exists("virtualservices", "a")


async def test_a_replace_with_the_current_resource_version_is_taken(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    created["spec"] = virtual_service("a", 40)["spec"]
    answer = await api.replace("virtualservices", created)
    assert answer.status_code == 200
    assert weights(await api.get("virtualservices", "a")) == [40, 60]
    assert revision(answer.json()) > revision(created)


async def test_a_stale_write_is_refused_with_409(api: Api) -> None:
    stale = await api.create("virtualservices", virtual_service("a"))
    await api.patched("virtualservices", "a", {"spec": virtual_service("a", 40)["spec"]})
    stale["spec"] = virtual_service("a", 10)["spec"]
    details = refused_as(await api.replace("virtualservices", stale), 409, "Conflict")["details"]
    assert (details["name"], details["kind"]) == ("a", "virtualservices")
    assert weights(await api.get("virtualservices", "a")) == [40, 60]


@pytest.mark.parametrize(("plural", "body"), [("virtualservices", virtual_service("a")), ("leases", lease("a", "me"))])
async def test_a_replace_without_a_resource_version_is_refused_where_it_is_needed(
    api: Api, plural: str, body: dict[str, Any]
) -> None:
    await api.create(plural, body)
    refused_as(await api.replace(plural, body), 422, "Invalid")


async def test_a_config_map_may_be_replaced_blindly(api: Api) -> None:
    await api.create("configmaps", config_map("a", {"x": "1"}))
    answer = await api.replace("configmaps", config_map("a", {"x": "2"}))
    assert answer.status_code == 200
    assert (await api.get("configmaps", "a"))["data"] == {"x": "2"}


async def test_a_replace_creates_leases_and_nothing_custom(api: Api) -> None:
    assert (await api.replace("leases", lease("a", "me"))).status_code == 201
    refused_as(await api.replace("virtualservices", virtual_service("a")), 404, "NotFound")


async def test_a_replace_under_another_name_is_a_bad_request(api: Api) -> None:
    created = await api.create("configmaps", config_map("a"))
    created["metadata"]["name"] = "b"
    refused_as(await api.http.put(api.path("configmaps", "a"), json=created), 400, "BadRequest")


async def test_a_replace_of_an_object_with_another_uid_is_a_conflict(api: Api) -> None:
    created = await api.create("configmaps", config_map("a"))
    created["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555"
    refused_as(await api.replace("configmaps", created), 409, "Conflict")


async def test_a_write_that_changes_nothing_is_no_write(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    answer = await api.replace("virtualservices", created)
    assert answer.status_code == 200
    assert revision(answer.json()) == revision(created)


async def test_generation_counts_changes_of_the_spec_only(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"))
    labelled = await api.patched("virtualservices", "a", {"metadata": {"labels": {"x": "y"}}})
    assert labelled["metadata"]["generation"] == 1
    shifted = await api.patched("virtualservices", "a", {"spec": virtual_service("a", 40)["spec"]})
    assert shifted["metadata"]["generation"] == 2


async def test_an_annotation_on_a_deployment_is_a_new_generation_too(api: Api) -> None:
    await api.create("deployments", deployment("a"))
    body = {"metadata": {"annotations": {"x": "y"}}}
    assert (await api.patched("deployments", "a", body))["metadata"]["generation"] == 2
    body = {"metadata": {"labels": {"x": "y"}}}
    assert (await api.patched("deployments", "a", body))["metadata"]["generation"] == 2


async def test_a_deleted_object_is_gone(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    answer = await api.http.delete(api.path("virtualservices", "a"))
    assert answer.status_code == 200
    status = answer.json()
    assert (status["kind"], status["status"]) == ("Status", "Success")
    assert status["details"]["uid"] == created["metadata"]["uid"]
    assert not await api.exists("virtualservices", "a")
    refused_as(await api.http.delete(api.path("virtualservices", "a")), 404, "NotFound")


async def test_an_object_created_again_is_another_object(api: Api) -> None:
    first = await api.create("configmaps", config_map("a"))
    await api.http.delete(api.path("configmaps", "a"))
    second = await api.create("configmaps", config_map("a"))
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert revision(second) > revision(first)


async def _deleted(api: Api, name: str, body: dict[str, Any]) -> httpx2.Response:
    return await api.http.request("DELETE", api.path("virtualservices", name), json=body)


async def test_a_delete_with_a_false_precondition_is_a_conflict(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    metadata = created["metadata"]
    for wrong in ({"uid": "no"}, {"uid": metadata["uid"], "resourceVersion": "1"}):
        refused_as(await _deleted(api, "a", {"preconditions": wrong}), 409, "Conflict")
    right = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    assert (await _deleted(api, "a", {"preconditions": right})).status_code == 200


async def test_a_finalizer_keeps_a_deleted_object_until_it_is_taken_off(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a", finalizers=["rollout.dev/hold"]))
    assert (await api.http.delete(api.path("virtualservices", "a"))).status_code == 200
    dying = await api.get("virtualservices", "a")
    assert dying["metadata"]["deletionTimestamp"]
    assert (await api.http.delete(api.path("virtualservices", "a"))).status_code == 200
    assert await api.exists("virtualservices", "a")
    await api.patched("virtualservices", "a", {"metadata": {"finalizers": None}})
    assert not await api.exists("virtualservices", "a")


async def test_a_delete_in_the_foreground_answers_with_the_dying_object(api: Api) -> None:
    await api.create("configmaps", config_map("a"))
    body = {"propagationPolicy": "Foreground"}
    answer = await api.http.request("DELETE", api.path("configmaps", "a"), json=body)
    assert answer.status_code == 200
    metadata = answer.json()["metadata"]
    assert metadata["deletionTimestamp"]
    assert metadata["finalizers"] == ["foregroundDeletion"]
    async with asyncio.timeout(PATIENCE):
        # A real server's garbage collector takes its finalizer off.
        while await api.exists("configmaps", "a"):
            await asyncio.sleep(0.02)


async def test_a_delete_with_an_unknown_policy_is_invalid(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"))
    refused_as(await _deleted(api, "a", {"propagationPolicy": "Nonsense"}), 422, "Invalid")
    assert await api.exists("virtualservices", "a")


async def test_a_deleted_namespace_ends_with_what_is_in_it(api: Api) -> None:
    await api.create("configmaps", config_map("a"))
    path = f"/api/v1/namespaces/{api.namespace}"
    answer = await api.http.delete(path)
    assert answer.status_code == 200
    assert answer.json()["status"]["phase"] == "Terminating"
    async with asyncio.timeout(PATIENCE):
        while (await api.http.get(path)).status_code != 404:
            await asyncio.sleep(0.05)
    assert await api.names("configmaps") == []


async def test_a_lease_is_renewed_to_the_microsecond(api: Api) -> None:
    created = await api.create("leases", lease("a", "me"))
    created["spec"]["renewTime"] = "2026-01-01T00:00:01.000001Z"
    renewed = (await api.replace("leases", created)).json()
    assert renewed["spec"]["renewTime"] == "2026-01-01T00:00:01.000001Z"
    renewed["spec"]["renewTime"] = "2026-01-01T00:00:02Z"
    refused_as(await api.replace("leases", renewed), 400, "BadRequest")
    refused_as(await api.replace("leases", created), 409, "Conflict")


async def test_a_lease_that_was_deleted_is_made_again_by_who_does_not_insist_on_the_old_one(api: Api) -> None:
    created = await api.create("leases", lease("a", "me"))
    await api.http.delete(api.path("leases", "a"))
    refused_as(await api.replace("leases", created), 409, "Conflict")
    del created["metadata"]["uid"]
    assert (await api.replace("leases", created)).status_code == 201


async def test_a_lease_lasts_longer_than_no_time(api: Api) -> None:
    await api.create("leases", lease("a", "me"))
    answer = await api.patch("leases", "a", {"spec": {"leaseDurationSeconds": 0}})
    refused_as(answer, 422, "Invalid")


async def test_a_dying_object_takes_no_new_finalizers(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a", finalizers=["rollout.dev/hold"]))
    await api.http.delete(api.path("virtualservices", "a"))
    more = {"metadata": {"finalizers": ["rollout.dev/hold", "rollout.dev/more"]}}
    refused_as(await api.patch("virtualservices", "a", more), 422, "Invalid")


async def test_a_dry_run_changes_nothing(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"), dryRun="All")
    assert not await api.exists("virtualservices", "a")
    before = await api.create("virtualservices", virtual_service("a"))
    spec = {"spec": virtual_service("a", 40)["spec"]}
    assert weights(await api.patched("virtualservices", "a", spec, dryRun="All")) == [40, 60]
    await api.http.delete(api.path("virtualservices", "a"), params={"dryRun": "All"})
    assert await api.get("virtualservices", "a") == before


@pytest.mark.parametrize("labels", [{"x": "no spaces"}, {"x": "a" * 64}, {"no spaces": "x"}, {"UPPER.example/": "x"}])
async def test_a_label_kubernetes_does_not_allow_is_refused(api: Api, labels: dict[str, str]) -> None:
    answer = await api.http.post(api.path("configmaps"), json=config_map("a", labels=labels))
    refused_as(answer, 422, "Invalid")


async def test_a_method_that_makes_no_sense_is_not_allowed(api: Api) -> None:
    refused_as(await api.http.put(api.path("configmaps"), json={}), 405, "MethodNotAllowed")
    refused_as(await api.http.post(api.path("configmaps", "a"), json={}), 405, "MethodNotAllowed")
    refused_as(await api.http.put(api.path("virtualservices"), json={}), 400, "BadRequest")


@pytest.mark.parametrize(
    "path",
    ["/apis/networking.istio.io/v1/unheardof", "/apis/nobody.example/v1/things", "/api/v2/pods", "/nothing"],
)
async def test_a_path_that_is_not_served_is_not_found(api: Api, path: str) -> None:
    assert (await api.http.get(path)).status_code == 404
