"""What people read of the judge: per check the counts of both versions, what is tolerated, how sure we are, what lacks.

Nothing is decided here; `judge.opinion` and `judge.waiting_for` decide, and the outcomes below follow them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context
from math import ceil, floor, log
from typing import Literal

from rollout.core.checks import Tolerance
from rollout.core.counts import Counts, Tally, plus
from rollout.core.judging import betting, guard, judge
from rollout.core.judging.clumps import Habit, Learned
from rollout.core.judging.evidence import (
    AT_FULL_WEIGHT,
    ERRORS,
    FAIL_FAST,
    LIMIT,
    NO_CONTROL,
    OVER,
    PAST,
    UNDER,
    Evidence,
    against_past,
    against_stable,
    bound_of,
    compared_bounds,
    failed,
    judged_bounds,
    over_limit,
    slow_of,
    spelled,
)
from rollout.core.judging.judge import Opinion
from rollout.core.policy import PolicySpec
from rollout.core.quantities import Model, format_share

Outcome = Literal["pass", "fail", "unknown", "unmeasured"]
_NEVER = 1e9
"""More requests than this are not worth waiting for."""
_UNCOUNTABLE = 1e12
"""Evidence from here on is beyond imagination."""
_FOUR_DIGITS = Context(prec=4, rounding=ROUND_FLOOR)


def odds(evidence: float) -> str:
    """Evidence as a number that a person can say, never more than it is: 3.4, 99, 1,200, `10^12 or more`."""
    if evidence >= _UNCOUNTABLE:
        return "10^12 or more"
    return f"{floor(evidence * 10) / 10:g}" if evidence < 10 else f"{floor(evidence):,}"


def shortened(evidence: float) -> float:
    """Evidence to four digits, never more than it is: 99.999 has not convicted."""
    return float(_FOUR_DIGITS.create_decimal_from_float(min(evidence, betting.MOST)))


class Verdict(Model):
    """What one check says, with everything a person needs to believe it."""

    check: str
    outcome: Outcome
    reason: str = ""
    """Why it is unknown: low-data, no-data, no-bucket, warming-up, stable-too, suspect, unproven, gate."""
    value: float | None = None
    """The canary's share of bad requests in this step (traffic: its share of the requests; a gate: its value)."""
    limit: float | None = None
    """What `value` is held against."""
    bad: int = 0
    requests: int = 0
    stable: float | None = None
    """Stable's share of bad requests in the same time."""
    stable_bad: int = 0
    stable_requests: int = 0
    evidence: float = 0.0
    """Against the canary, over the whole release: up to 1 is none, `convicts` rolls back."""
    convicts: float = 0.0
    proof: float = 0.0
    """For the canary, in this step: from 1 / `judge.proof.risk` on, it is proven not to be worse than the margin."""
    needs: int | None = None
    """Further requests of the canary until this check decides, at these rates; None where none are in sight."""
    message: str = ""
    """The same in one sentence."""


@dataclass(frozen=True, slots=True)
class _Account:
    """One check before it is put into words."""

    check: str
    canary: tuple[int, int]
    """(bad, all) in this step."""
    stable: tuple[int, int]
    limit: float
    what: str
    against: Literal["stable", "limit", "past"]
    evidence: float
    proof: float = 0.0
    needs: int | None = None
    guarded: bool = False
    """The evidence is the guard's, which asks for a control and does not convict."""
    stirs: bool = False
    """Something is wrong at the last step, or only just begins to be."""


def verdicts(
    evidence: Evidence, found: Opinion, policy: PolicySpec, learned: Learned, weight: int
) -> tuple[Verdict, ...]:
    """Where each check stands at this weight, the worst first."""
    shown = plus(evidence.step, evidence.straddled)
    facts = (*_accounts(evidence, shown, policy, learned, weight),)
    listed = [_verdict(one, evidence, found, policy, weight) for one in facts]
    listed += _missing(shown, policy, learned)
    if found.check in {FAIL_FAST, AT_FULL_WEIGHT}:
        listed.append(_beside(found.check, evidence, found, policy))
    elif found.check and not any(
        found.check in _names(verdict.check) and verdict.value is not None for verdict in listed
    ):
        listed = [verdict for verdict in listed if verdict.check != found.check]
        listed.append(_carried(found, evidence, policy))
    return tuple(sorted(listed, key=_worst_first))


