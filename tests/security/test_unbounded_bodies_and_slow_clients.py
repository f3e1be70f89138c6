"""Callers who send without end, or so slowly that it never ends."""

import asyncio
from contextlib import suppress

import pytest

from rollout.api.connections import Connection
from tests.api.house import House, served


class Hasty(Connection):
    """As in production, in less time and for fewer."""

    arrives = 0.5
    most = 5


HEAD = b"POST /v1/validate HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer token-of-ann\r\nContent-Type: text/yaml\r\n"


async def _sent(host: str, port: int, head: bytes, piece: bytes, pause: float = 0.0) -> tuple[bytes, int]:
    """Send pieces until the other side has had enough: what it said, and how many it took."""
    reader, writer = await asyncio.open_connection(host, port)
    taken, said = 0, bytearray()

    async def listen() -> None:
        # Piece by piece: what was said before a connection is reset counts.
        with suppress(ConnectionError):
            while piece := await reader.read(4096):
                said.extend(piece)

    reading = asyncio.ensure_future(listen())
    try:
        with suppress(ConnectionError):
            writer.write(head)
            async with asyncio.timeout(20):
                while not reading.done():
                    writer.write(piece)
                    taken += len(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
        await asyncio.wait({reading}, timeout=5)
        return bytes(said), taken
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_body_that_says_it_is_large_is_refused_unread(house: House) -> None:
    async with served(house, Hasty) as api:
        said, _ = await _sent(api.host, api.port, HEAD + b"Content-Length: 100000000\r\n\r\n", b"x" * 1000, 0.01)
    assert b" 413 " in said.split(b"\r\n")[0]


async def test_a_body_without_an_end_is_cut_off(house: House) -> None:
    async with served(house, Hasty) as api:
        head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        said, taken = await _sent(api.host, api.port, head, b"400\r\n" + b"x" * 1024 + b"\r\n", 0.001)
    assert b" 413 " in said.split(b"\r\n")[0]
    assert taken < 50_000_000


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\n", HEAD + b"Content-Length: 60000\r\n\r\n"])
async def test_who_sends_drop_by_drop_is_hung_up_on(head: bytes, house: House) -> None:
    piece = b"x" if b"Content-Length" in head else b"X-A: b\r\n"
    async with served(house, Hasty) as api:
        async with asyncio.timeout(15):
            said, taken = await _sent(api.host, api.port, head, piece, 0.05)
    assert taken < 5_000
    assert not said or b" 408 " in said.split(b"\r\n")[0]


async def test_headers_without_an_end_are_cut_off(house: House) -> None:
    async with served(house, Hasty) as api:
        _, taken = await _sent(api.host, api.port, b"GET / HTTP/1.1\r\n", b"X-A: " + b"b" * 1000 + b"\r\n", 0.001)
    assert taken < 10_000_000


async def test_who_holds_many_connections_does_not_hold_them_all_for_long(house: House) -> None:
    async with served(house, Hasty) as api:
        held = [await asyncio.open_connection(api.host, api.port) for _ in range(20)]
        try:
            async with asyncio.timeout(15):
                while True:
                    reader, writer = await asyncio.open_connection(api.host, api.port)
                    with suppress(ConnectionError):
                        writer.write(b"GET /livez HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
                        first = (await reader.read()).split(b"\r\n")[0]
                        if b" 200 " in first:
                            break
                    writer.close()
                    await asyncio.sleep(0.1)
            writer.close()
        finally:
            for _, one in held:
                one.close()
