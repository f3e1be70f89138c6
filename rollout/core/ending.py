"""The ends of a release: bringing all traffic back, putting the loser's route entries away, naming the outcome."""

from datetime import timedelta

from rollout.core.intents import DropDestination, DropSubset
from rollout.core.orders import SOON, order_back
from rollout.core.policy import PolicySpec
from rollout.core.release import Cause, Phase, Reason
from rollout.core.route import Gone, Mesh, Route
from rollout.core.standing import Standing, is_anothers, left_behind, standing
from rollout.core.turn import Turn

CALM = timedelta(seconds=30)
"""When somebody undoes our rollback again and again: look, do not fight."""
EAGER = timedelta(seconds=1)
"""When our own write does not come through: try on, an outage may be over any moment."""
MOST_REORDERS = 3
MOST_TRIES = 5


def bring_back(turn: Turn, policy: PolicySpec, mesh: Mesh) -> None:
    """RollingBack: order 0 until it is seen, then put the canary's route entries away."""
    status = turn.status
    order, cause = status.order, status.cause
    assert order is not None and cause is not None
    done = status.confirmed is not None and status.confirmed.route == order
    where, behind = standing(status, mesh, turn.release.name), left_behind(mesh, turn.release.name)
    if where is Standing.SEEN:
        if not done:
            turn.confirm()
            turn.put(prepared_at=turn.now, tries=0)
            took = turn.now - (turn.status.since or turn.now)
            turn.tell("rollback.done", took_ms=round(took / timedelta(milliseconds=1)))
        if put_away(turn, policy, mesh, turn.version):
            turn.end(_outcome(turn, cause))
    elif where is Standing.TAKEN and is_anothers(mesh, turn.release.name) and not behind:
        turn.end(_outcome(turn, cause))
    elif not done and (behind or where is not Standing.TAKEN):
        turn.wait(status.reason, status.message, SOON)
        order_back(turn, mesh)
        if turn.late(policy.deadlines.route):
            _stuck(turn, mesh, "the rollback cannot be written to the VirtualService", EAGER)
    elif status.reorders < MOST_REORDERS:
        turn.put(reorders=status.reorders + 1, order=Route(percent=0, epoch=max(order.epoch, mesh.epoch) + 1))
        turn.tell("rollback.reordered", percent_seen=mesh.percent, times=status.reorders + 1)
        turn.order(mesh)
    else:
        _stuck(turn, mesh, f"somebody gives {turn.version} {mesh.percent} % again and again", CALM)


def put_away(turn: Turn, policy: PolicySpec, mesh: Mesh, loser: str) -> bool:
    """Take out the loser's destination, wait for the proxies, take out its subset; True once nothing is left to do.

    Fixed subset names stay where they are, for the next release; a version's own Service is CI's to remove.
    """
    status = turn.status
    if policy.route.subsets:
        return True
    added_subset = status.added_subset and policy.route.host is None
    if status.added_destination and loser in mesh.listed:
        turn.want(DropDestination(loser, mesh))
        turn.put(prepared_at=turn.now)
        left = f"the destination of {loser}"
    elif added_subset and loser in mesh.subsets and status.tries <= MOST_TRIES:
        assert status.prepared_at is not None
        settled = status.prepared_at + policy.settle
        if turn.now < settled:
            turn.wait(Reason.CLEANING_UP, "proxies forget the old route", settled - turn.now)
            return False
        turn.put(tries=status.tries + 1)
        turn.want(DropSubset(loser))
        left = f"the subset of {loser}"
    else:
        if added_subset and loser in mesh.subsets:
            turn.tell("cleanup.skipped", reason=f"the subset of {loser} was left: another route may name it")
        return True
    if turn.late(policy.deadlines.route + policy.settle):
        turn.tell("cleanup.skipped", reason=f"{left} could not be removed in time")
        return True
    turn.wait(Reason.CLEANING_UP, f"removing {left}", SOON)
    return False


def _stuck(turn: Turn, mesh: Mesh, message: str, again: timedelta) -> None:
    if turn.status.reason != Reason.STUCK:
        turn.tell("rollback.stuck", percent_seen=mesh.percent, reason=message)
    turn.wait(Reason.STUCK, message, again)


def route_is_gone(turn: Turn, gone: Gone) -> None:
    """Without its VirtualService the mesh spreads requests over all pods of the Service; nothing is left to order."""
    message = f"{gone.message}; traffic now follows the Service, all versions alike"
    cause = turn.status.cause or Cause(kind="infrastructure", reason=Reason.ROUTE_GONE, message=message)
    turn.put(cause=cause)
    turn.end(Phase.FAILED)


def _outcome(turn: Turn, cause: Cause) -> Phase:
    if cause.kind == "person":
        return Phase.ABORTED
    # An order that was never seen may have carried traffic all the same.
    return Phase.FAILED if turn.status.step is None else Phase.ROLLED_BACK
