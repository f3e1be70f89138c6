"""Requests that follow the weights on real VirtualServices, and a Prometheus that counted them: by HTTP, in real time.

Belongs here: serving, scraping, and answering the queries that the controller asks. Does not belong here: what is made
of the numbers. No request is sent anywhere: counters grow with time, exactly by the weights.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from rollout.adapters.clock import SystemClock
from rollout.sandbox.cluster_client import ClusterClient, JsonObject, Mirror
from tests.crash.proxy import end, listen

CLOCK = SystemClock()
SERVICE = "checkout"
REQUESTS_PER_SECOND = 400.0
_KEPT_S = 400.0
_BEFORE = 12
"""Scrapes that a namespace has behind it when it is made."""
_RANGE = re.compile(r"(?P<name>istio_requests_total|up)\{.*\}\[(?P<window>\d+)ms\]", re.DOTALL)
_GROUP = re.compile(r"group by \((?P<labels>[^)]*)\) \(last_over_time\(istio_requests_total.*", re.DOTALL)
_BUCKETS = re.compile(r"istio_request_duration_milliseconds_bucket\{.*\}\[\d+ms\]", re.DOTALL)
_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass
class Shop:
    """The requests of one namespace's service."""

    namespace: str
    interval: float
    error_rates: dict[str, float] = field(default_factory=dict)
    """Version -> share of its requests that fail."""
    weights: dict[str, float] = field(default_factory=dict)
    counts: dict[tuple[str, str], float] = field(default_factory=dict)
    scrapes: list[tuple[float, dict[tuple[str, str], int]]] = field(default_factory=list)
    served_until: float = 0.0
    due: float = 0.0

    def serve(self, until: float) -> None:
        """Count the requests until then."""
        requests = max(0.0, until - self.served_until) * REQUESTS_PER_SECOND
        self.served_until = until
        total = sum(self.weights.values())
        for version, weight in self.weights.items():
            share = requests * weight / total if total else 0.0
            if share:
                failed = share * self.error_rates.get(version, 0.0)
                self._count(version, "200", share - failed)
                self._count(version, "500", failed)

    def scrape(self, at: float) -> None:
        """What Prometheus sees of it, at a time."""
        self.serve(at)
        self.scrapes.append((at, {key: int(count) for key, count in self.counts.items()}))
        while self.scrapes and self.scrapes[0][0] < at - _KEPT_S:
            del self.scrapes[0]

    def _count(self, version: str, code: str, requests: float) -> None:
        if requests:
            self.counts[version, code] = self.counts.get((version, code), 0.0) + requests


