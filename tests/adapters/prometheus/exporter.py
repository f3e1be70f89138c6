"""An HTTP server in this process that exposes proxies to a real Prometheus, with Istio's names and labels."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.fakes.metrics import Line, Proxy


def exposition(proxy: Proxy) -> str:
    """The proxy's counters in Prometheus' text format."""
    counters, buckets = (
        ["# TYPE istio_requests_total counter"],
        ["# TYPE istio_request_duration_milliseconds histogram"],
    )
    for line, (requests, below) in proxy.snapshot().items():
        labels = _labels(proxy, line)
        counters.append(f"istio_requests_total{{{_text(labels)}}} {requests}")
        for bound, count in (*zip(map(_le, proxy.bounds), below, strict=True), ("+Inf", requests)):
            buckets.append(f"istio_request_duration_milliseconds_bucket{{{_text({**labels, 'le': bound})}}} {count}")
    return "\n".join([*counters, *buckets, ""]) + "".join(_saturation(proxy))


def _saturation(proxy: Proxy) -> Iterator[str]:
    """Connections as Istio's proxies export them, containers as cAdvisor and kube-state-metrics do."""
    pools, containers = proxy.gauges()
    for pool in pools:
        host = f"{pool.service}.{pool.namespace}.svc.cluster.local"
        for port, share in (("80", 1), ("8080", 0)):
            cluster = {"cluster_name": f"outbound|{port}|{pool.version.replace('.', '-')}|{host};"}
            yield series("envoy_cluster_upstream_rq_total", cluster, share * pool.served)
            yield series("envoy_cluster_upstream_rq_pending_overflow", cluster, share * pool.refused)
            for breaker in ("cx_open", "rq_open", "rq_pending_open"):
                is_open = bool(share) and pool.open and breaker == "rq_open"
                yield series(f"envoy_cluster_circuit_breakers_default_{breaker}", cluster, float(is_open))
    for one in containers:
        labels = {"namespace": one.namespace, "pod": f"{one.deployment}-7d9f8b6c5d-x2k4p", "container": one.name}
        cgroup = {**labels, "id": f"/kubepods/{one.deployment}/{one.name}"}
        yield series("container_cpu_cfs_periods_total", cgroup, one.periods)
        yield series("container_cpu_cfs_throttled_periods_total", cgroup, one.throttled)
        yield series("container_memory_working_set_bytes", cgroup, one.memory)
        if one.limit is not None:
            limit = {**labels, "resource": "memory", "unit": "byte"}
            yield series("kube_pod_container_resource_limits", limit, one.limit)


def _labels(proxy: Proxy, line: Line) -> dict[str, str]:
    return {
        "reporter": proxy.reporter,
        "source_workload_namespace": proxy.namespace,
        "destination_service": f"{line.service}.{line.namespace}.svc.cluster.local",
        "destination_workload": line.version,
        "destination_version": line.version,
        "destination_canonical_revision": "latest" if line.version == "unknown" else line.version,
        "response_code": line.code,
        "response_flags": line.flags,
    }


def _le(bound: float) -> str:
    return f"{bound:.15g}"


def _text(labels: Mapping[str, str]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())


class Exporter:
    """Serves `/<name>` for each proxy and each page of text; 503 for a proxy that cannot be reached."""

    def __init__(self, proxies: Iterable[Proxy]) -> None:
        self.proxies = {proxy.name: proxy for proxy in proxies}
        self.pages: dict[str, str] = {}
        self.port = 0

    def page(self, name: str) -> str | None:
        """What a scrape of this path gets; None for an error."""
        proxy = self.proxies.get(name)
        if proxy is None:
            return self.pages.get(name)
        return exposition(proxy) if proxy.reachable else None


def series(name: str, labels: Mapping[str, str], value: float) -> str:
    """One line of text for `Exporter.pages`, whatever the labels hold."""
    return f"{name}{{{_text(labels)}}} {value}\n"


@contextmanager
def serving(exporter: Exporter) -> Iterator[Exporter]:
    """Listen on a free port of 127.0.0.1 until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = exporter.page(self.path.strip("/"))
            body = (page or "").encode()
            self.send_response(503 if page is None else 200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_args: object) -> None:
            """A scrape that was given up is Prometheus' business; it reports `up` 0."""

    server = Server(("127.0.0.1", 0), Handler)
    exporter.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield exporter
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
