"""What many releases say about a judge: shares with their Monte-Carlo error, times, harm, and the bars that are missed.

The information limit is the time after which even a judge that knew the fault in advance would have, in expectation,
log(1/alpha) of evidence against the tolerated rates: no honest test is faster on average. It is rounded up to whole
looks, since nobody decides between them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, inf, log, sqrt
from statistics import mean, median

from benchmarks.judge.latencies import usual_tails
from benchmarks.judge.outcomes import STEPS, Outcome
from benchmarks.judge.scenarios import Scenario

ALPHA = 0.01
RATIO, ERROR_MARGIN, LATENCY_MARGIN, ODDS = 1.25, 0.0005, 0.002, 1.5
"""The tolerances of the default policy."""
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Row:
    """One judge in one scenario."""

    scenario: str
    judge: str
    runs: int
    interval: float
    good: bool
    rolled_back: float
    low: float
    high: float
    """Wilson's 95 % interval of the rollback rate."""
    promoted: float
    held: float
    median_s: float | None
    """Seconds from the first bad request to the rollback; None where nothing was found (or nothing was wrong)."""
    p95_s: float | None
    harmed: float
    """Requests that failed because of the fault, mean."""
    promote_s: float | None
    """Median time to promote."""
    limit_s: float | None
    ratio: float | None
    """Median time over the information limit."""
    convicted: dict[str, int]
    """What rolled back, and how often."""
    waited: dict[str, int]
    """What was held for, and how often."""


_ENOUGH = 100
"""Runs from which a median is held against a bar."""


def row(scenario: Scenario, judge: str, interval: float, outcomes: Sequence[Outcome]) -> Row:
    """Sum up."""
    runs = len(outcomes)
    rolled = [one for one in outcomes if one.outcome == "rolled back"]
    held = [one for one in outcomes if one.outcome == "held"]
    promoted = [one.seconds for one in outcomes if one.outcome == "promoted"]
    delays = sorted(one.delay for one in rolled if one.delay is not None and one.delay > 0)
    low, high = wilson(len(rolled), runs)
    limit = None if scenario.good else information_limit(scenario, interval)
    middle = median(delays) if delays else None
    return Row(
        scenario=scenario.name,
        judge=judge,
        runs=runs,
        interval=interval,
        good=scenario.good,
        rolled_back=len(rolled) / runs,
        low=low,
        high=high,
        promoted=len(promoted) / runs,
        held=len(held) / runs,
        median_s=middle,
        p95_s=delays[min(len(delays) - 1, ceil(0.95 * len(delays)) - 1)] if delays else None,
        harmed=mean(one.harmed for one in outcomes),
        promote_s=median(promoted) if promoted else None,
        limit_s=limit,
        ratio=middle / limit if middle is not None and limit else None,
        convicted=dict(Counter(f"{one.check}@{one.weight}" for one in rolled).most_common()),
        waited=dict(Counter(f"{one.check}@{one.weight}" for one in held).most_common()),
    )


