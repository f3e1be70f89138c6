"""Every route has a rule, every rule a route, and nothing is allowed that no rule allows."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import BaseRoute

from rollout.api.passports import Bearer
from rollout.api.rules import RULES, Place, Rule
from rollout.core.access import Right
from rollout.desk import VERBS
from tests.api.house import ANN, BEN, JOB, START, House, bearer

RELEASE = "/v1/releases/shop/checkout-v2"
KEY = {"idempotency-key": "one"}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/releases"): START,
    ("POST", "/v1/releases/{namespace}/{name}/approve"): {"gate": "go"},
    ("PUT", "/v1/freezes/{scope}"): {"reason": "because"},
    ("POST", "/v1/stop"): {"scope": "shop", "reason": "because"},
    ("POST", "/v1/preflight"): START,
}
KNOWN = [(key, rule) for key, rule in RULES.items() if rule.known]
RULED = [(key, rule) for key, rule in KNOWN if rule.rights]


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    for route in _all(app.routes):
        assert isinstance(route, APIRoute), f"{route} can have no rule"
        for method in route.methods or ():
            yield method, route.path_format


def _all(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from _all(inner.routes)


async def ask(client: httpx2.AsyncClient, method: str, path: str, **headers: str) -> httpx2.Response:
    place = path.replace("{namespace}/{name}", "shop/checkout-v2" if "releases" in path else "shop/checkout")
    place = place.replace("{scope}", "shop") + ("?namespace=shop" if method == "GET" and path.count("/") == 2 else "")
    if path == "/v1/validate":
        return await client.post(place, content="a: 1", headers={"content-type": "application/yaml"} | headers)
    return await client.request(method, place, json=BODIES.get((method, path)), headers=KEY | headers)


def test_every_route_has_a_rule_and_every_rule_a_route(house: House) -> None:
    assert sorted(routes_of(house.application())) == sorted(RULES)


@pytest.mark.parametrize(("route", "rule"), KNOWN, ids=str)
async def test_without_a_token_only_probes_answer(house: House, route: tuple[str, str], rule: Rule) -> None:
    assert rule.known
    async with house.client(token="") as client:
        answer = await ask(client, *route)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
async def test_probes_need_no_token(house: House, path: str) -> None:
    async with house.client(token="") as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(("route", "rule"), RULED, ids=str)
async def test_who_was_granted_nothing_may_do_nothing(house: House, route: tuple[str, str], rule: Rule) -> None:
    assert rule.rights
    await house.started()
    async with house.client(BEN) as client:
        answer = await ask(client, *route)
    assert answer.status_code == 403
    assert answer.json()["code"] == "denied"


@pytest.mark.parametrize(("route", "rule"), RULED, ids=str)
async def test_all_rights_of_the_rule_are_needed_and_no_others(
    house: House, route: tuple[str, str], rule: Rule
) -> None:
    await house.started()
    house.backing.closing.set()  # so that streams end at once
    for without in rule.rights:
        house.authorizer.grants = {("ben", right, "shop") for right in Right if right is not without}
        async with house.client(BEN) as client:
            assert (await ask(client, *route)).status_code == 403, without
    house.authorizer.grants = {("ben", right, "shop") for right in rule.rights}
    async with house.client(BEN) as client:
        assert (await ask(client, *route)).status_code not in {401, 403}


@pytest.mark.parametrize(("route", "rule"), RULED, ids=str)
async def test_a_right_in_one_namespace_is_none_in_another(house: House, route: tuple[str, str], rule: Rule) -> None:
    assert rule.rights
    await house.started()
    house.authorizer.grants = {("ben", right, "elsewhere") for right in Right}
    async with house.client(BEN) as client:
        assert (await ask(client, *route)).status_code == 403


async def test_to_ask_about_everything_needs_a_right_to_everything(house: House) -> None:
    house.authorizer.grants = {("ben", right, "shop") for right in Right}
    async with house.client(BEN) as client:
        told = [
            await client.get("/v1/releases"),
            await client.get("/v1/freezes"),
            await client.get("/v1/services"),
            await client.put("/v1/freezes/all", json={"reason": "x"}),
            await client.delete("/v1/freezes/all"),
            await client.post("/v1/stop", json={"scope": "all"}),
        ]
    assert [one.status_code for one in told] == [403] * len(told)
    assert not await house.freezes.list(None)


async def test_a_ci_job_may_do_what_its_services_policy_lets_it(house: House) -> None:
    async with house.client(JOB) as client:
        started = await client.post("/v1/releases", json=START, headers=KEY)
        other = await client.post("/v1/releases", json=START | {"service": "payments"}, headers=KEY)
        place = started.headers["location"]
        seen = await client.get(place)
        paused = await client.post(f"{place}/pause")
        aborted = await client.post(f"{place}/abort")
    assert [one.status_code for one in (started, other, seen, paused, aborted)] == [201, 403, 200, 403, 202]


@pytest.mark.parametrize("token", [BEN, JOB])
@pytest.mark.parametrize("end", ["", "/events", "/decisions", *(f"/{verb}" for verb in VERBS)])
async def test_who_may_not_ask_cannot_tell_whether_there_is_a_release(house: House, token: str, end: str) -> None:
    await house.started(service="payments", version="v1")
    method = "POST" if end.removeprefix("/") in VERBS else "GET"
    body = {"gate": "go"} if end == "/approve" else None
    told = []
    async with house.client(token) as client:
        for name in ("payments-v1", "payments-v9"):
            answer = await client.request(method, f"/v1/releases/shop/{name}{end}", json=body)
            told.append((answer.status_code, answer.json()["detail"]))
    assert told[0] == told[1]
    assert told[0][0] == 403


async def test_who_may_ask_is_told_that_there_is_none(house: House) -> None:
    async with house.client() as client:
        assert (await client.get(RELEASE)).status_code == 404


async def test_a_namespace_that_is_not_served_is_nobodys(house: House) -> None:
    await house.started()
    house.but(namespaces=("web",))
    async with house.client() as client:
        for route, rule in RULED:
            if rule.place is not Place.NAMESPACE:
                assert (await ask(client, *route)).status_code == 403, route
        listed = await client.get("/v1/releases")
    assert listed.json()["items"] == []


async def test_a_route_without_a_rule_refuses_everybody(house: House) -> None:
    app = house.application()

    async def forgotten(passport: Bearer) -> Response:
        passport.stamp()
        return Response()

    app.add_api_route("/v1/forgotten", forgotten)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api", headers=bearer(ANN)) as client:
        assert (await client.get("/v1/forgotten")).status_code == 403


async def test_a_route_that_forgets_to_ask_answers_nobody(house: House) -> None:
    app = house.application()

    async def careless() -> Response:
        return Response("secret")

    app.add_api_route("/v1/careless", careless)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api", headers=bearer(ANN)) as client:
        answer = await client.get("/v1/careless")
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", ANN)],
        [("authorization", f"Basic {ANN}")],
        [("authorization", f"Bearer {ANN} {ANN}")],
        [("authorization", f"Bearer {ANN}"), ("authorization", f"Bearer {ANN}")],
        [("authorization", "Bearer " + "x" * 20_000)],
        [("authorization", "Bearer nobody")],
        [("cookie", f"authorization=Bearer {ANN}")],
        [("x-forwarded-user", "ann")],
        [("x-remote-user", "ann")],
    ],
    ids=lambda found: ", ".join(f"{name}: {value[:20]}" for name, value in found) or "none",
)
async def test_only_one_whole_bearer_token_in_its_header_is_believed(
    house: House, headers: list[tuple[str, str]]
) -> None:
    async with house.client(token="") as client:
        for place in ("/v1/releases", f"/v1/releases?access_token={ANN}", "/v1/nothing"):
            assert (await client.get(place, headers=headers)).status_code == 401


async def test_when_nobody_can_be_identified_the_answer_is_503_and_never_yes(house: House) -> None:
    for part in (house.authenticator, house.authorizer):
        part.reachable = False
        async with house.client() as client:
            answers = [await ask(client, *route) for route, _ in RULED]
        assert {one.status_code for one in answers} == {503}
        assert all("retry-after" in one.headers for one in answers)
        part.reachable = True


def test_every_verb_has_a_right_of_its_own() -> None:
    rights = [RULES["POST", f"/v1/releases/{{namespace}}/{{name}}/{verb}"].rights for verb in VERBS]
    assert all(len(one) == 1 for one in rights)
    assert len(set(itertools.chain.from_iterable(rights))) == len(VERBS)
