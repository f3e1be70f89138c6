"""Who may do what: implements `ports.Authorizer`. Whatever is not allowed in so many words is refused.

Belongs here: whose word decides for which kind of caller. Does not belong here: who calls (`authentication.py`), which
right a request needs (`api/`), what a policy's triggers say (`core/triggers.py`).
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from rollout.adapters.cluster import Cluster, Denied, JsonObject
from rollout.adapters.recently import Recently
from rollout.adapters.release_object import is_name
from rollout.core.access import Identity, Right
from rollout.core.policy import PolicySpec
from rollout.core.triggers import TriggerVerb, allowed_verbs
from rollout.ports import Conflict, NotFound, Outage, Policies, Refused

HOLDS: Final = 30.0
"""Seconds for which an answer of the Kubernetes API, yes or no, is not asked for again."""
GROUP: Final = "rollout.dev"
_PATH: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_MOST: Final = 8192

_OF_JOBS: Final[Mapping[Right, TriggerVerb]] = {
    Right.CREATE: "create",
    Right.GET: "get",
    Right.LIST: "get",
    Right.ABORT: "abort",
    Right.PAUSE: "pause",
    Right.RESUME: "resume",
    Right.PROMOTE: "promote",
    Right.APPROVE: "approve",
}
"""What a policy can let a CI job do. Freezes and policies are people's: no job has a right to them."""

_Question = tuple[Right, str, Identity]


class Permissions:
    """People and accounts have what their RBAC says; a CI job has what the service's own policy lets it do.

    The policy is always the one that is in force for the service, never one that came with a request or is frozen in a
    release: so nobody widens `allowedTriggers` by using them.

    Args:
        cluster: a connection with the right to `create` subjectaccessreviews; stays open.
        policies: where the services' policies are.
        now: seconds that only ever rise, for what is remembered.
    """

    def __init__(self, cluster: Cluster, policies: Policies, now: Callable[[], float] = monotonic) -> None:
        self._cluster = cluster
        self._policies = policies
        self._answers: Recently[str, bool] = Recently(_MOST, now)

    async def allows(self, who: Identity, right: Right, namespace: str | None, service: str | None) -> bool:
        """Whether they may, in a namespace (None: in all) and for a service (None: for any).

        Raises Outage if that cannot be known now: never does not knowing allow anything.
        """
        if who.issuer:
            return await self._job_may(who, right, namespace, service)
        if namespace is not None and not is_name(namespace):
            return False
        return await self._answers.ask(_key(who, right, namespace), lambda: self._reviewed(who, right, namespace))

    async def _job_may(self, who: Identity, right: Right, namespace: str | None, service: str | None) -> bool:
        verb = _OF_JOBS.get(right)
        if verb is None or namespace is None or service is None:
            return False
        policy = await self._policies.find(namespace, service)
        if not isinstance(policy, PolicySpec):
            return False
        return verb in allowed_verbs(policy.allowed_triggers, who.issuer, who.claims)

    async def _reviewed(self, who: Identity, right: Right, namespace: str | None) -> tuple[bool, float]:
        problem = ""
        answer: JsonObject = {}
        try:
            answer = await self._cluster.create(_PATH, _review(who, right, namespace))
        except Denied:
            problem = "the API's own account needs the right to `create` subjectaccessreviews of authorization.k8s.io"
        except (Outage, Refused, NotFound, Conflict) as error:
            problem = f"the Kubernetes API gave no answer that helps ({type(error).__name__})"
        status = answer.get("status")
        if not problem and not isinstance(status, dict):
            problem = "the Kubernetes API's answer says nothing"
        if problem or not isinstance(status, dict):
            raise Outage(f"rights cannot be checked now: {problem}")
        return status.get("allowed") is True and status.get("denied") is not True, HOLDS


def _review(who: Identity, right: Right, namespace: str | None) -> JsonObject:
    """The question (kubernetes.io/docs/reference/access-authn-authz/authorization); no namespace asks about all."""
    spec: dict[str, Any] = {
        "user": who.name,
        "groups": list(who.groups),
        "uid": who.uid,
        "extra": {key: list(values) for key, values in who.extra.items()},
        "resourceAttributes": {
            "group": GROUP,
            "resource": right.resource,
            "verb": right.value,
            "namespace": namespace or "",
        },
    }
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}


def _key(who: Identity, right: Right, namespace: str | None) -> str:
    extra = sorted((key, *values) for key, values in who.extra.items())
    return repr((right.value, right.resource, namespace, who.name, who.uid, who.groups, extra))
