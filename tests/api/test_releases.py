"""Releases over HTTP: starting, listing, looking, wishing."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from rollout.commands.desk import LocalDesk
from rollout.core.access import Right
from rollout.core.freeze import FreezeSpec
from rollout.core.release import Phase, Release, Status, Wish
from rollout.core.route import Problem
from rollout.desk import Wanted
from tests import given
from tests.api.house import ANN, BEN, JOB, START, House, bearer, names

RELEASE = "/v1/releases/shop/checkout-v2"


def key(text: str = "one") -> dict[str, str]:
    return {"idempotency-key": text}


async def only(house: House) -> Release:
    [found] = await house.releases.list(None)
    return found


async def test_a_start_makes_a_release_and_says_where_it_is(house: House) -> None:
    async with house.client() as client:
        answer = await client.post("/v1/releases", json=START | {"onConflict": "queue"}, headers=key())
        assert answer.status_code == 201
        assert (await client.get(answer.headers["location"])).json() == answer.json()
    made = await only(house)
    assert Release.model_validate(answer.json()) == made
    assert (made.spec.version, made.spec.on_conflict) == ("v2", "queue")


async def test_the_same_key_and_body_are_answered_with_the_same_release(house: House) -> None:
    async with house.client() as client:
        first = await client.post("/v1/releases", json=START, headers=key())
        again = await client.post("/v1/releases", json=START, headers=key())
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json()["name"] == first.json()["name"] == (await only(house)).name


async def test_the_same_key_for_another_body_is_refused_with_422(house: House) -> None:
    async with house.client() as client:
        await client.post("/v1/releases", json=START, headers=key())
        other = await client.post("/v1/releases", json=START | {"version": "v3"}, headers=key())
    assert (other.status_code, other.json()["code"]) == (422, "key-reused")
    assert (await only(house)).spec.version == "v2"


async def test_a_key_is_nothing_to_another_caller(house: House) -> None:
    house.authorizer.everything = {"ann", "ben"}
    async with house.client() as ann, house.client(BEN) as ben:
        await ann.post("/v1/releases", json=START, headers=key())
        answer = await ben.post("/v1/releases", json=START, headers=key())
    assert (answer.status_code, answer.json()["code"]) == (409, "busy")


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": ""}, key("x" * 256), key("tab\there")], ids=str)
async def test_a_start_without_a_usable_key_starts_nothing(house: House, headers: dict[str, str]) -> None:
    async with house.client() as client:
        answer = await client.post("/v1/releases", json=START, headers=headers)
    assert answer.status_code == (422 if headers else 400)
    assert not await house.releases.list(None)


async def test_fifty_starts_at_once_with_one_key_make_one_release(house: House) -> None:
    async with house.client() as client:
        asked = [client.post("/v1/releases", json=START, headers=key()) for _ in range(50)]
        answers = await asyncio.gather(*asked)
    assert {one.status_code for one in answers} <= {200, 201}
    assert sum(one.status_code == 201 for one in answers) == 1
    assert {one.json()["name"] for one in answers} == {(await only(house)).name}


async def test_a_busy_service_is_409_and_says_which_release_and_since_when(house: House) -> None:
    await house.started(given.release().status)
    async with house.client() as client:
        answer = await client.post("/v1/releases", json=START | {"version": "v3"}, headers=key())
    told = answer.json()
    assert (answer.status_code, told["code"]) == (409, "busy")
    assert (told["active_release"], told["since"]) == ("checkout-v2", "2026-03-01T12:00:00.000Z")
    assert Release.model_validate(told["release"]).name == "checkout-v2"


async def test_who_may_start_but_not_look_is_not_shown_the_release_in_the_way(house: House) -> None:
    await house.started()
    house.authorizer.grants = {("ben", Right.CREATE, "shop")}
    async with house.client(BEN) as client:
        told = (await client.post("/v1/releases", json=START, headers=key())).json()
    assert told["active_release"] == "checkout-v2"
    assert "release" not in told


async def test_a_frozen_service_is_423_and_says_which_freeze(house: House) -> None:
    await house.freezes.put("shop", FreezeSpec(reason="sale"))
    async with house.client() as client:
        answer = await client.post("/v1/releases", json=START, headers=key())
    assert (answer.status_code, answer.json()["code"]) == (423, "frozen")
    assert answer.json()["freeze"]["spec"]["reason"] == "sale"


async def test_who_triggered_is_who_we_know_and_what_the_client_says_is_only_told(house: House) -> None:
    async with house.client() as client:
        source = {"actor": "the boss", "reason": "hurry", "repository": "acme/checkout"}
        await client.post("/v1/releases", json=START | {"source": source}, headers=key())
    made = (await only(house)).spec.source
    assert (made.actor, made.repository) == ("ann", "acme/checkout")
    assert made.reason.startswith("hurry")
    assert "the boss" in made.reason


async def test_a_policy_comes_along_only_with_the_right_to_write_policies(house: House) -> None:
    body = START | {"policy": given.POLICY.wire()}
    house.authorizer.grants = {("ben", Right.CREATE, "shop")}
    for token in (BEN, JOB):
        async with house.client(token) as client:
            assert (await client.post("/v1/releases", json=body, headers=key())).status_code == 403
    house.authorizer.grants |= {("ben", Right.WRITE_POLICY, "shop")}
    async with house.client(BEN) as client:
        assert (await client.post("/v1/releases", json=body, headers=key())).status_code == 201
    assert (await only(house)).spec.policy == given.POLICY


async def test_a_jobs_token_starts_one_release_and_no_other(house: House) -> None:
    async with house.client(JOB) as client:
        first = await client.post("/v1/releases", json=START, headers=key())
        again = await client.post("/v1/releases", json=START, headers=key())
        other = await client.post("/v1/releases", json=START | {"version": "v3"}, headers=key("two"))
    assert [one.status_code for one in (first, again, other)] == [201, 200, 403]


async def test_the_list_is_told_in_pages_newest_first_and_complete(house: House) -> None:
    for number in range(7):
        house.clock.advance(timedelta(seconds=number % 2))
        await house.started(service=f"s{number}")
    found: list[str] = []
    async with house.client() as client:
        whole = names((await client.get("/v1/releases")).json()["items"])
        cursor: dict[str, Any] = {}
        for _ in range(10):
            page = (await client.get("/v1/releases", params={"limit": 3} | cursor)).json()
            found += names(page["items"])
            if page.get("next") is None:
                break
            cursor = {"cursor": page["next"]}
    assert found == whole
    assert sorted(found) == sorted(f"s{number}-v2" for number in range(7))
    assert found[0] == "s6-v2"


async def test_the_list_is_narrowed_down(house: House) -> None:
    await house.started(Status(phase=Phase.PROMOTED), version="v1")
    await house.started()
    await house.started(service="payments")
    await house.started(namespace="web")
    async with house.client() as client:

        async def listed(**params: str) -> list[str]:
            return sorted(names((await client.get("/v1/releases", params=params)).json()["items"]))

        assert await listed(namespace="web") == ["checkout-v2"]
        assert await listed(namespace="shop", service="checkout") == ["checkout-v1", "checkout-v2"]
        assert await listed(namespace="shop", active="true") == ["checkout-v2", "payments-v2"]
        assert await listed(active="false") == await listed(phase="Promoted") == ["checkout-v1"]


@pytest.mark.parametrize("cursor", ["x", "e30=", "WzFd", "ä", "WyJhIiwxLDJd"])
async def test_a_cursor_that_is_none_is_refused(house: House, cursor: str) -> None:
    async with house.client() as client:
        answer = await client.get("/v1/releases", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#query/cursor")


async def test_what_did_not_change_is_304(house: House) -> None:
    made = await house.started()
    async with house.client() as client:
        first = await client.get(RELEASE)
        for tags in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
            same = await client.get(RELEASE, headers={"if-none-match": tags})
            assert (same.status_code, same.content) == (304, b"")
            assert same.headers["etag"] == f'"{made.revision}"'
        assert (await client.get(RELEASE, headers={"if-none-match": '"x"'})).status_code == 200


async def test_decisions_hold_the_numbers(house: House) -> None:
    status = given.release(Phase.ROLLING_BACK, query="sum(x)").status
    await house.started(status)
    async with house.client() as client:
        told = (await client.get(f"{RELEASE}/decisions")).json()
    assert (told["release"], told["query"], told["stable"]) == ("checkout-v2", "sum(x)", "v1")
    assert told["cause"] == status.cause.wire() if status.cause else None
    assert [one["weight"] for one in told["steps"]] == [one.weight for one in status.steps]


@pytest.mark.parametrize("verb", ["abort", "pause"])
async def test_a_wish_is_written_by_whom_we_know_and_asking_twice_is_asking_once(house: House, verb: str) -> None:
    await house.started(given.release().status)
    async with house.client() as client:
        first = await client.post(f"{RELEASE}/{verb}", json={"reason": "because"})
        again = await client.post(f"{RELEASE}/{verb}", json={"reason": "and because"})
    assert (first.status_code, again.status_code) == (202, 200)
    wish: Wish | None = getattr((await only(house)).spec, verb)
    assert wish is not None
    assert (wish.by, wish.reason) == ("ann", "because")


async def test_a_wish_needs_no_body(house: House) -> None:
    await house.started()
    async with house.client() as client:
        assert (await client.post(f"{RELEASE}/abort")).status_code == 202


async def test_a_wish_that_makes_no_sense_now_is_409(house: House) -> None:
    await house.started()
    async with house.client() as client:
        early = await client.post(f"{RELEASE}/promote")
    assert (early.status_code, early.json()["code"]) == (409, "refused")


async def test_a_release_that_is_over_takes_no_wishes(house: House) -> None:
    await house.started(given.release(Phase.PROMOTED).status)
    async with house.client() as client:
        over = await client.post(f"{RELEASE}/abort")
    assert (over.status_code, over.json()["code"]) == (409, "finished")
    assert over.json()["release"]["status"]["phase"] == "Promoted"


async def test_a_wish_for_another_revision_is_412_and_nothing_is_written(house: House) -> None:
    made = await house.started(given.release().status)
    async with house.client() as client:
        stale = await client.post(f"{RELEASE}/abort", headers={"if-match": '"0"'})
        assert (stale.status_code, stale.json()["code"]) == (412, "changed")
        assert (await only(house)).spec.abort is None
        weak = await client.post(f"{RELEASE}/abort", headers={"if-match": f'W/"{made.revision}"'})
        assert weak.status_code == 412
        good = await client.post(f"{RELEASE}/abort", headers={"if-match": f'"{made.revision}"'})
    assert good.status_code == 202


async def test_a_gate_is_approved_by_whom_we_know(house: House) -> None:
    policy = given.policy(gates=[{"name": "go", "before": 30}])
    await house.started(given.release(policy=policy).status)
    async with house.client() as client:
        unknown = await client.post(f"{RELEASE}/approve", json={"gate": "nobody"})
        unnamed = await client.post(f"{RELEASE}/approve", json={})
        good = await client.post(f"{RELEASE}/approve", json={"gate": "go", "reason": "looks fine"})
    assert [one.status_code for one in (unknown, unnamed, good)] == [409, 422, 202]
    [approval] = (await only(house)).spec.approvals
    assert (approval.gate, approval.by, approval.reason) == ("go", "ann", "looks fine")


@pytest.mark.parametrize("path", ["/v1/releases", RELEASE, f"{RELEASE}/events", "/v1/services", "/v1/freezes"])
async def test_an_outage_is_503_and_says_when_to_ask_again(house: House, path: str) -> None:
    house.releases.fail("no answer")
    house.freezes.fail("no answer")
    async with house.client() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "outage")
    assert int(answer.headers["retry-after"]) > 0


async def test_freezes_are_set_looked_at_and_lifted(house: House) -> None:
    async with house.client() as client:
        for scope in ("all", "shop", "shop/checkout"):
            place = f"/v1/freezes/{scope}"
            assert (await client.get(place)).status_code == 404
            until = "2026-03-02T00:00:00Z"
            put = await client.put(place, json={"reason": "sale", "until": until})
            assert put.status_code == 200, put.text
            assert put.json()["spec"]["by"] == "ann"
            assert (await client.get(place)).json() == put.json()
            assert put.json() in (await client.get("/v1/freezes?namespace=shop")).json()["items"]
            assert (await client.delete(place)).status_code == 204
            assert (await client.delete(place)).status_code == 404


@pytest.mark.parametrize("scope", ["Shop", "shop/checkout/x", "shop/", "%2e%2e", "x" * 64, "-"])
async def test_a_scope_that_is_none_is_refused(house: House, scope: str) -> None:
    async with house.client() as client:
        assert (await client.put(f"/v1/freezes/{scope}", json={})).status_code == 422


async def test_the_brake_freezes_and_aborts_everything_in_its_scope(house: House) -> None:
    await house.started(given.release().status)
    await house.started(service="payments")
    await house.started(namespace="web")
    async with house.client() as client:
        answer = await client.post("/v1/stop", json={"scope": "shop", "reason": "fire"})
        assert answer.status_code == 200
        assert sorted(names(answer.json()["aborted"])) == ["checkout-v2", "payments-v2"]
        assert (await client.post("/v1/releases", json=START, headers=key())).status_code == 423
    for release in await house.releases.list(None):
        assert (release.spec.abort is not None) == (release.namespace == "shop")


async def test_a_service_tells_its_policy_its_newest_release_and_its_freeze(house: House) -> None:
    await house.started(Status(phase=Phase.PROMOTED), version="v1")
    house.clock.advance(timedelta(minutes=1))
    await house.started()
    await house.freezes.put("shop", FreezeSpec(service="checkout", reason="sale"))
    async with house.client() as client:
        told = (await client.get("/v1/services/shop/checkout")).json()
        [listed] = (await client.get("/v1/services?namespace=shop")).json()["items"]
    assert told["newest"]["name"] == listed["newest"] == "checkout-v2"
    assert told["policy"] == given.POLICY.wire()
    assert told["freeze"]["spec"]["reason"] == listed["freeze"]["spec"]["reason"] == "sale"


async def test_validate_tells_where_a_policy_is_wrong(house: House) -> None:
    good = "apiVersion: rollout.dev/v1alpha1\nkind: ServicePolicy\nmetadata: {name: checkout, namespace: shop}\n"
    bad = good + "spec:\n  steps:\n  - weight: 10\n  - weight: five\n"
    async with house.client() as client:
        headers = {"content-type": "application/yaml"}
        fine = await client.post("/v1/validate", content=good, headers=headers)
        wrong = await client.post("/v1/validate", content=bad, headers=headers)
    assert fine.json() == {"policies": [{"namespace": "shop", "service": "checkout"}]}
    [found] = wrong.json()["errors"]
    assert (wrong.status_code, found["line"], found["column"]) == (422, 7, 5)
    assert found["pointer"] == "/spec/steps/1/weight"


async def test_preflight_looks_with_the_policy_in_force(house: House) -> None:
    async with house.client() as client:
        answer = await client.post("/v1/preflight", json=START)
    assert answer.status_code == 200
    assert (answer.json()["service"], answer.json()["errors"]) == ("checkout", 0)


async def test_preflight_with_a_policy_that_cannot_be_used_says_so(house: House) -> None:
    house.policies.found = Problem("policy-invalid", "spec.steps: weights must rise")
    async with house.client() as client:
        answer = await client.post("/v1/preflight", json=START)
    assert (answer.status_code, answer.json()["code"]) == (409, "refused")


async def test_a_wish_that_comes_too_late_for_its_revision_is_412(house: House) -> None:
    made = await house.started(given.release().status)

    class Overtaken(LocalDesk):
        async def wish(self, wanted: Wanted) -> Release:
            await house.releases.save(made, given.release(message="a look later").status)
            return await super().wish(wanted)

    house.but(desk=Overtaken(house.releases, house.freezes, house.clock))
    async with house.client() as client:
        late = await client.post(f"{RELEASE}/abort", headers={"if-match": f'"{made.revision}"'})
    assert (late.status_code, late.json()["code"]) == (412, "changed")
    assert (await only(house)).spec.abort is None


async def test_whoami_tells_what_one_may_do(house: House) -> None:
    house.authorizer.grants = {("ben", Right.ABORT, "shop")}
    async with house.client(BEN) as ben, house.client(JOB) as job:
        told = (await ben.get("/v1/whoami?namespace=shop")).json()
        of_job = (await job.get("/v1/whoami?namespace=shop&service=checkout")).json()
    assert told["name"] == "ben"
    assert [right for right, may in told["may"].items() if may] == ["abort"]
    assert of_job["issuer"] == "github"
    assert of_job["may"]["create"] is True


async def test_a_token_of_another_caller_changes_who_it_was(house: House) -> None:
    await house.started()
    house.authorizer.grants = {("ben", Right.ABORT, "shop")}
    async with house.client(ANN) as client:
        await client.post(f"{RELEASE}/abort", headers=bearer(BEN))
    wish = (await only(house)).spec.abort
    assert wish is not None
    assert wish.by == "ben"
