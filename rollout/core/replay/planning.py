"""What a policy can do at today's traffic: how long each step needs to prove a canary, or to catch a bad one.

Found by simulation with the judge itself, on traffic that is made up from what stable's past taught; no formula of its
own. History that is replayed instead is rehearsal.py's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, floor
from statistics import median

from rollout.core.counts import Counts, Slow, Tally
from rollout.core.judging import judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import NO_CONTROL, Evidence, Interval, judged_bounds, next_step
from rollout.core.policy import PolicySpec
from rollout.core.replay.chance import Dice, binomial, poisson

TIMES = (2, 5, 10)
"""How much worse than the tolerated the faults are that are tried."""
RUNS = 20
_LOOKS, _FEWEST_LOOKS = 80, 10
"""How many looks are simulated for all steps of a release together, and for one step at least; holds that have room
for more are looked at less often."""
_LONGER, _LONGER_RUNS, _LONGER_LOOKS = 16, 10, 64
"""For a step that is too short: how many times its hold is tried, how often, in how many looks."""


@dataclass(frozen=True, slots=True)
class Chance:
    """Something that may happen within a hold."""

    share: float
    """Of the runs in which it did."""
    seconds: float | None
    """Median time from the beginning of the step, over all runs; None where it did not happen in half of them."""


@dataclass(frozen=True, slots=True)
class Catch(Chance):
    """A fault that begins with the step, and is found."""

    times: int
    rate: float
    """The canary's share of failed requests."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step can do."""

    weight: int
    hold: float
    """Seconds."""
    requests: float
    """The canary's, expected."""
    proof: Chance | None
    """That a healthy canary is proven; None where there is no control to prove it by."""
    catches: tuple[Catch, ...]
    low_data: bool
    """Whether so few requests are expected that the checks cannot pass within the hold (`checks.minRequests`)."""
    too_short: bool
    """Neither proof nor the worst fault is found within the hold in most runs; not said of a step without control that
    follows others."""
    enough: float | None
    """Seconds of hold that would do where something is wrong; None where nothing is, or none was found that does."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What all steps can do."""

    per_second: float
    """Requests of the service."""
    base: float
    """Stable's usual share of failed requests."""
    tolerated: float
    """The canary's highest tolerated share beside it."""
    steps: tuple[StepPlan, ...]
    runs: int


def plan(
    policy: PolicySpec,
    learned: Learned,
    dice: Callable[[int], Dice],
    *,
    runs: int = RUNS,
    progress: Callable[[float], None] | None = None,
) -> Plan:
    """Simulate the steps at the traffic of `learned`, which must have some. `dice` gives a fresh source per number."""
    # A service that never fails is allowed to: the margin.
    usual = max(learned.errors.rate, policy.checks.errors.over_stable.margin)
    faults = tuple(min(1.0, times * usual) for times in TIMES)
    size = len(policy.steps)
    starts: list[list[Evidence]] = [[] for _ in range(size)]
    proofs: list[list[float | None]] = [[] for _ in range(size)]
    found: list[list[list[float | None]]] = [[[] for _ in faults] for _ in range(size)]
    for run in range(runs):
        made = _Made(policy, learned, dice(run))
        evidence = Evidence()
        for step in range(size):
            starts[step].append(evidence)
            for index, rate in enumerate(faults):
                found[step][index].append(_caught(made, evidence, step, rate))
            evidence, proven = _passed(made, evidence, step)
            proofs[step].append(proven)
            if progress is not None:
                progress((run * size + step + 1) / (runs * size))
    plans = []
    for step, stage in enumerate(policy.steps):
        hold = stage.hold.total_seconds()
        requests = learned.per_second * stage.weight / 100 * hold
        proof = _chance(proofs[step]) if stage.weight <= NO_CONTROL else None
        catches = tuple(
            Catch(chance.share, chance.seconds, times, rate)
            for times, rate, chance in zip(TIMES, faults, map(_chance, found[step]), strict=True)
        )
        low = requests < policy.checks.min_requests
        # At full weight only faults that began there are left to find; where there was control before, that is enough.
        short = catches[-1].seconds is None and (proof.seconds is None if proof is not None else step == 0)
        enough = None
        if short:
            enough = _enough(policy, learned, dice, starts[step], step, faults[-1])
        if low and (enough is not None or not short):
            enough = max(enough or 0.0, hold * policy.checks.min_requests / requests)
        plans.append(StepPlan(stage.weight, hold, requests, proof, catches, low, short, enough))
    return Plan(
        per_second=learned.per_second,
        base=learned.errors.rate,
        tolerated=policy.checks.errors.over_stable.of(learned.errors.rate),
        steps=tuple(plans),
        runs=runs,
    )


