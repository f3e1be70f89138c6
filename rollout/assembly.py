"""The composition root: the only module that names concrete adapters.

Everything is imported late, so that a command pays only for what it uses.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from rollout import __version__, telemetry
from rollout.core.policy import ServicePolicy
from rollout.ports import Clock, Metrics, Releases
from rollout.settings import Settings

if TYPE_CHECKING:
    from rollout.adapters.policy_files import PolicyFiles
    from rollout.controller import Controller


@dataclass(frozen=True, slots=True)
class Connection:
    """What a command line needs of a cluster."""

    releases: Releases
    clock: Clock
    namespace: str
    """The namespace of the kubeconfig's context."""


@contextlib.asynccontextmanager
async def cluster(kubeconfig: Path | None, context: str | None) -> AsyncIterator[Connection]:
    """A connection to the Kubernetes API as kubectl would make it. Raises Outage or Refused if there is no way to."""
    from rollout.adapters.clock import SystemClock
    from rollout.adapters.cluster import Cluster
    from rollout.adapters.releases import ClusterReleases

    api = await Cluster.connect(kubeconfig, context)
    try:
        yield Connection(releases=ClusterReleases(api), clock=SystemClock(), namespace=api.namespace)
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
    from rollout.adapters.clock import SystemClock
    from rollout.adapters.cluster import Cluster
    from rollout.adapters.istio import IstioTraffic
    from rollout.adapters.log import LogAnnouncer
    from rollout.adapters.policy_files import PolicyFiles
    from rollout.adapters.prometheus import PrometheusMetrics
    from rollout.adapters.releases import ClusterReleases
    from rollout.adapters.workloads import ClusterWorkloads
    from rollout.controller import Controller
    from rollout.ports import Outage, Refused
    from rollout.reconciler import Reconciler, World

    log = structlog.stdlib.get_logger("rollout")
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        api = await Cluster.connect(settings.kubeconfig, settings.context)
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
    policies, clock = PolicyFiles(settings.policies), SystemClock()
    releases = ClusterReleases(api)
    world = World(
        releases=releases,
        traffic=IstioTraffic(api),
        workloads=ClusterWorkloads(api),
        metrics=metrics,
        policies=policies,
        announcer=LogAnnouncer(),
        clock=clock,
    )
    controller = Controller(
        releases,
        Reconciler(world),
        clock,
        namespaces=settings.namespaces,
        reload=lambda: _reload(policies),
    )
    _reload(policies)
    log.info("controller.started", version=__version__, namespaces=list(settings.namespaces) or "all")
    try:
        await _until(stop, controller, settings)
    finally:
        log.info("controller.stopped")
        await metrics.close()
        await api.close()
    return 0


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


async def _until(stop: asyncio.Event, controller: "Controller", settings: Settings) -> None:
    """Run the controller and the HTTP server together; the first signal, or the end of either, ends both."""
    from rollout.api import observability

    tasks = [asyncio.create_task(controller.run()), asyncio.create_task(stop.wait())]
    if settings.listen:
        tasks.append(asyncio.create_task(observability.serve(settings.listen, controller.is_ready)))
    _done, _running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
