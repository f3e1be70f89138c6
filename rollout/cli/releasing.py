"""The verbs that a pipeline runs, `start` and `wait`, and their options; verbs.py makes commands of them.

What they do is in starting.py and following.py. Nothing but typer is imported at the top, so that `--help` answers at
once.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollout.cli.choices import OnCancel
from rollout.cli.exits import ExitCode
from rollout.cli.options import CancelTimeout, Id, Timeout, Why, duration
from rollout.cli.session import Access, Session

if TYPE_CHECKING:
    from rollout.cli.following import Waiting


class OnConflict(StrEnum):
    """What becomes of the new release while another one of the service is under way."""

    REJECT = "reject"
    QUEUE = "queue"
    SUPERSEDE = "supersede"


Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write what became of it to this file, as JSON.")
]
Junit = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="The same as a JUnit report: a case per step and check.")
]
Dotenv = Annotated[
    Path | None, typer.Option("--dotenv", metavar="FILE", help="The same as lines NAME=value, ROLLOUT_RESULT and more.")
]


def start(
    session: Session,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The service to release.")],
    version: Annotated[str, typer.Option("--version", metavar="V", help="The version that shall get the traffic.")],
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end; the exit code is its outcome.")] = False,
    timeout: Timeout = "90m",
    reason: Why = "",
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key",
            metavar="KEY",
            help="Asking again with the same key starts nothing new; in CI, else, one of the job's run.",
        ),
    ] = None,
    on_conflict: Annotated[
        OnConflict,
        typer.Option("--on-conflict", help="While another release of it is under way: be refused, wait, or end it."),
    ] = OnConflict.REJECT,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Not before then: RFC 3339, or +2h from now.")
    ] = None,
    on_cancel: Annotated[
        OnCancel, typer.Option("--on-cancel", help="With --wait, what SIGINT and SIGTERM do to the release.")
    ] = OnCancel.ABORT,
    cancel_timeout: CancelTimeout = "60s",
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Policy to use instead of the controller's own.")
    ] = None,
    json: Json = None,
    junit: Junit = None,
    dotenv: Dotenv = None,
) -> ExitCode:
    """Release a version of a service; prints the id of the release."""
    from rollout.cli import starting
    from rollout.cli.reporting import Report, files_of

    report = Report(files_of(json, junit, dotenv, session.surroundings.environ), service, version)

    def verb() -> ExitCode:
        asked = starting.Asked(
            service=service,
            version=version,
            reason=reason,
            key=idempotency_key,
            policy=policy,
            on_conflict=on_conflict.value,
            not_before=starting.moment(at, session.surroundings.assembly().now()) if at is not None else None,
        )
        waiting = _waiting(session, timeout, on_cancel, cancel_timeout)

        async def asking(access: Access) -> ExitCode:
            report.at(access.namespace, _address(session))
            return await starting.start(access, asked, waiting if wait else None, report)

        return session.run(asking)

    return report.around(verb)


def wait(
    session: Session,
    release: Id,
    timeout: Timeout = "90m",
    on_cancel: Annotated[
        OnCancel, typer.Option("--on-cancel", help="What SIGINT and SIGTERM do to the release.")
    ] = OnCancel.DETACH,
    cancel_timeout: CancelTimeout = "60s",
    json: Json = None,
    junit: Junit = None,
    dotenv: Dotenv = None,
) -> ExitCode:
    """Follow a release to its end; the exit code is its outcome."""
    from rollout.cli.following import follow, interrupts
    from rollout.cli.reporting import Report, files_of

    report = Report(files_of(json, junit, dotenv, session.surroundings.environ))

    def verb() -> ExitCode:
        waiting = _waiting(session, timeout, on_cancel, cancel_timeout)

        async def asking(access: Access) -> ExitCode:
            report.at(access.namespace, _address(session))
            with interrupts(report) as interrupt:
                return await follow(access, await access.find(release), waiting, interrupt, report)

        return session.run(asking)

    return report.around(verb)


def _waiting(session: Session, timeout: str, on_cancel: OnCancel, cancel_timeout: str) -> "Waiting":
    from rollout.cli.following import Waiting
    from rollout.cli.origin import actor_of

    return Waiting(
        timeout=duration(timeout, "--timeout"),
        on_cancel=on_cancel,
        cancel_timeout=duration(cancel_timeout, "--cancel-timeout"),
        by=actor_of(session.surroundings.environ),
    )


def _address(session: Session) -> str:
    reach = session.reach
    return reach.url if reach is not None else ""
