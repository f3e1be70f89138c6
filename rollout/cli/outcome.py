"""How waiting for a release ended, in the words that pipelines match on; what every report is made of.

Belongs here: the result, its reason, what is safe to hand to a shell. Does not belong here: any file format
(`summary.py`, `junit.py`, `annotations.py`), when something is written (`reporting.py`).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from rollout.cli.exits import ExitCode, outcome_of
from rollout.cli.narrative import sentence
from rollout.core.release import Phase, Release

_WORD = re.compile(r"[^A-Za-z0-9]")
_URL_CHARACTERS = "/:?=%+~.,-_[]@"
"""What stays in a URL as it is: nothing that a shell or a workflow takes for more than a character in double quotes."""


class Result(StrEnum):
    """What became of the release, whatever became of the wait for it."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    REFUSED = "refused"
    RUNNING = "running"
    UNKNOWN = "unknown"


_BY_CODE = {
    ExitCode.OK: Result.PROMOTED,
    ExitCode.ROLLED_BACK: Result.ROLLED_BACK,
    ExitCode.ABORTED: Result.ABORTED,
    ExitCode.SUPERSEDED: Result.SUPERSEDED,
    ExitCode.REFUSED: Result.REFUSED,
}
_NEVER_ASKED = {ExitCode.REFUSED, ExitCode.NOT_ALLOWED, ExitCode.USAGE}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a report tells. While the release is followed `code` is None."""

    service: str = ""
    version: str = ""
    namespace: str = ""
    release: Release | None = None
    """As last seen; None where none was created, or where that is not known."""
    code: ExitCode | None = None
    message: str = ""
    """What was said last, where the release does not tell it."""
    address: str = ""
    """Of the HTTP API; "" where the cluster was asked."""

    @property
    def result(self) -> Result:
        """What became of the release."""
        release = self.release
        if release is None:
            return Result.REFUSED if self.code in _NEVER_ASKED else Result.UNKNOWN
        if release.status.phase.terminal:
            back = release.status.phase is Phase.ROLLED_BACK
            return _BY_CODE.get(outcome_of(release), Result.ROLLED_BACK if back else Result.FAILED)
        # It was deleted, and nobody saw its end.
        return Result.UNKNOWN if self.code is ExitCode.INFRASTRUCTURE else Result.RUNNING

    @property
    def sentence(self) -> str:
        """How it ended, or where it stands."""
        release = self.release
        if release is not None and (release.status.phase.terminal or not self.message):
            return sentence(release)
        return self.message.partition("\n")[0] or self.result.value

    @property
    def release_id(self) -> str:
        """The release's name; "" where there is none."""
        return self.release.name if self.release is not None else ""

    @property
    def reason(self) -> str:
        """The word for it: that of the cause, else of the status. Letters and digits only."""
        if self.release is None:
            return ""
        status = self.release.status
        return _WORD.sub("", status.cause.reason.value if status.cause is not None else status.reason)

    @property
    def weight(self) -> int:
        """The canary's share, in percent, as last seen."""
        return self.release.status.weight if self.release is not None else 0

    @property
    def url(self) -> str:
        """The release at the HTTP API; "" where there is no API, or no release."""
        if self.release is None or not self.address:
            return ""
        return quote(f"{self.address}/v1/releases/{self.release.namespace}/{self.release.name}", safe=_URL_CHARACTERS)

    def fields(self) -> dict[str, str]:
        """The outputs of a job: one line each, without blanks, quotes or anything else that a shell would look at."""
        code = {} if self.code is None else {"exit_code": str(int(self.code))}
        return {
            "release_id": self.release_id,
            "result": self.result.value,
            "reason": self.reason,
            "url": self.url,
            "weight": str(self.weight),
            **code,
        }

    def document(self) -> dict[str, Any]:
        """The JSON report: the release as `status -o json` prints it, after what became of the wait."""
        from rollout.cli.views import document

        told: dict[str, Any] = {"result": self.result.value, "reason": self.reason, "message": self.sentence}
        told |= {"service": self.service, "version": self.version, "namespace": self.namespace, "weight": self.weight}
        if self.code is not None:
            told["exitCode"] = int(self.code)
        if self.url:
            told["url"] = self.url
        return {**told, "release": document(self.release) if self.release is not None else None}
