"""`rollout start`: ask for a release once, however often the request must be sent, and wait for it if told to."""

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import typer

from rollout.cli.exits import ExitCode, Stop
from rollout.cli.following import Interrupt, Waiting, either, follow, interrupts
from rollout.cli.origin import key_of, source_of
from rollout.cli.reporting import Report
from rollout.cli.session import Access
from rollout.cli.terminal import complain, remark, say
from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_instant, parse_duration
from rollout.desk import OnConflict, Order, Started
from rollout.ports import Outage, Refused

_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """What to release, as it was said on the command line."""

    service: str
    version: str
    reason: str = ""
    key: str | None = None
    policy: Path | None = None
    """A policy file to use instead of the controller's own."""
    on_conflict: OnConflict = "reject"
    not_before: datetime | None = None


def moment(text: str, now: datetime) -> datetime:
    """`--at`: RFC 3339 with a zone, or `+2h` or `2h` from `now` on. A usage error for anything else."""
    try:
        if "-" not in text:
            return now + parse_duration(text.removeprefix("+"))
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    said = f"expected a time such as 2026-11-21T22:00:00Z, or +2h for two hours from now, not {text!r}"
    raise typer.BadParameter(said, param_hint="--at")


async def start(access: Access, asked: Asked, waiting: Waiting | None, report: Report) -> ExitCode:
    """Start, print the id as the first line on stdout, and follow the release if told to."""
    if waiting is None:
        started = await _ask(access, asked)
        _tell(started)
        report.saw(started.release)
        report.ended(ExitCode.OK, f"{started.release.name} was started; nobody waits for its end here")
        return ExitCode.OK
    with interrupts(report) as interrupt:
        started = await _ask_unless_stuck(access, asked, waiting, interrupt)
        _tell(started)
        return await follow(access, started.release, waiting, interrupt, report)


async def _ask(access: Access, asked: Asked) -> Started:
    """Create the release. The key makes a request whose answer was lost harmless to send again."""
    environ = access.surroundings.environ
    order = Order(
        namespace=access.namespace,
        service=asked.service,
        version=asked.version,
        source=source_of(environ, asked.reason),
        key=asked.key or key_of(environ, asked.service, asked.version) or secrets.token_hex(16),
        policy=_policy(access, asked),
        on_conflict=asked.on_conflict,
        not_before=asked.not_before,
    )
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await access.desk.start(order)
        except Outage as error:
            if attempt == _ATTEMPTS or isinstance(error, Refused):
                raise
            remark(f"{access.other_side} does not answer, trying again: {error}")
            await asyncio.sleep(access.between_looks * attempt)
    raise AssertionError("the last attempt returns or raises")


async def _ask_unless_stuck(access: Access, asked: Asked, waiting: Waiting, interrupt: Interrupt) -> Started:
    """The same; a signal meanwhile waits for the answer, because only then there is something to abort."""
    asking = asyncio.create_task(_ask(access, asked))
    try:
        await either(asking, interrupt)
        if not asking.done():
            remark(f"{interrupt.result().name} while starting: waiting for the answer first")
            await asyncio.wait({asking}, timeout=waiting.cancel_timeout.total_seconds())
        if not asking.done():
            raise Stop(
                ExitCode.UNREACHABLE,
                f"whether a release of {asked.service} was created is not known\n"
                f"look with `rollout status {asked.service}{access.elsewhere}`, "
                f"stop it with `rollout abort {asked.service}{access.elsewhere}`",
            )
        return asking.result()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def _policy(access: Access, asked: Asked) -> PolicySpec | None:
    if asked.policy is None:
        return None
    policies, problems = access.surroundings.assembly().read_policies([asked.policy])
    if problems:
        raise Stop(ExitCode.USAGE, "\n".join(problems))
    wanted = (access.namespace, asked.service)
    for _, policy in policies:
        if (policy.metadata.namespace, policy.metadata.name) == wanted:
            return policy.spec
    raise Stop(ExitCode.USAGE, f"{asked.policy} holds no policy for {asked.service} in namespace {access.namespace}")


def _tell(started: Started) -> None:
    with contextlib.suppress(Stop):  # nobody reads the id; the release goes on all the same
        say(started.release.name)
    if started.replayed:
        phase = started.release.status.phase.value
        complain(f"this was started before, with the same idempotency key; it is {phase}")
    elif (at := started.release.spec.not_before) is not None:
        complain(f"it does not start before {format_instant(at)}")
