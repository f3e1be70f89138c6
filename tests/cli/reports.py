"""A release that was rolled back, as reports are made of it, and what a report must be."""

import re
from xml.etree import ElementTree as ET

from rollout.cli.exits import ExitCode
from rollout.cli.outcome import Outcome
from rollout.core.judging.verdicts import Verdict
from rollout.core.release import Cause, Phase, Reason, Release, StepRecord
from tests.given import NOW, release, seconds

NASTY = "x\n::error::pwned\r##[add-mask]x | <img src=x> `$(id)` %0A::stop-commands::t \x1b[31m \u202e & ]]> \x00\ufffe"
METRICS = Cause(kind="metrics", reason=Reason.CHECK_FAILED, message="errors: 9 of 90 requests failed (10%)")
STEPS = (
    StepRecord(weight=10, since=NOW, until=NOW + seconds(12), canary_requests=1234, canary_errors=1, proven=True),
    StepRecord(weight=30, since=NOW + seconds(12), until=NOW + seconds(20), canary_requests=90, canary_errors=9),
)
FAILED = Verdict(
    check="errors vs stable", outcome="fail", value=0.1, limit=0.01, bad=9, requests=90, stable=0.001, stable_bad=1,
    stable_requests=1000, evidence=120, convicts=100, message="errors vs stable: 9 of 90 requests failed (10%)",
)  # fmt: skip
PASSED = Verdict(check="traffic", outcome="pass", message="traffic: 90 of 900 requests went to the canary")
UNSURE = Verdict(check="latency vs stable", outcome="unknown", reason="unproven", message="latency: not yet proven")


def rolled_back(**fields: object) -> Release:
    ended = {"steps": STEPS, "verdicts": (PASSED, UNSURE, FAILED), "cause": METRICS, "weight": 0}
    return release(Phase.ROLLED_BACK, **(ended | fields))  # type: ignore[arg-type]


def ended(made: Release, code: ExitCode = ExitCode.ROLLED_BACK, **fields: str) -> Outcome:
    return Outcome(service="checkout", version="v2", namespace="shop", release=made, code=code, **fields)


def holds_the_common_schema(document: bytes) -> ET.Element:
    """What junit-10.xsd of Jenkins' xunit plugin asks for, as far as it concerns what is written here."""
    root = ET.fromstring(document)
    assert root.tag == "testsuites"
    [suite] = root
    assert suite.tag == "testsuite"
    assert {"name", "tests", "failures", "errors"} <= set(suite.attrib)
    assert set(suite.attrib) <= {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}
    assert re.fullmatch(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?", suite.get("time", ""))
    assert {one.tag for one in suite} <= {"properties", "testcase"}
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases) > 0
    for case in cases:
        assert set(case.attrib) == {"classname", "name", "time"}
        assert [one.tag for one in case] in ([], ["failure"], ["error"], ["skipped"])
        assert all(set(one.attrib) <= {"message", "type"} for one in case)
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.attrib[attribute]) == len(suite.findall(f"testcase/{tag}"))
    return suite
