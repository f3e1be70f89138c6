"""Gates beside the statistics: saturation and the policy's custom checks. Plain thresholds, and labelled so.

A gate fails after `failures` looks in a row beyond its limit, and then rolls back or holds, as the policy says; until
then it lets nothing pass. What is not exported is `unmeasured` and stands in nobody's way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field

from rollout.core.checks import Action, CustomCheck, Saturation
from rollout.core.counts import Tally
from rollout.core.judging.evidence import NO_CONTROL
from rollout.core.judging.verdicts import Outcome, Verdict
from rollout.core.policy import PolicySpec
from rollout.core.quantities import Model
from rollout.core.route import Unavailable

PENDING, BREAKERS, THROTTLING, MEMORY = "pending overflow", "open circuit breakers", "cpu throttling", "memory"
SIGNALS = (PENDING, BREAKERS, THROTTLING, MEMORY)
"""What the Metrics port measures of a version's saturation, where the series exist."""
_OVERFLOW = "overflow"
_THROTTLED_MORE, _MEMORY_MORE = 1.5, 0.1


@dataclass(frozen=True, slots=True)
class Reading:
    """One number for each version; None where no such series exists."""

    canary: float | None
    stable: float | None = None
    trouble: str = ""
    """Why it could not be measured: bad PromQL, several series in the answer."""


Readings = Mapping[str, Reading]
"""By signal, and by `custom NAME`."""


class Gates(Model):
    """The memory of the gates."""

    streaks: dict[str, int] = Field(default_factory=dict)
    """How many looks in a row each was beyond its limit; only of what was measured in this release."""
    stable: dict[str, float] = Field(default_factory=dict)
    """The last reading of stable while it had traffic: what is left to compare with at the last step."""


class _Look(NamedTuple):
    """One gate now."""

    name: str
    value: float | None
    limit: float
    beyond: bool
    failures: int
    action: Action
    said: str
    stable: float | None = None
    silent: bool = False
    """There is no number, and that may not pass."""
    fine: bool = False
    """There is no number, and that is as good as a good one."""


def custom_name(check: CustomCheck) -> str:
    """What a custom check is called among the verdicts."""
    return f"custom {check.name}"


def look(
    gates: Gates, readings: Readings | Unavailable | None, grown: Tally, weight: int, policy: PolicySpec
) -> tuple[Gates, tuple[Verdict, ...]]:
    """Hold the readings, and the interval's refused requests, against the limits. Pure, total."""
    known = readings if isinstance(readings, Mapping) else {}
    control = weight <= NO_CONTROL
    stable = dict(gates.stable)
    for name, reading in known.items() if control else ():
        if name in SIGNALS and reading.stable is not None:
            stable[name] = reading.stable
    streaks, verdicts = {}, []
    looks = (
        *(_kept(one, readings, gates) for one in _saturation(known, grown, stable, policy.checks.saturation)),
        *(_custom(check, readings, control=control) for check in policy.checks.custom),
    )
    for one in looks:
        # What cannot be measured now neither passes nor counts: it was beyond its limit when it was last seen.
        kept = gates.streaks.get(one.name, 0)
        unseen = one.value is None and not one.beyond and not one.fine
        streak = kept if unseen else kept + 1 if one.beyond else 0
        if one.value is not None or one.name in gates.streaks or one.beyond:
            streaks[one.name] = streak
        verdicts.append(_verdict(one, streak))
    return Gates(streaks=streaks, stable=stable), tuple(verdicts)


def _kept(one: _Look, readings: Readings | Unavailable | None, gates: Gates) -> _Look:
    """A signal that was measured before is waited for while Prometheus does not answer; no answer is no absence."""
    ours = one.name == f"saturation {_OVERFLOW}"
    if ours or one.value is not None or not isinstance(readings, Unavailable):
        return one
    said = f"saturation: no value for now: {readings.message}"
    return one._replace(said=said, silent=one.name in gates.streaks)


