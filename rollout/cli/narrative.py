"""A release in sentences: what changed between two looks at it, where it stands, how it ended. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from rollout.cli.weighing import suspicion
from rollout.core.gating import GateRun, run_of
from rollout.core.judging.evidence import NO_CONTROL
from rollout.core.judging.verdicts import Verdict
from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_duration
from rollout.core.release import Phase, Reason, Release, Status, StepRecord

_TOLD_OTHERWISE = frozenset({"", Reason.HOLDING.value, Reason.SHIFTING.value})
"""Reasons for which a step, a verdict or an end has its own line."""
_DOUBTFUL = frozenset({"suspect", "stable-too", "gate", "no-bucket"})
"""Unknown for a better reason than that it is early."""


def changes(before: Release | None, now: Release, home: str | None = None) -> Iterator[str]:
    """What happened between two looks at a release, oldest first, one line each; `before` is None at the first.

    A command that is hinted at names the namespace where that is not `home`, the one of the reader's context.
    """
    was, status = before.status if before is not None else Status(), now.status
    if status.stable is not None and was.stable is None and status.policy is not None:
        yield f"started: {status.stable} holds the traffic, {now.spec.version} gets {_weights(status.policy)}"
    yield from _wishes(before, now)
    yield from _steps(was, status, now.spec.version)
    yield from _verdicts(was, status)
    yield from _gates(was, status)
    if status.blind_since is not None and was.blind_since is None:
        yield "no usable metrics: nothing advances until Prometheus answers"
    if status.blind_since is None and was.blind_since is not None and not status.phase.terminal:
        yield "metrics are usable again"
    if status.drift is not None and status.drift != was.drift:
        yield (
            f"somebody set the route to {status.drift.percent} % by hand: it is respected, nothing advances; "
            f"`rollout resume {now.name}{elsewhere(now.namespace, home)}` takes it back"
        )
    if status.cause is not None and was.cause is None and not status.phase.terminal:
        yield f"all traffic goes back to {status.stable or 'stable'}: {status.cause.message}"
    if status.phase.terminal:
        if not was.phase.terminal:
            yield sentence(now)
    elif _stands_elsewhere(was, status):
        yield standing(status) + _remedy(now, home)


def _wishes(before: Release | None, now: Release) -> Iterator[str]:
    for word in ("pause", "resume", "promote", "abort"):
        wish = getattr(now.spec, word)
        if wish is not None and (before is None or getattr(before.spec, word) != wish):
            yield f"{word} asked for by {wish.by or 'somebody'}" + (f": {wish.reason}" if wish.reason else "")


def _steps(was: Status, status: Status, version: str) -> Iterator[str]:
    retreats = status.evidence.retreats - was.evidence.retreats
    for index, record in enumerate(status.steps):
        earlier = was.steps[index] if index < len(was.steps) else None
        named = step_of(status, record.weight)
        if earlier is None:
            yield f"{named}: {record.weight} % to {version}{_hold(status.policy, record.weight)}"
        if record.until is None or (earlier is not None and earlier.until is not None):
            continue
        retreated = retreats > 0 and _left_for_less(status, index)
        cut_short = retreated or (status.cause is not None and index == len(status.steps) - 1)
        passed = "passed, unproven" if is_unproven(record) else "passed"
        yield f"{named} {'cut short' if cut_short else passed}: {requests_of(record)}"
        if retreated:
            retreats -= 1
            yield _retreat(status)


def _left_for_less(status: Status, index: int) -> bool:
    """Whether a lower weight came after this step, and not because all traffic goes back."""
    if index + 1 < len(status.steps):
        return status.steps[index + 1].weight < status.steps[index].weight
    return status.cause is None and status.order is not None and status.order.percent < status.steps[index].weight


def _retreat(status: Status) -> str:
    """The last step's alarm; its check is remembered only while stable is watched for the same trouble."""
    check = status.evidence.alarm
    weight = status.policy.steps[0].weight if status.policy is not None else status.weight
    return f"back to {weight} % to get a control" + (f": {check} alarmed at full weight" if check else "")


def _verdicts(was: Status, status: Status) -> Iterator[str]:
    earlier = {verdict.check: verdict for verdict in was.verdicts}
    for verdict in status.verdicts:
        if _mood(verdict) != _mood(earlier.get(verdict.check)):
            if verdict.outcome == "fail":
                yield f"check failed: {verdict.message}"
            elif _mood(verdict) == "doubtful":
                yield f"check uncertain: {verdict.message}"
            elif _mood(earlier.get(verdict.check)) == "doubtful":
                yield f"check fine again: {verdict.message}"
    if _all_pass(status) and not _all_pass(was):
        checks = sum(verdict.outcome == "pass" for verdict in status.verdicts)
        yield f"nothing is suspected ({checks} {'check' if checks == 1 else 'checks'})"


def _gates(was: Status, status: Status) -> Iterator[str]:
    """What was waited for and has been answered."""
    for run in status.gate_runs:
        earlier = run_of(was.gate_runs, run.gate)
        if run.state != "waiting" and (earlier is None or earlier.state != run.state):
            yield f"gate {run.gate} {answer_of(run)}"


def answer_of(run: GateRun) -> str:
    """`passed, approved by ann: looks good`."""
    by = f", approved by {run.by}" if run.by else ""
    said = {"passed": "passed", "failed": "said no", "waiting": "is waited for"}[run.state]
    return said + by + (f": {run.message}" if run.message else "")


