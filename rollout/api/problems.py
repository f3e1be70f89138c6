"""What an answer that is a no looks like: `application/problem+json`, RFC 9457, whoever says it.

Belongs here: the kinds of problems with their codes and statuses, their form, and which error of ours is which kind.
Does not belong here: when something is refused (`doorway.py`, the routes, `commands/`).

What was rejected is never repeated: a token or a secret that was put into the wrong field must not come back, or be
logged by whoever logs answers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rollout.core.quantities import format_instant
from rollout.core.release import Release
from rollout.desk import Busy, Finished, Frozen, KeyReused
from rollout.ports import Conflict, NotFound, Outage, Refused
from rollout.telemetry import clean

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2
_LONGEST: Final = 1000
_MOST_ERRORS: Final = 50
_OF_VALIDATORS: Final = ("value_error", "disagree")
_QUOTED: Final = re.compile(r"[:,]?(?: not)? ?['\"]")
_TELLING: Final = 8
"""So many characters in a row of what was given are a repetition of it."""

KINDS: Final[Mapping[str, tuple[int, str]]] = {
    "invalid-request": (400, "The request cannot be read"),
    "no-key": (400, "The Idempotency-Key header is missing"),
    "unauthenticated": (401, "Nobody we know"),
    "denied": (403, "Not allowed"),
    "token-used": (403, "The token was used for another release"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This cannot be done here"),
    "timeout": (408, "The request took too long to arrive"),
    "busy": (409, "Another release of the service is under way"),
    "finished": (409, "The release is over"),
    "refused": (409, "Not now"),
    "conflict": (409, "It kept changing meanwhile"),
    "changed": (412, "It is not as you saw it any more"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body is of another media type"),
    "invalid": (422, "The request does not fit"),
    "key-reused": (422, "The idempotency key was used for another request"),
    "frozen": (423, "Frozen"),
    "limited": (429, "Too many requests"),
    "failed": (500, "A defect of ours"),
    "unable": (502, "The API lacks a right in the cluster"),
    "outage": (503, "Cannot be answered now"),
}
"""Code -> (HTTP status, title). Codes are stable, scripts match on them; their `type` is `urn:rollout:problem:CODE`."""


_OF_FRAMEWORK: Final = {404: "not-found", 405: "method-not-allowed"}
"""What the router says by itself."""


class Problem(Exception):  # noqa: N818 - an answer, no programming error
    """A no, on its way to becoming an answer.

    Args:
        code: of `KINDS`.
        detail: one sentence for people.
        errors: for each field that is wrong: `pointer` (RFC 6901 into the body, or `#header/NAME`, `#query/NAME`),
            `detail`, and `line` and `column` (from 1) where the body is text that people wrote.
        headers: of the answer.
        more: further members.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status, self.title = KINDS[code]
        self.detail = clean(detail)[:_LONGEST]
        self.errors = tuple(errors)[:_MOST_ERRORS]
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def document(self, instance: str, request_id: str) -> dict[str, Any]:
        """The body, as JSON."""
        told = {
            "type": f"urn:rollout:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "instance": clean(instance)[:_LONGEST],
            "request_id": request_id,
        }
        return told | self.more | ({"errors": [dict(one) for one in self.errors]} if self.errors else {})

    def response(self, instance: str, request_id: str) -> Response:
        """The answer."""
        body = json.dumps(self.document(instance, request_id)).encode()
        return Response(body, self.status, self.headers, MEDIA_TYPE)


def outage(detail: str) -> Problem:
    """Nobody could answer; asking again will do."""
    return Problem("outage", detail, headers={"retry-after": str(RETRY_SECONDS)})


def problem_of(error: Exception) -> Problem | None:
    """What an error of the desk or of a port means to who asked; None for what is a defect."""
    told: Problem | None = None
    match error:
        case Problem():
            told = error
        case HTTPException():
            code = _OF_FRAMEWORK.get(error.status_code, "invalid-request")
            told = Problem(code, KINDS[code][1].lower(), headers=error.headers)
        case Busy():
            told = Problem("busy", str(error), more=_active(error.release))
        case Finished():
            told = Problem("finished", str(error), more={"release": error.release.wire()})
        case KeyReused():
            told = Problem("key-reused", str(error), more={"release": error.release.wire()})
        case Frozen():
            told = Problem("frozen", str(error), more={"freeze": error.freeze.wire()})
        case Refused() if isinstance(error, Outage):
            # Refused by those who administer the cluster: repeating it helps nobody, nor does changing the request.
            told = Problem("unable", str(error))
        case Refused():
            told = Problem("refused", str(error))
        case NotFound():
            told = Problem("not-found", str(error))
        case Conflict():
            told = Problem("conflict", str(error))
        case Outage():
            told = outage(str(error))
    return told


def _active(release: Release) -> dict[str, Any]:
    since = release.status.since or release.created_at
    named = {"active_release": release.name, "release": release.wire()}
    return named | ({"since": format_instant(since)} if since is not None else {})


def unfit(error: RequestValidationError) -> Problem:
    """What pydantic found, without what it found it in."""
    found = error.errors()
    if any(one["loc"] == ("header", "idempotency-key") and one["type"] == "missing" for one in found):
        return Problem("no-key", "name the request by an Idempotency-Key, so that sending it again starts nothing new")
    errors = [{"pointer": _pointer(one["loc"]), "detail": _said(one)} for one in found]
    first = f"{errors[0]['pointer']}: {errors[0]['detail']}" if errors else "it does not fit the schema"
    return Problem("invalid", first, errors=errors)


def pointer(path: Sequence[int | str]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _pointer(loc: Sequence[int | str]) -> str:
    place, rest = (str(loc[0]), loc[1:]) if loc else ("body", ())
    return clean(pointer(rest) if place == "body" else f"#{place}{pointer(rest)}")[:_LONGEST]


def _said(detail: Mapping[str, Any]) -> str:
    """Pydantic's sentence. Those of validators, ours and Python's, may quote what was given: they are cut before it."""
    said = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] in _OF_VALIDATORS:
        said = _QUOTED.split(said)[0]
        given = str(detail.get("input"))[:_LONGEST]
        if any(given[at : at + _TELLING] in said for at in range(len(given) - _TELLING + 1)):
            said = "it is not what is expected here"
    return clean(said)[:_LONGEST]
