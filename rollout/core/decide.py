"""What a release does next: one pure, total function, and the table of every change of phase it may make.

Read `TRANSITIONS` first: the state diagram in ARCHITECTURE.md is generated from it, and `Turn.go` refuses any other
change. `decide` looks at one release as saved, at the world as seen, and at the time it is told; it returns the status
to save and what to do after that. It never looks, waits or writes; deciding again on its own result is harmless.
"""

from datetime import datetime, timedelta

from rollout.core import analysis
from rollout.core.beginning import DELETED, begin, superseded
from rollout.core.ending import bring_back, put_away, route_is_gone
from rollout.core.intents import AddSubset, Hold, LetGo
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import NO_CONTROL, compared_bounds
from rollout.core.orders import SOON, give_up, is_taken_over, locate, next_weight, roll_back
from rollout.core.policy import PolicySpec
from rollout.core.release import FINALIZER, Cause, Phase, Reason, Release, StepRecord
from rollout.core.route import Gone, Mesh, Unavailable
from rollout.core.standing import Standing
from rollout.core.stepping import advance_or_hold, by, held_back, retreat, stable_is_gone, stable_is_ready
from rollout.core.turn import TRANSITIONS, Decision, Seen, Turn
from rollout.core.waiting import at_gate, before_advance, hear, refused_by
from rollout.core.workload import Health

__all__ = ["TRANSITIONS", "Decision", "Seen", "decide"]