class Traffic:
    """All of them, and their Prometheus at `url`. A query is about the namespaces that it names."""

    def __init__(self, cluster: ClusterClient) -> None:
        self.shops: dict[str, Shop] = {}
        self.url = ""
        self._routes = Mirror(cluster, "networking.istio.io/v1", "VirtualService", self._routed)
        self._runner: web.AppRunner | None = None

    def open(self, namespace: str, interval: float = 1.0, **error_rates: float) -> Shop:
        """Begin to serve a namespace, all of it by v1 for a while already."""
        now = CLOCK.now().timestamp()
        shop = Shop(namespace, interval, error_rates, {"v1": 100.0}, served_until=now - (_BEFORE + 1) * interval)
        for number in range(_BEFORE, 0, -1):
            shop.scrape(now - number * interval)
        shop.serve(now)
        shop.due = now
        self.shops[namespace] = shop
        self._routed()
        return shop

    def close(self, namespace: str) -> None:
        """Serve it no longer."""
        self.shops.pop(namespace, None)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/api/v1/query", self._query)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.url = await listen(self._runner)

    async def stop(self) -> None:
        if self._runner is not None:
            await end(self._runner)

    async def run(self) -> None:
        """Follow the routes, and scrape."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._routes.run())
            while True:
                now = CLOCK.now().timestamp()
                for shop in self.shops.values():
                    if shop.due <= now:
                        shop.scrape(now)
                        shop.due = max(shop.due + shop.interval, now)
                await asyncio.sleep(0.1)

    def _routed(self) -> None:
        now = CLOCK.now().timestamp()
        for shop in self.shops.values():
            weights = weights_of(self._routes.objects.get((shop.namespace, SERVICE)))
            if weights != shop.weights:
                shop.serve(now)
                shop.weights = weights

    async def _query(self, request: web.Request) -> web.Response:
        form = await request.post()
        query, at = str(form["query"]), float(str(form["time"]))
        asked = {name for name in _WORD.findall(query) if name in self.shops}
        answer = _answer([self.shops[name] for name in sorted(asked)], query, at)
        body = json.dumps({"status": "success", "data": answer})
        return web.Response(body=body.encode(), content_type="application/json")


def weights_of(virtual_service: JsonObject | None) -> dict[str, float]:
    """Version -> weight of its first http route; without a VirtualService requests go anywhere."""
    if virtual_service is None:
        return {"v1": 50.0, "v2": 50.0}
    route = virtual_service["spec"]["http"][0]["route"]
    alone = len(route) == 1
    weights: dict[str, float] = {}
    for one in route:
        version = one["destination"]["subset"]
        weights[version] = weights.get(version, 0.0) + (100.0 if alone else float(one.get("weight", 0)))
    return weights


def _answer(shops: Sequence[Shop], query: str, at: float) -> JsonObject:
    """Nothing is known of buckets and saturation: the policy judges neither."""
    if found := _RANGE.fullmatch(query):
        start = at - int(found["window"]) / 1000
        series = [one for shop in shops for one in _matrix(shop, found["name"], start, at)]
        return {"resultType": "matrix", "result": series}
    if _BUCKETS.fullmatch(query):
        return {"resultType": "matrix", "result": []}
    vector: list[JsonObject] = []
    if found := _GROUP.fullmatch(query):
        wanted = {label.strip() for label in found["labels"].split(",")}
        every = (_labels(shop.namespace, *key) for shop in shops for key in sorted(shop.counts))
        known = {tuple((name, value) for name, value in one.items() if name in wanted) for one in every}
        vector = [{"metric": dict(one), "value": [at, "1"]} for one in sorted(known)]
    elif query.startswith("sum(rate(istio_requests_total"):
        vector = [{"metric": {}, "value": [at, str(REQUESTS_PER_SECOND)]}]
    return {"resultType": "vector", "result": vector}


def _matrix(shop: Shop, name: str, start: float, end: float) -> list[JsonObject]:
    scrapes = [one for one in shop.scrapes if start < one[0] <= end]
    if name == "up":
        return [
            {"metric": {"__name__": "up", **_instance(shop.namespace)}, "values": [[when, "1"] for when, _ in scrapes]}
        ]
    keys = sorted({key for _, counts in scrapes for key in counts})
    return [
        {
            "metric": _labels(shop.namespace, *key),
            "values": [[when, str(counts[key])] for when, counts in scrapes if key in counts],
        }
        for key in keys
    ]


def _instance(namespace: str) -> Mapping[str, str]:
    """The one proxy that all requests of a namespace come through."""
    return {"job": "proxies", "instance": f"{namespace}:15020"}


def _labels(namespace: str, version: str, code: str) -> Mapping[str, str]:
    return {
        "__name__": "istio_requests_total",
        **_instance(namespace),
        "reporter": "source",
        "source_workload": "users",
        "source_workload_namespace": namespace,
        "destination_service": f"{SERVICE}.{namespace}.svc.cluster.local",
        "destination_service_name": SERVICE,
        "destination_service_namespace": namespace,
        "destination_workload": f"{SERVICE}-{version}",
        "destination_version": version,
        "destination_canonical_revision": version,
        "request_protocol": "http",
        "response_code": code,
        "response_flags": "-",
    }
