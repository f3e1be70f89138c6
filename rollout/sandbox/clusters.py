"""Services, DestinationRules and endpoints -> Envoy clusters, named and labelled as istiod would.

Belongs here: pure functions about destinations. Does not belong here: which requests go where (`routes.py`), how
Envoy gets to know (`envoy.py`), where endpoints come from (`node.py`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

JsonObject = dict[str, Any]

METADATA: Final = "istio.sandbox"
"""Filter metadata of clusters and endpoints, which becomes labels of istio_requests_total."""

_DOMAIN: Final = "svc.cluster.local"
_UNLIMITED: Final = (
    4294967295  # pilot/pkg/networking/core/cluster_traffic_policy.go, getDefaultCircuitBreakerThresholds
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one workload answers: a port on 127.0.0.1, the workload's name and its pods' labels."""

    namespace: str
    workload: str
    port: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Config:
    """All that decides about traffic, as the API server holds it (decoded objects, oldest first)."""

    services: Sequence[JsonObject] = ()
    virtual_services: Sequence[JsonObject] = ()
    destination_rules: Sequence[JsonObject] = ()
    endpoints: Sequence[Endpoint] = ()
    source_namespace: str = "default"
    source_labels: Mapping[str, str] = field(default_factory=dict)


def fqdn(host: str, namespace: str) -> str:
    """A host as Istio resolves it: without dots it is a Service of the namespace the configuration is in."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.{_DOMAIN}"


def service_host(service: JsonObject) -> str:
    """The full name of a Service."""
    return fqdn(service["metadata"]["name"], service["metadata"]["namespace"])


def service_ports(service: JsonObject) -> tuple[int, ...]:
    """The ports of a Service, in its order."""
    return tuple(port["port"] for port in service.get("spec", {}).get("ports") or ())


def cluster_name(port: int, subset: str, host: str) -> str:
    """As pilot/pkg/model/push_context.go, BuildSubsetKey."""
    return f"outbound|{port}|{subset}|{host}"


def in_order(objects: Iterable[JsonObject]) -> list[JsonObject]:
    """Oldest first, then by name: of two that say different things about a host istiod believes the older one."""

    def age(obj: JsonObject) -> tuple[str, str, str]:
        meta = obj["metadata"]
        return meta.get("creationTimestamp") or "", meta.get("namespace", ""), meta["name"]

    return sorted(objects, key=age)


def subsets(config: Config, host: str) -> dict[str, Mapping[str, str]]:
    """The subsets of a host: name -> labels; those of its oldest DestinationRule."""
    for rule in in_order(config.destination_rules):
        spec = rule.get("spec") or {}
        if fqdn(spec.get("host", ""), rule["metadata"].get("namespace", "")) == host:
            return {subset["name"]: subset.get("labels") or {} for subset in spec.get("subsets") or ()}
    return {}


def clusters(config: Config) -> list[JsonObject]:
    """Every cluster: per Service and port one for all endpoints and one per subset, by name.

    A subset nobody declared has no cluster (503 NC), a subset without endpoints an empty one (503 UH).
    """
    return sorted(_clusters(config), key=lambda cluster: str(cluster["name"]))


def _clusters(config: Config) -> Iterator[JsonObject]:
    for service in config.services:
        host, selector = service_host(service), service.get("spec", {}).get("selector") or {}
        behind = [
            endpoint
            for endpoint in config.endpoints
            if selector
            and endpoint.namespace == service["metadata"]["namespace"]
            and _selects(selector, endpoint.labels)
        ]
        for port in service_ports(service):
            selections: dict[str, Mapping[str, str]] = {"": {}, **subsets(config, host)}
            for subset, labels in selections.items():
                chosen = [endpoint for endpoint in behind if _selects(labels, endpoint.labels)]
                yield _cluster(cluster_name(port, subset, host), service, chosen)


def _selects(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return wanted.items() <= labels.items()


def _cluster(name: str, service: JsonObject, endpoints: Sequence[Endpoint]) -> JsonObject:
    metadata = service["metadata"]
    known = {
        "service": service_host(service),
        "service_name": metadata["name"],
        "service_namespace": metadata["namespace"],
    }
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "metadata": {"filter_metadata": {METADATA: known}},
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, _UNLIMITED)]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_lb_endpoint(endpoint) for endpoint in endpoints]}],
        },
    }


def _lb_endpoint(endpoint: Endpoint) -> JsonObject:
    return {
        "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": endpoint.port}}},
        "metadata": {"filter_metadata": {METADATA: _workload_labels(endpoint)}},
    }


def _workload_labels(endpoint: Endpoint) -> dict[str, str]:
    """As the sidecar injector derives them (istio pkg/kube/labels, injection-template.yaml)."""
    labels = endpoint.labels

    def first(*names: str, default: str) -> str:
        return next((labels[name] for name in names if labels.get(name)), default)

    return {
        "workload": endpoint.workload,
        "workload_namespace": endpoint.namespace,
        "app": labels.get("app", "unknown"),
        "version": first("app.kubernetes.io/version", "version", default="unknown"),
        "canonical_service": first(
            "service.istio.io/canonical-name", "app.kubernetes.io/name", "app", default=endpoint.workload
        ),
        "canonical_revision": first(
            "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version", default="latest"
        ),
    }