def _saturation(known: Readings, grown: Tally, stable: Mapping[str, float], limits: Saturation) -> Iterator[_Look]:
    n = grown.canary.requests + grown.lost
    refused = grown.overflowed / n if n else None
    yield _signal(_OVERFLOW, refused, None, limits.overflow, limits, "of the requests were refused, circuit open (UO)")
    for name, limit, ratio, more, said in (
        (PENDING, limits.overflow, 1.0, 0.0, "of the requests found the connection pool full"),
        (BREAKERS, 0.0, 1.0, 0.0, "(1 for yes): a proxy has an open circuit breaker"),
        (THROTTLING, limits.throttling, _THROTTLED_MORE, 0.0, "of the CPU periods were throttled"),
        (MEMORY, limits.memory, 1.0, _MEMORY_MORE, "of the memory limit is in use"),
    ):
        reading = known.get(name, Reading(None))
        beside = stable.get(name)
        allowed = limit if beside is None else max(limit, ratio * beside + more)
        yield _signal(name, reading.canary, beside, allowed, limits, said)


def _signal(name: str, value: float | None, stable: float | None, limit: float, limits: Saturation, said: str) -> _Look:
    text = f"saturation: not measured, {name} is not exported"
    if value is not None:
        beside = "" if stable is None else f", stable {stable:.1%}"
        text = f"saturation: {value:.1%} {said}{beside}; the limit is {limit:.1%}"
    beyond = value is not None and value > limit
    return _Look(f"saturation {name}", value, limit, beyond, limits.failures, limits.action, text, stable)


def _custom(check: CustomCheck, readings: Readings | Unavailable | None, *, control: bool) -> _Look:
    name = custom_name(check)
    if isinstance(readings, Unavailable) or readings is None:
        why = "it was not asked for" if readings is None else readings.message
        return _silent(check, f"{name}: no value: {why}", beyond=False, passes=False)
    reading = readings.get(name, Reading(None))
    value = reading.canary
    if value is None:
        if reading.trouble:
            return _silent(check, f"{name}: no value: {reading.trouble}", beyond=False, passes=False)
        said = f"{name}: no value: the query has no answer"
        return _silent(check, said, beyond=check.no_data == "fail", passes=check.no_data == "pass")
    limits = [] if check.max is None else [check.max]
    if check.over_stable is not None and control:
        if reading.stable is None:
            return _silent(check, f"{name}: {value:g}, but no value for stable", beyond=False, passes=False)
        limits.append(check.over_stable.ratio * reading.stable + check.over_stable.margin)
    low = check.min is not None and value < check.min
    high = bool(limits) and value > min(limits)
    bounds = [f"at most {min(limits):g}"] if limits else []
    bounds += [] if check.min is None else [f"at least {check.min:g}"]
    good = " and ".join(bounds) or "not compared at the last step: stable has no traffic"
    limit = check.min if low and check.min is not None else min(limits, default=check.min or 0.0)
    text = f"{name}: {value:g}, good is {good}"
    return _Look(name, value, limit, low or high, check.failures, check.action, text, reading.stable)


def _silent(check: CustomCheck, said: str, *, beyond: bool, passes: bool) -> _Look:
    return _Look(
        custom_name(check),
        None,
        0.0,
        beyond,
        check.failures,
        check.action,
        said,
        silent=not passes and not beyond,
        fine=passes,
    )


def _verdict(one: _Look, streak: int) -> Verdict:
    fails = one.beyond and streak >= one.failures and one.action == "rollback"
    message = one.said
    if one.beyond:
        looks = "1 look" if streak == 1 else f"{streak} looks in a row"
        message += f"; {looks}, {one.action} at {one.failures} (a threshold, not a statistic)"
    outcome: Outcome
    reason = ""
    if fails:
        outcome = "fail"
    elif one.beyond or (one.value is None and streak):
        outcome, reason = "unknown", "gate"
    elif one.silent:
        outcome, reason = "unknown", "no-data"
    else:
        outcome = "pass" if one.value is not None else "unmeasured"
    return Verdict(
        check=one.name,
        outcome=outcome,
        reason=reason,
        value=None if one.value is None else round(one.value, 8),
        limit=None if one.value is None else round(one.limit, 8),
        stable=None if one.stable is None else round(one.stable, 8),
        message=message,
    )
