"""Where the mesh stands against the order: the comparison every decision about traffic begins with."""

from enum import Enum, auto

from rollout.core.release import Status
from rollout.core.route import Mesh


class Standing(Enum):
    """What the route says about the last order."""

    SEEN = auto()
    """It is as ordered: percent, epoch and author."""
    PENDING = auto()
    """It is as it was before the order: write it."""
    TAKEN = auto()
    """It carries a newer order than ours: do not write."""
    BACK_AT_STABLE = auto()
    """A person put all traffic back to stable: that is an abort."""
    DRIFTED = auto()
    """Somebody else changed the weights: respect it."""


def standing(status: Status, mesh: Mesh, release: str) -> Standing:
    """Compare the route with `status.order` and with the last route that was confirmed.

    A person's edit keeps the epoch (`kubectl edit`) or loses the annotation (`kubectl replace`, read as 0). An older
    epoch that is still there means an object put back from elsewhere: a drift, but no wish to abort.
    """
    order, confirmed = status.order, status.confirmed
    assert order is not None, "standing is asked only after the first order"
    if mesh.release == release and (mesh.percent, mesh.epoch) == (order.percent, order.epoch):
        return Standing.SEEN
    if mesh.epoch > order.epoch or (mesh.epoch == order.epoch and is_anothers(mesh, release)):
        return Standing.TAKEN
    before = confirmed.route.percent if confirmed is not None else 0
    if mesh.percent == before and (mesh.epoch < order.epoch or not mesh.release):
        return Standing.PENDING
    last = confirmed.route.epoch if confirmed is not None else order.epoch - 1
    if mesh.percent == 0 and before > 0 and mesh.epoch in {0, last, order.epoch}:
        return Standing.BACK_AT_STABLE
    return Standing.DRIFTED


def is_anothers(mesh: Mesh, release: str) -> bool:
    """Whether another release gave the order on the route; one without a name was lost, not given by anybody else."""
    return mesh.release not in {"", release}
