"""What Prometheus holds about a service right now: which labels, reporters, clients and buckets, not how much.

Belongs here: the few queries and the reading of their answers. Does not belong here: what follows (`series.py`), the
way to Prometheus (`adapters/prometheus_http.py`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from rollout.adapters.prometheus_http import Doubt, PrometheusApi, line
from rollout.adapters.promql import BUCKET, COUNTER, any_of, quoted
from rollout.core.route import Unavailable

WINDOW = "10m"
"""How far back a series counts as there: a pod that is gone, or a client that calls now and then."""
_RATE_S = 300.0
"""Over these seconds samples are counted to see the scrape interval."""
TAGS = (
    "reporter", "destination_workload", "destination_canonical_revision", "destination_version", "response_code",
    "response_flags", "request_protocol", "grpc_response_status",
)  # fmt: skip
_CLIENT = ("reporter", "source_workload", "source_workload_namespace")
_BUCKETS = ("reporter", "le")

Labels = Mapping[str, str]


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


class PrometheusSeries:
    """Asks a Prometheus; close it at the end.

    Args:
        timeout: for each answer.
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
            # A little beyond the deadline of the queries themselves, whose message says more.
            async with asyncio.timeout(self._seconds + 0.5):
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
        deadline = monotonic() + self._seconds
        tags, clients, bounds, moving, samples = await asyncio.gather(
            self._vector(f"group by ({', '.join(TAGS)}) (last_over_time({requests}[{WINDOW}]))", at, deadline),
            self._vector(f"group by ({', '.join(_CLIENT)}) (last_over_time({requests}[{WINDOW}]))", at, deadline),
            self._vector(f"count by ({', '.join(_BUCKETS)}) (last_over_time({buckets}[{WINDOW}]))", at, deadline),
            self._vector(f"sum(rate({requests}[{WINDOW}]))", at, deadline),
            self._vector(f"max({aged})", at, deadline),
        )
        most = next((value for _, value in samples), 0.0)
        return MeshSeries(
            tags=tuple(labels for labels, _ in tags),
            clients=tuple(labels for labels, _ in clients),
            buckets=tuple(bounds),
            moving=moving[0][1] > 0 if moving else None,
            scrape_s=_RATE_S / most if most else None,
        )

    async def _vector(self, query: str, at: float, deadline: float) -> list[tuple[Labels, float]]:
        answer = await asyncio.to_thread(self._api.query, query, at, deadline)
        if answer.kind != "vector":
            raise Doubt(f"answered with a {answer.kind}, not a vector")
        return [(one["metric"], float(one["value"][1])) for one in answer.result]
