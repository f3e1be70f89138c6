"""The policy: one YAML document per service that says how its versions are released. The model is the format.

Every field has a default that is safe in production, so `metadata` alone is a working policy. The JSON Schema in
`config/schema/` and the tables in `docs/policy.md` are generated from these classes.
"""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from rollout.core.checks import Checks, Judge
from rollout.core.disagreement import disagree
from rollout.core.gating import Gate
from rollout.core.quantities import Duration, Label, Listed, Model, ObjectName
from rollout.core.route import named
from rollout.core.schedule import Schedule, longest_closed
from rollout.core.triggers import Trigger

# Istio's and Envoy's default histogram bounds (istio/api annotation/annotations.yaml, statsHistogramBuckets), in ms.
ISTIO_BUCKETS_MS = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000,
    300000, 600000, 1800000, 3600000,
)  # fmt: skip

_SECOND = timedelta(seconds=1)
_TEMPLATE = r"^[a-z0-9]?([-a-z0-9.]|\{service\}|\{version\})*$"


class Step(Model):
    """One stage of a release: the canary's share and how long it is watched there."""

    weight: int = Field(ge=1, le=100, description="The canary's share of the requests, in percent.")
    hold: Duration = Field(default=timedelta(minutes=5), description="How long the canary is watched at this weight.")

    @model_validator(mode="after")
    def _hold_is_possible(self) -> Self:
        if not _SECOND <= self.hold <= timedelta(days=1):
            raise ValueError("hold: expected a duration between 1s and 1d")
        return self


class VirtualServiceRef(Model):
    """One of several VirtualServices that carry the traffic."""

    name: ObjectName = Field(description="VirtualService.")
    namespace: Label | None = Field(default=None, description="Its namespace; the service's.")
    route: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="Name of its http route to step; needed where several routes could be meant.",
    )


class RouteSelection(Model):
    """Which objects carry the traffic, and what tells the versions apart in them."""

    virtual_service: ObjectName | None = Field(default=None, description="VirtualService; the service's name.")
    virtual_services: Listed[VirtualServiceRef] = Field(
        default=(),
        max_length=8,
        description="Several VirtualServices instead, stepped together: the mesh's and a gateway's.",
    )
    destination_rule: ObjectName | None = Field(default=None, description="DestinationRule; the service's name.")
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="Name of the http route to step; needed where several routes could be meant.",
    )
    subsets: Listed[Label] = Field(
        default=(),
        max_length=2,
        description="Two fixed subset names that versions take by turns; without them each version gets its own.",
    )
    host: str | None = Field(
        default=None,
        pattern=_TEMPLATE,
        max_length=253,
        description="Name of a version's own Service, such as {service}-{version}, instead of subsets.",
    )

    @model_validator(mode="after")
    def _shapes_agree(self) -> Self:
        if self.virtual_services and (self.virtual_service or self.name):
            first = "virtual_service" if self.virtual_service else "name"
            raise disagree(first, "belongs to a single VirtualService: name it in virtualServices, with its route")
        places = [(one.namespace, one.name) for one in self.virtual_services]
        if len(set(places)) < len(places):
            raise disagree("virtual_services", "names a VirtualService twice")
        if self.subsets and len(set(self.subsets)) < 2:
            raise disagree("subsets", "expected two different names: one is in use while the other is prepared")
        if self.subsets and self.host is not None:
            raise disagree("subsets", "subsets and host exclude each other: versions are told apart by one of them")
        if self.host is not None and "{version}" not in self.host:
            raise disagree("host", "the name must contain {version}: each version has a Service of its own")
        return self


class Deadlines(Model):
    """How long each state may wait before the release ends, traffic back at stable."""

    ready: Duration = Field(default=timedelta(minutes=10), description="For the canary's pods to be ready.")
    route: Duration = Field(default=timedelta(minutes=2), description="For an order to show on the VirtualService.")
    metrics: Duration = Field(default=timedelta(minutes=5), description="Without a usable answer from Prometheus.")
    verdict: Duration = Field(default=timedelta(hours=1), description="Beyond a step's hold, for every check to pass.")
    total: Duration = Field(default=timedelta(days=1), description="For the whole release, pauses included.")


class Metrics(Model):
    """Where in `istio_requests_total` this service is found."""

    version_label: Literal["auto", "destination_workload", "destination_canonical_revision", "destination_version"] = (
        Field(
            default="auto",
            description="Label that tells the versions apart; auto takes what stable's series carry at the start.",
        )
    )
    reporters: Listed[Literal["source", "waypoint", "destination"]] = Field(
        default=("source", "waypoint"),
        min_length=1,
        description="Who reports; counting both ends counts twice.",
    )
    buckets: Listed[Annotated[float, Field(gt=0)]] = Field(
        default=ISTIO_BUCKETS_MS,
        min_length=1,
        max_length=64,
        description="Histogram bounds of the mesh in milliseconds, where statsHistogramBuckets changed them.",
    )

    @property
    def series_label(self) -> str:
        """The label that tells the versions apart; of those that could be chosen, the one that loses no failure."""
        return "destination_workload" if self.version_label == "auto" else self.version_label


def _default_steps() -> tuple[Step, ...]:
    return tuple(Step(weight=weight) for weight in (10, 30, 50, 100))


