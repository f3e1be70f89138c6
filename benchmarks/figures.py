"""The pictures of docs/judge.md, drawn with the judge itself on the benchmark's worlds, and its hard limit's price.

`python -m benchmarks.figures [FOLDER]` (`make figures`) writes the pictures, the same bytes each time; with `fail-fast`
instead of a folder it prints what that limit costs and gains. Pictures show few runs: what is promised is measured by
`make bench-judge`.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from math import ceil, comb, inf, sqrt
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.judge.latencies import BOUNDS_MS
from benchmarks.judge.scenarios import GOOD, PLAIN
from benchmarks.judge.streams import Stream
from benchmarks.judge.worlds import Fault, World
from rollout.core.checks import Checks, Errors, FailFast, Latency
from rollout.core.counts import Counts, Tally
from rollout.core.judging import betting, judge
from rollout.core.judging.clumps import Learned, learn
from rollout.core.judging.evidence import Evidence, Interval, next_step
from rollout.core.policy import PolicySpec

FOLDER = Path(__file__).parent.parent / "docs" / "judge"
SCRAPE_S, STEP_S, WEIGHTS = 15.0, 300.0, (10, 30, 50)
"""The default policy's steps but the last, which has no control and a guard of its own."""
_NO_HARD_LIMIT = Errors(fail_fast=FailFast(enabled=False))
_STATISTICS = PolicySpec(checks=Checks(errors=_NO_HARD_LIMIT))
"""The default policy without its hard limit, so that pictures show the evidence at work."""
_ERRORS_ONLY = PolicySpec(checks=Checks(errors=_NO_HARD_LIMIT, latency=Latency(compare=())))
_Z_ONE_SIDED = 2.326
_LOOKS = 80
"""Of the default policy in one release; each may complete one count."""
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "rollout",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
}
# Okabe and Ito's colours, which the colour-blind can tell apart.
_GREEN, _BLUE, _ORANGE, _RED, _GREY = "#009E73", "#0072B2", "#E69F00", "#D55E00", "#666666"

Traffic = Callable[[int, float, float], Tally | None]


class Look(NamedTuple):
    """One look of the judge."""

    at: float
    """Seconds after the start."""
    tally: Tally
    evidence: float
    """`E` after it."""
    guilty: bool
    """Whether it is rolled back now."""


def looks(traffic: Traffic, learned: Learned, policy: PolicySpec = _STATISTICS) -> Iterator[Look]:
    """A release by the clock until it is rolled back, or its last step begins; what would hold a step is not asked."""
    evidence, now = Evidence(), 0.0
    for weight in WEIGHTS:
        for index in range(round(STEP_S / SCRAPE_S)):
            tally = traffic(weight, now, now + SCRAPE_S)
            assert tally is not None
            now += SCRAPE_S
            first = index == 0
            interval = Interval(tally=tally, weight=weight, seconds=SCRAPE_S, settling=first, straddles=first)
            evidence = judge.look(evidence, interval, policy, learned)
            found = judge.opinion(evidence, policy, learned, weight)
            guilty = found.kind == "guilty"
            yield Look(now, tally, found.evidence, guilty)
            if guilty:
                return
        evidence = next_step(evidence)


@cache
def learned_from(world: World, seed: int = 0) -> Learned:
    """What this world's past teaches."""
    past, by_pod = Stream(world, GOOD, seed).past()
    return learn(past, BOUNDS_MS, by_pod)


def errors_alone(world: World, fault: Fault, seed: int) -> Traffic:
    """Requests and independent errors of a world where nothing else happens: all that is needed, and quick to draw."""
    rng = np.random.default_rng([seed, round(world.rps), round(fault.errors * 1e4)])

    def traffic(weight: int, since: float, until: float) -> Tally:
        total = rng.poisson(world.rps * (until - since))
        sent = rng.binomial(total, weight / 100)
        rate = 1 - (1 - world.errors) * (1 - fault.errors)
        return Tally(
            stable=Counts(requests=int(total - sent), errors=int(rng.binomial(total - sent, world.errors))),
            canary=Counts(requests=int(sent), errors=int(rng.binomial(sent, rate))),
        )

    return traffic


