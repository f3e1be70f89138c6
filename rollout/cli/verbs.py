"""The verbs and their options. Nothing but typer is imported at the top, so that `--help` answers at once."""

from pathlib import Path
from typing import Annotated

import typer

from rollout.cli.choices import Findings, LogFormat, LogLevel, OnCancel, Output
from rollout.cli.exits import ExitCode
from rollout.cli.options import Context, Kubeconfig, Namespace, duration, on_cluster
from rollout.cli.serving import LeaseDuration, LeaseNamespace, LeaseOrNot, RenewDeadline, RetryPeriod
from rollout.cli.session import Access, Session

app = typer.Typer(
    name="rollout",
    help="Metrics-driven canary releases for Istio.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a release.")]
Subject = Annotated[str, typer.Argument(metavar="ID|SERVICE", help="Id of a release, or a service: its newest one.")]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the release.")]
Form = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to wait; then exit 124.")]
CancelTimeout = Annotated[
    str,
    typer.Option("--cancel-timeout", metavar="DURATION", help="After a signal: how long to abort and see it done."),
]


Service = Annotated[str, typer.Argument(metavar="SERVICE", help="The service.")]
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
TokenFile = Annotated[
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


@app.callback()
def root(
    ctx: typer.Context, kubeconfig: Kubeconfig = None, context: Context = None, namespace: Namespace = None
) -> None:
    """Metrics-driven canary releases for Istio."""
    session: Session = ctx.obj
    ctx.obj = session.narrowed(kubeconfig, context, namespace)


@app.command()
@on_cluster
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
    on_cancel: Annotated[
        OnCancel, typer.Option("--on-cancel", help="With --wait, what SIGINT and SIGTERM do to the release.")
    ] = OnCancel.ABORT,
    cancel_timeout: CancelTimeout = "60s",
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Policy to use instead of the controller's own.")
    ] = None,
) -> ExitCode:
    """Release a version of a service; prints the id of the release."""
    from rollout.cli import starting
    from rollout.cli.following import Waiting
    from rollout.cli.origin import actor_of

    order = starting.Order(service=service, version=version, reason=reason, key=idempotency_key, policy=policy)
    waiting = Waiting(
        timeout=duration(timeout, "--timeout"),
        on_cancel=on_cancel,
        cancel_timeout=duration(cancel_timeout, "--cancel-timeout"),
        by=actor_of(session.surroundings.environ),
    )
    return session.run(lambda access: starting.start(access, order, waiting if wait else None))


@app.command()
@on_cluster
def wait(
    session: Session,
    release: Id,
    timeout: Timeout = "90m",
    on_cancel: Annotated[
        OnCancel, typer.Option("--on-cancel", help="What SIGINT and SIGTERM do to the release.")
    ] = OnCancel.DETACH,
    cancel_timeout: CancelTimeout = "60s",
) -> ExitCode:
    """Follow a release to its end; the exit code is its outcome."""
    from rollout.cli.following import Waiting, follow, interrupts
    from rollout.cli.origin import actor_of

    waiting = Waiting(
        timeout=duration(timeout, "--timeout"),
        on_cancel=on_cancel,
        cancel_timeout=duration(cancel_timeout, "--cancel-timeout"),
        by=actor_of(session.surroundings.environ),
    )

    async def verb(access: Access) -> ExitCode:
        with interrupts() as interrupt:
            found = await access.find(release)
            return await follow(access, found.name, waiting, interrupt)

    return session.run(verb)


@app.command()
@on_cluster
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


@app.command()
@on_cluster
def why(session: Session, subject: Subject, output: Form = Output.TABLE) -> ExitCode:
    """Show the check that decided, or that a release waits for: query, value, limit, requests, window."""
    from rollout.cli import showing

    return session.run(lambda access: showing.explained(access, subject, output))


