"""A planted secret, through every error path: no answer and no line of the log repeats it."""

import io
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from rollout.commands.desk import LocalDesk
from rollout.core.release import Release
from tests.adapters.access.ci_system import CiSystem, part
from tests.adapters.access.listener import JsonObject, Listener, Said
from tests.api.house import House, served
from tests.fakes.releases import FakeReleases
from tests.security.conftest import REVIEWS, RIGHTS

SECRET = "s3cr3t-planted-0451"
START = {"namespace": "shop", "service": "checkout", "version": "v2"}


def _told(body: JsonObject) -> Said:
    """An API server that repeats what it was sent."""
    return Said({"kind": "Status", "message": f"invalid: {body}"}, 422)


async def _ask(house: House, token: str = SECRET, **request: Any) -> str:
    """Everything that comes back."""
    wanted: dict[str, Any] = {"method": "POST", "url": "/v1/releases", "json": START, **request}
    headers = {"idempotency-key": "k", **wanted.pop("headers", {})}
    async with house.client(token) as client:
        answer = await client.request(headers=headers, **wanted)
    assert answer.status_code >= 400, answer.text
    return f"{answer.headers} {answer.text}"


@pytest.mark.parametrize("path", [REVIEWS, RIGHTS])
@pytest.mark.parametrize("answer", [_told, lambda _: Said(b"{", 200), lambda _: Said({}, 403), lambda _: Said({}, 500)])
async def test_of_a_token_that_cannot_be_judged(
    path: str, answer: Any, house: House, api: Listener, lines: io.StringIO
) -> None:
    api.answers[path] = answer
    assert SECRET not in await _ask(house)
    assert SECRET not in lines.getvalue()


async def test_of_a_token_that_is_refused(house: House, api: Listener, lines: io.StringIO) -> None:
    api.answers[REVIEWS] = lambda _: Said({"status": {"authenticated": False, "error": f"bad token {SECRET}"}}, 201)
    assert SECRET not in await _ask(house)
    assert SECRET not in await _ask(house, f"{part(SECRET)}.{part(SECRET)}.{SECRET}")
    assert SECRET not in await _ask(house, SECRET, headers={"authorization": f"Basic {SECRET}"})
    assert SECRET not in lines.getvalue()


async def test_of_a_ci_systems_token(house: House, ci: CiSystem, lines: io.StringIO) -> None:
    token = ci.token(jti=SECRET)
    for _ in range(2):
        await _ask(house, token, json={**START, "service": "ledger", "version": "?"})
    ci.status = 500
    answer = await _ask(house, ci.token(jti=SECRET, environment="staging"))
    for text in (answer, lines.getvalue()):
        assert SECRET not in text
        assert token not in text
        assert token.split(".")[2] not in text


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {**START, "password": SECRET}},
        {"json": {**START, "version": f"!{SECRET}"}},
        {"json": {**START, "policy": {"interval": SECRET}}},
        {"json": {**START, "source": {"url": {"token": SECRET}}}},
        {"json": [SECRET]},
        {"json": None, "content": f'{{"version": {SECRET}', "headers": {"content-type": "application/json"}},
        {"url": "/v1/validate", "json": None, "content": f"a: [{SECRET}", "headers": {"content-type": "text/yaml"}},
    ],
)
async def test_of_a_body_that_does_not_fit(request_: dict[str, Any], house: House, lines: io.StringIO) -> None:
    assert SECRET not in await _ask(house, "token-of-ann", **request_)
    assert SECRET not in lines.getvalue()


class Defective(FakeReleases):
    """It breaks with a secret at hand."""

    async def list(self, namespace: str | None, service: str | None = None) -> Sequence[Release]:
        token = SECRET
        raise KeyError(len(token), namespace, service)


async def test_of_a_defect_of_ours(house: House, lines: io.StringIO) -> None:
    house.but(desk=LocalDesk(Defective(house.clock), house.freezes, house.clock))
    assert SECRET not in await _ask(house)
    assert SECRET not in lines.getvalue()
    assert "http.failed" in lines.getvalue()


async def test_of_a_query_string_and_of_headers(house: House, lines: io.StringIO) -> None:
    async with served(house) as api, httpx2.AsyncClient(base_url=api.url) as client:
        for header in ("authorization", "cookie", "x-api-key", "proxy-authorization"):
            answer = await client.get("/v1/releases", params={"token": SECRET}, headers={header: SECRET})
            assert SECRET not in answer.text
    assert SECRET not in lines.getvalue()
