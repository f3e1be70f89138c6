"""What a cluster makes of our definitions when somebody writes a Release or a ServicePolicy."""

from typing import Any

import httpx2
import pytest

from tests.contract.kubernetes.client import TABLE, Api, JsonObject, refused_as, revision
from tests.contract.kubernetes.exchanges_ours import release

_STEPS: list[JsonObject] = [{"weight": 50}, {"weight": 100}]


async def _make(api: Api, body: JsonObject, **query: str) -> httpx2.Response:
    return await api.http.post(api.path("releases"), json=body, params=query)


def _fields(status: JsonObject) -> set[tuple[str, str]]:
    return {(cause["field"], cause["reason"]) for cause in status["details"]["causes"]}


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"service": 1}, "spec.service", "FieldValueTypeInvalid"),
        ({"service": "Upper"}, "spec.service", "FieldValueInvalid"),
        ({"service": ""}, "spec.service", "FieldValueInvalid"),
        ({"service": "a" * 64}, "spec.service", "FieldValueTooLong"),
        ({"version": None}, "spec.version", "FieldValueRequired"),
        ({"pause": {"at": "soon"}}, "spec.pause.at", "FieldValueTypeInvalid"),
        ({"policy": {"steps": []}}, "spec.policy.steps", "FieldValueInvalid"),
        ({"policy": {"steps": [{"weight": 101}]}}, "spec.policy.steps[0].weight", "FieldValueInvalid"),
        ({"policy": {"steps": [{"hold": "1m"}]}}, "spec.policy.steps[0].weight", "FieldValueRequired"),
        ({"policy": {"steps": [{"weight": 1}] * 21}}, "spec.policy.steps", "FieldValueTooMany"),
        ({"policy": {"steps": [{"weight": 50}]}}, "spec.policy.steps", "FieldValueInvalid"),
        ({"policy": {"steps": [{"weight": 60}, *_STEPS]}}, "spec.policy.steps", "FieldValueInvalid"),
        ({"policy": {"interval": "1d"}}, "spec.policy.interval", "FieldValueInvalid"),
        ({"policy": {"deadlines": {"total": "1m"}}}, "spec.policy.deadlines.total", "FieldValueInvalid"),
    ],
)
async def test_a_release_that_is_wrong_is_refused_with_the_field(
    api: Api, spec: JsonObject, field: str, reason: str
) -> None:
    refused = refused_as(await _make(api, release("a", **spec)), 422, "Invalid")
    assert (field, reason) in _fields(refused)
    assert not await api.exists("releases", "a")


async def test_unknown_fields_are_dropped_with_a_warning(api: Api) -> None:
    answer = await _make(api, release("a", nonsense=1) | {"other": 1})
    assert answer.status_code == 201
    assert answer.json()["spec"] == {"service": "checkout", "version": "v2"}
    assert "other" not in answer.json()
    assert len(answer.headers.get_list("warning")) == 2


async def test_unknown_fields_are_an_error_for_who_wants_that(api: Api) -> None:
    body = release("a", nonsense=1)
    refused_as(await _make(api, body, fieldValidation="Strict"), 400, "BadRequest")
    await api.create("releases", release("a"))
    answer = await api.patch("releases", "a", {"spec": {"nonsense": 1}}, fieldValidation="Strict")
    refused_as(answer, 422, "Invalid")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"service": "other"}, "spec.service"),
        ({"version": "v3"}, "spec.version"),
        ({"policy": {"steps": [{"weight": 100}]}}, "spec.policy"),
        ({"policy": None}, "spec.policy"),
    ],
)
async def test_what_is_released_and_how_cannot_be_changed_afterwards(
    api: Api, change: dict[str, Any], field: str
) -> None:
    created = await api.create("releases", release("a", policy={"steps": _STEPS}))
    refused = refused_as(await api.patch("releases", "a", {"spec": change}), 422, "Invalid")
    assert field in {name for name, _ in _fields(refused)}
    assert await api.get("releases", "a") == created


