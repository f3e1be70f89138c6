"""A release: what was wished for (`spec`), what the controller remembers (`status`). These models are the wire format.

`spec` is written by people, CI and the CLI only; `status` by the controller only. The weights themselves are not here:
their truth is the mesh, and `status.weight` is a copy for `kubectl get` that no decision reads.
"""

from collections.abc import Sequence
from copy import deepcopy
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from rollout.core.counts import Tally
from rollout.core.events import Notice
from rollout.core.gating import GateRun
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import Evidence
from rollout.core.judging.gates import Gates
from rollout.core.judging.verdicts import Verdict
from rollout.core.policy import PolicySpec, VirtualServiceRef
from rollout.core.quantities import Instant, Label, Listed, Model, Version
from rollout.core.route import Leg, Route, Target

API_VERSION = "rollout.dev/v1alpha1"
FINALIZER = "rollout.dev/traffic"
"""Keeps a deleted Release in its place until its traffic was brought back."""


class Phase(StrEnum):
    """Where a release stands: Pending to Promoted, RolledBack, Aborted or Failed."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    SHIFTING = "Shifting"
    ANALYSING = "Analysing"
    FINISHING = "Finishing"
    ROLLING_BACK = "RollingBack"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    FAILED = "Failed"

    @property
    def terminal(self) -> bool:
        """Nothing follows: the outcome is known and all is put away."""
        return self in {Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABORTED, Phase.FAILED}


class Reason(StrEnum):
    """Why a release is where it is: the words that scripts match on."""

    # on its way
    WAITING_FOR_READY = "WaitingForReady"
    WAITING_FOR_METRICS = "WaitingForMetrics"
    SETTLING = "Settling"
    SHIFTING = "Shifting"
    HOLDING = "Holding"
    PAUSED = "Paused"
    UNKNOWN_VERDICT = "UnknownVerdict"
    STABLE_NOT_READY = "StableNotReady"
    DRIFTED = "Drifted"
    CLEANING_UP = "CleaningUp"
    STUCK = "Stuck"
    SCHEDULED = "Scheduled"
    OUTSIDE_WINDOW = "OutsideWindow"
    FROZEN = "Frozen"
    QUEUED = "Queued"
    WAITING_FOR_DEPENDENCY = "WaitingForDependency"
    WAITING_FOR_APPROVAL = "WaitingForApproval"
    WAITING_FOR_GATE = "WaitingForGate"
    # at its end
    PROMOTED = "Promoted"
    CHECK_FAILED = "CheckFailed"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"
    GATE_FAILED = "GateFailed"
    HAND_ON_ROUTE = "HandOnRoute"
    CANARY_NOT_READY = "CanaryNotReady"
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    INCONCLUSIVE = "Inconclusive"
    DEADLINE = "Deadline"
    ROUTE_NOT_WRITABLE = "RouteNotWritable"
    ROUTE_GONE = "RouteGone"
    # refused before anything moved
    BUSY = "Busy"
    NO_POLICY = "NoPolicy"
    INVALID_SPEC = "InvalidSpec"
    ALREADY_STABLE = "AlreadyStable"
    UNSUPPORTED_ROUTE = "UnsupportedRoute"
    PREFLIGHT_FAILED = "PreflightFailed"
    GATE_REFUSED = "GateRefused"

    @property
    def refusal(self) -> bool:
        """The release was never begun: nothing was written to the mesh."""
        return self in {
            Reason.BUSY,
            Reason.NO_POLICY,
            Reason.INVALID_SPEC,
            Reason.ALREADY_STABLE,
            Reason.UNSUPPORTED_ROUTE,
            Reason.PREFLIGHT_FAILED,
            Reason.GATE_REFUSED,
        }


PhaseField = Annotated[Phase, Field(strict=False)]
ReasonField = Annotated[Reason, Field(strict=False)]


class Wish(Model):
    """Somebody wants something: who, when and why."""

    by: str = Field(default="", max_length=256)
    at: Instant | None = None
    reason: str = Field(default="", max_length=1024)


class SkipWish(Wish):
    """End the hold of one step early; for that step only, so that a repeated call skips nothing else."""

    step: int = Field(ge=0, le=19)


class Approval(Wish):
    """A person let a gate pass."""

    gate: Label


class Source(Model):
    """Where the trigger came from."""

    actor: str = Field(default="", max_length=256)
    reason: str = Field(default="", max_length=1024)
    url: str = Field(default="", max_length=2048)
    system: str = Field(default="", max_length=64, description="CI system: github, gitlab, jenkins, ...")
    repository: str = Field(default="", max_length=512)
    run: str = Field(default="", max_length=256, description="The pipeline's run and attempt.")
    revision: str = Field(default="", max_length=128, description="The commit that is released.")


class ReleaseSpec(Model):
    """What is wished for. What is released, how and when never changes; wishes may be set at any time."""

    service: Label
    version: Version
    policy: PolicySpec | None = Field(
        default=None, description="The policy to use; without it the controller's own for this service, at the start."
    )
    source: Source = Field(default_factory=Source)
    on_conflict: Literal["reject", "queue", "supersede"] = Field(
        default="reject",
        description="While another release of the service is under way: be refused, wait, or have it put back first.",
    )
    not_before: Instant | None = Field(default=None, description="Do not start earlier.")
    approvals: Listed[Approval] = Field(default=(), max_length=16, description="Gates that people let pass.")
    pause: Wish | None = Field(default=None, description="Do not advance; checks go on, a rollback never waits.")
    resume: Wish | None = Field(default=None, description="Take the route back after somebody edited it by hand.")
    abort: Wish | None = Field(default=None, description="All traffic back to stable.")
    promote: SkipWish | None = Field(default=None, description="End the hold of this step once its checks pass.")


class Confirmed(Model):
    """A route that was seen on the mesh, and since when."""

    route: Route
    at: Instant
    percents: dict[str, int] = Field(default_factory=dict)
    """The share by each of several VirtualServices, where a hand left them different ones."""


class Window(Model):
    """What is being counted: everything after `anchor`; `counted` of it has been judged."""

    anchor: Instant
    counted: Tally = Field(default_factory=Tally)
    judged_at: Instant | None = None
    """Time of the newest sample that was judged; None before the first."""
    clean_from: Instant | None = None
    """From when on what was counted helps to pass; None while nothing does."""


class StepRecord(Model):
    """One step as it went, for `rollout history` and the summary."""

    weight: int
    since: Instant
    until: Instant | None = None
    canary_requests: int = 0
    canary_errors: int = 0
    proven: bool | None = None
    """Whether it was left with proof; None while it goes on, or where it was cut short."""


class Delivered(Model):
    """How far one channel has been told about one release."""

    sequence: int = 0
    """Number of the last event that it took, or that was given up."""
    thread: str = ""
    """The channel's own name for the message that later ones belong to."""


