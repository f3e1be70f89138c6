"""The look after every scrape: from raw samples to an interval, to verdicts, to an outlook."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from rollout.core import judge
from rollout.core.counts import Samples, Tally, since_then, tally
from rollout.core.judge import Evidence, Interval, Verdict
from rollout.core.policy import PolicySpec
from rollout.core.release import Window
from rollout.core.route import Unavailable
from rollout.core.turn import Turn

STALE_INTERVALS = 4
"""Without a new sample for so many intervals, an answer is no answer (istio.md: windows of at least four scrapes)."""
LOOKBACK_INTERVALS = 10
"""How far back we look, before the first step, for requests that are lost anyway."""
LONGEST_WINDOW_INTERVALS = 40
"""A window that grew longer begins anew, so that a paused release does not ask for hours of samples."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the checks say about going on."""

    again: timedelta
    """When the next scrape should be visible."""
    passed: bool = False
    failed: Verdict | None = None
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


def note_what_was_lost_before(turn: Turn, policy: PolicySpec) -> None:
    """Requests lost before any version, per second, at a time when the canary cannot be the cause."""
    samples = turn.seen.samples
    assert isinstance(samples, Samples)
    span = LOOKBACK_INTERVALS * policy.interval
    lost = tally(samples, (), turn.now - span, turn.now).lost
    turn.put(lost_per_second=lost / span.total_seconds())


def open_window(turn: Turn) -> None:
    """Begin to count: from the instant at which the route was seen, with fresh evidence."""
    turn.put(window=Window(anchor=turn.now), evidence=Evidence(), verdicts=(), blind_since=None)


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
    return _outlook(turn, again)


def _judge(turn: Turn, policy: PolicySpec, samples: Samples, window: Window, *, drifted: bool) -> None:
    """Count what is new, take it into the evidence, and move the window on."""
    status, newest = turn.status, samples.newest
    assert newest is not None and status.order is not None
    bounds = policy.bounds_ms()
    total = tally(samples, bounds, window.anchor, turn.now)
    grown = since_then(total, window.counted)
    before = window.judged_at or window.anchor
    # One full interval after the route was seen every proxy has been scraped once: what is counted from there on began
    # after the route was seen.
    straddles = window.judged_at is None or window.judged_at < window.anchor + policy.interval
    settling = straddles or drifted or before < window.anchor + policy.settle
    grown = _without_the_usual_losses(grown, status.lost_per_second, (newest - before).total_seconds())
    interval = Interval(tally=grown, weight=status.order.percent, settling=settling, straddles=straddles)
    evidence, verdicts = judge.look(status.evidence, interval, policy)
    turn.looked = verdicts
    if total.uncertain > window.counted.uncertain:
        turn.tell("metrics.uncertain", series=total.uncertain)
    turn.put(evidence=evidence, verdicts=verdicts, window=_moved(turn, policy, samples, window, total))
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


def _moved(turn: Turn, policy: PolicySpec, samples: Samples, window: Window, total: Tally) -> Window:
    """The window after this look; one that grew long begins anew a few intervals ago, with what is already counted."""
    if turn.now - window.anchor <= LONGEST_WINDOW_INTERVALS * policy.interval:
        return Window(anchor=window.anchor, counted=total, judged_at=samples.newest)
    anchor = turn.now - STALE_INTERVALS * policy.interval
    counted = tally(samples, policy.bounds_ms(), anchor, turn.now)
    return Window(anchor=anchor, counted=counted, judged_at=samples.newest)


def _without_the_usual_losses(grown: Tally, per_second: float, seconds: float) -> Tally:
    usual = ceil(2 * per_second * max(0.0, seconds))
    return grown.model_copy(update={"lost": max(0, grown.lost - usual)})


def _outlook(turn: Turn, again: timedelta) -> Outlook:
    verdicts = turn.status.verdicts
    failed = [verdict for verdict in verdicts if verdict.outcome == "fail"]
    open_checks = [verdict.message for verdict in verdicts if verdict.outcome == "unknown"]
    return Outlook(
        again=again,
        passed=bool(verdicts) and not failed and not open_checks,
        failed=max(failed, key=lambda verdict: verdict.evidence, default=None),
        waiting_for=open_checks[0] if open_checks else "the first scrape at this weight",
    )
