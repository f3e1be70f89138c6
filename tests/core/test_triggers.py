"""Which CI jobs may trigger releases: by ids in their tokens, everything that is named must fit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.triggers import Trigger, allowed_verbs

GITHUB = {
    "sub": "repo:acme/checkout:environment:production",
    "repository": "acme/checkout",
    "repository_id": "1234",
    "environment": "production",
    "job_workflow_ref": "acme/checkout/.github/workflows/release.yaml@refs/heads/main",
    "ref": "refs/heads/main",
}
GITLAB = {"project_id": "99", "project_path": "acme/checkout", "ref": "main", "ref_protected": "true"}


def trigger(**fields: Any) -> Trigger:
    return Trigger.model_validate({"issuer": "github", "repositoryId": "1234"} | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"environment": "production"},
        {"workflow": "acme/checkout/.github/workflows/release.yaml@refs/heads/main"},
        {"ref": "refs/heads/main", "environment": "production"},
    ],
    ids=str,
)
def test_a_token_with_everything_that_is_named_fits(fields: dict[str, Any]) -> None:
    assert trigger(**fields).fits("github", GITHUB)


@pytest.mark.parametrize(
    "fields",
    [
        {"repositoryId": "123"},
        {"repositoryId": "12345"},
        {"environment": "Production"},
        {"environment": "staging"},
        {"workflow": "acme/checkout/.github/workflows/release.yaml@refs/heads/evil"},
        {"ref": "refs/heads/mai"},
        {"protected": True},
    ],
    ids=str,
)
def test_a_token_that_lacks_or_says_otherwise_does_not_fit(fields: dict[str, Any]) -> None:
    assert not trigger(**fields).fits("github", GITHUB)


def test_the_same_claims_from_another_issuer_do_not_fit() -> None:
    assert not trigger().fits("gitlab", GITHUB)


def test_a_gitlab_job_fits_by_its_project_and_its_protected_ref() -> None:
    one = Trigger.model_validate({"issuer": "gitlab", "projectId": "99", "ref": "main", "protected": True})
    assert one.fits("gitlab", GITLAB)
    assert not one.fits("gitlab", GITLAB | {"ref_protected": "false"})
    assert not one.fits("gitlab", GITLAB | {"project_id": "98"})


@pytest.mark.parametrize("value", [None, True, 1.0, ["production"], {"production": 1}, ""])
def test_a_claim_that_is_no_text_fits_nothing(value: object) -> None:
    for name in ("None", "True", "1.0", "production", "['production']"):
        assert not trigger(environment=name).fits("github", GITHUB | {"environment": value})


def test_an_id_may_be_a_number_in_the_token() -> None:
    assert trigger().fits("github", GITHUB | {"repository_id": 1234})


@given(st.dictionaries(st.sampled_from([*GITHUB, *GITLAB]), st.none() | st.text(max_size=5) | st.integers()))
def test_no_token_without_the_id_fits(claims: dict[str, object]) -> None:
    if str(claims.get("repository_id")) != "1234":
        assert not trigger().fits("github", claims)


@pytest.mark.parametrize(
    "fields",
    [
        {"issuer": "github"},
        {"issuer": "github", "repositoryId": "1", "projectId": "1"},
        {"issuer": "github", "repositoryId": "acme/checkout"},
        {"issuer": "github", "repositoryId": 1234},
        {"issuer": "github", "repositoryId": "1", "environment": ""},
        {"issuer": "github", "repositoryId": "1", "verbs": []},
        {"issuer": "github", "repositoryId": "1", "verbs": ["freeze"]},
        {"issuer": "https://token.actions.githubusercontent.com", "repositoryId": "1"},
    ],
    ids=str,
)
def test_a_trigger_that_names_no_id_or_too_much_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Trigger.model_validate(fields)


def test_a_job_may_do_what_any_of_the_triggers_that_fit_lets_it() -> None:
    triggers = (trigger(), trigger(environment="production", verbs=["approve"]), trigger(ref="x", verbs=["promote"]))
    assert allowed_verbs(triggers, "github", GITHUB) == {"create", "get", "abort", "approve"}
    assert allowed_verbs(triggers, "github", GITLAB) == frozenset()
    assert allowed_verbs((), "github", GITHUB) == frozenset()