def evidence_over_time() -> Figure:
    """Twenty good canaries, and some that are not."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for seed in range(20):
        _line(axes, _traced(PLAIN, GOOD, seed), _GREEN, "good (20 canaries)" if not seed else "", width=0.9)
    for share, color in ((0.01, _BLUE), (0.05, _ORANGE), (1.0, _RED)):
        for seed in range(5):
            label = "" if seed else "outage (5)" if share == 1 else f"{100 * share:g} % errors (5)"
            _line(axes, _traced(PLAIN, Fault("errors", errors=share), 100 + seed), color, label)
    _evidence_axis(axes)
    _minutes(axes, 15)
    _steps(axes)
    axes.legend(loc="upper right")
    return figure


def peeking() -> Figure:
    """Good canaries rolled back so far: by one z-test, by the same at every scrape, by this judge."""
    runs = 200
    world = World("base 1 %", errors=0.01)
    learned = learned_from(world)
    size = round(len(WEIGHTS) * STEP_S / SCRAPE_S)
    once, ever, ours = np.zeros(size), np.zeros(size), np.zeros(size)
    for seed in range(runs):
        seen, crossed = np.zeros(4, dtype=np.int64), False
        for index, look in enumerate(looks(errors_alone(world, GOOD, seed), learned, _ERRORS_ONLY)):
            canary, stable = look.tally.canary, look.tally.stable
            seen += (canary.errors, canary.requests, stable.errors, stable.requests)
            beyond = _z(*seen.tolist()) > _Z_ONE_SIDED
            crossed = crossed or beyond
            once[index] += beyond
            ever[index] += crossed
            ours[index:] += look.guilty
    figure = Figure(figsize=(7.5, 3.0), layout="constrained")
    axes = figure.subplots()
    minutes = (np.arange(size) + 1) * SCRAPE_S / 60
    for table, color, label in (
        (ever, _RED, "z-test at 1 %, after every scrape"),
        (once, _ORANGE, "the same test, if this look were the only one"),
        (ours, _GREEN, "this judge at 1 %, after every scrape"),
    ):
        axes.step(minutes, 100 * table / runs, color=color, label=label, where="post")
    axes.axhline(1, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_ylabel("good canaries\nrolled back (%)")
    axes.set_ylim(-0.5, 16)
    _minutes(axes, 15)
    axes.legend(loc="upper left")
    return figure


def bursts() -> Figure:
    """The same share of failed requests, one by one and ten at a time: bets without clumps, and the judge."""
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    singly = World("singly", errors=0.006)
    in_tens = World("in tens", errors=0.001, burst=10, burst_errors=0.005)
    for axes, world, title in zip(
        both, (singly, in_tens), ("errors one by one", "errors in bursts of 10"), strict=True
    ):
        for seed in range(8):
            ours = [*looks(Stream(world, GOOD, seed).tally, learned_from(world, seed), _ERRORS_ONLY)]
            _line(axes, _bare(ours), _RED, "" if seed else "bets without clumps and caps", width=1.0)
            _line(axes, ours, _GREEN, "" if seed else "this judge", width=1.0)
        axes.set_title(title)
        _evidence_axis(axes, label=axes is both[0])
        _minutes(axes, 15)
    both[0].legend(loc="upper left")
    return figure


def _bare(seen: list[Look]) -> list[Look]:
    """The same counts as the textbook bets on them: every failed request is its own, and no look is capped."""
    process: tuple[float, ...] = ()
    found = []
    errors = _STATISTICS.checks.errors.over_stable
    for index, look in enumerate(seen):
        canary, stable = look.tally.canary, look.tally.stable
        counts = canary.errors, canary.requests, 1.0, stable.errors, stable.requests, 1.0
        logs = betting.comparison(*counts, errors.ratio, errors.margin, judge.ERROR_BETS)
        share = 1 / 2 if not index else 1 / 3 if index % round(STEP_S / SCRAPE_S) == 0 else SCRAPE_S / 1800
        process = betting.grow(process, logs, share, inf)
        worth = betting.worth(process)
        found.append(look._replace(evidence=worth, guilty=worth >= 100))
        if worth >= 100:
            break
    return found


def incident() -> Figure:
    """Both versions fail for a minute or two: what their rates do, and what the evidence does."""
    traced = _traced(World("incidents", incidents=4), GOOD, 1)
    figure = Figure(figsize=(7.5, 4.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    minutes = [look.at / 60 for look in traced]
    for name, color, label in (("stable", _BLUE, "stable"), ("canary", _ORANGE, "canary (a good one)")):
        counts = [getattr(look.tally, name) for look in traced]
        rates = [100 * one.errors / one.requests for one in counts]
        upper.step(minutes, rates, color=color, label=label, where="pre")
    upper.axhline(1, color=_GREY, linewidth=0.8, linestyle=":")
    upper.annotate("a fixed limit of 1 %", (0.1, 1), xytext=(2, 3), textcoords="offset points", color=_GREY, fontsize=9)
    upper.set_ylabel("failed requests (%)")
    upper.legend(loc="upper right")
    _line(lower, traced, _GREEN, "")
    _evidence_axis(lower)
    _minutes(lower, 15)
    _steps(lower)
    return figure


def caught() -> Figure:
    """How many bad canaries are rolled back by when, by their errors and the service's traffic."""
    runs = 25
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    shares = ((1.0, _RED), (0.5, _ORANGE), (0.05, _BLUE), (0.01, _GREEN), (0.005, _GREY))
    for axes, rps in zip(panels, (1, 10, 100), strict=True):
        world = World("plain", rps=rps)
        for share, color in shares:
            fault = Fault("errors", errors=share)
            ends = [_end(errors_alone(world, fault, seed), world, _STATISTICS) for seed in range(runs)]
            times = sorted(end.at / 60 for end in ends if end.guilty)
            edges, found = [0.0, *times, 15.0], [*range(len(times) + 1), len(times)]
            axes.step(edges, [100 * one / runs for one in found], color=color, label=f"{100 * share:g} %", where="post")
        axes.set_title(f"{rps} request{'s' if rps > 1 else ''}/s")
        _minutes(axes, 15)
    panels[0].set_ylabel("rolled back so far (%)")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        title="canary's failed requests",
        loc="outside upper center",
        ncols=len(shares),
    )
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "evidence": evidence_over_time,
    "peeking": peeking,
    "bursts": bursts,
    "incident": incident,
    "caught": caught,
}


