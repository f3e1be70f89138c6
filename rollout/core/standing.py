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
    parts: dict[str, Mesh | Part] = {str(part.leg): part for part in mesh.parts} or {"": mesh}
    found = max(_standing(status, said, release, where) for where, said in parts.items())
    # What cannot be read may say anything, but not that the order is seen.
    return Standing.PENDING if found is Standing.SEEN and mesh.unread else found


def _standing(status: Status, said: Mesh | Part, release: str, where: str) -> Standing:
    order, confirmed = status.order, status.confirmed
    assert order is not None, "standing is asked only after the first order"
    before = 0 if confirmed is None else confirmed.percents.get(where, confirmed.route.percent)
    if said.release == release and (said.percent, said.epoch) == (order.percent, order.epoch):
        return Standing.SEEN
    if said.epoch > order.epoch or (said.epoch == order.epoch and is_anothers(said, release)):
        return Standing.TAKEN
    if confirmed is None and is_anothers(said, release) and said.release != status.authors.get(where, ""):
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


def left_behind(mesh: Mesh, release: str) -> bool:
    """Whether another release took some of several VirtualServices, and on the others our share still stands."""
    return any(part.release == release and part.percent > 0 for part in mesh.parts)
