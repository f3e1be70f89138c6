"""Routes of releases: start, list, look, wait, follow.

Belongs here: HTTP around `Desk.start`, `get` and `list`. Does not belong here: what a start means (`commands/`), wishes
for a release (`wishes.py`).
"""

import base64
import binascii
import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rollout.api.answers import declared, names, said, tag
from rollout.api.budgets import Streams
from rollout.api.doorway import CALLER
from rollout.api.following import Following, events
from rollout.api.forms import Decisions, Releases, Start
from rollout.api.measures import STREAMS
from rollout.api.passports import Asked, Bearer, Passport, Stood
from rollout.api.problems import Problem, problem_of
from rollout.core.access import Identity, Right
from rollout.core.quantities import Duration, Label, format_instant
from rollout.core.release import Phase, Release, Source
from rollout.desk import Busy, KeyReused, Order
from rollout.ports import NotFound, Outage, Refused

router = APIRouter(prefix="/v1/releases", tags=["releases"])

_ONE: Final = "/{namespace}/{name}"
LONGEST_WAIT: Final = 60.0
_MOST: Final = 500
_ETAG: Final = {200: {"ETag": "The revision; If-Match and If-None-Match take it."}}
_EVENT: Final = {
    "description": "One event; its data is a Release, as JSON.",
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["state", "gone"]},
        "id": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_LOCATION: Final = {"Location": "Path of the release."}
_KEY: Final = r"^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$"


class _Stream(StreamingResponse):
    """Events, counted until the last of them is sent or nobody is there to take it."""

    def __init__(self, told: AsyncGenerator[str, None], counted: ExitStack) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(told, headers=headers, media_type="text/event-stream")
        self._told = told
        self._counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._counted:
            async with aclosing(self._told):
                await super().__call__(scope, receive, send)


IfNoneMatch = Annotated[str | None, Header(description="Answer 304 if this is still the revision.", max_length=1024)]


@router.post(
    "",
    status_code=201,
    summary="Start a release",
    responses=declared(
        ok={200: Release, 201: Release},
        codes=("no-key", "token-used", "busy", "refused", "conflict", "key-reused", "frozen"),
        body=True,
        headers={
            200: _LOCATION | {"Idempotency-Replayed": "`true`: it had been started with this key."},
            201: _LOCATION,
        },
    ),
)
async def start(
    wanted: Start,
    passport: Bearer,
    backing: Stood,
    idempotency_key: Annotated[
        str, Header(pattern=_KEY, description="Names this request; the same key and body start nothing new.")
    ],
) -> Response:
    """Ask for a release. It begins within seconds, or when nothing is in its way, as `onConflict` says."""
    await passport.demand(wanted.namespace, wanted.service)
    if wanted.policy is not None:
        await passport.demand_also(Right.WRITE_POLICY, wanted.namespace, wanted.service)
    order = Order(
        namespace=wanted.namespace,
        service=wanted.service,
        version=wanted.version,
        source=_source(wanted.source, passport),
        key=bound_key(passport.identity, idempotency_key),
        policy=wanted.policy,
        on_conflict=wanted.on_conflict,
        not_before=wanted.not_before,
    )
    if not await backing.token_uses.first(passport.identity, _use(order)):
        raise Problem("token-used", "this token started another release already: a job needs a fresh one for each")
    try:
        started = await backing.desk.start(order)
    except (Busy, KeyReused) as error:
        raise await _discreet(error, passport, order) from error
    release = started.release
    headers = {"location": f"/v1/releases/{release.namespace}/{release.name}", "etag": tag(release.revision)}
    if started.replayed:
        return said(release, 200, headers | {"idempotency-replayed": "true"})
    return said(release, 201, headers)


@router.get(
    "",
    summary="List releases, newest first",
    responses=declared(ok={200: Releases}),
)
async def listed(
    passport: Bearer,
    backing: Stood,
    namespace: Annotated[Label | None, Query(description="Only of this namespace; else of all.")] = None,
    service: Annotated[Label | None, Query(description="Only of this service.")] = None,
    phase: Annotated[Phase | None, Query(description="Only in this phase.")] = None,
    active: Annotated[bool | None, Query(description="Only those that are not over, or only those that are.")] = None,
    cursor: Annotated[str | None, Query(max_length=512, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="How many at most.")] = 100,
) -> Response:
    """Releases of one namespace, or of all."""
    after = _place_of(cursor) if cursor is not None else None
    found: list[Release] = []
    for where in await passport.demand_namespaces(namespace, service):
        found.extend(await backing.desk.list(where, service))
    kept = [one for one in found if _is_meant(one, phase, active) and (after is None or _place(one) < after)]
    kept.sort(key=_place, reverse=True)
    page = kept[:limit]
    return said(Releases(items=tuple(page), next=_cursor(page[-1]) if len(kept) > limit else None))


