"""The evidence of a whole release as it is saved: what follows from it, in the numbers that every verb says. Pure.

How a single check is told is in core/judging/verdicts.py and why.py.
"""

from rollout.core.judging import judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.judge import Opinion
from rollout.core.judging.verdicts import odds
from rollout.core.release import Status


def weighed(status: Status) -> Opinion | None:
    """What follows from the evidence that is saved; None before the first look."""
    if status.policy is None or status.order is None or not status.evidence.processes:
        return None
    return judge.opinion(status.evidence, status.policy, status.learned or Learned(), status.order.percent)


def threshold(convicts: float) -> str:
    """Evidence that convicts, as a number."""
    return f"{convicts:,.1f}".removesuffix(".0")


def chance(found: Opinion) -> str:
    """The evidence as a betting sentence; see `core/judging/judge.py` for why it is one."""
    needed = f"rolls back at 1 in {threshold(found.convicts)}"
    if found.evidence <= 1:
        return f"none beyond chance; {needed}"
    return f"1 in {odds(found.evidence)} by chance; {needed}"


def suspicion(status: Status) -> str:
    """Which check is suspected and how strongly, while nothing advances for that; "" while nothing is."""
    found = weighed(status)
    if found is None or status.policy is None or found.kind != "suspect":
        return ""
    if found.evidence < judge.suspicion(status.policy):
        # The last step's guard alone: it asks for a control, and does not convict.
        return ""
    return f"{found.check}, evidence 1 in {odds(found.evidence)}, rolls back at 1 in {threshold(found.convicts)}"
