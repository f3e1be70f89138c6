"""The server's life: a socket on 127.0.0.1, uvicorn on the running event loop, and a kubeconfig for it.

Belongs here: starting, stopping, connections. Does not belong here: any answer to a request.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from rollout.sandbox.kubernetes.conforming import Forms
from rollout.sandbox.kubernetes.faults import Faults
from rollout.sandbox.kubernetes.registry import Registry
from rollout.sandbox.kubernetes.routes import application
from rollout.sandbox.kubernetes.store import Store

_HOST: Final = "127.0.0.1"
_CONTEXT: Final = "rollout-sandbox"
_IDLE_SECONDS: Final = 120
_GRACE_SECONDS: Final = 2

_KUBECONFIG: Final = """\
apiVersion: v1
kind: Config
current-context: {context}
clusters:
- name: {context}
  cluster:
    server: {url}
contexts:
- name: {context}
  context:
    cluster: {context}
    user: {context}
    namespace: {namespace}
users:
- name: {context}
  user: {{}}
"""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KubernetesServer:
    """A Kubernetes API on 127.0.0.1, inside the running event loop, without authentication or persistence.

    Args:
        clock: the server's time.
        definitions: whether Releases and ServicePolicies are held against our CRDs; without, they take any fields.

    Attributes:
        store: the objects; they outlive `stop`, so that a restarted server still has them.
        faults: the fault switch.
    """

    def __init__(self, clock: Callable[[], datetime] = _utc_now, *, definitions: bool = True) -> None:
        # Milliseconds since 1970: whoever watched an earlier server on this port gets 410, not silence.
        self.store = Store(first_revision=int(clock().timestamp() * 1000))
        self.faults = Faults(self.store)
        self._transports: dict[tuple[Any, ...], asyncio.Transport] = {}
        registry = Registry(self.store, clock, Forms(definitions=definitions))
        self._application = application(self.store, registry, self.faults, self._hang_up)
        self._running: tuple[uvicorn.Server, socket.socket] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`; of the last port, when stopped."""
        assert self._port, "the server was never started"
        return f"http://{_HOST}:{self._port}"

    async def start(self, port: int = 0) -> None:
        """Listen; with port 0 on a free one.

        Raises:
            OSError: the port is taken.
        """
        assert self._running is None, "the server runs already"
        # Named TCP, because asyncio turns Nagle off only then; with it on, an answer takes 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((_HOST, port))
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        config = uvicorn.Config(
            self._application,
            http=self._protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
        )
        config.load()
        server = uvicorn.Server(config)
        # Server.serve() would install signal handlers and tick ten times a second; neither belongs in a guest.
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        self._port = listener.getsockname()[1]
        self._running = (server, listener)

    async def stop(self) -> None:
        """End all watches, finish running requests, close the socket; nothing if it does not run."""
        if self._running is None:
            return
        (server, listener), self._running = self._running, None
        for accepting in server.servers:
            accepting.close()
        listener.close()
        self.store.drop_subscriptions()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        # Server.shutdown() does this in steps of 100 ms, which a suite that starts a server per test pays for.
        loop, state = asyncio.get_running_loop(), server.server_state
        deadline = loop.time() + _GRACE_SECONDS
        while (state.connections or state.tasks) and loop.time() < deadline:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.001)
        for task in list(state.tasks):
            task.cancel()
        for transport in list(self._transports.values()):
            transport.abort()
        await asyncio.sleep(0)

    def write_kubeconfig(self, path: Path, namespace: str = "default") -> None:
        """Write a kubeconfig for kubectl and client libraries, readable by its owner only, in one piece."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(_KUBECONFIG.format(context=_CONTEXT, url=self.url, namespace=namespace))
        temporary.chmod(0o600)
        temporary.replace(path)

    def _hang_up(self, request: Request) -> None:
        if request.client is not None:
            transport = self._transports.get(tuple(request.client))
            if transport is not None:
                transport.abort()

    def _protocol(self) -> type[H11Protocol]:
        transports = self._transports

        class KnownConnection(H11Protocol):
            """uvicorn's protocol, except that we can find the connection of a request."""

            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                self._peer = tuple(transport.get_extra_info("peername"))
                transports[self._peer] = transport
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                transports.pop(self._peer, None)
                super().connection_lost(exc)

        return KnownConnection
