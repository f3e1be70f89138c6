"""Where the mesh stands against the order: the comparison every decision about traffic begins with."""

from enum import IntEnum

from rollout.core.release import Status
from rollout.core.route import Mesh, Part


class Standing(IntEnum):
    """What the route says about the last order. Of several VirtualServices the highest one says it for all."""

    SEEN = 0
    """It is as ordered: percent, epoch and author."""
    PENDING = 1
    """It is as it was before the order: write it."""
    DRIFTED = 2
    """Somebody else changed the weights: respect it."""
    BACK_AT_STABLE = 3
    """A person put all traffic back to stable: that is an abort."""
    TAKEN = 4
    """It carries a newer order than ours: do not write."""


def standing(status: Status, mesh: Mesh, release: str) -> Standing:
    """Compare the route with `status.order` and with the last route that was confirmed.

    A person's edit keeps the epoch (`kubectl edit`) or loses the annotation (`kubectl replace`, read as 0). An older
    epoch that is still there means an object put back from elsewhere: a drift, but no wish to abort. Several
    VirtualServices are each compared: an order that has reached only some of them is still to be written.
    """
    if not mesh.parts:
        return _standing(status, mesh, release, _before(status, 0))
    return max(_standing(status, part, release, _before(status, place)) for place, part in enumerate(mesh.parts))


def _before(status: Status, place: int) -> int:
    """The share that was there before the order."""
    confirmed = status.confirmed
    if confirmed is None:
        return 0
    return confirmed.percents[place] if place < len(confirmed.percents) else confirmed.route.percent


def _standing(status: Status, said: Mesh | Part, release: str, before: int) -> Standing:
    order, confirmed = status.order, status.confirmed
    assert order is not None, "standing is asked only after the first order"
    if said.release == release and (said.percent, said.epoch) == (order.percent, order.epoch):
        return Standing.SEEN
    if said.epoch > order.epoch or (said.epoch == order.epoch and is_anothers(said, release)):
        return Standing.TAKEN
    if said.percent == before and (said.epoch < order.epoch or not said.release):
        return Standing.PENDING
    last = confirmed.route.epoch if confirmed is not None else order.epoch - 1
    if said.percent == 0 and before > 0 and said.epoch in {0, last, order.epoch}:
        return Standing.BACK_AT_STABLE
    return Standing.DRIFTED


def is_anothers(said: Mesh | Part, release: str) -> bool:
    """Whether another release gave the order on the route; one without a name was lost, not given by anybody else."""
    return said.release not in {"", release}
