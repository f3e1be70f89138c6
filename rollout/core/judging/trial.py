"""A release without a mesh: the policy's steps and the judge, on traffic that somebody else makes up or remembers.

Replay, planning and the judge's benchmark run the very rules of a release here, thousands of times. What the phases do
about routes, pods, people and outages is decide.py's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from rollout.core.counts import Tally
from rollout.core.judging import guard, judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import NO_CONTROL, Evidence, Interval, blame, next_step
from rollout.core.policy import PolicySpec

Traffic = Callable[[int, float, float], Tally | None]
"""(the canary's weight, since, until) in seconds after the start -> what was counted then; None: there is no more."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a trial ended."""

    outcome: Literal["promoted", "rolled back", "held"]
    """held: neither, after the longest time that it was given, or for want of traffic."""
    seconds: float
    step: int
    check: str = ""
    """What convicted it, or what it was held for."""
    evidence: Evidence = field(default_factory=Evidence)
    reached: tuple[float, ...] = ()
    """When each step began, in seconds; a step that was entered again counts by its first time."""
    unproven: int = 0
    """Steps that were left without proof."""


def run(policy: PolicySpec, learned: Learned, traffic: Traffic, *, most_seconds: float) -> Ended:
    """Release once, a look after every `policy.interval`; pure but for what `traffic` does."""
    seconds = policy.interval.total_seconds()
    steps, step, began, now = policy.steps, 0, 0.0, 0.0
    evidence, held_for, unproven = Evidence(), "", 0
    reached = [0.0]
    while now < most_seconds:
        weight = steps[step].weight
        tally = traffic(weight, now, now + seconds)
        if tally is None:
            break
        now += seconds
        first = evidence.looks == 0
        interval = Interval(
            tally=blame(evidence, tally, weight), weight=weight, seconds=seconds, settling=first, straddles=first
        )
        evidence = judge.look(evidence, interval, policy, learned)
        found = judge.opinion(evidence, policy, learned, weight)
        if found.kind == "guilty":
            return Ended("rolled back", now, step, found.check, evidence, tuple(reached), unproven)
        if found.kind == "alarm":
            evidence = next_step(guard.retreat(evidence, found.check, policy, learned))
            step, began = 0, now
            continue
        held_for = judge.waiting_for(evidence, found, policy, learned, weight)
        if judge.may_leave(found, held_for, now - began, steps[step].hold.total_seconds(), policy):
            unproven += found.kind != "proven" and weight <= NO_CONTROL
            if step + 1 == len(steps):
                return Ended("promoted", now, step, "", evidence, tuple(reached), unproven)
            step, began = step + 1, now
            reached += [now] * (step + 1 - len(reached))
            evidence = next_step(evidence)
    return Ended("held", now, step, held_for, evidence, tuple(reached), unproven)
