"""A server on 127.0.0.1 that answers JSON as a test says, and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]


@dataclass
class Said:
    """One answer."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[JsonObject], Said]


@dataclass
class Listener:
    """Answers by path; 404 for all others.

    Attributes:
        url: where it listens.
        answers: path -> answer to a body; may be changed at any time.
        asked: (path, body) of every request so far.
        hold: requests wait for this before they are answered.
    """

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, JsonObject]] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                lengths = [int(one.partition(":")[2]) for one in lines if one.lower().startswith("content-length:")]
                raw = await reader.readexactly(lengths[0]) if lengths else b""
                path = lines[0].split(" ")[1].partition("?")[0]
                body = json.loads(raw) if raw else {}
                self.asked.append((path, body))
                if self.hold is not None:
                    await self.hold.wait()
                answer = self.answers.get(path)
                said = Said({"kind": "Status"}, 404) if answer is None else answer(body)
                content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
                headers = {"content-type": "application/json", "content-length": str(len(content)), **said.headers}
                text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {said.status} Answer\r\n{text}\r\n".encode() + content)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    """One that listens until the end of the block."""
    listener = Listener()
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            # A task that ends cancelled is an error to asyncio's own callback in Python 3.11.
            with suppress(asyncio.CancelledError):
                await listener._serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    listener.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield listener
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