@app.command()
@on_cluster
def history(
    session: Session,
    service: Service,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
    output: Form = Output.TABLE,
) -> ExitCode:
    """List the releases of a service, newest first, and how each went."""
    from rollout.cli import showing

    return session.run(lambda access: showing.remembered(access, service, limit, output))


@app.command()
@on_cluster
def pause(session: Session, subject: Subject, reason: Why = "") -> ExitCode:
    """Hold a release at its weight; checks go on, and a rollback never waits."""
    return _wish(session, "pause", subject, reason)


@app.command()
@on_cluster
def resume(session: Session, subject: Subject, reason: Why = "") -> ExitCode:
    """End a pause; take the route back after somebody edited it by hand."""
    return _wish(session, "resume", subject, reason)


@app.command()
@on_cluster
def promote(session: Session, subject: Subject, reason: Why = "") -> ExitCode:
    """Skip what is left of the current hold; every check must pass all the same."""
    return _wish(session, "promote", subject, reason)


@app.command()
@on_cluster
def abort(session: Session, subject: Subject, reason: Why = "") -> ExitCode:
    """Put all traffic back to stable, now."""
    return _wish(session, "abort", subject, reason)


def _wish(session: Session, word: str, subject: str, reason: str) -> ExitCode:
    from rollout.cli import wishing

    return session.run(lambda access: wishing.wish(access, word, subject, reason))


@app.command()
@on_cluster
def replay(
    session: Session,
    service: Service,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="RFC 3339, or how long ago.")] = "24h",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="RFC 3339, or how long ago.")] = "0s",
    versions: Annotated[
        str | None,
        typer.Option("--versions", metavar="V1,V2", help="Judge a release of the past again: stable, then canary."),
    ] = None,
    policy: PolicyFile = None,
    stable: Stable = None,
    inject: Annotated[
        list[str] | None,
        typer.Option("--inject", metavar="FAULT", help="errors=2% or latency=+25%; each is tried on its own."),
    ] = None,
    runs: Annotated[
        int | None, typer.Option("--runs", metavar="N", help="How many pseudo-releases, 200 unless named.")
    ] = None,
    prometheus: Prometheus = "",
    prometheus_token_file: TokenFile = None,
    prometheus_matcher: Matchers = None,
    cluster_domain: Domain = "cluster.local",
    seed: Seed = 1,
    output: Form = Output.TABLE,
) -> ExitCode:
    """Run the judge over history: how often this policy errs, how fast it catches faults, what would suit."""
    from rollout.cli import asking, replaying

    if versions is not None:
        for option, value in (("--inject", inject), ("--runs", runs), ("--stable", stable)):
            if value:
                said = "it is for pseudo-releases; --versions names both versions of one release that happened"
                raise typer.BadParameter(said, param_hint=option)
    now = session.surroundings.assembly().now()
    wanted = replaying.Wanted(
        asked=asking.Asked(service, policy, stable, None if versions is None else replaying.both(versions)),
        source=asking.Source(prometheus, prometheus_token_file, cluster_domain, tuple(prometheus_matcher or ())),
        since=asking.instant(since, now, "--from"),
        until=asking.instant(until, now, "--to"),
        faults=tuple(replaying.fault(text) for text in inject or ()),
        runs=replaying.RUNS if runs is None else replaying.so_many(runs),
        seed=seed,
        output=output,
    )
    if wanted.since >= wanted.until:
        raise typer.BadParameter("it lies after --to", param_hint="--from")
    return replaying.replayed(session, wanted)


@app.command()
@on_cluster
def plan(
    session: Session,
    service: Service,
    policy: PolicyFile = None,
    stable: Stable = None,
    prometheus: Prometheus = "",
    prometheus_token_file: TokenFile = None,
    prometheus_matcher: Matchers = None,
    cluster_domain: Domain = "cluster.local",
    seed: Seed = 1,
    output: Form = Output.TABLE,
) -> ExitCode:
    """Say what each step can prove or catch at today's traffic, before a release begins."""
    from rollout.cli import asking, planning

    wanted = planning.Wanted(
        asked=asking.Asked(service, policy, stable),
        source=asking.Source(prometheus, prometheus_token_file, cluster_domain, tuple(prometheus_matcher or ())),
        seed=seed,
        output=output,
    )
    return planning.planned(session, wanted)


