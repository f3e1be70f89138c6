"""The judge: what convicts, what passes, and that every outcome has its reason. Its bets are in test_bets.py."""

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core import judge
from rollout.core.counts import Counts, Slow, Tally
from rollout.core.judge import Evidence, Interval, Verdict, checks_of, look
from rollout.core.policy import PolicySpec, Step


def policy(**checks: Any) -> PolicySpec:
    fields: dict[str, Any] = {"min_requests": 50, **checks}
    steps = tuple(Step(weight=weight, hold=timedelta(seconds=10)) for weight in (10, 50, 100))
    return PolicySpec.model_validate({"steps": steps, "checks": fields})


def version(
    requests: int, errors: int = 0, slow: int | None = 0, *, timed: int | None = None, bounded: int | None = None
) -> Counts:
    """Requests of which `slow` took longer than each default bound; None for a histogram without buckets.

    `timed` of them are in a histogram and `bounded` in one that has these bounds; all, unless told otherwise.
    """
    timed = requests if timed is None else timed
    bounded = timed if bounded is None else bounded
    bounds = () if slow is None else (100.0, 500.0, 2500.0)
    return Counts(
        requests=requests,
        errors=errors,
        timed=timed,
        slow=tuple(Slow(bound=bound, requests=slow or 0, timed=bounded) for bound in bounds),
    )


def interval(canary: Counts, stable: Counts, weight: int = 10, *, lost: int = 0, **flags: bool) -> Interval:
    return Interval(Tally(canary=canary, stable=stable, lost=lost), weight, **flags)


def judged(*intervals: Interval, by: PolicySpec | None = None) -> dict[str, Verdict]:
    evidence = Evidence()
    verdicts: tuple[Verdict, ...] = ()
    for one in intervals:
        evidence, verdicts = look(evidence, one, by or policy())
    return {verdict.check: verdict for verdict in verdicts}


def test_the_budget_is_divided_over_every_check_of_every_step() -> None:
    one = policy()
    names = judged(interval(version(100), version(900)), by=one)
    assert checks_of(one) == 3 * len(names)
    more = policy(latency={"objectives": ["p99 < 500ms"]})
    assert checks_of(more) == checks_of(one) + 3
    assert all(verdict.convicts == checks_of(one) / judge.FALSE_ROLLBACK for verdict in names.values())


# --- More evidence of harm never helps the canary ---

few = st.integers(0, 60)


@given(few, few, few, few, st.integers(1, 20), st.sampled_from([1, 10, 50, 100]))
def test_more_failures_of_the_canary_never_lower_the_evidence(
    bad: int, good: int, rival_bad: int, rival_good: int, more: int, weight: int
) -> None:
    requests, stable = bad + good + more, version(rival_bad + rival_good, rival_bad, rival_bad)
    before = judged(interval(version(requests, bad, bad), stable, weight))
    after = judged(interval(version(requests, bad + more, bad + more), stable, weight))
    assert before.keys() == after.keys()
    assert all(after[check].evidence >= before[check].evidence for check in before)


@given(few, few, few, few, st.integers(1, 20))
def test_more_failures_of_stable_never_raise_the_evidence(
    bad: int, good: int, rival_bad: int, rival_good: int, more: int
) -> None:
    canary, rivals = version(bad + good, bad, bad), rival_bad + rival_good + more
    before = judged(interval(canary, version(rivals, rival_bad, rival_bad)))
    after = judged(interval(canary, version(rivals, rival_bad + more, rival_bad + more)))
    # A limit that stable breaks too is not bet on: no evidence is 1, even where there was some for the canary.
    assert all(after[check].evidence <= max(1.0, before[check].evidence) for check in before)


@given(few, few, st.integers(0, 200))
def test_lost_requests_count_against_the_canary(bad: int, good: int, lost: int) -> None:
    without = judged(interval(version(bad + good, bad), version(900)))
    with_lost = judged(interval(version(bad + good, bad), version(900), lost=lost))
    assert with_lost["errors"].bad == bad + lost
    assert with_lost["errors"].requests == bad + good + lost
    # They count as requests too, so a few of them are no more evidence than the limit allows.
    assert with_lost["errors"].evidence >= without["errors"].evidence


# --- Outcomes and reasons ---


