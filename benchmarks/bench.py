"""`make bench`: what the hot paths cost, in one run, as a table. Numbers are of this moment; compare ratios."""

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rollout.adapters.virtual_service import reading
from rollout.core.counts import Counts, Samples, Series, Slow, Tally, tally
from rollout.core.judging.clumps import Habit, Learned
from rollout.core.judging.evidence import Evidence, Interval
from rollout.core.judging.judge import look, opinion
from rollout.core.policy import PolicySpec
from rollout.core.release import Status
from rollout.core.route import Leg, Target

BOUNDS = (50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def measure(work: Callable[[], object], rounds: int = 7, calls: int = 300) -> tuple[float, float]:
    """(median, worst) microseconds of one call over `rounds` rounds of `calls` calls."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - began) / calls * 1e6)
    return statistics.median(times), max(times)


def counts(requests: int, errors: int, slow: int) -> Counts:
    """One version's interval at the eight latency bounds above a median of 40 ms."""
    return Counts(
        requests=requests,
        errors=errors,
        timed=requests,
        slow=tuple(Slow(bound=bound, requests=slow, timed=requests) for bound in BOUNDS),
    )


def judging() -> Callable[[], object]:
    """One look of the judge, and what follows from it."""
    policy = PolicySpec()
    habits = tuple(Habit(rate=0.07) for _ in BOUNDS)
    learned = Learned(blocks=240, pods=3, errors=Habit(rate=0.001), bounds=BOUNDS, latency=habits, slow_at=BOUNDS)
    interval = Interval(tally=Tally(stable=counts(1350, 2, 90), canary=counts(150, 1, 11)), weight=10, seconds=15)
    evidence = Evidence()
    for _ in range(20):
        evidence = look(evidence, interval, policy, learned)
    return lambda: opinion(look(evidence, interval, policy, learned), policy, learned, 10)


def counting(pods: int) -> Callable[[], object]:
    """One exact count over twenty scrapes of `pods` pods, two versions, two codes, four buckets each."""
    start = NOW.timestamp()
    points = tuple((start + 15 * n, float(100 * n)) for n in range(21))
    series = tuple(
        Series(group, ("pods", str(pod)), points, code=code, le=le)
        for pod in range(pods)
        for group in ("stable", "canary")
        for code, le in (("200", None), ("500", None), ("", 100.0), ("", 500.0), ("", 2500.0), ("", float("inf")))
    )
    samples = Samples(series)
    bounds, until = (100.0, 500.0, 2500.0), NOW + timedelta(seconds=300)
    return lambda: tally(samples, bounds, NOW, until)


def reading_a_route() -> Callable[[], object]:
    """Reading a VirtualService of twenty http routes."""
    header = {"match": [{"headers": {"x": {"exact": "y"}}}], "route": [{"destination": {"host": "a", "subset": "v1"}}]}
    main = {"name": "primary", "route": [{"destination": {"host": "a", "subset": "v1"}, "weight": 100}]}
    virtual_service = {
        "metadata": {"name": "a", "namespace": "n", "resourceVersion": "1"},
        "spec": {"hosts": ["a"], "http": [*[header] * 19, main]},
    }
    rule = {"spec": {"host": "a", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}}
    target = Target("n", "a", (Leg("n", "a", "primary"),), "a", "version", "v2")
    return lambda: reading(virtual_service, rule, target)


def main() -> None:
    """Print the table."""
    rows = {
        "judge: one look, 8 bounds": judging(),
        "count: 20 scrapes, 3 pods": counting(3),
        "count: 20 scrapes, 30 pods": counting(30),
        "route: read 20 http routes": reading_a_route(),
        "status: to JSON and back": lambda: Status.model_validate(json.loads(json.dumps(Status().wire()))),
    }
    print(f"{'what':<32}{'median µs':>12}{'worst µs':>12}")
    for name, work in rows.items():
        median, worst = measure(work)
        print(f"{name:<32}{median:>12.1f}{worst:>12.1f}")


if __name__ == "__main__":
    main()
