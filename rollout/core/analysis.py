"""The look after every scrape: from raw samples to an interval, to verdicts, to an outlook."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil

from rollout.core.counts import Instance, Samples, Tally, since_then, tally
from rollout.core.judging import gates, judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import Interval, blame, judged_bounds, next_step
from rollout.core.judging.verdicts import Verdict, fails, verdicts
from rollout.core.policy import PolicySpec
from rollout.core.release import Status, Window
from rollout.core.route import Unavailable
from rollout.core.turn import Turn

STALE_INTERVALS = 4
"""Without a new sample for so many intervals, an answer is no answer (istio.md: windows of at least four scrapes)."""
LOOKBACK_INTERVALS = 10
"""How far back we look, before the first step, for requests that are lost anyway."""
LONGEST_WINDOW_INTERVALS = 8
"""A window that grew longer begins anew: every look asks for all its samples, of every proxy of every client."""
_SAID = {
    "no-look": "the first scrape at this weight",
    "watching": "whether stable has the trouble that the canary was alarmed for at full weight",
}
"""What is waited for where no single check is, by reason code."""
COARSE_INTERVALS = 2
"""A scrape that takes longer than so many intervals was not what the policy was written for."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the checks say about going on."""

    again: timedelta
    """When the next scrape should be visible."""
    passed: bool = False
    proven: bool = False
    failed: Verdict | None = None
    alarm: Verdict | None = None
    """The check for which the last step's guard asks for a control."""
    blind: str | None = None
    """Why there are no usable metrics now."""
    blind_too_long: bool = False
    waiting_for: str = ""


def samples_since(turn_window: Window | None, policy: PolicySpec, now: datetime) -> datetime:
    """From when on samples are needed for the next look."""
    return turn_window.anchor if turn_window is not None else now - LOOKBACK_INTERVALS * policy.interval


def first_look(policy: PolicySpec) -> timedelta:
    """How soon to look again while a scrape is overdue: a fifth of the interval, but never a busy loop."""
    return max(timedelta(milliseconds=200), policy.interval / 5)


def blindness(turn: Turn, policy: PolicySpec) -> str | None:
    """Why the samples seen in this turn cannot be used; None if they can."""
    samples, spec = turn.seen.samples, turn.release.spec
    if samples is None:
        return "Prometheus was not asked"
    if isinstance(samples, Unavailable):
        return samples.message
    if samples.newest is None:
        return f"Prometheus has no istio_requests_total for {spec.service}.{turn.release.namespace}"
    if turn.now - samples.newest > STALE_INTERVALS * policy.interval:
        return f"the newest sample is {turn.span(turn.now - samples.newest)} old"
    return None


def bad_queries(turn: Turn) -> str | None:
    """Why a custom check cannot be asked at all: better known before a weight moves than at its first look."""
    readings = turn.seen.readings
    troubles = readings.items() if isinstance(readings, Mapping) else ()
    return next((f"{name}: {reading.trouble}" for name, reading in troubles if reading.trouble), None)


