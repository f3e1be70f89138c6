"""Proxies that count requests as Istio's do, and an in-memory Metrics port that scrapes them when it is told to.

The fake knows nothing of PromQL or label spellings; `tests/contract/test_metrics.py` holds it to the real Prometheus.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

from rollout.core.counts import Group, Instance, Samples, Series
from rollout.core.policy import ISTIO_BUCKETS_MS
from rollout.core.route import Unavailable
from rollout.ports import Subject

JOB = "proxies"
_LOST = frozenset({"UH", "NC", "NR", "UF"})


@dataclass(frozen=True, slots=True)
class Line:
    """What identifies one counter of a proxy."""

    namespace: str
    service: str
    version: str
    code: str
    flags: str


@dataclass(slots=True)
class Count:
    """Requests of one line, and how many of them were at most as slow as each of the proxy's bounds."""

    buckets: list[int]
    requests: int = 0


class Proxy:
    """One scrape target: its counters live as long as its process does.

    `bounds` of its histograms are milliseconds, ascending. Istio sets them per workload (annotation
    `sidecar.istio.io/statsHistogramBuckets`), so that proxies of one service may differ.
    """

    def __init__(self, name: str, namespace: str = "shop", bounds: tuple[float, ...] = ISTIO_BUCKETS_MS) -> None:
        self.name = name
        self.namespace = namespace
        self.bounds = bounds
        self.reachable = True
        self._counts: dict[Line, Count] = {}
        self._lock = Lock()

    def serve(
        self,
        service: str,
        version: str,
        requests: int = 1,
        *,
        code: str = "200",
        flags: str = "-",
        ms: float = 20.0,
    ) -> None:
        """Requests that took `ms` each. Code "0" and unreached hosts are counted as Istio does: in both metrics."""
        with self._lock:
            line = Line(self.namespace, service, version, code, flags)
            count = self._counts.setdefault(line, Count([0] * len(self.bounds)))
            count.requests += requests
            for index in range(bisect_left(self.bounds, ms), len(self.bounds)):
                count.buckets[index] += requests

    def restart(self) -> None:
        """A new process at the same address: it has counted nothing yet."""
        with self._lock:
            self._counts.clear()

    def snapshot(self) -> dict[Line, tuple[int, tuple[int, ...]]]:
        """Every line with its count and its buckets, at one moment."""
        with self._lock:
            return {line: (count.requests, tuple(count.buckets)) for line, count in self._counts.items()}


def proxies() -> tuple[Proxy, ...]:
    """Those of every test: `gateway` and `sidecar` with Istio's default buckets, `coarse` with few of its own."""
    return Proxy("gateway"), Proxy("sidecar"), Proxy("coarse", bounds=(0.5, 500.0, 3000.0))


@dataclass(slots=True)
class _History:
    """Everything that was scraped of one line of one proxy."""

    times: list[float] = field(default_factory=list)
    values: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)


class FakeMetrics:
    """`ports.Metrics` over proxies in memory. Nothing is seen of a proxy until `scrape`."""

    def __init__(self, *proxies: Proxy, lookback: timedelta = timedelta(seconds=150)) -> None:
        self.proxies = list(proxies)
        self.outage = ""
        """Why every question is answered with Unavailable; "" where it is not."""
        self._lookback = lookback.total_seconds()
        self._history: dict[tuple[str, Line], _History] = {}
        self._ups: dict[str, list[tuple[float, float]]] = {}

    def scrape(self, at: datetime) -> None:
        """Look at every proxy once. A series of a proxy that cannot be reached gets no sample, its `up` a zero."""
        when = at.timestamp()
        for proxy in self.proxies:
            self._ups.setdefault(proxy.name, []).append((when, float(proxy.reachable)))
            for line, value in proxy.snapshot().items() if proxy.reachable else ():
                history = self._history.setdefault((proxy.name, line), _History())
                history.times.append(when)
                history.values.append(value)

    async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
        """As the port says."""
        if self.outage:
            return Unavailable(self.outage)
        series = tuple(self._series(subject, since.timestamp(), now.timestamp()))
        born = {one.instance for one in series if one.points[0][0] > since.timestamp()}
        newest = max((one.points[-1][0] for one in series), default=None)
        return Samples(
            series=series,
            ups={instance: self._up(instance, since, now) for instance in born},
            newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
            query=f"fake requests of {subject.service}.{subject.namespace}",
        )

    async def close(self) -> None:
        """Nothing is open."""

    def _series(self, subject: Subject, since: float, now: float) -> Iterator[Series]:
        bounds_of = {proxy.name: proxy.bounds for proxy in self.proxies}
        for (name, line), history in self._history.items():
            if (line.namespace, line.service) != (subject.namespace, subject.service):
                continue
            first, last = bisect_left(history.times, since - self._lookback), bisect_right(history.times, now)
            if first == last:
                continue
            group, instance = _group(line, subject), (JOB, name)
            times, values = history.times[first:last], history.values[first:last]
            requests = tuple((when, float(value[0])) for when, value in zip(times, values, strict=True))
            yield Series(group, instance, requests, code=line.code, flags=line.flags)
            if group not in {"canary", "stable"}:
                continue
            yield Series(group, instance, requests, code=line.code, flags=line.flags, le=float("inf"))
            for at, bound in enumerate(bounds_of[name]):
                if bound not in subject.bounds_ms:
                    continue
                points = tuple((when, float(value[1][at])) for when, value in zip(times, values, strict=True))
                yield Series(group, instance, points, code=line.code, flags=line.flags, le=bound)

    def _up(self, instance: Instance, since: datetime, now: datetime) -> tuple[tuple[float, float], ...]:
        start, end = since.timestamp() - self._lookback, now.timestamp()
        return tuple(point for point in self._ups[instance[1]] if start <= point[0] <= end)


def _group(line: Line, subject: Subject) -> Group:
    flags = set(line.flags.split(","))
    if flags & {"DI", "FI"}:
        return "other"
    if line.version in {"", "unknown"}:
        return "lost" if line.code.startswith("5") or flags & _LOST else "other"
    if line.version == subject.canary:
        return "canary"
    return "stable" if line.version == subject.stable else "other"
