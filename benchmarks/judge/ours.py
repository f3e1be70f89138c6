"""This project's judge as a contender: the policy's defaults, learned from the world's past as a controller does."""

from datetime import timedelta
from functools import cache

from benchmarks.judge.latencies import BOUNDS_MS
from benchmarks.judge.outcomes import STEPS, Outcome
from benchmarks.judge.streams import LONGEST_S, Stream
from benchmarks.judge.worlds import Fault, World
from rollout.core.judging import trial
from rollout.core.judging.clumps import learn
from rollout.core.policy import PolicySpec, Step


@cache
def policy(interval: float) -> PolicySpec:
    """The default policy, looked at every `interval` seconds."""
    steps = tuple(Step(weight=weight, hold=timedelta(seconds=hold)) for weight, hold in STEPS)
    return PolicySpec(interval=timedelta(seconds=interval), steps=steps)


def ours(world: World, fault: Fault, seed: int, interval: float) -> Outcome:
    """Release once."""
    stream = Stream(world, fault, seed)
    past, by_pod = stream.past()
    learned = learn(past, BOUNDS_MS, by_pod)
    ended = trial.run(policy(interval), learned, stream.tally, most_seconds=LONGEST_S)
    weight = STEPS[ended.step][0]
    return Outcome(ended.outcome, ended.seconds, ended.check, stream.first_bad, stream.harmed, weight)
