"""Which CI jobs may trigger releases of a service: by the ids in their identity token, never by names.

Belongs here: what a policy allows, and whether a token's claims fit. Does not belong here: whether the token is genuine
(`adapters/oidc.py`), what people with a Kubernetes identity may do (their RBAC).

Ids, because a repository or project can be renamed and its old name taken by somebody else. Claims as documented in
GitHub's "OpenID Connect reference" and GitLab's "ID tokens: token payload".
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from rollout.core.quantities import Label, Listed, Model

TriggerVerb = Literal["create", "get", "abort", "pause", "resume", "promote", "approve"]

_CLAIMS = {
    "repository_id": "repository_id",
    "project_id": "project_id",
    "environment": "environment",
    "workflow": "job_workflow_ref",
    "ref": "ref",
}
"""Field -> claim; those that are absent in the policy are not looked at."""


class Trigger(Model):
    """One CI job that may release the service. Every field that is given must be in its token."""

    issuer: Label = Field(description="Name of the issuer in the controller's settings.")
    repository_id: str | None = Field(default=None, pattern=r"^[0-9]{1,20}$", description="GitHub: id, not name.")
    project_id: str | None = Field(default=None, pattern=r"^[0-9]{1,20}$", description="GitLab: id, not path.")
    environment: str | None = Field(default=None, min_length=1, max_length=255, description="Deployment environment.")
    workflow: str | None = Field(
        default=None, min_length=1, max_length=512, description="GitHub: job_workflow_ref, with its @ref."
    )
    ref: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="Git ref as its token has it: refs/heads/main (GitHub), main (GitLab).",
    )
    protected: bool = Field(default=False, description="GitLab: only from protected branches and tags.")
    verbs: Listed[TriggerVerb] = Field(
        default=("create", "get", "abort"), min_length=1, max_length=7, description="What such a job may do."
    )

    @model_validator(mode="after")
    def _names_an_id(self) -> Self:
        if (self.repository_id is None) == (self.project_id is None):
            raise ValueError("expected one of repositoryId (GitHub) and projectId (GitLab)")
        return self

    def fits(self, issuer: str, claims: Mapping[str, object]) -> bool:
        """Whether a genuine token of `issuer` with these claims is meant."""
        if issuer != self.issuer:
            return False
        wanted = {claim: getattr(self, field) for field, claim in _CLAIMS.items() if getattr(self, field) is not None}
        if self.protected:
            wanted["ref_protected"] = "true"
        return all(_text(claims.get(claim)) == value for claim, value in wanted.items())


def _text(claim: object) -> str:
    """A claim as it would be written in a policy; "" for what is neither text nor a number."""
    return str(claim) if isinstance(claim, str) or type(claim) is int else ""


def allowed_verbs(triggers: tuple[Trigger, ...], issuer: str, claims: Mapping[str, object]) -> frozenset[str]:
    """Everything that these triggers let the bearer of a genuine token do."""
    return frozenset(verb for one in triggers if one.fits(issuer, claims) for verb in one.verbs)
