"""The options that verbs share, declared once, and what their texts mean.

Belongs here: which way to the releases (a kubeconfig, or our HTTP API), options that several verbs take, reading their
values. Does not belong here: taking that way (`reaching.py`), a verb's own options (with the verb).
"""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollout.cli.choices import Output
from rollout.cli.exits import ExitCode
from rollout.cli.session import Far, Session

if TYPE_CHECKING:
    from datetime import datetime, timedelta

Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="As for kubectl; else $KUBECONFIG, ~/.kube/config, the pod."),
]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.")]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help="Namespace; else $ROLLOUT_NAMESPACE, the context's."),
]
Server = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Ask rollout's HTTP API instead; else $ROLLOUT_SERVER."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Token for --server, read each time; else $ROLLOUT_TOKEN_FILE."),
]
TokenEnv = Annotated[
    str | None, typer.Option("--token-env", metavar="NAME", help="Variable that holds the token; else ROLLOUT_TOKEN.")
]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Who signs --server's certificate; else the system's.")
]
InsecureHttp = Annotated[
    bool, typer.Option("--insecure-http", help="Send the token over http:// to another machine, for all to read.")
]
EnvProxy = Annotated[bool, typer.Option("--env-proxy", help="Reach --server by the proxy that $HTTPS_PROXY names.")]

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a release.")]
Subject = Annotated[
    str, typer.Argument(metavar="ID|SERVICE", help="Id of a release, or a service: its active one, else the newest.")
]
Service = Annotated[str, typer.Argument(metavar="SERVICE", help="The service.")]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the release.")]
Form = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to wait; then exit 124.")]
CancelTimeout = Annotated[
    str,
    typer.Option("--cancel-timeout", metavar="DURATION", help="After a signal: how long to abort and see it done."),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="Policy to try; else that of the service's newest release."),
]
Stable = Annotated[
    str | None, typer.Option("--stable", metavar="V", help="Whose traffic; else who held it since the newest release.")
]
Prometheus = Annotated[
    str, typer.Option("--prometheus", envvar="ROLLOUT_PROMETHEUS_URL", metavar="URL", help="Where the metrics are.")
]
PrometheusTokenFile = Annotated[
    Path | None,
    typer.Option(
        "--prometheus-token-file",
        envvar="ROLLOUT_PROMETHEUS_TOKEN_FILE",
        metavar="FILE",
        help="Bearer token for Prometheus, read again for every request.",
    ),
]
Matchers = Annotated[
    list[str] | None,
    typer.Option(
        "--prometheus-matcher",
        envvar="ROLLOUT_PROMETHEUS_MATCHER",
        metavar='LABEL="VALUE"',
        help="Only series with this label, where Prometheus holds several clusters; may be repeated.",
    ),
]
Domain = Annotated[
    str, typer.Option("--cluster-domain", envvar="ROLLOUT_CLUSTER_DOMAIN", help="DNS domain of the cluster.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="The same seed gives the same numbers.")]

_SHARED: dict[str, tuple[Any, Any]] = {
    "kubeconfig": (Kubeconfig, None),
    "context": (Context, None),
    "namespace": (Namespace, None),
    "server": (Server, None),
    "token_file": (TokenFile, None),
    "token_env": (TokenEnv, None),
    "ca_file": (CaFile, None),
    "insecure_http": (InsecureHttp, False),
    "env_proxy": (EnvProxy, False),
}
"""Option of every verb that asks for releases -> how it is declared, and its default."""


def on_cluster(function: Callable[..., ExitCode]) -> Callable[..., None]:
    """Make a command of a function whose first parameter is the Session: it gets the options of the way to releases.

    They may stand before the verb too, for all verbs alike; after it they win.
    """

    @functools.wraps(function)
    def command(ctx: typer.Context, **given: Any) -> None:
        session: Session = ctx.obj
        shared = {name: given.pop(name) for name in _SHARED}
        raise typer.Exit(function(narrowed(session, **shared), **given))

    own = list(inspect.signature(function).parameters.values())[1:]
    return _declared(command, own)


def for_all_verbs(function: Callable[[typer.Context], None]) -> Callable[..., None]:
    """The same options for what stands before the verb; the context's Session has them afterwards."""

    @functools.wraps(function)
    def command(ctx: typer.Context, **given: Any) -> None:
        ctx.obj = narrowed(ctx.obj, **given)
        function(ctx)

    return _declared(command, [])


def _declared(command: Callable[..., None], own: list[inspect.Parameter]) -> Callable[..., None]:
    named = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", named, annotation=typer.Context),
        *(parameter.replace(kind=named) for parameter in own),
        *(
            inspect.Parameter(name, named, default=default, annotation=kind)
            for name, (kind, default) in _SHARED.items()
        ),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def narrowed(
    session: Session, *, kubeconfig: Path | None, context: str | None, namespace: str | None, **far: Any
) -> Session:
    """The session with these options; what is not given stays as it was."""
    return session.narrowed(kubeconfig, context, namespace, Far(**far))


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


def later(text: str, now: "datetime", option: str) -> "datetime":
    """A time to come: RFC 3339, or how long from now (`2h`, `+2h`); a usage error that names the option otherwise."""
    from datetime import datetime

    from rollout.core.quantities import parse_duration

    try:
        if "-" not in text:
            when: datetime | None = now + parse_duration(text.removeprefix("+"))
        else:
            when = datetime.fromisoformat(text)
            when = when.astimezone(now.tzinfo) if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        when = None
    if when is None:
        said = f"expected a time such as 2026-11-21T12:00:00Z, or how long from now, such as 2h, not {text!r}"
        raise typer.BadParameter(said, param_hint=option)
    if when <= now:
        raise typer.BadParameter(f"{text} is over", param_hint=option)
    return when
