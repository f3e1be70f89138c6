"""Stands in for the deployment controller where there is none: a Deployment says how it is, and has no Pods.

Belongs here: the `status` of a Deployment. Does not belong here: what runs for it (`node.py`), Pods (`kubelet.py`, for
an API server with the real controllers).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rollout.sandbox.cluster_client import ClusterClient, ClusterError, JsonObject

_PROGRESS_DEADLINE: Final = 600  # kubernetes pkg/apis/apps/v1/defaults.go, ProgressDeadlineSeconds


class DeploymentStatuses:
    """Writes them; a `node.Replicas`."""

    def __init__(self, cluster: ClusterClient, _changed: Callable[[], None]) -> None:
        self._cluster = cluster

    async def run(self) -> None:
        """Nothing needs to be followed: a Deployment's pods are as many as it wants, at once."""

    def exist(self, _key: str) -> bool:
        """Whether a Deployment has a pod that could answer: always."""
        return True

    async def report(self, deployments: Mapping[str, JsonObject], running: Mapping[str, bool]) -> None:
        """Write every status that is not what it should be."""
        for key, obj in sorted(deployments.items()):
            await self._report(obj, ready=running.get(key, False))

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


def deployment_status(obj: JsonObject, *, ready: bool, now: datetime) -> JsonObject:
    """The `status` of a Deployment whose pods all exist and are ready or not, as a merge patch (null removes).

    Rules and wording: kubernetes pkg/controller/deployment/sync.go (calculateStatus) and progress.go; counts of 0
    are absent, as in the real one. `observedGeneration` is what was looked at.
    """
    wanted: int = (obj.get("spec") or {}).get("replicas", 1)
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
