"""Objects around `checkout` in `shop`, whose v2 is to be released beside v1: all well, unless a test says otherwise.

Belongs here: objects as data, and the scene they are looked at in. Does not belong here: assertions.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rollout.adapters.preflight.mesh_series import MeshSeries
from rollout.adapters.preflight.scene import Scene
from rollout.core.policy import ISTIO_BUCKETS_MS, PolicySpec
from rollout.core.preflight import Finding
from rollout.core.route import Leg, Target

JsonObject = dict[str, Any]
HOST = "checkout.shop.svc.cluster.local"


def target(**changes: Any) -> Target:
    usual: JsonObject = {
        "namespace": "shop",
        "service": "checkout",
        "legs": (Leg("shop", "checkout"),),
        "destination_rule": "checkout",
        "version_label": "version",
        "canary": "v2",
        "stable": "v1",
        "release": "checkout-v2",
    }
    return Target(**usual | changes)


def scene(policy: Mapping[str, Any] | None = None, clients: Iterable[str] = (), **of_target: Any) -> Scene:
    return Scene(target(**of_target), PolicySpec.model_validate(policy or {}), clients=frozenset(clients))


def said(findings: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """(severity, code, object) of each, in order."""
    return [(one.severity, one.code, one.object) for one in findings]


def codes(findings: Iterable[Finding]) -> set[tuple[str, str]]:
    return {(one.severity, one.code) for one in findings}


def istio(kind: str, name: str, spec: JsonObject, namespace: str = "shop", **metadata: Any) -> JsonObject:
    group = "telemetry.istio.io" if kind == "Telemetry" else "networking.istio.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": spec,
    }


def destination_rule(
    *subsets: str, name: str = "checkout", namespace: str = "shop", host: str = HOST, spec: Any = None, **metadata: Any
) -> JsonObject:
    """Subsets are named as their versions."""
    entries = [{"name": one, "labels": {"version": one}} for one in subsets]
    return istio("DestinationRule", name, {"host": host, "subsets": entries, **(spec or {})}, namespace, **metadata)


def to(version: str | None, host: str = HOST, weight: int | None = None) -> JsonObject:
    destination = {"host": host} | ({} if version is None else {"subset": version})
    return {"destination": destination} | ({} if weight is None else {"weight": weight})


def virtual_service(
    *routes: JsonObject, name: str = "checkout", namespace: str = "shop", hosts: Any = (HOST,), **more: Any
) -> JsonObject:
    """`more`: created, labels, annotations, managedFields are metadata, all else is spec."""
    metadata: JsonObject = {key: more.pop(key) for key in ("labels", "annotations", "managedFields") if key in more}
    if "created" in more:
        metadata["creationTimestamp"] = more.pop("created")
    spec = {"hosts": [*hosts], "http": [*routes] or [{"route": [to("v1")]}]}
    if not hosts:
        del spec["hosts"]
    return istio("VirtualService", name, spec | more, namespace, **metadata)


def service(*ports: JsonObject, **spec: Any) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"selector": {"app": "checkout"}, "ports": [*ports] or [{"name": "http", "port": 80}], **spec},
    }


def deployment(version: str, labels: Mapping[str, str] | None = None, ready: int = 2, wanted: int = 2) -> JsonObject:
    carried = {"app": "checkout", "version": version} if labels is None else dict(labels)
    counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready, "availableReplicas": ready}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"checkout-{version}", "namespace": "shop", "generation": 1},
        "spec": {
            "replicas": wanted,
            "selector": {"matchLabels": carried or {"app": "checkout"}},
            "template": {
                "metadata": {"labels": carried},
                "spec": {
                    "containers": [{"name": "checkout", "image": "registry.example/checkout:1"}],
                    "initContainers": [
                        {"name": "istio-proxy", "image": "registry.example/p:1", "restartPolicy": "Always"}
                    ],
                },
            },
        },
        "status": {"observedGeneration": 1, **counts},
    }


def pod(
    version: str = "v2", name: str = "checkout-v2-a", containers: Iterable[str] = ("istio-proxy",), **more: Any
) -> JsonObject:
    """`owner` is the ReplicaSet, that of checkout-v2 unless told; `phase`, `deleted` as they say."""
    names = ["checkout", *containers]
    labels = {"app": "checkout", "version": version, "pod-template-hash": "5d8f"} | more.get("labels", {})
    metadata = {"ownerReferences": [{"kind": "ReplicaSet", "name": more.get("owner", "checkout-v2-5d8f")}]}
    if "deleted" in more:
        metadata["deletionTimestamp"] = more["deleted"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": labels,
            "annotations": more.get("annotations", {}),
            **metadata,
        },
        "spec": {
            "containers": [{"name": one, "image": f"registry.example/{one}:1"} for one in names],
            "initContainers": [{"name": one, "image": "x"} for one in more.get("init", ())],
        },
        "status": {"phase": more.get("phase", "Running")},
    }


def tags(**changes: str | None) -> dict[str, str]:
    """One combination of labels of a series; None takes a label away."""
    usual: dict[str, str | None] = {
        "reporter": "source",
        "destination_workload": "checkout-v1",
        "destination_canonical_revision": "v1",
        "destination_version": "v1",
        "response_code": "200",
        "response_flags": "-",
        "request_protocol": "http",
    }
    return {key: value for key, value in (usual | changes).items() if value is not None}


def series(*given: Mapping[str, str], bounds: Iterable[float] = ISTIO_BUCKETS_MS, **more: Any) -> MeshSeries:
    """Ten series in each bucket; the tags of v1's requests, unless some are given."""
    buckets = [({"reporter": "source", "le": f"{bound:g}"}, 10.0) for bound in bounds]
    every: JsonObject = {
        "tags": given or (tags(),),
        "clients": ({"reporter": "source", "source_workload": "web", "source_workload_namespace": "web"},),
        "moving": True,
        "buckets": (*buckets, ({"reporter": "source", "le": "+Inf"}, 10.0)),
    }
    return MeshSeries(**every | more)
