"""Routes of freezes, and the brake.

Belongs here: HTTP around `Desk.freeze`, `unfreeze`, `freezes` and `stop`. Does not belong here: what a freeze holds
(`core/waiting.py`).
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from rollout.api.answers import declared, said
from rollout.api.forms import Freezes, ScopeText, SetFreeze, Stop, StoppedAnswer
from rollout.api.passports import Bearer, Stood
from rollout.api.problems import Problem
from rollout.core.freeze import EVERYWHERE, Freeze
from rollout.core.quantities import Label
from rollout.desk import Scope

router = APIRouter(prefix="/v1", tags=["freezes"])

InPath = Annotated[
    ScopeText,
    Path(description="`all`, a namespace, or namespace/service.", examples=["all", "shop", "shop/checkout"]),
]


def scope_of(text: str) -> Scope:
    """`all`, `shop` or `shop/checkout`. Raises Problem for a part that is too long to be a name."""
    if text == EVERYWHERE:
        return Scope()
    namespace, _, service = text.partition("/")
    if max(len(namespace), len(service)) > 63:
        found = {"pointer": "#path/scope", "detail": "a name has at most 63 characters"}
        raise Problem("invalid", "no such name can be", errors=[found])
    return Scope(namespace, service or None)


@router.get("/freezes", summary="List freezes", responses=declared(ok={200: Freezes}))
async def listed(
    passport: Bearer,
    backing: Stood,
    namespace: Annotated[Label | None, Query(description="Of this namespace and of everything; else all.")] = None,
) -> Response:
    """Freezes, those that ended by themselves included."""
    found: dict[tuple[str, str], Freeze] = {}
    for where in await passport.demand_namespaces(namespace):
        found |= {(one.namespace, one.name): one for one in await backing.desk.freezes(where)}
    return said(Freezes(items=tuple(found.values())))


@router.get(
    "/freezes/{scope:path}", summary="Look at a freeze", responses=declared(ok={200: Freeze}, codes=("not-found",))
)
async def get(scope: InPath, passport: Bearer, backing: Stood) -> Response:
    """The freeze of exactly this scope."""
    about = scope_of(scope)
    await passport.demand_scope(about)
    for one in await backing.desk.freezes(about.namespace):
        if one.scope == scope:
            return said(one)
    raise Problem("not-found", f"{scope} is not frozen")


@router.put(
    "/freezes/{scope:path}",
    summary="Freeze",
    responses=declared(ok={200: Freeze}, codes=("not-found", "refused", "conflict"), body=True),
)
async def put(scope: InPath, wanted: SetFreeze, passport: Bearer, backing: Stood) -> Response:
    """Let nobody start or advance. A freeze of this scope that stands is replaced; rollbacks never wait for one."""
    about = scope_of(scope)
    await passport.demand_scope(about)
    return said(await backing.desk.freeze(about, wanted.until, by=passport.name, reason=wanted.reason))


@router.delete(
    "/freezes/{scope:path}",
    status_code=204,
    summary="Lift a freeze",
    responses=declared(ok={204: None}, codes=("not-found", "refused", "conflict")),
)
async def delete(scope: InPath, passport: Bearer, backing: Stood) -> Response:
    """What waited goes on by itself."""
    about = scope_of(scope)
    await passport.demand_scope(about)
    if not await backing.desk.unfreeze(about, by=passport.name):
        raise Problem("not-found", f"{scope} is not frozen")
    return Response(status_code=204)


@router.post(
    "/stop",
    summary="The brake: freeze, then abort everything under way",
    responses=declared(ok={200: StoppedAnswer}, codes=("not-found", "refused", "conflict"), body=True),
)
async def stop(wanted: Stop, passport: Bearer, backing: Stood) -> Response:
    """Safe to repeat. What could not be aborted is in `failed`, with why."""
    about = scope_of(wanted.scope)
    await passport.demand_scope(about)
    stopped = await backing.desk.stop(about, by=passport.name, reason=wanted.reason)
    return said(StoppedAnswer(freeze=stopped.freeze, aborted=stopped.aborted, failed=dict(stopped.failed)))
