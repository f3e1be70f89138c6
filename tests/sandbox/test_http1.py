"""The small HTTP server: framing, order, an end without losses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from rollout.sandbox.http1 import Answer, Listener, Request, bound_socket, listen


def echo(request: Request) -> Answer:
    delay = 0.02 if request.target == "/late" else 0.0
    return Answer(200, f"{request.method} {request.target} {request.body.decode()}".encode(), (), delay)


@asynccontextmanager
async def serving(handler: Callable[[Request], Answer] = echo) -> AsyncIterator[Listener]:
    listener = await listen(handler)
    try:
        yield listener
    finally:
        listener.close()
        await listener.server.wait_closed()


async def talk(port: int, data: bytes) -> bytes:
    """Send, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def request(target: str, *fields: str, method: str = "GET", body: str = "") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "host: x", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


LAST = "connection: close"


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with serving() as listener:
        answer = await talk(listener.port, request("/late") + request("/soon") + request("/end", LAST))
    assert answer.index(b"/late") < answer.index(b"/soon") < answer.index(b"/end")


async def test_a_request_in_pieces_is_one_request() -> None:
    whole = request("/a", "content-length: 5", LAST, method="POST", body="hello")
    async with serving() as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        for index in range(len(whole)):
            writer.write(whole[index : index + 1])
            await writer.drain()
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.endswith(b"POST /a hello")


async def test_head_is_answered_without_a_body() -> None:
    async with serving() as listener:
        answer = await talk(listener.port, request("/a", LAST, method="HEAD"))
    assert b"content-length: 8" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"nonsense\r\n\r\n", b" 400 "),
        (request("/a", "content-length: -1"), b" 400 "),
        (request("/a", "transfer-encoding: chunked"), b" 411 "),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, b" 431 "),
    ],
)
async def test_what_cannot_be_read_is_refused_and_the_connection_closed(data: bytes, code: bytes) -> None:
    async with serving() as listener:
        assert code in await talk(listener.port, data)


async def test_an_answer_under_way_is_finished_when_the_listener_closes() -> None:
    arrived = asyncio.Event()

    def slow(_: Request) -> Answer:
        arrived.set()
        return Answer(200, b"done", (), 0.05)

    async with serving(slow) as listener:
        talking = asyncio.create_task(talk(listener.port, request("/a")))
        await arrived.wait()
        listener.close()
        assert (await talking).endswith(b"done")


async def test_a_client_that_leaves_early_harms_nobody() -> None:
    async with serving() as listener:
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(request("/late"))
        await writer.drain()
        writer.transport.abort()
        assert (await talk(listener.port, request("/b", LAST))).endswith(b"GET /b ")


async def test_a_bound_socket_keeps_callers_waiting_until_it_is_served() -> None:
    bound = bound_socket()
    bound.listen(10)
    talking = asyncio.create_task(talk(bound.getsockname()[1], request("/a", LAST)))
    await asyncio.sleep(0)
    listener = await listen(echo, bound)
    assert (await talking).endswith(b"GET /a ")
    listener.close()
