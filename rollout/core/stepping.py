"""How a step ends: the next weight, a hold that says why, or the retreat of the last step to get a control back."""

from datetime import datetime, timedelta

from rollout.core import analysis
from rollout.core.judging import guard, judge
from rollout.core.judging.evidence import NO_CONTROL
from rollout.core.judging.verdicts import Verdict
from rollout.core.orders import give_up, next_weight
from rollout.core.policy import PolicySpec
from rollout.core.release import Phase, Reason
from rollout.core.route import Mesh
from rollout.core.turn import Turn
from rollout.core.waiting import PROMOTION, Wait, at_gate, before_advance
from rollout.core.workload import Health


def held_back(turn: Turn) -> tuple[Reason, str] | None:
    """Why nothing may advance, whatever the checks say: a person's pause, or a spec with something odd in it."""
    pause = turn.release.spec.pause
    if turn.release.problem:
        return Reason.INVALID_SPEC, f"nothing advances until the spec can be read: {turn.release.problem}"
    return None if pause is None else (Reason.PAUSED, by(pause.by, pause.reason))


def advance_or_hold(turn: Turn, policy: PolicySpec, mesh: Mesh, outlook: analysis.Outlook) -> None:
    """Leave the step once its hold is over and every check passes; else say what is waited for, and for how long."""
    status = turn.status
    assert status.step is not None and status.confirmed is not None
    step = policy.steps[status.step]
    ends = status.confirmed.at + step.hold
    early = policy.judge.early and outlook.proven and turn.now - status.confirmed.at >= policy.judge.dwell
    over = turn.now >= ends or early or _is_skipped(turn, status.step, status.confirmed.at)
    if over and outlook.passed and not isinstance(turn.seen.health, Health):
        # Not known to be ready is not ready: no share is raised on it.
        message = turn.seen.health.message if turn.seen.health else "the canary's pods were not looked at"
        turn.wait(Reason.WAITING_FOR_READY, message, outlook.again)
    elif over and (wait := _not_yet(turn, policy, status.step, passed=outlook.passed)) is not None:
        turn.put(held_at=turn.now)
        if turn.status.reason != wait.reason:
            turn.tell("step.held", reason_code=wait.reason.value, reason=wait.message)
        turn.wait(wait.reason, wait.message, min(outlook.again, wait.again))
    elif over and outlook.passed:
        record = status.steps[-1]
        # At the last step there is nothing to prove anything by.
        proven = outlook.proven if record.weight <= NO_CONTROL else None
        left = record.model_copy(update={"until": turn.now, "proven": proven})
        turn.put(steps=(*status.steps[:-1], left))
        turn.tell(
            "step.promoted",
            canary_requests=record.canary_requests,
            canary_errors=record.canary_errors,
            proven=outlook.proven,
            evidence=round(sum(judge.parts_of(status.evidence, policy, analysis.learned_by(turn)).values()), 3),
        )
        if status.step + 1 < len(policy.steps):
            next_weight(turn, policy, mesh, status.step + 1)
        else:
            turn.put(prepared_at=turn.now, tries=0)
            turn.go(Phase.FINISHING, Reason.CLEANING_UP, f"{turn.version} passed its last step")
            turn.tell("release.finishing")
            turn.wait(Reason.CLEANING_UP, turn.status.message, timedelta(0))
    elif over and turn.now >= max(ends, status.held_at or ends) + policy.deadlines.verdict and not stable_is_gone(turn):
        message = f"no verdict {turn.span(policy.deadlines.verdict)} after the hold: {outlook.waiting_for}"
        give_up(turn, mesh, Reason.INCONCLUSIVE, message)
    elif over:
        if status.reason != Reason.UNKNOWN_VERDICT:
            turn.tell("step.held", reason_code=Reason.UNKNOWN_VERDICT.value, reason=outlook.waiting_for)
        turn.wait(Reason.UNKNOWN_VERDICT, outlook.waiting_for, outlook.again)
    else:
        turn.wait(Reason.HOLDING, f"{step.weight} % to {turn.version}", min(outlook.again, ends - turn.now))


def _not_yet(turn: Turn, policy: PolicySpec, step: int, *, passed: bool) -> Wait | None:
    """What the next weight, or the promotion after the last one, waits for besides evidence; gates only after it."""
    last = step + 1 == len(policy.steps)
    wait = before_advance(turn, policy, raising=not last)
    if wait is not None or not passed:
        return wait
    return at_gate(turn, policy, PROMOTION if last else policy.steps[step + 1].weight)


def retreat(turn: Turn, policy: PolicySpec, mesh: Mesh, alarm: Verdict) -> None:
    """The last step's alarm: most of the traffic back to stable, which ends the harm and gives a control back."""
    status = turn.status
    record = status.steps[-1]
    evidence = guard.retreat(status.evidence, alarm.check, policy, analysis.learned_by(turn))
    turn.put(evidence=evidence, steps=(*status.steps[:-1], record.model_copy(update={"until": turn.now})))
    turn.tell(
        "step.retreated",
        check=alarm.check,
        reason=alarm.message,
        weight_from=record.weight,
        weight_to=policy.steps[0].weight,
    )
    next_weight(turn, policy, mesh, 0)


def stable_is_gone(turn: Turn) -> bool:
    """Whether stable is known to have no pod: its requests are lost, and all traffic there would be too."""
    health = turn.seen.stable_health
    return isinstance(health, Health) and health.ready == 0


def stable_is_ready(turn: Turn) -> bool:
    """Whether stable could take its traffic back: at least half as many pods as the canary has."""
    stable, canary = turn.seen.stable_health, turn.seen.health
    if not isinstance(stable, Health) or not isinstance(canary, Health):
        return False
    return stable.ready > 0 and 2 * stable.ready >= canary.ready


def _is_skipped(turn: Turn, step: int, seen_at: datetime) -> bool:
    """Whether a person ended this step's hold; a wish from before a retreat was about another stay."""
    skip = turn.release.spec.promote
    if skip is None or skip.step != step:
        return False
    return not turn.status.evidence.retreats or (skip.at is not None and skip.at > seen_at)


def by(actor: str, reason: str) -> str:
    """Who wanted it, and why."""
    return f"by {actor or 'somebody'}" + (f": {reason}" if reason else "")
