"""What people read of the judge: it says the same as what is decided, with numbers that are those of the traffic."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.counts import Counts, Slow, Tally, plus
from rollout.core.judging import guard, judge
from rollout.core.judging.clumps import Learned
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
    Interval,
    against_past,
    against_stable,
    next_step,
    over_limit,
)
from rollout.core.judging.judge import Opinion
from rollout.core.judging.verdicts import Verdict, fails, odds, shortened, verdicts
from rollout.core.policy import PolicySpec
from tests import given as build

LEARNED = Learned()
BOUND = 500.0
SLOW = against_stable(BOUND)


def policy(judge: dict[str, Any] | None = None, **checks: Any) -> PolicySpec:
    """Latency compared and limited at 500 ms, five requests are enough; fail fast only where asked for."""
    parts: dict[str, Any] = {
        "minRequests": 5,
        "latency": {"compare": ["500ms"], "objectives": ["p90 < 500ms"]},
        "errors": {"failFast": {"enabled": False}},
    }
    return build.policy(checks={**parts, **checks}, judge=build.JUDGE | (judge or {}))


def version(requests: int, errors: int = 0, slow: int | None = 0) -> Counts:
    """`slow` None: its histogram has no such bucket."""
    timed = () if slow is None else (Slow(bound=BOUND, requests=slow, timed=requests),)
    return Counts(requests=requests, errors=errors, timed=requests, slow=timed)


def interval(canary: Counts, stable: Counts, weight: int = 10, *, first: bool = False, lost: int = 0) -> Interval:
    tally = Tally(canary=canary, stable=stable, lost=lost)
    return Interval(tally=tally, weight=weight, seconds=5.0, settling=first, straddles=first)


class Case:
    """A release before the judge: `look` after every interval, `read` what stands there."""

    def __init__(self, by: PolicySpec | None = None, evidence: Evidence | None = None) -> None:
        self.policy = by or policy()
        self.evidence = evidence or Evidence()
        self.weight = 10

    def __repr__(self) -> str:
        return f"Case at {self.weight} %: {self.opinion}, held for {self.held_for!r}, {self.evidence}"

    def look(self, *intervals: Interval) -> "Case":
        for one in intervals:
            self.weight = one.weight
            self.evidence = judge.look(self.evidence, one, self.policy, LEARNED)
        return self

    @property
    def opinion(self) -> Opinion:
        return judge.opinion(self.evidence, self.policy, LEARNED, self.weight)

    @property
    def held_for(self) -> str:
        return judge.waiting_for(self.evidence, self.opinion, self.policy, LEARNED, self.weight)

    def listed(self) -> tuple[Verdict, ...]:
        return verdicts(self.evidence, self.opinion, self.policy, LEARNED, self.weight)

    def read(self, check: str) -> Verdict:
        (verdict,) = [one for one in self.listed() if one.check == check]
        return verdict


GOOD = interval(version(100), version(900))
BAD = interval(version(100, 40), version(900))


# --- What is read is what is decided ---


@st.composite
def _counts(draw: st.DrawFn, most: int) -> Counts:
    requests = draw(st.integers(0, most))
    share = draw(st.sampled_from((0, 0, 0, 2, 4, 1)))
    bad = requests // share if share else 0
    return version(requests, bad, draw(st.sampled_from((0, 0, bad, None))))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Some steps of some looks each, with a retreat now and then, under some policy."""
    by = policy(
        judge={
            "warmUp": draw(st.sampled_from(("0s", "12s"))),
            "unproven": draw(st.sampled_from(("advance", "hold"))),
            "falseRollback": draw(st.sampled_from(("1%", "20%"))),
        },
        minRequests=draw(st.sampled_from((1, 50))),
        errors={"failFast": {"enabled": draw(st.booleans())}},
    )
    case = Case(by)
    for weight in draw(st.lists(st.sampled_from((10, 30, 100)), min_size=1, max_size=4)):
        case.evidence, case.weight = next_step(case.evidence), weight
        for _ in range(draw(st.integers(0, 5))):
            # While the weight arrives, scrapes bring requests from before it, at the last step too.
            first = draw(st.booleans()) and not case.evidence.step.canary.requests
            canary, stable = draw(_counts(30 * weight)), draw(_counts(30 * (100 - (weight // 2 if first else weight))))
            case.look(interval(canary, stable, weight, first=first, lost=draw(st.sampled_from((0, 0, 20)))))
            found = case.opinion
            if found.kind == "alarm" and draw(st.booleans()):
                case.evidence = next_step(guard.retreat(case.evidence, found.check, by, LEARNED))
                case.weight = 10
                break
    return case


many = settings(
    derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck)
)


@many
@given(cases())
def test_a_check_fails_exactly_where_the_judge_convicts(case: Case) -> None:
    failed = fails(case.listed())
    assert (failed is not None) == (case.opinion.kind == "guilty")
    if failed is not None:
        assert case.opinion.check.startswith(failed.check)


@many
@given(cases())
def test_every_check_passes_exactly_where_nothing_is_waited_for(case: Case) -> None:
    open_or_failed = [verdict for verdict in case.listed() if verdict.outcome != "pass"]
    assert bool(open_or_failed) == bool(case.held_for)


@many
@given(cases())
def test_a_suspicion_is_named(case: Case) -> None:
    if case.opinion.kind in {"suspect", "alarm"}:
        named = [one for one in case.listed() if case.opinion.check.startswith(one.check) and one.reason == "suspect"]
        assert named


@many
@given(cases())
def test_every_verdict_is_sane(case: Case) -> None:
    listed = case.listed()
    shown = plus(case.evidence.step, case.evidence.straddled)
    assert len({one.check for one in listed}) == len(listed)
    worst_first = ["fail", "unknown", "pass"]
    assert [one.outcome for one in listed] == sorted((one.outcome for one in listed), key=worst_first.index)
    for one in listed:
        assert one.message
        assert (one.outcome == "unknown") == bool(one.reason)
        assert math.isfinite(one.evidence)
        assert math.isfinite(one.proof)
        assert one.evidence >= 0
        assert one.proof >= 0
        assert one.needs is None or one.needs >= 0
        assert Verdict.model_validate(one.wire()) == one
        if one.check not in {FAIL_FAST, AT_FULL_WEIGHT, "traffic"} and one.value is not None:
            assert 0 <= one.bad <= one.requests <= shown.canary.requests + shown.lost
            assert 0 <= one.stable_bad <= one.stable_requests <= shown.stable.requests
            assert one.value == pytest.approx(one.bad / one.requests if one.requests else 0, abs=1e-8)
            assert one.limit is not None
            assert 0 <= one.limit <= 1
    if case.weight <= NO_CONTROL:
        assert sum(one.evidence for one in listed if one.outcome != "fail") <= case.opinion.evidence * 1.001


@pytest.mark.parametrize("weight", [10, 100])
@pytest.mark.parametrize("check", [ERRORS, SLOW, LIMIT, over_limit(BOUND), UNDER, OVER])
def test_whatever_convicts_is_listed_although_nothing_is_counted_for_it_here(check: str, weight: int) -> None:
    """The evidence is the release's: this step may have no control left, or no such bucket yet."""
    weighs = judge.weights_of(policy(), LEARNED)[check]
    seen = Tally(canary=version(100, slow=None), stable=version(900 if weight < 100 else 0))
    for total, kind, outcome in ((200.0, "guilty", "fail"), (50.0, "suspect", "unknown")):
        case = Case(evidence=Evidence(processes={check: (0.0, total / weighs)}, straddled=seen, seconds=60.0, looks=1))
        case.weight = weight
        assert (case.opinion.kind, case.opinion.check) == (kind, check)
        assert outcome in {one.outcome for one in case.listed() if check.startswith(one.check)}
        assert (fails(case.listed()) is not None) == (kind == "guilty")


def test_a_bound_that_only_the_interval_of_the_change_had_is_said_to_lack() -> None:
    arriving, arrived = interval(version(50), version(450), first=True), interval(version(50, slow=None), version(450))
    case = Case().look(arriving, arrived)
    assert case.held_for
    assert {one.check for one in case.listed() if one.outcome == "unknown"} == {SLOW, over_limit(BOUND)}


# --- Which checks there are, and their numbers ---


def test_beside_a_control_each_check_is_listed_once_and_all_pass() -> None:
    case = Case().look(GOOD)
    assert {(one.check, one.outcome) for one in case.listed()} == {
        (check, "pass") for check in (ERRORS, LIMIT, SLOW, over_limit(BOUND), "traffic")
    }


def test_at_the_last_step_the_past_takes_the_place_of_the_control() -> None:
    case = Case(evidence=next_step(Case().look(GOOD).evidence)).look(interval(version(1000, 2), version(0), 100))
    assert {one.check for one in case.listed()} == {PAST, LIMIT, against_past(BOUND), over_limit(BOUND), "traffic"}
    past = case.read(PAST)
    assert (past.bad, past.requests, past.stable) == (2, 1000, None)
    assert past.convicts == guard.ALARM
    assert past.limit == pytest.approx(guard.limit_of(PAST, case.evidence, LEARNED))


def test_the_numbers_are_those_of_the_step_and_of_the_interval_that_it_began_in() -> None:
    case = Case(evidence=next_step(Case().look(BAD).evidence))
    case.look(interval(version(10, 1), version(90), first=True), interval(version(30, 0), version(270, 1)))
    errors = case.read(ERRORS)
    assert (errors.bad, errors.requests, errors.value) == (1, 40, 0.025)
    assert (errors.stable_bad, errors.stable_requests) == (1, 360)
    assert errors.limit == pytest.approx(1.25 / 360 + 0.0005, abs=1e-8)


def test_lost_requests_are_the_canarys_failures() -> None:
    errors = Case().look(interval(version(40), version(360), lost=10)).read(LIMIT)
    assert (errors.bad, errors.requests, errors.value) == (10, 50, 0.2)


def test_the_traffic_is_told_as_its_share_beside_its_weight() -> None:
    traffic = Case().look(interval(version(40), version(160), lost=10)).read("traffic")
    assert (traffic.bad, traffic.requests, traffic.limit) == (50, 210, 0.1)
    assert traffic.stable is None


def test_an_objective_is_held_against_its_limit_alone() -> None:
    slow = Case().look(interval(version(100, 0, 5), version(900, 0, 9))).read(over_limit(BOUND))
    assert (slow.bad, slow.value, slow.limit, slow.stable) == (5, 0.05, 0.1, 0.01)


@pytest.mark.parametrize(
    ("canary", "reason"),
    [(version(100, slow=None), "no-bucket"), (Counts(requests=100), "no-data")],
)
def test_a_bound_that_the_canary_was_not_timed_at_is_told(canary: Counts, reason: str) -> None:
    verdict = Case().look(interval(canary, version(900))).read(over_limit(BOUND))
    assert (verdict.outcome, verdict.reason) == ("unknown", reason)


# --- Why it is unknown ---


def test_few_requests_are_low_data_however_good() -> None:
    by = policy(minRequests=101)
    assert {one.reason for one in Case(by).look(GOOD).listed()} == {"low-data"}
    assert {one.reason for one in Case(by).look(GOOD, GOOD).listed()} == {""}


def test_the_interval_that_a_step_began_in_is_no_data_for_it() -> None:
    case = Case().look(interval(version(100), version(900), first=True))
    assert {one.reason for one in case.listed()} == {"low-data"}
    assert case.read(ERRORS).requests == 100


def test_latency_waits_for_the_warm_up_and_errors_do_not() -> None:
    case = Case(policy(judge={"warmUp": "12s"})).look(GOOD, GOOD)
    assert {one.check for one in case.listed() if one.reason == "warming-up"} == {SLOW, over_limit(BOUND)}
    assert case.read(ERRORS).outcome == "pass"
    assert {one.outcome for one in case.look(GOOD).listed()} == {"pass"}


def test_a_limit_that_stable_breaks_too_is_held_against_nobody() -> None:
    incident = interval(version(100, 30, 30), version(900, 270, 270))
    case = Case().look(incident)
    assert {one.check for one in case.listed() if one.reason == "stable-too"} == {LIMIT, over_limit(BOUND)}
    assert fails(case.listed()) is None


def test_a_step_that_must_be_proven_says_what_lacks() -> None:
    by = policy(judge={"unproven": "hold"})
    case = Case(by).look(GOOD)
    assert case.read(ERRORS).reason == "unproven"
    needs = case.read(ERRORS).needs
    assert needs is not None
    looks = 1
    while case.held_for and looks < 100:
        case.look(GOOD)
        looks += 1
    assert case.read(ERRORS).outcome == "pass"
    assert case.read(ERRORS).proof >= 1 / by.judge.proof.risk
    assert case.read(ERRORS).needs == 0


# --- How much is lacking ---


def test_what_was_foretold_is_about_what_it_takes_to_prove() -> None:
    case = Case(policy(latency={"compare": []})).look(GOOD, GOOD)
    foretold = case.read(ERRORS).needs
    assert foretold
    before = case.read(ERRORS).requests
    for _ in range(200):
        if case.opinion.kind == "proven":
            break
        case.look(GOOD)
    took = case.read(ERRORS).requests - before
    assert foretold / 3 <= took <= 3 * foretold


def test_what_was_foretold_is_about_what_it_takes_to_convict() -> None:
    worse = interval(version(100, 3), version(900, 1))
    case = Case(policy(latency={"compare": []}, errors={"max": "50%"})).look(worse, worse)
    foretold = case.read(ERRORS).needs
    assert foretold
    before = case.read(ERRORS).requests
    for _ in range(200):
        if case.opinion.kind == "guilty":
            break
        case.look(worse)
    took = case.read(ERRORS).requests - before
    assert foretold / 4 <= took <= 4 * foretold


def test_nothing_is_foretold_without_requests_or_where_nothing_is_in_sight() -> None:
    assert Case().look(interval(version(0), version(900))).read(ERRORS).needs is None
    assert Case().look(interval(version(100), version(0))).read(ERRORS).needs is None
    # Worse than the margin of a promotion, but tolerable: neither proof nor conviction will come.
    between = policy(judge={"proof": {"errors": {"ratio": 1, "margin": "0%"}}}, errors={"max": "50%"})
    assert Case(between).look(interval(version(100, 2), version(900, 17))).read(ERRORS).needs is None


# --- What convicts beside the statistics ---


def test_the_hard_limit_convicts_with_its_own_numbers() -> None:
    case = Case(policy(errors={"failFast": {"enabled": True}})).look(interval(version(60, 57), version(540, 3)))
    failed = fails(case.listed())
    assert failed is not None
    assert (failed.check, failed.bad, failed.requests, failed.limit) == (FAIL_FAST, 57, 60, 0.9)
    assert (failed.stable_bad, failed.stable_requests) == (3, 540)


def test_what_fails_only_at_full_weight_is_told_so() -> None:
    case = Case(evidence=Evidence(strikes=guard.STRIKES)).look(GOOD)
    failed = fails(case.listed())
    assert failed is not None
    assert (failed.check, failed.value, failed.limit) == (AT_FULL_WEIGHT, 2.0, 2.0)


def test_of_several_that_fail_the_one_with_the_most_evidence_is_named() -> None:
    one = Verdict(check="custom carts", outcome="fail")
    other = Verdict(check=ERRORS, outcome="fail", evidence=120.0)
    assert fails((one, other)) is other
    assert fails((Verdict(check=ERRORS, outcome="pass", evidence=500.0),)) is None


@given(st.floats(min_value=0, max_value=1e14))
def test_evidence_is_never_told_as_more_than_it_is(evidence: float) -> None:
    assert 0.999 * evidence <= shortened(evidence) <= evidence
    if evidence < 1e12:
        assert float(odds(evidence).replace(",", "")) <= evidence


def test_evidence_that_has_not_convicted_never_reads_as_if_it_had() -> None:
    assert (odds(99.9999), shortened(99.9999)) == ("99", 99.99)
    assert odds(1e12) == odds(1e200)


def test_a_check_that_waits_for_requests_says_how_many_there_are() -> None:
    before, since = interval(version(9), version(90), first=True), interval(version(7), version(90))
    few = Case(policy(minRequests=50)).look(before, since)
    assert (few.read(ERRORS).reason, few.read(ERRORS).message.rpartition(", ")[2]) == ("low-data", "7 so far")


@pytest.mark.parametrize(
    ("looks", "found", "unproven"),
    [(2, ("suspect", ERRORS), True), (2, ("guilty", UNDER), False), (3, ("suspect", ERRORS), False)],
)
def test_what_is_convicted_is_not_called_unproven(looks: int, found: Any, *, unproven: bool) -> None:
    case = Case().look(*[interval(version(100, 8), version(900))] * looks)
    listed = verdicts(case.evidence, Opinion(20.0, 100.0, *found), case.policy, LEARNED, 10)
    assert [(one.reason, "not proven" in one.message) for one in listed if one.check == ERRORS] == [
        ("suspect", unproven)
    ]
