"""What is true of all examples and of docs/ci: they parse, their options and links exist, nothing is secret in them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from rollout.cli.exits import ExitCode
from rollout.cli.main import run
from rollout.cli.outcome import Outcome, Result
from tests.ci.place import EXAMPLES

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "ci").glob("*.md"))
FILES = sorted(EXAMPLES.iterdir())
README = (ROOT / "docs" / "ci" / "README.md").read_text()
OPTION = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*")


def _options_of_rollout(text: str) -> set[str]:
    """Of every command line that begins with `rollout` and a verb, with the lines that continue it."""
    joined = re.sub(r"\\\n\s*|(?<=110m)\n\s*", " ", text)
    lines = re.findall(r"\brollout (?:start|wait|abort|status)\b[^\n|`]*", joined)
    return set(OPTION.findall(" ".join(lines)))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_option_that_an_example_uses_exists(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    used = _options_of_rollout(file.read_text())
    for verb in ("start", "abort"):
        run([verb, "--help"])
    assert used <= set(OPTION.findall(capsys.readouterr().out))
    assert used or file.name == "curl.sh"


def test_every_option_of_the_pages_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("start", "wait", "abort"):
        run([verb, "--help"])
    named = {option for page in PAGES for option in re.findall(r"`(--[a-z-]+)[ `]", page.read_text())}
    assert named <= set(OPTION.findall(capsys.readouterr().out))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [one for one in targets if not (page.parent / one).exists()] == []


def test_every_example_has_its_page_and_every_page_its_example() -> None:
    linked = set(re.findall(r"\.\./\.\./config/ci/([\w.-]+)", README))
    assert linked == {file.name for file in FILES}
    assert {page.name for page in PAGES} == set(re.findall(r"\]\(([\w-]+\.md)\)", README)) | {"README.md"}


def test_the_results_and_variables_of_the_page_are_those_that_are_written() -> None:
    told = README[README.index("| `result` |") : README.index("`reason` is one word")]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", told, re.MULTILINE)) == {*Result, "result"}
    codes = {
        int(code)
        for line in re.findall(r"^\| `[a-z-]+` \| ([\d, ]+) \|", told, re.MULTILINE)
        for code in line.split(",")
    }
    assert codes <= set(ExitCode)
    written = {f"ROLLOUT_{name.upper()}" for name in Outcome(code=ExitCode.OK).fields()}
    assert set(re.findall(r"`(ROLLOUT_(?:RELEASE_ID|[A-Z]+(?:_CODE)?))`", _line("--dotenv"))) == written


def _line(option: str) -> str:
    return next(line for line in README.splitlines() if line.startswith(f"| `{option}"))


@pytest.mark.parametrize("file", [one for one in FILES if one.suffix in {".yml", ".yaml"}], ids=lambda file: file.name)
def test_every_yaml_parses_without_a_key_that_stands_twice(file: Path) -> None:
    class Strict(yaml.SafeLoader):  # type: ignore[misc]
        pass

    def mapping(loader: Strict, node: yaml.MappingNode) -> dict[object, object]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return dict(loader.construct_pairs(node, deep=True))

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    assert isinstance(yaml.load(file.read_text(), Strict), dict)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_example_holds_a_token_or_an_address_that_somebody_could_own(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"eyJ[A-Za-z0-9_-]{10}|gh[pousr]_[A-Za-z0-9]{20}|glpat-", text)
    hosts = set(re.findall(r"https?://([\w.-]+)", text)) | set(re.findall(r"image: ([\w.-]+)/", text))
    assert {host for host in hosts if not host.endswith("example.com")} <= set()


SCHEMAS = {
    "github-actions.yml": ["--builtin-schema", "vendor.github-workflows"],
    "gitlab-ci.yml": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_file_holds_its_published_schema(name: str) -> None:
    pytest.importorskip("check_jsonschema", reason="its package brings the schemas")
    command = [sys.executable, "-m", "check_jsonschema", *SCHEMAS[name], str(EXAMPLES / name)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout
