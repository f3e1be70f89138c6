"""The HTTP API as an ASGI application.

Belongs here: which parts it is made of. Does not belong here: the routes, the door (`doorway.py`), sockets
(`connections.py`).
"""

import time
from collections.abc import Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rollout.api.backing import Backing
from rollout.api.budgets import Streams
from rollout.api.document import ROUTERS, document
from rollout.api.doorway import REQUEST_ID, Doorway
from rollout.api.following import Following
from rollout.api.passports import Bearer
from rollout.api.problems import problem_of, unfit


def application(backing: Backing, monotonic: Callable[[], float] = time.monotonic) -> FastAPI:
    """The API on these ports; it keeps nothing that would be missed after a restart."""
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI would send traces wherever OTEL_* variables say; what we tell is in our log and in /metrics.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.backing = backing
    app.state.streams = Streams(backing.limits.streams)
    app.state.following = Following(backing)
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/openapi.json", _openapi, include_in_schema=False)
    app.add_middleware(Doorway, backing=backing, monotonic=monotonic)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    return app


async def _openapi(passport: Bearer) -> Response:
    passport.stamp()
    return JSONResponse(document())


async def _refuse(request: Request, error: Exception) -> Response:
    problem = unfit(error) if isinstance(error, RequestValidationError) else problem_of(error)
    assert problem is not None
    return problem.response(request.url.path, request.scope[REQUEST_ID])
