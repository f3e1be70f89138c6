"""The HTTP API's composition: what its answers stand on, and what runs beside it."""

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable, Coroutine
from datetime import timedelta

import structlog

from rollout import __version__, telemetry
from rollout.adapters.authentication import Authentication
from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster
from rollout.adapters.freezes import ClusterFreezes
from rollout.adapters.mirror import Mirror
from rollout.adapters.oidc import OidcIssuer
from rollout.adapters.outbound import Outbound
from rollout.adapters.permissions import Permissions
from rollout.adapters.policies import Policies
from rollout.adapters.policy_files import PolicyFiles
from rollout.adapters.policy_objects import PolicyObjects
from rollout.adapters.policy_yaml import PolicyErrors, read
from rollout.adapters.preflight.inspector import ClusterPreflight
from rollout.adapters.preflight.mesh_series import PrometheusSeries
from rollout.adapters.releases import ClusterReleases
from rollout.adapters.token_reviews import TokenReviews
from rollout.adapters.token_uses import TokenUses
from rollout.api import connections, observability
from rollout.api.application import application
from rollout.api.backing import Backing, Checked, Misfit
from rollout.assembly.documents import read_config, reload_policies
from rollout.commands import LocalDesk
from rollout.ports import Outage, Refused, Releases
from rollout.settings import ApiSettings

_RELOAD_SECONDS = 10.0


def serve_api(settings: ApiSettings) -> int:
    """Run the HTTP API until SIGTERM or SIGINT; 0 after an orderly end, 20 if it cannot begin."""
    telemetry.configure(settings.log_format, settings.log_level)
    return asyncio.run(_serve_api(settings))


async def _serve_api(settings: ApiSettings) -> int:
    log = structlog.stdlib.get_logger("rollout.api")
    loop, closing = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, closing.set)
    async with contextlib.AsyncExitStack() as exits:
        try:
            api = await exits.enter_async_context(await Cluster.connect(settings.kubeconfig, settings.context))
            backing, beside = _backing(settings, api, exits, closing)
            tls = None
            if settings.tls_cert_file is not None and settings.tls_key_file is not None:
                tls = connections.Tls(settings.tls_cert_file, settings.tls_key_file)
                tls.context()
            listener = connections.listening(settings.listen)
        except (Outage, Refused, OSError) as error:
            log.error("api.unavailable", error=str(error))  # noqa: TRY400 - the sentence says it all
            return 20
        tasks = [asyncio.create_task(one()) for one in beside]
        if settings.metrics_listen:
            tasks.append(asyncio.create_task(observability.serve(settings.metrics_listen, backing.is_ready)))
        serving = asyncio.create_task(connections.serve(listener, application(backing), closing, tls))
        log.info("api.started", version=__version__, listen=settings.listen, tls=tls is not None)
        await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
        closing.set()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(serving, *tasks, return_exceptions=True)
        log.info("api.stopped")
        for result in results:
            if isinstance(result, Exception):
                raise result
    return 0


def _backing(
    settings: ApiSettings, api: Cluster, exits: contextlib.AsyncExitStack, closing: asyncio.Event
) -> tuple[Backing, list[Callable[[], Coroutine[None, None, None]]]]:
    """What the API stands on, and what must run beside it. Raises Refused for a configuration that cannot be used."""
    limits, clock, road = read_config(settings.config).api, SystemClock(), Outbound()
    series = PrometheusSeries(
        settings.prometheus,
        timeout=timedelta(seconds=settings.prometheus_timeout_s),
        bearer_file=settings.prometheus_token_file,
        matchers=settings.prometheus_matchers,
    )
    exits.push_async_callback(series.close)
    releases, home, files = ClusterReleases(api), settings.home or api.namespace, PolicyFiles(settings.policies)
    policies, frozen = Policies(files, PolicyObjects(api)), Mirror(api)
    exits.push_async_callback(frozen.close)
    scopes = settings.namespaces or (None,)
    issuers = [OidcIssuer(issuer, road, clock) for issuer in limits.issuers]
    backing = Backing(
        desk=LocalDesk(releases, ClusterFreezes(api, home, frozen), clock, namespaces=settings.namespaces),
        authenticator=Authentication(TokenReviews(api, limits.audience, clock), issuers),
        authorizer=Permissions(api, policies),
        token_uses=TokenUses(api, home, clock),
        policies=policies,
        clock=clock,
        check=_check_policies,
        preflight=ClusterPreflight(api, series, clock, domain=settings.cluster_domain),
        limits=limits,
        namespaces=settings.namespaces,
        # Whether a watch is alive is the same for every service.
        is_ready=lambda: all(releases.unfinished(scope or home, home) is not None for scope in scopes),
        unchanged=releases.unchanged,
        closing=closing,
    )
    reload_policies(files)
    watching = (functools.partial(_keep_watching, releases, scope) for scope in scopes)
    return backing, [functools.partial(_keep_reloading, files), *watching]


def _check_policies(text: bytes) -> Checked:
    try:
        return read(text, ""), ()
    except PolicyErrors as errors:
        return (), tuple(Misfit(one.line, one.column, one.path, one.message) for one in errors.errors)


async def _keep_reloading(policies: PolicyFiles) -> None:
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        await asyncio.to_thread(reload_policies, policies)


async def _keep_watching(releases: Releases, namespace: str | None) -> None:
    """Have the releases know what is there, so that few questions need an answer from the server."""
    while True:
        with contextlib.suppress(Outage, Refused):
            async with contextlib.aclosing(releases.watch(namespace)) as watched:
                async for _ in watched:
                    pass
        await asyncio.sleep(1)
