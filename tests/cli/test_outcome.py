"""What every report is made of: summary, JUnit, annotations and outputs, of any end and of any text."""

import re

from hypothesis import given
from hypothesis import strategies as st

from rollout.cli.annotations import command
from rollout.cli.junit import junit
from rollout.cli.outcome import Result
from rollout.cli.summary import markdown, text
from rollout.cli.terminal import printable
from rollout.core.judging.verdicts import Verdict
from rollout.core.release import Phase
from tests.cli.reports import FAILED, METRICS, NASTY, ended, holds_the_common_schema, rolled_back
from tests.given import NAME, release


def test_the_summary_begins_with_the_outcome_and_the_failing_check_comes_before_the_steps() -> None:
    lines = markdown(ended(rolled_back())).splitlines()
    assert "rolled\\-back" in lines[0] or "rolled-back" in lines[0]
    assert "9 of 90 requests failed" in lines[0]
    rows = [line for line in lines if line.startswith("|") and "---" not in line]
    assert "errors vs stable" in rows[1]
    steps = [row for row in rows if re.match(r"\| [12] \|", row)]
    assert [row.split(" | ")[1] for row in steps] == ["10 %", "30 %"]
    assert "1,234" in steps[0]
    assert "passed" in steps[0]
    assert "stopped here" in steps[1]


def test_every_row_of_a_table_has_as_many_cells_as_its_head_whatever_is_in_them() -> None:
    doubt = Verdict(check=NASTY, outcome="fail", message=NASTY, reason="gate")
    told = markdown(ended(rolled_back(verdicts=(doubt,))))
    rows = [line for line in told.splitlines() if line.startswith("|")]
    assert rows
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}


def test_the_report_has_a_case_per_step_and_check_and_those_not_reached_are_skipped() -> None:
    suite = holds_the_common_schema(junit(ended(rolled_back())))
    cases = {(case.get("classname"), case.get("name")): [one.tag for one in case] for case in suite.iter("testcase")}
    assert cases == {
        ("rollout.checkout", "release of v2"): ["failure"],
        ("rollout.checkout.steps", "1: 10 %"): [],
        ("rollout.checkout.steps", "2: 30 %"): ["failure"],
        ("rollout.checkout.steps", "100 %"): ["skipped"],
        ("rollout.checkout.checks", "traffic"): [],
        ("rollout.checkout.checks", "latency vs stable"): ["skipped"],
        ("rollout.checkout.checks", "errors vs stable"): ["failure"],
    }


@given(st.text(max_size=60))
def test_any_text_makes_one_line_of_markdown_one_annotation_and_valid_xml(said: str) -> None:
    assert len(text(said).splitlines()) <= 1
    assert len(command("error", said, said).splitlines()) == 1
    assert command("error", said, said).count("::") >= 2
    cause = METRICS.model_copy(update={"message": said})
    holds_the_common_schema(
        junit(ended(rolled_back(cause=cause, verdicts=(FAILED.model_copy(update={"check": said}),))))
    )


@given(st.text(max_size=40), st.text(max_size=40))
def test_the_runner_reads_what_was_said_and_nothing_else(title: str, message: str) -> None:
    level, properties, data = as_the_runner_reads_it(command("error", f"t{title}", message))
    assert level == "error"
    assert properties == {"title": printable(f"t{title}").rstrip(" ")}
    assert data == printable(message)


def as_the_runner_reads_it(line: str) -> tuple[str, dict[str, str], str]:
    """TryParseV2 of ActionCommand.cs in actions/runner: the command, its properties, its data."""
    line = line.lstrip()
    assert line.startswith("::")
    end = line.index("::", 2)
    name, _, properties = line[2:end].partition(" ")
    pairs = [one.split("=", 1) for one in properties.strip().split(",") if one]
    found = {pair[0]: _unescaped(pair[1], ("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ",")) for pair in pairs}
    return name, found, _unescaped(line[end + 2 :], ("%0D", "\r"), ("%0A", "\n"))


def _unescaped(text: str, *tokens: tuple[str, str]) -> str:
    for token, said in (*tokens, ("%25", "%")):
        text = text.replace(token, said)
    return text


def test_the_url_leads_to_the_release_at_the_api_and_is_safe_in_a_shell() -> None:
    made = ended(rolled_back(), address="https://rollout.example/a b;$(id)")
    assert re.fullmatch(r"https://[A-Za-z0-9/:?=%+~.,_-]+", made.url)
    assert made.url.endswith(f"/v1/releases/shop/{NAME}")


def test_a_result_is_known_for_every_phase() -> None:
    for phase in Phase:
        made = release(phase, cause=METRICS if phase.terminal and phase is not Phase.PROMOTED else None)
        assert ended(made).result in Result
