"""`status`, `why`, `history`: fetch, choose, print. How it looks is in `views.py`, `why.py` and `watching.py`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from rollout.cli import views
from rollout.cli.choices import Output
from rollout.cli.exits import ExitCode, Stop
from rollout.cli.session import Access
from rollout.cli.terminal import emit, remark, say
from rollout.cli.why import explanation, explanation_object
from rollout.core.release import Release


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which releases to show."""

    subject: str | None
    """One release: an id, or a service for its newest."""
    active: bool = False
    everywhere: bool = False


async def shown(access: Access, wanted: Wanted, output: Output) -> ExitCode:
    """`rollout status`."""
    now = access.clock.now()
    if wanted.subject is not None:
        found = await _one(access, wanted.subject, active=wanted.active)
        if output is not Output.TABLE:
            emit(views.encoded(views.document(found[0]) if found else None, output))
        elif found:
            _print(views.portrait(found[0], now))
    else:
        found = await _all(access, wanted)
        if output is not Output.TABLE:
            emit(views.encoded([views.document(release) for release in found], output))
        elif found:
            _print(views.overview(found, now, namespaces=wanted.everywhere))
    if not found and output is Output.TABLE:
        where = "any namespace" if wanted.everywhere else f"namespace {access.namespace}"
        remark(f"no {'active ' if wanted.active else ''}releases in {where}")
    return ExitCode.OK


async def watched(access: Access, wanted: Wanted, output: Output) -> ExitCode:
    """`rollout status --watch`."""
    from rollout.cli.watching import watch

    subject = wanted.subject
    if subject is None:
        await watch(access, _each_time(access, wanted), output, to_the_end=False)
    else:
        # The one that is meant now; a newer one of the service is another story.
        name = (await access.find(subject)).name

        seen: Release | None = None

        async def look() -> Sequence[Release]:
            nonlocal seen
            seen = await access.look(name, seen)
            if seen is None:
                raise Stop(ExitCode.USAGE, f"{name} is gone: somebody deleted it")
            return [seen]

        await watch(access, look, output, to_the_end=True)
    return ExitCode.OK


def _each_time(access: Access, wanted: Wanted) -> Callable[[], Awaitable[Sequence[Release]]]:
    """All of them at once, then after a while, as often as it is called."""
    first = True

    async def look() -> Sequence[Release]:
        nonlocal first
        if not first:
            await asyncio.sleep(access.between_looks)
        first = False
        return await access.in_time(_all(access, wanted))

    return look


async def explained(access: Access, subject: str, output: Output) -> ExitCode:
    """`rollout why`."""
    release, now = await access.find(subject), access.clock.now()
    if output is Output.TABLE:
        _print(explanation(release, now))
    else:
        emit(views.encoded(explanation_object(release, now), output))
    return ExitCode.OK


async def remembered(access: Access, service: str, limit: int, output: Output) -> ExitCode:
    """`rollout history`."""
    found = [*reversed(await access.desk.list(access.namespace, service))][:limit]
    if output is not Output.TABLE:
        emit(views.encoded([views.document(release) for release in found], output))
    elif found:
        _print(views.chronicle(found))
    else:
        remark(f"no releases of {service} in namespace {access.namespace}")
    return ExitCode.OK


async def _one(access: Access, subject: str, *, active: bool) -> list[Release]:
    release = await access.find(subject)
    return [] if active and release.status.phase.terminal else [release]


async def _all(access: Access, wanted: Wanted) -> list[Release]:
    found = await access.desk.list(None if wanted.everywhere else access.namespace)
    if wanted.active:
        return [release for release in found if not release.status.phase.terminal]
    return views.newest_of_each(found)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)
