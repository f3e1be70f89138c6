"""Stands in for istiod: whatever changes in the cluster is in Envoy's files a few milliseconds later.

Belongs here: when Envoy is told. Does not belong here: what it is told (`routes.py`, `clusters.py`) and how
(`envoy.py`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rollout.sandbox.cluster_client import ClusterClient, JsonObject, Mirror
from rollout.sandbox.clusters import Config, Endpoint, clusters
from rollout.sandbox.envoy import Envoy
from rollout.sandbox.processes import ChildFailedError
from rollout.sandbox.routes import route_configuration, untranslated

_ISTIO: Final = "networking.istio.io/v1"
_log = logging.getLogger(__name__)


class Bridge:
    """Mirrors Services, VirtualServices and DestinationRules, and keeps one Envoy in step with them.

    Args:
        cluster: where the objects are.
        endpoints: asked for the endpoints at every change; call `wake` when they change.
        namespace: of the workload whose sidecar Envoy is.
        labels: of that workload.
        exact_split: see `route_configuration`.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        endpoints: Callable[[], Sequence[Endpoint]],
        *,
        namespace: str,
        labels: Mapping[str, str],
        exact_split: bool = False,
    ) -> None:
        self._endpoints = endpoints
        self._namespace = namespace
        self._labels = labels
        self._exact_split = exact_split
        self._changed = asyncio.Event()
        self._told: set[tuple[str, ...]] = set()
        self._services, self._virtual_services, self._destination_rules = self._mirrors = (
            Mirror(cluster, "v1", "Service", self.wake),
            Mirror(cluster, _ISTIO, "VirtualService", self.wake),
            Mirror(cluster, _ISTIO, "DestinationRule", self.wake),
        )

    def wake(self) -> None:
        """Something has changed; however many things change at once, they are one update."""
        self._changed.set()

    async def mirror(self) -> None:
        """Follow the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for mirror in self._mirrors:
                tasks.create_task(mirror.run())

    async def filled(self) -> None:
        """Wait until everything has been read once."""
        for mirror in self._mirrors:
            await mirror.filled.wait()

    def now(self) -> tuple[list[JsonObject], JsonObject]:
        """Clusters and the route configuration, as they should be now.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: an object has not the shape its kind has.
        """
        config = Config(
            services=list(self._services.objects.values()),
            virtual_services=list(self._virtual_services.objects.values()),
            destination_rules=list(self._destination_rules.objects.values()),
            endpoints=self._endpoints(),
            source_namespace=self._namespace,
            source_labels=self._labels,
        )
        return clusters(config), route_configuration(config, exact_split=self._exact_split)

    async def run(self, envoy: Envoy) -> None:
        """Update `envoy` at every change until cancelled.

        Raises:
            ChildFailedError: Envoy has ended.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._warn()
            try:
                await envoy.update(*self.now())
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                # A cluster with istiod has a webhook that refuses such objects; here the last good routes stay.
                _log.warning("routes stay as they were, because an object makes no sense: %r", error)
            except ChildFailedError:
                if envoy.child.returncode is not None:
                    raise
                _log.exception("envoy did not take an update in time")

    def _warn(self) -> None:
        for (namespace, name), obj in self._virtual_services.objects.items():
            fields = untranslated(obj)
            if fields and (namespace, name, *fields) not in self._told:
                self._told.add((namespace, name, *fields))
                _log.warning("virtualservice %s/%s: no effect here: %s", namespace, name, ", ".join(fields))
