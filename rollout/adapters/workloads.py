"""The Deployments of a service's versions, which are CI's: implements `ports.Workloads`. Read, never written.

Belongs here: what a Deployment's status says about its pods. Does not belong here: what a release makes of it.
"""

from collections.abc import Mapping
from typing import Any

from rollout.adapters.cluster import Cluster
from rollout.adapters.mirror import Mirror
from rollout.adapters.release_object import is_name
from rollout.core.route import Unavailable
from rollout.core.workload import Health
from rollout.ports import NotFound, Outage, Refused

_LONGEST_MESSAGE = 300
# k8s.io/kubectl/pkg/util/deployment, TimedOutReason.
_TIMED_OUT = "ProgressDeadlineExceeded"


class ClusterWorkloads:
    """Deployments through the Kubernetes API.

    Args:
        cluster: where they are; stays open.
        mirror: for what a watch told a moment ago; made with `trimmed`, and stays open.
    """

    def __init__(self, cluster: Cluster, mirror: Mirror | None = None) -> None:
        self._cluster = cluster
        self._mirror = mirror

    async def health(self, namespace: str, deployment: str, *, remembered: bool = False) -> Health | Unavailable:
        """How a version's pods are. Never raises; a Deployment that does not exist has no ready pods."""
        if not is_name(namespace) or not is_name(deployment):
            return _none(f"{deployment} is no name of a Deployment")
        collection = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        try:
            if remembered and self._mirror is not None:
                obj = await self._mirror.get(collection, deployment)
            else:
                obj = await self._cluster.get(f"{collection}/{deployment}")
        except NotFound:
            return _none(f"there is no Deployment {deployment}")
        except (Outage, Refused) as error:
            return Unavailable(str(error))
        try:
            return read_health(obj)
        except (AttributeError, KeyError, TypeError) as error:
            return Unavailable(f"the Deployment {deployment} cannot be read: {error!r}")


def trimmed(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """What `read_health` reads of it; a namespace may have a thousand Deployments, each with kilobytes of template."""
    metadata, spec = deployment.get("metadata") or {}, deployment.get("spec") or {}
    return {
        "metadata": {key: metadata[key] for key in ("name", "generation") if key in metadata},
        "spec": {key: spec[key] for key in ("replicas",) if key in spec},
        "status": deployment.get("status") or {},
    }


def read_health(deployment: Mapping[str, Any]) -> Health:
    """A Deployment as `kubectl rollout status` judges it (k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go).

    Differs in one point: with no pods wanted it is never complete, because no request could be answered.
    Raises AttributeError, KeyError or TypeError for what is no Deployment.
    """
    spec, status = deployment["spec"], deployment.get("status") or {}
    wanted = _count(spec, "replicas", 1)
    replicas, updated = _count(status, "replicas"), _count(status, "updatedReplicas")
    ready, available = _count(status, "readyReplicas"), _count(status, "availableReplicas")
    conditions = {one["type"]: one for one in status.get("conditions") or []}
    if _count(status, "observedGeneration") < _count(deployment["metadata"], "generation"):
        missing = "the latest change is not observed yet"
    elif conditions.get("Progressing", {}).get("reason") == _TIMED_OUT:
        missing = "it exceeded its progress deadline"
    elif wanted == 0:
        missing = "it is scaled to zero"
    elif updated < wanted:
        missing = f"{updated} of {wanted} pods updated"
    elif replicas > updated:
        missing = f"{replicas - updated} old pods pending termination"
    elif available < updated:
        missing = f"{available} of {updated} pods available"
    else:
        return Health(ready, wanted, complete=True, message="")
    said = (f"{ready} of {wanted} pods ready", missing, *_reported(conditions))
    return Health(ready, wanted, complete=False, message=": ".join(said)[:_LONGEST_MESSAGE])


def _reported(conditions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the Deployment itself says is wrong, such as a quota that is used up or a deadline that has passed."""
    wrong = (("ReplicaFailure", "True"), ("Progressing", "False"), ("Available", "False"))
    found = (conditions[kind] for kind, state in wrong if conditions.get(kind, {}).get("status") == state)
    said = (str(one.get("message") or one.get("reason") or "") for one in found)
    return [" ".join(message.split()) for message in said if message]


def _none(message: str) -> Health:
    return Health(ready=0, wanted=0, complete=False, message=message)


def _count(part: Mapping[str, Any], name: str, otherwise: int = 0) -> int:
    value = part.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{name}: {value!r}")
    return value
