"""/livez, /readyz and /metrics of the controller.

Live means that the event loop turns, ready that the Kubernetes API answered lately. Neither asks Prometheus: restarting
the controller repairs no Prometheus.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rollout.telemetry import REGISTRY


def application(is_ready: Callable[[], bool]) -> Starlette:
    """The ASGI application; `is_ready` says whether the Kubernetes API answered lately."""

    async def livez(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        if is_ready():
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the Kubernetes API does not answer\n", status_code=503)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: a signal ends the controller first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(address: str, is_ready: Callable[[], bool]) -> None:
    """Serve on `host:port` (`:8080` is every address) until cancelled. Raises OSError if the port is taken."""
    host, _, port = address.rpartition(":")
    listener = socket.create_server((host or "0.0.0.0", int(port)))  # noqa: S104 - what `:8080` asks for
    config = uvicorn.Config(application(is_ready), log_config=None, access_log=False, lifespan="off")
    server = _Server(config)
    try:
        await server.serve(sockets=[listener])
    finally:
        listener.close()
