"""A very small and very fast HTTP/1.1 server: one handler, no framework, bodies with Content-Length only.

Belongs here: RFC 9112 framing as far as Envoy, curl and httpx need it. Does not belong here: what is answered.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast

_END: Final = b"\r\n\r\n"
_MAX_HEAD: Final = 65536
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: the method, the target as sent, the whole body."""

    method: str
    target: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say, and after how many seconds."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0

    def encoded(self, *, with_body: bool, last: bool) -> bytes:
        """As it goes over the wire."""
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"content-length: {len(self.body)}")
        if last:
            lines.append("connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return head + self.body if with_body else head


def json_answer(value: Any, status: int = 200) -> Answer:
    """A JSON document."""
    return Answer(status, json.dumps(value).encode() + b"\n", (("content-type", "application/json"),))


Handler = Callable[[Request], Answer]


@dataclass(slots=True)
class Listener:
    """A listening socket and the connections that came through it."""

    server: asyncio.Server
    connections: "set[Connection]" = field(default_factory=set)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening; drop idle connections now and busy ones after their answer."""
        self.server.close()
        for connection in tuple(self.connections):
            connection.finish()


class Connection(asyncio.Protocol):
    """One keep-alive connection. Pipelined requests are answered one after the other (RFC 9112 §9.3.2)."""

    def __init__(self, handler: Handler, peers: "set[Connection]") -> None:
        self._handler = handler
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._pending: asyncio.TimerHandle | None = None
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom we talk to."""
        # A cast, because uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it was lost changes nothing
        """Forget an answer nobody waits for any more."""
        self._peers.discard(self)
        self._transport = None
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def finish(self) -> None:
        """Close, now or after the answer that is due."""
        self._closing = True
        if self._pending is None and self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Collect, and answer what is complete."""
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        while self._pending is None and self._transport is not None and not self._closing:
            end = self._buffer.find(_END)
            if end < 0:
                if len(self._buffer) > _MAX_HEAD:
                    self._send(Answer(431), with_body=True, last=True)
                return
            head = self._buffer[:end]
            fields = fields_of(head)
            length = fields.get(b"content-length", b"0")
            words = head.split(b"\r\n", 1)[0].split(b" ")
            if len(words) != 3 or not length.isdigit() or b"transfer-encoding" in fields:
                self._send(Answer(411 if b"transfer-encoding" in fields else 400), with_body=True, last=True)
                return
            stop = end + len(_END) + int(length)
            if len(self._buffer) < stop:
                return
            body = self._buffer[end + len(_END) : stop]
            self._buffer = self._buffer[stop:]
            self._handle(Request(words[0].decode("latin-1"), words[1].decode("latin-1"), body), fields)

    def _handle(self, request: Request, fields: dict[bytes, bytes]) -> None:
        answer = self._handler(request)
        with_body = request.method != "HEAD"
        last = fields.get(b"connection", b"").lower() == b"close"
        if answer.delay <= 0:
            self._send(answer, with_body=with_body, last=last)
            return

        def due() -> None:
            self._pending = None
            self._send(answer, with_body=with_body, last=last or self._closing)
            self._advance()

        self._pending = self._loop.call_later(answer.delay, due)

    def _send(self, answer: Answer, *, with_body: bool, last: bool) -> None:
        if self._transport is None:
            return
        self._transport.write(answer.encoded(with_body=with_body, last=last))
        if last:
            self._closing = True
            self._transport.close()


def fields_of(head: bytes) -> dict[bytes, bytes]:
    """Header fields by lower-case name; of repeated ones the last, which none of ours minds."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def bound_socket() -> socket.socket:
    """A socket bound to a free port of 127.0.0.1; a child can inherit it, so that its port is known before it runs."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.bind(("127.0.0.1", 0))
    bound.setblocking(False)
    return bound


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, which halves the time per request, or on asyncio's own loop where there is none."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def listen(handler: Handler, on: socket.socket | None = None) -> Listener:
    """Listen on a free port of 127.0.0.1, or on a bound socket that is given.

    Raises:
        OSError: no socket to be had.
    """
    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()

    def connection() -> Connection:
        return Connection(handler, connections)

    if on is None:
        server = await loop.create_server(connection, "127.0.0.1", 0, backlog=1024)
    else:
        server = await loop.create_server(connection, sock=on)
    return Listener(server, connections)
