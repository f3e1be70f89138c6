"""Freezes and the brake: nobody starts or advances, and whatever is under way goes back.

Belongs here: what a freeze of a scope says, whether one stands in the way of a start, and the order of the brake. Does
not belong here: where freezes are kept (`adapters/freezes.py`), holding a release (`core/waiting.py`).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError

from rollout.commands.wishes import LONGEST_BY, LONGEST_REASON, abort, is_closed
from rollout.core.freeze import Freeze, FreezeSpec, in_force
from rollout.core.quantities import format_instant
from rollout.core.release import Release, ReleaseSpec
from rollout.core.route import Unavailable
from rollout.desk import Finished, Scope, Stopped
from rollout.ports import Clock, Conflict, Freezes, NotFound, Outage, Refused, Releases

_AT_ONCE = 16
"""Aborts that the brake writes at the same time."""


async def freeze(
    freezes: Freezes, clock: Clock, scope: Scope, until: datetime | None, *, by: str, reason: str
) -> Freeze:
    """Let nobody start or advance in the scope; a freeze of the same scope is replaced.

    Raises Refused for an end that is over already and for names that cannot be, NotFound for a namespace that is not.
    """
    now = clock.now()
    if until is not None and until <= now:
        raise Refused(f"a freeze until {format_instant(until)} would be over already")
    _is_one(scope)
    try:
        spec = FreezeSpec(
            service=scope.service,
            everywhere=scope.namespace is None,
            until=until,
            by=by[:LONGEST_BY],
            reason=reason[:LONGEST_REASON],
            at=now,
        )
    except ValidationError as error:
        raise Refused(f"{scope.service!r} is no name of a service") from error
    return await freezes.put(scope.namespace, spec)


async def unfreeze(freezes: Freezes, scope: Scope) -> bool:
    """Lift the freeze of exactly this scope; False if there was none. One of a wider scope goes on."""
    _is_one(scope)
    return await freezes.remove(scope.namespace, scope.service)


async def frozen_by(freezes: Freezes, clock: Clock, spec: ReleaseSpec, namespace: str) -> Freeze | None:
    """The freeze that stands when this release would start; None if there is none, or none that can be read.

    Not to know lets nobody through: the controller looks again before the release begins, and waits while it cannot.
    """
    found = await freezes.of(namespace, spec.service, remembered=True)
    if isinstance(found, Unavailable):
        return None
    now = clock.now()
    return in_force(found, max(now, spec.not_before or now))


async def stop(
    releases: Releases,
    freezes: Freezes,
    clock: Clock,
    scope: Scope,
    *,
    by: str,
    reason: str,
    namespaces: Sequence[str] = (),
) -> Stopped:
    """The brake: freeze the scope, then abort every release under way in it; safe to repeat.

    The freeze comes first, so that nothing begins while the aborts are written. One abort that fails keeps none of the
    others waiting. A freeze of everything looks in `namespaces`, or in all.

    Raises what `freeze` raises, and Outage if the releases cannot be listed; the freeze stands then.
    """
    standing = await freeze(freezes, clock, scope, None, by=by, reason=reason)
    found = await listed(releases, scope.namespace, scope.service, namespaces)
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def aborted(release: Release) -> Release | str | None:
        async with at_once:
            try:
                return await abort(
                    releases, clock, namespace=release.namespace, name=release.name, by=by, reason=reason
                )
            except (Finished, NotFound):
                return None
            except (Outage, Refused, Conflict) as error:
                return str(error)

    active = [one for one in found if not is_closed(one)]
    outcomes = list(zip(active, await asyncio.gather(*map(aborted, active)), strict=True))
    return Stopped(
        freeze=standing,
        aborted=tuple(outcome for _, outcome in outcomes if isinstance(outcome, Release)),
        failed={"/".join(one.key): why for one, why in outcomes if isinstance(why, str)},
    )


async def listed(
    releases: Releases, namespace: str | None, service: str | None, namespaces: Sequence[str]
) -> list[Release]:
    """All releases of a scope; "all namespaces" are `namespaces` where these are given, and nobody may ask for more."""
    where: Sequence[str | None] = namespaces if namespace is None and namespaces else (namespace,)
    return [release for one in where for release in await releases.list(one, service)]


def _is_one(scope: Scope) -> None:
    if scope.namespace is None and scope.service is not None:
        raise Refused(f"service {scope.service} of which namespace?")