class _Made:
    """Traffic that is made up: requests at today's rate, errors in clumps and slow requests as stable has them."""

    def __init__(self, policy: PolicySpec, learned: Learned, dice: Dice, longer: int = 1) -> None:
        self.policy = policy
        self.learned = learned
        self._dice = dice
        self._longer = longer
        bounds = judged_bounds(policy, learned)
        shares = [learned.habit_at(bound).rate for bound in bounds]
        # Slower than the higher bound are a part of those slower than the lower.
        self._slow = [
            (bound, min(1.0, share / before) if before else 0.0)
            for bound, share, before in zip(bounds, shares, (1.0, *shares), strict=False)
        ]

    def intervals(self, step: int, rate: float) -> Iterator[Interval]:
        """One after another until the hold is over; the canary fails at `rate`."""
        stage = self.policy.steps[step]
        span, each = stage.hold.total_seconds() * self._longer, self.policy.interval.total_seconds()
        most = max(_FEWEST_LOOKS, _LOOKS // len(self.policy.steps)) if self._longer == 1 else _LONGER_LOOKS
        seconds = each * max(1, ceil(span / each / most))
        for number in range(max(1, floor(span / seconds))):
            n = self.learned.per_second * seconds
            tally = Tally(
                canary=self._counts(n * stage.weight / 100, rate),
                stable=self._counts(n * (100 - stage.weight) / 100, self.learned.errors.rate),
            )
            yield Interval(tally=tally, weight=stage.weight, seconds=seconds, settling=not number, straddles=not number)

    def _counts(self, expected: float, rate: float) -> Counts:
        n = poisson(self._dice, expected)
        clump = self.learned.errors.clump
        clumps = poisson(self._dice, n * rate / clump)
        slow, left = [], n
        for bound, share in self._slow:
            left = binomial(self._dice, left, share)
            slow.append(Slow(bound=bound, requests=left, timed=n))
        return Counts(requests=n, errors=min(n, floor(clumps * clump + self._dice.random())), timed=n, slow=tuple(slow))


def _passed(made: _Made, evidence: Evidence, step: int) -> tuple[Evidence, float | None]:
    """The evidence after a healthy step, ready for the next; and after how many seconds it was proven."""
    looks = [*_looks(made, evidence, step, made.learned.errors.rate)]
    return next_step(looks[-1][0]), next((passed for _, passed, kind in looks if kind == "proven"), None)


def _caught(made: _Made, evidence: Evidence, step: int, rate: float) -> float | None:
    """Seconds until the canary is rolled back, or asked back from full weight."""
    return next((s for _, s, kind in _looks(made, evidence, step, rate) if kind in {"guilty", "alarm"}), None)


def _looks(made: _Made, evidence: Evidence, step: int, rate: float) -> Iterator[tuple[Evidence, float, str]]:
    passed, weight = 0.0, made.policy.steps[step].weight
    for interval in made.intervals(step, rate):
        passed += interval.seconds
        evidence = judge.look(evidence, interval, made.policy, made.learned)
        yield evidence, passed, judge.opinion(evidence, made.policy, made.learned, weight).kind


def _chance(times: list[float | None]) -> Chance:
    happened = sorted(time for time in times if time is not None)
    share = len(happened) / len(times)
    never = [float("inf")] * (len(times) - len(happened))
    return Chance(share, median([*happened, *never]) if share > 0.5 else None)


def _enough(
    policy: PolicySpec,
    learned: Learned,
    dice: Callable[[int], Dice],
    starts: list[Evidence],
    step: int,
    rate: float,
) -> float | None:
    """A hold in which the step is proven, or the fault found, in most runs."""
    proofs: list[float | None] = []
    catches: list[float | None] = []
    for run, evidence in enumerate(starts[:_LONGER_RUNS]):
        made = _Made(policy, learned, dice(len(starts) + run), _LONGER)
        catches.append(_caught(made, evidence, step, rate))
        looks = _looks(made, evidence, step, learned.errors.rate)
        proofs.append(next((passed for _, passed, kind in looks if kind == "proven"), None))
    times = [chance.seconds for chance in (_chance(proofs), _chance(catches)) if chance.seconds is not None]
    return min(times, default=None)
