"""The users of the demo service: a constant rate of requests through Envoy, and exact counts of what came back.

Run as `python -m rollout.sandbox.load --control-fd N --port P --host H --rate R`; N is a bound socket for HTTP:

    GET  /counts    see `Tally.as_json`
    POST /pause     send nothing new; requests under way are still answered and counted
    POST /resume
    POST /rate      {"rate": requests per second}
    POST /stop      end, as SIGTERM does

Belongs here: sending and counting. Does not belong here: what the counts are compared with.
"""

import argparse
import asyncio
import json
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from rollout.sandbox.http1 import Answer, Request, fields_of, json_answer, listen, run

NO_VERSION: Final = "unknown"
"""Answers that no version gave; Prometheus shows the same word, as Istio does."""

_TICK: Final = 0.003
_MAX_CONNECTIONS: Final = 512
_ANSWER_SECONDS: Final = 30.0
_DRAIN_SECONDS: Final = 5.0
# 61 and 100 have no common divisor: every hundred requests cover 0..99 once, neighbours lie far apart.
_SCATTER: Final = 61


@dataclass(slots=True)
class Seen:
    """What one version did. Times are seconds since 1970, of the answer's arrival save `last_sent`; 0 is never."""

    first: float = 0.0
    last: float = 0.0
    last_sent: float = 0.0
    first_error: float = 0.0
    last_error: float = 0.0
    first_slow: float = 0.0
    slow: int = 0

    def as_json(self) -> dict[str, float]:
        """All of it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Tally:
    """Every request is sent once, and then either answered or lost."""

    slow_seconds: float
    sent: int = 0
    lost: int = 0
    answers: "Counter[tuple[str, int]]" = field(default_factory=Counter)
    seen: dict[str, Seen] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """How many answers came."""
        return self.answers.total()

    @property
    def in_flight(self) -> int:
        """How many answers are still to come."""
        return self.sent - self.answered - self.lost

    def answer(self, version: str, code: int, seconds: float) -> None:
        """Count one answer that took so long."""
        now = time.time()
        self.answers[version, code] += 1
        seen = self.seen.setdefault(version, Seen(first=now))
        seen.last = now
        seen.last_sent = max(seen.last_sent, now - seconds)
        if code >= 500:
            seen.first_error = seen.first_error or now
            seen.last_error = now
        if seconds > self.slow_seconds:
            seen.first_slow = seen.first_slow or now
            seen.slow += 1

    def as_json(self, *, paused: bool) -> dict[str, Any]:
        """For GET /counts: sent = answered + in_flight + lost; `answers` are exact, one entry per version and code."""
        return {
            "paused": paused,
            "sent": self.sent,
            "answered": self.answered,
            "in_flight": self.in_flight,
            "lost": self.lost,
            "answers": [
                {"version": version, "code": code, "count": count}
                for (version, code), count in sorted(self.answers.items())
            ],
            "versions": {version: seen.as_json() for version, seen in sorted(self.seen.items())},
        }


class Load:
    """Sends at a constant rate, whatever the answers do: slow answers need more connections, not less load."""

    def __init__(self, port: int, host: str, rate: float, slow_seconds: float) -> None:
        self.tally = Tally(slow_seconds)
        self.stopped = asyncio.Event()
        self.paused = False
        self._rate = rate
        self._port = port
        self._host = host
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()
        self._dialling: set[asyncio.Task[None]] = set()

    def control(self, request: Request) -> Answer:
        """Answer a control request."""
        match request.method, request.target:
            case "GET", "/counts":
                pass
            case "POST", "/pause":
                self.paused = True
            case "POST", "/resume":
                self.paused = False
            case "POST", "/stop":
                self.stopped.set()
            case "POST", "/rate":
                try:
                    self._rate = max(0.0, float(json.loads(request.body)["rate"]))
                except (ValueError, KeyError, TypeError) as error:
                    return json_answer({"error": repr(error)}, 400)
            case _:
                return json_answer({"error": "no such path or method"}, 404)
        return json_answer(self.tally.as_json(paused=self.paused))

    async def send(self, seconds: float | None) -> None:
        """Send until stopped, or for so long; then wait a little for the answers under way."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds if seconds is not None else float("inf")
        due, last = 0.0, loop.time()
        while not self.stopped.is_set() and loop.time() < end:
            now = loop.time()
            # At most a second of arrears: after a stall of the machine users do not all come back at once.
            due = 0.0 if self.paused else min(due + (now - last) * self._rate, max(1.0, self._rate))
            last = now
            while due >= 1.0:
                due -= 1.0
                self._send_one()
            await asyncio.sleep(_TICK)
        await self._drain(loop.time() + _DRAIN_SECONDS)

    async def _drain(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while self.tally.in_flight and loop.time() < deadline:  # noqa: ASYNC110 - cheaper than an event per answer
            await asyncio.sleep(_TICK)
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        for connection in tuple(self._open):
            connection.close()

    def _send_one(self) -> None:
        number = self.tally.sent
        self.tally.sent += 1
        if self._idle:
            # The warmest one: spare connections stay idle instead of taking turns.
            self._idle.pop().send(number)
        elif len(self._open) + len(self._dialling) < _MAX_CONNECTIONS:
            task = asyncio.get_running_loop().create_task(self._dial(number))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)
        else:
            self.tally.lost += 1

    async def _dial(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError:
            self.tally.lost += 1
            return
        connection.send(number)

    def request(self, number: int) -> bytes:
        """The bytes of one request. Its number scatters evenly over 0..99, for routes that split by it."""
        return (
            f"GET / HTTP/1.1\r\nhost: {self._host}\r\nuser-agent: rollout-sandbox\r\n"
            f"x-sandbox-seq: {number * _SCATTER % 100}\r\n\r\n"
        ).encode()

    def opened(self, connection: "_Connection") -> None:
        """A connection is there."""
        self._open.add(connection)

    def free(self, connection: "_Connection") -> None:
        """A connection can take the next request."""
        self._idle.append(connection)

    def closed(self, connection: "_Connection") -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


class _Connection(asyncio.Protocol):
    """A keep-alive connection that waits for one answer at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent_at = 0.0
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._load.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - lost is lost
        self._transport = None
        self._load.closed(self)
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
            self._load.tally.lost += 1

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def send(self, number: int) -> None:
        if self._transport is None or self._transport.is_closing():
            self._load.tally.lost += 1
            return
        self._sent_at = self._loop.time()
        self._expiry = self._loop.call_later(_ANSWER_SECONDS, self.close)
        self._transport.write(self._load.request(number))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        fields = fields_of(head)
        length = fields.get(b"content-length", b"")
        if not length.isdigit():
            # Chunked: nothing in the sandbox answers so. Without a length there is no next answer to find.
            self.close()
            return
        if len(rest) < int(length):
            return
        self._buffer = b""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        version = fields.get(b"x-version", NO_VERSION.encode()).decode("latin-1")
        self._load.tally.answer(version, int(head.split(b" ", 2)[1]), self._loop.time() - self._sent_at)
        if fields.get(b"connection", b"").lower() == b"close":
            self.close()
        else:
            self._load.free(self)


async def _main(options: argparse.Namespace) -> None:
    load = Load(options.port, options.host, options.rate, options.slow_ms / 1000)
    load.paused = options.paused
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.stopped.set)
    control = await listen(load.control, socket.socket(fileno=options.control_fd))
    try:
        await load.send(options.seconds)
    finally:
        control.close()
        print(json.dumps(load.tally.as_json(paused=True)), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Send until SIGTERM, /stop or the time is over; print the last counts as a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m rollout.sandbox.load")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--port", type=int, required=True, help="where Envoy listens")
    parser.add_argument("--host", required=True, help="the Host header")
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second")
    parser.add_argument("--seconds", type=float, help="end after so long")
    parser.add_argument("--slow-ms", type=float, default=50.0, help="count answers slower than this as slow")
    parser.add_argument("--paused", action="store_true", help="wait for /resume")
    run(_main(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
