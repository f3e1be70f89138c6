"""The desk over HTTP against answers that no good API gives: redirects, floods, silence, another version's JSON."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from rollout.adapters.remote_answers import Denied, Unauthenticated, meaning_of
from rollout.adapters.remote_desk import MOST_BYTES, RemoteDesk
from rollout.core.freeze import Freeze, FreezeSpec
from rollout.core.release import Phase, Source
from rollout.desk import Busy, Finished, Frozen, KeyReused, Order, Scope, Wanted
from rollout.ports import Conflict, NotFound, Outage, Refused
from tests.given import NAME, release

FREEZE = Freeze(namespace="shop", name="namespace", spec=FreezeSpec(reason="holidays"))
ORDER = Order("shop", "checkout", "v2", Source(), key="k")


class Server:
    """Answers every request with the next of `answers`; remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""
        self.silent = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def will(self, code: int, body: Any = None, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.answers.append((code, {name.replace("_", "-"): value for name, value in headers.items()}, raw))

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().splitlines()
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append((first.rpartition(" ")[0], headers, body))
                if self.silent:
                    continue
                code, extra, raw = self.answers.pop(0)
                told = {"content-length": str(len(raw)), **extra}
                writer.write(f"HTTP/1.1 {code} X\r\n".encode())
                writer.write("".join(f"{name}: {value}\r\n" for name, value in told.items()).encode() + b"\r\n" + raw)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def desk(server: Server) -> AsyncIterator[RemoteDesk]:
    async with RemoteDesk(server.url, lambda: "t0ken\n", seconds=2.0) as made:
        yield made


def problem(code: str, status: int, **more: Any) -> dict[str, Any]:
    return {"code": code, "status": status, "detail": f"it is {code}", **more}


async def test_a_release_that_comes_is_the_one_that_was_sent(server: Server, desk: RemoteDesk) -> None:
    sent = release(Phase.ANALYSING).model_copy(update={"revision": "7"})
    server.will(200, sent.wire())
    assert await desk.get("shop", NAME) == sent
    [(line, headers, _)] = server.asked
    assert line == f"GET /v1/releases/shop/{NAME}"
    assert headers["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (409, problem("busy", 409, release=release().wire()), Busy),
        (409, problem("busy", 409, active_release="other"), Refused),
        (409, problem("finished", 409, release=release(Phase.PROMOTED).wire()), Finished),
        (422, problem("key-reused", 422, release=release().wire()), KeyReused),
        (423, problem("frozen", 423, freeze=FREEZE.wire()), Frozen),
        (409, problem("refused", 409), Refused),
        (409, problem("conflict", 409), Conflict),
        (412, problem("changed", 412), Conflict),
        (404, problem("not-found", 404), NotFound),
        (422, problem("invalid", 422), Refused),
        (401, problem("unauthenticated", 401), Unauthenticated),
        (403, problem("denied", 403), Denied),
        (502, problem("unable", 502), Outage),
        (503, problem("outage", 503), Outage),
        (500, b"<html>oops</html>", Outage),
        (404, b"<html>nothing here</html>", Outage),
        (200, b"<html>welcome</html>", Outage),
        (200, {"spec": {}}, Outage),
        (200, b"[" * 100_000, Outage),
    ],
)
async def test_each_answer_means_what_it_means_over_a_kubeconfig(
    server: Server, desk: RemoteDesk, status: int, body: Any, kind: type[Exception]
) -> None:
    server.will(status, body)
    with pytest.raises(kind) as caught:
        await desk.wish(Wanted("shop", NAME, "abort"))
    assert type(caught.value) is kind


async def test_what_is_not_there_is_none(server: Server, desk: RemoteDesk) -> None:
    server.will(404, problem("not-found", 404))
    assert await desk.get("shop", NAME) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a%2fb", "A", "a b", "x" * 300, "ä"])
async def test_what_can_be_no_name_is_not_asked_for(server: Server, desk: RemoteDesk, name: str) -> None:
    assert await desk.get("shop", name) is None
    assert await desk.list("shop", name) == []
    assert server.asked == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed_with_the_token(server: Server, desk: RemoteDesk, status: int) -> None:
    server.will(status, location=f"{server.url}/elsewhere")
    with pytest.raises(Outage):
        await desk.get("shop", NAME)
    assert len(server.asked) == 1


async def test_an_answer_is_not_read_beyond_its_bound(server: Server, desk: RemoteDesk) -> None:
    server.will(200, b"x" * (MOST_BYTES + 1))
    with pytest.raises(Outage):
        await desk.get("shop", NAME)


