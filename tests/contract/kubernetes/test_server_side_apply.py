from typing import Any

import httpx2
import pytest

from tests.contract.kubernetes.client import (
    APPLY,
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


async def _apply(api: Api, obj: dict[str, Any], manager: str, *, force: bool = False, **query: str) -> httpx2.Response:
    plural = f"{obj['kind'].lower()}s"
    force_query = {"force": "true"} if force else {}
    name = obj["metadata"]["name"]
    return await api.patch(plural, name, obj, APPLY, fieldManager=manager, **force_query, **query)


def _fields_of(obj: dict[str, Any], manager: str, operation: str = "Apply") -> dict[str, Any]:
    for entry in obj["metadata"].get("managedFields", []):
        if (entry["manager"], entry["operation"]) == (manager, operation):
            fields: dict[str, Any] = entry["fieldsV1"]
            return fields
    return {}


async def test_applying_something_new_creates_it(api: Api) -> None:
    answer = await _apply(api, virtual_service("a", 90), "git")
    assert answer.status_code == 201
    found = await api.get("virtualservices", "a")
    assert weights(found) == [90, 10]
    assert _fields_of(found, "git")["f:spec"] == {"f:hosts": {}, "f:http": {}}


async def test_applying_the_same_again_is_no_write(api: Api) -> None:
    first = (await _apply(api, virtual_service("a", 90), "git")).json()
    second = await _apply(api, virtual_service("a", 90), "git")
    assert second.status_code == 200
    assert revision(second.json()) == revision(first)


async def test_yaml_can_be_applied(api: Api) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: 'yes'\n"
    answer = await api.http.patch(
        api.path("configmaps", "a"), content=text, headers={"content-type": APPLY}, params={"fieldManager": "git"}
    )
    assert answer.status_code == 201
    assert (await api.get("configmaps", "a"))["data"] == {"x": "yes"}


async def test_an_apply_conflicts_with_weights_that_someone_else_changed(api: Api) -> None:
    await _apply(api, virtual_service("a", 100), "git")
    shift = {"spec": virtual_service("a", 90)["spec"]}
    await api.patched("virtualservices", "a", shift, fieldManager="controller")
    refused = refused_as(await _apply(api, virtual_service("a", 100), "git"), 409, "Conflict")
    assert [cause["field"] for cause in refused["details"]["causes"]] == [".spec.http"]
    assert {cause["reason"] for cause in refused["details"]["causes"]} == {"FieldManagerConflict"}
    assert weights(await api.get("virtualservices", "a")) == [90, 10]


async def test_a_forced_apply_takes_fields_over(api: Api) -> None:
    await _apply(api, config_map("a", {"x": "1", "y": "1"}), "one")
    refused_as(await _apply(api, config_map("a", {"x": "2"}), "two"), 409, "Conflict")
    answer = await _apply(api, config_map("a", {"x": "2"}), "two", force=True)
    assert answer.status_code == 200
    found = await api.get("configmaps", "a")
    assert found["data"] == {"x": "2", "y": "1"}
    assert _fields_of(found, "two")["f:data"] == {"f:x": {}}
    assert "f:x" not in _fields_of(found, "one")["f:data"]


async def test_equal_values_may_have_several_owners(api: Api) -> None:
    await _apply(api, config_map("a", {"x": "1"}), "one")
    assert (await _apply(api, config_map("a", {"x": "1"}), "two")).status_code == 200
    found = (await _apply(api, config_map("a"), "one")).json()
    assert found["data"] == {"x": "1"}
    assert not (await _apply(api, config_map("a"), "two")).json().get("data")


async def test_a_field_that_is_no_longer_applied_is_removed(api: Api) -> None:
    await _apply(api, config_map("a", {"x": "1", "y": "1"}), "one")
    await api.patched("configmaps", "a", {"data": {"z": "1"}}, fieldManager="other")
    answer = await _apply(api, config_map("a", {"x": "1"}), "one")
    assert answer.json()["data"] == {"x": "1", "z": "1"}


async def test_an_apply_without_a_manager_is_refused(api: Api) -> None:
    answer = await api.patch("configmaps", "a", config_map("a"), APPLY)
    assert answer.status_code in {400, 422}
    assert not await api.exists("configmaps", "a")


async def test_a_dry_apply_changes_nothing(api: Api) -> None:
    assert (await _apply(api, config_map("a"), "one", dryRun="All")).status_code == 201
    assert not await api.exists("configmaps", "a")


async def test_applied_containers_merge_by_name(api: Api) -> None:
    await _apply(api, deployment("a"), "git")
    one = deployment("a")
    one["spec"] = {"template": {"spec": {"containers": [{"name": "new", "image": "new:1"}]}}}
    found = (await _apply(api, one, "addon")).json()
    assert dict(images(found)) == {"app": "app:1", "side": "side:1", "new": "new:1"}
    refused = refused_as(await _apply(api, _with_image("other:1"), "addon"), 409, "Conflict")
    (cause,) = refused["details"]["causes"]
    assert cause["field"] == '.spec.template.spec.containers[name="app"].image'


async def test_an_applied_container_is_removed_by_its_owner(api: Api) -> None:
    await _apply(api, deployment("a"), "git")
    less = deployment("a")
    less["spec"]["template"]["spec"]["containers"].pop()
    found = (await _apply(api, less, "git")).json()
    assert list(images(found)) == [("app", "app:1")]


async def test_an_item_goes_with_its_owner_even_if_someone_else_has_set_a_field_of_it(api: Api) -> None:
    await _apply(api, deployment("a"), "git")
    await api.patched("deployments", "a", _with_image("app:1", "side"), STRATEGIC, fieldManager="tuner")
    less = deployment("a")
    less["spec"]["template"]["spec"]["containers"].pop()
    found = (await _apply(api, less, "git")).json()
    assert dict(images(found)) == {"app": "app:1"}


def _with_image(image: str, name: str = "app") -> dict[str, Any]:
    obj = deployment("a")
    obj["spec"] = {"template": {"spec": {"containers": [{"name": name, "image": image}]}}}
    return obj


async def test_a_status_write_is_owned_under_its_subresource(api: Api) -> None:
    await _apply(api, virtual_service("a"), "git")
    status = {"status": {"observedGeneration": "1"}}
    found = await api.patched("virtualservices", "a", status, subresource="status", fieldManager="controller")
    entries = {(e["manager"], e.get("subresource", "")): e for e in found["metadata"]["managedFields"]}
    assert entries["controller", "status"]["fieldsV1"]["f:status"]["f:observedGeneration"] == {}
    assert (await _apply(api, virtual_service("a"), "git")).json()["status"] == status["status"]


@pytest.mark.parametrize("spoilt", [{"kind": ""}, {"apiVersion": ""}, {"kind": "Secret"}])
async def test_an_apply_of_something_else_is_a_bad_request(api: Api, spoilt: dict[str, str]) -> None:
    obj = {**config_map("a"), **spoilt}
    answer = await api.patch("configmaps", "a", obj, APPLY, fieldManager="one")
    assert answer.status_code in {400, 422}
    assert not await api.exists("configmaps", "a")