class PolicySpec(Model):
    """How one service is released."""

    steps: Listed[Step] = Field(
        default_factory=_default_steps,
        min_length=1,
        max_length=20,
        description="Weights rise and end at 100; the last step bakes.",
    )
    interval: Duration = Field(
        default=timedelta(seconds=15),
        description="Time between checks: the scrape interval of the mesh's metrics.",
    )
    settle: Duration = Field(
        default=timedelta(seconds=5),
        description="Time for proxies to learn of a subset before it is used, and to forget it before it goes.",
    )
    route: RouteSelection = Field(default_factory=RouteSelection)
    deployment: str = Field(
        default="{service}-{version}",
        pattern=_TEMPLATE,
        max_length=253,
        description="Name of the Deployment of a version.",
    )
    pod_label: str = Field(
        default="version",
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        max_length=317,
        description="Pod label whose value is the version; the DestinationRule's subsets select by it.",
    )
    checks: Checks = Field(default_factory=Checks)
    judge: Judge = Field(default_factory=Judge)
    deadlines: Deadlines = Field(default_factory=Deadlines)
    metrics: Metrics = Field(default_factory=Metrics)
    schedule: Schedule = Field(default_factory=Schedule)
    after: Listed[Label] = Field(
        default=(),
        max_length=16,
        description="Services of the namespace whose unfinished releases go first; never the other way round.",
    )
    gates: Listed[Gate] = Field(default=(), max_length=16, description="What else must say yes, and before what.")
    allowed_triggers: Listed[Trigger] = Field(
        default=(),
        max_length=32,
        description="CI jobs that may release this service by their own identity token, through the HTTP API.",
    )
    notify: Listed[Label] | None = Field(
        default=None,
        max_length=16,
        description="Channels of the controller's settings to tell; those marked as default, if it is not given.",
    )

    @field_validator("steps")
    @classmethod
    def _weights_rise_to_100(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        weights = [step.weight for step in steps]
        if weights != sorted(set(weights)):
            raise ValueError(f"weights must rise from step to step, not {weights}")
        if weights[-1] != 100:
            raise ValueError(f"the last weight must be 100, not {weights[-1]}")
        return steps

    @field_validator("interval")
    @classmethod
    def _interval_is_a_scrape(cls, interval: timedelta) -> timedelta:
        if not _SECOND <= interval <= timedelta(minutes=5):
            raise ValueError("expected a duration between 1s and 5m")
        return interval

    @field_validator("settle")
    @classmethod
    def _settle_is_short(cls, settle: timedelta) -> timedelta:
        if settle > timedelta(minutes=5):
            raise ValueError("expected a duration of at most 5m")
        return settle

    @field_validator("deployment")
    @classmethod
    def _each_version_has_its_deployment(cls, deployment: str) -> str:
        if "{version}" not in deployment:
            raise ValueError("the name must contain {version}: each version has a Deployment of its own")
        return deployment

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        limits = self.deadlines
        for name in ("ready", "metrics", "verdict", "total"):
            if getattr(limits, name) < self.interval:
                raise disagree(f"deadlines.{name}", "must be at least one interval, {}", self.interval)
        holds = sum((step.hold for step in self.steps), timedelta())
        if limits.total <= holds:
            raise disagree("deadlines.total", "must exceed the holds of all steps together, {}", holds)
        self._schedule_fits(holds)
        self._gates_fit()
        known = sorted(self.metrics.buckets)
        for bound in self.named_bounds_ms():
            if bound not in known:
                nearest = min(known, key=lambda one: abs(one - bound))
                raise disagree(
                    "checks.latency",
                    f"{bound:g}ms is no bucket bound of the mesh's histograms, the nearest is {nearest:g}ms; a share "
                    "of slower requests is exact only at a bound (metrics.buckets lists them)",
                )
        return self

    def _schedule_fits(self, holds: timedelta) -> None:
        between = longest_closed(self.schedule)
        if self.deadlines.total <= holds + between:
            what = "must exceed the holds of all steps and the longest time between two windows together, {}"
            raise disagree("deadlines.total", what, holds + between)

    def _gates_fit(self) -> None:
        names = [gate.name for gate in self.gates]
        weights = {step.weight for step in self.steps}
        for index, gate in enumerate(self.gates):
            if gate.name in names[:index]:
                raise disagree(f"gates.{index}.name", "another gate has this name")
            if isinstance(gate.before, int) and gate.before not in weights:
                raise disagree(f"gates.{index}.before", f"no step has the weight {gate.before}")

    def named_bounds_ms(self) -> tuple[float, ...]:
        """The latency bounds that the policy names, ascending, in milliseconds: exact keys of histogram buckets."""
        latency = self.checks.latency
        chosen = {objective.bound for objective in latency.objectives} | set(latency.compare or ())
        return tuple(sorted(bound / timedelta(milliseconds=1) for bound in chosen))

    @property
    def block_s(self) -> float:
        """Seconds of one block of stable's past: never less than a scrape."""
        return max(self.judge.block, self.interval).total_seconds()

    def deployment_of(self, service: str, version: str) -> str:
        """Name of the Deployment that runs this version."""
        return named(self.deployment, service, version)


class PolicyMetadata(Model):
    """Which service the policy is for: the name is the service's, in its own namespace."""

    name: Label
    namespace: Label


class ServicePolicy(Model):
    """The whole document of `kind: ServicePolicy`."""

    api_version: Literal["rollout.dev/v1alpha1"]
    kind: Literal["ServicePolicy"]
    metadata: PolicyMetadata
    spec: PolicySpec = Field(default_factory=PolicySpec)

    @model_validator(mode="after")
    def _goes_after_others(self) -> Self:
        if self.metadata.name in self.spec.after:
            index = self.spec.after.index(self.metadata.name)
            raise disagree(f"spec.after.{index}", "a service cannot wait for itself")
        return self
