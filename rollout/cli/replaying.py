"""`rollout replay`: the judge over history, on a past release or on pseudo-releases.

The rules are core/replaying.py's and core/rehearsal.py's; how it looks is in accounts.py.
"""

import asyncio
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import typer

from rollout import history
from rollout.cli import accounts, asking, views
from rollout.cli.accounts import Account, Judged
from rollout.cli.asking import Asked, Known, Progress, Source
from rollout.cli.choices import Output
from rollout.cli.exits import ExitCode, Stop
from rollout.cli.session import Session
from rollout.cli.terminal import emit, say
from rollout.core.counts import Group
from rollout.core.judging.clumps import Learned
from rollout.core.judging.past import Block
from rollout.core.quantities import format_duration, parse_share
from rollout.core.replay import rehearsal, replaying, suggestions
from rollout.core.replay.rehearsal import Fault, History, TooShort
from rollout.core.route import Unavailable
from rollout.ports import Metrics, Subject

RUNS, _MOST_RUNS = 200, 10_000
"""Pseudo-releases, unless named, and at most."""
_LATENCY = re.compile(r"\+([0-9]{1,4}(?:\.[0-9]{1,2})?)%")
_MOSTLY = 0.5
"""Share of the blocks with traffic in which two pods must be seen for them to be told apart."""


_LEAST = 10
"""Intervals to learn from before the first pseudo-release, where the history does not reach back further."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to replay, from where, how to print."""

    asked: Asked
    source: Source
    since: datetime
    until: datetime
    faults: tuple[Fault, ...]
    runs: int
    seed: int
    output: Output


def fault(text: str) -> Fault:
    """`errors=2%`, `latency=+25%`; a usage error otherwise."""
    kind, _, size = text.partition("=")
    try:
        if kind == "errors" and (share := parse_share(size)) > 0:
            return Fault(errors=share)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--inject") from error
    if kind == "latency" and (match := _LATENCY.fullmatch(size)) and float(match[1]) > 0:
        return Fault(latency=float(match[1]) / 100)
    raise typer.BadParameter(f"expected errors=2% or latency=+25%, not {text!r}", param_hint="--inject")


def so_many(runs: int) -> int:
    """A number of pseudo-releases that can be made; a usage error otherwise."""
    if not 1 <= runs <= _MOST_RUNS:
        raise typer.BadParameter(f"expected 1 to {_MOST_RUNS:,} pseudo-releases, not {runs:,}", param_hint="--runs")
    return runs


def both(text: str) -> tuple[str, str]:
    """`v1,v2`: the stable version and the canary of a past release."""
    stable, comma, canary = text.partition(",")
    if not comma or not stable or not canary or "," in canary or stable == canary:
        raise typer.BadParameter(f"expected STABLE,CANARY such as v1,v2, not {text!r}", param_hint="--versions")
    return stable, canary


def replayed(session: Session, wanted: Wanted) -> ExitCode:
    """Replay a past release where both versions are named, else rehearse on stable's traffic."""
    known = asking.settled(session, wanted.asked)
    if known.canary is not None:
        judged = _judged(session, wanted, known)
        lines, found = accounts.past(known, judged), accounts.past_document(known, judged)
    else:
        account = _rehearsed(session, wanted, known)
        lines, found = accounts.rehearsed(known, account), accounts.rehearsal_document(known, account)
    if wanted.output is Output.TABLE:
        for line in lines:
            say(line)
    else:
        emit(views.encoded(found, wanted.output))
    return ExitCode.OK


def _judged(session: Session, wanted: Wanted, known: Known) -> list[Judged]:
    with asking.bars() as bar:
        answer = asyncio.run(_past_releases(session, wanted, known, bar("reading the history")))
    asking.usable(answer)
    assert isinstance(answer, list)
    return answer


