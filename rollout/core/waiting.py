"""Why a release that could go on does not yet: others go first, it is not the time, somebody is still to say yes.

Belongs here: the order of these reasons, and what is remembered of gates. Does not belong here: evidence
(`analysis.py`), a person's pause (`stepping.py`). Nobody who wants the traffic back asks here (I8).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.freeze import in_force
from rollout.core.gating import Answer, Gate, GateRun, due, is_asked, run_of
from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_instant
from rollout.core.release import Cause, Phase, Reason, Release
from rollout.core.route import Unavailable
from rollout.core.schedule import Act, closed
from rollout.core.turn import Turn

START, PROMOTION = "start", "promotion"
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(minutes=5)
"""Between two questions to a gate, whatever it says."""
_LOOK = timedelta(seconds=30)
"""Whatever is waited for may be lifted by somebody any time."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is waited for, and when to look again at the latest."""

    reason: Reason
    message: str
    again: timedelta = _LOOK


def before_start(turn: Turn, policy: PolicySpec) -> Wait | None:
    """What a pending release waits for, gates left aside; None if its time has come."""
    release, seen, now = turn.release, turn.seen, turn.now
    wanted = release.spec.not_before
    if wanted is not None and now < wanted:
        return Wait(Reason.SCHEDULED, f"starts at {format_instant(wanted)}", min(_LOOK, wanted - now))
    if (frozen := frozen_now(turn)) is not None:
        return frozen
    if (shut := _shut(turn, policy, "start")) is not None:
        return shut
    if seen.first:
        return Wait(Reason.WAITING_FOR_DEPENDENCY, f"after {', '.join(seen.first)}, by its policy")
    if seen.rivals:
        # Last of all: nobody is put back for one that could not start yet.
        then = "is put back first" if release.spec.on_conflict == "supersede" else "goes first"
        return Wait(Reason.QUEUED, f"{', '.join(seen.rivals)} {then}")
    return Wait(Reason.QUEUED, seen.full) if seen.full else None


def before_advance(turn: Turn, policy: PolicySpec, *, raising: bool) -> Wait | None:
    """What a release under way waits for before its next weight (`raising`) or its promotion, gates left aside."""
    shut = frozen_now(turn) or _shut(turn, policy, "advance")
    return shut if shut is not None and (raising or shut.reason is Reason.FROZEN) else None


def frozen_now(turn: Turn) -> Wait | None:
    """The freeze that holds everybody where they are; not to know is to be held."""
    freezes = turn.seen.freezes
    if isinstance(freezes, Unavailable):
        return Wait(Reason.FROZEN, f"whether it is frozen is not known: {freezes.message}")
    freeze = in_force(freezes, turn.now)
    if freeze is None:
        return None
    spec = freeze.spec
    until = f" until {format_instant(spec.until)}" if spec.until is not None else ""
    by = f", by {spec.by}" if spec.by else ""
    message = f"{freeze.scope} is frozen{until}{by}" + (f": {spec.reason}" if spec.reason else "")
    return Wait(Reason.FROZEN, message, _until(turn.now, spec.until))


def _shut(turn: Turn, policy: PolicySpec, act: Act) -> Wait | None:
    shut = closed(policy.schedule, turn.now, act)
    if shut is None:
        return None
    reason = Reason.FROZEN if shut.frozen else Reason.OUTSIDE_WINDOW
    return Wait(reason, shut.why, _until(turn.now, shut.until))


def _until(now: datetime, then: datetime | None) -> timedelta:
    return _LOOK if then is None else max(timedelta(0), min(_LOOK, then - now))


def open_questions(release: Release, policy: PolicySpec | None, now: datetime) -> tuple[tuple[Gate, GateRun], ...]:
    """The gates that are to be asked now: those that are waited for, but for people's."""
    if policy is None or release.status.phase not in {Phase.PENDING, Phase.PREPARING, Phase.ANALYSING}:
        return ()
    known = {gate.name: gate for gate in policy.gates if gate.kind != "approval"}
    return tuple((known[run.gate], run) for run in release.status.gate_runs if run.gate in known and is_asked(run, now))


def hear(turn: Turn, policy: PolicySpec) -> None:
    """Take in what gates said, what people approved, and which of them took too long."""
    gates = {gate.name: gate for gate in policy.gates}
    runs = tuple(_heard(turn, gates[run.gate], run) if run.gate in gates else run for run in turn.status.gate_runs)
    if runs != turn.status.gate_runs:
        turn.put(gate_runs=runs)