def test_a_healthy_canary_passes_every_check() -> None:
    verdicts = judged(interval(version(100, 0, 1), version(900, 0, 9)))
    assert {verdict.outcome for verdict in verdicts.values()} == {"pass"}
    assert set(verdicts) == {
        "errors",
        "errors vs stable",
        "latency 100ms vs stable",
        "latency 500ms vs stable",
        "latency 2s500ms vs stable",
        "traffic",
    }


def test_a_failing_canary_is_convicted_with_its_numbers() -> None:
    verdict = judged(interval(version(100, 30), version(900, 1)))["errors vs stable"]
    assert verdict.outcome == "fail"
    assert (verdict.bad, verdict.requests, verdict.value) == (30, 100, 0.3)
    assert verdict.stable == pytest.approx(1 / 900, abs=1e-8)
    assert verdict.limit == pytest.approx(1.25 / 900 + 0.005, abs=1e-8)
    assert verdict.evidence >= verdict.convicts
    assert verdict.message


def test_evidence_grows_over_intervals_that_convict_nobody_alone() -> None:
    one = interval(version(30, 2), version(270))
    outcomes = [judged(*[one] * looks)["errors vs stable"].outcome for looks in range(1, 9)]
    assert outcomes[0] != "fail"
    assert outcomes[-1] == "fail"


def test_few_requests_are_low_data_however_good() -> None:
    verdicts = judged(interval(version(49), version(441)))
    assert verdicts["errors"].outcome == "unknown"
    assert verdicts["errors"].reason == "low-data"
    assert judged(interval(version(50), version(450)))["errors"].outcome == "pass"


def test_few_requests_do_not_protect_a_dead_canary() -> None:
    assert judged(interval(version(20, 20), version(180)))["errors vs stable"].outcome == "fail"


def test_suspicion_does_not_pass() -> None:
    verdict = judged(interval(version(100, 5), version(900)))["errors vs stable"]
    assert judge.SUSPICION <= verdict.evidence < verdict.convicts
    assert (verdict.outcome, verdict.reason) == ("unknown", "suspect")


def test_a_rate_above_its_limit_does_not_pass_even_without_suspicion() -> None:
    verdict = judged(interval(version(100, 2), version(900)))["errors vs stable"]
    assert verdict.evidence < judge.SUSPICION
    assert (verdict.outcome, verdict.reason) == ("unknown", "above-limit")


def test_the_absolute_limit_convicts_whatever_the_comparison_says() -> None:
    spec = policy(errors={"max": "5%", "overStable": {"ratio": 100.0, "margin": "1%"}})
    verdicts = judged(interval(version(300, 90), version(2700, 27)), by=spec)
    assert verdicts["errors"].outcome == "fail"
    assert verdicts["errors"].stable is None
    assert verdicts["errors vs stable"].outcome == "pass"


def test_a_limit_that_stable_breaks_too_convicts_nobody_and_lets_nobody_pass() -> None:
    spec = policy(errors={"max": "5%"}, latency={"objectives": ["p99 < 500ms"]})
    verdicts = judged(interval(version(300, 90, 60), version(2700, 810, 540)), by=spec)
    for check in ("errors", "latency 500ms"):
        assert (verdicts[check].outcome, verdicts[check].reason) == ("unknown", "stable-too")
        assert verdicts[check].evidence == 1


def test_an_incident_of_both_versions_is_not_held_against_the_canary() -> None:
    spec = policy(errors={"max": "100%"})
    verdicts = judged(interval(version(300, 60), version(2700, 540)), by=spec)
    assert verdicts["errors"].outcome == "pass"
    assert verdicts["errors vs stable"].outcome == "pass"


def test_only_what_stable_did_at_the_same_time_is_compared_with() -> None:
    before = interval(version(0), version(900, 500, 500))
    harm = interval(version(100, 60, 60), version(900))
    for check in ("errors vs stable", "latency 500ms vs stable"):
        alone, after = judged(harm)[check], judged(before, harm)[check]
        assert alone.outcome == after.outcome == "fail"
        assert alone.evidence == after.evidence


def test_a_slow_canary_is_convicted_by_its_latency_alone() -> None:
    verdicts = judged(interval(version(400, 0, 160), version(3600, 0, 720)))
    assert verdicts["latency 500ms vs stable"].outcome == "fail"
    assert verdicts["errors vs stable"].outcome == "pass"


