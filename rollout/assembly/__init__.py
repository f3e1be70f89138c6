"""The composition root: the only room that names concrete adapters.

Everything is imported late, so that a command pays only for what it uses.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from rollout.core.policy import ServicePolicy
from rollout.desk import Desk
from rollout.ports import Clock, Metrics, Policies, Preflight, Releases
from rollout.settings import ApiSettings, Settings

HOME = "rollout"
"""The namespace that deploy/ puts the controller in."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What a command line needs of a cluster."""

    desk: Desk
    releases: Releases
    policies: Policies
    """Those that are objects; the controller may know others, from its files."""
    clock: Clock
    namespace: str
    """The namespace of the kubeconfig's context."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The same of our HTTP API."""

    desk: Desk
    clock: Clock
    namespace: str = "default"
    """As kubectl has it where nothing names another."""


@contextlib.asynccontextmanager
async def remote(
    url: str, token: Callable[[], str | None], ca_file: Path | None, *, env_proxy: bool
) -> AsyncIterator[Remote]:
    """A connection to our HTTP API. Raises Refused if `ca_file` cannot be read; whether it answers shows later."""
    from rollout.adapters.clock import SystemClock
    from rollout.adapters.remote_desk import RemoteDesk

    async with RemoteDesk(url, token, ca_file=ca_file, env_proxy=env_proxy) as desk:
        yield Remote(desk, SystemClock())


@contextlib.asynccontextmanager
async def cluster(kubeconfig: Path | None, context: str | None, home: str = HOME) -> AsyncIterator[Connection]:
    """A connection to the Kubernetes API as kubectl would make it. Raises Outage or Refused if there is no way to.

    `home` is the namespace of the controller, where a freeze of everything is.
    """
    from rollout.adapters.clock import SystemClock
    from rollout.adapters.cluster import Cluster
    from rollout.adapters.freezes import ClusterFreezes
    from rollout.adapters.policy_objects import PolicyObjects
    from rollout.adapters.releases import ClusterReleases
    from rollout.adapters.self_reviews import SelfReviews
    from rollout.commands import LocalDesk

    api = await Cluster.connect(kubeconfig, context)
    try:
        releases, policies, clock = ClusterReleases(api), PolicyObjects(api), SystemClock()
        desk = LocalDesk(releases, ClusterFreezes(api, home), clock, whoami=SelfReviews(api).whoami)
        yield Connection(desk=desk, releases=releases, policies=policies, clock=clock, namespace=api.namespace)
    finally:
        await api.close()


@contextlib.asynccontextmanager
async def metrics(
    url: str,
    token_file: Path | None,
    timeout: timedelta,  # noqa: ASYNC109 - of each answer, not of this function
    domain: str,
    matchers: Sequence[str] = (),
) -> AsyncIterator[Metrics]:
    """Prometheus, as the controller would ask it; `timeout` is for one answer, `matchers` as in `Settings`."""
    from rollout.adapters.prometheus import PrometheusMetrics

    prometheus = PrometheusMetrics(
        url, timeout=timeout, bearer_file=token_file, cluster_domain=domain, matchers=matchers
    )
    try:
        yield prometheus
    finally:
        await prometheus.close()


@contextlib.asynccontextmanager
async def preflight(
    kubeconfig: Path | None,
    context: str | None,
    url: str,
    token_file: Path | None,
    timeout: timedelta,  # noqa: ASYNC109 - of each answer, not of this function
    domain: str,
    matchers: Sequence[str] = (),
) -> AsyncIterator[Preflight]:
    """What looks around a route, with connections of its own. Raises Outage or Refused if there is no way to it."""
    from rollout.adapters.clock import SystemClock
    from rollout.adapters.cluster import Cluster
    from rollout.adapters.preflight.inspector import ClusterPreflight
    from rollout.adapters.preflight.mesh_series import PrometheusSeries

    async with await Cluster.connect(kubeconfig, context) as api:
        series = PrometheusSeries(url, timeout=timeout, bearer_file=token_file, matchers=matchers)
        try:
            yield ClusterPreflight(api, series, SystemClock(), domain=domain)
        finally:
            await series.close()


def now() -> datetime:
    """The time, for commands that need no cluster."""
    from rollout.adapters.clock import SystemClock

    return SystemClock().now()


def read_policies(paths: Sequence[Path]) -> tuple[tuple[tuple[Path, ServicePolicy], ...], tuple[str, ...]]:
    """Read policy files for `validate`: (file, policy) pairs, and every problem as `file:line:col: path: message`.

    A ControllerConfig is read too; it has problems or none, and no policies.
    """
    from rollout.assembly import documents

    return documents.read_policies(paths)


def serve(settings: Settings) -> int:
    """Run the controller until SIGTERM or SIGINT; 0 after an orderly end, 20 if the cluster cannot be reached."""
    from rollout.assembly import controller

    return controller.serve(settings)


def serve_api(settings: ApiSettings) -> int:
    """Run the HTTP API until SIGTERM or SIGINT; 0 after an orderly end, 20 if it cannot begin."""
    from rollout.assembly import http_api

    return http_api.serve_api(settings)