class Cause(Model):
    """Why a release ends without promotion."""

    kind: Literal["metrics", "gate", "person", "infrastructure"]
    reason: ReasonField
    message: str


class Condition(Model):
    """As `metav1.Condition`: whether something holds, since when, and why."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: Instant
    observed_generation: int = 0


class Drift(Model):
    """Somebody else changed the route: what is there now, and since when we know."""

    percent: int
    at: Instant
    said: str = ""
    """What several VirtualServices say that differ."""


def _or_anew(value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """What another version of the controller remembered, as far as it can be read; else as if it had not.

    What is remembered of the evidence may be lost, but never stands in the way of a rollback.
    """
    try:
        return read(value)
    except ValidationError:
        fresh = {"evidence": Evidence(), "gates": Gates(), "learned": None, "verdicts": ()}
        return fresh[info.field_name or ""]


def _without_unknown(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """A policy that another version of the controller froze: fields that are unknown here are left out."""
    try:
        return read(value)
    except ValidationError as error:
        known = deepcopy(value)
        for problem in error.errors():
            if problem["type"] == "extra_forbidden":
                _drop(known, problem["loc"])
        return read(known)


def _drop(value: Any, path: Sequence[int | str]) -> None:
    for part in path[:-1]:
        value = value[part]
    del value[path[-1]]


_Anew = WrapValidator(_or_anew)


class Status(Model):
    """The controller's memory of one release. Saved before anything is done, compared-and-set on every write."""

    # What a newer controller wrote must not stop an older one from rolling back.
    model_config = ConfigDict(extra="ignore")

    phase: PhaseField = Phase.PENDING
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    conditions: Listed[Condition] = ()
    """For `kubectl wait`: Progressing, Finished, Promoted."""
    progress: str = ""
    """`2/4`: the step and how many there are, for people."""
    service: str = ""
    version: str = ""
    """Copies of the spec's, from the start: a spec that was spoilt later cannot lose track of the traffic."""
    stable: str | None = None
    policy: Annotated[PolicySpec | None, WrapValidator(_without_unknown)] = None
    """Frozen at the start; a policy file that changes later is for the next release."""
    step: int | None = None
    weight: int = 0
    """The canary's share as last seen, for people."""
    order: Route | None = None
    confirmed: Confirmed | None = None
    authors: dict[str, str] = Field(default_factory=dict)
    """Who had ordered last when the route was claimed, by VirtualService: whoever else orders before us has it."""
    started_at: Instant | None = None
    since: Instant | None = None
    """When this phase began."""
    finished_at: Instant | None = None
    prepared_at: Instant | None = None
    """When the canary's subset was first seen, later when the loser got its last request; settle runs from it."""
    window: Window | None = None
    learned: Annotated[Learned | None, _Anew] = None
    """What stable's past says; None before it was asked for."""
    evidence: Annotated[Evidence, _Anew] = Field(default_factory=Evidence)
    """The judge's memory, from the first interval to the last."""
    gates: Annotated[Gates, _Anew] = Field(default_factory=Gates)
    verdicts: Annotated[Listed[Verdict], _Anew] = ()
    query: str = ""
    """The PromQL behind the last verdicts, to be pasted."""
    blind_since: Instant | None = None
    """Since when Prometheus has given no usable answer."""
    unseen_since: Instant | None = None
    """Since when the route could not be read."""
    lost_per_second: float = 0.0
    """How many requests were lost before any version already before the first step."""
    added_destination: bool = False
    added_subset: bool = False
    """What we put in, and so may take out again."""
    drift: Drift | None = None
    paused: bool = False
    held_at: Instant | None = None
    """When something else than evidence last kept it from advancing: the verdict's deadline runs from then."""
    cause: Cause | None = None
    reorders: int = 0
    """How often a rollback was ordered again because somebody undid it."""
    tries: int = 0
    """How often putting the loser's subset away was tried."""
    steps: Listed[StepRecord] = ()
    gate_runs: Listed[GateRun] = ()
    """The gates that were asked, and what came of it."""
    outbox: Listed[Notice] = ()
    """Events that may not have reached everybody yet; each keeps its number when it is told again."""
    announced: int = 0
    """Number of the last event that is known to be in the log and in the cluster's Events."""
    notify: Listed[Label] | None = None
    """Channels that the policy names, as soon as it is known; None for the default ones."""
    notified: dict[str, Delivered] = Field(default_factory=dict)
    """By channel: how far it has been told."""
    sequence: int = 0
    """Number of the last event."""


