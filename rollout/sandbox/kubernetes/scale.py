"""The scale subresource: a Deployment seen as `autoscaling/v1` Scale, and back."""

from rollout.sandbox.kubernetes.refusals import Cause, Undecodable, bad_request, invalid_kind
from rollout.sandbox.kubernetes.resources import JsonObject

_SHARED: tuple[str, ...] = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def to_scale(obj: JsonObject) -> JsonObject:
    """What GET answers."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: obj["metadata"][key] for key in _SHARED if key in obj["metadata"]},
        # `omitempty`: nothing is said of 0 replicas.
        "spec": {"replicas": count} if (count := spec.get("replicas", 1)) else {},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        },
    }


def with_scale(obj: JsonObject, scale: JsonObject) -> JsonObject:
    """The object with the replicas a client's Scale wants.

    Raises:
        Refused: 400 or 422, no whole number of replicas.
    """
    spec, metadata = scale.get("spec") or {}, scale.get("metadata") or {}
    if not isinstance(spec, dict) or not isinstance(metadata, dict):
        raise bad_request("json: cannot unmarshal into a Scale")
    replicas = spec.get("replicas", 0)
    if not isinstance(replicas, int):
        raise Undecodable(f"json: cannot unmarshal spec.replicas into an int32: {replicas}")
    if replicas < 0:
        cause = Cause("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")
        raise invalid_kind("autoscaling", "Scale", obj["metadata"]["name"], cause)
    version = metadata.get("resourceVersion") or obj["metadata"]["resourceVersion"]
    return {
        **obj,
        "metadata": {**obj["metadata"], "resourceVersion": version},
        "spec": {**(obj.get("spec") or {}), "replicas": replicas},
    }
