"""A way to the API server on which a controller can be hit at any single write.

Belongs here: passing requests on, counting writes, the trap. Does not belong here: what a write means (`writes.py`).
A proxy serves one controller, and says so to the audit log by the user agent.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.crash.writes import Write, read_write

_TURNS = 5
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "user-agent"})


@dataclass
class Trap:
    """Springs once, at the given occurrence of a write."""

    at: Write
    occurrence: int
    spring: Callable[[Callable[[], Awaitable[int]]], Coroutine[Any, Any, None]]
    """Given what passes the write on and returns its status code; afterwards the connection is cut."""
    sprung: bool = False


@dataclass
class Proxy:
    """Plain HTTP on a free port of 127.0.0.1, to a Kubernetes API."""

    upstream: str
    ca: str
    agent: str
    trap: Trap | None = None
    seen: dict[Write, int] = field(default_factory=dict)
    """Writes, and how often each was asked for."""
    url: str = ""
    _working: "set[asyncio.Task[Any]]" = field(default_factory=set)
    _session: aiohttp.ClientSession | None = None
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        trust = ssl.create_default_context(cadata=self.ca)
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        self.url = await listen(self._runner)

    async def stop(self) -> None:
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        if self._runner is not None:
            await end(self._runner)
        if self._session is not None:
            await self._session.close()
            # A closed TLS transport lets go of its socket a few turns of the loop later.
            await asyncio.sleep(0.05)

    def write_kubeconfig(self, path: Path, namespace: str, token: str) -> None:
        """For the controller behind this proxy."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "one",
            "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one", "namespace": namespace}}],
            "clusters": [{"name": "one", "cluster": {"server": self.url}}],
            "users": [{"name": "one", "user": {"token": token}}],
        }
        path.write_text(json.dumps(config))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asks = request.method == "GET" or "dryRun" in request.query
        write = None if asks else read_write(request.method, request.path, body)
        if write is not None:
            self.seen[write] = self.seen.get(write, 0) + 1
            trap = self.trap
            if trap is not None and not trap.sprung and trap.at == write and trap.occurrence == self.seen[write]:
                trap.sprung = True
                await self._to_its_end(trap.spring(lambda: self._pass_on_alone(request, body)))
                # The answer is never given: whoever asked is dead, or gave up long ago.
                if request.transport is not None:
                    request.transport.abort()
                return web.Response(status=503)
            # What became of a write that nobody waits for any more shall be in the audit log as well.
            answer: web.StreamResponse = await self._to_its_end(self._pass_on(request, body))
            return answer
        return await self._pass_on(request, body)

    async def _to_its_end(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Go on even when whoever asked has hung up."""
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    def _call(self, request: web.Request, body: bytes) -> Any:
        assert self._session is not None
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        headers["user-agent"] = self.agent
        url = self.upstream + request.raw_path
        return self._session.request(request.method, url, data=body or None, headers=headers, allow_redirects=False)

    async def _pass_on_alone(self, request: web.Request, body: bytes) -> int:
        async with self._call(request, body) as answer:
            await answer.read()
            code: int = answer.status
            return code

    async def _pass_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        try:
            async with self._call(request, body) as answer:
                headers = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP}
                if "watch" not in request.query:
                    return web.Response(status=answer.status, body=await answer.read(), headers=headers)
                response = web.StreamResponse(status=answer.status, headers=headers)
                response.enable_chunked_encoding()
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)


async def listen(runner: web.AppRunner) -> str:
    """Serve on a free port of 127.0.0.1; returns the URL."""
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def end(runner: web.AppRunner) -> None:
    """Serve no longer; a connection that was accepted a moment ago has its handler first, which can then be closed."""
    for site in list(runner.sites):
        await site.stop()
    for _ in range(_TURNS):
        await asyncio.sleep(0.01)
    await runner.cleanup()