async def test_a_page_that_is_too_long_is_asked_for_in_smaller_ones(server: Server, desk: RemoteDesk) -> None:
    server.will(200, b"x" * (MOST_BYTES + 1))
    server.will(200, {"items": [release().wire()], "next": "c1"})
    server.will(200, {"items": [release().model_copy(update={"name": "older"}).wire()], "next": None})
    assert [one.name for one in await desk.list("shop")] == ["older", NAME]
    assert [line.rpartition("=")[2] for line, _, _ in server.asked] == ["64", "32", "32"]


async def test_silence_is_an_outage_in_time(server: Server) -> None:
    server.silent = True
    async with RemoteDesk(server.url, lambda: None, seconds=0.1) as desk, asyncio.timeout(5):
        with pytest.raises(Outage):
            await desk.get("shop", NAME)


async def test_whoever_comes_too_fast_waits_and_comes_again(server: Server, desk: RemoteDesk) -> None:
    server.will(429, problem("limited", 429), retry_after="0")
    server.will(200, release().wire())
    assert await desk.get("shop", NAME) is not None


async def test_a_long_pause_is_told_and_not_waited_for(server: Server, desk: RemoteDesk) -> None:
    server.will(429, problem("limited", 429), retry_after="3600")
    with pytest.raises(Outage):
        await desk.get("shop", NAME)


async def test_a_long_poll_names_what_is_known(server: Server, desk: RemoteDesk) -> None:
    known = release().model_copy(update={"revision": "7"})
    server.will(200, known.wire())
    assert await desk.newer(known, 2.5) == known
    assert server.asked[0][0] == f"GET /v1/releases/shop/{NAME}?wait=2500ms&after=7"


async def test_a_start_carries_its_key_and_says_whether_it_was_one_before(server: Server, desk: RemoteDesk) -> None:
    server.will(201, release().wire())
    server.will(200, release().wire(), idempotency_replayed="true")
    assert not (await desk.start(ORDER)).replayed
    assert (await desk.start(ORDER)).replayed
    assert {headers["idempotency-key"] for _, headers, _ in server.asked} == {"k"}
    assert json.loads(server.asked[0][2])["onConflict"] == "reject"


async def test_a_start_without_a_key_has_one_of_its_own_each_time(server: Server, desk: RemoteDesk) -> None:
    keyless = Order("shop", "checkout", "v2", Source(), not_before=datetime(2027, 1, 1, tzinfo=UTC))
    for _ in range(2):
        server.will(201, release().wire())
        await desk.start(keyless)
    assert len({headers["idempotency-key"] for _, headers, _ in server.asked}) == 2


@pytest.mark.parametrize(
    ("scope", "path"), [(Scope(), "all"), (Scope("shop"), "shop"), (Scope("shop", "checkout"), "shop/checkout")]
)
async def test_a_freeze_is_put_at_its_scope(server: Server, desk: RemoteDesk, scope: Scope, path: str) -> None:
    server.will(200, FREEZE.wire())
    assert await desk.freeze(scope, None, by="eve", reason="no") == FREEZE
    assert server.asked[0][0] == f"PUT /v1/freezes/{path}"
    assert b"eve" not in server.asked[0][2]


async def test_a_token_with_a_line_break_reaches_no_header_and_no_message(server: Server) -> None:
    async with RemoteDesk(server.url, lambda: "good\r\nx-evil: 1") as desk:
        with pytest.raises(Unauthenticated) as caught:
            await desk.get("shop", NAME)
    assert "evil" not in str(caught.value)
    assert server.asked == []


async def test_no_proxy_of_the_environment_is_used_unless_asked_for(
    server: Server, desk: RemoteDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.will(200, release().wire())
    async with RemoteDesk(server.url, lambda: None) as plain:
        assert await plain.get("shop", NAME) is not None
    async with RemoteDesk(server.url, lambda: None, env_proxy=True) as proxied:
        with pytest.raises(Outage):
            await proxied.get("shop", NAME)
    del desk


def test_what_is_wrong_with_each_field_is_told_once() -> None:
    errors = [{"pointer": "/version", "detail": "too long"}, {"pointer": "/service", "detail": "no name"}]
    told = str(meaning_of("u", "POST /", 422, {"code": "invalid", "detail": "/version: too long", "errors": errors}))
    assert told.count("too long") == 1
    assert "/service: no name" in told
