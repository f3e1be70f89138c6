"""The verbs that stop everything, `stop` and `freeze`, and their options; what they do is in braking.py.

Nothing but typer is imported at the top, so that `--help` answers at once.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from rollout.cli.choices import Output
from rollout.cli.exits import ExitCode
from rollout.cli.options import Form, later
from rollout.cli.session import Session

if TYPE_CHECKING:
    from rollout.cli.braking import Extent

Subject = Annotated[
    str | None, typer.Argument(metavar="[SERVICE]", help="Only this service; without it all of the namespace.")
]
All = Annotated[bool, typer.Option("--all", help="All namespaces.")]
Because = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; shown wherever a release waits for it.")]


def stop(
    session: Session,
    reason: Because,
    service: Subject = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, on a terminal, whether --all is meant.")] = False,
) -> ExitCode:
    """Freeze, and abort every release under way. The brake for the namespace, a service, or everything."""
    from rollout.cli import braking

    extent = _extent(service, everything)
    braking.confirm(extent, yes=yes)
    return session.run(lambda access: braking.stopped(access, extent, reason))


def freeze(
    session: Session,
    reason: Because,
    service: Subject = None,
    everything: All = False,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="RFC 3339, or how long from now; else until `rollout unfreeze`."),
    ] = None,
) -> ExitCode:
    """Let nobody start or advance. What is under way stays at its weight, and a rollback never waits."""
    from rollout.cli import braking

    extent = _extent(service, everything)
    end = None if until is None else later(until, session.surroundings.assembly().now(), "--until")
    return session.run(lambda access: braking.frozen(access, extent, end, reason))


def unfreeze(session: Session, service: Subject = None, everything: All = False) -> ExitCode:
    """Lift a freeze of the same extent."""
    from rollout.cli import braking

    extent = _extent(service, everything)
    return session.run(lambda access: braking.lifted(access, extent))


def freezes(
    session: Session,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    output: Form = Output.TABLE,
) -> ExitCode:
    """List what is frozen: in the namespace, and everything."""
    from rollout.cli import braking

    return session.run(lambda access: braking.listed(access, output, everywhere=everywhere))


def _extent(service: str | None, everything: bool) -> "Extent":
    from rollout.cli.braking import Extent

    if service is not None and everything:
        raise typer.BadParameter("say a service, or everything", param_hint="--all")
    return Extent(service, everything=everything)
