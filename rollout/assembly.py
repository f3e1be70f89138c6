"""The composition root: the only module that names concrete adapters.

Everything is imported late, so that a command pays only for what it uses.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from rollout import __version__, telemetry
from rollout.core.policy import ServicePolicy
from rollout.ports import Clock, Metrics, Policies, Preflight, Releases
from rollout.settings import Settings

if TYPE_CHECKING:
    from rollout.adapters.policy_files import PolicyFiles
    from rollout.controller import Controller
    from rollout.leadership import Leadership


@dataclass(frozen=True, slots=True)
class Connection:
    """What a command line needs of a cluster."""

    releases: Releases
    policies: Policies
    """Those that are objects; the controller may know others, from its files."""
    clock: Clock
    namespace: str
    """The namespace of the kubeconfig's context."""


@contextlib.asynccontextmanager
async def cluster(kubeconfig: Path | None, context: str | None) -> AsyncIterator[Connection]:
    """A connection to the Kubernetes API as kubectl would make it. Raises Outage or Refused if there is no way to."""
    from rollout.adapters.clock import SystemClock
    from rollout.adapters.cluster import Cluster
    from rollout.adapters.policy_objects import PolicyObjects
    from rollout.adapters.releases import ClusterReleases

    api = await Cluster.connect(kubeconfig, context)
    try:
        releases, policies = ClusterReleases(api), PolicyObjects(api)
        yield Connection(releases=releases, policies=policies, clock=SystemClock(), namespace=api.namespace)
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
    """Read policy files for `validate`: (file, policy) pairs, and every problem as `file:line:col: path: message`."""
    from rollout.adapters.policy_yaml import PolicyErrors, read

    found: list[tuple[Path, ServicePolicy]] = []
    problems: list[str] = []
    for path in paths:
        try:
            found.extend((path, policy) for policy in read(path.read_bytes(), str(path)))
        except PolicyErrors as errors:
            problems.extend(str(error) for error in errors.errors)
        except OSError as error:
            problems.append(f"{path}:1:1: {error.strerror or error}")
    return tuple(found), tuple(problems)


def serve(settings: Settings) -> int:
    """Run the controller until SIGTERM or SIGINT; 0 after an orderly end, 20 if the cluster cannot be reached."""
    telemetry.configure(settings.log_format, settings.log_level)
    return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    async with contextlib.AsyncExitStack() as exits:
        return await _served(settings, exits)


async def _served(settings: Settings, exits: contextlib.AsyncExitStack) -> int:
    from rollout.adapters.announcers import Announcers
    from rollout.adapters.clock import SystemClock
    from rollout.adapters.cluster import Cluster
    from rollout.adapters.cluster_events import ClusterEvents
    from rollout.adapters.istio import IstioTraffic
    from rollout.adapters.log import LogAnnouncer
    from rollout.adapters.mirror import Mirror
    from rollout.adapters.policies import Policies
    from rollout.adapters.policy_files import PolicyFiles
    from rollout.adapters.policy_objects import PolicyObjects
    from rollout.adapters.preflight.inspector import ClusterPreflight
    from rollout.adapters.preflight.mesh_series import PrometheusSeries
    from rollout.adapters.prometheus import PrometheusMetrics
    from rollout.adapters.releases import ClusterReleases
    from rollout.adapters.workloads import ClusterWorkloads, trimmed
    from rollout.controller import Controller
    from rollout.ports import Outage, Refused, World
    from rollout.reconciler import Reconciler

    log = structlog.stdlib.get_logger("rollout")
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        leadership = await _leadership(settings, exits)
        fence = leadership.fence if leadership is not None else None
        api = await Cluster.connect(settings.kubeconfig, settings.context, fence=fence)
        exits.push_async_callback(api.close)
    except (Outage, Refused) as error:
        log.error("cluster.unavailable", error=str(error))  # noqa: TRY400 - the sentence says it all
        return 20
    metrics = PrometheusMetrics(
        settings.prometheus,
        timeout=timedelta(seconds=settings.prometheus_timeout_s),
        bearer_file=settings.prometheus_token_file,
        cluster_domain=settings.cluster_domain,
        matchers=settings.prometheus_matchers,
    )
    exits.push_async_callback(metrics.close)
    series = PrometheusSeries(
        settings.prometheus,
        timeout=timedelta(seconds=settings.prometheus_timeout_s),
        bearer_file=settings.prometheus_token_file,
        matchers=settings.prometheus_matchers,
    )
    exits.push_async_callback(series.close)
    policies, clock, lines = PolicyFiles(settings.policies), SystemClock(), LogAnnouncer()
    routes, pods = Mirror(api), Mirror(api, trimmed)
    for mirror in (routes, pods):
        exits.push_async_callback(mirror.close)
    releases = ClusterReleases(api)
    world = World(
        releases=releases,
        traffic=IstioTraffic(api, routes),
        workloads=ClusterWorkloads(api, pods),
        metrics=metrics,
        policies=Policies(policies, PolicyObjects(api)),
        preflight=ClusterPreflight(api, series, clock, domain=settings.cluster_domain),
        announcer=Announcers(lines, ClusterEvents(api, lines, clock, instance=socket.gethostname())),
        clock=clock,
    )

    def make_controller() -> Controller:
        # A standby does not look at the policies: what changed meanwhile is read before anything is decided.
        _reload(policies)
        reconciler = Reconciler(world)
        return Controller(releases, reconciler, clock, namespaces=settings.namespaces, reload=lambda: _reload(policies))

    async def forget() -> None:
        # A standby watches nothing, and what an earlier term saw is too old for the next one.
        for mirror in (routes, pods):
            await mirror.close()

    _reload(policies)
    log.info("controller.started", version=__version__, namespaces=list(settings.namespaces) or "all")
    try:
        await _until(stop, _Duty(make_controller, forget, leadership), settings)
    finally:
        log.info("controller.stopped")
    return 0


