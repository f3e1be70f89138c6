"""Runs what the Deployments ask for: Deployments become ports, and ports endpoints.

Belongs here: from a Deployment to endpoints. A Deployment whose pods carry the labels `app` and `version` is run, all
replicas of it behind one port of the demo service, which is an endpoint while one of them is ready. Does not belong
here: what the API is told about it (`deployment_statuses.py`, `kubelet.py`), routing.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import httpx2

from rollout.sandbox.cluster_client import ClusterClient, ClusterError, JsonObject, Mirror
from rollout.sandbox.clusters import Endpoint
from rollout.sandbox.http1 import bound_socket
from rollout.sandbox.knobs import KnobError, Knobs, from_annotations
from rollout.sandbox.processes import Child, ChildFailedError, python_module

_READY_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.2
_DRAIN_SECONDS: Final = 1.0
"""How long a version is served after its last endpoint went: Envoy must have let go of its connections."""
_DEADLINE_CHECK_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class Replicas(Protocol):
    """What the API says of the pods of Deployments, and is told of them. Deployments are named `namespace.name`."""

    async def run(self) -> None:
        """Follow what has to be followed, until cancelled."""

    def exist(self, key: str) -> bool:
        """Whether a Deployment has a pod that could answer."""

    async def report(self, deployments: Mapping[str, JsonObject], running: Mapping[str, bool]) -> None:
        """Make the API say how the pods are.

        Args:
            deployments: all there are.
            running: those that are run, and whether their pods are ready.

        Raises:
            ClusterError, httpx2.TransportError: the API could not be told; `report` is called again soon.
        """


class Node:
    """Runs what the Deployments ask for.

    Args:
        cluster: where the Deployments are.
        run_dir: for the demo service's log.
        changed: called whenever `endpoints` has changed.
        replicas: makes what speaks of the pods; given the cluster, and what to call when a pod has changed.

    Attributes:
        endpoints: of all ready workloads, ordered by name.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        run_dir: Path,
        changed: Callable[[], None],
        replicas: Callable[[ClusterClient, Callable[[], None]], Replicas],
    ) -> None:
        self.endpoints: tuple[Endpoint, ...] = ()
        self._dir = run_dir
        self._changed = changed
        self._wake = asyncio.Event()
        self._mirror = Mirror(cluster, "apps/v1", "Deployment", self._wake.set)
        self._replicas = replicas(cluster, self._wake.set)
        self._knobs: dict[str, Knobs] = {}
        self._ports: dict[str, int] = {}
        self._leaving: dict[str, float] = {}
        self._child: Child | None = None
        self._control: httpx2.AsyncClient | None = None

    @property
    def child(self) -> Child:
        """The process of the demo service."""
        assert self._child is not None, "the demo service does not run"
        return self._child

    async def start(self) -> None:
        """Start the demo service.

        Raises:
            ChildFailedError: it did not start.
        """
        with bound_socket() as control:
            control.listen(socket.SOMAXCONN)
            argv = [*python_module("rollout.sandbox.service"), "--control-fd", str(control.fileno())]
            self._child = Child.spawn("service", argv, log=self._dir / "service.log", pass_fds=[control.fileno()])
            url = f"http://127.0.0.1:{control.getsockname()[1]}"
        self._control = httpx2.AsyncClient(base_url=url, timeout=_READY_SECONDS, trust_env=False)
        await self._child.ready(self._is_ready, _READY_SECONDS)

    async def _is_ready(self) -> bool:
        assert self._control is not None
        try:
            return bool((await self._control.get("/versions")).is_success)
        except httpx2.TransportError:
            return False

    async def stop(self) -> None:
        """End the demo service; nothing if it does not run."""
        control, self._control = self._control, None
        if control is not None:
            await control.aclose()
        if self._child is not None:
            await self._child.stop()

    async def run(self) -> None:
        """Follow the Deployments until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._mirror.run())
            tasks.create_task(self._replicas.run())
            await self._mirror.filled.wait()
            while True:
                self._wake.clear()
                wait: float | None = _RETRY_SECONDS
                try:
                    wait = await self._reconcile()
                except (httpx2.TransportError, ClusterError, NodeError) as error:
                    if self.child.returncode is not None:
                        raise ChildFailedError(f"the demo service has ended:\n{self.child.tail()}") from error
                    # A conflict or an outage: the next look at the world settles it.
                    _log.debug("node: %s", error)
                try:
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _reconcile(self) -> float | None:
        """One look at everything.

        Returns:
            Seconds until something is due that no event announces.
        """
        now = asyncio.get_running_loop().time()
        deployments = {f"{ns}.{name}": obj for (ns, name), obj in self._mirror.objects.items()}
        wanted = {key: obj for key, obj in deployments.items() if _runs(obj)}
        for key, obj in wanted.items():
            await self._serve(key, obj)
        ready = [key for key in sorted(wanted) if self._knobs[key].ready and self._replicas.exist(key)]
        endpoints = tuple(self._endpoint(key, wanted[key]) for key in ready)
        if endpoints != self.endpoints:
            self.endpoints = endpoints
            self._changed()
        for key in self._ports.keys() - wanted.keys():
            self._leaving.setdefault(key, now + _DRAIN_SECONDS)
        for key in [key for key, at in self._leaving.items() if at <= now]:
            await self._drop(key)
        # After the endpoints: who reads that pods are ready may send requests at once.
        await self._replicas.report(deployments, {key: self._knobs[key].ready for key in wanted})
        dues = [at - now for at in self._leaving.values()]
        if len(ready) < len(wanted):
            dues.append(_DEADLINE_CHECK_SECONDS)
        return min(dues, default=None)

    async def _serve(self, key: str, obj: JsonObject) -> None:
        self._leaving.pop(key, None)
        try:
            knobs = from_annotations(obj["metadata"].get("annotations") or {})
        except KnobError as error:
            _log.warning("deployment %s: %s", key, error)
            knobs = self._knobs.get(key, Knobs())
        if knobs == self._knobs.get(key) and key in self._ports:
            return
        wish = {"errors": knobs.errors, "slow": knobs.slow, "latency": knobs.latency}
        wish_json = {"version": _labels(obj)["version"], **wish}
        self._ports[key] = (await self._tell("PUT", key, wish_json))["port"]
        self._knobs[key] = knobs

    async def _drop(self, key: str) -> None:
        await self._tell("DELETE", key)
        for known in (self._ports, self._knobs, self._leaving):
            known.pop(key, None)

    async def _tell(self, method: str, key: str, body: JsonObject | None = None) -> JsonObject:
        assert self._control is not None
        content = json.dumps(body or {}).encode()
        answer = await self._control.request(method, f"/versions/{key}", content=content)
        if not answer.is_success:
            raise NodeError(f"the demo service refused {method} {key}: {answer.text}")
        result: JsonObject = answer.json()
        return result

    def _endpoint(self, key: str, obj: JsonObject) -> Endpoint:
        metadata = obj["metadata"]
        return Endpoint(metadata["namespace"], metadata["name"], self._ports[key], _labels(obj))


class NodeError(RuntimeError):
    """The demo service did not do what it was told."""


def _labels(obj: JsonObject) -> dict[str, str]:
    template = (obj.get("spec") or {}).get("template") or {}
    return (template.get("metadata") or {}).get("labels") or {}


def _runs(obj: JsonObject) -> bool:
    replicas: int = (obj.get("spec") or {}).get("replicas", 1)
    return replicas > 0 and {"app", "version"} <= _labels(obj).keys()