class Release(Model):
    """One attempt to take one version from 0 to 100 percent."""

    namespace: Label
    name: str
    uid: str = ""
    generation: int = 0
    created_at: Instant | None = None
    spec: ReleaseSpec
    status: Status = Field(default_factory=Status)
    deleting: bool = False
    """Somebody deleted the object; it stays until our finalizer is taken off."""
    held: bool = False
    """Our finalizer is on it."""
    problem: str = ""
    """Why the spec could not be read as it is; what could be saved of it is in `spec`."""
    revision: str = ""
    """resourceVersion of what was read: a write is refused if it has changed since."""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name), unique in a cluster."""
        return self.namespace, self.name

    def target(self, policy: PolicySpec) -> Target:
        """The objects that carry this release's traffic, whatever became of its spec since it began."""
        service, route = self.status.service or self.spec.service, policy.route
        named = route.virtual_services or (VirtualServiceRef(name=route.virtual_service or service, route=route.name),)
        legs = tuple(Leg(one.namespace or self.namespace, one.name, one.route) for one in named)
        return Target(
            namespace=self.namespace,
            service=service,
            legs=legs,
            destination_rule=route.destination_rule or service,
            version_label=policy.pod_label,
            canary=self.status.version or self.spec.version,
            stable=self.status.stable,
            release=self.name,
            slots=policy.route.subsets,
            host=policy.route.host,
        )