def decide(release: Release, seen: Seen, now: datetime) -> Decision:
    """The next status of `release`, what to do once it is saved, and when to look again. Never raises."""
    # Saved times have whole milliseconds: a decision must not depend on more than the next one will remember.
    turn = Turn(release, seen, now.replace(microsecond=now.microsecond // 1000 * 1000))
    turn.drop_told()
    phase = turn.status.phase
    if phase.terminal:
        _let_go(turn)
        return turn.done()
    if phase is Phase.PENDING:
        begin(turn)
        return turn.done()
    policy, mesh = turn.status.policy, seen.mesh
    assert policy is not None, "every phase after Pending has a frozen policy"
    if isinstance(mesh, Gone):
        route_is_gone(turn, mesh)
    elif mesh is None or isinstance(mesh, Unavailable):
        _cannot_see(turn, policy, None, "it was not looked at" if mesh is None else mesh.message)
    elif mesh.unread and phase is not Phase.ROLLING_BACK:
        _cannot_see(turn, policy, mesh, f"VirtualService {mesh.unread[0]} could not be read")
    else:
        if turn.status.unseen_since is not None:
            turn.put(unseen_since=None)
            turn.tell("traffic.readable")
        turn.put(weight=mesh.percent)
        _act_on(turn, policy, mesh)
    return turn.done()


def _let_go(turn: Turn) -> None:
    """After the end, once all of it is told, the object may be deleted."""
    # Without an end there is only a status that nobody could read: who knows where its traffic is.
    if turn.release.held and turn.status.finished_at is not None and not turn.status.outbox:
        turn.want(LetGo())


def _act_on(turn: Turn, policy: PolicySpec, mesh: Mesh) -> None:
    """One cycle of a release that has begun, with the route in sight."""
    if turn.status.phase is not Phase.ROLLING_BACK and is_taken_over(turn, mesh):
        locate(turn, mesh)
        return
    cause = None if turn.status.phase is Phase.ROLLING_BACK else _reason_to_stop(turn, policy) or _lost_leg(mesh)
    if cause is not None:
        roll_back(turn, mesh, cause)
        return
    _note_pause(turn)
    match turn.status.phase:
        case Phase.PREPARING:
            _prepare(turn, policy, mesh)
        case Phase.SHIFTING:
            _shift(turn, policy, mesh)
        case Phase.ANALYSING:
            _analyse(turn, policy, mesh)
        case Phase.FINISHING:
            _finish(turn, policy, mesh)
        case _:
            bring_back(turn, policy, mesh)


def _cannot_see(turn: Turn, policy: PolicySpec, mesh: Mesh | None, why: str) -> None:
    """The route cannot be read, or not all of it (`mesh` is the rest): say so once, and hold.

    A wish for all traffic back becomes an order, written wherever it can be, elsewhere later.
    """
    if turn.status.unseen_since is None:
        turn.put(unseen_since=turn.now)
        turn.tell("traffic.unreadable", error=why)
    if turn.status.phase is not Phase.ROLLING_BACK and (cause := _reason_to_stop(turn, policy)):
        roll_back(turn, mesh, cause)
    turn.wait(turn.status.reason, f"the route cannot be read: {why}", timedelta(seconds=1))


def _reason_to_stop(turn: Turn, policy: PolicySpec) -> Cause | None:
    """What ends a release in any phase before it rolls back: a wish, its deletion, its total deadline."""
    release, status = turn.release, turn.status
    if (wish := release.spec.abort) is not None:
        turn.tell("release.abort_requested", actor=wish.by, reason=wish.reason)
        return Cause(kind="person", reason=Reason.ABORTED, message=by(wish.by, wish.reason))
    if release.deleting:
        turn.tell("release.abort_requested", reason=DELETED)
        return Cause(kind="person", reason=Reason.ABORTED, message=DELETED)
    if turn.seen.superseded_by and status.phase is not Phase.FINISHING and not stable_is_gone(turn):
        cause = superseded(turn)
        turn.tell("release.superseded", reason=cause.message)
        return cause
    late = status.started_at is not None and turn.now - status.started_at > policy.deadlines.total
    if late and not stable_is_gone(turn):
        return Cause(
            kind="infrastructure", reason=Reason.DEADLINE, message="the release took longer than its total deadline"
        )
    return None


def _lost_leg(mesh: Mesh) -> Cause | None:
    """With one of several VirtualServices gone its requests follow nobody's weights: the others go back."""
    if not mesh.missing:
        return None
    message = f"VirtualService {mesh.missing[0]} is gone; its traffic now follows the Service, all versions alike"
    return Cause(kind="infrastructure", reason=Reason.ROUTE_GONE, message=message)


def _prepare(turn: Turn, policy: PolicySpec, mesh: Mesh) -> None:
    """Preparing: the object is held, the claim is on the route, pods ready, metrics there, the subset has settled."""
    if not turn.release.held:
        _hold(turn, policy, mesh)
        return
    where, confirmed = locate(turn, mesh), turn.status.confirmed
    if where is not Standing.SEEN:
        if where is Standing.PENDING and confirmed is None and turn.late(policy.deadlines.route):
            give_up(turn, mesh, Reason.ROUTE_NOT_WRITABLE, "the route could not be claimed in time")
        return
    if confirmed is None or confirmed.route != turn.status.order:
        turn.confirm()
    _learn(turn, policy)
    if not (_is_ready(turn, policy, mesh) and _has_metrics(turn, policy, mesh) and _has_subset(turn, policy, mesh)):
        return
    if turn.status.learned is None:
        past = turn.seen.past
        why = past.message if isinstance(past, Unavailable) else "it was not asked for yet"
        turn.wait(Reason.WAITING_FOR_METRICS, f"stable's past: {why}", analysis.first_look(policy))
        return
    prepared = turn.status.prepared_at
    assert prepared is not None
    if turn.now - prepared < policy.settle:
        turn.wait(Reason.SETTLING, "proxies learn of the new subset", prepared + policy.settle - turn.now)
    elif (hold := held_back(turn)) is not None:
        turn.put(held_at=turn.now)
        turn.wait(*hold, policy.interval)
    elif (wait := before_advance(turn, policy, raising=True)) is not None:
        turn.put(held_at=turn.now)
        turn.wait(wait.reason, wait.message, min(policy.interval, wait.again))
    elif not _passes_first_gates(turn, policy, mesh):
        return
    else:
        analysis.note_what_was_lost_before(turn, policy)
        next_weight(turn, policy, mesh, 0)


def _passes_first_gates(turn: Turn, policy: PolicySpec, mesh: Mesh) -> bool:
    """The gates before the first weight."""
    hear(turn, policy)
    wait = at_gate(turn, policy, policy.steps[0].weight)
    if (no := refused_by(turn, policy)) is not None:
        roll_back(turn, mesh, no)
    elif wait is not None:
        turn.put(held_at=turn.now)
        turn.wait(wait.reason, wait.message, min(policy.interval, wait.again))
    else:
        return True
    return False


def _hold(turn: Turn, policy: PolicySpec, mesh: Mesh) -> None:
    """Without our finalizer a deletion would leave the traffic wherever it is: then none is moved."""
    if turn.late(policy.deadlines.ready + policy.deadlines.route):
        message = f"the finalizer {FINALIZER} could not be set in time; it takes the right to patch releases"
        give_up(turn, mesh, Reason.ROUTE_NOT_WRITABLE, message)
    else:
        turn.want(Hold())
        turn.wait(Reason.WAITING_FOR_READY, f"setting the finalizer {FINALIZER} on the Release", SOON)


def _learn(turn: Turn, policy: PolicySpec) -> None:
    """Take in what stable's past says; without it, after a time, go on with guesses."""
    past = turn.seen.past
    if turn.status.learned is not None:
        return
    if not policy.judge.learn:
        turn.put(learned=Learned())
    elif isinstance(past, Learned):
        turn.put(learned=past)
        clump, bounds = round(past.errors.clump, 2), len(compared_bounds(policy, past))
        rate = round(past.errors.rate, 6)
        turn.tell("history.learned", blocks=past.blocks, pods=past.pods, error_rate=rate, clump=clump, bounds=bounds)
    elif isinstance(past, Unavailable) and turn.late(policy.deadlines.metrics):
        turn.put(learned=Learned())
        turn.tell("history.unavailable", error=past.message)


def _is_ready(turn: Turn, policy: PolicySpec, mesh: Mesh) -> bool:
    health = turn.seen.health
    if isinstance(health, Health) and health.complete and health.ready > 0:
        return True
    message = f"{turn.deployment()}: {health.message if health is not None else 'not looked at yet'}"
    if turn.late(policy.deadlines.ready):
        give_up(turn, mesh, Reason.CANARY_NOT_READY, f"not ready within {turn.span(policy.deadlines.ready)}; {message}")
    else:
        turn.wait(Reason.WAITING_FOR_READY, message, min(policy.interval, timedelta(seconds=2)))
    return False


def _has_metrics(turn: Turn, policy: PolicySpec, mesh: Mesh) -> bool:
    blind = analysis.blindness(turn, policy) or analysis.coarseness(turn, policy) or analysis.bad_queries(turn)
    if blind is None:
        return True
    if turn.late(policy.deadlines.ready + policy.deadlines.metrics):
        give_up(turn, mesh, Reason.METRICS_UNAVAILABLE, blind)
    else:
        turn.wait(Reason.WAITING_FOR_METRICS, blind, analysis.first_look(policy))
    return False


def _has_subset(turn: Turn, policy: PolicySpec, mesh: Mesh) -> bool:
    if turn.version in mesh.subsets:
        if turn.status.prepared_at is None:
            turn.put(prepared_at=turn.now if turn.status.added_subset else turn.now - policy.settle)
        return True
    turn.put(added_subset=True, prepared_at=None)
    if turn.late(policy.deadlines.ready + policy.deadlines.metrics + policy.deadlines.route):
        give_up(turn, mesh, Reason.ROUTE_NOT_WRITABLE, f"no subset for {turn.version} could be added in time")
    else:
        turn.want(AddSubset(turn.version))
        turn.wait(Reason.SETTLING, f"adding a subset for {turn.version}", SOON)
    return False


def _shift(turn: Turn, policy: PolicySpec, mesh: Mesh) -> None:
    """Shifting: until the ordered weight is seen on the route."""
    if _canary_is_down(turn, mesh):
        return
    before = turn.status.confirmed
    where = locate(turn, mesh)
    if where is not Standing.SEEN:
        # A person's hand on the route may wait for another one for as long as the release may last.
        if where is Standing.PENDING and turn.status.drift is None and turn.late(policy.deadlines.route):
            message = "the ordered weight did not show on the VirtualService in time"
            give_up(turn, mesh, Reason.ROUTE_NOT_WRITABLE, message)
        return
    status = turn.status
    assert status.step is not None and status.order is not None
    step = policy.steps[status.step]
    again = bool(status.steps) and status.steps[-1].weight == step.weight
    turn.confirm()
    turn.go(Phase.ANALYSING, Reason.HOLDING, f"{step.weight} % to {turn.version}")
    analysis.open_window(turn)
    if not again:
        turn.put(steps=(*status.steps, StepRecord(weight=step.weight, since=turn.now)))
    turn.tell(
        "step.started",
        weight_from=before.route.percent if before else 0,
        weight_to=step.weight,
        hold_s=step.hold.total_seconds(),
    )
    turn.wait(Reason.HOLDING, f"{step.weight} % to {turn.version}", analysis.first_look(policy))


def _analyse(turn: Turn, policy: PolicySpec, mesh: Mesh) -> None:
    """Analysing: hold the weight, look after every scrape, and let evidence decide."""
    if _canary_is_down(turn, mesh):
        return
    where = locate(turn, mesh)
    if turn.status.phase is not Phase.ANALYSING:
        return
    if where is Standing.SEEN and mesh.percent <= NO_CONTROL and stable_is_gone(turn):
        # Requests for it are lost and would be blamed on the canary: nothing is judged until it is back.
        turn.confirm()
        analysis.open_window(turn)
        _withhold(turn, f"{mesh.percent} % to {turn.version}", policy.interval)
        return
    drifted = where is not Standing.SEEN
    outlook = analysis.look(turn, policy, drifted=drifted)
    hear(turn, policy)
    refused = refused_by(turn, policy)
    alarm = outlook.alarm
    if outlook.failed is not None and stable_is_gone(turn):
        _withhold(turn, f"not rolled back: {outlook.failed.message}", outlook.again)
    elif outlook.failed is not None:
        failed = outlook.failed
        roll_back(turn, mesh, Cause(kind="metrics", reason=Reason.CHECK_FAILED, message=failed.message))
    elif outlook.blind_too_long and not stable_is_gone(turn):
        message = f"no usable metrics for {turn.span(policy.deadlines.metrics)}: {outlook.blind}"
        give_up(turn, mesh, Reason.METRICS_UNAVAILABLE, message)
    elif refused is not None and not stable_is_gone(turn):
        roll_back(turn, mesh, refused)
    elif drifted:
        turn.wait(turn.status.reason, turn.status.message, outlook.again)
    elif alarm is not None and stable_is_ready(turn):
        retreat(turn, policy, mesh, alarm)
    elif (hold := held_back(turn)) is not None:
        turn.put(held_at=turn.now)
        turn.wait(*hold, outlook.again)
    else:
        advance_or_hold(turn, policy, mesh, outlook)


def _withhold(turn: Turn, what: str, again: timedelta) -> None:
    """Stable has no pod: it is no control, and all requests would be lost there."""
    message = f"stable has no ready pod; {what}"
    if turn.status.reason != Reason.STABLE_NOT_READY:
        turn.tell("step.held", reason_code=Reason.STABLE_NOT_READY.value, reason=message)
    turn.wait(Reason.STABLE_NOT_READY, message, again)


def _finish(turn: Turn, policy: PolicySpec, mesh: Mesh) -> None:
    """Finishing: stable's route entries are put away; the end is when the route is as ordered and nothing is left."""
    if locate(turn, mesh) is not Standing.SEEN:
        return
    if put_away(turn, policy, mesh, turn.status.stable or ""):
        turn.end(Phase.PROMOTED)


def _canary_is_down(turn: Turn, mesh: Mesh) -> bool:
    """Ready pods are a fact, not a statistic: without one, no request may go to the canary."""
    health = turn.seen.health
    if not isinstance(health, Health) or health.ready > 0:
        return False
    give_up(turn, mesh, Reason.CANARY_NOT_READY, f"{turn.deployment()} has no ready pod: {health.message}")
    return True


def _note_pause(turn: Turn) -> None:
    wish, paused = turn.release.spec.pause, turn.status.paused
    if turn.status.phase is Phase.ROLLING_BACK or (wish is not None) == paused:
        return
    turn.put(paused=wish is not None)
    if wish is not None:
        turn.tell("release.paused", actor=wish.by, reason=wish.reason)
    else:
        turn.tell("release.resumed")
