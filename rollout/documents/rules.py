"""What fields of a policy and a release mean for one another, in CEL: `x-kubernetes-validations` of the CRDs.

Belongs here: the rules of `core/policy.py`, `core/checks.py` and `core/release.py` that a pattern or a bound cannot
say, in the language of kubernetes.io/docs/reference/using-api/cel. Does not belong here: bounds and patterns, which
come from the models' own schema (`crd.py`).

The models stay the judges: the API server only says no earlier, to whoever writes the object. Left to them alone is
what CEL cannot see or not afford: latency objectives, which are text or a mapping and so have no type in a structural
schema, what latency bounds mean for buckets, the placeholders of a query, time zones, dates, what a cron expression
means, and how long a schedule is closed.

Rules use nothing that came after Kubernetes 1.28. No default is written into an object, so each rule knows its own.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel

from rollout.core.policy import Deadlines, PolicySpec, Step
from rollout.core.quantities import format_duration
from rollout.documents.schema import Schema

SHARE_PATTERN: Final = r"^(0?[0-9]{1,2}(\.[0-9]{1,6})?|100(\.0{1,6})?)%$"
"""A percentage up to 100, which the pattern for editors leaves to the parser."""
LONGEST_DURATION: Final = 24
LONGEST_SHARE: Final = len("100.000000%")

_OF_A_VERSION: Final = r"\\{\\{\\s*(version|workload)\\s*\\}\\}"


def _rule(rule: str, message: str, at: str = "") -> Schema:
    return {"rule": rule, "message": message} | ({"fieldPath": at} if at else {})


def _ms(text: str) -> str:
    """Milliseconds of a duration as we spell it: CEL's own knows no days. New texts would cost too much."""
    days = f"int({text}.substring(0, {text}.indexOf('d'))) * 86400000"
    rest = f"duration({text}.substring({text}.indexOf('d') + 1)).getMilliseconds()"
    in_days = f"{days} + ({text}.endsWith('d') ? 0 : {rest})"
    return f"({text}.contains('d') ? {in_days} : duration({text}).getMilliseconds())"


def _of(field: str, model: type[BaseModel], name: str) -> str:
    """The milliseconds in a field that may be left out."""
    default = model.model_fields[name].default
    assert isinstance(default, timedelta)
    return f"(has({field}) ? {_ms(field)} : {_whole(default)})"


def _whole(span: timedelta) -> int:
    return round(span / timedelta(milliseconds=1))


def _between(least: timedelta | None, most: timedelta | None) -> Schema:
    value = _ms("self")
    parts = [
        *([f"{value} >= {_whole(least)}"] if least is not None else []),
        *([f"{value} <= {_whole(most)}"] if most is not None else []),
    ]
    if least is None:
        words = f"expected a duration of at most {format_duration(most or timedelta())}"
    elif most is None:
        words = f"expected a duration of at least {format_duration(least)}"
    else:
        words = f"expected a duration between {format_duration(least)} and {format_duration(most)}"
    return _rule(" && ".join(parts), words)


def _share(bounds: str, message: str) -> Schema:
    return _rule(bounds.replace("share", "double(self.substring(0, self.size() - 1))"), message)


def _unchanged(name: str) -> Schema:
    same = f"(!has(self.{name}) || self.{name} == oldSelf.{name})"
    rule = f"has(self.{name}) == has(oldSelf.{name}) && {same}"
    return _rule(rule, f"{name} cannot be changed: make a new Release", f".{name}")


def _unchanged_or_usual(name: str, usual: str) -> Schema:
    """For a field with a default, which one client writes down and another does not."""
    now, before = (f"(has({one}.{name}) ? {one}.{name} : '{usual}')" for one in ("self", "oldSelf"))
    return _rule(f"{now} == {before}", f"{name} cannot be changed: make a new Release", f".{name}")


