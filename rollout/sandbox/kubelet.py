"""Stands in for the scheduler and the kubelet of an API server whose controllers are real: its Pods get on, by writing.

Belongs here: from a Pod to its `status`, its binding to the only Node, its end. Does not belong here: what answers the
requests (`node.py`), Deployments and ReplicaSets (kube-controller-manager writes those).
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rollout.sandbox.cluster_client import ClusterClient, ClusterError, JsonObject, Mirror

NODE: Final = "sandbox"
_HOST: Final = "127.0.0.1"
_OVER: Final = frozenset({"Succeeded", "Failed"})
_HASH: Final = "pod-template-hash"
_CAPACITY: Final = {"cpu": "64", "memory": "256Gi", "pods": "1000"}


class Kubelet:
    """Makes Pods of Deployments that are run Running, and ready or not; a `node.Replicas`.

    A Pod of anything else stays Pending, as on a cluster that is full.
    """

    def __init__(self, cluster: ClusterClient, changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._mirror = Mirror(cluster, "v1", "Pod", changed)
        self._addresses = itertools.count(2)
        self._told: dict[str, tuple[str, bool]] = {}

    async def run(self) -> None:
        """Be there, and follow the Pods until cancelled."""
        await self._register()
        await self._mirror.run()

    def exist(self, key: str) -> bool:
        """Whether a Deployment has a Pod that is neither over nor being deleted."""
        return any(_deployment_of(pod) == key and _lives(pod) for pod in self._mirror.objects.values())

    async def report(self, _deployments: Mapping[str, JsonObject], running: Mapping[str, bool]) -> None:
        """Let deleted Pods go, and write every Pod's status that is not what it should be."""
        pods = list(self._mirror.objects.values())
        self._told = {pod["metadata"]["uid"]: known for pod in pods if (known := self._known(pod)) is not None}
        for pod in pods:
            key = _deployment_of(pod)
            try:
                if "deletionTimestamp" in pod["metadata"]:
                    await self._let_go(pod)
                elif key in running and _lives(pod):
                    await self._keep(pod, ready=running[key])
            except ClusterError as error:
                # Gone, or changed meanwhile: the event that says so is on its way.
                if error.code not in {404, 409}:
                    raise

    def _known(self, pod: JsonObject) -> tuple[str, bool] | None:
        return self._told.get(pod["metadata"]["uid"])

    async def _register(self) -> None:
        node: JsonObject = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}},
        }
        await self._cluster.apply(node)
        ready = ("Ready", True, "KubeletReady", "the sandbox stands in for a kubelet")
        status = {
            "addresses": [{"type": "InternalIP", "address": _HOST}, {"type": "Hostname", "address": NODE}],
            "capacity": _CAPACITY,
            "allocatable": _CAPACITY,
            "conditions": [_condition(*ready, old={}, stamp=_now())],
        }
        await self._cluster.merge({**node, "status": status}, "status")
        # New nodes are tainted (admission plugin TaintNodesByCondition) until a controller has seen them ready.
        await self._cluster.merge({**node, "spec": {"taints": None}})

    async def _let_go(self, pod: JsonObject) -> None:
        """The containers have ended, says a kubelet by deleting at once what is being deleted."""
        metadata = pod["metadata"]
        await self._cluster.delete("v1", "Pod", metadata["name"], metadata["namespace"], grace_seconds=0)

    async def _keep(self, pod: JsonObject, *, ready: bool) -> None:
        metadata = pod["metadata"]
        seen = (metadata["resourceVersion"], ready)
        # Our own write may not have come back yet; written again it would carry another second.
        if self._known(pod) == seen:
            return
        where = {name: metadata[name] for name in ("name", "namespace")}
        if not pod["spec"].get("nodeName"):
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": where, "target": _reference("Node", NODE)}
            path = await self._cluster.collection("v1", "Pod", where["namespace"])
            await self._cluster.create(f"{path}/{where['name']}/binding", binding)
        status = pod_status(pod, ready=ready, address=self._address, stamp=_now())
        if any(pod["status"].get(name) != value for name, value in status.items()):
            patch = {"apiVersion": "v1", "kind": "Pod", "metadata": where, "status": status}
            await self._cluster.merge(patch, "status")
        self._told[metadata["uid"]] = seen

    def _address(self) -> str:
        number = next(self._addresses)
        return f"10.244.{number // 256 % 256}.{number % 256}"


def pod_status(pod: JsonObject, *, ready: bool, address: Callable[[], str], stamp: str) -> JsonObject:
    """The `status` of a Pod all of whose containers run, and pass their readiness probes or do not.

    Rules and wording: kubernetes pkg/kubelet/status/generate.go. `address` gives one to a Pod that has none yet.
    """
    old = pod.get("status") or {}
    had = {condition["type"]: condition for condition in old.get("conditions") or ()}
    started = old.get("startTime") or stamp
    ip = old.get("podIP") or address()
    containers = [container["name"] for container in pod["spec"]["containers"]]
    unready = ("ContainersNotReady", f"containers with unready status: [{' '.join(containers)}]")
    reason, message = ("", "") if ready else unready
    said: Iterable[tuple[str, bool, str, str]] = (
        ("PodReadyToStartContainers", True, "", ""),
        ("Initialized", True, "", ""),
        ("Ready", ready, reason, message),
        ("ContainersReady", ready, reason, message),
        ("PodScheduled", True, "", ""),
    )
    return {
        "phase": "Running",
        "conditions": [_condition(*one, old=had.get(one[0], {}), stamp=stamp) for one in said],
        "hostIP": _HOST,
        "hostIPs": [{"ip": _HOST}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": started,
        "initContainerStatuses": _containers(pod, "initContainers", ready=True, started=started),
        "containerStatuses": _containers(pod, "containers", ready=ready, started=started),
    }


def _containers(pod: JsonObject, kind: str, *, ready: bool, started: str) -> list[JsonObject]:
    """The statuses of containers that run; init containers are taken for sidecars, which do so as well."""
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": f"sandbox://{container['image']}",
            "containerID": f"sandbox://{pod['metadata']['uid']}/{container['name']}",
            "ready": ready,
            "started": True,
            "restartCount": 0,
            "lastState": {},
            "state": {"running": {"startedAt": started}},
        }
        for container in pod["spec"].get(kind) or ()
    ]


def _condition(kind: str, holds: bool, reason: str, message: str, *, old: Mapping[str, Any], stamp: str) -> JsonObject:
    status = "True" if holds else "False"
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    kept = {name: value for name, value in old.items() if name not in {"reason", "message"}}
    words = {name: text for name, text in (("reason", reason), ("message", message)) if text}
    return {**kept, "type": kind, "status": status, "lastTransitionTime": since or stamp, **words}


def _reference(kind: str, name: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": kind, "name": name}


def _lives(pod: JsonObject) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") not in _OVER


def _deployment_of(pod: JsonObject) -> str:
    """`namespace.name`, or "" for a Pod that no Deployment made.

    The name of its ReplicaSet is the Deployment's and the hash of the template (pkg/controller/deployment/sync.go,
    getNewReplicaSet); Istio's injector reads it the same way (pkg/kube/inject, GetDeployMetaFromPod).
    """
    metadata = pod["metadata"]
    digest = (metadata.get("labels") or {}).get(_HASH)
    for owner in metadata.get("ownerReferences") or ():
        if owner["kind"] == "ReplicaSet" and digest and owner["name"].endswith(f"-{digest}"):
            return f"{metadata['namespace']}.{owner['name'].removesuffix(f'-{digest}')}"
    return ""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
