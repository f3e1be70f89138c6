"""The world in one piece: starts its parts in order, says where they are, ends them all.

Belongs here: composition, and the few things one wants to do to a whole world. Does not belong here: the controller,
which is started by whoever wants one (`processes.Child` does it), and the story of a demo.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rollout.sandbox import shop
from rollout.sandbox.api_servers import ApiServer, Embedded, Real
from rollout.sandbox.bootstrap import FLUSH_SECONDS
from rollout.sandbox.bridge import Bridge
from rollout.sandbox.cluster_client import ClusterClient, JsonObject
from rollout.sandbox.clusters import fqdn
from rollout.sandbox.envoy import Envoy
from rollout.sandbox.knobs import annotations
from rollout.sandbox.load_client import Counts, LoadGenerator
from rollout.sandbox.node import Node
from rollout.sandbox.processes import Child
from rollout.sandbox.prometheus import Prometheus, find_prometheus

_log = logging.getLogger(__name__)

_LOAD: Final = "load"
_READY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
# The scrape that begins this long after the last answer has seen the last histogram flush too.
_FLUSHED_SECONDS: Final = 2 * FLUSH_SECONDS


def _tell_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a part of the sandbox failed", exc_info=error)


class World:
    """Kubernetes API, Envoy, Prometheus, `checkout` v1 and its users, from `async with` until its end.

    All on free ports of 127.0.0.1. The embedded API lives in this process, everything else in child processes that
    cannot outlive it.

    Args:
        run_dir: logs, configuration and data go there; made if it is not there.
        rate: requests per second.
        scrape: seconds between scrapes.
        load: False starts the load generator paused.
        exact_split: weights are met exactly in every hundred requests, not by chance.
        port: of the Kubernetes API; 0 is a free one.
        kubernetes: a real control plane, not the embedded API.

    Raises:
        KubernetesMissingError: the programs of the control plane are not on this machine.

    Attributes:
        kubeconfig: for people and kubectl.
        controller_kubeconfig: for the controller.
        controller_is: who the controller is to the API, for people; "" where there are no users.
        policies: an empty directory for policy files.
        cluster: the sandbox's own client of the API.
        envoy, prometheus, load, node: the parts.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        rate: int = 300,
        scrape: float = 1.0,
        load: bool = True,
        exact_split: bool = False,
        port: int = 0,
        kubernetes: bool = False,
    ) -> None:
        self._rate = rate
        self._starts_with_load = load
        self._exact_split = exact_split
        self._kubernetes_port = port
        self._dir = run_dir
        self.kubeconfig = run_dir / "kubeconfig"
        self.policies = run_dir / "policies"
        self.controller_kubeconfig = run_dir / "controller.kubeconfig"
        self.controller_is = ""
        self.kubernetes: ApiServer = Real(run_dir / "kubernetes") if kubernetes else Embedded()
        self.envoy = Envoy(run_dir, source=_LOAD, namespace=shop.NAMESPACE)
        self.prometheus = Prometheus(run_dir, scrape=scrape)
        self.load = LoadGenerator(run_dir)
        self._cluster: ClusterClient | None = None
        self._node: Node | None = None
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def kubernetes_url(self) -> str:
        """The Kubernetes API."""
        return self.kubernetes.url

    @property
    def envoy_url(self) -> str:
        """Where requests enter the mesh; the Host header says which service is meant."""
        return self.envoy.url

    @property
    def envoy_admin_url(self) -> str:
        """Envoy's admin interface."""
        return self.envoy.admin_url

    @property
    def prometheus_url(self) -> str:
        """Prometheus's HTTP API."""
        return self.prometheus.url

    @property
    def load_url(self) -> str:
        """The load generator's control interface."""
        return self.load.url

    @property
    def cluster(self) -> ClusterClient:
        """Our own client of the API."""
        assert self._cluster is not None, "the world is not entered"
        return self._cluster

    @property
    def node(self) -> Node:
        """What runs the Deployments."""
        assert self._node is not None, "the world is not entered"
        return self._node

    @property
    def children(self) -> tuple[Child, ...]:
        """The child processes."""
        return (self.envoy.child, self.prometheus.child, self.node.child, self.load.child, *self.kubernetes.children)

    async def __aenter__(self) -> Self:
        """Start everything; on the way out of a failure, end what was started.

        Raises:
            PrometheusMissingError: no prometheus on this machine.
            ClusterError: the Kubernetes API refuses something.
            ChildFailedError: a part did not become ready.
        """
        find_prometheus()
        self._dir.mkdir(parents=True, exist_ok=True)
        self.policies.mkdir(exist_ok=True)
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        await self._stack.aclose()

    async def _start(self) -> None:
        stack = self._stack
        stack.push_async_callback(self.prometheus.stop)
        self.prometheus.launch()
        await self._start_kubernetes()
        for obj in (
            shop.kubernetes_service(),
            shop.destination_rule(),
            shop.virtual_service(),
            shop.deployment(shop.SERVICE, shop.STABLE),
        ):
            await self.apply(obj)
        await self._start_data_plane()
        await self.prometheus.ready()
        if self._starts_with_load:
            await self.load.resume()
        await self._first_sample()

    async def _start_kubernetes(self) -> None:
        stack, kubernetes = self._stack, self.kubernetes
        stack.push_async_callback(kubernetes.stop)
        await kubernetes.start(self._kubernetes_port)
        self._cluster = kubernetes.client()
        stack.push_async_callback(self._cluster.close)
        await kubernetes.learn_kinds()
        await self.apply(shop.namespace())
        await kubernetes.namespace_ready(self._cluster, shop.NAMESPACE)
        kubernetes.write_kubeconfig(self.kubeconfig, shop.NAMESPACE)
        self.controller_is = await kubernetes.write_controller_kubeconfig(self._cluster, self.controller_kubeconfig)

    async def _start_data_plane(self) -> None:
        stack = self._stack
        bridge = Bridge(
            self.cluster,
            lambda: self.node.endpoints,
            namespace=shop.NAMESPACE,
            labels={"app": _LOAD},
            exact_split=self._exact_split,
        )
        self._node = Node(self.cluster, self._dir, bridge.wake, self.kubernetes.replicas)
        stack.push_async_callback(self._node.stop)
        await self._node.start()
        stack.push_async_callback(self._end_tasks)
        self._run(self._node.run())
        self._run(bridge.mirror())
        async with asyncio.timeout(_READY_SECONDS):
            await bridge.filled()
        # Envoy starts with v1 in place: its first requests must not be refused for want of endpoints.
        await self.until(lambda: bool(self.node.endpoints))
        stack.push_async_callback(self.envoy.stop)
        await self.envoy.start(*bridge.now())
        stack.push_async_callback(self._end_tasks)
        self._run(bridge.run(self.envoy))
        self.prometheus.scrape_target(
            self.envoy.admin_url, {"namespace": shop.NAMESPACE, "pod": f"{_LOAD}-0", "app": _LOAD}
        )
        stack.push_async_callback(self.load.stop)
        await self.load.start(self.envoy.port, shop.HOST, self._rate)

    def _run(self, part: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(part)
        task.add_done_callback(_tell_failure)
        self._tasks.append(task)

    async def _end_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [end for end in ends if isinstance(end, Exception)]
        if failures:
            raise ExceptionGroup("parts of the sandbox failed", failures)

    async def _first_sample(self) -> None:
        if self._starts_with_load:
            query = f'istio_requests_total{{destination_service="{shop.HOST}"}}'
            async with asyncio.timeout(_READY_SECONDS):
                while not await self.prometheus.query(query):  # noqa: ASYNC110 - another process scrapes
                    await asyncio.sleep(_POLL_SECONDS)
        else:
            await self.prometheus.scraped_after(0.0)

    async def until(self, condition: Callable[[], bool], seconds: float = _READY_SECONDS) -> None:
        """Wait until a condition holds.

        Raises:
            TimeoutError: it does not, after that time.
        """
        async with asyncio.timeout(seconds):
            while not condition():
                for task in self._tasks:
                    if task.done():
                        await task
                await asyncio.sleep(_POLL_SECONDS)

    async def apply(self, obj: JsonObject) -> JsonObject:
        """Create an object, or merge it into what is there."""
        return await self.cluster.apply(obj)

    async def set_knobs(
        self,
        service: str,
        version: str,
        *,
        errors: str | float | None = None,
        slow: str | float | None = None,
        latency: str | None = None,
        ready: str | bool | None = None,
    ) -> None:
        """Make a running version better or worse; what is None stays as it is.

        Raises:
            KnobError: a value is not understood.
            ClusterError: there is no such version.
        """
        knobs = annotations(errors=errors, slow=slow, latency=latency, ready=ready)
        metadata = {"name": shop.deployment_name(service, version), "namespace": shop.NAMESPACE, "annotations": knobs}
        await self.cluster.merge({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})

    async def traffic_split(self, weights: Mapping[str, int], service: str = shop.SERVICE) -> None:
        """Order a split by version, by hand."""
        await self.apply(shop.virtual_service(service, dict(weights)))

    async def counts(self) -> Counts:
        """What the load generator has counted until now."""
        return await self.load.counts()

    async def settled(self) -> Counts:
        """Pause the load and wait until Prometheus has seen all of it, histograms included.

        Returns:
            The load generator's counts, which then equal Prometheus's.
        """
        counts = await self.load.pause()
        await self.prometheus.scraped_after(time.time() + _FLUSHED_SECONDS)
        return counts

    async def measured(self, service: str = shop.SERVICE) -> dict[tuple[str, int], int]:
        """What Prometheus says: (version, status code) -> requests, like `Counts.answers`.

        Requests that found no cluster, and so no service either, are counted under the version `unknown`.
        """
        host = f'destination_service="{fqdn(service, shop.NAMESPACE)}"'
        samples = await self.prometheus.query(
            f"sum by (destination_version, response_code) (istio_requests_total{{{host}}})"
        )
        return {
            (sample["metric"]["destination_version"], int(sample["metric"]["response_code"])): round(
                float(sample["value"][1])
            )
            for sample in samples
        }
