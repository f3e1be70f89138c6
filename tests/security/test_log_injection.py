"""Line ends, escape sequences and invisible characters, in every field that somebody else can fill."""

import asyncio
import io
import json
import unicodedata
from urllib.parse import quote

import pytest

from rollout.core.access import Identity
from tests.api.house import House, served
from tests.fakes.access import FakeAuthenticator

NASTY = 'x\n{"event":"release.succeeded"}\r\x1b[31m\u202e\u2028end'
START = {"namespace": "shop", "service": "checkout", "version": "v2"}


def _only_lines(text: str) -> list[dict[str, object]]:
    """Each line is one object that we wrote, without a character that a terminal would obey."""
    assert not [one for one in text if one != "\n" and unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"}]
    found = [json.loads(line) for line in text.splitlines()]
    assert not [one for one in found if one["event"] == "release.succeeded"]
    return found


@pytest.mark.parametrize(
    "body",
    [
        {**START, "source": {"reason": NASTY, "actor": NASTY}},
        {**START, "service": NASTY},
        {**START, NASTY: NASTY},
    ],
)
async def test_in_a_body(body: dict[str, object], house: House, lines: io.StringIO) -> None:
    async with house.client("token-of-ann") as client:
        await client.post("/v1/releases", json=body, headers={"idempotency-key": "k"})
    assert _only_lines(lines.getvalue())


async def test_in_the_path_the_query_the_method_and_the_headers(house: House, lines: io.StringIO) -> None:
    async with house.client("token-of-ann") as client:
        await client.get(f"/v1/{quote(NASTY)}")
        await client.get("/v1/releases", params={"namespace": NASTY, "cursor": NASTY})
        await client.get("/v1/releases", headers={"x-request-id": "x\x1b[31m", "user-agent": "x\x1b[31m"})
    found = _only_lines(lines.getvalue())
    assert len([one for one in found if one["event"] == "http.answered"]) == 3


async def test_in_a_callers_name(house: House, lines: io.StringIO) -> None:
    house.but(authenticator=FakeAuthenticator({"t": Identity(name=NASTY)}))
    async with house.client("t") as client:
        await client.post("/v1/releases/shop/checkout-v2/abort", json={"reason": NASTY})
        await client.get("/v1/whoami")
    assert _only_lines(lines.getvalue())


async def test_on_the_wire(house: House, lines: io.StringIO) -> None:
    async with served(house) as api:
        for raw in (
            b"GET /\x1b[31m HTTP/1.1\r\n\r\n",
            b"\x1b[31mGET / HTTP/1.1\r\n\r\n",
            b"GET /%0a%1b HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(api.host, api.port)
            writer.write(raw)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 10)
            writer.close()
            await writer.wait_closed()
    _only_lines(lines.getvalue())
