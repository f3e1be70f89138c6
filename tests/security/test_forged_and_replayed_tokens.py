"""A trigger that nobody meant: tokens that were forged, stolen, kept, or issued for something else."""

from typing import Any

import httpx2
import pytest

from tests.adapters.access.ci_system import NOW, CiSystem, part, rsa_key
from tests.adapters.access.listener import Listener, Said
from tests.api.house import House
from tests.security.conftest import REVIEWS

START = {"namespace": "shop", "service": "checkout", "version": "v2"}


async def start(house: House, token: str, key: str = "run-1", **changes: Any) -> httpx2.Response:
    async with house.client(token) as client:
        body = {name: value for name, value in {**START, **changes}.items() if value is not None}
        return await client.post("/v1/releases", json=body, headers={"idempotency-key": key})


async def made(house: House) -> list[str]:
    return [f"{one.spec.service} {one.spec.version}" for one in await house.releases.list(None)]


async def test_the_job_that_is_meant_starts_its_release(house: House, ci: CiSystem) -> None:
    answer = await start(house, ci.token())
    assert answer.status_code == 201, answer.text
    assert await made(house) == ["checkout v2"]


FORGED: dict[str, Any] = {
    "signed by somebody else": lambda ci: ci.token(key=rsa_key(1)),
    "not signed": lambda ci: f"{part({'alg': 'none', 'kid': 'one'})}.{part(ci.claims())}.AA",
    "for another audience": lambda ci: ci.token(aud="sigstore"),
    "over": lambda ci: ci.token(exp=NOW - 60),
    "two hours old": lambda ci: ci.token(iat=NOW - 7200, nbf=NOW - 7200),
    "without a number of its own": lambda ci: ci.token(jti=None),
    "cut short": lambda ci: ci.token()[:-20],
}


@pytest.mark.parametrize("what", FORGED)
async def test_nothing_is_started_by_a_token_that_is(what: str, house: House, ci: CiSystem) -> None:
    answer = await start(house, FORGED[what](ci))
    assert answer.status_code == 401
    assert await made(house) == []


@pytest.mark.parametrize(
    "claims",
    [
        {"repository_id": "4712"},
        {"repository_id": None, "repository": "acme/checkout"},
        {"environment": "staging"},
        {"environment": None},
    ],
)
async def test_nothing_is_started_by_a_job_that_the_policy_does_not_name(
    claims: dict[str, Any], house: House, ci: CiSystem
) -> None:
    answer = await start(house, ci.token(**claims))
    assert answer.status_code == 403
    assert await made(house) == []


async def test_a_stolen_token_starts_nothing_more(house: House, ci: CiSystem) -> None:
    token = ci.token()
    assert (await start(house, token)).status_code == 201
    thefts = [
        await start(house, token, version="v3"),
        await start(house, token, "another-key"),
        await start(house, token, onConflict="supersede"),
        await start(house, token, service="ledger"),
    ]
    assert {one.status_code for one in thefts} == {403}
    assert await made(house) == ["checkout v2"]
    # The job itself may ask again, and with a token of its own it may ask for more.
    again = await start(house, token)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert (await start(house, ci.token(jti="another"), "run-2", onConflict="queue", version="v3")).status_code == 201


async def test_a_job_does_not_bring_the_policy_that_lets_it_in(house: House, ci: CiSystem) -> None:
    trigger = {"issuer": "github", "repositoryId": "4711", "verbs": ["create", "get", "abort", "promote"]}
    answer = await start(house, ci.token(), policy={"allowedTriggers": [trigger]})
    assert answer.status_code == 403
    assert await made(house) == []


async def test_a_key_that_somebody_else_used_gives_nobody_their_release(house: House, ci: CiSystem) -> None:
    assert (await start(house, ci.token(), "one-key")).status_code == 201
    answer = await start(house, "token-of-ann", "one-key")
    assert answer.status_code == 409
    assert "idempotency-replayed" not in answer.headers


async def test_a_token_of_the_cluster_that_is_for_somebody_else_opens_nothing(house: House, api: Listener) -> None:
    status = {"authenticated": True, "audiences": ["https://kubernetes.default.svc"], "user": {"username": "ann"}}
    api.answers[REVIEWS] = lambda _: Said({"kind": "TokenReview", "status": status}, 201)
    assert (await start(house, "token-of-ann")).status_code == 401
    assert await made(house) == []


async def test_a_token_is_taken_from_its_header_and_nowhere_else(house: House) -> None:
    async with house.client(token="") as client:
        for where in ("access_token", "token", "authorization"):
            answer = await client.get("/v1/whoami", params={where: "token-of-ann"})
            assert answer.status_code == 401
        assert (await client.get("/v1/whoami", headers={"cookie": "authorization=token-of-ann"})).status_code == 401
        basic = await client.get("/v1/whoami", headers={"authorization": "Basic dG9rZW4tb2YtYW5uOg=="})
        assert basic.status_code == 401
