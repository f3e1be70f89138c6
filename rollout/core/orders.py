"""Orders given to the route, and what follows when somebody else gives some: respect, resume, or the way back."""

from datetime import timedelta

from rollout.core import analysis
from rollout.core.events import Scalar
from rollout.core.intents import AddSubset
from rollout.core.judging.verdicts import fails
from rollout.core.policy import PolicySpec
from rollout.core.release import Cause, Confirmed, Drift, Phase, Reason
from rollout.core.route import Mesh, Problem, Route
from rollout.core.standing import Standing, is_anothers, left_behind, standing
from rollout.core.turn import Turn

SOON = timedelta(milliseconds=200)
"""When an order should be on the mesh already and is not."""
SPLIT = "already-split"
"""The code of the problem that a route has which two versions share: no release may start on it, ours goes on."""


def next_weight(turn: Turn, policy: PolicySpec, mesh: Mesh, step: int) -> None:
    """Order the weight of `step`, under a new epoch."""
    assert turn.status.order is not None
    weight = policy.steps[step].weight
    turn.put(step=step, order=Route(percent=weight, epoch=max(turn.status.order.epoch, mesh.epoch) + 1), drift=None)
    message = f"shifting {weight} % to {turn.version}"
    if turn.status.phase is Phase.SHIFTING:
        turn.put(reason=Reason.SHIFTING.value, message=message, since=turn.now)
    else:
        turn.go(Phase.SHIFTING, Reason.SHIFTING, message)
    turn.order(mesh)


def locate(turn: Turn, mesh: Mesh) -> Standing:
    """Compare the route with the order; write the order where it is due, respect whoever else wrote."""
    status = turn.status
    assert status.order is not None
    where = standing(status, mesh, turn.release.name)
    # While finishing, the old version's entries are on their way out: that no release could start here is no surprise.
    finished = where is Standing.SEEN and status.phase is Phase.FINISHING
    if where in {Standing.SEEN, Standing.PENDING} and _obstacle(mesh) is not None and not finished:
        where = Standing.DRIFTED
    if where is Standing.SEEN:
        if status.drift is not None:
            turn.put(drift=None)
            turn.tell("traffic.drift_ended", percent=mesh.percent)
            turn.confirm()
            if status.phase is Phase.ANALYSING:
                analysis.open_window(turn)
    elif where is Standing.TAKEN:
        _taken(turn, mesh)
    elif where is Standing.PENDING:
        turn.wait(status.reason, status.message, SOON)
        turn.order(mesh)
    elif where is Standing.BACK_AT_STABLE:
        message = f"somebody took all traffic from {turn.version} by hand"
        roll_back(turn, mesh, Cause(kind="person", reason=Reason.HAND_ON_ROUTE, message=message))
    else:
        _respect(turn, mesh)
    return where


def _obstacle(mesh: Mesh) -> Problem | None:
    """Why the canary's share cannot be stepped now; a split is what a release makes, even where its name was lost."""
    return None if mesh.problem is None or mesh.problem.code == SPLIT else mesh.problem


def _respect(turn: Turn, mesh: Mesh) -> None:
    """Somebody else changed the weights: say so once, hold, and take the route back only when asked to."""
    status, resume = turn.status, turn.release.spec.resume
    assert status.order is not None and status.policy is not None
    obstacle = _obstacle(mesh)
    message = obstacle.message if obstacle else f"the route gives {mesh}, not the {status.order.percent} % ordered"
    if status.drift is None or (status.drift.percent, status.drift.said) != (mesh.percent, mesh.differing):
        turn.put(drift=Drift(percent=mesh.percent, said=mesh.differing, at=turn.now))
        turn.tell("traffic.drift_detected", percent_ordered=status.order.percent, percent_seen=mesh.percent)
    elif resume is not None and resume.at is not None and resume.at > status.drift.at and obstacle is None:
        # What the hand left is where the new order starts from: it stays due if this cycle cannot write it.
        left = Route(percent=mesh.percent, epoch=mesh.epoch)
        percents = {str(part.leg): part.percent for part in mesh.parts}
        turn.put(confirmed=Confirmed(route=left, at=turn.now, percents=percents))
        if status.step is not None:
            next_weight(turn, status.policy, mesh, status.step)
        else:
            turn.put(
                order=Route(percent=status.order.percent, epoch=max(status.order.epoch, mesh.epoch) + 1), drift=None
            )
            turn.wait(status.reason, status.message, SOON)
            turn.order(mesh)
        return
    turn.wait(
        Reason.DRIFTED,
        f"{message}; `rollout resume` takes it back, `rollout abort` ends the release",
        status.policy.interval,
    )


def is_taken_over(turn: Turn, mesh: Mesh) -> bool:
    """Whether the route is another release's now: then not even a rollback may touch it."""
    return standing(turn.status, mesh, turn.release.name) is Standing.TAKEN and is_anothers(mesh, turn.release.name)


def _taken(turn: Turn, mesh: Mesh) -> None:
    """A newer order is on the route than this release ever gave."""
    if is_anothers(mesh, turn.release.name):
        cause = Cause(kind="person", reason=Reason.HAND_ON_ROUTE, message=f"release {mesh.release} took the route over")
        if left_behind(mesh, turn.release.name):
            roll_back(turn, mesh, cause)
        else:
            turn.put(cause=cause)
            turn.end(Phase.ABORTED)
    else:
        message = "the route carries a newer order than this release remembers giving"
        roll_back(turn, mesh, Cause(kind="infrastructure", reason=Reason.HAND_ON_ROUTE, message=message))


def roll_back(turn: Turn, mesh: Mesh | None, cause: Cause) -> None:
    """Order all traffic back, now: saved and written in this very cycle, or as soon as the route can be seen again."""
    status = turn.status
    assert status.order is not None
    steps = status.steps
    if steps and steps[-1].until is None:
        steps = (*steps[:-1], steps[-1].model_copy(update={"until": turn.now}))
    # Another release's epoch is not outdone: what is its own by now must not be ordered back.
    newest = 0 if mesh is None or is_taken_over(turn, mesh) else mesh.epoch
    turn.put(
        cause=cause,
        order=Route(percent=0, epoch=max(status.order.epoch, newest) + 1),
        drift=None,
        steps=steps,
        reorders=0,
    )
    turn.go(Phase.ROLLING_BACK, cause.reason, cause.message)
    failed = fails(status.verdicts)
    numbers: dict[str, Scalar] = {}
    if failed is not None and cause.kind == "metrics":
        numbers = {"check": failed.check, "value": failed.value, "limit": failed.limit, "requests": failed.requests}
    turn.tell("rollback.started", trigger=cause.kind, reason_code=cause.reason.value, reason=cause.message, **numbers)
    if mesh is not None:
        order_back(turn, mesh)
    turn.wait(cause.reason, cause.message, timedelta(0))


def order_back(turn: Turn, mesh: Mesh) -> None:
    """Have the order for 0 written; first give stable its subset again where finishing has put it away already."""
    status = turn.status
    if status.added_subset and status.stable not in mesh.subsets and turn.version in mesh.subsets:
        turn.want(AddSubset(status.stable or ""))
    turn.order(mesh)


def give_up(turn: Turn, mesh: Mesh, reason: Reason, message: str) -> None:
    """Roll back because of the world around the canary, not because of its metrics."""
    roll_back(turn, mesh, Cause(kind="infrastructure", reason=reason, message=message))