def coarseness(turn: Turn, policy: PolicySpec) -> str | None:
    """Why the scrapes are too far apart for this policy; None if they are not, or if there are too few to tell."""
    samples = turn.seen.samples
    assert isinstance(samples, Samples)
    longest = max((series.points for series in samples.series), key=len, default=())
    gaps = sorted(later[0] - earlier[0] for earlier, later in pairwise(longest))
    spacing = timedelta(seconds=round(gaps[(len(gaps) - 1) // 2], 3)) if gaps else timedelta(0)
    if spacing <= COARSE_INTERVALS * policy.interval:
        return None
    return (
        f"Prometheus scrapes every {turn.span(spacing)}, the policy's interval is {turn.span(policy.interval)}: "
        "set spec.interval to the scrape interval, and holds that are many times as long"
    )


def note_what_was_lost_before(turn: Turn, policy: PolicySpec) -> None:
    """Requests lost before any version, per second, at a time when the canary cannot be the cause."""
    samples = turn.seen.samples
    assert isinstance(samples, Samples)
    span = LOOKBACK_INTERVALS * policy.interval
    lost = tally(samples, (), turn.now - span, turn.now).lost
    turn.put(lost_per_second=lost / span.total_seconds())


def open_window(turn: Turn) -> None:
    """Begin to count: from the instant at which the route was seen; what passes a step begins anew."""
    evidence = next_step(turn.status.evidence)
    turn.put(window=Window(anchor=turn.now), evidence=evidence, verdicts=(), blind_since=None)


def look(turn: Turn, policy: PolicySpec, *, drifted: bool) -> Outlook:
    """Judge what is new since the last look, if anything is."""
    blind = blindness(turn, policy)
    if blind is not None:
        since = turn.status.blind_since
        if since is None:
            since = turn.now
            turn.put(blind_since=since)
            turn.tell("metrics.unavailable", error=blind)
        late = turn.now - since > policy.deadlines.metrics
        return Outlook(first_look(policy), blind=blind, blind_too_long=late, waiting_for=blind)
    if turn.status.blind_since is not None:
        turn.tell("metrics.restored", blind_s=round((turn.now - turn.status.blind_since).total_seconds(), 1))
        turn.put(blind_since=None)
    samples, window = turn.seen.samples, turn.status.window
    assert isinstance(samples, Samples) and samples.newest is not None and window is not None
    again = first_look(policy)
    if samples.newest > (window.judged_at or window.anchor):
        _judge(turn, policy, samples, window, drifted=drifted)
        grace = policy.interval / 10
        again = max(again, samples.newest + policy.interval + grace - turn.now)
    return _outlook(turn, policy, again)


def learned_by(turn: Turn) -> Learned:
    """What is known of stable's past; nothing where it was never asked for."""
    return turn.status.learned or Learned()


def _judge(turn: Turn, policy: PolicySpec, samples: Samples, window: Window, *, drifted: bool) -> None:
    """Count what is new, take it into the evidence, and move the window on."""
    status, newest = turn.status, samples.newest
    assert newest is not None and status.order is not None
    learned, failing = learned_by(turn), policy.checks.errors.failing()
    bounds, weight = judged_bounds(policy, learned), _weight(status)
    total = tally(samples, bounds, window.anchor, turn.now, failing)
    grown = since_then(total, window.counted)
    before = window.judged_at or window.anchor
    straddles = window.judged_at is None or not _all_scraped(samples, _step_began(turn), window.judged_at)
    settling = straddles or drifted or before < window.anchor + policy.settle
    seconds = (newest - before).total_seconds()
    grown = _without_the_usual_losses(grown, status.lost_per_second, seconds)
    grown = blame(status.evidence, grown, weight)
    interval = Interval(tally=grown, weight=weight, seconds=seconds, settling=settling, straddles=straddles)
    evidence = judge.look(status.evidence, interval, policy, learned)
    turn.opinion = judge.opinion(evidence, policy, learned, weight)
    kept, gated = gates.look(status.gates, turn.seen.readings, grown, weight, policy)
    turn.looked = (*verdicts(evidence, turn.opinion, policy, learned, weight), *gated)
    if total.uncertain > window.counted.uncertain:
        turn.tell("metrics.uncertain", series=total.uncertain)
    clean_from = newest if straddles else window.clean_from
    moved = _moved(turn, policy, samples, window, total).model_copy(update={"clean_from": clean_from})
    turn.put(evidence=evidence, gates=kept, verdicts=turn.looked, window=moved)
    turn.put(query=samples.query)
    record = status.steps[-1]
    turn.put(
        steps=(
            *status.steps[:-1],
            record.model_copy(
                update={
                    "canary_requests": record.canary_requests + grown.canary.requests + grown.lost,
                    "canary_errors": record.canary_errors + grown.canary.errors + grown.lost,
                }
            ),
        )
    )


def _weight(status: Status) -> int:
    """The canary's share as it is on the route, a person's edit included; its requests follow no other."""
    return max(1, status.weight)


def _step_began(turn: Turn) -> datetime:
    assert turn.status.confirmed is not None
    return turn.status.confirmed.at


def _all_scraped(samples: Samples, since: datetime, until: datetime) -> bool:
    """Whether every proxy that was there at `since` was scraped in (since, until], so that what follows began later."""
    start, end = since.timestamp(), until.timestamp()
    times: dict[Instance, set[float]] = {}
    for series in samples.series:
        times.setdefault(series.instance, set()).update(when for when, _ in series.points)
    return all(
        any(start < when <= end for when in scrapes) or min(scrapes) > start or max(scrapes) <= end
        for scrapes in times.values()
    )


def _moved(turn: Turn, policy: PolicySpec, samples: Samples, window: Window, total: Tally) -> Window:
    """The window after this look; one that grew long begins anew a few intervals ago, with what is already counted."""
    if turn.now - window.anchor <= LONGEST_WINDOW_INTERVALS * policy.interval:
        return Window(anchor=window.anchor, counted=total, judged_at=samples.newest)
    anchor = turn.now - STALE_INTERVALS * policy.interval
    bounds = judged_bounds(policy, learned_by(turn))
    counted = tally(samples, bounds, anchor, turn.now, policy.checks.errors.failing())
    return Window(anchor=anchor, counted=counted, judged_at=samples.newest)


def _without_the_usual_losses(grown: Tally, per_second: float, seconds: float) -> Tally:
    usual = ceil(2 * per_second * max(0.0, seconds))
    return grown.model_copy(update={"lost": max(0, grown.lost - usual)})


def _outlook(turn: Turn, policy: PolicySpec, again: timedelta) -> Outlook:
    status = turn.status
    assert status.order is not None
    weight, learned = _weight(status), learned_by(turn)
    found = turn.opinion or judge.opinion(status.evidence, policy, learned, weight)
    open_checks = [verdict for verdict in status.verdicts if verdict.outcome == "unknown"]
    failed = fails(status.verdicts)
    held_for = judge.waiting_for(status.evidence, found, policy, learned, weight)
    named = next((verdict for verdict in status.verdicts if verdict.check == found.check), None)
    if not status.verdicts:
        held_for = "no-look"
    waiting = named if named is not None and named in open_checks else next(iter(open_checks), None)
    return Outlook(
        again=again,
        passed=bool(status.verdicts) and failed is None and not open_checks and not held_for,
        proven=found.kind == "proven",
        failed=failed,
        alarm=named if found.kind == "alarm" and failed is None else None,
        waiting_for=_SAID.get(held_for, held_for) if waiting is None else waiting.message,
    )
