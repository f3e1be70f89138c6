"""`rollout plan`: what a policy can prove and catch at today's traffic. The simulation is core/planning.py's."""

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollout import history
from rollout.cli import asking, views
from rollout.cli.asking import Asked, Known, Source
from rollout.cli.choices import Output
from rollout.cli.exits import ExitCode
from rollout.cli.session import Session
from rollout.cli.terminal import columns, emit, say
from rollout.core.judging.clumps import Learned
from rollout.core.quantities import format_duration, format_share
from rollout.core.replay.planning import Chance, Plan, StepPlan, plan
from rollout.core.route import Unavailable

TODAY = timedelta(hours=1)
"""How much of the past is taken for today's traffic."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to plan, where today's traffic is found, how to print."""

    asked: Asked
    source: Source
    seed: int
    output: Output


def planned(session: Session, wanted: Wanted) -> ExitCode:
    """Read the last hour, simulate every step, tell."""
    known = asking.settled(session, wanted.asked)
    now = session.surroundings.assembly().now()
    learned = asyncio.run(_today(session, wanted.source, known, now))
    asking.usable(learned)
    assert isinstance(learned, Learned)
    if not learned.per_second:
        raise asking.no_traffic(known, known.stable, now - TODAY, now)

    def dice(number: int) -> random.Random:
        return random.Random(f"{wanted.seed}/{number}")  # noqa: S311 - a simulation that can be repeated

    with asking.bars() as bar:
        found = plan(known.policy, learned, dice, progress=bar(f"trying {known.service}'s steps"))
    if wanted.output is Output.TABLE:
        for line in _told(known, learned, found):
            say(line)
    else:
        emit(views.encoded(document(known, learned, found), wanted.output))
    return ExitCode.OK


async def _today(session: Session, source: Source, known: Known, now: datetime) -> Learned | Unavailable:
    judge = known.policy.judge.model_copy(update={"learn": TODAY})
    policy = known.policy.model_copy(update={"judge": judge})
    async with source.opened(session) as metrics:
        return await history.learn_past(metrics, known.subject(known.bounds()), policy, now)


def document(known: Known, learned: Learned, found: Plan) -> dict[str, Any]:
    """For scripts. Times in seconds, shares between 0 and 1."""
    return {
        "service": known.service,
        "namespace": known.namespace,
        "stable": known.stable,
        "policy": known.policy_from,
        "requestsPerSecond": found.per_second,
        "errorRate": found.base,
        "toleratedErrorRate": found.tolerated,
        "pods": learned.pods,
        "clumpSize": learned.errors.clump,
        "slow": [{"boundMs": bound, "share": learned.habit_at(bound).rate} for bound in learned.bounds],
        "runs": found.runs,
        "steps": [
            {
                "weight": step.weight,
                "holdSeconds": step.hold,
                "canaryRequests": round(step.requests),
                "proof": None if step.proof is None else _chance(step.proof),
                "catches": [{"times": one.times, "errorRate": one.rate, **_chance(one)} for one in step.catches],
                "lowData": step.low_data,
                "tooShort": step.too_short,
                "enoughHoldSeconds": step.enough,
            }
            for step in found.steps
        ],
        "notPlanned": list(known.left_out),
        "warnings": warnings(known, found),
    }


def _chance(one: Chance) -> dict[str, Any]:
    return {"share": one.share, "medianSeconds": one.seconds}


def _told(known: Known, learned: Learned, found: Plan) -> list[str]:
    head = ["STEP", "HOLD", "CANARY REQUESTS", "PROVEN"]
    head += [f"{one.times}x ({_short(one.rate)} ERRORS)" for one in found.steps[0].catches]
    rows = []
    for step in found.steps:
        row = [f"{step.weight}%", duration_of(step.hold), f"{step.requests:,.0f}"]
        row.append("no control" if step.proof is None else _within(step.proof))
        rows.append([*row, *(_within(one) for one in step.catches)])
    pods = f"{learned.pods} pods" if learned.pods else "pods not told apart"
    return [
        known.heading,
        f"last hour: {found.per_second:,.1f} requests/s, {_short(found.base)} failed ({_short(found.tolerated)} "
        "tolerated of a canary), " + pods,
        "",
        *columns(head, rows),
        "",
        f"median time in {found.runs} simulated runs, and the share of them within the hold; - is never",
        known.not_tried("planned"),
        *(f"warning: {line}" for line in warnings(known, found)),
    ]


def _within(chance: Chance) -> str:
    if not chance.share:
        return "-"
    share = _percent(chance)
    return f"in {share} of runs" if chance.seconds is None else f"{duration_of(chance.seconds)} ({share})"


def _percent(chance: Chance) -> str:
    return f"{chance.share * 100:.0f}%"


def warnings(known: Known, found: Plan) -> list[str]:
    """What is wrong with the steps, and what would help."""
    said = known.warnings(found.base)
    for number, step in enumerate(found.steps, start=1):
        name = f"step {number} ({step.weight}% for {duration_of(step.hold)})"
        if step.low_data:
            least = known.policy.checks.min_requests
            said.append(
                f"{name} expects {step.requests:,.0f} requests of the canary, its checks need {least} to pass; "
                f"{_instead(step)}"
            )
        elif step.too_short:
            said.append(
                f"{name} is too short to mean anything: in most runs it neither proves a good canary nor catches one "
                f"with {_short(step.catches[-1].rate)} errors; {_instead(step)}"
            )
        if known.policy.judge.unproven == "hold" and step.proof is not None and step.proof.seconds is None:
            said.append(
                f"{name} proves a good canary within its hold in {_percent(step.proof)} of the runs, and "
                "judge.unproven: hold keeps it until then; a longer hold, or `unproven: advance`"
            )
    return said


def _instead(step: StepPlan) -> str:
    if step.enough is None:
        return "no hold that was tried would do: rely on errors.failFast and absolute limits, or send it more traffic"
    return f"hold: {format_duration(_round(step.enough))} would do"


def _round(seconds: float) -> timedelta:
    """Up to what a person would write."""
    unit = next(unit for most, unit in ((120, 15), (1800, 60), (7200, 300), (float("inf"), 1800)) if seconds <= most)
    return timedelta(seconds=-(-seconds // unit) * unit)


def duration_of(seconds: float) -> str:
    """Whole seconds, as a policy spells them."""
    return format_duration(timedelta(seconds=round(seconds)))


def _short(share: float) -> str:
    return format_share(float(f"{share:.2g}"))
