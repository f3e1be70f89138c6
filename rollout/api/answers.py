"""Answers as bytes, and what the OpenAPI document says of them.

Belongs here: models to JSON, entity tags, the answers that a kind of route may give. Does not belong here: problems
themselves (`problems.py`).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from starlette.responses import Response

from rollout.api.forms import ProblemAnswer
from rollout.api.problems import KINDS
from rollout.core.quantities import Model

Declared = dict[int | str, dict[str, Any]]

_EVERYBODY: Final = ("unauthenticated", "denied", "invalid", "limited", "failed", "unable", "outage", "invalid-request")
_WITH_BODY: Final = ("timeout", "too-large", "unsupported-media-type")
_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "How to say who you are."},
    429: {"Retry-After": "Seconds after which there is room again."},
    503: {"Retry-After": "Seconds after which it is worth asking again."},
}


def said(model: Model, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A model as the JSON that is stored and read everywhere else."""
    return Response(json.dumps(model.wire()).encode(), status, headers, "application/json")


def declared(
    *,
    ok: Mapping[int, type[BaseModel] | None],
    codes: Iterable[str] = (),
    body: bool = False,
    headers: Mapping[int, Mapping[str, str]] | None = None,
) -> Declared:
    """Every answer of a route: those that are no refusals with their models, and problems by their codes."""
    told: Declared = {}
    for status, model in ok.items():
        told[status] = {"description": _DONE[status]} | ({"model": model} if model is not None else {})
        if described := (headers or {}).get(status):
            told[status]["headers"] = _described(described)
    reasons: dict[int, list[str]] = {}
    for code in (*_EVERYBODY, *(_WITH_BODY if body else ()), *codes):
        reasons.setdefault(KINDS[code][0], []).append(code)
    for status in sorted(reasons):
        told[status] = problems(status, reasons[status])
    return told


def problems(status: int, codes: Iterable[str]) -> dict[str, Any]:
    """An answer that is a no."""
    what = "; ".join(f"`{code}`: {KINDS[code][1].lower()}" for code in dict.fromkeys(codes))
    # Under the media type of other answers at first, as FastAPI has it; `document.py` puts it under its own.
    found: dict[str, Any] = {"description": what, "model": ProblemAnswer}
    return found | ({"headers": _described(_HEADERS[status])} if status in _HEADERS else {})


_DONE: Final = {
    200: "Done, or as it was already.",
    201: "Created.",
    202: "Written down; the controller will see to it.",
    204: "Nothing more to say.",
    304: "As you know it.",
}


def _described(headers: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}


def tag(revision: str) -> str:
    """The entity tag of a revision (RFC 9110, 8.8.3)."""
    return f'"{revision}"'


def names(header: str | None, revision: str, *, weak: bool) -> bool:
    """Whether an If-Match or (`weak`) If-None-Match header names this revision."""
    if header is None:
        return False
    wanted = [one.strip() for one in header.split(",")]
    if weak:
        wanted = [one.removeprefix("W/") for one in wanted]
    return "*" in wanted or tag(revision) in wanted
