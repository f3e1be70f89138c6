"""How a judge ended a release: what every judge here answers, so that they can be compared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.judge.worlds import Fault, World

STEPS = ((10, 300.0), (30, 300.0), (50, 300.0), (100, 300.0))
"""(weight, seconds to hold): the same for every judge."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one release."""

    outcome: Literal["promoted", "rolled back", "held"]
    seconds: float
    check: str = ""
    """What convicted it, or what it was held for."""
    first_bad: float | None = None
    """When the fault first touched a request; None if it never did."""
    harmed: int = 0
    """Requests that failed because of the fault."""
    weight: int = 0
    """The canary's share at the end, percent."""

    @property
    def delay(self) -> float | None:
        """Seconds from the first bad request to the rollback."""
        if self.outcome != "rolled back" or self.first_bad is None:
            return None
        return self.seconds - self.first_bad


Contender = Callable[[World, Fault, int, float], Outcome]
"""(world, fault, seed, seconds between looks) -> how it ended."""