async def _leadership(settings: Settings, exits: contextlib.AsyncExitStack) -> "Leadership | None":
    """The contender for this shard's Lease, on a connection of its own: no slow list may delay a renewal."""
    from rollout.adapters.clock import SystemClock
    from rollout.adapters.cluster import Cluster
    from rollout.adapters.leases import ClusterLease
    from rollout.core.lease import lease_name
    from rollout.leadership import Leadership, new_identity

    if settings.lease is None:
        return None
    api = await Cluster.connect(settings.kubeconfig, settings.context, seconds=settings.lease.request)
    exits.push_async_callback(api.close)
    namespace, name = settings.lease_namespace or api.namespace, lease_name(settings.namespaces)
    lease = ClusterLease(api, namespace, name, SystemClock())
    return Leadership(lease, f"{namespace}/{name}", settings.lease, new_identity())


class _Duty:
    """What a controller does, only while it leads: a new one for every term, so that none remembers another."""

    def __init__(
        self,
        make: "Callable[[], Controller]",
        forget: Callable[[], Awaitable[None]],
        leadership: "Leadership | None",
    ) -> None:
        self._make = make
        self._forget = forget
        self._leadership = leadership
        self._now: Controller | None = None

    def is_ready(self) -> bool:
        """Whether the Kubernetes API answers; a standby is as ready as a leader."""
        return all(one.is_ready() for one in (self._leadership, self._now) if one is not None)

    async def run(self) -> None:
        """Lead whenever it is our turn, until cancelled."""
        if self._leadership is None:
            telemetry.LEADER.set(1)
            await self._term()
        else:
            await self._leadership.run(self._term)

    async def _term(self) -> None:
        self._now = self._make()
        try:
            await self._now.run()
        finally:
            self._now = None
            # Another controller exports the weights from now on.
            telemetry.WEIGHT.clear()
            await self._forget()


def _reload(policies: "PolicyFiles") -> None:
    """Read changed policy files and say what came of it; a bad file keeps its last good version."""
    log = structlog.stdlib.get_logger("rollout")
    changes = policies.load()
    for loaded in changes.loaded:
        log.info("policy.loaded", file=loaded.file, services=[f"{s[0]}/{s[1]}" for s in loaded.services])
    for invalid in changes.invalid:
        log.error("policy.invalid", file=invalid.file, error=invalid.error)
    for removed in changes.removed:
        log.warning("policy.removed", file=removed)
    telemetry.POLICIES_LOADED.set(policies.count)
    telemetry.POLICIES_INVALID.set(policies.invalid_count)


async def _until(stop: asyncio.Event, duty: _Duty, settings: Settings) -> None:
    """Run the controller and the HTTP server together; the first signal, or the end of either, ends both."""
    from rollout.api import observability

    tasks = [asyncio.create_task(duty.run()), asyncio.create_task(stop.wait())]
    if settings.listen:
        tasks.append(asyncio.create_task(observability.serve(settings.listen, duty.is_ready)))
    _done, _running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