def wilson(hits: int, runs: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share = hits / runs
    middle = share + _Z**2 / (2 * runs)
    spread = _Z * sqrt(share * (1 - share) / runs + _Z**2 / (4 * runs**2))
    whole = 1 + _Z**2 / runs
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


def information_limit(scenario: Scenario, interval: float) -> float | None:
    """Seconds from the fault's first request until the best possible test can be sure; None if it never can."""
    fault = scenario.fault
    evidence, begun, now = 0.0, None, 0.0
    for weight, hold in STEPS:
        if weight == 100 and fault.from_weight < 100:
            break
        end = now + hold
        while now < end:
            part = fault.at(now, weight)
            if part > 0:
                begun = now if begun is None else begun
                # What one look is worth, in nats per second of it.
                evidence += _nats_per_second(scenario, min(weight, 99) / 100, part)
                if evidence >= log(1 / ALPHA):
                    return ceil((now + 1 - begun) / interval) * interval
            now += 1
    return None


def _nats_per_second(scenario: Scenario, share: float, part: float) -> float:
    world, fault = scenario.world, scenario.fault
    nats = 0.0
    if fault.errors or fault.lost:
        wrong = part * max(fault.errors, fault.lost)
        nats = world.rps * share * divergence(world.errors + wrong, RATIO * world.errors + ERROR_MARGIN)
    if fault.slower != 1 or fault.very_slow:
        usual = usual_tails()
        now = usual_tails(1 + part * (fault.slower - 1), part * fault.very_slow)
        pairs = zip(now.tolist(), usual.tolist(), strict=True)
        best = max(divergence(one, RATIO * other + LATENCY_MARGIN) for one, other in pairs)
        nats = max(nats, world.rps * share * best)
    if fault.vanished or fault.delivery != 1:
        odds = share / (1 - share)
        found = odds * (1 - part * fault.vanished) * fault.delivery**part
        tolerated = odds / ODDS if found < odds else odds * ODDS
        seen = world.rps * (1 - share * part * fault.vanished)
        p, q = found / (1 + found), tolerated / (1 + tolerated)
        nats = max(nats, seen * (divergence(p, q) if p > q else divergence(1 - p, 1 - q)))
    return nats


def divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence (nats) of one request that is bad with p from one with q; 0 unless p is larger."""
    p, q = min(1.0, p), min(1.0, q)
    if p <= q or q == 0:
        return 0.0 if p <= q else inf
    return p * log(p / q) + ((1 - p) * log((1 - p) / (1 - q)) if p < 1 else 0.0)


def missed(scenario: Scenario, found: Row) -> list[str]:
    """Which promises of the judge this row breaks, in words."""
    out = []
    if scenario.good:
        most = 0.02 if "all at once" in scenario.name else 0.01
        error = sqrt(most * (1 - most) / found.runs)
        if found.rolled_back > most + 2 * error:
            out.append(f"false rollbacks {found.rolled_back:.2%} > {most:.0%}: {found.convicted}")
        least = 0.9 if scenario.hard else 0.99
        if found.promoted < least - 2 * sqrt(least * (1 - least) / found.runs):
            out.append(f"promoted {found.promoted:.1%} < {least:.0%}: held for {found.waited}, {found.convicted}")
        holds = sum(hold for _, hold in STEPS)
        # The median of few runs is one run's luck with an incident at the end of its last hold.
        if found.promote_s is not None and found.runs >= _ENOUGH and found.promote_s > holds:
            out.append(f"median time to promote {found.promote_s:g} s > {holds:g} s")
        return out
    if found.rolled_back < scenario.caught:
        out.append(f"caught {found.rolled_back:.1%} < {scenario.caught:.0%}: held for {found.waited}")
    most_s = scenario.scrapes * found.interval if scenario.scrapes else scenario.median_s
    if most_s is not None and (found.median_s is None or found.median_s > most_s):
        middle = "never" if found.median_s is None else f"{found.median_s:g} s"
        out.append(f"median {middle} > {most_s:g} s")
    return out


def behind(scenario: Scenario, ours: Row, tutorial: Row) -> list[str]:
    """Which promises in comparison with Flagger's tutorial rule these rows break, in words."""
    world, fault = scenario.world, scenario.fault
    out: list[str] = []
    if scenario.good or max(fault.errors, fault.lost) < 0.01 or not scenario.caught:
        return out
    if world.rps >= 100 and ours.harmed > tutorial.harmed / 7:
        out.append(f"{ours.harmed:.0f} failed requests > 1/7 of the tutorial's {tutorial.harmed:.0f}")
    if world.rps < 100 and (ours.median_s or inf) > (tutorial.median_s or inf):
        out.append(f"median {ours.median_s or inf:g} s is later than the tutorial's {tutorial.median_s:g} s")
    return out


HEADER = (
    f"{'scenario':34} {'judge':22} {'back':>6} {'95 % interval':>14} {'prom.':>6} {'held':>6} "
    f"{'median':>7} {'p95':>7} {'harmed':>8} {'promote':>7} {'limit':>6} {'ratio':>6}"
)


def line(found: Row) -> str:
    """A row of the table."""
    return (
        f"{found.scenario:34} {found.judge:22} {found.rolled_back:6.1%} {found.low:6.1%} -{found.high:6.1%} "
        f"{found.promoted:6.1%} {found.held:6.1%} {_s(found.median_s):>7} {_s(found.p95_s):>7} {found.harmed:8.1f} "
        f"{_s(found.promote_s):>7} {_s(found.limit_s):>6} {'-' if found.ratio is None else f'{found.ratio:.1f}':>6}"
    )


def as_json(found: Row) -> dict[str, object]:
    """A row for machines."""
    return asdict(found)


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f}s"
