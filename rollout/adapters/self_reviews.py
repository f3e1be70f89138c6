"""Who we are to the Kubernetes API, and what we may do: SelfSubjectReview and SelfSubjectAccessReview.

Over a kubeconfig every wish is a patch of a Release, so RBAC cannot tell an abort from a pause there; the HTTP API can.
"""

import asyncio
from collections.abc import Mapping

from rollout.adapters.cluster import Cluster, Denied
from rollout.core.access import Right
from rollout.desk import Caller

_GROUP = "rollout.dev"
_VERBS: Mapping[Right, str] = {
    Right.CREATE: "create",
    Right.GET: "get",
    Right.LIST: "list",
    Right.FREEZE: "create",
    Right.UNFREEZE: "delete",
    Right.WRITE_POLICY: "update",
}
"""Right -> what the Kubernetes API calls it; all others are wishes."""


class SelfReviews:
    """Asks about ourselves. Every authenticated user may."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def whoami(self, namespace: str) -> Caller:
        """Our name and groups, and what we may do in the namespace, None where the server keeps no rights.

        Raises Outage; Denied for who is nobody.
        """
        try:
            await self._cluster.served_version("authorization.k8s.io", ["v1"])
        except Denied:
            return Caller("")
        name, groups = await self._name()
        answers = await asyncio.gather(*(self._may(right, namespace) for right in Right))
        return Caller(name, groups, {right.value: may for right, may in zip(Right, answers, strict=True)})

    async def _name(self) -> tuple[str, tuple[str, ...]]:
        """Servers before Kubernetes 1.28 know no SelfSubjectReview: nobody in particular."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = await self._cluster.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        except Denied:
            return "", ()
        user = answer.get("status", {}).get("userInfo", {})
        return str(user.get("username", "")), tuple(str(group) for group in user.get("groups", ()))

    async def _may(self, right: Right, namespace: str) -> bool:
        attributes = {
            "namespace": namespace,
            "verb": _VERBS.get(right, "patch"),
            "group": _GROUP,
            "resource": right.resource,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self._cluster.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool(answer.get("status", {}).get("allowed", False))
