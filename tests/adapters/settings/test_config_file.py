"""The administrator's file: what is read, and how what is wrong is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters.config_file import ConfigErrors, is_config, read
from rollout.administration import Settings

ROOT = Path(__file__).parents[3]
HEAD = "apiVersion: rollout.dev/v1alpha1\nkind: ControllerConfig\n"
EXAMPLES = [*sorted((ROOT / "config/settings").glob("*.yaml")), ROOT / "deploy/components/settings/settings.yaml"]


def problems(text: str) -> list[tuple[int, int, str]]:
    """Line, column and path of each."""
    with pytest.raises(ConfigErrors) as refused:
        read(text, "settings.yaml")
    assert str(refused.value).count("\n") == len(refused.value.errors) - 1
    return [(error.line, error.column, error.path) for error in refused.value.errors]


def spec(text: str) -> str:
    return HEAD + "spec:\n" + "".join(f"  {line}\n" for line in text.splitlines())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_is_read(file: Path) -> None:
    text = file.read_bytes()
    assert is_config(text)
    assert isinstance(read(text, str(file)), Settings)


def test_nothing_is_set_up_by_default() -> None:
    assert read(HEAD, "settings.yaml") == Settings() == read(HEAD + "spec: {}\n", "settings.yaml")


def test_every_problem_has_its_place() -> None:
    text = spec(
        """\
webhooks:
  - name: Board
    url: ftp://board.example
    timeout: 10
    reech: {}
  - name: plain
    url: http://board.example/
  - name: slow
    url: https://board.example/
    timeout: 6m
    reach: {allow: [0.0.0.0/0]}
jobs:
  - name: smoke
    template: {template: {spec: {containers: []}}}
limits: {activePerNamespace: 0}"""
    )
    assert problems(text) == [
        (5, 7, "spec.webhooks.0.name"),
        (6, 7, "spec.webhooks.0.url"),
        (7, 7, "spec.webhooks.0.timeout"),
        (8, 7, "spec.webhooks.0.reech"),
        (10, 7, "spec.webhooks.1.url"),
        (14, 15, "spec.webhooks.2.reach.allow"),
        (17, 7, "spec.jobs.0.template"),
        (18, 12, "spec.limits.activePerNamespace"),
    ]


@pytest.mark.parametrize(
    "template",
    [
        "{}",
        "{template: {}}",
        "{template: {spec: {containers: {}}}}",
        "{template: {spec: {containers: [smoke]}}}",
        "{template: {spec: {containers: [{name: a, env: {A: 1}}]}}}",
        "{template: {spec: {containers: [{name: a}], initContainers: [1]}}}",
        "{ttlSecondsAfterFinished: 0, template: {spec: {containers: [{name: a}]}}}",
        "{ttlSecondsAfterFinished: soon, template: {spec: {containers: [{name: a}]}}}",
    ],
)
def test_what_can_be_no_job_is_refused(template: str) -> None:
    text = spec(f"jobs:\n  - name: smoke\n    template: {template}")
    assert [path for _, _, path in problems(text)] == ["spec.jobs.0.template"]


def test_two_of_one_name_are_refused() -> None:
    webhook = "  - {name: a, url: https://a.example/}\n"
    assert [path for _, _, path in problems(spec(f"webhooks:\n{webhook}{webhook}"))] == ["spec.webhooks"]


@pytest.mark.parametrize("url", ["https://me:PASSWORD@board.example/", "https://PASSWORD@board.example", "PASSWORD"])
def test_a_password_that_does_not_belong_there_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        read(spec(f"webhooks:\n  - name: a\n    url: {url}"), "settings.yaml")
    assert "PASSWORD" not in str(refused.value)
    assert refused.value.errors[0].path == "spec.webhooks.0.url"


def test_a_file_holds_one_document_of_this_kind() -> None:
    assert problems("") == [(1, 1, "")]
    assert problems(f"{HEAD}---\n{HEAD}") == [(4, 1, "")]
    assert (2, 1, "kind") in problems("apiVersion: rollout.dev/v1alpha1\nkind: ServicePolicy\n")
    assert not is_config("kind: ServicePolicy\n")
    assert not is_config("[")
    assert not is_config("- kind: ControllerConfig\n")


def test_what_is_no_plain_yaml_is_refused_with_its_place() -> None:
    assert problems(HEAD + "spec: &a {}\n") == [(3, 7, "spec")]
    assert problems(HEAD + "kind: Twice\n") == [(3, 1, "kind")]
    assert problems("a: [\n")[0][0] >= 1


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200), st.text(max_size=60).map(lambda text: HEAD + text)))
def test_any_input_is_settings_or_problems(text: str | bytes) -> None:
    is_config(text)
    found: tuple[object, ...] = ()
    try:
        read(text, "settings.yaml")
    except ConfigErrors as errors:
        found = errors.errors
    else:
        assert is_config(text)
    assert is_config(text) or found


@pytest.mark.parametrize(
    ("channel", "path"),
    [
        ("kind: slack, url: 'https://a.example/', urlFile: /a", ""),
        ("kind: slack, tokenFile: /a", ""),
        ("kind: pagerduty", ".tokenFile"),
        ("kind: teams", ""),
        ("kind: webhook, url: 'http://a.example/'", ".url"),
        ("kind: webhook, url: 'https://a.example/', timeout: 6m", ".timeout"),
    ],
)
def test_a_channel_that_cannot_work_is_refused(channel: str, path: str) -> None:
    text = spec(f"channels:\n  - {{name: a, {channel}}}")
    assert [found for _, _, found in problems(text)] == [f"spec.channels.0{path}"]


def test_an_issuer_that_cannot_be_reached_is_refused() -> None:
    issuer = "{name: a, kind: github, url: 'http://a.example', audience: rollout}"
    assert [path for _, _, path in problems(spec(f"api:\n  issuers:\n    - {issuer}"))] == ["spec.api.issuers.0.url"]
