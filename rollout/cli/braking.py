"""`stop`, `freeze`, `unfreeze`, `freezes`: ask for it, and say what came of it."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollout.cli.choices import Output
from rollout.cli.exits import ExitCode, Stop
from rollout.cli.origin import actor_of
from rollout.cli.session import Access
from rollout.cli.terminal import columns, complain, emit, remark, say
from rollout.cli.views import encoded
from rollout.cli.wishing import reason_of
from rollout.core.freeze import Freeze
from rollout.core.quantities import format_instant
from rollout.desk import Scope


@dataclass(frozen=True, slots=True)
class Extent:
    """What is to be frozen or stopped, as the options say."""

    service: str | None = None
    everything: bool = False

    def scope(self, access: Access) -> Scope:
        """The same with the namespace that is meant."""
        return Scope() if self.everything else Scope(access.namespace, self.service)

    def arguments(self, access: Access) -> str:
        """For a command that is hinted at."""
        if self.everything:
            return " --all"
        return (f" {self.service}" if self.service is not None else "") + access.elsewhere


def confirm(extent: Extent, *, yes: bool) -> None:
    """Have a person at a terminal say once more that everything is meant. Raises Stop if not.

    A script is not asked: nobody would answer, and a brake that waits is none.
    """
    if not extent.everything or yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    print("Abort every release in every namespace, and freeze everything? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Stop(ExitCode.USAGE, "nothing was stopped\n`rollout stop` without --all stops one namespace")


async def stopped(access: Access, extent: Extent, reason: str) -> ExitCode:
    """Freeze, then abort; 20 where an abort could not be written. Raises Refused, Outage."""
    by = actor_of(access.surroundings.environ)
    found = await access.desk.stop(extent.scope(access), by=by, reason=reason_of(reason))
    say(f"{found.freeze.scope} is frozen; `rollout unfreeze{extent.arguments(access)}` lifts it")
    for release in found.aborted:
        say(f"{release.namespace}/{release.name}: abort asked for; all traffic goes back to stable")
    if not found.aborted and not found.failed:
        say("nothing was under way")
    for name, why in found.failed.items():
        complain(f"{name} was NOT aborted: {why}")
    if found.failed:
        complain("the freeze stands; run the same command again until nothing is left")
    return ExitCode.UNREACHABLE if found.failed else ExitCode.OK


async def frozen(access: Access, extent: Extent, until: datetime | None, reason: str) -> ExitCode:
    """`rollout freeze`. Raises Refused, Outage."""
    by = actor_of(access.surroundings.environ)
    made = await access.desk.freeze(extent.scope(access), until, by=by, reason=reason_of(reason))
    end = f"until {format_instant(until)}" if until is not None else "until it is lifted"
    say(f"{made.scope} is frozen {end}; `rollout unfreeze{extent.arguments(access)}` lifts it")
    return ExitCode.OK


async def lifted(access: Access, extent: Extent) -> ExitCode:
    """`rollout unfreeze`; nothing to lift is fine, and told. Raises Refused, Outage."""
    scope = extent.scope(access)
    if await access.desk.unfreeze(scope, by=actor_of(access.surroundings.environ)):
        say(f"{scope} is no longer frozen")
    else:
        say(f"there was no freeze of {scope}")
    others = _in_force(await access.desk.freezes(scope.namespace), access.clock.now())
    for one in others:
        if _covers(one, scope):
            remark(f"{one.scope} is still frozen: {one.spec.reason or 'no reason was given'}")
    return ExitCode.OK


async def listed(access: Access, output: Output, *, everywhere: bool) -> ExitCode:
    """`rollout freezes`."""
    found = sorted(
        await access.desk.freezes(None if everywhere else access.namespace), key=lambda one: (one.scope, one.name)
    )
    now = access.clock.now()
    if output is not Output.TABLE:
        emit(encoded([_document(one, now) for one in found], output))
    elif found:
        for line in columns(["SCOPE", "STATE", "UNTIL", "BY", "SINCE", "REASON"], [_row(one, now) for one in found]):
            say(line)
    else:
        remark("nothing is frozen" + ("" if everywhere else f" in namespace {access.namespace}"))
    return ExitCode.OK


def _covers(freeze: Freeze, scope: Scope) -> bool:
    """Whether the freeze, which is of the same namespace or of everything, holds all of the scope."""
    return freeze.spec.everywhere or (scope.namespace is not None and freeze.spec.service in {None, scope.service})


def _in_force(freezes: Iterable[Freeze], now: datetime) -> list[Freeze]:
    return [one for one in freezes if one.holds(now)]


def _row(freeze: Freeze, now: datetime) -> list[str]:
    spec = freeze.spec
    return [
        freeze.scope,
        "frozen" if freeze.holds(now) else "ended",
        _instant(spec.until, "until lifted"),
        spec.by or "-",
        _instant(spec.at, "-"),
        spec.reason or "-",
    ]


def _instant(when: datetime | None, otherwise: str) -> str:
    return otherwise if when is None else format_instant(when)[:19] + "Z"


def _document(freeze: Freeze, now: datetime) -> dict[str, Any]:
    """For scripts: what names it, whether it is in force, and what was asked for."""
    return {
        "scope": freeze.scope,
        "namespace": freeze.namespace,
        "name": freeze.name,
        "inForce": freeze.holds(now),
        "spec": freeze.spec.wire(),
    }