def _worst_first(verdict: Verdict) -> tuple[int, float]:
    return {"fail": 0, "unknown": 1, "pass": 2, "unmeasured": 3}[verdict.outcome], -verdict.evidence


def _accounts(
    evidence: Evidence, shown: Tally, policy: PolicySpec, learned: Learned, weight: int
) -> Iterator[_Account]:
    parts, errors, latency = judge.parts_of(evidence, policy, learned), policy.checks.errors, policy.checks.latency
    guarded = guard.parts_of(evidence, policy, learned) if weight > NO_CONTROL else {}
    canary, stable = failed(shown), (shown.stable.errors, shown.stable.requests)
    bounds = compared_bounds(policy, learned)
    if weight <= NO_CONTROL:
        margins = policy.judge.proof
        yield _comparison(
            ERRORS, canary, stable, "failed", errors.over_stable, margins.errors, learned.errors,
            evidence, parts[ERRORS], policy,
        )  # fmt: skip
        for bound in bounds:
            if shown.canary.slower_than(bound) is not None:
                check = against_stable(bound)
                yield _comparison(
                    check, slow_of(shown.canary, bound), slow_of(shown.stable, bound), _slower(bound),
                    latency.over_stable, margins.latency, learned.habit_at(bound), evidence, parts[check], policy,
                )  # fmt: skip
    else:
        limit = guard.limit_of(PAST, evidence, learned)
        stirs = judge.is_stirred(evidence, policy, learned)
        yield _Account(PAST, canary, stable, limit, "failed", "past", guarded[PAST], guarded=True, stirs=stirs)
        for bound in bounds:
            if shown.canary.slower_than(bound) is not None:
                check = against_past(bound)
                limit = guard.limit_of(check, evidence, learned)
                slow = slow_of(shown.canary, bound)
                beside = slow_of(shown.stable, bound)
                yield _Account(check, slow, beside, limit, _slower(bound), "past", guarded[check], guarded=True)
    weighed = guarded.get(LIMIT, parts[LIMIT])
    yield _Account(LIMIT, canary, stable, errors.max, "failed", "limit", weighed, guarded=bool(guarded))
    for objective in latency.objectives:
        bound = objective.bound_ms
        if shown.canary.slower_than(bound) is not None:
            slow = slow_of(shown.canary, bound)
            check = over_limit(bound)
            yield _Account(
                check, slow, slow_of(shown.stable, bound), objective.max, _slower(bound), "limit", parts[check]
            )
    arrived = _arrived(shown.canary) + shown.lost
    yield _Account(
        "traffic",
        (arrived, arrived + _arrived(shown.stable)),
        (0, 0),
        weight / 100,
        "went to the canary",
        "limit",
        parts[UNDER] + parts[OVER],
    )


def _arrived(counts: Counts) -> int:
    return counts.requests + counts.disconnects


def _slower(bound: float) -> str:
    return f"took longer than {spelled(bound)}"


def _comparison(
    check: str,
    canary: tuple[int, int],
    stable: tuple[int, int],
    what: str,
    tolerance: Tolerance,
    margin: Tolerance,
    habit: Habit,
    evidence: Evidence,
    part: float,
    policy: PolicySpec,
) -> _Account:
    proof = betting.mean_of(evidence.proof.get(check, ()))
    needs = _needs(canary, stable, tolerance, margin, habit, (part, proof), evidence, policy)
    return _Account(check, canary, stable, tolerance.of(_share(*stable)), what, "stable", part, proof, needs)


