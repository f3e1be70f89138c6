"""The verbs about policies, before there is a release: `replay`, `plan`, `preflight`, `validate`, and their options.

What they do is in replaying.py, planning.py, preflighting.py and validating.py. Nothing but typer is imported at the
top, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from rollout.cli.choices import Findings, Output
from rollout.cli.exits import ExitCode
from rollout.cli.options import (
    Domain,
    Form,
    Matchers,
    PolicyFile,
    Prometheus,
    PrometheusTokenFile,
    Seed,
    Service,
    Stable,
)
from rollout.cli.session import Session


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
    prometheus_token_file: PrometheusTokenFile = None,
    prometheus_matcher: Matchers = None,
    cluster_domain: Domain = "cluster.local",
    seed: Seed = 1,
    output: Form = Output.TABLE,
) -> ExitCode:
    """Run the judge over history. Says how often this policy errs, how fast it catches faults, what would suit."""
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


def plan(
    session: Session,
    service: Service,
    policy: PolicyFile = None,
    stable: Stable = None,
    prometheus: Prometheus = "",
    prometheus_token_file: PrometheusTokenFile = None,
    prometheus_matcher: Matchers = None,
    cluster_domain: Domain = "cluster.local",
    seed: Seed = 1,
    output: Form = Output.TABLE,
) -> ExitCode:
    """Say what each step can prove or catch at today's traffic."""
    from rollout.cli import asking, planning

    wanted = planning.Wanted(
        asked=asking.Asked(service, policy, stable),
        source=asking.Source(prometheus, prometheus_token_file, cluster_domain, tuple(prometheus_matcher or ())),
        seed=seed,
        output=output,
    )
    return planning.planned(session, wanted)


def preflight(
    session: Session,
    service: Service,
    version: Annotated[str, typer.Option("--version", metavar="V", help="The version that is to be released.")],
    policy: PolicyFile = None,
    prometheus: Prometheus = "",
    prometheus_token_file: PrometheusTokenFile = None,
    prometheus_matcher: Matchers = None,
    cluster_domain: Domain = "cluster.local",
    form: Annotated[Findings, typer.Option("--format", help="How to print.")] = Findings.TEXT,
) -> ExitCode:
    """Say what would make a release hurt, or blind. Looks around its route, and changes nothing."""
    from rollout.cli import asking, preflighting

    asked = asking.Asked(service, policy)
    if session.reach is not None:
        if policy is not None:
            said = "the HTTP API looks with the policy in force; name the cluster with --kubeconfig or --context"
            raise typer.BadParameter(said, param_hint="--policy")
        return preflighting.preflight(session, preflighting.Wanted(asked, version, None, form))
    source = asking.Source(prometheus, prometheus_token_file, cluster_domain, tuple(prometheus_matcher or ()))
    return preflighting.preflight(session, preflighting.Wanted(asked, version, source, form))


def validate(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policy files, or directories of them.")],
) -> None:
    """Check policies and settings. Prints every problem as file:line:col: path: message."""
    from rollout.cli import validating

    session: Session = ctx.obj
    raise typer.Exit(validating.validate(session.surroundings.assembly(), files))
