"""With components/wishes-need-rights a wish takes its right from whoever asks the Kubernetes API itself."""

import itertools
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx2
import pytest

from rollout.core.release import API_VERSION
from tests.deploy.cluster import RELEASES, ROOT, Cluster, JsonObject, Operation, create, patch, until

NOON = "2026-11-21T12:00:00.000Z"
WISH: JsonObject = {"by": "ann", "at": NOON}
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop"
_numbers = itertools.count(1)
VERBS = ("abort", "pause", "resume", "promote", "approve")
WISHES: dict[str, list[Operation]] = {
    "abort": [{"op": "add", "path": "/spec/abort", "value": WISH}],
    "pause": [{"op": "add", "path": "/spec/pause", "value": WISH}],
    "resume": [{"op": "add", "path": "/spec/resume", "value": WISH}],
    "promote": [{"op": "add", "path": "/spec/promote", "value": {**WISH, "step": 0}}],
    "approve": [{"op": "add", "path": "/spec/approvals", "value": [{**WISH, "gate": "qa"}]}],
}


@pytest.fixture
async def installed(cluster: Cluster) -> AsyncIterator[Cluster]:
    """Everybody here may patch and create releases, and each of the accounts has one of the verbs beside it."""
    await cluster.install("cluster-wide")
    manifest = ROOT / "deploy/components/wishes-need-rights/admission.yaml"
    async with cluster.plane.client() as admin:
        for verb in (*VERBS, "none"):
            if (await admin.get(f"/api/v1/namespaces/shop/serviceaccounts/may-{verb}")).status_code == 200:
                continue
            await create(admin, "/api/v1/namespaces/shop/serviceaccounts", {"metadata": {"name": f"may-{verb}"}})
            verbs = ["get", "create", "patch", *([] if verb == "none" else [verb])]
            rules = [{"apiGroups": ["rollout.dev"], "resources": ["releases"], "verbs": verbs}]
            await create(admin, f"{RBAC}/roles", {"metadata": {"name": f"may-{verb}"}, "rules": rules})
            binding = {
                "metadata": {"name": f"may-{verb}"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": f"may-{verb}"},
                "subjects": [{"kind": "ServiceAccount", "name": f"may-{verb}", "namespace": "shop"}],
            }
            await create(admin, f"{RBAC}/rolebindings", binding)
        cluster.kubectl("apply", "--server-side", "-f", manifest)
        try:
            probe = await made(admin)
            async with cluster.plane.client(await cluster.token("may-none", "shop")) as http:
                await until(partial(_refused, http, probe))
            yield cluster
        finally:
            cluster.kubectl("delete", "-f", manifest)


async def _refused(http: httpx2.AsyncClient, path: str) -> bool:
    return bool((await patch(http, path, WISHES["abort"], dry=True)).status_code == 422)


def release(**spec: Any) -> JsonObject:
    metadata = {"name": f"wishes-{next(_numbers)}"}
    wanted = {"service": "checkout", "version": "v2", **spec}
    return {"apiVersion": API_VERSION, "kind": "Release", "metadata": metadata, "spec": wanted}


async def made(http: httpx2.AsyncClient, **spec: Any) -> str:
    found = await create(http, RELEASES, release(**spec))
    return f"{RELEASES}/{found['metadata']['name']}"


async def test_each_wish_takes_its_own_right_and_no_other_will_do(
    installed: Cluster, admin: httpx2.AsyncClient
) -> None:
    path = await made(admin)
    for holder in (*VERBS, "none"):
        async with installed.plane.client(await installed.token(f"may-{holder}", "shop")) as http:
            codes = {wish: (await patch(http, path, WISHES[wish], dry=True)).status_code for wish in WISHES}
            assert codes == {wish: 200 if wish == holder else 422 for wish in WISHES}, holder
            # What was wished for before stands in nobody's way.
            assert (
                await patch(http, path, [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}])
            ).is_success


async def test_to_end_a_pause_is_to_resume(installed: Cluster, admin: httpx2.AsyncClient) -> None:
    path = await made(admin, pause=WISH)
    change: list[Operation] = [{"op": "remove", "path": "/spec/pause"}]
    for holder, code in (("resume", 200), ("pause", 422), ("none", 422)):
        async with installed.plane.client(await installed.token(f"may-{holder}", "shop")) as http:
            assert (await patch(http, path, change, dry=True)).status_code == code


async def test_what_is_wished_for_at_the_start_takes_the_same_rights(installed: Cluster) -> None:
    async with installed.plane.client(await installed.token("may-none", "shop")) as http:
        assert (await http.post(RELEASES, json=release(), params={"dryRun": "All"})).status_code == 201
        for spec in (
            {"approvals": [{**WISH, "gate": "qa"}]},
            {"pause": WISH},
            {"policy": {"interval": "5s"}},
        ):
            assert (await http.post(RELEASES, json=release(**spec), params={"dryRun": "All"})).status_code == 422


async def test_administrators_and_the_controller_are_not_held_up(
    installed: Cluster, admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    del installed
    path = await made(admin)
    for wish in WISHES.values():
        assert (await patch(admin, path, wish)).status_code == 200
    hold: list[Operation] = [{"op": "add", "path": "/metadata/finalizers", "value": ["rollout.dev/traffic"]}]
    assert (await patch(controller, path, hold)).status_code == 200
    assert (await patch(controller, path, [{"op": "remove", "path": "/metadata/finalizers"}])).status_code == 200


async def test_the_api_server_finds_no_fault_with_its_types(installed: Cluster, admin: httpx2.AsyncClient) -> None:
    del installed
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/rollout-wishes"

    async def checked() -> JsonObject:
        one: JsonObject = (await admin.get(path)).json()
        done = one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"]
        return one if done else {}

    assert (await until(checked))["status"].get("typeChecking") == {}
