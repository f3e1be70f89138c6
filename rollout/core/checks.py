"""What is watched in a release, and how sure one must be: the `checks` and `judge` parts of a policy.

The tables in `docs/policy.md` are generated from these classes; what the numbers do is told in `docs/judge.md`.
"""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator, model_validator

from rollout.core.counts import GRPC_CODES, SERVER_FAILURES, Failing
from rollout.core.quantities import Duration, Listed, Model, Share, format_duration, format_share

_QUANTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,4})?) *< *(\S+)")
_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
PLACEHOLDERS = ("version", "workload", "service", "namespace", "interval")
"""What `{{…}}` may name in the query of a custom check."""

GrpcCode = Literal[
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
]  # fmt: skip
Action = Literal["rollback", "hold"]


def _objective(value: object) -> object:
    """`p99 < 500ms` is the statement "at most 1 % of the requests take longer than 500 ms"."""
    if not isinstance(value, str):
        return value
    match = _QUANTILE.fullmatch(value)
    if match is None or not 0 < float(match[1]) < 100:
        raise ValueError(f"expected an objective such as `p99 < 500ms`, not {value!r}")
    slower = round(1 - float(match[1]) / 100, 8)
    return {"bound": match[2], "max": format_share(slower)}


class Tolerance(Model):
    """How much worse than stable, at the same time, the canary may be: rate <= ratio x stable's rate + margin."""

    ratio: float = Field(default=1.25, ge=1, le=100, description="Factor on stable's rate.")
    margin: Share = Field(description="Added to it, so that a spotless stable does not forbid a single error.")

    def of(self, rate: float) -> float:
        """The highest tolerated rate of the canary beside stable's."""
        return min(1.0, self.ratio * rate + self.margin)


def _tolerance(ratio: float, margin: str) -> Tolerance:
    return Tolerance.model_validate({"ratio": ratio, "margin": margin})


class FailFast(Model):
    """A plain threshold beside the statistics: deterministic, within one scrape, for a canary that is as good as dead.

    Counted over runs of `requests` or more requests of the canary, one after the other, however many scrapes each
    takes; not while stable fails half as often.
    """

    enabled: bool = Field(default=True, description="Whether it may roll back at all.")
    max: Share = Field(default=0.9, description="Share of failed requests that is taken for an outage.")
    requests: int = Field(default=50, ge=1, le=1_000_000, description="Requests of the canary that it is counted over.")

    @field_validator("max")
    @classmethod
    def _is_an_outage(cls, share: float) -> float:
        if share < 0.05:
            raise ValueError(
                "expected at least 5%; `enabled: false` switches it off, and smaller shares are the judge's"
            )
        return share


