"""Proxies that count requests as Istio's do, and an in-memory Metrics port that scrapes them when it is told to.

The fake knows nothing of PromQL or label spellings; `tests/contract/test_metrics.py` holds it to the real Prometheus.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Literal, TypeVar

from rollout.core.checks import CustomCheck
from rollout.core.counts import Group, Instance, Samples, Series
from rollout.core.judging.gates import BREAKERS, MEMORY, PENDING, THROTTLING, Reading, Readings, custom_name
from rollout.core.policy import ISTIO_BUCKETS_MS
from rollout.core.route import Unavailable
from rollout.ports import Subject

JOB = "proxies"
_LOST = frozenset({"UH", "NC", "NR", "UF"})
T = TypeVar("T", bound="Pool | Container")


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


@dataclass(frozen=True, slots=True)
class Pool:
    """A proxy's connections to one version of a service."""

    namespace: str
    service: str
    version: str
    served: int = 0
    refused: int = 0
    open: bool = False
    """A circuit breaker is."""

    @property
    def about(self) -> tuple[str, ...]:
        """Whose it is."""
        return self.namespace, self.service, self.version


@dataclass(frozen=True, slots=True)
class Container:
    """What is known of a container: cAdvisor's counters and gauges, and its limit, if it has one."""

    namespace: str
    deployment: str
    name: str
    periods: int = 0
    throttled: int = 0
    memory: float = 0.0
    limit: float | None = None

    @property
    def about(self) -> tuple[str, ...]:
        """Whose it is."""
        return self.namespace, self.deployment

    @property
    def idle(self) -> int:
        """CPU periods in which it was not throttled."""
        return self.periods - self.throttled

    @property
    def used(self) -> tuple[float, ...]:
        """The share of its memory limit, if it has one."""
        return () if self.limit is None else (self.memory / self.limit,)


