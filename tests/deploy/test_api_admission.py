"""What the API server itself lets the HTTP API write, whatever RBAC says: wishes, freezes, notes on tokens."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from rollout.core.release import API_VERSION
from tests.deploy.cluster import RELEASES, Cluster, JsonObject, Operation, create, patch, until

FREEZES = "/apis/rollout.dev/v1alpha1/namespaces/{}/freezes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/rollout/leases"
NOON = "2026-11-21T12:00:00.000Z"
WISH = {"by": "ann", "at": NOON, "reason": "errors"}
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "0b7c9d6e-0000-4000-8000-000000000000"}
_numbers = itertools.count(1)


@pytest.fixture
async def installed(cluster: Cluster) -> Cluster:
    await cluster.install("api")
    token = await cluster.token("rollout-api")

    async def in_force() -> bool:
        async with cluster.plane.client(token) as http:
            answers = [
                await http.post(LEASES, json=lease("probe"), params={"dryRun": "All"}),
                await http.post(FREEZES.format("shop"), json=freeze(), params={"dryRun": "All"}),
                await http.post(RELEASES, json=release(finalizers=["a.b/c"]), params={"dryRun": "All"}),
            ]
        return [one.status_code for one in answers] == [422] * 3

    await until(in_force)
    return cluster


@pytest.fixture
async def api(installed: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    async with installed.plane.client(await installed.token("rollout-api")) as http:
        yield http


def release(spec: JsonObject | None = None, **metadata: Any) -> JsonObject:
    return {
        "apiVersion": API_VERSION,
        "kind": "Release",
        "metadata": {
            "name": f"api-{next(_numbers)}",
            "labels": {"rollout.dev/service": "checkout"},
            "annotations": {"rollout.dev/key": "ab"},
            **metadata,
        },
        "spec": {"service": "checkout", "version": "v2", **(spec or {})},
    }


def freeze(**spec: Any) -> JsonObject:
    metadata = {"name": f"api-{next(_numbers)}"}
    return {"apiVersion": API_VERSION, "kind": "Freeze", "metadata": metadata, "spec": spec}


def lease(name: str) -> JsonObject:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {}}


def put(path: str, value: Any) -> Operation:
    return {"op": "add", "path": path, "value": value}


async def made(http: httpx2.AsyncClient, obj: JsonObject) -> str:
    await create(http, RELEASES, obj)
    return f"{RELEASES}/{obj['metadata']['name']}"


WISHES: dict[str, list[Operation]] = {
    "pause": [put("/spec/pause", WISH)],
    "resume": [put("/spec/resume", WISH)],
    "abort": [put("/spec/abort", WISH)],
    "promote": [put("/spec/promote", {**WISH, "step": 1})],
    "approve": [put("/spec/approvals", [{**WISH, "gate": "qa"}])],
}


@pytest.mark.parametrize("what", WISHES)
async def test_the_api_may_wish(what: str, api: httpx2.AsyncClient) -> None:
    path = await made(api, release())
    answer = await patch(api, path, WISHES[what])
    assert answer.status_code == 200, answer.text


async def test_the_api_may_end_a_pause(api: httpx2.AsyncClient) -> None:
    path = await made(api, release({"pause": WISH}))
    answer = await patch(api, path, [{"op": "remove", "path": "/spec/pause"}])
    assert answer.status_code == 200, answer.text


NO_WISHES: dict[str, list[Operation]] = {
    "another version": [put("/spec/version", "v3")],
    "a policy": [put("/spec/policy", {"interval": "5s"})],
    "another conflict rule": [put("/spec/onConflict", "supersede")],
    "another start": [put("/spec/notBefore", NOON)],
    "a label": [put("/metadata/labels/team", "other")],
    "an annotation": [put("/metadata/annotations/rollout.dev~1key", "cd")],
    "a finalizer": [put("/metadata/finalizers", ["rollout.dev/traffic"])],
    "an owner": [put("/metadata/ownerReferences", [OWNER])],
    "a wish of nobody": [put("/spec/abort", {"reason": "x"})],
    "an approval of nobody": [put("/spec/approvals", [{"gate": "qa"}])],
}


@pytest.mark.parametrize("what", NO_WISHES)
async def test_the_api_may_not_write(what: str, api: httpx2.AsyncClient) -> None:
    path = await made(api, release())
    before = (await api.get(path)).json()
    assert (await patch(api, path, NO_WISHES[what])).status_code == 422
    assert (await api.get(path)).json() == before


async def test_the_api_may_not_take_an_abort_or_an_approval_back(api: httpx2.AsyncClient) -> None:
    path = await made(api, release({"abort": WISH, "approvals": [{**WISH, "gate": "qa"}]}))
    for change in (
        [{"op": "remove", "path": "/spec/abort"}],
        [put("/spec/abort", {**WISH, "by": "bob"})],
        [{"op": "remove", "path": "/spec/approvals"}],
        [put("/spec/approvals", [{**WISH, "gate": "other"}])],
    ):
        assert (await patch(api, path, change)).status_code == 422


@pytest.mark.parametrize(
    "metadata",
    [
        {"finalizers": ["rollout.dev/traffic"]},
        {"ownerReferences": [OWNER]},
        {"labels": {"team": "other"}},
        {"annotations": {"rollout.dev/epoch": "99"}},
    ],
)
async def test_the_api_may_not_make_a_release_with(metadata: JsonObject, api: httpx2.AsyncClient) -> None:
    assert (await api.post(RELEASES, json=release(**metadata))).status_code == 422


async def test_the_api_reaches_no_status(api: httpx2.AsyncClient) -> None:
    path = await made(api, release())
    body = {"status": {"phase": "Promoted"}}
    headers = {"content-type": "application/merge-patch+json"}
    assert (await api.patch(f"{path}/status", json=body, headers=headers)).status_code == 403
    await api.patch(path, json=body, headers=headers)
    assert "phase" not in (await api.get(path)).json().get("status", {})


async def test_the_api_says_who_freezes_and_freezes_everything_at_home_only(api: httpx2.AsyncClient) -> None:
    shop, home = FREEZES.format("shop"), FREEZES.format("rollout")
    assert (await api.post(shop, json=freeze(reason="x"))).status_code == 422
    assert (await api.post(shop, json=freeze(by="ann", everywhere=True))).status_code == 422
    for place, obj in ((shop, freeze(by="ann")), (home, freeze(by="ann", everywhere=True))):
        found = await create(api, place, obj)
        path = f"{place}/{found['metadata']['name']}"
        assert (await patch(api, path, [put("/metadata/finalizers", ["a.b/c"])])).status_code == 422
        assert (await patch(api, path, [put("/spec/reason", "longer")])).status_code == 200
        assert (await api.delete(path)).status_code == 200


async def test_the_api_touches_no_lease_but_its_own_kind(api: httpx2.AsyncClient, admin: httpx2.AsyncClient) -> None:
    await admin.post(LEASES, json=lease("rollout"))
    assert (await api.delete(f"{LEASES}/rollout")).status_code == 422
    assert (await api.post(LEASES, json=lease("rollout-shop"))).status_code == 422
    assert (await api.post(LEASES, json=lease("rollout-token-ab"))).status_code == 201
    assert (await api.delete(f"{LEASES}/rollout-token-ab")).status_code == 200
    assert (await admin.get(f"{LEASES}/rollout")).status_code == 200


async def test_people_are_not_narrowed_by_what_narrows_the_api(installed: Cluster, admin: httpx2.AsyncClient) -> None:
    del installed
    path = await made(admin, release(finalizers=["example.com/kept"]))
    assert (await patch(admin, path, [put("/metadata/labels/team", "other")])).status_code == 200
    assert (await patch(admin, path, [put("/metadata/finalizers", [])])).status_code == 200