class Errors(Model):
    """Responses that count as failed, and requests that never reached a pod (UH, NC, NR, UF)."""

    codes: Listed[Annotated[str, Field(pattern=r"^([1-5]xx|[1-5][0-9]{2})$")]] = Field(
        default=("5xx",), max_length=50, description="HTTP codes that are failures, such as 5xx, 429, 408."
    )
    grpc: Listed[GrpcCode] = Field(
        default=("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
        max_length=16,
        description="gRPC statuses that are failures; the HTTP code of a gRPC call is 200 even then.",
    )
    max: Share = Field(default=0.05, description="Highest share of failed requests, whatever stable does.")
    over_stable: Tolerance = Field(
        default_factory=lambda: _tolerance(1.25, "0.05%"),
        description="How much worse than stable the canary's error rate may be.",
    )
    fail_fast: FailFast = Field(default_factory=FailFast, description="A hard limit for near-total outages.")

    def failing(self) -> Failing:
        """Which response codes are failures, as the counting needs it."""
        if self.codes == ("5xx",) and self.grpc == Errors.model_fields["grpc"].default:
            return SERVER_FAILURES
        return Failing(http=frozenset(self.codes), grpc=frozenset(GRPC_CODES[name] for name in self.grpc))


class Objective(Model):
    """At most `max` of the requests may take longer than `bound`; `p99 < 500ms` says the same for 1 %."""

    bound: Duration
    max: Share

    @property
    def bound_ms(self) -> float:
        """The bound as a histogram spells it."""
        return self.bound / timedelta(milliseconds=1)

    def __str__(self) -> str:
        return f"{format_share(self.max)} slower than {format_duration(self.bound)}"


LatencyObjective = Annotated[
    Objective,
    BeforeValidator(_objective),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^p[0-9]{1,2}(\.[0-9]{1,4})? *< *\S+$", "examples": ["p99 < 500ms"]},
                {
                    "type": "object",
                    "properties": {"bound": {"type": "string"}, "max": {"type": "string"}},
                    "required": ["bound", "max"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
    PlainSerializer(lambda o: o.wire() if isinstance(o, Objective) else o, return_type=dict),
]


class Latency(Model):
    """Shares of requests slower than bucket bounds; never a quantile that had to be interpolated."""

    objectives: Listed[LatencyObjective] = Field(
        default=(), max_length=5, description="Limits whatever stable does, such as `p99 < 500ms`."
    )
    compare: Listed[Duration] | None = Field(
        default=None,
        max_length=16,
        description="Bounds at which the share of slower requests is compared with stable's; without it every bound "
        "of the mesh from the one above stable's median up to 10s; `[]` for none.",
    )
    over_stable: Tolerance = Field(
        default_factory=lambda: _tolerance(1.25, "0.2%"),
        description="How much larger than stable's the canary's share of slow requests may be.",
    )

    @field_validator("objectives")
    @classmethod
    def _bounds_differ(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        bounds = [objective.bound for objective in objectives]
        if len(set(bounds)) < len(bounds):
            raise ValueError("two objectives have the same bound: the stricter one alone says it all")
        return objectives


class Traffic(Model):
    """The canary receives the share of the requests that its weight says."""

    tolerance: float = Field(
        default=1.5,
        gt=1,
        le=10,
        description="Factor by which the odds canary : stable may differ, either way.",
    )


class Saturation(Model):
    """Signs that the canary's pods or connections are full. Each counts only where its series exist."""

    overflow: Share = Field(
        default=0.01, description="Share of requests refused by a full circuit breaker (UO), and of pending overflow."
    )
    throttling: Share = Field(
        default=0.25, description="Share of CPU periods throttled, where it is also half as much again as stable's."
    )
    memory: Share = Field(
        default=0.9, description="Share of the memory limit in use, where it is also a tenth more than stable's."
    )
    failures: int = Field(default=4, ge=1, le=100, description="Looks in a row above a limit until `action`.")
    action: Action = Field(default="rollback", description="What then happens: rollback, or hold the step.")


class OverStable(Model):
    """The canary's value against the same query for stable: value <= ratio x stable's + margin."""

    ratio: float = Field(default=1.0, gt=0, le=1000, description="Factor on stable's value.")
    margin: float = Field(default=0.0, description="Added to it, in the query's own unit.")


class CustomCheck(Model):
    """Any PromQL as a gate. It stands outside the statistical budget: nobody knows how often it errs by chance."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63, description="Its name in the logs.")
    query: str = Field(
        min_length=1,
        max_length=2000,
        description="PromQL whose answer is one number; `{{version}}`, `{{workload}}`, `{{service}}`, `{{namespace}}` "
        "stand inside quotes; `{{interval}}` is four scrape intervals, for `rate(…[{{interval}}])`.",
    )
    max: float | None = Field(default=None, description="Highest good value.")
    min: float | None = Field(default=None, description="Lowest good value.")
    over_stable: OverStable | None = Field(default=None, description="How far above stable's it may be.")
    no_data: Literal["hold", "pass", "fail"] = Field(default="hold", description="What no answer, or NaN, means.")
    failures: int = Field(default=3, ge=1, le=100, description="Looks in a row that fail until `action`.")
    action: Action = Field(default="rollback", description="What then happens: rollback, or hold the step.")

    @model_validator(mode="after")
    def _says_what_is_good(self) -> Self:
        if self.max is None and self.min is None and self.over_stable is None:
            raise ValueError("expected max, min or overStable: otherwise every value is good")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: no value is good")
        named = _PLACEHOLDER.findall(self.query)
        for name in named:
            if name.strip() not in PLACEHOLDERS:
                known = ", ".join(f"{{{{{one}}}}}" for one in PLACEHOLDERS)
                raise ValueError(f"query: {{{{{name}}}}} is no placeholder; there are {known}")
        if self.over_stable is not None and not {"version", "workload"} & {name.strip() for name in named}:
            raise ValueError("query: expected {{version}} or {{workload}}, or stable's value is the canary's")
        return self


class Checks(Model):
    """What is watched after every scrape. A check without enough requests is unknown, and unknown never promotes."""

    min_requests: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Requests of the canary, per step, before a check may pass.",
    )
    errors: Errors = Field(default_factory=Errors)
    latency: Latency = Field(default_factory=Latency)
    traffic: Traffic = Field(default_factory=Traffic)
    saturation: Saturation = Field(default_factory=Saturation)
    custom: Listed[CustomCheck] = Field(default=(), max_length=10, description="Gates of your own, in PromQL.")

    @field_validator("custom")
    @classmethod
    def _names_differ(cls, custom: tuple[CustomCheck, ...]) -> tuple[CustomCheck, ...]:
        names = [check.name for check in custom]
        if len(set(names)) < len(names):
            raise ValueError("two custom checks have the same name")
        return custom


class Caps(Model):
    """The shortest time in which a check may convict: no single scrape, glitch or burst is enough."""

    outage: Duration = Field(default=timedelta(seconds=10), description="Errors, for a canary that answers nothing.")
    latency: Duration = Field(default=timedelta(seconds=30), description="Slow requests.")
    traffic: Duration = Field(default=timedelta(seconds=25), description="The traffic share.")


class Proof(Model):
    """When a step is proven: the canary is not worse than this margin, with this risk of being wrong."""

    risk: Share = Field(default=0.05, description="Probability that a step is ever called proven wrongly.")
    errors: Tolerance = Field(default_factory=lambda: _tolerance(1.5, "0.5%"), description="Margin for errors.")
    latency: Tolerance = Field(default_factory=lambda: _tolerance(1.5, "1%"), description="Margin for slow requests.")


class Judge(Model):
    """How the evidence is weighed. The defaults are measured (docs/judge.md); times scale with the scrape interval."""

    false_rollback: Share = Field(
        default=0.01, description="Probability that a tolerable canary is ever rolled back, over all checks and looks."
    )
    learn: Duration = Field(
        default=timedelta(hours=1), description="How much of stable's past shows how errors come in clumps; 0s: none."
    )
    block: Duration = Field(
        default=timedelta(seconds=15), description="Bad requests closer together than this may have one cause."
    )
    warm_up: Duration = Field(
        default=timedelta(minutes=1), description="Latency is not judged for so long after the first requests."
    )
    onset: Duration = Field(
        default=timedelta(minutes=30), description="Time over which bets are kept for a regression that begins later."
    )
    caps: Caps = Field(default_factory=Caps)
    unproven: Literal["advance", "hold"] = Field(
        default="advance", description="What a step does whose hold is over, unsuspected but not proven."
    )
    early: bool = Field(default=False, description="Whether a proven step may end before its hold is over.")
    dwell: Duration = Field(default=timedelta(minutes=1), description="The shortest stay at a weight, if `early`.")
    proof: Proof = Field(default_factory=Proof)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not 0 < self.false_rollback <= 0.2:
            raise ValueError("falseRollback: expected more than 0% and at most 20%")
        if not 0 < self.proof.risk <= 0.5:
            raise ValueError("proof.risk: expected more than 0% and at most 50%")
        if self.learn > timedelta(hours=6):
            raise ValueError("learn: expected at most 6h; every release asks Prometheus for so much")
        for name in ("block", "onset"):
            if getattr(self, name) < timedelta(seconds=1):
                raise ValueError(f"{name}: expected at least 1s")
        return self
