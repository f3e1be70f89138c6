"""The demo service: one process that answers for every version of it, one port each, as its knobs say.

Run as `python -m rollout.sandbox.service --control-fd N`; N is a bound socket for HTTP:

    PUT    /versions/<key>   {"version", "errors", "slow", "latency"}  ->  {"port"}; changes a running one too
    DELETE /versions/<key>
    GET    /versions         {key: {"port", "version", "answered", "failed"}}

Belongs here: serving. Does not belong here: Kubernetes; `node.py` tells us what to serve.
"""

import argparse
import asyncio
import json
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rollout.sandbox.http1 import Answer, Listener, Request, bound_socket, json_answer, listen, run

# Milliseconds. Nothing between 5 and 60: a bound of 10, 25 or 50 ms splits fast from slow answers and leaves room
# for a busy machine.
_FAST: Final = (1, 2, 1, 3, 2, 1, 2, 4, 1, 2, 5, 1, 2, 3)
_SLOW: Final = (60, 72, 65, 80, 68)
_MILLION: Final = 1_000_000
# Errors and slow answers with round shares would meet on the same requests; this keeps them apart.
_SLOW_PHASE: Final = 3


def strikes(index: int, share: float) -> bool:
    """Whether the request with this index (from 0) is one of the share: with 5 % exactly the 20th, 40th, ...

    Evenly spread without chance: of the first n requests, floor(n * share) are. Whole millionths, because sums of
    binary fractions would miss a beat.
    """
    parts = round(share * _MILLION)
    return (index + 1) * parts // _MILLION > index * parts // _MILLION


class Version:
    """One version of a service."""

    def __init__(self) -> None:
        self.version = ""
        self.errors = 0.0
        self.slow = 0.0
        self.latency = 0.0
        self.answered = 0
        self.failed = 0
        self._since_errors = 0
        self._since_slow = _SLOW_PHASE

    def turn(self, *, version: str, errors: float, slow: float, latency: float) -> None:
        """Set the knobs; a share that changes starts to count anew."""
        if errors != self.errors:
            self._since_errors = 0
        if slow != self.slow:
            self._since_slow = _SLOW_PHASE
        self.version, self.errors, self.slow, self.latency = version, errors, slow, latency

    def answer(self, request: Request) -> Answer:  # noqa: ARG002 - every path is answered alike
        """200 or 500, sooner or later."""
        fails = strikes(self._since_errors, self.errors)
        slow = strikes(self._since_slow, self.slow)
        times = _SLOW if slow else _FAST
        delay = times[self.answered % len(times)] / 1000 + self.latency
        self._since_errors += 1
        self._since_slow += 1
        self.answered += 1
        self.failed += fails
        headers = (("x-version", self.version), ("content-type", "text/plain"))
        if fails:
            return Answer(500, f"{self.version} failed\n".encode(), headers, delay)
        return Answer(200, f"{self.version}\n".encode(), headers, delay)


@dataclass(slots=True)
class _Served:
    """A version, its port, and its listener on the way."""

    version: Version
    port: int
    opening: "asyncio.Task[Listener]"

    def close(self) -> None:
        """Serve it no longer."""
        self.opening.add_done_callback(lambda opened: opened.result().close())

    def shown(self) -> dict[str, Any]:
        """As the control interface tells it."""
        seen = self.version
        return {"port": self.port, "version": seen.version, "answered": seen.answered, "failed": seen.failed}


class DemoService:
    """All versions, and the control interface."""

    def __init__(self) -> None:
        self._served: dict[str, _Served] = {}

    def control(self, request: Request) -> Answer:
        """Answer a control request."""
        area, _, key = request.target.strip("/").partition("/")
        if area != "versions":
            return json_answer({"error": "no such path"}, 404)
        if request.method == "GET" and not key:
            return json_answer({name: served.shown() for name, served in self._served.items()})
        if request.method == "PUT" and key:
            try:
                wish = json.loads(request.body)
                self._serve(key, {name: wish[name] for name in ("version", "errors", "slow", "latency")})
            except (ValueError, KeyError, TypeError) as error:
                return json_answer({"error": repr(error)}, 400)
            return json_answer(self._served[key].shown())
        if request.method == "DELETE" and key:
            if (served := self._served.pop(key, None)) is not None:
                served.close()
            return json_answer({})
        return json_answer({"error": "no such method"}, 405)

    def _serve(self, key: str, knobs: dict[str, Any]) -> None:
        served = self._served.get(key)
        if served is not None:
            served.version.turn(**knobs)
            return
        version = Version()
        version.turn(**knobs)
        # The socket takes connections from here on, so that the port can be told before the loop serves it.
        bound = bound_socket()
        bound.listen(1024)
        opening = asyncio.get_running_loop().create_task(listen(version.answer, bound))
        self._served[key] = _Served(version, bound.getsockname()[1], opening)

    async def close(self) -> None:
        """Close every listener."""
        for served in self._served.values():
            served.close()
        await asyncio.gather(*(served.opening for served in self._served.values()))


async def _serve(control_fd: int) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    service = DemoService()
    control = await listen(service.control, socket.socket(fileno=control_fd))
    try:
        await stopped.wait()
    finally:
        control.close()
        await service.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m rollout.sandbox.service")
    parser.add_argument("--control-fd", type=int, required=True)
    run(_serve(parser.parse_args(arguments).control_fd))


if __name__ == "__main__":
    main()