async def _past_releases(
    session: Session, wanted: Wanted, known: Known, progress: Progress
) -> list[Judged] | Unavailable:
    """Every release of the canary in the window, judged with what was to be learned before it."""
    policy, bounds = known.policy, known.bounds()
    subject = known.subject(bounds)
    lead = replaying.LEAD * policy.interval
    async with wanted.source.opened(session) as metrics:
        blocks = await _stretch(metrics, subject, known, wanted.since - lead, wanted.until, progress)
        if isinstance(blocks, Unavailable):
            return blocks
        _with_traffic(known, blocks, wanted, "stable", "canary")
        weights = replaying.weights_of(blocks, [step.weight for step in policy.steps])
        judged = []
        for span in replaying.releases(weights):
            if blocks[span.start].start < wanted.since.timestamp():
                continue
            began = datetime.fromtimestamp(blocks[span.start].start, UTC)
            learned = await history.learn_past(metrics, subject, policy, began)
            # Nothing to learn from is what a controller would have had to go on with, too.
            known_then = learned if isinstance(learned, Learned) else Learned()
            losses = replaying.usual_losses(blocks[: span.start])
            part = slice(span.start, span.stop)
            review = replaying.review(policy, known_then, blocks[part], weights[part], bounds, losses)
            judged.append(Judged(review, known_then))
    if not judged:
        raise Stop(
            ExitCode.USAGE,
            f"no release of {known.canary} begins between --from and --to: it has its traffic from the start\n"
            "look further back with --from",
        )
    return judged


def _rehearsed(session: Session, wanted: Wanted, known: Known) -> Account:
    policy = known.policy

    def dice(number: int) -> random.Random:
        return random.Random(f"{wanted.seed}/{number}")  # noqa: S311 - a simulation that can be repeated

    with asking.bars() as bar:
        found = asyncio.run(_stables_past(session, wanted, known, bar("reading the history")))
        asking.usable(found)
        assert isinstance(found, History)
        _with_traffic(known, found.blocks, wanted, "stable")
        try:
            prepared = rehearsal.prepare(found, policy, wanted.runs, dice)
        except TooShort as error:
            raise Stop(
                ExitCode.USAGE,
                f"the holds of this policy take {format_duration(error.needed)}, there is less of {known.stable}'s "
                "traffic between --from and --to\n"
                "give more of the history with --from, or a --policy with shorter holds",
            ) from error
        healthy = rehearsal.rehearse(prepared, policy, progress=bar(f"{wanted.runs} pseudo-releases"))
        faulty = {
            one: rehearsal.outcome(rehearsal.rehearse(prepared, policy, one, progress=bar(f"with {one}")))
            for one in wanted.faults
        }
        advice = suggestions.suggest(prepared, policy, healthy, progress=bar("trying tolerances"))
    return Account(
        history=found,
        apart=prepared.apart,
        healthy=rehearsal.outcome(healthy),
        faulty=faulty,
        advice=advice,
    )


async def _stables_past(session: Session, wanted: Wanted, known: Known, progress: Progress) -> History | Unavailable:
    """What stable did, by pod where its pods report, else as its clients saw it."""
    policy, bounds = known.policy, known.bounds()
    subject = known.subject(bounds)
    own = known.policy.metrics.model_copy(update={"reporters": ("destination",)})
    since = wanted.since - policy.judge.learn
    async with wanted.source.opened(session) as metrics:
        blocks = await _stretch(metrics, replace(subject, policy=own), known, since, wanted.until, progress)
        if isinstance(blocks, Unavailable):
            return blocks
        busy = [block for block in blocks if "stable" in block.groups]
        by_pod = bool(busy) and sum(len(block.pods) > 1 for block in busy) > _MOSTLY * len(busy)
        if not by_pod and policy.metrics.reporters != ("destination",):
            again = await _stretch(metrics, subject, known, since, wanted.until, progress)
            if isinstance(again, Unavailable):
                return again
            blocks = again
    # Before Prometheus or the version had begun, and after the version was replaced, there was nothing to release.
    served = [index for index, block in enumerate(blocks) if "stable" in block.groups]
    blocks = blocks[served[0] : served[-1] + 1] if served else []
    least = min(policy.judge.learn, _LEAST * policy.interval).total_seconds()
    began = max(wanted.since.timestamp(), blocks[0].start + least) if served else 0.0
    return History(blocks, bounds, by_pod, began)


async def _stretch(
    metrics: Metrics, subject: Subject, known: Known, since: datetime, until: datetime, progress: Progress
) -> list[Block] | Unavailable:
    policy = known.policy
    return await history.stretch(
        metrics,
        subject,
        since,
        until,
        block_s=policy.interval.total_seconds(),
        failing=policy.checks.errors.failing(),
        progress=progress,
    )


def _with_traffic(known: Known, blocks: Sequence[Block], wanted: Wanted, *groups: Group) -> None:
    """Stop where a version has no requests in the window."""
    since = wanted.since.timestamp()
    for group, version in (("stable", known.stable), ("canary", known.canary)):
        if group in groups and not any(
            block.groups[group].requests for block in blocks if block.start >= since and group in block.groups
        ):
            raise asking.no_traffic(known, version or "", wanted.since, wanted.until)
