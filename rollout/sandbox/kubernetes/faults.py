"""The fault switch: make the API slow, wrong, or silent on purpose.

Belongs here: which requests suffer what. Does not belong here: carrying it out on the wire (`routes.py`).
The same rules are set in process (`server.faults.add(...)`) and by `PUT /sandbox/faults`.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rollout.sandbox.kubernetes.refusals import Refused, bad_request
from rollout.sandbox.kubernetes.resources import JsonObject
from rollout.sandbox.kubernetes.store import Store
from rollout.sandbox.kubernetes.targets import Target

# k8s.io/apimachinery/pkg/api/errors: the reason that goes with a code.
_REASONS: Final = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class FaultRule(BaseModel):
    """What happens to the requests it matches.

    Attributes:
        verb: get, list, watch, create, update, patch, delete, deletecollection, or `*`.
        resource: plural, with the subresource if it is about one (`releases/status`), or `*` for everything.
        name: of the object, or `*`.
        status: answer with this HTTP status instead.
        delay_ms: wait that long first.
        drop: close the connection without an answer.
        when: `before` the request is carried out, or `after`: a `drop` or `status` then hides a write that did
            happen.
        times: how many requests suffer; None means all of them until cleared.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    verb: str = "*"
    resource: str = "*"
    name: str = "*"
    status: int | None = Field(default=None, ge=400, le=599)
    delay_ms: float = Field(default=0, ge=0, le=600_000)
    drop: bool = False
    when: Literal["before", "after"] = "before"
    times: int | None = Field(default=None, ge=1)

    def matches(self, target: Target) -> bool:
        """Whether a request is one of those meant."""
        resource = target.resource.plural
        if target.subresource:
            resource = f"{resource}/{target.subresource}"
        return self.verb in {"*", target.verb} and self.resource in {"*", resource} and self.name in {"*", target.name}

    def refusal(self) -> Refused:
        """The answer a rule with a `status` gives."""
        assert self.status is not None
        details: JsonObject = {"retryAfterSeconds": 1} if self.status in {429, 503} else {}
        return Refused(self.status, _REASONS.get(self.status, ""), "injected by the sandbox", details)


class FaultOrders(BaseModel):
    """The body of `PUT /sandbox/faults`: rules replace the present ones, the two orders act at once."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rules: list[FaultRule] = Field(default_factory=list, max_length=1000)
    drop_watches: bool = False
    forget_history: bool = False


@dataclass(slots=True)
class Faults:
    """The rules in force; the first one that matches a request counts."""

    store: Store
    rules: list[FaultRule] = field(default_factory=list)

    def add(self, **rule: Any) -> None:
        """Add a rule, given as the fields of `FaultRule`."""
        self.rules.append(FaultRule(**rule))

    def clear(self) -> None:
        """Back to normal."""
        self.rules.clear()

    def drop_watches(self) -> int:
        """End all open watches now; returns how many there were."""
        return self.store.drop_subscriptions()

    def forget_history(self) -> None:
        """Forget all past changes: watches from any known resourceVersion get 410 until the client lists again."""
        self.store.forget_history()

    def strike(self, target: Target) -> FaultRule | None:
        """The rule that hits this request; counts it."""
        for rule in self.rules:
            if rule.matches(target):
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times == 0:
                        self.rules.remove(rule)
                return rule
        return None

    def obey(self, body: Any) -> None:
        """Carry out the body of `PUT /sandbox/faults`.

        Raises:
            Refused: 400, it is no `FaultOrders`.
        """
        try:
            orders = FaultOrders.model_validate(body)
        except ValidationError as error:
            raise bad_request(str(error)) from error
        self.rules[:] = orders.rules
        if orders.drop_watches:
            self.drop_watches()
        if orders.forget_history:
            self.forget_history()

    def as_json(self) -> JsonObject:
        """The rules in force and how often each still strikes."""
        return {"rules": [rule.model_dump() for rule in self.rules]}