def _deadlines() -> Iterable[Schema]:
    interval = _of("self.interval", PolicySpec, "interval")
    for name in ("ready", "metrics", "verdict", "total"):
        given = f"self.deadlines.{name}"
        yield _rule(
            f"!has(self.deadlines) || !has({given}) || {_ms(given)} >= {interval}",
            f"deadlines.{name} must be at least one interval",
            f".deadlines.{name}",
        )
    hold = _of("step.hold", Step, "hold")
    usual = _whole(sum((step.hold for step in PolicySpec().steps), timedelta()))
    holds = f"(has(self.steps) ? self.steps.map(step, {hold}).sum() : {usual})"
    given = f"has(self.deadlines) && has(self.deadlines.total) ? {_ms('self.deadlines.total')}"
    total = _whole(Deadlines.model_fields["total"].default)
    yield _rule(
        f"({given} : {total}) > {holds}",
        "deadlines.total must exceed the holds of all steps together",
        ".deadlines.total",
    )


def _gates() -> Iterable[Schema]:
    usual = ", ".join(str(step.weight) for step in PolicySpec().steps)
    weights = f"(has(self.steps) ? self.steps.map(step, step.weight) : [{usual}])"
    yield _rule(
        "!has(self.gates) || self.gates.all(gate, !has(gate.before) || type(gate.before) != int || "
        f"gate.before in {weights})",
        "gates: before names a weight that no step has",
        ".gates",
    )


_SECOND: Final = timedelta(seconds=1)
_SAME_PLACE: Final = (
    "a.name == b.name && (has(a.__namespace__) ? a.__namespace__ : '') == (has(b.__namespace__) ? b.__namespace__ : '')"
)

MODELS: Final[dict[str, list[Schema]]] = {
    "ReleaseSpec": [
        *(
            _rule(f"self.{name} == oldSelf.{name}", f"{name} cannot be changed: make a new Release", f".{name}")
            for name in ("service", "version")
        ),
        _unchanged("policy"),
        _unchanged("source"),
        _unchanged_or_usual("onConflict", "reject"),
        _unchanged("notBefore"),
        _rule(
            "!has(self.policy) || !has(self.policy.after) || !(self.service in self.policy.after)",
            "a service cannot wait for itself",
            ".policy.after",
        ),
        _rule(
            "!has(oldSelf.approvals) || oldSelf.approvals.size() == 0 || "
            "(has(self.approvals) && oldSelf.approvals.all(one, one in self.approvals))",
            "an approval cannot be taken back or changed: abort the release",
            ".approvals",
        ),
    ],
    "FreezeSpec": [
        _rule(
            "!has(self.everywhere) || !self.everywhere || !has(self.service)",
            "a freeze of everything names no service",
            ".service",
        )
    ],
    "ServicePolicy": [
        _rule(
            "!has(self.spec) || !has(self.spec.after) || !(self.metadata.name in self.spec.after)",
            "a service cannot wait for itself",
            ".spec.after",
        )
    ],
    "PolicySpec": [*_deadlines(), *_gates()],
    "OpenWindow": [
        _rule("has(self.cron) == has(self.__for__)", "cron and for belong together", ".cron"),
        _rule(
            "!has(self.cron) || (!has(self.days) && (!has(self.from) || self.from == '00:00') && "
            "(!has(self.to) || self.to == '24:00'))",
            "cron says days and times itself: give either it, or days, from and to",
            ".cron",
        ),
    ],
    "Gate": [
        _rule(
            "(has(self.kind) && self.kind != 'approval') == has(self.use)",
            "use: name the webhook or job that is asked; an approval needs none",
            ".use",
        )
    ],
    "Trigger": [
        _rule("has(self.repositoryId) != has(self.projectId)", "expected either repositoryId or projectId"),
    ],
    "RouteSelection": [
        _rule(
            "!has(self.virtualServices) || self.virtualServices.size() == 0 || !has(self.virtualService)",
            "virtualService belongs to a single VirtualService: name it in virtualServices",
            ".virtualService",
        ),
        _rule(
            "!has(self.virtualServices) || self.virtualServices.size() == 0 || !has(self.name)",
            "name belongs to a single VirtualService: name the route in virtualServices",
            ".name",
        ),
        _rule(
            "!has(self.subsets) || self.subsets.size() == 0 || !has(self.host)",
            "subsets and host exclude each other: versions are told apart by one of them",
            ".subsets",
        ),
    ],
    "CustomCheck": [
        _rule("has(self.max) || has(self.min) || has(self.overStable)", "expected max, min or overStable"),
        _rule("!has(self.max) || !has(self.min) || self.min <= self.max", "min is above max: no value is good", ".min"),
        _rule(
            f"!has(self.overStable) || self.query.matches('{_OF_A_VERSION}')",
            "with overStable expected {{version}} or {{workload}}, or stable's value is the canary's",
            ".query",
        ),
    ],
}
"""Rules about a whole mapping, by the name of its model."""