async def test_wishes_can_be_added_and_taken_back(api: Api) -> None:
    await api.create("releases", release("a"))
    held = await api.patched("releases", "a", {"spec": {"pause": {"by": "me", "at": "2026-01-01T00:00:00Z"}}})
    assert held["metadata"]["generation"] == 2
    assert held["spec"]["pause"]["by"] == "me"
    resumed = await api.patched("releases", "a", {"spec": {"pause": None}})
    assert resumed["spec"] == {"service": "checkout", "version": "v2"}


async def test_a_status_keeps_what_its_definition_does_not_know(api: Api) -> None:
    await api.create("releases", release("a"))
    status = {"phase": "Shifting", "weight": 30, "fromTheFuture": {"x": [1, None]}}
    written = await api.patched("releases", "a", {"status": status}, subresource="status")
    assert written["status"] == status
    assert written["metadata"]["generation"] == 1


async def test_a_status_of_the_wrong_type_is_refused(api: Api) -> None:
    await api.create("releases", release("a"))
    answer = await api.patch("releases", "a", {"status": {"weight": "x"}}, subresource="status")
    assert ("status.weight", "FieldValueTypeInvalid") in _fields(refused_as(answer, 422, "Invalid"))


async def test_no_two_conditions_of_a_status_have_the_same_type(api: Api) -> None:
    await api.create("releases", release("a"))
    status = {"status": {"conditions": [{"type": "Promoted"}, {"type": "Promoted"}]}}
    answer = await api.patch("releases", "a", status, subresource="status")
    assert ("status.conditions[1]", "FieldValueDuplicate") in _fields(refused_as(answer, 422, "Invalid"))


async def test_an_empty_status_is_no_status(api: Api) -> None:
    created = await api.create("releases", release("a"))
    answer = await api.patched("releases", "a", {"status": None}, subresource="status")
    assert revision(answer) == revision(created)
    assert "status" not in answer


async def test_a_dry_run_checks_a_release_like_a_real_one(api: Api) -> None:
    answer = await _make(api, release("a", policy={"steps": [{"weight": 50}]}), dryRun="All")
    refused_as(answer, 422, "Invalid")
    assert (await _make(api, release("a"), dryRun="All")).status_code == 201
    assert not await api.exists("releases", "a")


async def test_the_columns_of_a_release_are_those_of_its_definition(api: Api) -> None:
    await api.create("releases", release("a"))
    status = {"status": {"phase": "Shifting", "weight": 30, "progress": "2/4", "reason": "Settling"}}
    await api.patched("releases", "a", status, subresource="status")
    found = (await api.http.get(api.path("releases"), headers={"accept": TABLE})).json()
    shown = [column["name"] for column in found["columnDefinitions"] if column["priority"] == 0]
    assert shown == ["Name", "Service", "Version", "Phase", "Weight", "Step", "Reason", "Age"]
    assert found["rows"][0]["cells"][:7] == ["a", "checkout", "v2", "Shifting", 30, "2/4", "Settling"]


@pytest.mark.parametrize(
    "spec",
    [
        {"checks": {"custom": [{"name": "a", "query": "x", "min": 3, "max": 1}]}},
        {"checks": {"custom": [{"name": "a", "query": "x"}]}},
        {"route": {"virtualServices": [{"name": "a"}, {"name": "a"}]}},
        {"judge": {"falseRollback": "21%"}},
        {"steps": [{"weight": 100, "hold": "1d12h"}]},
    ],
)
async def test_a_policy_that_breaks_a_rule_is_refused(api: Api, spec: JsonObject) -> None:
    body = {"apiVersion": "rollout.dev/v1alpha1", "kind": "ServicePolicy", "metadata": {"name": "checkout"}}
    path = api.path("servicepolicies", place="/apis/rollout.dev/v1alpha1")
    refused_as(await api.http.post(path, json={**body, "spec": spec}), 422, "Invalid")
    assert (await api.http.post(path, json={**body, "spec": {"steps": _STEPS}})).status_code == 201
