"""docs/cli.md says what the command line is, no more and no less."""

import re
from pathlib import Path

import pytest
import typer

from rollout.cli import verbs
from rollout.cli.exits import ExitCode
from rollout.cli.main import run
from tests.cli.test_main import VERBS

CLI = Path(__file__).parents[2] / "rollout" / "cli"
TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
OPTION = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*")
FOREIGN = {"--help"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_explained_with_an_example(verb: str) -> None:
    assert re.search(rf"^(### |\| )`rollout {verb}\b", TEXT, re.MULTILINE)
    assert re.search(rf"^\$ rollout {verb}\b|\| `rollout {verb}\b[^|]*` \|", TEXT, re.MULTILINE)


def test_every_exit_code_is_in_the_table_and_none_that_is_not() -> None:
    table = TEXT[TEXT.index("## Exit codes") :]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == set(ExitCode)


def test_every_option_that_is_documented_exists_and_every_other_is_documented(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for verb in ["", *VERBS]:
        run([*verb.split(), "--help"])
    shown = set(OPTION.findall(capsys.readouterr().out)) - FOREIGN
    assert set(OPTION.findall(TEXT)) == shown - {"--all-namespaces", "--output", "--slow"}


def test_every_variable_that_is_documented_exists_and_every_other_is_documented() -> None:
    group = typer.main.get_group(verbs.app)
    known = {str(one.envvar) for verb in ("serve", "api") for one in group.commands[verb].params if _has_variable(one)}
    for name in ("session", "reaching"):
        known |= set(re.findall(r'"(ROLLOUT_[A-Z_]+)"', (CLI / f"{name}.py").read_text(encoding="utf-8")))
    assert set(re.findall(r"`(ROLLOUT_[A-Z_]+)`", TEXT)) == known


def _has_variable(parameter: object) -> bool:
    return bool(getattr(parameter, "envvar", None))
