"""What is worth looking at before a release is decided on: questions about phases, so that the shell need ask none."""

from datetime import timedelta

from rollout.core.release import Phase, Reason, Release, Status

_FOUND_AGAIN = ("window", "evidence", "gates", "verdicts", "query", "message", "held_at")
"""What one look adds, and the next one would find again in the metrics."""
_LONGEST_UNSAVED = timedelta(seconds=40)


def is_over(release: Release) -> bool:
    """The outcome is known; only news may be owed."""
    return release.status.phase.terminal


def is_settled(release: Release) -> bool:
    """Nothing is left to be done or said: years of finished releases cost no request.

    A wish that comes after the end is still noted: `kubectl wait` trusts no condition of an older generation.
    """
    status = release.status
    noted = status.observed_generation >= release.generation or status.finished_at is None
    return is_over(release) and not status.outbox and not release.held and noted


def is_beginning(release: Release) -> bool:
    """No policy is frozen yet, and others may be in the way."""
    return release.status.phase is Phase.PENDING


def is_steady(release: Release) -> bool:
    """Whether a look most likely changes nothing: then it may be at what the watches last told of the cluster."""
    return release.status.phase in {Phase.PREPARING, Phase.ANALYSING} and not release.deleting


def is_only_counted(before: Status, after: Status) -> bool:
    """Whether nothing happened but that more was counted: a crash that loses it costs one look's evidence."""
    if len(before.steps) != len(after.steps) or _answers(before) != _answers(after):
        return False
    again = {name: getattr(before, name) for name in (*_FOUND_AGAIN, "steps", "conditions")}
    return after.model_copy(update=again) == before


def longest_unsaved(release: Release) -> timedelta:
    """For how long what was only counted may stay unsaved: two looks of three, and fewer than two writes a minute."""
    policy = release.status.policy
    return min(2.5 * policy.interval, _LONGEST_UNSAVED) if policy is not None else timedelta(0)


def _answers(status: Status) -> tuple[tuple[str, str, str], ...]:
    return tuple((one.type, one.status, one.reason) for one in status.conditions)


def needs_samples(release: Release) -> bool:
    """Counts are judged, or must be seen to arrive; nobody who wants the traffic back waits for a metric (I8)."""
    counted = release.status.phase in {Phase.PREPARING, Phase.ANALYSING}
    return counted and release.spec.abort is None and not release.deleting


def needs_past(release: Release) -> bool:
    """How stable's errors clump is asked once, before anything moves."""
    status = release.status
    asked = status.policy is not None and status.policy.judge.learn.total_seconds() > 0
    return status.phase is Phase.PREPARING and asked and status.learned is None and needs_samples(release)


def needs_readings(release: Release) -> bool:
    """Saturation and custom checks are held against their limits; before anything moves, whether they can be asked."""
    return needs_samples(release)


def needs_stable(release: Release) -> bool:
    """Whether stable could take its traffic back: nobody judges the canary beside a stable that is gone."""
    return release.status.phase is Phase.ANALYSING and needs_samples(release)


def needs_freezes(release: Release) -> bool:
    """Whoever starts or advances asks; nobody who wants the traffic back does (I8)."""
    asks = release.status.phase in {Phase.PENDING, Phase.PREPARING, Phase.ANALYSING}
    return asks and release.spec.abort is None and not release.deleting


def is_claiming(before: Status, after: Status) -> bool:
    """Whether a release begins: from now on it is in the way of others."""
    return before.phase is Phase.PENDING and not (after.phase is Phase.PENDING or after.phase.terminal)


def asks_for_the_place(release: Release, status: Status) -> bool:
    """Whether it waits for nothing but that those before it are put back: they want to know."""
    queued = status.phase is Phase.PENDING and status.reason == Reason.QUEUED
    return queued and release.spec.on_conflict == "supersede"


def is_under_way(release: Release) -> bool:
    """It has begun and is not over."""
    return not is_beginning(release) and not is_over(release)


def comes_before(other: Release, release: Release) -> bool:
    """Whether `other`, of the same service, is in the way: it is unfinished, and began or was made before `release`."""
    if other.name == release.name or is_over(other):
        return False
    return not is_beginning(other) or _age(other) < _age(release)


def _age(release: Release) -> tuple[str, str]:
    return str(release.created_at), release.name
