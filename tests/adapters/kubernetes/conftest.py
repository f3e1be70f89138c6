"""API servers to talk to: the embedded one, and strange ones that answer whatever a test scripts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster
from rollout.sandbox.kubernetes.server import KubernetesServer

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: main
clusters:
- {{name: main, cluster: {{server: "{url}"}}}}
contexts:
- {{name: main, context: {{cluster: main, user: main, namespace: shop}}}}
- {{name: bare, context: {{cluster: main, user: main}}}}
users:
- name: main
  user: {user}
"""

Script = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request, given its head; the connection is closed after it."""
Strange = Callable[[Script], AbstractAsyncContextManager[str]]


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    server = KubernetesServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def cluster(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A connection to the embedded server, with a namespace `shop`."""
    path = tmp_path / "kubeconfig"
    server.write_kubeconfig(path)
    async with await Cluster.connect(path) as cluster:
        await cluster.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
        yield cluster


@pytest.fixture
async def impatient(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A connection to the embedded server that waits for half a second."""
    path = tmp_path / "impatient"
    server.write_kubeconfig(path)
    async with await Cluster.connect(path, seconds=0.5) as cluster:
        yield cluster


@pytest.fixture
def strange() -> Strange:
    """Starts a server that does what a script says; gives its URL."""

    @asynccontextmanager
    async def serve(script: Script) -> AsyncIterator[str]:
        running: set[asyncio.Task[None]] = set()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            running.add(task)
            try:
                with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    head = await reader.readuntil(b"\r\n\r\n")
                    await script(head.decode(), writer)
                    await writer.drain()
            finally:
                running.discard(task)
                writer.close()

        listener = await asyncio.start_server(answer, "127.0.0.1", 0)
        try:
            port = listener.sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}"
        finally:
            listener.close()
            for task in tuple(running):
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await listener.wait_closed()

    return serve


def write_kubeconfig(path: Path, url: str, user: str = "{}") -> Path:
    path.write_text(KUBECONFIG.format(url=url, user=user))
    return path


def answer(body: str, code: int = 200, media: str = "application/json") -> bytes:
    raw = body.encode()
    head = f"HTTP/1.1 {code} X\r\nContent-Type: {media}\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n"
    return head.encode() + raw
