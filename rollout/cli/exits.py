"""How a command ends: the exit codes that pipelines match on, and the outcome of a release as one of them."""

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rollout.core.release import Release


class ExitCode(IntEnum):
    """Every code `rollout` exits with, as in docs/cli.md. 124, 130 and 143 are those of timeout(1) and of shells."""

    OK = 0
    BUG = 1
    USAGE = 2
    ROLLED_BACK = 10
    ABORTED = 11
    INFRASTRUCTURE = 12
    SUPERSEDED = 13
    UNREACHABLE = 20
    NOT_ALLOWED = 21
    REFUSED = 22
    TIMED_OUT = 124
    INTERRUPTED = 130
    TERMINATED = 143


class Stop(Exception):  # noqa: N818 - an answer for the user, no programming error
    """Ends the command: with this code, and with a message that says what to do next ("" where all has been said)."""

    def __init__(self, code: ExitCode, message: str = "") -> None:
        super().__init__(message)
        self.code = code


def outcome_of(release: "Release") -> ExitCode:
    """What a pipeline that waited for this release exits with. ValueError while it is still under way."""
    from rollout.core.release import Phase, Reason

    status = release.status
    cause = status.cause
    superseded = cause is not None and cause.reason is Reason.SUPERSEDED
    match status.phase:
        case Phase.PROMOTED:
            return ExitCode.OK
        case _ if status.phase.terminal and superseded:
            return ExitCode.SUPERSEDED
        case Phase.ABORTED:
            return ExitCode.ABORTED
        case Phase.ROLLED_BACK:
            on_evidence = cause is not None and cause.kind in {"metrics", "gate"}
            return ExitCode.ROLLED_BACK if on_evidence else ExitCode.INFRASTRUCTURE
        case Phase.FAILED:
            reason = cause.reason.value if cause is not None else status.reason
            refused = any(reason == one.value for one in Reason if one.refusal)
            return ExitCode.REFUSED if refused else ExitCode.INFRASTRUCTURE
        case _:
            raise ValueError(f"{release.name} is still under way: {status.phase.value}")