def _needs(
    canary: tuple[int, int],
    stable: tuple[int, int],
    tolerance: Tolerance,
    margin: Tolerance,
    habit: Habit,
    now: tuple[float, float],
    evidence: Evidence,
    policy: PolicySpec,
) -> int | None:
    """How many more requests until conviction, or proof, if both versions go on at the rates of this step."""
    (bad, n), (others_bad, others) = canary, stable
    if not n or not others:
        return None
    blocks = max(1.0, evidence.looks * evidence.last / policy.block_s)
    m = habit.dispersion(n / blocks * max(tolerance.of(habit.rate), bad / n))
    others_m = habit.dispersion(others / blocks * max(habit.rate, others_bad / others))
    part, proof = now
    if part * policy.judge.false_rollback >= 1 or proof * policy.judge.proof.risk >= 1:
        return 0
    if bad / n > tolerance.of(others_bad / others):
        pays = max(
            betting.comparison(
                bad, n, m, others_bad, others, others_m, tolerance.ratio, tolerance.margin, judge.ERROR_BETS
            )
        )
        lacks = log(1 / (policy.judge.false_rollback * max(part, 1e-3)))
    else:
        pays = max(
            betting.not_worse(bad, n, m, others_bad, others, others_m, margin.ratio, margin.margin, judge.PROOF_BETS)
        )
        lacks = log(len(judge.PROOF_BETS) / (policy.judge.proof.risk * max(proof, 1e-3)))
    return ceil(max(0.0, lacks) / pays * n) if pays > 0 and lacks / pays * n < _NEVER else None


def _verdict(account: _Account, evidence: Evidence, found: Opinion, policy: PolicySpec, weight: int) -> Verdict:
    told = _told(account, found, policy, *_outcome(account, evidence, found, policy, weight))
    if told.reason != "low-data":
        return told
    # The counts that are shown hold requests from before the weight changed; those do not help to pass.
    so_far = evidence.step.canary.requests + evidence.step.lost
    return told.model_copy(update={"message": f"{told.message}, {so_far:,} so far"})


def _told(account: _Account, found: Opinion, policy: PolicySpec, outcome: Outcome, reason: str) -> Verdict:
    (bad, n), (others_bad, others) = account.canary, account.stable
    said = found.evidence if outcome == "fail" else account.evidence
    stable = None if account.check == "traffic" or not others else round(_share(others_bad, others), 8)
    verdict = Verdict(
        check=account.check,
        outcome=outcome,
        reason=reason,
        value=round(_share(bad, n), 8),
        limit=round(account.limit, 8),
        bad=bad,
        requests=n,
        stable=stable,
        stable_bad=others_bad,
        stable_requests=others,
        evidence=shortened(said),
        convicts=guard.ALARM if account.guarded else found.convicts,
        proof=shortened(account.proof),
        needs=account.needs,
    )
    return verdict.model_copy(update={"message": _sentence(verdict, account, found, policy)})


def _names(check: str) -> tuple[str, ...]:
    """The names that a verdict has in the evidence."""
    return (UNDER, OVER) if check == "traffic" else (check,)


def _outcome(
    account: _Account, evidence: Evidence, found: Opinion, policy: PolicySpec, weight: int
) -> tuple[Outcome, str]:
    named = found.check in _names(account.check)
    if named and found.kind == "guilty":
        return "fail", ""
    latency = account.check.startswith("latency")
    unseen = latency and evidence.step.canary.slower_than(bound_of(account.check)) is None
    warm = evidence.seconds >= policy.judge.warm_up.total_seconds()
    unproven = policy.judge.unproven == "hold" and weight <= NO_CONTROL and account.against == "stable"
    step = evidence.step.canary.requests + evidence.step.lost
    heavy = found.kind not in {"open", "proven"} and account.evidence >= judge.suspicion(policy)
    reasons = (
        ("suspect", named or account.stirs or heavy),
        ("low-data", step < policy.checks.min_requests),
        ("stable-too", account.check in evidence.suspended),
        ("warming-up", latency and not warm),
        ("no-bucket" if evidence.step.canary.timed else "no-data", unseen),
        ("unproven", unproven and account.proof < 1 / policy.judge.proof.risk),
    )
    return next((("unknown", reason) for reason, holds in reasons if holds), ("pass", ""))


def _missing(shown: Tally, policy: PolicySpec, learned: Learned) -> list[Verdict]:
    return [
        Verdict(
            check=over_limit(bound),
            outcome="unknown",
            reason="no-bucket" if shown.canary.timed else "no-data",
            message=f"latency: the canary has no histogram bucket at {spelled(bound)} yet",
        )
        for bound in judged_bounds(policy, learned)
        if shown.canary.slower_than(bound) is None
    ]


