"""The door: what every request passes before any route sees it, and every answer after.

Belongs here: request ids, who bears the token, how much they may ask, bodies that are small and whole and of the right
kind, the access log, and that whatever goes wrong is told as a problem. Does not belong here: rights (`passports.py`),
the pace at which bytes arrive (`connections.py`).

The order is: id, token, bucket, body. Nobody unknown makes us read a body, or learns which paths there are.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, bound_contextvars

from rollout.api.backing import Backing
from rollout.api.budgets import Requests
from rollout.api.measures import ANSWERED, TOOK
from rollout.api.passports import IDENTITY, STAMPED
from rollout.api.problems import Problem, problem_of
from rollout.api.rules import OPEN_PATHS
from rollout.core.access import Identity
from rollout.ports import Unauthenticated
from rollout.telemetry import clean

MOST_BYTES: Final = 64 * 1024
REQUEST_ID: Final = "rollout.request_id"
CALLER: Final = "rollout.caller"
"""In the ASGI scope: whose budgets count, hashable."""
_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,128}")
_BEARER: Final = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/=-]{1,16384})")
YAML_TYPES: Final = ("application/yaml", "application/x-yaml", "text/yaml", "text/plain")
"""RFC 9512, and what was written before it."""
_DEEPEST: Final = 40
_SAFE_HEADERS: Final = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))

_log = structlog.stdlib.get_logger("rollout.api")


class Doorway:
    """ASGI middleware.

    Args:
        app: what is behind it.
        backing: asked who bears a token.
        monotonic: seconds, for buckets and the log.
    """

    def __init__(self, app: ASGIApp, backing: Backing, monotonic: Callable[[], float]) -> None:
        self._app = app
        self._backing = backing
        self._monotonic = monotonic
        self._requests = Requests(backing.limits.per_minute, backing.limits.burst, monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = scope[REQUEST_ID] = given if _ID.fullmatch(given) else secrets.token_hex(12)
        answer = _Answer(scope, send, request_id, self._monotonic)
        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, await self._admit(scope, headers, receive), answer.send)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told in our form
                await self._fail(scope, error, answer)
            finally:
                answer.log()

    async def _admit(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """Raises Problem."""
        if scope["path"] in OPEN_PATHS:
            scope[STAMPED] = True
            return receive
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        identity = scope[IDENTITY] = await self._identify(headers)
        bind_contextvars(actor=clean(identity.name)[:256])
        caller = scope[CALLER] = (identity.issuer, identity.name)
        self._requests.take(caller)
        if not has_body:
            return receive
        body = await _whole(headers, receive)
        _check_kind(scope["path"], headers, body)
        return _replay(body, receive)

    async def _identify(self, headers: Headers) -> Identity:
        """Who calls: by the Authorization header, and by nothing else. Raises Problem."""
        given = headers.getlist("authorization")
        match = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
        if match is None:
            raise _unknown("a bearer token in the Authorization header is needed", "")
        try:
            return await self._backing.authenticator.identify(match[1])
        except Unauthenticated as error:
            raise _unknown(str(error), ', error="invalid_token"') from error

    async def _fail(self, scope: Scope, error: Exception, answer: "_Answer") -> None:
        problem = problem_of(error)
        if problem is None:
            _log.exception(
                "http.failed", method=clean(scope["method"])[:16], route=_route(scope), error=type(error).__name__
            )
            problem = Problem("failed", "a defect of ours; the log says more about this request_id")
        if answer.status:
            # It began already: that it is not whole is all that can still be told.
            raise error
        response = problem.response(scope["path"], scope[REQUEST_ID])
        scope[STAMPED] = True
        await response(scope, _nothing, answer.send)


class _Answer:
    """One answer on its way out, and what is noted of it."""

    def __init__(self, scope: Scope, send: Send, request_id: str, monotonic: Callable[[], float]) -> None:
        self.status = 0
        self._scope = scope
        self._send = send
        self._id = request_id.encode()
        self._monotonic = monotonic
        self._began = monotonic()
        self._took = 0.0

    async def send(self, message: Message) -> None:
        """Raises RuntimeError for an answer that nobody allowed: a defect of a route."""
        if message["type"] == "http.response.start":
            if message["status"] < 400 and not self._scope.get(STAMPED):
                raise RuntimeError("an answer without a right that was asked for")
            self.status = message["status"]
            self._took = self._monotonic() - self._began
            names = {name.lower() for name, _ in message["headers"]}
            private = () if b"cache-control" in names else ((b"cache-control", b"no-store"),)
            added = ((b"x-request-id", self._id), *_SAFE_HEADERS, *private)
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)

    def log(self) -> None:
        """One line, one count."""
        method = self._scope["method"]
        route = _route(self._scope)
        known = method if method in {"GET", "POST", "PUT", "DELETE"} else "other"
        ANSWERED.labels(method=known, route=route, status=str(self.status)).inc()
        TOOK.labels(method=known, route=route).observe(self._took)
        identity: Identity | None = self._scope.get(IDENTITY)
        say = _log.debug if route in OPEN_PATHS else _log.info
        say(
            "http.answered",
            method=clean(method)[:16],
            route=route,
            path=clean(self._scope["path"])[:512],
            code=self.status,
            took_ms=round(self._took * 1000, 1),
            actor=clean(identity.name)[:256] if identity is not None else "",
        )


def _route(scope: Scope) -> str:
    """The template, which callers cannot choose."""
    return getattr(scope.get("route"), "path_format", "") or "unknown"


def _unknown(detail: str, more: str) -> Problem:
    return Problem("unauthenticated", detail, headers={"www-authenticate": f'Bearer realm="rollout"{more}'})


async def _whole(headers: Headers, receive: Receive) -> bytes:
    """The body. Raises Problem if it is too large, whatever its length claims to be, or if it breaks off."""
    length = headers.get("content-length", "")
    if length.isdigit() and len(length) < 20 and int(length) > MOST_BYTES:
        raise _too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("timeout", "the body broke off")
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _too_large() -> Problem:
    return Problem("too-large", f"a body may have {MOST_BYTES // 1024} KiB")


def _check_kind(path: str, headers: Headers, body: bytes) -> None:
    """Raise Problem for a body of another media type, or one that is no JSON as RFC 8259 has it."""
    if not body:
        return
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported-media-type", "a body must not be compressed")
    media = headers.get("content-type", "").split(";")[0].strip().lower()
    if path == "/v1/validate":
        if media not in YAML_TYPES:
            raise Problem("unsupported-media-type", f"expected {YAML_TYPES[0]}")
        return
    if media != "application/json":
        raise Problem("unsupported-media-type", "expected application/json")
    try:
        _shallow(json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_number))
    except json.JSONDecodeError as error:
        found = {"pointer": "", "line": error.lineno, "column": error.colno, "detail": clean(error.msg)}
        detail = f"the body is no JSON: {error.msg} in line {error.lineno}"
        raise Problem("invalid-request", detail, errors=[found]) from None
    except (ValueError, RecursionError) as error:
        said = str(error) if type(error) is ValueError else "it is no UTF-8, or nested too deep"
        raise Problem("invalid-request", f"the body is no JSON that we take: {said}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Which of two values of one name is meant, nobody could say."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_number(_text: str) -> float:
    raise ValueError("NaN and Infinity are no numbers")


def _shallow(value: Any, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise ValueError("it is nested too deep")
    if isinstance(value, Mapping):
        for one in value.values():
            _shallow(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            _shallow(one, depth + 1)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, at once; then whatever comes from the connection."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
