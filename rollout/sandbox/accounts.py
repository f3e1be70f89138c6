"""The accounts: what Prometheus counted, held against what the load generator counted. Equal, or something is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass

from rollout.sandbox.prometheus import Prometheus
from rollout.sandbox.world import World

_BUCKETS = "sum by (destination_version, le) (istio_request_duration_milliseconds_bucket)"


@dataclass(frozen=True, slots=True)
class Accounts:
    """Both sides' totals. `differences` are (version, code, load generator, Prometheus)."""

    requests: int
    differences: tuple[tuple[str, int, int, int], ...]


async def compare(world: World) -> Accounts:
    """Pause the load, wait until Prometheus has scraped the last request, compare per version and code."""
    sent = (await world.settled()).answers
    counted = await world.measured()
    keys = sorted(sent.keys() | counted.keys())
    wrong = tuple(
        (*key, sent.get(key, 0), counted.get(key, 0)) for key in keys if sent.get(key, 0) != counted.get(key, 0)
    )
    return Accounts(sum(sent.values()), wrong)


async def p99_buckets(prometheus: Prometheus) -> Mapping[str, str]:
    """Per version, the bucket that holds the 99th percentile of all its requests so far, as `100 ms`."""
    per_version: dict[str, list[tuple[float, float]]] = {}
    for sample in await prometheus.query(_BUCKETS):
        labels, value = sample["metric"], float(sample["value"][1])
        per_version.setdefault(labels["destination_version"], []).append((float(labels["le"]), value))
    out = {}
    for version, buckets in per_version.items():
        buckets.sort()
        needed = 0.99 * buckets[-1][1]
        bound = next(bound for bound, value in buckets if value >= needed)
        out[version] = f"{bound:g} ms"
    return out
