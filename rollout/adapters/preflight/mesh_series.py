"""What Prometheus holds about a service right now: which labels, reporters, clients and buckets, not how much.

Belongs here: the few queries and the reading of their answers. Does not belong here: what follows (`series.py`), the
way to Prometheus (`adapters/prometheus_http.py`).
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from rollout.adapters.prometheus_http import Answer, Doubt, PrometheusApi, Refusal, line
from rollout.adapters.promql import BUCKET, COUNTER, any_of, quoted
from rollout.core.route import Unavailable

WINDOW = "10m"
"""How far back a series counts as there: a pod that is gone, or a client that calls now and then."""
_AT_ONCE = 2
"""Services that are asked about: each takes five threads."""
_RATE_S = 300.0
"""Over these seconds samples are counted to see the scrape interval."""
TAGS = (
    "reporter", "destination_workload", "destination_canonical_revision", "destination_version", "response_code",
    "response_flags", "request_protocol", "grpc_response_status",
)  # fmt: skip
_CLIENT = ("reporter", "source_workload", "source_workload_namespace")
_BUCKETS = ("reporter", "le")

Labels = Mapping[str, str]
_Vector = list[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class MeshSeries:
    """The series of a service's requests, without their values."""

    tags: tuple[Labels, ...] = ()
    """Every combination of `TAGS`; a label that a series has not is absent."""
    clients: tuple[Labels, ...] = ()
    """Every combination of reporter and client workload."""
    buckets: tuple[tuple[Labels, float], ...] = ()
    """Every combination of reporter and `le`, and how many series have it."""
    moving: bool | None = None
    """Requests were counted lately; None where that cannot be told, for want of a second sample."""
    scrape_s: float | None = None
    """Seconds between samples; None where no series is old enough to tell."""
    unread: tuple[str, ...] = ()
    """Fields that Prometheus would not answer for, though it is well: they are empty, which says nothing."""


class PrometheusSeries:
    """Asks a Prometheus; close it at the end.

    Args:
        timeout: for each answer; a question that is too hard is followed by an easier one.
        matchers: PromQL (`cluster="eu-1"`) for every selector, as in `Settings`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: timedelta = timedelta(seconds=3),
        headers: Mapping[str, str] | None = None,
        bearer_file: Path | None = None,
        ca_file: Path | None = None,
        matchers: Sequence[str] = (),
        most_bytes: int = 8 << 20,
    ) -> None:
        self._seconds = timeout.total_seconds()
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._matchers = tuple(matchers)
        self._api = PrometheusApi(
            url,
            seconds=self._seconds,
            headers=headers or {},
            bearer_file=bearer_file,
            ca_file=ca_file,
            most_bytes=most_bytes,
        )

    async def read(self, hosts: Sequence[str], now: datetime) -> MeshSeries | Unavailable:
        """What there is about requests to these hosts (full names). Never raises."""
        try:
            # A little beyond the deadlines of both queries, whose message says more.
            async with self._turn, asyncio.timeout(2 * self._seconds + 0.5):
                return await self._read(hosts, now.timestamp())
        except TimeoutError:
            return Unavailable(f"{self._api.name} did not answer within {self._seconds:g} s")
        except Doubt as doubt:
            return Unavailable(f"{self._api.name} {doubt}")
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever happened
            return Unavailable(f"{self._api.name} answered what we cannot read: {line(repr(error))}")

    async def close(self) -> None:
        """Close the connections."""
        self._api.close()

    async def _read(self, hosts: Sequence[str], at: float) -> MeshSeries:
        where = ",".join((f"destination_service=~{quoted(f'({any_of(hosts)})(:[0-9]+)?')}", *self._matchers))
        requests, buckets = f"{COUNTER}{{{where}}}", f"{BUCKET}{{{where}}}"
        aged = f"count_over_time({requests}[{_RATE_S:g}s]) and last_over_time({requests}[1m] offset {_RATE_S:g}s)"
        tags, clients, bounds, moving, samples = await asyncio.gather(
            self._easier(at, *(f"group by ({', '.join(TAGS)}) ({one})" for one in _lately(requests))),
            self._unless_refused(
                self._easier(at, *(f"group by ({', '.join(_CLIENT)}) ({one})" for one in _lately(requests)))
            ),
            self._unless_refused(
                self._easier(at, *(f"count by ({', '.join(_BUCKETS)}) ({one})" for one in _lately(buckets)))
            ),
            self._unless_refused(self._vector(f"sum(rate({requests}[{WINDOW}]))", at)),
            self._unless_refused(self._vector(f"max({aged})", at)),
        )
        most = next((value for _, value in samples or ()), 0.0)
        optional = {"clients": clients, "buckets": bounds, "moving": moving, "scrape_s": samples}
        return MeshSeries(
            tags=tuple(labels for labels, _ in tags),
            clients=tuple(labels for labels, _ in clients or ()),
            buckets=tuple(bounds or ()),
            moving=moving[0][1] > 0 if moving else None,
            scrape_s=_RATE_S / most if most else None,
            unread=tuple(name for name, answer in optional.items() if answer is None),
        )

    async def _easier(self, at: float, query: str, second: str) -> _Vector:
        """The answer to the first of two that is not refused. Raises Doubt."""
        try:
            return await self._vector(query, at)
        except Refusal:
            return await self._vector(second, at)

    async def _unless_refused(self, answer: Awaitable[_Vector]) -> _Vector | None:
        """None where Prometheus will not answer this very question. Raises Doubt if it is not well."""
        try:
            return await answer
        except Refusal:
            return None

    async def _vector(self, query: str, at: float) -> _Vector:
        answer = await asyncio.to_thread(self._asked, query, at)
        if answer.kind != "vector":
            raise Doubt(f"answered with a {answer.kind}, not a vector")
        return [(one["metric"], float(one["value"][1])) for one in answer.result]

    def _asked(self, query: str, at: float) -> Answer:
        # In the thread: how long it had to wait for one is not Prometheus's fault.
        return self._api.query(query, at, monotonic() + self._seconds)


def _lately(selector: str) -> tuple[str, str]:
    """Series of the last ten minutes; or those of the last scrapes only, which Prometheus has in memory."""
    return f"last_over_time({selector}[{WINDOW}])", selector