def test_a_latency_objective_convicts_whatever_the_comparison_says() -> None:
    spec = policy(latency={"objectives": ["p99 < 500ms"], "overStable": {"ratio": 100.0, "margin": "1%"}})
    good = judged(interval(version(400, 0, 2), version(3600, 0, 18)), by=spec)
    slow = judged(interval(version(400, 0, 60), version(3600, 0, 18)), by=spec)
    assert good["latency 500ms"].outcome == "pass"
    assert slow["latency 500ms"].outcome == "fail"
    assert slow["latency 500ms vs stable"].outcome == "pass"


def test_a_missing_bucket_is_unknown() -> None:
    spec = policy(latency={"objectives": ["p99 < 500ms"]})
    verdicts = judged(interval(version(100, 0, None), version(900)), by=spec)
    for check in ("latency 100ms", "latency 500ms", "latency 2s500ms"):
        assert (verdicts[check].outcome, verdicts[check].reason) == ("unknown", "no-bucket")


def test_a_missing_histogram_is_unknown() -> None:
    verdicts = judged(interval(version(100, 0, None, timed=0), version(900)))
    for check in ("latency 100ms", "latency 500ms", "latency 2s500ms"):
        assert (verdicts[check].outcome, verdicts[check].reason) == ("unknown", "no-data")


def test_only_requests_timed_by_histograms_with_the_bound_are_judged_at_it() -> None:
    spec = policy(latency={"objectives": ["p99 < 500ms"]})
    few = judged(interval(version(5000, 0, 0, bounded=20), version(45000)), by=spec)["latency 500ms"]
    assert (few.outcome, few.reason, few.requests) == ("unknown", "low-data", 20)
    bad = judged(interval(version(5000, 0, 40, bounded=100), version(45000)), by=spec)["latency 500ms"]
    assert (bad.outcome, bad.bad, bad.requests, bad.value) == ("fail", 40, 100, 0.4)


def test_each_version_is_compared_by_the_share_of_its_own_requests_with_the_bound() -> None:
    # Against all that stable served, the first canary would look a hundred times slower, the second no slower at all.
    known = version(9000, 0, 120, bounded=300)
    alike = judged(interval(version(1000, 0, 120, bounded=300), known))["latency 500ms vs stable"]
    assert (alike.outcome, alike.value, alike.stable) == ("pass", 0.4, 0.4)
    fast = version(9000, 0, 300, bounded=9000)
    worse = judged(interval(version(9000, 0, 300, bounded=300), fast))["latency 500ms vs stable"]
    assert (worse.outcome, worse.value) == ("fail", 1.0)


def test_a_bound_that_stable_does_not_have_convicts_nobody_by_comparison() -> None:
    unknown = judged(interval(version(1000, 0, 500), version(9000, 0, None)))["latency 500ms vs stable"]
    assert (unknown.outcome, unknown.evidence) == ("unknown", 1.0)


def test_a_bound_below_a_millisecond_has_its_own_check() -> None:
    half = timedelta(microseconds=500)
    spec = policy(latency={"objectives": [{"bound": half, "max": "50%"}], "compare": [half]})
    seen = Counts(requests=100, timed=100, slow=(Slow(bound=0.5, requests=10, timed=100),))
    verdicts = judged(interval(seen, seen.model_copy(update={"requests": 900})), by=spec)
    assert verdicts["latency 0.5ms"].outcome == "pass"
    assert verdicts["latency 0.5ms vs stable"].outcome == "pass"


def test_an_interval_without_news_of_a_bucket_keeps_what_is_known() -> None:
    first, quiet = interval(version(100, 0, 3), version(900, 0, 27)), interval(version(0, 0, None), version(0, 0, None))
    spec = policy(latency={"objectives": ["p95 < 500ms"]})
    before, after = judged(first, by=spec), judged(first, quiet, by=spec)
    assert {check: verdict.evidence for check, verdict in after.items()} == {
        check: verdict.evidence for check, verdict in before.items()
    }


def test_at_full_weight_nobody_is_left_to_compare_with() -> None:
    spec = policy(latency={"objectives": ["p99 < 500ms"]})
    verdicts = judged(interval(version(1000, 3, 2), version(0), 100), by=spec)
    assert {check: verdict.outcome for check, verdict in verdicts.items()} == {
        "errors": "pass",
        "latency 500ms": "pass",
        "traffic": "pass",
    }


def test_at_full_weight_a_healthy_canary_is_never_convicted_for_taking_all_the_traffic() -> None:
    # An hour at 500 requests a second.
    verdicts = judged(*[interval(version(7500), version(0), 100)] * 240)
    assert verdicts["traffic"].outcome == "pass"


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_at_full_weight_nothing_is_too_much(canary: int, stable: int) -> None:
    more = judged(interval(version(canary + 100), version(stable), 100))["traffic"].evidence
    assert more <= judged(interval(version(canary), version(stable), 100))["traffic"].evidence


