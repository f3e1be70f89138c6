"""ServicePolicy objects in the service's own namespace, read when a release begins: one kind of `ports.Policies`.

Belongs here: one GET, and what each answer of it means for a release that asks for its policy. Does not belong here:
what a policy may say (`core/policy.py`), which of two policies counts (`policies.py`).

Nothing is watched or remembered: a policy is frozen into its release at the start, so the one moment at which an object
matters is when it is asked for.
"""

from typing import Any, Final

from pydantic import ValidationError

from rollout.adapters.cluster import Cluster, Denied, JsonObject
from rollout.adapters.release_object import is_name
from rollout.core.policy import PolicySpec
from rollout.core.release import API_VERSION
from rollout.core.route import Problem
from rollout.ports import NotFound, Outage

NONE: Final = "no-policy"
INVALID: Final = "policy-invalid"
UNREADABLE: Final = "policy-unreadable"
"""Codes of what `find` answers where it has no policy: there is none, it is wrong, we may not look."""

_PLURAL: Final = "servicepolicies"
_GROUP_VERSION: Final = f"/apis/{API_VERSION}"
_MOST_ERRORS: Final = 5
_LONGEST: Final = 1000


class PolicyObjects:
    """Policies as custom resources, `kubectl get servicepolicies`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def find(self, namespace: str, service: str) -> PolicySpec | Problem:
        """The service's policy object; else why there is none that can be used. Raises Outage."""
        place = place_of(namespace, service)
        if not is_name(namespace) or not is_name(service):
            return Problem(NONE, f"there is no {place}")
        try:
            obj = await self._cluster.get(f"{_GROUP_VERSION}/namespaces/{namespace}/{_PLURAL}/{service}")
        except NotFound:
            return Problem(NONE, f"there is no {place}")
        except Denied as error:
            # A right that is missing and a kind that is not installed are told apart by discovery, which all may read.
            if not await self._is_served():
                return Problem(NONE, f"this cluster has no kind ServicePolicy, so there is no {place}")
            right = f"the controller needs the right to `get` {_PLURAL} of rollout.dev in namespace {namespace}"
            return Problem(UNREADABLE, f"{place} may not be read: {right} ({error})")
        return read_policy(obj, place)

    async def _is_served(self) -> bool:
        found = await self._cluster.get(_GROUP_VERSION)
        resources = found.get("resources")
        if not isinstance(resources, list):
            raise Outage(f"GET {_GROUP_VERSION}: the answer lists no resources")
        return any(isinstance(one, dict) and one.get("name") == _PLURAL for one in resources)


def place_of(namespace: str, service: str) -> str:
    """What people call the object."""
    return f"ServicePolicy {service} in namespace {namespace}"


def read_policy(obj: JsonObject, place: str) -> PolicySpec | Problem:
    """The object's spec; a Problem with every error as `spec.steps.1.weight: …` where it does not fit the model."""
    try:
        return PolicySpec.model_validate(obj.get("spec") or {}, by_alias=True, by_name=False)
    except ValidationError as error:
        return Problem(INVALID, f"{place} cannot be used: {_errors(error)}"[:_LONGEST])


def _errors(error: ValidationError) -> str:
    details = error.errors(include_url=False)
    said = [f"{_path(dict(one))}: {one['msg'].removeprefix('Value error, ')}" for one in details[:_MOST_ERRORS]]
    more = len(details) - len(said)
    return "; ".join(said) + (f"; and {more} more" if more else "")


def _path(detail: dict[str, Any]) -> str:
    """Where it is wrong; of fields that disagree the one to change, which the model names itself."""
    named = str(detail["ctx"]["path"]).split(".") if detail["type"] == "disagree" else []
    return ".".join(("spec", *map(str, detail["loc"]), *named))
