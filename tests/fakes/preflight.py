"""Preflight that finds what a test says: nothing, unless told otherwise."""

from rollout.core.policy import PolicySpec
from rollout.core.preflight import Report
from rollout.core.route import Target, Unavailable


class FakePreflight:
    """`ports.Preflight`; `answer` may be changed at any time."""

    def __init__(self, answer: Report | Unavailable | None = None) -> None:
        self.answer: Report | Unavailable = Report() if answer is None else answer

    async def inspect(self, target: Target, policy: PolicySpec) -> Report | Unavailable:  # noqa: ARG002 - the port's
        return self.answer