FIELDS: Final[dict[str, list[Schema]]] = {
    "PolicySpec.steps": [
        _rule("self.size() > 0 && self[self.size() - 1].weight == 100", "the last weight must be 100"),
        _rule(
            "self.map(step, step.weight).isSorted() && self.all(a, self.exists_one(b, a.weight == b.weight))",
            "weights must rise from step to step",
        ),
    ],
    "PolicySpec.interval": [_between(_SECOND, timedelta(minutes=5))],
    "PolicySpec.settle": [_between(None, timedelta(minutes=5))],
    "PolicySpec.deployment": [
        _rule("self.contains('{version}')", "expected {version} in it: each version has a Deployment of its own")
    ],
    "Step.hold": [_between(_SECOND, timedelta(days=1))],
    "RouteSelection.virtualServices": [
        _rule(f"self.all(a, self.exists_one(b, {_SAME_PLACE}))", "names a VirtualService twice")
    ],
    "RouteSelection.subsets": [
        _rule(
            "self.size() != 1 && self.all(a, self.exists_one(b, a == b))",
            "expected two different names: one is in use while the other is prepared",
        )
    ],
    "RouteSelection.host": [
        _rule("self.contains('{version}')", "expected {version} in it: each version has a Service of its own")
    ],
    "FailFast.max": [_share("share >= 5.0", "expected at least 5%; smaller shares are the judge's")],
    "Judge.falseRollback": [_share("share > 0.0 && share <= 20.0", "expected more than 0% and at most 20%")],
    "Proof.risk": [_share("share > 0.0 && share <= 50.0", "expected more than 0% and at most 50%")],
    "Judge.learn": [_between(None, timedelta(hours=6))],
    "Judge.block": [_between(_SECOND, None)],
    "Judge.onset": [_between(_SECOND, None)],
    "PolicySpec.gates": [
        _rule("self.all(a, self.exists_one(b, a.name == b.name))", "two gates have the same name"),
    ],
    "Gate.before": [
        _rule(
            "type(self) == int ? (int(self) >= 1 && int(self) <= 100) : (self == 'start' || self == 'promotion')",
            "expected start, promotion, or the weight of a step",
        )
    ],
    "Gate.timeout": [_between(_SECOND, timedelta(days=30))],
    "OpenWindow.from": [_rule("self != '24:00'", "expected a time before 24:00")],
    "OpenWindow.for": [
        _between(timedelta(minutes=1), timedelta(days=7)),
        _rule(f"{_ms('self')} % 60000 == 0", "expected whole minutes"),
    ],
    "Schedule.windows": [
        _rule(
            "self.size() == 0 || "
            "['start', 'advance'].all(act, self.exists(one, !has(one.allows) || act in one.allows))",
            "none of them allows start, or none allows advance, so it would never be allowed",
        )
    ],
    "Checks.custom": [
        _rule("self.all(a, self.exists_one(b, a.name == b.name))", "two custom checks have the same name")
    ],
}
"""Rules about one field, by the name of its model and its own in an object."""


def on_model(name: str) -> Schema:
    """The rules about a mapping of this model, as its schema has them."""
    return _with(MODELS.get(name))


def on_field(model: str, field: str) -> Schema:
    """The rules about one field of a model."""
    return _with(FIELDS.get(f"{model}.{field}"))


def _with(rules: list[Schema] | None) -> dict[str, Any]:
    return {"x-kubernetes-validations": rules} if rules else {}