def _remedy(release: Release, home: str | None = None) -> str:
    """What a person can do about it, as the rest of a sentence."""
    status = release.status
    if status.reason not in {Reason.WAITING_FOR_APPROVAL, Reason.WAITING_FOR_GATE}:
        return ""
    people = {gate.name for gate in status.policy.gates if gate.kind == "approval"} if status.policy else set()
    open_to_people = status.reason == Reason.WAITING_FOR_APPROVAL
    gates = [run.gate for run in status.gate_runs if run.state != "passed" and (open_to_people or run.gate in people)]
    there = f"{release.name}{elsewhere(release.namespace, home)}"
    return "".join(f"; `rollout approve {there} --gate {gate}` lets it pass" for gate in gates)


def _mood(verdict: Verdict | None) -> str:
    if verdict is not None and verdict.outcome == "fail":
        return "failed"
    return "doubtful" if verdict is not None and verdict.reason in _DOUBTFUL else "fine"


def _all_pass(status: Status) -> bool:
    """What is not measured stands in nobody's way, but where nothing else was looked at, nothing passes."""
    outcomes = {verdict.outcome for verdict in status.verdicts}
    return "pass" in outcomes and outcomes <= {"pass", "unmeasured"}


def _stands_elsewhere(was: Status, status: Status) -> bool:
    if status.reason in _TOLD_OTHERWISE or (status.cause is not None and status.reason == status.cause.reason):
        return False
    # While pods come up the message is the news; while checks are counted it changes after every scrape.
    told = (status.phase, status.reason, status.message if status.phase is Phase.PREPARING else "")
    return told != (was.phase, was.reason, was.message if was.phase is Phase.PREPARING else "")


def standing(status: Status) -> str:
    """Where a release stands, in one line."""
    if status.observed_generation == 0:
        return "no controller has taken it up yet"
    reason = f" ({status.reason})" if status.reason else ""
    return f"{status.phase.value}{reason}" + (f": {status.message}" if status.message else "")


def sentence(release: Release) -> str:
    """How a release ended, in one sentence; where it stands if it has not."""
    status, version, service = release.status, release.spec.version, release.spec.service
    cause = status.cause.message if status.cause is not None else status.message or release.problem
    back = f"; {status.stable} holds all traffic of {service}" if status.stable is not None else ""
    took = duration_of(release)
    match status.phase:
        case Phase.PROMOTED:
            after = f", after {format_duration(took)}" if took is not None else ""
            return f"promoted: {version} holds all traffic of {service}{after}{_without_proof(status)}"
        case Phase.ROLLED_BACK | Phase.ABORTED if _is_superseded(status):
            return cause + back
        case Phase.ROLLED_BACK:
            return f"rolled back: {cause}{back}"
        case Phase.ABORTED:
            return (f"aborted {cause}" if cause.startswith("by ") else f"aborted: {cause}") + back
        case Phase.FAILED:
            gone = status.cause is not None and status.cause.reason is Reason.ROUTE_GONE
            return f"failed: {cause}" + ("" if gone else back)
        case _:
            return standing(status)


def _is_superseded(status: Status) -> bool:
    return status.cause is not None and status.cause.reason is Reason.SUPERSEDED


def waits_for(release: Release, now: datetime) -> str:
    """What has to happen before a release under way goes on."""
    status = release.status
    if status.reason != Reason.HOLDING or status.policy is None or status.step is None or status.confirmed is None:
        return standing(status) + _remedy(release)
    if suspected := suspicion(status):
        return f"suspected: {suspected}"
    left = status.confirmed.at + status.policy.steps[status.step].hold - now
    if left > timedelta(0):
        sooner = ", or proof" if status.policy.judge.early else ""
        weight = status.policy.steps[status.step].weight
        return f"the end of the hold at {weight} %, in {format_duration(_whole(left))}{sooner}"
    return "the next scrape"


def outlook(release: Release, now: datetime) -> str:
    """The same as the rest of a sentence that begins with the release's name."""
    said = waits_for(release, now)
    return said if said.startswith("suspected: ") else f"waits for {said}"


def duration_of(release: Release) -> timedelta | None:
    """How long a finished release took, in whole seconds; None before its end, or where it never began."""
    status = release.status
    if status.started_at is None or status.finished_at is None:
        return None
    return _whole(status.finished_at - status.started_at)


def requests_of(record: StepRecord) -> str:
    """What the canary served in a step."""
    return f"{record.canary_requests:,} requests, {record.canary_errors:,} failed"


def is_unproven(record: StepRecord) -> bool:
    """Whether it was left without proof that could have been had: without a control there is none."""
    return record.proven is False and record.weight <= NO_CONTROL


def _without_proof(status: Status) -> str:
    """How many steps were unproven; a weight that was come back to counts as it was left last."""
    newest = {record.weight: record for record in status.steps}
    unproven = sum(is_unproven(record) for record in newest.values())
    return f"; {unproven} of {len(newest)} steps unproven" if unproven else ""


def step_of(status: Status, weight: int) -> str:
    """`step 2 of 4`, counted as people do; a weight that was come back to keeps its number."""
    weights = [step.weight for step in status.policy.steps] if status.policy is not None else []
    return f"step {weights.index(weight) + 1} of {len(weights)}" if weight in weights else "step"


def elsewhere(namespace: str, home: str | None) -> str:
    """` -n shop` for a command that is hinted at; nothing where the namespace is `home`, or `home` is not known."""
    return "" if home is None or namespace == home else f" -n {namespace}"


def _hold(policy: PolicySpec | None, weight: int) -> str:
    steps = policy.steps if policy is not None else ()
    return next((f", watched for {format_duration(step.hold)}" for step in steps if step.weight == weight), "")


def _weights(policy: PolicySpec) -> str:
    return "/".join(str(step.weight) for step in policy.steps) + " %"


def _whole(span: timedelta) -> timedelta:
    return timedelta(seconds=round(span.total_seconds()))