def test_at_full_weight_a_proxy_that_has_not_heard_of_it_yet_convicts_nobody() -> None:
    assert judged(*[interval(version(1990), version(10), 100)] * 50)["traffic"].outcome == "pass"


def test_at_full_weight_traffic_that_stays_with_stable_convicts() -> None:
    assert judged(interval(version(500), version(500), 100))["traffic"].outcome == "fail"


def test_a_black_hole_is_convicted_by_the_traffic_it_swallows() -> None:
    assert judged(interval(version(0), version(900)))["traffic"].outcome == "fail"


def test_a_canary_that_gets_more_than_its_weight_is_convicted() -> None:
    assert judged(interval(version(500), version(500)))["traffic"].outcome == "fail"


def test_the_share_that_the_weight_says_passes() -> None:
    for weight in (10, 50):
        verdict = judged(interval(version(10 * weight), version(1000 - 10 * weight), weight))["traffic"]
        assert (verdict.outcome, verdict.value, verdict.limit) == ("pass", weight / 100, weight / 100)


def test_disconnects_and_lost_requests_have_arrived_too() -> None:
    canary = Counts(requests=40, disconnects=30)
    stable = Counts(requests=800, disconnects=100)
    verdict = judged(interval(canary, stable, lost=30))["traffic"]
    assert (verdict.bad, verdict.requests, verdict.value) == (100, 1000, 0.1)


def test_while_the_weight_is_arriving_shares_are_not_judged() -> None:
    settling = interval(version(0), version(900), settling=True)
    assert judged(settling)["traffic"].outcome != "fail"
    failing = interval(version(100, 60), version(900), settling=True)
    assert judged(failing)["errors vs stable"].outcome == "fail"


def test_an_interval_that_began_before_the_weight_may_convict() -> None:
    verdicts = judged(interval(version(100, 60), version(900), straddles=True))
    assert verdicts["errors vs stable"].outcome == "fail"


def test_an_interval_that_began_before_the_weight_helps_nobody_to_pass() -> None:
    early = interval(version(100), version(900), straddles=True)
    evidence, verdicts = look(Evidence(), early, policy())
    assert evidence.step == Tally()
    assert {verdict.outcome for verdict in verdicts} == {"unknown"}
    _, later = look(evidence, interval(version(20), version(180)), policy())
    assert {verdict.reason for verdict in later if verdict.check == "errors"} == {"low-data"}


def test_silence_passes_nothing() -> None:
    verdicts = judged(interval(Counts(), Counts()))
    assert verdicts
    assert {verdict.outcome for verdict in verdicts.values()} == {"unknown"}


def test_evidence_of_another_number_of_bets_is_begun_anew() -> None:
    one, spec = interval(version(100, 1), version(900, 9)), policy()
    fresh, _ = look(Evidence(), one, spec)
    other, _ = look(Evidence(bets={"errors": (1.0, 2.0)}), one, spec)
    assert other == fresh


def test_evidence_stays_finite() -> None:
    for bad in (0, 10_000_000):
        verdicts = judged(*[interval(version(10_000_000, bad, bad), version(90_000_000))] * 5)
        assert all(math.isfinite(verdict.evidence) for verdict in verdicts.values())


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    def some(most: int) -> Counts:
        requests = draw(st.integers(0, most))
        bad, slow = draw(st.integers(0, requests)), draw(st.integers(0, requests))
        return version(requests, bad, draw(st.sampled_from([None, slow])))

    return interval(
        some(200),
        some(1000),
        draw(st.sampled_from([1, 10, 50, 100])),
        lost=draw(st.integers(0, 5)),
        settling=draw(st.booleans()),
        straddles=draw(st.booleans()),
    )


@given(st.lists(intervals(), max_size=6))
def test_a_judge_that_was_restarted_in_between_decides_the_same(seen: list[Interval]) -> None:
    straight, restarted, spec = Evidence(), Evidence(), policy()
    for one in seen:
        straight, verdicts = look(straight, one, spec)
        reread = Evidence.model_validate_json(restarted.model_dump_json(by_alias=True))
        restarted, again = look(reread, one, spec)
        assert again == verdicts
        assert tuple(Verdict.model_validate(verdict.wire()) for verdict in verdicts) == verdicts
    assert restarted == straight
