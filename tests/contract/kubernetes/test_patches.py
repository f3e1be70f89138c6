from typing import Any

import pytest

from tests.contract.kubernetes.client import (
    JSON_PATCH,
    STRATEGIC,
    Api,
    config_map,
    deployment,
    images,
    refused_as,
    revision,
    virtual_service,
    weights,
)

_WEIGHT = "/spec/http/0/route/0/weight"


async def test_a_merge_patch_changes_what_it_names_and_null_removes(api: Api) -> None:
    await api.create("configmaps", config_map("a", {"x": "1", "y": "2"}, labels={"l": "m"}))
    patched = await api.patched("configmaps", "a", {"data": {"x": None, "z": "3"}})
    assert patched["data"] == {"y": "2", "z": "3"}
    assert patched["metadata"]["labels"] == {"l": "m"}


async def test_a_merge_patch_replaces_lists_as_a_whole(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"))
    http = [{"route": [{"destination": {"host": "checkout"}, "weight": 100}]}]
    patched = await api.patched("virtualservices", "a", {"spec": {"http": http}})
    assert patched["spec"] == {"hosts": ["checkout"], "http": http}


async def test_a_patch_with_a_stale_resource_version_is_a_conflict(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    body = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"], "labels": {"x": "1"}}}
    await api.patched("virtualservices", "a", body)
    body["metadata"]["labels"]["x"] = "2"
    refused_as(await api.patch("virtualservices", "a", body), 409, "Conflict")
    assert (await api.get("virtualservices", "a"))["metadata"]["labels"] == {"x": "1"}


async def test_a_json_patch_tests_and_replaces(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a", 90))
    operations = [{"op": "test", "path": _WEIGHT, "value": 90}, {"op": "replace", "path": _WEIGHT, "value": 50}]
    patched = await api.patched("virtualservices", "a", operations, JSON_PATCH)
    assert weights(patched) == [50, 10]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": _WEIGHT, "value": 1},
        {"op": "replace", "path": "/spec/nothing/here", "value": 1},
        {"op": "remove", "path": "/spec/nothing"},
        {"op": "add", "path": "/spec/http/7", "value": {}},
        {"op": "replace", "path": "/spec/hosts/0/deeper", "value": 1},
    ],
)
async def test_a_json_patch_that_cannot_be_carried_out_changes_nothing(api: Api, operation: dict[str, Any]) -> None:
    before = await api.create("virtualservices", virtual_service("a", 90))
    operations = [{"op": "replace", "path": _WEIGHT, "value": 50}, operation]
    answer = await api.patch("virtualservices", "a", operations, JSON_PATCH)
    refused_as(answer, 422, "Invalid")
    assert await api.get("virtualservices", "a") == before


async def test_a_json_patch_guards_by_resource_version(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a", 90))
    guard = {"op": "test", "path": "/metadata/resourceVersion", "value": created["metadata"]["resourceVersion"]}
    operations = [guard, {"op": "replace", "path": _WEIGHT, "value": 50}]
    await api.patched("virtualservices", "a", operations, JSON_PATCH)
    refused_as(await api.patch("virtualservices", "a", operations, JSON_PATCH), 422, "Invalid")


@pytest.mark.parametrize("body", [{}, "text", [1]])
async def test_a_json_patch_that_is_no_list_of_operations_is_a_bad_request(api: Api, body: Any) -> None:
    await api.create("virtualservices", virtual_service("a"))
    refused_as(await api.patch("virtualservices", "a", body, JSON_PATCH), 400, "BadRequest")


async def test_an_unknown_patch_type_is_unsupported(api: Api) -> None:
    await api.create("configmaps", config_map("a"))
    refused_as(await api.patch("configmaps", "a", {}, "application/json"), 415, "UnsupportedMediaType")


async def test_a_custom_resource_takes_no_strategic_merge_patch(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"))
    refused_as(await api.patch("virtualservices", "a", {}, STRATEGIC), 415, "UnsupportedMediaType")


async def test_an_absent_object_cannot_be_patched(api: Api) -> None:
    refused_as(await api.patch("virtualservices", "a", {}), 404, "NotFound")


async def test_a_patch_that_changes_nothing_is_no_write(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    assert revision(await api.patched("virtualservices", "a", {"spec": created["spec"]})) == revision(created)


async def test_a_patch_cannot_rename(api: Api) -> None:
    before = await api.create("virtualservices", virtual_service("a"))
    answer = await api.patch("virtualservices", "a", {"metadata": {"name": "b"}})
    assert answer.status_code in {400, 422}
    assert await api.get("virtualservices", "a") == before
    assert not await api.exists("virtualservices", "b")


async def test_a_patch_does_not_change_what_the_server_sets(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    body = {"metadata": {"generation": 9, "creationTimestamp": "2001-01-01T00:00:00Z", "labels": {"x": "y"}}}
    patched = await api.patched("virtualservices", "a", body)
    for key in ("generation", "creationTimestamp", "uid"):
        assert patched["metadata"][key] == created["metadata"][key]


def _containers(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers), **more}}}}


async def test_a_strategic_merge_patch_merges_containers_by_name(api: Api) -> None:
    await api.create("deployments", deployment("a"))
    body = _containers({"name": "app", "image": "app:2", "env": [{"name": "B", "value": "3"}]})
    patched = await api.patched("deployments", "a", body, STRATEGIC)
    assert dict(images(patched)) == {"app": "app:2", "side": "side:1"}
    env = patched["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {entry["name"]: entry["value"] for entry in env} == {"A": "1", "B": "3"}


async def test_a_strategic_merge_patch_adds_deletes_and_orders_items(api: Api) -> None:
    await api.create("deployments", deployment("a"))
    order = {"$setElementOrder/containers": [{"name": "new"}, {"name": "app"}]}
    body = _containers({"name": "new", "image": "new:1"}, {"name": "side", "$patch": "delete"}, **order)
    patched = await api.patched("deployments", "a", body, STRATEGIC)
    assert list(images(patched)) == [("new", "new:1"), ("app", "app:1")]


async def test_a_strategic_merge_patch_replaces_when_told_to(api: Api) -> None:
    await api.create("deployments", deployment("a"))
    body = _containers({"name": "only", "image": "only:1"}, {"$patch": "replace"})
    patched = await api.patched("deployments", "a", body, STRATEGIC)
    assert list(images(patched)) == [("only", "only:1")]


async def test_a_strategic_merge_patch_keeps_only_the_keys_it_retains(api: Api) -> None:
    body = deployment("a")
    body["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await api.create("deployments", body)
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    patched = await api.patched("deployments", "a", patch, STRATEGIC)
    assert patched["spec"]["strategy"] == {"type": "Recreate"}


async def test_a_strategic_merge_patch_adds_and_deletes_finalizers_as_a_set(api: Api) -> None:
    await api.create("configmaps", config_map("a", finalizers=["rollout.dev/a"]))
    body: dict[str, Any] = {"metadata": {"finalizers": ["rollout.dev/b"]}}
    patched = await api.patched("configmaps", "a", body, STRATEGIC)
    assert set(patched["metadata"]["finalizers"]) == {"rollout.dev/a", "rollout.dev/b"}
    body = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["rollout.dev/a"]}}
    patched = await api.patched("configmaps", "a", body, STRATEGIC)
    assert patched["metadata"]["finalizers"] == ["rollout.dev/b"]


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"$patch": "explode"},
        {"spec": {"template": {"spec": {"containers": [{"image": "nameless:1"}]}}}},
        {"spec": {"template": {"spec": {"$setElementOrder/containers": 3}}}},
    ],
)
async def test_a_strategic_merge_patch_nobody_understands_changes_nothing(api: Api, patch: Any) -> None:
    before = await api.create("deployments", deployment("a"))
    answer = await api.patch("deployments", "a", patch, STRATEGIC)
    assert answer.status_code in {400, 422, 500}
    # A real server's controllers write its status meanwhile.
    assert (await api.get("deployments", "a"))["spec"] == before["spec"]


async def test_a_merge_patch_of_a_deployment_drops_the_containers_it_does_not_name(api: Api) -> None:
    await api.create("deployments", deployment("a"))
    patched = await api.patched("deployments", "a", _containers({"name": "app", "image": "app:2"}))
    assert list(images(patched)) == [("app", "app:2")]