@app.command()
@on_cluster
def preflight(
    session: Session,
    service: Service,
    version: Annotated[str, typer.Option("--version", metavar="V", help="The version that is to be released.")],
    policy: PolicyFile = None,
    prometheus: Prometheus = "",
    prometheus_token_file: TokenFile = None,
    prometheus_matcher: Matchers = None,
    cluster_domain: Domain = "cluster.local",
    form: Annotated[Findings, typer.Option("--format", help="How to print.")] = Findings.TEXT,
) -> ExitCode:
    """Say what is around the route that would make a release hurt, or blind; changes nothing."""
    from rollout.cli import asking, preflighting

    source = asking.Source(prometheus, prometheus_token_file, cluster_domain, tuple(prometheus_matcher or ()))
    return preflighting.preflight(session, preflighting.Wanted(asking.Asked(service, policy), version, source, form))


@app.command()
def validate(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policy files, or directories of them.")],
) -> None:
    """Check policies: prints every problem as file:line:col: path: message."""
    from rollout.cli import validating

    session: Session = ctx.obj
    raise typer.Exit(validating.validate(session.surroundings.assembly(), files))


@app.command()
def serve(
    ctx: typer.Context,
    prometheus: Prometheus = "http://prometheus.istio-system:9090",
    policies: Annotated[
        Path, typer.Option("--policies", envvar="ROLLOUT_POLICIES", metavar="DIR", help="Directory of policy files.")
    ] = Path("/etc/rollout/policies"),
    prometheus_token_file: TokenFile = None,
    prometheus_timeout: Annotated[
        float, typer.Option("--prometheus-timeout", metavar="SECONDS", help="For one answer.", min=0.1, max=60)
    ] = 3.0,
    prometheus_matcher: Matchers = None,
    cluster_domain: Domain = "cluster.local",
    lease: LeaseOrNot = True,
    lease_namespace: LeaseNamespace = None,
    lease_duration: LeaseDuration = 15,
    lease_renew_deadline: RenewDeadline = 10.0,
    lease_retry_period: RetryPeriod = 2.0,
    listen: Annotated[
        str,
        typer.Option("--listen", envvar="ROLLOUT_LISTEN", metavar="HOST:PORT", help='Probes and metrics; "" for none.'),
    ] = "127.0.0.1:8080",
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", envvar="ROLLOUT_LOG_FORMAT", help="auto: console on a terminal.")
    ] = LogFormat.AUTO,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", envvar="ROLLOUT_LOG_LEVEL", help="The least important lines to write.")
    ] = LogLevel.INFO,
    namespaces: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", envvar="ROLLOUT_NAMESPACES", help="Watch only this one; may be repeated."),
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Run the controller until SIGTERM."""
    from rollout.cli import serving

    told = {
        "prometheus": prometheus,
        "prometheus_token_file": prometheus_token_file,
        "prometheus_timeout_s": prometheus_timeout,
        "prometheus_matchers": tuple(prometheus_matcher or ()),
        "cluster_domain": cluster_domain,
        "policies": policies,
        "listen": listen,
        "log_format": log_format.value,
        "log_level": log_level.value,
    }
    session: Session = ctx.obj.narrowed(kubeconfig, context, None)
    timing = serving.timing(lease_duration, lease_renew_deadline, lease_retry_period)
    raise typer.Exit(serving.served(session, namespaces or (), timing if lease else None, lease_namespace, told))


@app.command()
def version() -> None:
    """Print the version of this program."""
    from rollout import __version__
    from rollout.cli.terminal import say

    say(f"rollout {__version__}")
