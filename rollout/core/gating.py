"""Gates: what a release waits for besides evidence. An approval, a webhook's answer, a Job's success.

Belongs here: what a policy says about a gate, what is remembered of each, and which question is due. Does not belong
here: asking (`adapters/gatekeeper.py`), what follows for the release (`core/waiting.py`).

A gate is asked once for each (release, gate), whatever crashes: a question carries a key that is the same for every
repetition, a webhook must answer repetitions alike, and a Job is named after it.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from rollout.core.disagreement import disagree
from rollout.core.quantities import Duration, Instant, Label, Model

GateKind = Literal["approval", "webhook", "job"]
Outcome = Literal["passed", "waiting", "failed", "unavailable"]
_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(days=30)


def _point(value: Any) -> Any:
    if value in {"start", "promotion"} if isinstance(value, str) else type(value) is int and 1 <= value <= 100:
        return value
    raise ValueError("expected start, promotion, or the weight of a step, such as 30")


Point = Annotated[
    Literal["start", "promotion"] | int,
    PlainValidator(_point),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": ["start", "promotion"]},
                {"type": "integer", "minimum": 1, "maximum": 100},
            ]
        }
    ),
]
"""What waits for a gate: the start, the step of this weight, or the promotion."""


class Gate(Model):
    """Something that must say yes before the release starts, before a weight, or before it is promoted."""

    name: Label = Field(description="Its name, unique in the policy; `rollout approve` names it.")
    before: Point = Field(
        default="start", description="What waits for it: the start, a step (by its weight), or the promotion."
    )
    kind: GateKind = Field(
        default="approval",
        description="A person's approval, or a webhook or Job that the administrator set up under `use`.",
    )
    use: Label | None = Field(
        default=None, description="Name of the webhook or Job in the controller's settings; never a URL."
    )
    timeout: Duration = Field(
        default=timedelta(hours=1), description="How long it may take in all, waiting and repetitions included."
    )
    retries: int = Field(
        default=2, ge=0, le=10, description="How often a webhook that cannot be reached is asked again."
    )
    on_failure: Literal["rollback", "hold"] = Field(
        default="rollback",
        description="After a no, or when time is up: all traffic back to stable, or stay until somebody decides.",
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.kind == "approval" and self.use is not None:
            raise disagree("use", "an approval needs none, a person gives it; or say `kind: webhook` or `job`")
        if self.kind != "approval" and self.use is None:
            raise disagree("use", f"required: the name of the {self.kind} in the controller's settings")
        if not _SHORTEST <= self.timeout <= _LONGEST:
            raise disagree("timeout", "expected a duration between 1s and 30d")
        return self


class GateRun(Model):
    """What is remembered of one gate of one release."""

    gate: Label
    state: Literal["waiting", "passed", "failed"] = "waiting"
    since: Instant
    """When the release first waited for it."""
    attempt: int = Field(default=1, ge=1)
    """Number of the question that is open, or was answered last."""
    failures: int = Field(default=0, ge=0)
    """How many answers were none: not reachable, or a server's error."""
    ask_at: Instant | None = None
    """When the open question is put; None for at once."""
    by: str = ""
    """Who approved."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One gate, asked for one release. `key` is the same for every attempt, other for every gate and release."""

    namespace: str
    release: str
    uid: str
    service: str
    version: str
    stable: str
    step: int | None
    """Index of the step that is being watched; None before the first."""
    weight: int
    """The canary's share now, in percent."""
    gate: Gate
    attempt: int
    begun: bool = False
    """Whether an earlier answer was that it goes on: then it exists, or has gone."""

    @property
    def key(self) -> str:
        """Idempotency key, 32 hex digits."""
        return hashlib.sha256(f"{self.uid}/{self.gate.name}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gate said. `waiting`: ask again after `again`; `unavailable`: nothing was said."""

    outcome: Outcome
    message: str = ""
    again: timedelta = timedelta(seconds=5)


def due(runs: tuple[GateRun, ...], gates: tuple[Gate, ...], before: str | int) -> tuple[Gate, ...]:
    """The gates before this point that have not passed, in the policy's order."""
    passed = {run.gate for run in runs if run.state == "passed"}
    return tuple(gate for gate in gates if gate.before == before and gate.name not in passed)


def run_of(runs: tuple[GateRun, ...], name: str) -> GateRun | None:
    """What is remembered of a gate."""
    return next((run for run in runs if run.gate == name), None)


def is_asked(run: GateRun, now: datetime) -> bool:
    """Whether the open question may be put now."""
    return run.state == "waiting" and (run.ask_at is None or now >= run.ask_at)
