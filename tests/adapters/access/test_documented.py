"""docs/authentication.md and SECURITY.md say what is so: their YAML is read, and the files they name exist."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from rollout.administration import Api, ControllerConfig, Issuer
from rollout.core.access import Right
from rollout.core.policy import ServicePolicy
from rollout.core.triggers import allowed_verbs

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/authentication.md").read_text(encoding="utf-8")
YAML_12 = YAML(typ="safe", pure=True)
BLOCKS: list[dict[str, Any]] = [YAML_12.load(one) for one in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def of_kind(kind: str) -> dict[str, Any]:
    [found] = [one for one in BLOCKS if one.get("kind") == kind]
    return found


def test_the_settings_on_the_page_are_settings() -> None:
    settings = ControllerConfig.model_validate(of_kind("ControllerConfig")).spec.api
    assert [one.name for one in settings.issuers] == ["github", "gitlab"]


def test_the_settings_that_are_deployed_are_settings() -> None:
    deployed = YAML_12.load((ROOT / "deploy/components/api/config.yaml").read_text(encoding="utf-8"))
    assert ControllerConfig.model_validate(deployed).spec.api.issuers == ()


def test_the_policy_on_the_page_lets_in_whom_the_page_says() -> None:
    triggers = ServicePolicy.model_validate(of_kind("ServicePolicy")).spec.allowed_triggers
    job = {"repository_id": "612394001", "environment": "production"}
    assert allowed_verbs(triggers, "github", job) == {"create", "get", "abort"}
    assert not allowed_verbs(triggers, "github", {**job, "environment": "staging"})
    assert "promote" in allowed_verbs(triggers, "gitlab", {"project_id": "4711", "ref_protected": "true"})
    assert not allowed_verbs(triggers, "gitlab", {"project_id": "4711", "ref_protected": "false"})


def test_the_role_on_the_page_names_rights_that_there_are() -> None:
    verbs = {verb for rule in of_kind("Role")["rules"] for verb in rule["verbs"]}
    assert verbs <= {right.value for right in Right}


def test_the_page_names_every_right() -> None:
    for right in Right:
        assert right.value in PAGE, right


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/authentication.md", "docs/install.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    tests = re.findall(r"`(tests/[\w/.]+)`", text)
    folder = (ROOT / page).parent
    assert [one for one in links if not (folder / one).exists()] == []
    assert [one for one in tests if not (ROOT / one).exists()] == []


@pytest.mark.parametrize(
    "url", ["https://token.actions.githubusercontent.com", "https://gitlab.com", "https://gitlab.com/"]
)
def test_an_issuer_that_serves_everybody_needs_owners(url: str) -> None:
    fields: dict[str, Any] = {"name": "ci", "kind": "github", "url": url, "audience": "rollout.example.com"}
    with pytest.raises(ValidationError):
        Issuer.model_validate(fields)
    assert Issuer.model_validate({**fields, "owners": ["9919"]}).owners == ("9919",)
    # One enterprise's own is not everybody's.
    assert Issuer.model_validate({**fields, "url": f"{url}/acme"}).owners == ()


@pytest.mark.parametrize("same", ["name", "url"])
def test_two_issuers_are_told_apart_by_name_and_by_url(same: str) -> None:
    one = {"name": "a", "kind": "gitlab", "url": "https://a.example", "audience": "x"}
    other = {"name": "b", "kind": "gitlab", "url": "https://b.example", "audience": "x"}
    assert len(Api.model_validate({"issuers": [one, other]}).issuers) == 2
    with pytest.raises(ValidationError):
        Api.model_validate({"issuers": [one, {**other, same: one[same]}]})