class Proxy:
    """One scrape target: its counters live as long as its process does.

    What proxies say about their connections, and what kubelets say about containers, stands on the same page here.

    `bounds` of its histograms are milliseconds, ascending. Istio sets them per workload (annotation
    `sidecar.istio.io/statsHistogramBuckets`), so that proxies of one service may differ.
    """

    def __init__(
        self,
        name: str,
        namespace: str = "shop",
        bounds: tuple[float, ...] = ISTIO_BUCKETS_MS,
        reporter: Literal["source", "destination"] = "source",
    ) -> None:
        self.name = name
        self.reporter = reporter
        self.namespace = namespace
        self.bounds = bounds
        self.reachable = True
        self._counts: dict[Line, Count] = {}
        self._pools: dict[tuple[str, str], Pool] = {}
        self._containers: dict[tuple[str, str], Container] = {}
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

    def connect(self, service: str, version: str, served: int = 0, refused: int = 0, *, is_open: bool = False) -> None:
        """So many more requests went to a version, or were refused because too many were waiting."""
        with self._lock:
            pool = self._pools.setdefault((service, version), Pool(self.namespace, service, version))
            self._pools[service, version] = replace(
                pool, served=pool.served + served, refused=pool.refused + refused, open=is_open
            )

    def use(
        self,
        deployment: str,
        container: str = "app",
        *,
        periods: int = 0,
        throttled: int = 0,
        memory: float = 0.0,
        limit: float | None = None,
    ) -> None:
        """A container of the one pod of a Deployment: more CPU periods, and the bytes that it uses now."""
        with self._lock:
            one = self._containers.setdefault((deployment, container), Container(self.namespace, deployment, container))
            self._containers[deployment, container] = replace(
                one, periods=one.periods + periods, throttled=one.throttled + throttled, memory=memory, limit=limit
            )

    def restart(self) -> None:
        """A new process at the same address: it has counted nothing yet."""
        with self._lock:
            self._counts.clear()

    def snapshot(self) -> dict[Line, tuple[int, tuple[int, ...]]]:
        """Every line with its count and its buckets, at one moment."""
        with self._lock:
            return {line: (count.requests, tuple(count.buckets)) for line, count in self._counts.items()}

    def gauges(self) -> tuple[tuple[Pool, ...], tuple[Container, ...]]:
        """Every pool and every container, at one moment."""
        with self._lock:
            return tuple(self._pools.values()), tuple(self._containers.values())


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
        self.custom: dict[tuple[str, str], float | str] = {}
        """(custom check, version) -> its value now, or the trouble with it."""
        self._pools: list[tuple[float, str, Pool]] = []
        self._containers: list[tuple[float, str, Container]] = []
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
            if proxy.reachable:
                pools, containers = proxy.gauges()
                self._pools += [(when, proxy.name, pool) for pool in pools]
                self._containers += [(when, f"{proxy.name} {one.name}", one) for one in containers]

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

    async def readings(self, subject: Subject, custom: Sequence[CustomCheck], now: datetime) -> Readings | Unavailable:
        """As the port says."""
        if self.outage:
            return Unavailable(self.outage)
        since, until = (now - 4 * subject.interval).timestamp(), now.timestamp()
        pools, apps = [], []
        for version, deployment in zip(subject.versions, subject.workloads, strict=True):
            about = subject.namespace, subject.service, version
            pools.append(_between(self._pools, since, until, about))
            containers = _between(self._containers, since, until, (subject.namespace, deployment))
            apps.append([seen for seen in containers if seen[-1].name not in {"", "istio-proxy"}])
        readings = {
            PENDING: _reading(pools, lambda seen: _share(seen, lambda one: one.refused, lambda one: one.served)),
            BREAKERS: _reading(pools, lambda seen: max((float(one[-1].open) for one in seen), default=None)),
            THROTTLING: _reading(apps, lambda seen: _share(seen, lambda one: one.throttled, lambda one: one.idle)),
            MEMORY: _reading(apps, lambda seen: max((used for one in seen for used in one[-1].used), default=None)),
        }
        for check in custom:
            values = [self.custom.get((check.name, version)) for version in subject.versions]
            trouble = next((value for value in values if isinstance(value, str)), "")
            numbers = [None if trouble or isinstance(value, str) else value for value in values]
            stable = None if check.over_stable is None else numbers[1]
            readings[custom_name(check)] = Reading(numbers[0], stable, trouble)
        return readings

    async def close(self) -> None:
        """Nothing is open."""

    def _series(self, subject: Subject, since: float, now: float) -> Iterator[Series]:
        bounds_of = {proxy.name: proxy.bounds for proxy in self.proxies}
        asked = {proxy.name for proxy in self.proxies if proxy.reporter in subject.policy.reporters}
        for (name, line), history in self._history.items():
            if name not in asked or (line.namespace, line.service) != (subject.namespace, subject.service):
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


def _between(
    gauges: Iterable[tuple[float, str, T]], since: float, until: float, about: tuple[str, ...]
) -> list[list[T]]:
    """What each place showed of this in a window, the oldest first."""
    found: dict[str, list[T]] = {}
    for when, place, gauge in gauges:
        if since < when <= until and gauge.about == about:
            found.setdefault(place, []).append(gauge)
    return list(found.values())


def _reading(versions: Sequence[list[list[T]]], measure: Callable[[list[list[T]]], float | None]) -> Reading:
    canary, stable = versions
    return Reading(measure(canary), measure(stable))


def _share(seen: list[list[T]], some: Callable[[T], int], others: Callable[[T], int]) -> float | None:
    """How much of the growth of both is the growth of the one."""
    part, rest = (sum(count(one[-1]) - count(one[0]) for one in seen) for count in (some, others))
    return part / (part + rest) if part + rest else None


def _group(line: Line, subject: Subject) -> Group:
    flags = set(line.flags.split(","))
    if flags & {"DI", "FI"}:
        return "other"
    if line.version in {"", "unknown"}:
        return "lost" if line.code.startswith("5") or flags & _LOST else "other"
    if line.version == subject.canary:
        return "canary"
    return "stable" if line.version == subject.stable else "other"
