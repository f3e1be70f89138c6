"""`rollout start`: ask for a release once, however often the request must be sent, and wait for it if told to."""

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from rollout import commands
from rollout.cli.exits import ExitCode, Stop
from rollout.cli.following import Interrupt, Waiting, either, follow, interrupts
from rollout.cli.origin import actor_of, run_of, url_of
from rollout.cli.session import Access
from rollout.cli.terminal import complain, remark, say
from rollout.core.policy import PolicySpec
from rollout.core.release import Source
from rollout.ports import Outage, Refused

_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Order:
    """What to release."""

    service: str
    version: str
    reason: str = ""
    key: str | None = None
    policy: Path | None = None
    """A policy file to use instead of the controller's own."""


async def start(access: Access, order: Order, waiting: Waiting | None) -> ExitCode:
    """Start, print the id as the first line on stdout, and follow the release if told to."""
    if waiting is None:
        _tell(await _ask(access, order))
        return ExitCode.OK
    with interrupts() as interrupt:
        started = await _ask_unless_stuck(access, order, waiting, interrupt)
        _tell(started)
        return await follow(access, started.release.name, waiting, interrupt)


async def _ask(access: Access, order: Order) -> commands.Started:
    """Create the release. The key makes a request whose answer was lost harmless to send again."""
    environ, pace = access.surroundings.environ, access.surroundings.pace
    source = Source(actor=actor_of(environ), reason=order.reason[:1024], url=url_of(environ))
    run = run_of(environ)
    key = order.key or (f"{run}/{access.namespace}/{order.service}/{order.version}" if run else secrets.token_hex(16))
    policy = _policy(access, order)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await commands.start(
                access.releases,
                access.clock,
                namespace=access.namespace,
                service=order.service,
                version=order.version,
                source=source,
                key=key,
                policy=policy,
            )
        except Outage as error:
            if attempt == _ATTEMPTS or isinstance(error, Refused):
                raise
            remark(f"the Kubernetes API does not answer, trying again: {error}")
            await asyncio.sleep(pace.poll * attempt)
    raise AssertionError("the last attempt returns or raises")


async def _ask_unless_stuck(access: Access, order: Order, waiting: Waiting, interrupt: Interrupt) -> commands.Started:
    """The same; a signal meanwhile waits for the answer, because only then there is something to abort."""
    asking = asyncio.create_task(_ask(access, order))
    try:
        await either(asking, interrupt)
        if not asking.done():
            remark(f"{interrupt.result().name} while starting: waiting for the answer first")
            await asyncio.wait({asking}, timeout=waiting.cancel_timeout.total_seconds())
        if not asking.done():
            raise Stop(
                ExitCode.UNREACHABLE,
                f"whether a release of {order.service} was created is not known\n"
                f"look with `rollout status {order.service}{access.elsewhere}`, "
                f"stop it with `rollout abort {order.service}{access.elsewhere}`",
            )
        return asking.result()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def _policy(access: Access, order: Order) -> PolicySpec | None:
    if order.policy is None:
        return None
    policies, problems = access.surroundings.assembly().read_policies([order.policy])
    if problems:
        raise Stop(ExitCode.USAGE, "\n".join(problems))
    wanted = (access.namespace, order.service)
    for _, policy in policies:
        if (policy.metadata.namespace, policy.metadata.name) == wanted:
            return policy.spec
    raise Stop(ExitCode.USAGE, f"{order.policy} holds no policy for {order.service} in namespace {access.namespace}")


def _tell(started: commands.Started) -> None:
    with contextlib.suppress(Stop):  # nobody reads the id; the release goes on all the same
        say(started.release.name)
    if started.replayed:
        phase = started.release.status.phase.value
        complain(f"this was started before, with the same idempotency key; it is {phase}")
