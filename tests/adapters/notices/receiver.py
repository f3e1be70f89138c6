"""A receiver of notices on this machine: it keeps what it is sent, and answers as it is told.

Belongs here: a few lines of HTTP/1.1, one request per connection. Does not belong here: what a test expects.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Say:
    """What to answer. `reset`: close the connection without a word; `hang`: say nothing for so many seconds."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False
    hang: float = 0.0


def always_fine(_: Got) -> Say:
    return Say()


class Receiver:
    """Listens on a free port of 127.0.0.1."""

    def __init__(self, answer: Callable[[Got], Say] = always_fine) -> None:
        self.answer = answer
        self.got: list[Got] = []
        self.port = 0
        self.most_at_once = 0
        self._at_once = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            got = await _read(reader)
            self.got.append(got)
            say = self.answer(got)
            if say.hang:
                await asyncio.sleep(say.hang)
            if not say.reset:
                writer.write(_written(say))
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            self._at_once -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Got:
    first = (await reader.readline()).decode()
    if not first:
        raise EOFError
    headers = {}
    while line := (await reader.readline()).decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Got(first.split()[1], headers, body)


def _written(say: Say) -> bytes:
    body = b"" if say.body is None else json.dumps(say.body).encode()
    head = {"Content-Length": str(len(body)), "Connection": "close", **say.headers}
    lines = [f"HTTP/1.1 {say.status} x", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def receiving(answer: Callable[[Got], Say] = always_fine) -> AsyncIterator[Receiver]:
    """A receiver, for as long as the block lasts; connections that are still open are cut."""
    receiver, tasks = Receiver(answer), set[asyncio.Task[None]]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await receiver.serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
