"""The verbs of the command line, in the order of `--help`, and those that look at releases or take them in hand.

The others' options are declared where their domain is: releasing.py, brake.py, policies.py, daemons.py. Nothing but
typer is imported at the top, so that `--help` answers at once.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from rollout.cli import brake, daemons, policies, releasing
from rollout.cli.choices import Output
from rollout.cli.exits import ExitCode
from rollout.cli.options import Form, Id, Prometheus, Service, Subject, Why, for_all_verbs, on_cluster
from rollout.cli.session import Session

if TYPE_CHECKING:
    from rollout.desk import Verb

app = typer.Typer(
    name="rollout",
    help="Metrics-driven canary releases for Istio.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
@for_all_verbs
def root(_ctx: typer.Context) -> None:
    """Metrics-driven canary releases for Istio."""


def status(
    session: Session,
    subject: Annotated[
        str | None, typer.Argument(metavar="[ID|SERVICE]", help="One release; without it the newest of each service.")
    ] = None,
    active: Annotated[bool, typer.Option("--active", help="Only releases that are under way.")] = False,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing; ends with the release if one is named.")
    ] = False,
    output: Form = Output.TABLE,
) -> ExitCode:
    """Show what is being released, and how far it is."""
    from rollout.cli import showing

    if subject is not None and everywhere:
        raise typer.BadParameter("one release is in one namespace: say which with --namespace", param_hint="-A")
    wanted = showing.Wanted(subject=subject, active=active, everywhere=everywhere)
    show = showing.watched if watch else showing.shown
    return session.run(lambda access: show(access, wanted, output))


def why(session: Session, subject: Subject, output: Form = Output.TABLE) -> ExitCode:
    """Show what decided, or what a release waits for, in numbers."""
    from rollout.cli import showing

    return session.run(lambda access: showing.explained(access, subject, output))


def history(
    session: Session,
    service: Service,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
    output: Form = Output.TABLE,
) -> ExitCode:
    """List the releases of a service, newest first, and how each went."""
    from rollout.cli import showing

    return session.run(lambda access: showing.remembered(access, service, limit, output))


def pause(session: Session, subject: Subject, reason: Why = "") -> ExitCode:
    """Hold a release at its weight. Checks go on, and a rollback never waits."""
    return _wish(session, "pause", subject, reason)


def resume(session: Session, subject: Subject, reason: Why = "") -> ExitCode:
    """End a pause, or take the route back after an edit by hand."""
    return _wish(session, "resume", subject, reason)


def promote(session: Session, subject: Subject, reason: Why = "") -> ExitCode:
    """Skip what is left of the current hold. Every check must pass all the same."""
    return _wish(session, "promote", subject, reason)


def abort(session: Session, subject: Subject, reason: Why = "") -> ExitCode:
    """Put all traffic back to stable, now."""
    return _wish(session, "abort", subject, reason)


def approve(
    session: Session,
    release: Id,
    gate: Annotated[str, typer.Option("--gate", metavar="NAME", help="Which of the policy's gates to let pass.")],
    reason: Why = "",
) -> ExitCode:
    """Let a gate pass that waits for a person."""
    return _wish(session, "approve", release, reason, gate)


def _wish(session: Session, verb: "Verb", subject: str, reason: str, gate: str = "") -> ExitCode:
    from rollout.cli import wishing

    return session.run(lambda access: wishing.wish(access, verb, subject, reason, gate))


def whoami(session: Session, output: Form = Output.TABLE) -> ExitCode:
    """Say who you are to the other side, and what you may do there."""
    from rollout.cli import examining

    return session.run(lambda access: examining.introduced(access, output))


def doctor(session: Session, prometheus: Prometheus = "", output: Form = Output.TABLE) -> ExitCode:
    """Check what all verbs need: an answer, our objects, your rights."""
    from rollout.cli import examining

    return examining.examined(session, prometheus, output)


def openapi() -> None:
    """Print the OpenAPI document of the HTTP API."""
    from rollout.api.document import document
    from rollout.cli.terminal import emit
    from rollout.cli.views import one_line

    emit(one_line(document(), indent=2))


def version() -> None:
    """Print the version of this program."""
    from rollout import __version__
    from rollout.cli.terminal import say

    say(f"rollout {__version__}")


_ON_CLUSTER = (
    *(releasing.start, releasing.wait),
    *(status, why, history),
    *(pause, resume, promote, approve, abort),
    *(brake.stop, brake.freeze, brake.unfreeze, brake.freezes),
    *(policies.replay, policies.plan, policies.preflight),
    *(whoami, doctor),
)
_ELSEWHERE = (policies.validate, daemons.serve, daemons.api, openapi, version)
for _verb in _ON_CLUSTER:
    app.command()(on_cluster(_verb))
for _command in _ELSEWHERE:
    app.command()(_command)
