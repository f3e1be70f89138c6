"""The controller's composition: every port of it, its Lease, and what runs beside it."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import structlog

from rollout import __version__, telemetry
from rollout.adapters.announcers import Announcers
from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster
from rollout.adapters.cluster_events import ClusterEvents
from rollout.adapters.freezes import ClusterFreezes
from rollout.adapters.gatekeeper import Gatekeeper
from rollout.adapters.istio import IstioTraffic
from rollout.adapters.leases import ClusterLease
from rollout.adapters.log import LogAnnouncer
from rollout.adapters.mirror import Mirror
from rollout.adapters.notices.notifier import ChannelNotifier
from rollout.adapters.outbound import Outbound
from rollout.adapters.policies import Policies
from rollout.adapters.policy_files import PolicyFiles
from rollout.adapters.policy_objects import PolicyObjects
from rollout.adapters.preflight.inspector import ClusterPreflight
from rollout.adapters.preflight.mesh_series import PrometheusSeries
from rollout.adapters.prometheus import PrometheusMetrics
from rollout.adapters.releases import ClusterReleases
from rollout.adapters.workloads import ClusterWorkloads, trimmed
from rollout.administration import Settings as Administration
from rollout.api import observability
from rollout.assembly.documents import read_config, reload_policies
from rollout.controller import Controller
from rollout.core.lease import lease_name
from rollout.leadership import Leadership, new_identity
from rollout.ports import Outage, Refused, World
from rollout.reconciler import Reconciler
from rollout.settings import Settings


def serve(settings: Settings) -> int:
    """Run the controller until SIGTERM or SIGINT; 0 in good order, 2 for bad settings, 20 without a cluster."""
    telemetry.configure(settings.log_format, settings.log_level)
    try:
        administration = read_config(settings.config)
    except Refused as error:
        structlog.stdlib.get_logger("rollout").error("settings.invalid", error=str(error))
        return 2
    return asyncio.run(_serve(settings, administration))


async def _serve(settings: Settings, administration: Administration) -> int:
    async with contextlib.AsyncExitStack() as exits:
        return await _served(settings, administration, exits)


async def _served(settings: Settings, administration: Administration, exits: contextlib.AsyncExitStack) -> int:
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
    routes, pods, frozen = Mirror(api), Mirror(api, trimmed), Mirror(api)
    home, road = settings.lease_namespace or api.namespace, Outbound()
    gatekeeper = Gatekeeper(administration, road, api, clock, fence=fence)
    term: list[Callable[[], Awaitable[None]]] = [one.close for one in (routes, pods, frozen, gatekeeper)]

    def make_notifier() -> ChannelNotifier:
        made = ChannelNotifier(administration, road, clock, lines, fence=fence)
        term.append(made.close)
        return made

    async def forget() -> None:
        # A standby watches, asks and tells nothing, and what an earlier term saw is too old for the next one.
        for close in term:
            await close()
        del term[4:]

    exits.push_async_callback(forget)
    releases = ClusterReleases(api)
    world = World(
        releases=releases,
        traffic=IstioTraffic(api, routes),
        workloads=ClusterWorkloads(api, pods),
        metrics=metrics,
        policies=Policies(policies, PolicyObjects(api)),
        preflight=ClusterPreflight(api, series, clock, domain=settings.cluster_domain),
        announcer=Announcers(lines, ClusterEvents(api, lines, clock, instance=socket.gethostname())),
        freezes=ClusterFreezes(api, home, frozen),
        gatekeeper=gatekeeper,
        notifier=make_notifier(),
        clock=clock,
        most_active=administration.limits.active_per_namespace,
    )

    def make_controller() -> Controller:
        # A standby does not look at the policies: what changed meanwhile is read before anything is decided.
        reload_policies(policies)
        reconciler = Reconciler(replace(world, notifier=make_notifier()))
        return Controller(
            releases, reconciler, clock, namespaces=settings.namespaces, reload=lambda: reload_policies(policies)
        )

    reload_policies(policies)
    log.info("controller.started", version=__version__, namespaces=list(settings.namespaces) or "all")
    try:
        await _until(stop, _Duty(make_controller, forget, leadership), settings)
    finally:
        log.info("controller.stopped")
    return 0


async def _leadership(settings: Settings, exits: contextlib.AsyncExitStack) -> Leadership | None:
    """The contender for this shard's Lease, on a connection of its own: no slow list may delay a renewal."""
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
        make: Callable[[], Controller],
        forget: Callable[[], Awaitable[None]],
        leadership: Leadership | None,
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


async def _until(stop: asyncio.Event, duty: _Duty, settings: Settings) -> None:
    """Run the controller and the HTTP server together; the first signal, or the end of either, ends both."""
    tasks = [asyncio.create_task(duty.run()), asyncio.create_task(stop.wait())]
    if settings.listen:
        tasks.append(asyncio.create_task(observability.serve(settings.listen, duty.is_ready)))
    _done, _running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
