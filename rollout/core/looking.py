"""What is worth looking at before a release is decided on: questions about phases, so that the shell need ask none."""

from rollout.core.release import Phase, Release


def is_over(release: Release) -> bool:
    """The outcome is known; only news may be owed."""
    return release.status.phase.terminal


def is_settled(release: Release) -> bool:
    """Nothing is left to be done or said: years of finished releases cost no request."""
    return is_over(release) and not release.status.outbox and not release.held


def is_beginning(release: Release) -> bool:
    """No policy is frozen yet, and others may be in the way."""
    return release.status.phase is Phase.PENDING


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


def comes_before(other: Release, release: Release) -> bool:
    """Whether `other`, of the same service, is in the way: it is unfinished, and began or was made before `release`."""
    if other.name == release.name or is_over(other):
        return False
    return not is_beginning(other) or _age(other) < _age(release)


def _age(release: Release) -> tuple[str, str]:
    return str(release.created_at), release.name
