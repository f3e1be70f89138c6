"""Routes of wishes: abort, pause, resume, promote, approve.

Belongs here: HTTP around `Desk.wish`. Does not belong here: when a wish makes no sense (`commands/`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from rollout.api.answers import declared, names, said, tag
from rollout.api.forms import Approve, Ask
from rollout.api.passports import Asked, Bearer, Stood
from rollout.api.problems import Problem
from rollout.core.release import Release
from rollout.desk import VERBS, Desk, Verb, Wanted
from rollout.ports import Conflict

router = APIRouter(prefix="/v1/releases", tags=["wishes"])

IfMatch = Annotated[
    str | None, Header(max_length=1024, description="Only if this is still the revision; else 412 and nothing is done.")
]

_SUMMARIES: dict[Verb, str] = {
    "abort": "All traffic back to stable",
    "pause": "Do not advance until resumed; checks go on",
    "resume": "End a pause, or take the route back after an edit by hand",
    "promote": "End the hold of this step once its checks pass",
    "approve": "Let a gate pass",
}


async def _wish(release: Release, passport: Bearer, desk: Desk, wanted: Wanted, if_match: str | None) -> Response:
    if if_match is not None:
        if not names(if_match, release.revision, weak=False):
            raise _changed(release)
        # What is between this look and the write is seen by the write itself.
        wanted = wanted if if_match.strip() == "*" else replace(wanted, revision=release.revision)
    try:
        after = await desk.wish(wanted)
    except Conflict as error:
        raise (_changed(release) if wanted.revision else error) from error
    passport.stamp()
    return said(after, 200 if after.spec == release.spec else 202, {"etag": tag(after.revision)})


def _changed(release: Release) -> Problem:
    return Problem("changed", f"{release.name} is not, or no longer, at the revision that If-Match names")


def _route(verb: Verb) -> Callable[..., Awaitable[Response]]:
    """The endpoint of a verb."""

    async def wish(
        release: Asked, passport: Bearer, backing: Stood, ask: Ask | None = None, if_match: IfMatch = None
    ) -> Response:
        about = Wanted(release.namespace, release.name, verb, passport.name, ask.reason if ask else "")
        return await _wish(release, passport, backing.desk, about, if_match)

    async def approve(
        release: Asked, passport: Bearer, backing: Stood, ask: Approve, if_match: IfMatch = None
    ) -> Response:
        about = Wanted(release.namespace, release.name, verb, passport.name, ask.reason, ask.gate)
        return await _wish(release, passport, backing.desk, about, if_match)

    return approve if verb == "approve" else wish


for _verb in VERBS:
    router.add_api_route(
        f"/{{namespace}}/{{name}}/{_verb}",
        _route(_verb),
        methods=["POST"],
        status_code=202,
        name=_verb,
        operation_id=_verb,
        summary=_SUMMARIES[_verb],
        description="A wish that is written down at once and seen to within seconds. Asking twice is asking once.",
        responses=declared(
            ok={200: Release, 202: Release},
            codes=("not-found", "finished", "refused", "conflict", "changed"),
            body=True,
            headers={200: {"ETag": "The revision."}, 202: {"ETag": "The revision."}},
        ),
    )
