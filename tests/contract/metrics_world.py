"""A Metrics port and the proxies that it scrapes: once in memory, once a real Prometheus; what the contract needs."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count

from rollout.core.checks import CustomCheck, OverStable
from rollout.core.counts import Samples, Tally, tally
from rollout.core.judging.gates import Readings
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.core.route import Unavailable
from rollout.ports import Metrics, Subject
from tests.adapters.prometheus.exporter import series
from tests.adapters.prometheus.real import RealPrometheus, instant
from tests.fakes.metrics import FakeMetrics, Proxy, proxies

BOUNDS = (0.5, 50.0, 500.0)
PROBE = CustomCheck(
    name="probe", query='probe{service="{{service}}",version=~"{{version}}"}', over_stable=OverStable(margin=1.0)
)
ALONE = CustomCheck(name="alone", query='probe{service="{{service}}",version=`{{version}}`}', max=1.0)
BROKEN = CustomCheck(name="broken", query="rate(", max=1.0)
_numbers = count(1)


class World(ABC):
    """A Metrics port and the proxies that it scrapes; each test has a service of its own."""

    def __init__(self, metrics: Metrics, proxies: Iterable[Proxy]) -> None:
        self.metrics = metrics
        self.watched = {proxy.name: proxy for proxy in proxies}
        self.gateway = self.watched["gateway"]
        self.sidecar = self.watched["sidecar"]
        self.coarse = self.watched["coarse"]
        self.service = f"checkout-{next(_numbers)}"
        self.canary, self.stable = f"{self.service}-v2.1", f"{self.service}-v1"
        self.subject = Subject(
            namespace="shop",
            service=self.service,
            canary="v2",
            stable="v1",
            policy=MetricsPolicy(),
            bounds_ms=BOUNDS,
            versions=("v2.1", "v1"),
            workloads=(self.canary, self.stable),
            interval=self.interval,
        )

    @property
    @abstractmethod
    def interval(self) -> timedelta:
        """Time between scrapes; the real one's are closer, so that none of a window is missed."""

    @abstractmethod
    async def probe(self, values: Mapping[str, float]) -> datetime:
        """Let PROBE and ALONE have these values, by version, and BROKEN be refused; the time after that."""

    @abstractmethod
    async def scrape(self, *newcomers: Proxy) -> datetime:
        """Let everything that was served so far be scraped, and from now on these proxies too; the time after that."""

    @abstractmethod
    def start(self) -> datetime:
        """Before anything was scraped."""

    async def samples(self, since: datetime, now: datetime, subject: Subject | None = None) -> Samples:
        answer = await self.metrics.samples(subject or self.subject, since, now)
        assert isinstance(answer, Samples), answer
        return answer

    async def counted(self, since: datetime, now: datetime) -> Tally:
        return tally(await self.samples(since, now), BOUNDS, since, now)

    async def readings(self, now: datetime, *custom: CustomCheck) -> Readings:
        answer = await self.metrics.readings(self.subject, custom, now)
        assert not isinstance(answer, Unavailable), answer
        return answer


class FakeWorld(World):
    """Scrapes every 15 s of a time that only the test moves."""

    def __init__(self) -> None:
        self.fake = FakeMetrics(*proxies())
        super().__init__(self.fake, self.fake.proxies)
        self.now = self.start()

    def start(self) -> datetime:
        return datetime(2026, 11, 21, 12, tzinfo=UTC)

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=15)

    async def probe(self, values: Mapping[str, float]) -> datetime:
        self.fake.custom = {(name, version): value for version, value in values.items() for name in ("probe", "alone")}
        self.fake.custom["broken", self.subject.versions[0]] = "parse error"
        return self.now

    async def scrape(self, *newcomers: Proxy) -> datetime:
        self.fake.proxies.extend(newcomers)
        self.now += timedelta(seconds=15)
        self.fake.scrape(self.now)
        return self.now + timedelta(seconds=1)


class RealWorld(World):
    """Scrapes every 200 ms of real time."""

    def __init__(self, real: RealPrometheus, metrics: Metrics) -> None:
        super().__init__(metrics, (real.proxies[proxy.name] for proxy in proxies()))
        self.real = real

    def start(self) -> datetime:
        return instant() - timedelta(days=2)

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=1)

    async def probe(self, values: Mapping[str, float]) -> datetime:
        self.real.exporter.pages["odd"] = "".join(
            series("probe", {"service": self.service, "version": version}, value) for version, value in values.items()
        )
        return await self.real.scraped("odd")

    async def scrape(self, *newcomers: Proxy) -> datetime:
        for proxy in newcomers:
            self.real.discover(proxy)
            self.watched[proxy.name] = proxy
        return await self.real.scraped(*self.watched)
