"""What the routes take and give, as models: the OpenAPI document is generated from them.

Belongs here: forms that only HTTP has. Does not belong here: releases, policies and freezes, which are `core`'s and
have the same form everywhere.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from rollout.core.freeze import Freeze
from rollout.core.gating import GateRun
from rollout.core.judging.evidence import Evidence
from rollout.core.judging.verdicts import Verdict
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Severity
from rollout.core.quantities import Instant, Label, Listed, Model, Version
from rollout.core.release import Cause, PhaseField, Release, Source, StepRecord
from rollout.desk import OnConflict

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SCOPE = rf"^(all|{_LABEL}(/{_LABEL})?)$"
ScopeText = Annotated[str, Field(pattern=SCOPE, max_length=127)]
Reason = Annotated[str, Field(max_length=1024)]


class Start(Model):
    """What to release."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "namespace": "shop",
                    "service": "checkout",
                    "version": "v2",
                    "source": {"system": "github", "repository": "acme/checkout", "run": "1234/1"},
                    "onConflict": "reject",
                }
            ]
        }
    )

    namespace: Label
    service: Label
    version: Version
    source: Source = Field(default_factory=Source, description="Where the trigger came from; `actor` is who we know.")
    policy: PolicySpec | None = Field(default=None, description="Instead of the policy in force; people only, no CI.")
    on_conflict: OnConflict = "reject"
    not_before: Instant | None = None


class Ask(Model):
    """Why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "too many complaints"}]})

    reason: Reason = ""


class Approve(Ask):
    """Which gate may pass, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"gate": "go", "reason": "load test looks good"}]})

    gate: Label


class SetFreeze(Model):
    """Until when, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "Black Friday", "until": "2026-11-30T06:00:00Z"}]}
    )

    until: Instant | None = None
    reason: Reason = ""


class Stop(Model):
    """What to stop, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"scope": "shop", "reason": "database trouble"}]})

    scope: ScopeText
    reason: Reason = ""


class StoppedAnswer(Model):
    """The freeze that was set, the releases that were told to go back, and those that could not be told, with why."""

    freeze: Freeze
    aborted: Listed[Release] = ()
    failed: dict[str, str] = Field(default_factory=dict)


class Releases(Model):
    """A page of releases, newest first. `next` is the cursor of the page after it, null at the end."""

    items: Listed[Release] = ()
    next: str | None = None


class Freezes(Model):
    """Freezes, ended ones too."""

    items: Listed[Freeze] = ()


class Decisions(Model):
    """What the controller decided about a release, and on which numbers."""

    namespace: str
    release: str
    service: str
    version: str
    stable: str | None = None
    phase: PhaseField
    reason: str = ""
    message: str = ""
    cause: Cause | None = None
    weight: int = 0
    steps: Listed[StepRecord] = ()
    verdicts: Listed[Verdict] = ()
    query: str = ""
    """The PromQL behind the verdicts."""
    evidence: Evidence = Field(default_factory=Evidence)
    gate_runs: Listed[GateRun] = ()


class ServiceSummary(Model):
    """A service that was released before, or has a release now."""

    namespace: str
    service: str
    newest: str = Field(description="Name of its newest release.")
    phase: PhaseField = Field(description="Where that one stands.")
    freeze: Freeze | None = Field(default=None, description="What keeps it from being released now.")


class Services(Model):
    """Services that have releases, by name."""

    items: Listed[ServiceSummary] = ()


class ServiceAnswer(Model):
    """One service. Without a policy, `problem` says why there is none."""

    namespace: str
    service: str
    policy: PolicySpec | None = None
    problem: str = ""
    newest: Release | None = None
    freeze: Freeze | None = None


class Named(Model):
    """A policy that was read."""

    namespace: str
    service: str


class Valid(Model):
    """Which policies a text holds."""

    policies: Listed[Named] = ()


class PreflightAsk(Model):
    """Which release to look around for."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"namespace": "shop", "service": "checkout", "version": "v2"}]}
    )

    namespace: Label
    service: Label
    version: Version


class FindingAnswer(Model):
    """One thing that is, or may be, wrong."""

    code: str
    severity: Severity
    object: str
    message: str
    action: str
    link: str


class PreflightAnswer(Model):
    """What was found; an error keeps a release from starting."""

    namespace: str
    service: str
    version: str
    policy: str = Field(description="Which policy it was looked at with, for people.")
    version_label: str | None = None
    errors: int
    warnings: int
    findings: Listed[FindingAnswer] = ()


class CallerAnswer(Model):
    """Who asks, as we know them, and what they may do: right -> yes or no."""

    name: str
    groups: Listed[str] = ()
    issuer: str = Field(default="", description="The CI system whose token it is; empty for the cluster's own.")
    may: dict[str, bool] = Field(default_factory=dict)


class FieldProblem(Model):
    """One thing that is wrong in a request."""

    pointer: str = Field(description="RFC 6901, into the body; `#query/…`, `#header/…`, `#path/…` otherwise.")
    detail: str
    line: int | None = Field(default=None, ge=1)
    column: int | None = Field(default=None, ge=1)


class ProblemAnswer(Model):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow", alias_generator=None)

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    request_id: str
    errors: Listed[FieldProblem] = ()
    active_release: str | None = Field(default=None, description="With `busy`.")
    since: Instant | None = Field(default=None, description="With `busy`: since when that one is where it is.")
    release: Release | None = Field(default=None, description="With `busy`, `finished`, `key-reused`.")
    freeze: Freeze | None = Field(default=None, description="With `frozen`.")


Health = Literal["ok"]


class HealthAnswer(Model):
    """The probe's answer."""

    status: Health = "ok"