def write(folder: Path) -> None:
    """Draw all of them into `folder`, as NAME.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        for name, draw in FIGURES.items():
            draw().savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


def _traced(world: World, fault: Fault, seed: int) -> list[Look]:
    return [*looks(Stream(world, fault, seed).tally, learned_from(world, seed))]


def _end(traffic: Traffic, world: World, policy: PolicySpec, past: int = 0) -> Look:
    *_, last = looks(traffic, learned_from(world, past), policy)
    return last


def _z(bad: int, n: int, others_bad: int, others: int) -> float:
    """The two-proportion z of everything counted so far."""
    pooled = (bad + others_bad) / (n + others)
    spread = sqrt(pooled * (1 - pooled) * (1 / n + 1 / others))
    return (bad / n - others_bad / others) / spread if spread else 0.0


def _line(axes: Axes, traced: list[Look], color: str, label: str, *, width: float = 1.3) -> None:
    """The evidence of one release; a dot where it was rolled back."""
    # What is beyond the picture is beyond doubt.
    values = [1.0, *(min(look.evidence, 3e4) for look in traced)]
    minutes = [0.0, *(look.at / 60 for look in traced)]
    axes.plot(minutes, values, color=color, label=label or None, linewidth=width)
    if traced[-1].guilty:
        axes.plot(minutes[-1:], values[-1:], color=color, marker="o", markersize=4)


def _evidence_axis(axes: Axes, *, label: bool = True) -> None:
    axes.set_yscale("log")
    axes.set_ylim(0.05, 5e4)
    axes.axhline(100, color="black", linewidth=1.0, linestyle="--")
    axes.axhline(10, color=_GREY, linewidth=0.8, linestyle=":")
    if label:
        axes.set_ylabel("evidence E")
        for value, text in ((100, "rolled back from 100 on"), (10, "nothing advances from 10 on")):
            axes.annotate(text, (15, value), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=9)


def _minutes(axes: Axes, most: float) -> None:
    axes.set_xlim(0, most)
    axes.set_xticks(range(0, round(most) + 1, 5))
    axes.set_xlabel("minutes")


def _steps(axes: Axes) -> None:
    """Where the steps begin."""
    for index, weight in enumerate(WEIGHTS):
        begin = index * STEP_S / 60
        axes.axvline(begin, color=_GREY, linewidth=0.5)
        axes.annotate(f"{weight} %", (begin, 2.5e4), xytext=(3, 0), textcoords="offset points", color=_GREY, fontsize=9)


def price(limit: FailFast, runs: int) -> dict[str, dict[str, float]]:
    """What the judge with this hard limit does to canaries that are not to blame, and how soon it ends an outage.

    chance: by base error rate, an upper bound of the limit's own false rollbacks per release, errors being independent;
    bursts: share of good canaries rolled back before the last step, by the size of their bursts and the service's rps;
    down: the same where all pods of the canary, but of stable none, are down for so many seconds in the first step;
    outage: median seconds.
    """
    policy = PolicySpec(checks=Checks(errors=Errors(fail_fast=limit)))
    n, rates = limit.requests, (1, 10, 100)
    fatal = range(ceil(limit.max * n), n + 1) if limit.enabled else ()
    found: dict[str, dict[str, float]] = {"chance": {}, "bursts": {}, "down": {}, "outage": {}}
    for rate in (0.001, 0.005, 0.01, 0.05):
        found["chance"][f"{rate:.1%}"] = _LOOKS * sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in fatal)
    for size, rps in product((10, 30), rates):
        world = World("bursts", rps=rps, burst=size)
        hits = (_end(in_bursts(world, seed), world, policy, seed).guilty for seed in range(runs))
        found["bursts"][f"{size} at {rps} rps"] = mean(hits)
    for seconds, rps in product((10, 30, 90), rates):
        world = World("plain", rps=rps)
        hits = (_end(down_for(seconds, world, seed), world, policy).guilty for seed in range(runs))
        found["down"][f"{seconds} at {rps} rps"] = mean(hits)
    for rps in rates:
        world, dead = World("plain", rps=rps), Fault("outage", errors=1.0)
        found["outage"][f"{rps} rps"] = median(
            _end(errors_alone(world, dead, seed), world, policy).at for seed in range(runs)
        )
    return found


def in_bursts(world: World, seed: int) -> Traffic:
    """A good canary; both versions fail singly and in bursts, one request of a version after the other."""
    rng = np.random.default_rng([seed, world.burst, round(world.rps)])
    left = [0, 0]

    def failed(version: int, n: int) -> int:
        left[version] += world.burst * int(rng.poisson(n * world.burst_errors / world.burst))
        bad = min(left[version], n)
        left[version] -= bad
        return max(bad, int(rng.binomial(n, world.errors)))

    def traffic(weight: int, since: float, until: float) -> Tally:
        total = int(rng.poisson(world.rps * (until - since)))
        sent = int(rng.binomial(total, weight / 100))
        stable, canary = (Counts(requests=n, errors=failed(v, n)) for v, n in enumerate((total - sent, sent)))
        return Tally(stable=stable, canary=canary)

    return traffic


def down_for(seconds: float, world: World, seed: int) -> Traffic:
    """A good canary all of whose pods are down for so long, once."""
    rng, usual = np.random.default_rng([seed, 1]), errors_alone(world, GOOD, seed)
    begin = float(rng.uniform(60, 180))

    def traffic(weight: int, since: float, until: float) -> Tally:
        tally = usual(weight, since, until)
        assert tally is not None
        overlap = max(0.0, min(until, begin + seconds) - max(since, begin))
        well = tally.canary.requests - tally.canary.errors
        lost = int(rng.binomial(well, overlap / (until - since)))
        canary = tally.canary.model_copy(update={"errors": tally.canary.errors + lost})
        return tally.model_copy(update={"canary": canary})

    return traffic


def print_prices(runs: int = 200) -> None:
    """What each of some hard limits costs and gains."""
    impatient = (FailFast.model_validate({"max": "50%", "requests": requests}) for requests in (20, 10))
    limits = (FailFast(), *impatient, FailFast(enabled=False))
    for limit in limits:
        name = f"{limit.max:.0%} of {limit.requests}" if limit.enabled else "off"
        for what, table in price(limit, runs).items():
            print(f"{name:12}{what:8}{'  '.join(f'{key}: {value:.2g}' for key, value in table.items())}", flush=True)


def main() -> None:
    """Write the pictures, or print the prices."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else str(FOLDER)
    print_prices() if wanted == "fail-fast" else write(Path(wanted))


if __name__ == "__main__":
    main()