def _heard(turn: Turn, gate: Gate, run: GateRun) -> GateRun:
    answer = turn.answers.pop(gate.name, None)
    approval = next((one for one in turn.release.spec.approvals if one.gate == gate.name), None)
    if run.state == "passed" or (run.state == "failed" and approval is None):
        return run
    if approval is not None:
        # A person may also let pass what a webhook or a Job refused, where the policy holds instead of rolling back.
        return _passed(turn, run, approval.reason, by=approval.by or "somebody")
    if answer is not None and answer.outcome == "passed":
        return _passed(turn, run, answer.message)
    if answer is not None and answer.outcome == "failed":
        return _failed(turn, run, answer.message)
    if turn.now - run.since > gate.timeout:
        said = f": {run.message}" if run.message else ""
        return _failed(turn, run, f"no answer within {turn.span(gate.timeout)}{said}")
    return run if answer is None else _asked_again(turn, gate, run, answer)


def _asked_again(turn: Turn, gate: Gate, run: GateRun, answer: Answer) -> GateRun:
    """Later: when the gate said, or, where it said nothing, after a pause that grows, so often as the policy allows."""
    if answer.outcome == "waiting":
        pause, failures = min(max(answer.again, SHORTEST), LONGEST), 0
    elif run.failures < gate.retries:
        pause, failures = min(SHORTEST * 2.0**run.failures, LONGEST), run.failures + 1
    else:
        return _failed(turn, run, answer.message)
    later = {"attempt": run.attempt + 1, "failures": failures, "ask_at": turn.now + pause, "message": answer.message}
    return run.model_copy(update=later)


def _passed(turn: Turn, run: GateRun, message: str, *, by: str = "") -> GateRun:
    turn.tell("gate.passed", gate=run.gate, actor=by, reason=message)
    return run.model_copy(update={"state": "passed", "message": message, "by": by, "ask_at": None})


def _failed(turn: Turn, run: GateRun, message: str) -> GateRun:
    turn.tell("gate.failed", gate=run.gate, reason=message)
    return run.model_copy(update={"state": "failed", "message": message, "ask_at": None})


def at_gate(turn: Turn, policy: PolicySpec, before: str | int) -> Wait | None:
    """Begin to wait for the gates before this point, all at once; what is waited for, None once all have passed."""
    gates = due(turn.status.gate_runs, policy.gates, before)
    for gate in gates:
        if run_of(turn.status.gate_runs, gate.name) is None:
            turn.put(gate_runs=(*turn.status.gate_runs, GateRun(gate=gate.name, since=turn.now)))
            turn.tell("gate.waiting", gate=gate.name, kind=gate.kind, before=str(before))
    hear(turn, policy)
    left = due(turn.status.gate_runs, policy.gates, before)
    if not left:
        return None
    runs = [run for run in turn.status.gate_runs if run.gate in {gate.name for gate in left}]
    failed = next((run for run in runs if run.state == "failed"), None)
    asked = any(gate.kind != "approval" for gate in left) and failed is None
    reason = Reason.WAITING_FOR_GATE if asked else Reason.WAITING_FOR_APPROVAL
    if failed is not None:
        return Wait(reason, f"gate {failed.gate} said no: {failed.message}; somebody must approve it or abort")
    names = ", ".join(gate.name for gate in left)
    said = "; ".join(run.message for run in runs if run.message)
    again = min(_asked_within(turn, gate) for gate in left)
    return Wait(reason, f"gate {names}" + (f": {said}" if said else " has not answered yet"), again)


def _asked_within(turn: Turn, gate: Gate) -> timedelta:
    """When a gate is worth another look: a person's yes wakes us by itself, an answer on its way does not."""
    run = run_of(turn.status.gate_runs, gate.name)
    assert run is not None, "whoever waits for a gate has begun to"
    ends = run.since + gate.timeout - turn.now
    if gate.kind != "approval":
        ends = min(ends, (run.ask_at or turn.now) - turn.now)
    return min(_LOOK, max(SHORTEST, ends))


def refused_by(turn: Turn, policy: PolicySpec) -> Cause | None:
    """Why a gate ends the release; None where none said no, or where its policy holds then."""
    for gate in policy.gates:
        run = run_of(turn.status.gate_runs, gate.name)
        if run is not None and run.state == "failed" and gate.on_failure == "rollback":
            message = f"gate {gate.name} said no" + (f": {run.message}" if run.message else "")
            return Cause(kind="gate", reason=Reason.GATE_FAILED, message=message)
    return None
