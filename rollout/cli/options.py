"""The options that every verb on a cluster takes, declared once, and what their texts mean."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollout.cli.exits import ExitCode
from rollout.cli.session import Session

if TYPE_CHECKING:
    from datetime import timedelta

Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="As for kubectl; else $KUBECONFIG, ~/.kube/config, the pod."),
]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NAME", help="Namespace; else the context's.")
]


def on_cluster(function: Callable[..., ExitCode]) -> Callable[..., None]:
    """Make a command of a function whose first parameter is the Session: it gets the three options of a cluster.

    They may stand before the verb too, for all verbs alike; after it they win.
    """

    @functools.wraps(function)
    def command(
        ctx: typer.Context, *, kubeconfig: Path | None, context: str | None, namespace: str | None, **given: Any
    ) -> None:
        session: Session = ctx.obj
        raise typer.Exit(function(session.narrowed(kubeconfig, context, namespace), **given))

    own = list(inspect.signature(function).parameters.values())[1:]
    shared = {"kubeconfig": Kubeconfig, "context": Context, "namespace": Namespace}
    named = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", named, annotation=typer.Context),
        *(parameter.replace(kind=named) for parameter in own),
        *(inspect.Parameter(name, named, default=None, annotation=kind) for name, kind in shared.items()),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def duration(text: str, option: str) -> "timedelta":
    """`90m` as an option's value; a usage error that names the option otherwise."""
    from datetime import timedelta

    from rollout.core.quantities import parse_duration

    try:
        span = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
    if span <= timedelta(0):
        raise typer.BadParameter("expected a duration longer than nothing", param_hint=option)
    return span
