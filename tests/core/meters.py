"""The counters of one proxy over a whole release: what the tests of long stories read between their turns."""

from datetime import datetime, timedelta

from rollout.core.counts import Group, Samples, Series
from tests import given

PROXY = ("proxies", "p1")


class Meters:
    """Requests of both versions, added up and scraped; every scrape is kept."""

    def __init__(self, since: datetime = given.NOW) -> None:
        self._at = since
        self._totals: dict[tuple[Group, str], float] = {
            (group, code): 0.0 for group in ("stable", "canary") for code in ("200", "500")
        } | {("lost", "503"): 0.0}
        self._points: dict[tuple[Group, str], list[tuple[float, float]]] = {key: [] for key in self._totals}
        self._scrape()

    def serve(
        self, stable: tuple[int, int], canary: tuple[int, int], *, lost: int = 0, after: timedelta = given.INTERVAL
    ) -> Samples:
        """(all requests, failed ones) of both versions, those lost before either, and the scrape that follows them."""
        for group, (requests, failed) in (("stable", stable), ("canary", canary)):
            self._totals[group, "200"] += requests - failed  # type: ignore[index] # the two names above are groups
            self._totals[group, "500"] += failed  # type: ignore[index] # same
        self._totals["lost", "503"] += lost
        self._at += after
        self._scrape()
        return self.samples()

    def samples(self) -> Samples:
        """Everything that was scraped so far."""
        series = tuple(Series(group, PROXY, tuple(points), code=code) for (group, code), points in self._points.items())
        return Samples(series=series, newest=self._at, query="sum(istio_requests_total)")

    def _scrape(self) -> None:
        for key, total in self._totals.items():
            self._points[key].append((self._at.timestamp(), total))
