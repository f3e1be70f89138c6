"""Sockets of the API: how fast bytes must arrive and leave, how many connections there may be, how it all ends.

Belongs here: what uvicorn leaves open. Does not belong here: requests (`doorway.py`).

A request must be here as a whole within `ARRIVES` seconds of its first byte, or of the connection; an answer that is
not taken for `TAKEN` seconds is cut off. Neither costs a task per connection. A body that was refused unread is let
arrive and thrown away for as long: to hang up on it would take the answer away from who still sends.
"""

import asyncio
import contextlib
import json
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from rollout.api.problems import MEDIA_TYPE, Problem, outage

ARRIVES: Final = 10.0
TAKEN: Final = 30.0
MOST_CONNECTIONS: Final = 1000
MOST_HEADER_BYTES: Final = 32 * 1024
"""Room for one token of 16 KiB and everything else."""
_IDLE_SECONDS: Final = 65
"""Longer than proxies keep theirs (Envoy's and nginx' defaults are 60 s and less), so that it is them who close."""
_GRACE_SECONDS: Final = 5
_BACKLOG: Final = 512
_RELOAD_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate chain and key, PEM; read again when they change."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError is one) if they cannot be used."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return context

    def stamp(self) -> tuple[int, int]:
        """Changes when the files do; zeros where they cannot be seen."""
        with contextlib.suppress(OSError):
            return self.certificate.stat().st_mtime_ns, self.key.stat().st_mtime_ns
        return 0, 0


class Connection(H11Protocol):
    """uvicorn's protocol with deadlines, a bound, and refusals in our form."""

    arrives: ClassVar[float] = ARRIVES
    taken: ClassVar[float] = TAKEN
    most: ClassVar[int] = MOST_CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new one; closed with an answer if there are too many already."""
        self._arriving: asyncio.TimerHandle | None = None
        self._leaving: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(outage("too many connections"))
            return
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Bytes."""
        if self._is_arriving():
            self._arm()
        super().data_received(data)
        if not self._is_arriving():
            self._disarm()

    def on_response_complete(self) -> None:
        """The next request may have begun to arrive already."""
        super().on_response_complete()
        if self.conn.trailing_data[0] and self._is_arriving():
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._disarm()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take what we send; not for long."""
        super().pause_writing()
        if self._leaving is None:
            self._leaving = self.loop.call_later(self.taken, self.transport.abort)

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def send_400_response(self, msg: str) -> None:
        """What arrived is no HTTP."""
        self._refuse(Problem("invalid-request", msg))

    def _is_arriving(self) -> bool:
        return self.conn.their_state in {h11.IDLE, h11.SEND_BODY}

    def _arm(self) -> None:
        if self._arriving is None:
            self._arriving = self.loop.call_later(self.arrives, self._late)

    def _disarm(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _late(self) -> None:
        self._arriving = None
        self._refuse(Problem("timeout", f"a request must arrive within {self.arrives:g} s"))

    def _refuse(self, problem: Problem) -> None:
        """Answer where an answer can still begin, and hang up."""
        self._disarm()
        if self.transport.is_closing():
            return
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        body = json.dumps(problem.document("", secrets.token_hex(12))).encode()
        headers = [
            *((name.encode(), value.encode()) for name, value in problem.headers.items()),
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        events = (h11.Response(status_code=problem.status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: who runs us decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listening(address: str) -> socket.socket:
    """A socket on `host:port` (`:8443` is every address). Raises OSError if the port is taken."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "0.0.0.0"  # noqa: S104 - what `:8443` asks for
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, because asyncio turns Nagle off only then; with it on, an answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(
    listener: socket.socket,
    application: ASGIApp,
    closing: asyncio.Event,
    tls: Tls | None = None,
    protocol: type[Connection] = Connection,
) -> None:
    """Answer on this socket until `closing` is set or we are cancelled, then let running answers end.

    `closing` is set before anything else on the way out: streams and long polls watch it, and end within a moment.
    Whoever does not is cut off after some seconds. Raises OSError if the certificate cannot be used.
    """
    config = uvicorn.Config(
        application,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        reset_contextvars=True,
    )
    config.load()
    reloading: asyncio.Task[None] | None = None
    if tls is not None:
        config.ssl = await asyncio.to_thread(tls.context)
        reloading = asyncio.create_task(_reload(tls, config.ssl))
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    ending = asyncio.create_task(closing.wait())
    try:
        await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closing.set()
        server.should_exit = True
        if reloading is not None:
            reloading.cancel()
        ending.cancel()
        await serving
        for connection in list(server.server_state.connections):
            transport: Any = connection.transport
            transport.abort()
        listener.close()


async def _reload(tls: Tls, context: ssl.SSLContext, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Use a renewed certificate for new connections; one that cannot be read keeps the old one in use."""
    stamp = tls.stamp()
    while True:
        await pause(_RELOAD_SECONDS)
        if (now := tls.stamp()) != stamp:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(context.load_cert_chain, tls.certificate, tls.key)
                stamp = now
