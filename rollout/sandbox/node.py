"""Stands in for the deployment controller and the kubelet: Deployments become ports, and say how they are.

Belongs here: from a Deployment to endpoints and `status`. A Deployment whose pods carry the labels `app` and
`version` is run, all replicas of it behind one port of the demo service. Does not belong here: Pods (there are
none), routing.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

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
_PROGRESS_DEADLINE: Final = 600  # kubernetes pkg/apis/apps/v1/defaults.go, ProgressDeadlineSeconds
_log = logging.getLogger(__name__)


class Node:
    """Runs what the Deployments ask for.

    Args:
        cluster: where the Deployments are.
        run_dir: for the demo service's log.
        changed: called whenever `endpoints` has changed.

    Attributes:
        endpoints: of all ready workloads, ordered by name.
    """

    def __init__(self, cluster: ClusterClient, run_dir: Path, changed: Callable[[], None]) -> None:
        self.endpoints: tuple[Endpoint, ...] = ()
        self._cluster = cluster
        self._dir = run_dir
        self._changed = changed
        self._wake = asyncio.Event()
        self._mirror = Mirror(cluster, "apps/v1", "Deployment", self._wake.set)
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
        wanted = {f"{ns}.{name}": obj for (ns, name), obj in self._mirror.objects.items() if _replicas(obj)}
        wanted = {key: obj for key, obj in wanted.items() if {"app", "version"} <= _labels(obj).keys()}
        for key, obj in wanted.items():
            await self._serve(key, obj)
        ready = [key for key in sorted(wanted) if self._knobs[key].ready]
        endpoints = tuple(self._endpoint(key, wanted[key]) for key in ready)
        if endpoints != self.endpoints:
            self.endpoints = endpoints
            self._changed()
        for key in self._ports.keys() - wanted.keys():
            self._leaving.setdefault(key, now + _DRAIN_SECONDS)
        for key in [key for key, at in self._leaving.items() if at <= now]:
            await self._drop(key)
        for (namespace, name), obj in sorted(self._mirror.objects.items()):
            await self._report(obj, ready=f"{namespace}.{name}" in ready)
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

    async def _report(self, obj: JsonObject, *, ready: bool) -> None:
        old = obj.get("status") or {}
        status = deployment_status(obj, ready=ready, now=datetime.now(UTC))
        if {name: value for name, value in status.items() if value is not None} == old:
            return
        metadata = {name: obj["metadata"][name] for name in ("namespace", "name")}
        patch = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "status": status}
        try:
            await self._cluster.merge(patch, "status")
        except ClusterError as error:
            if error.code != 404:
                raise


class NodeError(RuntimeError):
    """The demo service did not do what it was told."""


def _labels(obj: JsonObject) -> dict[str, str]:
    template = (obj.get("spec") or {}).get("template") or {}
    return (template.get("metadata") or {}).get("labels") or {}


def _replicas(obj: JsonObject) -> int:
    replicas: int = (obj.get("spec") or {}).get("replicas", 1)
    return replicas


def deployment_status(obj: JsonObject, *, ready: bool, now: datetime) -> JsonObject:
    """The `status` of a Deployment whose pods all exist and are ready or not, as a merge patch (null removes).

    Rules and wording: kubernetes pkg/controller/deployment/sync.go (calculateStatus) and progress.go; counts of 0
    are absent, as in the real one. `observedGeneration` is what was looked at.
    """
    wanted = _replicas(obj)
    available = wanted if ready else 0
    counts = {
        "replicas": wanted,
        "updatedReplicas": wanted,
        "readyReplicas": available,
        "availableReplicas": available,
        "unavailableReplicas": wanted - available,
    }
    enough = available >= wanted
    old = {condition["type"]: condition for condition in (obj.get("status") or {}).get("conditions") or ()}
    progress = old.get("Progressing")
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    pods = f'ReplicaSet "{obj["metadata"]["name"]}"'
    if enough or (progress is not None and progress["reason"] == "NewReplicaSetAvailable"):
        # What was complete once stays so when pods fail later (progress.go, syncRolloutStatus: isCompleteDeployment).
        progressing = ("True", "NewReplicaSetAvailable", f"{pods} has successfully progressed.")
    elif progress is not None and _overdue(obj, progress, now):
        progressing = ("False", "ProgressDeadlineExceeded", f"{pods} has timed out progressing.")
    else:
        progressing = ("True", "ReplicaSetUpdated", f"{pods} is progressing.")
    availability = (
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        if enough
        else ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    )
    conditions = [
        _condition("Available", availability, old.get("Available"), stamp),
        _condition("Progressing", progressing, progress, stamp),
    ]
    return {
        "observedGeneration": obj["metadata"].get("generation", 1),
        **{name: count or None for name, count in counts.items()},
        "conditions": conditions,
    }


def _overdue(obj: JsonObject, progress: JsonObject, now: datetime) -> bool:
    if progress["reason"] == "ProgressDeadlineExceeded":
        return True
    deadline = (obj.get("spec") or {}).get("progressDeadlineSeconds", _PROGRESS_DEADLINE)
    since = datetime.fromisoformat(progress["lastUpdateTime"])
    return bool((now - since).total_seconds() > deadline)


def _condition(kind: str, said: tuple[str, str, str], old: JsonObject | None, stamp: str) -> dict[str, Any]:
    status, reason, message = said
    if old is not None and (old["status"], old["reason"]) == (status, reason):
        return old
    same = old is not None and old["status"] == status
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": stamp,
        "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else stamp,
    }
