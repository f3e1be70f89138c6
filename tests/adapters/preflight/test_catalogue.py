"""docs/preflight.md says what can be found, no more and no less; and findings are what the catalogue says they are."""

import re
from pathlib import Path

import pytest

from rollout.adapters.preflight.catalogue import CATALOGUE, found, of_the_route
from rollout.core.route import Problem
from rollout.documents.marked import replaced

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "preflight.md"
SOURCES = ROOT / "rollout" / "adapters" / "preflight"


def table() -> str:
    """One row per code, in the order of the catalogue."""
    rows = (
        f"| [`{rule.code}`]({rule.link}) | {', '.join(rule.severities)} | {rule.meaning} | {rule.action} |"
        for rule in CATALOGUE.values()
    )
    return "\n".join(("| code | severity | what it means | what to do |", "| --- | --- | --- | --- |", *rows))


def test_the_document_has_the_catalogue_s_table() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == replaced(document, "findings", table()), f"the table in {DOCUMENT.name} is not that of the code"


def test_every_code_is_found_by_some_rule_and_no_other_is() -> None:
    texts = [path.read_text(encoding="utf-8") for path in SOURCES.glob("*.py") if path.name != "catalogue.py"]
    used = {code for text in texts for code in re.findall(r'found\(\s*"([a-z-]+)"', text)}
    assert used == set(CATALOGUE)


def test_a_finding_has_the_usual_severity_action_and_link_unless_told_otherwise() -> None:
    usual = found("subset-shadowed", "DestinationRule web/x", "it is so")
    assert (usual.severity, usual.link) == ("error", CATALOGUE["subset-shadowed"].link)
    assert usual.action == CATALOGUE["subset-shadowed"].action
    told = found("subset-shadowed", "DestinationRule web/x", "it is so", action="delete it", severity="warning")
    assert (told.severity, told.action) == ("warning", "delete it")


def test_no_rule_may_invent_a_severity() -> None:
    with pytest.raises(AssertionError):
        found("mixed-apis", "HTTPRoute shop/x", "it is so", severity="info")


@pytest.mark.parametrize(
    ("problem", "message", "action"),
    [
        (
            "route 1 of VirtualService shop/x: it is split: give one all traffic",
            "route 1 of VirtualService shop/x: it is split",
            "give one all traffic",
        ),
        ("there is no http route", "there is no http route", "correct the route"),
    ],
)
def test_a_problem_of_the_route_is_told_in_its_own_words(problem: str, message: str, action: str) -> None:
    one = of_the_route(Problem("no-stable", problem), "VirtualService shop/x")
    assert (one.code, one.severity, one.message, one.action) == ("no-stable", "error", message, action)


def test_findings_are_sentences_without_a_full_stop_and_meanings_have_one() -> None:
    for rule in CATALOGUE.values():
        assert rule.meaning.endswith(".")
        assert not rule.action.endswith(".")
        assert rule.link.startswith("https://")
