"""What every request passes: sizes, media types, budgets, ids, the log, and the form of every no."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import structlog
from fastapi import FastAPI

from rollout import telemetry
from rollout.administration import Api
from rollout.api.doorway import MOST_BYTES
from rollout.core.access import Identity
from tests.api.house import ANN, BEN, START, House, bearer
from tests.fakes.access import FakeAuthenticator

JSON = {"content-type": "application/json", "idempotency-key": "one"}
SECRET = "s3cr3t-that-nobody-may-see"


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """What is logged meanwhile, as the lines would be."""
    stream = io.StringIO()
    lines: list[dict[str, Any]] = []
    telemetry.configure("json", "debug", stream)
    try:
        yield lines
    finally:
        lines.extend(json.loads(line) for line in stream.getvalue().splitlines())
        structlog.reset_defaults()


async def test_every_no_is_a_problem_of_rfc_9457(house: House) -> None:
    async with house.client() as client:
        told = [
            await client.get("/v1/nothing"),
            await client.patch("/v1/releases"),
            await client.get("/v1/releases?limit=many"),
            await client.post("/v1/releases", content=b"{", headers=JSON),
            await client.post("/v1/releases", content=b"a: 1", headers={"content-type": "text/plain"}),
            await client.post("/v1/releases", content=b" " * (MOST_BYTES + 1), headers=JSON),
            await client.post("/v1/releases", json=START),
            await client.get("/v1/releases/shop/none"),
            await client.get("/v1/releases", headers=bearer("nobody")),
            await client.get("/v1/releases", headers=bearer(BEN)),
        ]
    assert [one.status_code for one in told] == [404, 405, 422, 400, 415, 413, 400, 404, 401, 403]
    for one in told:
        document = one.json()
        assert one.headers["content-type"] == "application/problem+json"
        assert document["status"] == one.status_code
        assert document["type"] == f"urn:rollout:problem:{document['code']}"
        assert document["request_id"] == one.headers["x-request-id"]
        assert document["title"]
        assert document["detail"]
        assert document["instance"].startswith("/v1/")
    assert told[1].headers["allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"namespace": NaN}',
        b'{"namespace": Infinity}',
        b'{"service": "a", "service": "b"}',
        b"[" * 60_000,
        b'{"a":' * 41 + b"1" + b"}" * 41,
        b'{"a": 1} trailing',
        b"1" * 5000,
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_a_body_that_is_no_plain_json_is_refused(house: House, body: bytes) -> None:
    async with house.client() as client:
        answer = await client.post("/v1/releases", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert not await house.releases.list(None)


async def test_broken_json_is_told_with_its_line(house: House) -> None:
    async with house.client() as client:
        answer = await client.post("/v1/releases", content=b'{\n"a": 1,\n}', headers=JSON)
    assert answer.json()["errors"][0]["line"] == 3


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
async def test_a_compressed_body_is_refused(house: House, encoding: str) -> None:
    async with house.client() as client:
        answer = await client.post("/v1/releases", content=b"x", headers=JSON | {"content-encoding": encoding})
    assert answer.status_code == 415


async def test_a_body_in_chunks_may_be_no_larger_than_any_other(house: House) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 8000

    async with house.client() as client:
        answer = await client.post("/v1/releases", content=chunks(), headers=JSON)
    assert answer.status_code == 413


async def test_what_was_rejected_is_never_repeated(house: House) -> None:
    wrong = [
        START | {"version": SECRET.upper()},
        START | {SECRET: 1},
        START | {"source": {"token": SECRET}},
        START | {"notBefore": SECRET},
        START | {"onConflict": SECRET},
        START | {"policy": {"steps": [{"weight": 10, "hold": SECRET}]}},
        START | {"policy": {"checks": {"errors": {"max": SECRET}}}},
        SECRET,
        [SECRET],
    ]
    with logged() as lines:
        async with house.client() as client:
            answers = [await client.post("/v1/releases", json=one, headers=JSON) for one in wrong]
            answers.append(await client.post("/v1/releases", content=f'{{"{SECRET}', headers=JSON))
            answers.append(await client.get("/v1/releases", headers=bearer(SECRET)))
            answers.append(await client.get("/v1/releases?limit=" + SECRET))
            answers.append(
                await client.post("/v1/releases", json=START | {"version": "V"}, headers={"idempotency-key": SECRET})
            )
    assert {one.status_code for one in answers} <= {400, 401, 422}
    for one in answers[:1] + answers[2:]:
        assert SECRET.lower() not in one.text.lower()
    assert SECRET.lower() not in json.dumps(lines).lower()


async def test_a_defect_is_500_and_tells_nothing_of_itself(house: House) -> None:
    class Broken(FakeAuthenticator):
        async def identify(self, token: str) -> Identity:
            planted = SECRET
            raise KeyError(f"{len(token + planted)}")

    house.but(authenticator=Broken())
    with logged() as lines:
        async with house.client() as client:
            answer = await client.get("/v1/releases")
    assert (answer.status_code, answer.json()["code"]) == (500, "failed")
    [failed] = [line for line in lines if line["event"] == "http.failed"]
    assert failed["request_id"] == answer.json()["request_id"]
    assert SECRET not in json.dumps(lines)


async def test_every_answer_is_one_line_in_the_log_with_its_request_id_and_caller(house: House) -> None:
    with logged() as lines:
        async with house.client() as client:
            given = await client.get("/v1/releases", headers={"x-request-id": "ci-1234.5_6"})
            made = [await client.get("/v1/releases", headers={"x-request-id": bad}) for bad in ("a b c d e f", "x")]
    ids = [one.headers["x-request-id"] for one in (given, *made)]
    assert ids[0] == "ci-1234.5_6"
    assert len(set(ids)) == 3
    assert not {"a b c d e f", "x"} & set(ids)
    told = [line for line in lines if line["event"] == "http.answered"]
    assert [line["request_id"] for line in told] == ids
    assert {(line["route"], line["code"], line["actor"], line["method"]) for line in told} == {
        ("/v1/releases", 200, "ann", "GET")
    }


async def test_a_path_cannot_write_lines_of_its_own_into_the_log(house: House) -> None:
    with logged() as lines:
        async with house.client() as client:
            await client.get("/v1/a%0A%7B%22event%22:%22forged%22%7D%1b[31m%E2%80%AE")
    [line] = [line for line in lines if line["event"] == "http.answered"]
    assert not any(ord(char) < 32 or char == "\u202e" for char in line["path"])


async def test_an_empty_bucket_is_429_until_it_has_filled_again(house: House) -> None:
    house.but(limits=Api(per_minute=60, burst=3))
    async with house.client() as client:
        codes = [(await client.get("/v1/whoami")).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        answer = await client.get("/v1/whoami")
        assert (answer.json()["code"], answer.headers["retry-after"]) == ("limited", "1")
        other = await client.get("/v1/whoami", headers=bearer(BEN))
        assert other.status_code == 200, "one caller's bucket is not another's"
        house.seconds += 1.01
        assert [(await client.get("/v1/whoami")).status_code for _ in range(2)] == [200, 429]


async def test_probes_are_never_limited(house: House) -> None:
    house.but(limits=Api(per_minute=1, burst=1))
    async with house.client() as client:
        assert {(await client.get("/livez")).status_code for _ in range(5)} == {200}


async def test_ready_means_that_the_kubernetes_api_answers_and_nobody_closes(house: House) -> None:
    async with house.client(token="") as client:
        assert (await client.get("/readyz")).status_code == 200
        house.is_ready = False
        assert (await client.get("/readyz")).status_code == 503
        house.is_ready = True
        house.backing.closing.set()
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200


async def test_nothing_of_an_answer_is_kept_by_caches_or_guessed_at(house: House) -> None:
    async with house.client() as client:
        answer = await client.get("/v1/releases")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_nothing_is_told_to_collectors_of_traces(house: House) -> None:
    app: FastAPI = house.application()
    told = app._telemetry  # type: ignore[attr-defined,unused-ignore]
    assert not any(told[name] for name in ("auto_configure", "tracing", "metrics", "logs"))


async def test_a_header_twice_is_no_way_around_a_check(house: House) -> None:
    transport = httpx2.ASGITransport(house.application())
    pairs = [("authorization", f"Bearer {ANN}"), ("content-type", "text/plain"), ("content-type", "application/json")]
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
        answer = await client.post("/v1/releases", content=b"{}", headers=pairs)
    assert answer.status_code == 415
