"""The beginning of a release: refuse what cannot be released, claim the route for what can."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rollout.core.intents import Hold
from rollout.core.policy import PolicySpec
from rollout.core.preflight import MOST_TOLD, Finding, Report
from rollout.core.release import Cause, Phase, Reason, Release
from rollout.core.route import Gone, Mesh, Problem, Route, Unavailable
from rollout.core.stepping import by
from rollout.core.turn import Seen, Turn
from rollout.core.waiting import START, Wait, at_gate, before_start, hear, refused_by

DELETED = "the Release object was deleted"
_AGAIN, _LONGEST = timedelta(seconds=1), timedelta(seconds=30)


def begin(turn: Turn) -> None:
    """Pending: one cycle. Nothing is written to the mesh before everything that can be known speaks for it."""
    release, seen = turn.release, turn.seen
    if turn.status.sequence == 0:
        source = release.spec.source
        turn.tell("release.requested", actor=source.actor, reason=source.reason, url=source.url)
    wish, mesh, policy = release.spec.abort, seen.mesh, seen.policy
    if isinstance(policy, PolicySpec):
        turn.put(notify=policy.notify)
    if wish is not None or release.deleting:
        message = by(wish.by, wish.reason) if wish is not None else DELETED
        turn.put(cause=Cause(kind="person", reason=Reason.ABORTED, message=message))
        turn.end(Phase.ABORTED)
    elif seen.superseded_by:
        turn.put(cause=superseded(turn))
        turn.end(Phase.ABORTED)
    elif (refusal := _refusal(turn)) is not None:
        turn.refuse(*refusal)
    elif isinstance(policy, PolicySpec) and (wait := before_start(turn, policy)) is not None:
        _in_line(turn, policy, wait)
    elif (bad := _bad_route(turn, mesh)) is not None:
        turn.refuse(*bad)
    elif isinstance(mesh, Mesh) and mesh.unread:
        turn.wait("", f"VirtualService {mesh.unread[0]} could not be read", _patience(turn))
    elif isinstance(policy, PolicySpec) and isinstance(mesh, Mesh):
        if _is_let_through(turn, policy):
            _after_preflight(turn, policy, mesh)
    else:
        turn.wait("", mesh.message if isinstance(mesh, Unavailable) else "", _patience(turn))


def is_waiting(release: Release, seen: Seen, now: datetime) -> bool:
    """Whether its time has not come, or it is refused anyway: then nothing more is worth looking at."""
    turn = Turn(release, seen, now)
    wished = release.spec.abort is not None or release.deleting or bool(seen.superseded_by)
    if wished or _refusal(turn) is not None:
        return True
    return not isinstance(seen.policy, PolicySpec) or before_start(turn, seen.policy) is not None


def is_at_gate(release: Release, seen: Seen, now: datetime) -> bool:
    """Whether somebody is still to say yes to the start, as far as can be known before it is decided."""
    assert isinstance(seen.policy, PolicySpec)
    return at_gate(Turn(release, seen, now), seen.policy, START) is not None


def superseded(turn: Turn) -> Cause:
    """Somebody asked for a newer one instead."""
    message = f"superseded by {turn.seen.superseded_by}"
    return Cause(kind="person", reason=Reason.SUPERSEDED, message=message)


def _patiently(turn: Turn, wait: Wait) -> None:
    """Stay pending: said once in the log, always in the status."""
    if turn.status.reason != wait.reason:
        turn.tell("release.waiting", reason_code=wait.reason.value, reason=wait.message)
    turn.wait(wait.reason, wait.message, min(wait.again, _patience(turn)))


def _in_line(turn: Turn, policy: PolicySpec, wait: Wait) -> None:
    """Behind others; whoever would have them put back is let through first, or it would be for nothing."""
    supersedes = wait.reason is Reason.QUEUED and turn.release.spec.on_conflict == "supersede"
    if not supersedes or _is_let_through(turn, policy):
        _patiently(turn, wait)


def _is_let_through(turn: Turn, policy: PolicySpec) -> bool:
    """Whoever must say yes first is asked before preflight looks, which is about this very moment."""
    hear(turn, policy)
    wait = at_gate(turn, policy, START)
    if (no := refused_by(turn, policy)) is not None:
        turn.refuse(Reason.GATE_REFUSED, no.message)
    elif wait is not None:
        _patiently(turn, wait)
    else:
        return True
    return False


def _patience(turn: Turn) -> timedelta:
    """The longer it has waited, the longer until it is asked again."""
    age = turn.now - turn.release.created_at if turn.release.created_at is not None else timedelta(0)
    quarter = timedelta(milliseconds=age // timedelta(milliseconds=4))
    return min(max(_AGAIN, quarter), _LONGEST)


def _refusal(turn: Turn) -> tuple[Reason, str] | None:
    """Why this release cannot be, whatever the route says."""
    release, seen = turn.release, turn.seen
    if release.problem:
        return Reason.INVALID_SPEC, release.problem
    if isinstance(seen.policy, Problem):
        return Reason.NO_POLICY, seen.policy.message
    if seen.circle:
        return Reason.NO_POLICY, f"services that wait for one another by their policies: {' after '.join(seen.circle)}"
    if seen.rivals and release.spec.on_conflict == "reject":
        rivals = ", ".join(seen.rivals)
        return Reason.BUSY, f"another release is under way on this service or its route: {rivals}"
    return None


def _bad_route(turn: Turn, mesh: Mesh | Gone | Unavailable | None) -> tuple[Reason, str] | None:
    """Why the route, as far as it is known, cannot be stepped for this release."""
    version = turn.release.spec.version
    message = ""
    if isinstance(mesh, Gone):
        message = mesh.message
    elif isinstance(mesh, Mesh):
        if mesh.unread:
            return None
        if mesh.missing:
            message = f"there is no VirtualService {mesh.missing[0]}"
        elif mesh.problem is not None:
            message = f"{mesh.problem.message} ({mesh.problem.code})"
        elif mesh.percent == 100 or mesh.stable == version:
            return Reason.ALREADY_STABLE, f"{version} holds the traffic already"
        elif mesh.percent > 0 or mesh.stable is None:
            message = f"the route already gives {mesh} to {version}: put all traffic to one version first"
    return (Reason.UNSUPPORTED_ROUTE, message) if message else None


def _after_preflight(turn: Turn, policy: PolicySpec, mesh: Mesh) -> None:
    report = turn.seen.preflight
    if not isinstance(report, Report):
        turn.wait("", f"preflight: {report.message}" if report is not None else "", _patience(turn))
    elif report.errors:
        first, *rest = report.errors
        more = f" (and {len(rest)} more)" if rest else ""
        _tell(turn, (*report.errors, *report.warnings))
        turn.refuse(Reason.PREFLIGHT_FAILED, f"{first.object}: {first.message}: {first.action} ({first.code}){more}")
    else:
        _claim(turn, report.applied(policy), mesh, report.warnings)


def _claim(turn: Turn, policy: PolicySpec, mesh: Mesh, warnings: Sequence[Finding]) -> None:
    release = turn.release
    turn.put(
        service=release.spec.service,
        version=release.spec.version,
        stable=mesh.stable,
        policy=policy,
        order=Route(percent=0, epoch=mesh.epoch + 1),
        authors=mesh.authors,
        started_at=turn.now,
        added_destination=release.spec.version not in mesh.listed,
    )
    turn.go(Phase.PREPARING, Reason.WAITING_FOR_READY, "claiming the route")
    _tell(turn, warnings)
    steps = "/".join(str(step.weight) for step in policy.steps)
    turn.tell("release.started", stable=mesh.stable, steps=steps, version_label=policy.metrics.version_label)
    # Before the claim: a change that fails holds back those after it, so nothing is on the route unprotected.
    turn.want(Hold())
    turn.order(mesh)


def _tell(turn: Turn, findings: Sequence[Finding]) -> None:
    for one in findings[:MOST_TOLD]:
        turn.tell("preflight.found", code=one.code, severity=one.severity, object=one.object, message=one.message)
