"""The objects of the demo: namespace `shop`, service `checkout`, its route, its versions.

Belongs here: objects as data, for the world, the demo and tests. Does not belong here: writing them to a cluster.
"""

from typing import Any, Final

from rollout.sandbox.clusters import fqdn
from rollout.sandbox.knobs import annotations

JsonObject = dict[str, Any]

NAMESPACE: Final = "shop"
SERVICE: Final = "checkout"
HOST: Final = fqdn(SERVICE, NAMESPACE)
ROUTE: Final = "primary"
STABLE: Final = "v1"
PORT: Final = 80

_ISTIO: Final = "networking.istio.io/v1"


def namespace(name: str = NAMESPACE) -> JsonObject:
    """A Namespace with sidecar injection."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"istio-injection": "enabled"}},
    }


def deployment_name(service: str, version: str) -> str:
    """`checkout-v2`: one Deployment per version."""
    return f"{service}-{version}"


def deployment(service: str, version: str, *, replicas: int = 2, **knobs: Any) -> JsonObject:
    """The Deployment of one version, as CI would make it, except that the sidecar is there before it is injected.

    Args:
        service: the app.
        version: the value of the pods' version label.
        replicas: how many pods.
        knobs: errors, slow, latency, ready; see `knobs.annotations`.

    Raises:
        KnobError: a knob is not understood.
    """
    labels = {"app": service, "version": version}
    container = {"name": service, "image": f"registry.example/{service}:{version}", "ports": [{"containerPort": 8080}]}
    # No webhook of Istio's adds it here. It is a native one, as of Istio 1.27 (ENABLE_NATIVE_SIDECARS); none ever runs.
    sidecar = {"name": "istio-proxy", "image": "registry.example/proxyv2:sandbox", "restartPolicy": "Always"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": deployment_name(service, version),
            "namespace": NAMESPACE,
            "labels": labels,
            "annotations": annotations(**knobs),
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"initContainers": [sidecar], "containers": [container]},
            },
        },
    }


def kubernetes_service(service: str = SERVICE) -> JsonObject:
    """The Service all versions are behind."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service, "namespace": NAMESPACE, "labels": {"app": service}},
        "spec": {"selector": {"app": service}, "ports": [{"name": "http", "port": PORT, "targetPort": 8080}]},
    }


def destination_rule(service: str = SERVICE, versions: tuple[str, ...] = (STABLE,)) -> JsonObject:
    """One subset per version, selected by its label."""
    subsets = [{"name": version, "labels": {"version": version}} for version in versions]
    return {
        "apiVersion": _ISTIO,
        "kind": "DestinationRule",
        "metadata": {"name": service, "namespace": NAMESPACE},
        "spec": {"host": service, "subsets": subsets},
    }


def destinations(service: str, weights: dict[str, int]) -> list[JsonObject]:
    """The `route` of an http rule: version -> weight; a single one needs no weight."""
    entries: list[JsonObject] = [{"destination": {"host": service, "subset": version}} for version in weights]
    if len(weights) > 1:
        for entry, weight in zip(entries, weights.values(), strict=True):
            entry["weight"] = weight
    return entries


def virtual_service(service: str = SERVICE, weights: dict[str, int] | None = None) -> JsonObject:
    """One http rule named `primary`, which splits by version."""
    route = destinations(service, weights or {STABLE: 100})
    return {
        "apiVersion": _ISTIO,
        "kind": "VirtualService",
        "metadata": {"name": service, "namespace": NAMESPACE},
        "spec": {"hosts": [service], "http": [{"name": ROUTE, "route": route}]},
    }
