"""Starts the load generator and reads its counts.

Belongs here: our side of its control port. Does not belong here: sending requests (`load.py`).
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from rollout.sandbox.http1 import bound_socket
from rollout.sandbox.load import Seen
from rollout.sandbox.processes import Child, python_module

_READY_SECONDS: Final = 10.0
_DRAIN_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Counts:
    """What the load generator has counted since it started; `sent` = answered + in_flight + lost.

    Attributes:
        answers: (version, status code) -> answers; the version is `unknown` when Envoy answered itself.
        versions: version -> when it was first seen, and so on.
    """

    sent: int
    answered: int
    in_flight: int
    lost: int
    answers: Mapping[tuple[str, int], int]
    versions: Mapping[str, Seen]

    def of(self, version: str) -> int:
        """All answers of a version."""
        return sum(count for (found, _), count in self.answers.items() if found == version)

    def failed(self, version: str) -> int:
        """Its answers of 500 and above."""
        return sum(count for (found, code), count in self.answers.items() if found == version and code >= 500)


def parse_counts(body: Mapping[str, Any]) -> Counts:
    """From the JSON of GET /counts."""
    return Counts(
        sent=body["sent"],
        answered=body["answered"],
        in_flight=body["in_flight"],
        lost=body["lost"],
        answers={(entry["version"], entry["code"]): entry["count"] for entry in body["answers"]},
        versions={version: Seen(**seen) for version, seen in body["versions"].items()},
    )


class LoadGenerator:
    """The load generator's process.

    Args:
        run_dir: for its log, whose last line are its last counts.
    """

    def __init__(self, run_dir: Path) -> None:
        self._dir = run_dir
        self._child: Child | None = None
        self._control: httpx2.AsyncClient | None = None

    @property
    def url(self) -> str:
        """Its control interface, see `load.py`."""
        assert self._control is not None, "the load generator does not run"
        return str(self._control.base_url).rstrip("/")

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None, "the load generator does not run"
        return self._child

    async def start(self, port: int, host: str, rate: float) -> None:
        """Start it, paused, and wait until it listens to us.

        Raises:
            ChildFailedError: it did not start.
        """
        with bound_socket() as control:
            control.listen(socket.SOMAXCONN)
            argv = [*python_module("rollout.sandbox.load"), "--control-fd", str(control.fileno()), "--paused"]
            argv += ["--port", str(port), "--host", host, "--rate", str(rate)]
            self._child = Child.spawn("load", argv, log=self._dir / "load.log", pass_fds=[control.fileno()])
            url = f"http://127.0.0.1:{control.getsockname()[1]}"
        self._control = httpx2.AsyncClient(base_url=url, timeout=_READY_SECONDS, trust_env=False)
        await self._child.ready(self._is_ready, _READY_SECONDS)

    async def _is_ready(self) -> bool:
        try:
            await self.counts()
        except httpx2.TransportError:
            return False
        return True

    async def stop(self) -> None:
        """End it; nothing if it does not run."""
        control, self._control = self._control, None
        if control is not None:
            await control.aclose()
        if self._child is not None:
            await self._child.stop()

    async def counts(self) -> Counts:
        """What it has counted until now."""
        return parse_counts(await self._ask("GET", "/counts"))

    async def pause(self) -> Counts:
        """Send nothing new, and wait for the answers under way: the counts then stand still.

        Raises:
            TimeoutError: there are still answers to come after 10 s.
        """
        await self._ask("POST", "/pause")
        async with asyncio.timeout(_DRAIN_SECONDS):
            while (counts := await self.counts()).in_flight:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(_POLL_SECONDS)
        return counts

    async def resume(self) -> None:
        """Send again."""
        await self._ask("POST", "/resume")

    async def set_rate(self, rate: float) -> None:
        """Send so many requests per second from now on."""
        await self._ask("POST", "/rate", json={"rate": rate})

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        assert self._control is not None, "the load generator does not run"
        answer = await self._control.request(method, path, **more)
        answer.raise_for_status()
        return answer.json()