@router.get(
    _ONE,
    summary="Look at a release, or wait until it changes",
    responses=declared(ok={200: Release, 304: None}, codes=("not-found",), headers=_ETAG),
)
async def get(
    release: Asked,
    request: Request,
    wait: Annotated[
        Duration | None, Query(description="Answer when it changes, or after this long; at most 60s.")
    ] = None,
    after: Annotated[str | None, Query(max_length=64, description="The revision that is known already.")] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The release as it is. With `wait` and `after`, as soon as it is another than `after`."""
    known = after == release.revision or names(if_none_match, release.revision, weak=True)
    if wait is not None and known:
        streams, following = _streams(request), _following(request)
        with streams.opened(request.scope[CALLER]), STREAMS.track_inprogress():
            seen = await following.changed(release, min(wait.total_seconds(), LONGEST_WAIT))
        if seen is None:
            raise Problem("not-found", f"{release.name} is gone")
        release = seen
    if names(if_none_match, release.revision, weak=True):
        return Response(status_code=304, headers={"etag": tag(release.revision)})
    return said(release, 200, {"etag": tag(release.revision)})


@router.get(
    f"{_ONE}/events",
    summary="Follow a release",
    response_class=StreamingResponse,
    responses=declared(ok={204: None}, codes=("not-found",))
    | {
        200: {
            "description": "`state` for every revision, with the release as data and the revision as id; `gone` if it "
            "was deleted. A comment every 15 s. Ends after the release's end, and now and then before: come back with "
            "Last-Event-ID.",
            "content": {"text/event-stream": {"schema": _EVENT}},
        }
    },
)
async def follow(
    release: Asked,
    request: Request,
    backing: Stood,
    last_event_id: Annotated[str, Header(max_length=64, description="The last id that was seen.")] = "",
) -> Response:
    """Server-sent events. Whoever has seen the end is answered 204, at which an EventSource stops."""
    if release.status.phase.terminal and release.revision == last_event_id:
        return Response(status_code=204)
    counted = ExitStack()
    counted.enter_context(_streams(request).opened(request.scope[CALLER]))
    counted.enter_context(STREAMS.track_inprogress())
    return _Stream(events(_following(request), backing, release, last_event_id), counted)


@router.get(
    f"{_ONE}/decisions",
    summary="What was decided, and on which numbers",
    responses=declared(ok={200: Decisions}, codes=("not-found",), headers=_ETAG),
)
async def decisions(release: Asked) -> Response:
    """Every check's verdict with its numbers, the steps, the gates, the query to paste."""
    status = release.status
    told = Decisions(
        namespace=release.namespace,
        release=release.name,
        service=status.service or release.spec.service,
        version=status.version or release.spec.version,
        stable=status.stable,
        phase=status.phase,
        reason=status.reason,
        message=release.problem or status.message,
        cause=status.cause,
        weight=status.weight,
        steps=status.steps,
        verdicts=status.verdicts,
        query=status.query,
        evidence=status.evidence,
        gate_runs=status.gate_runs,
    )
    return said(told, 200, {"etag": tag(release.revision)})


def bound_key(who: Identity, key: str) -> str:
    """The idempotency key as it is kept: the same word of another caller is another key."""
    return hashlib.sha256(json.dumps([who.issuer, who.name, key]).encode()).hexdigest()


def _use(order: Order) -> str:
    """A digest of what a token is used for."""
    said = [order.key, order.namespace, order.service, order.version, order.on_conflict, str(order.not_before)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _source(source: Source, passport: Passport) -> Source:
    """Where the trigger came from, as the client says; who it was, as we know."""
    if source.actor in {"", passport.name}:
        return source.model_copy(update={"actor": passport.name})
    told = f"{source.reason} (for {source.actor}, as the client says)".lstrip()
    return source.model_copy(update={"actor": passport.name, "reason": told[:1024]})


async def _discreet(error: Busy | KeyReused, passport: Passport, order: Order) -> Problem:
    """The refusal; with the release that is in the way in full only to who may look at it."""
    problem = problem_of(error)
    assert problem is not None
    try:
        may_look = await passport.may(Right.GET, order.namespace, order.service)
    except (Outage, Refused, NotFound):
        may_look = False
    if not may_look:
        problem.more.pop("release", None)
    return problem


def _is_meant(release: Release, phase: Phase | None, active: bool | None) -> bool:
    now = release.status.phase
    return phase in {None, now} and active in {None, not now.terminal}


def _place(release: Release) -> tuple[str, ...]:
    """Where it stands in the list: by time, then by name."""
    made = format_instant(release.created_at) if release.created_at is not None else ""
    return made, release.namespace, release.name


def _cursor(release: Release) -> str:
    return base64.urlsafe_b64encode(json.dumps(_place(release)).encode()).decode()


def _place_of(cursor: str) -> tuple[str, ...]:
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if not isinstance(place, list) or len(place) != 3 or not all(isinstance(one, str) for one in place):
        found = {"pointer": "#query/cursor", "detail": "expected `next` of an earlier page"}
        raise Problem("invalid", "this is no cursor of ours", errors=[found])
    return tuple(place)


def _streams(request: Request) -> Streams:
    found: Streams = request.app.state.streams
    return found


def _following(request: Request) -> Following:
    found: Following = request.app.state.following
    return found
