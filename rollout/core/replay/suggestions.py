"""Which tolerances would suit a history: the smallest at which none of its pseudo-releases is rolled back.

Everything is tried out on the same traffic as the rehearsal itself; nothing is computed by a formula. What is suggested
is for a person to weigh: a history without a bad release cannot say what a bad one looks like.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rollout.core.judging.evidence import AT_FULL_WEIGHT, ERRORS, LIMIT, PAST
from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_share
from rollout.core.replay.rehearsal import Pseudo, Rehearsal, rehearse

Kind = Literal["errors", "latency", "limit"]
_RATIOS = (1.25, 1.5, 2.0, 3.0)
_MARGINS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
_LIMITS = (0.1, 0.2, 0.3, 0.5)
FEWEST = 50
"""From so many pseudo-releases on, that none was rolled back bears smaller margins: at most 7 % are (95 %)."""
_TIGHTER = (0.5, 0.2)
"""What margins are multiplied with, to see whether they could be smaller."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What could be changed in the policy, and what was seen of it."""

    direction: Literal["keep", "loosen", "tighten", "none", "too few"]
    """none: nothing that was tried ends the false rollbacks; too few: none was seen, which says little of so few."""
    spec: dict[str, Any]
    """The part of a policy's `spec` to paste; empty unless something is to be changed."""
    beyond: tuple[str, ...] = ()
    """Checks that rolled back wrongly and that no tolerance here is for."""


def suggest(
    rehearsal: Rehearsal,
    policy: PolicySpec,
    healthy: Sequence[Pseudo],
    *,
    progress: Callable[[float], None] | None = None,
) -> Suggestion:
    """What to change, given how the healthy pseudo-releases of this policy went; more rehearsals are run for it."""
    if any(one.ended.outcome == "rolled back" for one in healthy):
        return _loosened(rehearsal, policy, healthy, progress or _nobody)
    if len(healthy) < FEWEST:
        return Suggestion("too few", {})
    return _tightened(rehearsal, policy, healthy, progress or _nobody)


def _nobody(_share: float) -> None:
    """Nobody wants to know how far it is."""


def kind_of(check: str) -> Kind | None:
    """Which tolerance a check goes by; None where none can be suggested."""
    if check == LIMIT:
        return "limit"
    if check in {ERRORS, AT_FULL_WEIGHT, PAST}:
        return "errors"
    return "latency" if check.startswith("latency ") and check.endswith(" vs stable") else None


def _loosened(
    rehearsal: Rehearsal, policy: PolicySpec, healthy: Sequence[Pseudo], progress: Callable[[float], None]
) -> Suggestion:
    """Raise the tolerance of the check to blame until its releases pass, then look at all of them again."""
    found, now = policy, list(healthy)
    raised: set[Kind] = set()
    while wrong := {number: one for number, one in enumerate(now) if one.ended.outcome == "rolled back"}:
        kinds = [(kind_of(one.ended.check), number) for number, one in wrong.items()]
        kind = next((kind for kind, _ in kinds if kind is not None and kind not in raised), None)
        better = None if kind is None else _enough(rehearsal, found, kind, [n for k, n in kinds if k == kind])
        if kind is None or better is None:
            beyond = dict.fromkeys(one.ended.check for one in wrong.values())
            return Suggestion("none", _difference(policy, found), tuple(beyond))
        raised.add(kind)
        found = better
        now = rehearse(rehearsal, found, progress=progress)
    return Suggestion("loosen", _difference(policy, found))


def _enough(rehearsal: Rehearsal, policy: PolicySpec, kind: Kind, numbers: Sequence[int]) -> PolicySpec | None:
    """The first looser policy under which none of these is rolled back by such a check."""
    for looser in _looser(rehearsal, policy, kind):
        if not any(
            one.ended.outcome == "rolled back" and kind_of(one.ended.check) == kind
            for number in numbers
            for one in rehearse(rehearsal, looser, only=[number])
        ):
            return looser
    return None


def _looser(rehearsal: Rehearsal, policy: PolicySpec, kind: Kind) -> Iterator[PolicySpec]:
    """Policies of growing tolerance."""
    errors, latency = policy.checks.errors, policy.checks.latency
    if kind == "limit":
        for limit in _LIMITS:
            if limit > errors.max:
                yield _with(policy, errors=errors.model_copy(update={"max": limit}))
        return
    now = errors.over_stable if kind == "errors" else latency.over_stable
    usual = 0.0
    if kind == "errors":
        rates = [learned.errors.rate for learned in rehearsal.past.values()]
        usual = max(rates, default=0.0)
    pairs = {
        (ratio, margin)
        for ratio in (now.ratio, *_RATIOS)
        for margin in (now.margin, *_MARGINS)
        if ratio >= now.ratio and margin >= now.margin
    } - {(now.ratio, now.margin)}
    for ratio, margin in sorted(pairs, key=lambda pair: (pair[0] * usual + pair[1], pair)):
        wider = now.model_copy(update={"ratio": ratio, "margin": margin})
        if kind == "errors":
            yield _with(policy, errors=errors.model_copy(update={"over_stable": wider}))
        else:
            yield _with(policy, latency=latency.model_copy(update={"over_stable": wider}))


def _tightened(
    rehearsal: Rehearsal, policy: PolicySpec, healthy: Sequence[Pseudo], progress: Callable[[float], None]
) -> Suggestion:
    """Smaller margins for errors and latency together, as long as every release that was promoted still is."""
    found = policy
    promoted = sum(one.ended.outcome == "promoted" for one in healthy)
    for factor in _TIGHTER if promoted else ():
        errors, latency = policy.checks.errors, policy.checks.latency
        smaller = errors.over_stable.model_copy(update={"margin": round(errors.over_stable.margin * factor, 6)})
        shorter = latency.over_stable.model_copy(update={"margin": round(latency.over_stable.margin * factor, 6)})
        tighter = _with(
            policy,
            errors=errors.model_copy(update={"over_stable": smaller}),
            latency=latency.model_copy(update={"over_stable": shorter}),
        )
        again = rehearse(rehearsal, tighter, progress=progress)
        if tighter == found or sum(one.ended.outcome == "promoted" for one in again) < promoted:
            break
        found = tighter
    spec = _difference(policy, found)
    return Suggestion("tighten" if spec else "keep", spec)


def _with(policy: PolicySpec, **checks: object) -> PolicySpec:
    return policy.model_copy(update={"checks": policy.checks.model_copy(update=checks)})


def _difference(old: PolicySpec, new: PolicySpec) -> dict[str, Any]:
    """What of `checks` is new, as the policy spells it."""
    checks: dict[str, Any] = {}
    before, after = old.checks.errors, new.checks.errors
    if after.max != before.max:
        checks.setdefault("errors", {})["max"] = format_share(after.max)
    if after.over_stable != before.over_stable:
        checks.setdefault("errors", {})["overStable"] = after.over_stable.wire()
    if new.checks.latency.over_stable != old.checks.latency.over_stable:
        checks["latency"] = {"overStable": new.checks.latency.over_stable.wire()}
    return {"checks": checks} if checks else {}
