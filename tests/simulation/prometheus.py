"""Traffic that follows the mesh's weights, counted by two proxies, scraped into what Prometheus would hold.

Requests are spread exactly by the weights (fractions are carried over), so the only chance in a run is its seed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product

from rollout.core.checks import CustomCheck
from rollout.core.counts import Group, Samples, Series
from rollout.core.judging.gates import SIGNALS, Reading, Readings, custom_name
from rollout.core.route import Unavailable
from rollout.ports import Subject
from tests.fakes.mesh import FakeMesh
from tests.fakes.workloads import FakeWorkloads

PROXIES = ("p1", "p2")
REQUESTS_PER_SECOND = 60.0
LOOKBACK_S = 60.0


class Prometheus:
    """`ports.Metrics` in virtual time. `run` is what happens while time passes."""

    def __init__(self, mesh: FakeMesh, workloads: FakeWorkloads, started: datetime, interval: timedelta) -> None:
        self._mesh, self._workloads, self._interval = mesh, workloads, interval
        self.error_rates: dict[str, float] = {}
        """Version -> share of its requests that fail."""
        self.full_error_rates: dict[str, float] = {}
        """The same for a version that holds all of the traffic, where that is another."""
        self.incident = 0.0
        """Share of the requests that fail whoever serves them."""
        self.measured: dict[str, Reading] = {}
        """Saturation signals and custom checks, by their names in `gates.Readings`."""
        self.outage = ""
        self.lag = timedelta(0)
        """How long a scrape takes to be visible."""
        self.answered: datetime | None = None
        """Newest sample that was ever given in an answer."""
        self._counts: dict[str, dict[tuple[str, str], float]] = {proxy: {} for proxy in PROXIES}
        self._scrapes: dict[str, list[tuple[float, dict[tuple[str, str], float]]]] = {proxy: [] for proxy in PROXIES}
        self._now = started
        self._due = {proxy: started + interval * (index + 1) / 2 for index, proxy in enumerate(PROXIES)}

    def error_rate(self, version: str) -> float:
        """Share of its requests that fail at its present weight, incidents left out."""
        rate = self.error_rates.get(version, 0.0)
        return self.full_error_rates.get(version, rate) if self._mesh.percent(version) == 100 else rate

    def run(self, until: datetime) -> None:
        """Serve requests and scrape until then."""
        while (proxy := min(PROXIES, key=self._due.__getitem__)) and self._due[proxy] <= until:
            self._serve(self._due[proxy])
            self._scrapes[proxy].append((self._due[proxy].timestamp(), dict(self._counts[proxy])))
            self._due[proxy] += self._interval
        self._serve(until)

    async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
        """As the port says; the pods themselves report nothing."""
        if self.outage:
            return Unavailable(self.outage)
        if subject.policy.reporters == ("destination",):
            return Samples(series=())
        start, end = since.timestamp() - LOOKBACK_S, (now - self.lag).timestamp()
        series: list[Series] = []
        ups: dict[tuple[str, str], list[tuple[float, float]]] = {}
        newest = 0.0
        for proxy, scrapes in self._scrapes.items():
            visible = [scrape for scrape in scrapes if start <= scrape[0] <= end]
            if not visible:
                continue
            newest = max(newest, visible[-1][0])
            ups["proxies", proxy] = [(when, 1.0) for when, _ in visible]
            for version, code in visible[-1][1]:
                points = [(when, counts[version, code]) for when, counts in visible if (version, code) in counts]
                series.append(Series(_group(version, subject), ("proxies", proxy), points, code=code))
        if not newest:
            return Samples(series=())
        self.answered = max(self.answered or now, datetime.fromtimestamp(newest, UTC))
        return Samples(series=tuple(series), ups=ups, newest=datetime.fromtimestamp(newest, UTC))

    async def readings(self, subject: Subject, custom: Sequence[CustomCheck], now: datetime) -> Readings | Unavailable:
        """As the port says: what `measured` holds, and nothing of what it does not."""
        del subject, now
        if self.outage:
            return Unavailable(self.outage)
        names = (*SIGNALS, *map(custom_name, custom))
        return {name: self.measured.get(name, Reading(None)) for name in names}

    def _serve(self, until: datetime) -> None:
        legs = self._mesh.all
        requests = (until - self._now).total_seconds() * REQUESTS_PER_SECOND / len(PROXIES) / len(legs)
        self._now = until
        for counts, leg in product(self._counts.values(), legs) if requests else ():
            for version, weight in leg.weights.items():
                share = requests * (1.0 if len(leg.weights) == 1 else weight / 100)
                if share and self._workloads.ready.get(f"checkout-{version}", 1) == 0:
                    counts["", "503"] = counts.get(("", "503"), 0.0) + share
                elif share:
                    failed = share * min(1.0, self.error_rate(version) + self.incident)
                    counts[version, "200"] = counts.get((version, "200"), 0.0) + share - failed
                    counts[version, "500"] = counts.get((version, "500"), 0.0) + failed


def _group(version: str, subject: Subject) -> Group:
    if version == "":
        return "lost"
    if f"checkout-{version}" == subject.canary:
        return "canary"
    return "stable" if f"checkout-{version}" == subject.stable else "other"
