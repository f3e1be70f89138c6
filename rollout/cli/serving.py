"""From flags to the controller's settings: what typer cannot check by itself.

Belongs here: the flags of the Lease, checks that name the flag, where a setting comes from when no flag names it. Does
not belong here: the controller (`assembly.py`), the other verbs' options (`options.py`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollout.cli.session import Session

if TYPE_CHECKING:
    from rollout.core.lease import Timing

LeaseOrNot = Annotated[
    bool, typer.Option("--lease/--no-lease", help="Act only while holding the Lease; without, only one may run.")
]
LeaseNamespace = Annotated[
    str | None,
    typer.Option(
        "--lease-namespace",
        envvar="ROLLOUT_LEASE_NAMESPACE",
        metavar="NAMESPACE",
        help="Where the Lease is; else $POD_NAMESPACE, else the context's.",
    ),
]
LeaseDuration = Annotated[
    int, typer.Option("--lease-duration", metavar="SECONDS", help="Until another takes over.", min=1, max=3600)
]
RenewDeadline = Annotated[
    float, typer.Option("--lease-renew-deadline", metavar="SECONDS", help="Stop acting after so long unrenewed.")
]
RetryPeriod = Annotated[
    float, typer.Option("--lease-retry-period", metavar="SECONDS", help="From one renewal to the next.")
]


def timing(duration: int, renew_deadline: float, retry: float) -> "Timing":
    """The Lease's times, in seconds. Raises typer.BadParameter unless each is longer than the next."""
    from rollout.core.lease import Timing

    try:
        return Timing(duration=duration, renew_deadline=renew_deadline, retry=retry)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--lease-duration") from error


def served(
    session: Session,
    namespaces: Sequence[str],
    lease: "Timing | None",
    lease_namespace: str | None,
    told: Mapping[str, Any],
) -> int:
    """Run the controller as told; its exit code. Raises typer.BadParameter for a value that is none.

    Args:
        session: the cluster.
        namespaces: to watch; else the session's, else all.
        lease: how the Lease is held, None for none.
        lease_namespace: where it is; else $POD_NAMESPACE, else the context's.
        told: the other fields of `Settings`.
    """
    from rollout.settings import Settings

    _check_addresses(told)
    settings = Settings(
        kubeconfig=session.kubeconfig,
        context=session.context,
        namespaces=tuple(namespaces or ([session.namespace] if session.namespace else [])),
        lease=lease,
        lease_namespace=lease_namespace or session.surroundings.environ.get("POD_NAMESPACE") or None,
        **told,
    )
    return session.surroundings.assembly().serve(settings)


def api_served(session: Session, namespaces: Sequence[str], told: Mapping[str, Any]) -> int:
    """Run the HTTP API as told; its exit code. Raises typer.BadParameter for a value that is none.

    Args:
        session: the cluster.
        namespaces: whose releases may be asked for; else all.
        told: the other fields of `ApiSettings`.
    """
    from rollout.settings import ApiSettings

    _check_addresses(told)
    if (told["tls_cert_file"] is None) != (told["tls_key_file"] is None):
        raise typer.BadParameter("a certificate and its key come together", param_hint="--tls-cert-file")
    settings = ApiSettings(kubeconfig=session.kubeconfig, context=session.context, namespaces=tuple(namespaces), **told)
    return session.surroundings.assembly().serve_api(settings)


def _check_addresses(told: Mapping[str, Any]) -> None:
    from rollout.settings import LISTEN, MATCHER, PROMETHEUS

    for name in ("listen", "metrics_listen"):
        if name in told and not LISTEN.fullmatch(told[name]):
            option = f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"expected HOST:PORT or :PORT, not {told[name]!r}", param_hint=option)
    if not PROMETHEUS.fullmatch(told["prometheus"]):
        said = f"expected http://HOST:PORT, not {told['prometheus']!r}"
        raise typer.BadParameter(said, param_hint="--prometheus")
    for matcher in told["prometheus_matchers"]:
        if not MATCHER.fullmatch(matcher):
            said = f'expected label="value", such as cluster="eu-1", not {matcher!r}'
            raise typer.BadParameter(said, param_hint="--prometheus-matcher")
