"""The verbs that run a process, `serve` and `api`, and their options.

What becomes of the options is in serving.py. Nothing but typer is imported at the top, so that `--help` answers at
once.
"""

from pathlib import Path
from typing import Annotated

import typer

from rollout.cli.choices import LogFormat, LogLevel
from rollout.cli.options import Context, Domain, Kubeconfig, Matchers, Prometheus, PrometheusTokenFile
from rollout.cli.serving import LeaseDuration, LeaseNamespace, LeaseOrNot, RenewDeadline, RetryPeriod
from rollout.cli.session import Session

Policies = Annotated[
    Path, typer.Option("--policies", envvar="ROLLOUT_POLICIES", metavar="DIR", help="Directory of policy files.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="ROLLOUT_CONFIG", metavar="FILE", help="ControllerConfig: gates, channels, issuers."
    ),
]
PrometheusTimeout = Annotated[
    float, typer.Option("--prometheus-timeout", metavar="SECONDS", help="For one answer.", min=0.1, max=60)
]
Format = Annotated[
    LogFormat, typer.Option("--log-format", envvar="ROLLOUT_LOG_FORMAT", help="auto: console on a terminal.")
]
Level = Annotated[
    LogLevel, typer.Option("--log-level", envvar="ROLLOUT_LOG_LEVEL", help="The least important lines to write.")
]
Namespaces = Annotated[
    list[str] | None,
    typer.Option("--namespace", "-n", envvar="ROLLOUT_NAMESPACES", help="Only this one; may be repeated."),
]


def serve(
    ctx: typer.Context,
    prometheus: Prometheus = "http://prometheus.istio-system:9090",
    policies: Policies = Path("/etc/rollout/policies"),
    config: Config = None,
    prometheus_token_file: PrometheusTokenFile = None,
    prometheus_timeout: PrometheusTimeout = 3.0,
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
    log_format: Format = LogFormat.AUTO,
    log_level: Level = LogLevel.INFO,
    namespaces: Namespaces = None,
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
        **({} if config is None else {"config": config}),
    }
    session: Session = ctx.obj.narrowed(kubeconfig, context, None)
    timing = serving.timing(lease_duration, lease_renew_deadline, lease_retry_period)
    raise typer.Exit(serving.served(session, namespaces or (), timing if lease else None, lease_namespace, told))


def api(
    ctx: typer.Context,
    listen: Annotated[
        str, typer.Option("--listen", envvar="ROLLOUT_API_LISTEN", metavar="HOST:PORT", help="The API itself.")
    ] = "127.0.0.1:8443",
    metrics_listen: Annotated[
        str,
        typer.Option("--metrics-listen", envvar="ROLLOUT_LISTEN", metavar="HOST:PORT", help='Metrics; "" for none.'),
    ] = "127.0.0.1:8080",
    tls_cert_file: Annotated[
        Path | None, typer.Option("--tls-cert-file", metavar="FILE", help="Its certificate; without, plain http.")
    ] = None,
    tls_key_file: Annotated[Path | None, typer.Option("--tls-key-file", metavar="FILE", help="Its key.")] = None,
    config: Config = None,
    policies: Policies = Path("/etc/rollout/policies"),
    prometheus: Prometheus = "http://prometheus.istio-system:9090",
    prometheus_token_file: PrometheusTokenFile = None,
    prometheus_timeout: PrometheusTimeout = 3.0,
    prometheus_matcher: Matchers = None,
    cluster_domain: Domain = "cluster.local",
    log_format: Format = LogFormat.AUTO,
    log_level: Level = LogLevel.INFO,
    namespaces: Namespaces = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Run the HTTP API until SIGTERM. It answers CI and people without a kubeconfig (`--server`)."""
    from rollout.cli import serving

    told = {
        "listen": listen,
        "metrics_listen": metrics_listen,
        "tls_cert_file": tls_cert_file,
        "tls_key_file": tls_key_file,
        "config": config,
        "policies": policies,
        "prometheus": prometheus,
        "prometheus_token_file": prometheus_token_file,
        "prometheus_timeout_s": prometheus_timeout,
        "prometheus_matchers": tuple(prometheus_matcher or ()),
        "cluster_domain": cluster_domain,
        "log_format": log_format.value,
        "log_level": log_level.value,
    }
    session: Session = ctx.obj.narrowed(kubeconfig, context, None)
    raise typer.Exit(serving.api_served(session, namespaces or (), told))