def _beside(check: str, evidence: Evidence, found: Opinion, policy: PolicySpec) -> Verdict:
    """The verdict of what convicts without the statistics: the hard limit, and what fails only at full weight."""
    if check == FAIL_FAST:
        n, bad, others, others_bad = evidence.streak
        limit = policy.checks.errors.fail_fast
        share = _share(bad, n)
        message = (
            f"errors: fail fast: {bad:,} of the last {n:,} requests failed ({share:.1%}), stable's "
            f"{others_bad:,} of {others:,}; the hard limit is {format_share(limit.max)} of {limit.requests:,}"
        )
        return Verdict(
            check=check, outcome="fail", value=round(share, 8), limit=limit.max, bad=bad, requests=n,
            stable=round(_share(others_bad, others), 8), stable_bad=others_bad, stable_requests=others,
            evidence=shortened(found.evidence), convicts=found.convicts, message=message,
        )  # fmt: skip
    message = (
        f"last step: {evidence.strikes} alarms at full weight that vanished when stable had traffic again, "
        "and stable was well: it fails only at full weight"
    )
    return Verdict(check=check, outcome="fail", value=evidence.strikes, limit=guard.STRIKES, message=message)


def _carried(found: Opinion, evidence: Evidence, policy: PolicySpec) -> Verdict:
    """The verdict of a check that this step cannot show any more, with the counts of the whole release."""
    whole = plus(evidence.before, plus(evidence.step, evidence.straddled))
    canary, stable = failed(whole), (whole.stable.errors, whole.stable.requests)
    tolerance, what = policy.checks.errors.over_stable, "failed"
    if found.check.startswith("latency"):
        bound = bound_of(found.check)
        canary, stable = slow_of(whole.canary, bound), slow_of(whole.stable, bound)
        tolerance, what = policy.checks.latency.over_stable, _slower(bound)
    limit = tolerance.of(_share(*stable))
    account = _Account(found.check, canary, stable, limit, what, "stable", found.evidence)
    outcome: Outcome = "fail" if found.kind == "guilty" else "unknown"
    verdict = _told(account, found, policy, outcome, "" if outcome == "fail" else "suspect")
    return verdict.model_copy(update={"message": f"{verdict.message}; counted over the whole release"})


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _sentence(verdict: Verdict, account: _Account, found: Opinion, policy: PolicySpec) -> str:
    share = f"{verdict.bad:,} of {verdict.requests:,} requests {account.what} ({verdict.value or 0:.2%})"
    beside = f"stable {verdict.stable_bad:,} of {verdict.stable_requests:,} ({verdict.stable or 0:.2%})"
    if verdict.check == "traffic":
        held = f"its weight is {account.limit:.0%}"
    elif account.against == "stable":
        held = f"{beside} allows {account.limit:.2%}"
    elif account.against == "past":
        held = f"no control is left; stable's past allows {account.limit:.2%}"
    else:
        held = f"the limit is {format_share(round(account.limit, 6))}"
    return f"{verdict.check}: {share}, {held}{_conclusion(verdict, account, found, policy)}"


def _conclusion(verdict: Verdict, account: _Account, found: Opinion, policy: PolicySpec) -> str:
    chance = f"by chance at most once in {odds(verdict.evidence)} (rolls back at {verdict.convicts:,.0f})"
    more = "" if verdict.needs is None else f", about {verdict.needs:,} more requests"
    if verdict.outcome == "fail":
        return f"; {chance}"
    weighed = f"evidence {odds(verdict.evidence)} of {verdict.convicts:,.0f}"
    # Where the release is convicted nothing is left to prove, by this check or another.
    settled = found.kind == "guilty" or verdict.evidence >= verdict.convicts
    doubted = weighed if settled else f"not proven yet, {weighed}{more}"
    said = {
        "suspect": f"{weighed}, to ask for a control" if account.guarded else doubted,
        "no-data": "waiting for a histogram that began at this weight",
        "no-bucket": "its histogram has had no such bucket at this weight yet",
        "low-data": f"waiting for {policy.checks.min_requests:,} requests that began at this weight",
        "stable-too": "stable breaks it too, so nothing is held against the canary and nothing advances",
        "warming-up": "not judged while the canary warms up",
        "unproven": f"not proven to be within the margin yet{more}",
    }
    return f"; {said[verdict.reason]}" if verdict.reason in said else ""


def fails(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The check that convicts; the one with the most evidence if there are several."""
    failed = [verdict for verdict in verdicts if verdict.outcome == "fail"]
    return max(failed, key=lambda verdict: verdict.evidence, default=None)
