"""The OpenAPI document of the API, made without a cluster.

Belongs here: what the generated document lacks. Does not belong here: the routes and their answers.
"""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from rollout import __version__
from rollout.api import freezes, probes, releases, services, wishes
from rollout.api.problems import MEDIA_TYPE
from rollout.api.rules import OPEN_PATHS

ROUTERS = (releases.router, wishes.router, freezes.router, services.router, probes.router)

_ABOUT = """\
Start, watch and stop canary releases. Everything that is asked for is written as a wish into a `Release` object, and
the controller sees to it; nothing here moves traffic by itself.

A release is named by its namespace and name. Errors are `application/problem+json` (RFC 9457) with a stable `code`.
"""


@cache
def document() -> dict[str, Any]:
    """The document; the same for every installation."""
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router)
    found: dict[str, Any] = get_openapi(
        title="rollout",
        version=__version__,
        summary="Metrics-driven canary releases for Istio",
        description=_ABOUT,
        routes=app.routes,
    )
    found["components"]["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A Kubernetes token of the API's audience, or a CI job's OIDC token.",
        }
    }
    found["security"] = [{"bearer": []}]
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _mend(operation, is_open=path in OPEN_PATHS)
    return found


def _mend(operation: dict[str, Any], *, is_open: bool) -> None:
    """Problems under their media type, request ids on every answer, probes without a token."""
    if is_open:
        operation["security"] = []
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        if status >= "400" and "application/json" in content:
            content[MEDIA_TYPE] = content.pop("application/json")
        about = "Of this request: the client's own, if it is 8 to 128 letters, digits, `.`, `_`, `-`."
        answer.setdefault("headers", {})["X-Request-Id"] = {"description": about, "schema": {"type": "string"}}
