"""The end of a release as a JUnit report: a test case for the release, each step and each check. Pure.

Valid against the schema that Jenkins and GitLab read by (junit-10.xsd of the xunit plugin): `testsuites`, `testsuite`,
`testcase` with at most one of `failure`, `error`, `skipped`; times in seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from rollout.cli.narrative import duration_of
from rollout.cli.outcome import Outcome, Result
from rollout.cli.summary import lasted, verdict_of
from rollout.cli.terminal import printable
from rollout.core.quantities import format_instant
from rollout.core.release import Release

_Kind = Literal["failure", "error", "skipped"]
_BAD: dict[Result, _Kind] = {
    Result.ROLLED_BACK: "failure",
    Result.ABORTED: "failure",
    Result.SUPERSEDED: "skipped",
    Result.RUNNING: "skipped",
}
"""All others are errors."""


@dataclass(frozen=True, slots=True)
class _Case:
    group: str
    name: str
    seconds: float = 0.0
    kind: _Kind | None = None
    said: str = ""
    type: str = ""


def junit(outcome: Outcome) -> bytes:
    """The XML document, in UTF-8."""
    named = f"{outcome.service} {outcome.version}".strip() or "rollout"
    cases = list(_cases(outcome))
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(one.kind == "failure" for one in cases)),
        "errors": str(sum(one.kind == "error" for one in cases)),
    }
    root = ET.Element("testsuites", {"name": "rollout", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": printable(named), **counts})
    suite.set("skipped", str(sum(one.kind == "skipped" for one in cases)))
    release = outcome.release
    if release is not None:
        suite.set("time", f"{_seconds(release):.3f}")
        if release.created_at is not None:
            suite.set("timestamp", format_instant(release.created_at)[:19])
    properties = ET.SubElement(suite, "properties")
    for name, value in outcome.fields().items():
        ET.SubElement(properties, "property", {"name": name, "value": printable(value)})
    for case in cases:
        _add(suite, case)
    ET.indent(root)
    # ASCII with character references is UTF-8 all the same, and nobody can take it for another encoding.
    body: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=False)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"


def _add(suite: ET.Element, case: _Case) -> None:
    attributes = {"classname": printable(case.group), "name": printable(case.name), "time": f"{case.seconds:.3f}"}
    element = ET.SubElement(suite, "testcase", attributes)
    if case.kind is not None:
        said = printable(case.said)
        found = ET.SubElement(element, case.kind, {"message": said})
        if case.kind != "skipped":
            found.set("type", printable(case.type) or case.kind)
            found.text = said


def _cases(outcome: Outcome) -> Iterator[_Case]:
    group, release = f"rollout.{outcome.service or 'release'}", outcome.release
    kind = None if outcome.result is Result.PROMOTED else _BAD.get(outcome.result, "error")
    took = _seconds(release) if release is not None else 0.0
    named = f"release of {outcome.version}" if outcome.version else "release"
    yield _Case(group, named, took, kind, outcome.sentence, outcome.reason)
    if release is not None:
        yield from _steps(f"{group}.steps", release)
        yield from _checks(f"{group}.checks", release)


def _steps(group: str, release: Release) -> Iterator[_Case]:
    """Those that were taken, and as skipped those that were not; a weight may have been come back to."""
    status = release.status
    for index, record in enumerate(status.steps):
        verdict, took = verdict_of(status, index), lasted(record, status)
        kinds: dict[str, _Kind] = {"stopped here": "failure", "under way": "skipped"}
        yield _Case(
            group,
            f"{index + 1}: {record.weight} %",
            took.total_seconds() if took is not None else 0.0,
            kinds.get(verdict),
            status.cause.message if verdict == "stopped here" and status.cause is not None else verdict,
            status.cause.reason.value if status.cause is not None else "",
        )
    taken = {record.weight for record in status.steps}
    planned = [step.weight for step in status.policy.steps] if status.policy is not None else []
    for weight in planned:
        if weight not in taken:
            yield _Case(group, f"{weight} %", kind="skipped", said="not reached")


def _checks(group: str, release: Release) -> Iterator[_Case]:
    for one in release.status.verdicts:
        kinds: dict[str, _Kind] = {"fail": "failure", "unknown": "skipped", "unmeasured": "skipped"}
        yield _Case(
            group, one.check, 0.0, kinds.get(one.outcome), one.message or one.reason, one.reason or "CheckFailed"
        )


def _seconds(release: Release) -> float:
    took = duration_of(release)
    return took.total_seconds() if took is not None else 0.0
