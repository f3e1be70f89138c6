"""Envoy's bootstrap: one listener, one admin port, files for routes and clusters, Istio's metrics.

Belongs here: what stays the same while Envoy runs, as data. Does not belong here: what changes (`routes.py`,
`clusters.py`) and the process (`envoy.py`). The metrics come from Envoy's stats access logger, which counts where
Istio's own filter does (the access log hook of envoy contrib/istio/filters/http/istio_stats/istio_stats.cc).
"""

from pathlib import Path
from typing import Any, Final

from rollout.sandbox.clusters import METADATA
from rollout.sandbox.routes import ROUTE_CONFIGURATION

FLUSH_SECONDS: Final = 0.25
"""How far histograms lag behind counters, at most; Envoy's own default is 5 s."""

REQUEST_HOST: Final = "request_host"
"""A helper label for `prometheus.py`: Istio falls back to the Host header when there is no cluster to ask."""

_WORKLOAD_LABELS: Final = (
    "workload", "workload_namespace", "app", "version", "canonical_service", "canonical_revision",
)  # fmt: skip
_SERVICE_LABELS: Final = ("service", "service_name", "service_namespace")


def _typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{kind}", **fields}


def _file(path: Path) -> dict[str, Any]:
    watched = {"path": str(path), "watched_directory": {"path": str(path.parent)}}
    return {"resource_api_version": "V3", "path_config_source": watched}


def _tags(source: str, namespace: str) -> list[dict[str, str]]:
    """The labels of Istio's metrics at reporter=source. Missing metadata becomes an empty label."""
    values = {
        "reporter": "source",
        "source_workload": source,
        "source_workload_namespace": namespace,
        "source_principal": "unknown",
        "source_app": source,
        "source_version": "latest",
        "source_canonical_service": source,
        "source_canonical_revision": "latest",
        "source_cluster": "Kubernetes",
        "destination_principal": "unknown",
        "destination_cluster": "Kubernetes",
        "request_protocol": "http",
        "grpc_response_status": "",
        "connection_security_policy": "unknown",
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        REQUEST_HOST: "%REQ(:AUTHORITY)%",
    }
    values |= {f"destination_{name}": f"%UPSTREAM_METADATA({METADATA}:{name})%" for name in _WORKLOAD_LABELS}
    values |= {f"destination_{name}": f"%CLUSTER_METADATA({METADATA}:{name})%" for name in _SERVICE_LABELS}
    return [{"name": name, "value_format": value} for name, value in values.items() if value]


def bootstrap(*, routes: Path, clusters: Path, source: str, namespace: str) -> dict[str, Any]:
    """The document for `envoy -c`; it listens on free ports of 127.0.0.1.

    Args:
        routes: the file with the RouteConfiguration, in a directory of its own that exists.
        clusters: the same for clusters.
        source: the workload whose sidecar this is.
        namespace: of that workload.
    """
    loopback = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    tags = _tags(source, namespace)
    duration = {"name": "request_duration_milliseconds", "tags": tags}
    logger = _typed(
        "envoy.extensions.access_loggers.stats.v3.Config",
        stats_scope={"prefix": "istio"},
        counters=[{"stat": {"name": "requests_total", "tags": tags}, "value_fixed": 1}],
        histograms=[{"stat": duration, "unit": "Milliseconds", "value_format": "%DURATION%"}],
    )
    connections = _typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="outbound",
        rds={"route_config_name": ROUTE_CONFIGURATION, "config_source": _file(routes)},
        access_log=[{"name": "envoy.access_loggers.stats", "typed_config": logger}],
        http_filters=[
            {
                "name": "envoy.filters.http.router",
                "typed_config": _typed("envoy.extensions.filters.http.router.v3.Router"),
            }
        ],
    )
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}
    return {
        "node": {"id": f"sidecar~127.0.0.1~{source}.{namespace}~{namespace}.svc.cluster.local", "cluster": source},
        "admin": {"address": loopback},
        "stats_flush_interval": f"{FLUSH_SECONDS}s",
        "dynamic_resources": {"cds_config": _file(clusters)},
        "static_resources": {
            "listeners": [{"name": "outbound", "address": loopback, "filter_chains": [{"filters": [manager]}]}]
        },
    }
