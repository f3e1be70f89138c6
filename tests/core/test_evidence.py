"""The evidence: monotonic, finite, small, and the same after a round trip through JSON."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.counts import Counts, Slow
from rollout.core.judging import judge
from rollout.core.judging.clumps import Habit, Learned
from rollout.core.judging.evidence import (
    ERRORS,
    Evidence,
    Interval,
    against_past,
    against_stable,
    bound_of,
    compared_bounds,
    judged_bounds,
    next_step,
    over_limit,
)
from rollout.core.policy import ISTIO_BUCKETS_MS, PolicySpec
from tests.core.traffic import CALM, calm, found, interval, looked, policy, verdict, version, worth

# --- Which bounds ---


def test_without_a_past_the_usual_bounds_are_compared() -> None:
    by = PolicySpec()
    assert compared_bounds(by, Learned()) == tuple(bound for bound in ISTIO_BUCKETS_MS if 100 <= bound <= 10_000)
    assert compared_bounds(by, calm(250.0, 500.0)) == (250.0, 500.0)
    assert judged_bounds(by, None) == compared_bounds(by, Learned())


def test_counts_are_needed_at_every_bound_that_is_named_or_compared() -> None:
    by = PolicySpec.model_validate({"checks": {"latency": {"objectives": ["p99 < 1s"]}}})
    assert judged_bounds(by, calm(250.0, 500.0)) == (250.0, 500.0, 1000.0)
    chosen = policy(compare=["500ms", "100ms"])
    assert judged_bounds(chosen, calm(250.0)) == compared_bounds(chosen, calm(250.0)) == (100.0, 500.0)


@given(st.sampled_from([*ISTIO_BUCKETS_MS, 1.5, 12345.25, 1_000_000.5]) | st.floats(0.001, 1e7))
def test_a_bound_can_be_read_back_from_the_name_of_its_check(bound: float) -> None:
    for named in (against_stable, against_past, over_limit):
        assert bound_of(named(bound)) == bound


def test_a_bound_below_a_millisecond_has_its_own_check() -> None:
    learned = calm(0.5)
    by = PolicySpec.model_validate({"judge": {"warmUp": "0s"}})
    fast = Counts(requests=900, timed=900, slow=(Slow(bound=0.5, requests=9, timed=900),))
    slow = Counts(requests=900, timed=900, slow=(Slow(bound=0.5, requests=800, timed=900),))
    got = verdict(*[interval(slow, fast, 50)] * 6, by=by, learned=learned)
    assert (got.kind, got.check) == ("guilty", "latency 0.5ms vs stable")


# --- Properties ---

few = st.integers(0, 60)
pasts = st.sampled_from([CALM, calm(clump=4.0), Learned(errors=Habit(rate=0.01, noise=0.5, slow_noise=0.1)), Learned()])


@given(few, few, few, few, st.integers(1, 20), st.sampled_from([1, 10, 50, 98]), pasts)
def test_more_failures_of_the_canary_never_lower_the_evidence(
    bad: int, good: int, others_bad: int, others_good: int, more: int, weight: int, learned: Learned
) -> None:
    by, requests, stable = policy(), bad + good + more, version(others_bad + others_good, others_bad)
    before = looked([interval(version(requests, bad), stable, weight)], by, learned)
    after = looked([interval(version(requests, bad + more), stable, weight)], by, learned)
    assert found(after, by, learned).evidence >= found(before, by, learned).evidence


@given(few, few, few, few, st.integers(1, 20), pasts)
def test_more_failures_of_stable_never_raise_the_comparison(
    bad: int, good: int, others_bad: int, others_good: int, more: int, learned: Learned
) -> None:
    by, canary, others = policy(), version(bad + good, bad), others_bad + others_good + more
    before = looked([interval(canary, version(others, others_bad))], by, learned)
    after = looked([interval(canary, version(others, others_bad + more))], by, learned)
    assert worth(after, ERRORS) <= worth(before, ERRORS) * (1 + 1e-9)


@given(few, few, st.integers(0, 200))
def test_more_lost_requests_are_never_less_evidence(bad: int, good: int, lost: int) -> None:
    by = policy()
    fewer = looked([interval(version(bad + good, bad), version(900), lost=lost, settling=True)], by)
    more = looked([interval(version(bad + good, bad), version(900), lost=lost + 1, settling=True)], by)
    assert worth(more, ERRORS) >= worth(fewer, ERRORS)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    def some(most: int) -> Counts:
        requests, timed = draw(st.integers(0, most)), draw(st.integers(0, most))
        slow = {bound: draw(st.integers(0, timed)) for bound in (100.0, 500.0) if draw(st.integers(0, 4))}
        return version(requests, draw(st.integers(0, requests)), slow, timed=timed)

    return interval(
        some(200),
        some(1000),
        draw(st.sampled_from([1, 10, 50, 98, 99, 100])),
        lost=draw(st.integers(0, 5)),
        seconds=draw(st.sampled_from([0.0, 5.0, 15.0, 40.0])),
        settling=draw(st.booleans()),
        straddles=draw(st.booleans()),
    )


@given(st.lists(st.tuples(intervals(), st.booleans()), max_size=8), st.booleans())
@settings(deadline=None)
def test_a_judge_that_was_restarted_in_between_decides_the_same(
    seen: list[tuple[Interval, bool]], fail_fast: bool
) -> None:
    latency = {"objectives": ["p99 < 500ms"]}
    by = policy(fail_fast=fail_fast, compare=["100ms", "500ms"], checks={"latency": latency}, judge={"warmUp": "10s"})
    learned = calm(100.0, 500.0, clump=1.7)
    straight = restarted = Evidence()
    for one, last in seen:
        straight = judge.look(straight, one, by, learned)
        reread = Evidence.model_validate_json(restarted.model_dump_json(by_alias=True))
        restarted = judge.look(Evidence.model_validate(reread.wire()), one, by, learned)
        assert restarted == straight
        assert found(restarted, by, learned, one.weight) == found(straight, by, learned, one.weight)
        if last:
            straight, restarted = next_step(straight), next_step(restarted)


@given(st.lists(intervals(), max_size=6))
@settings(deadline=None)
def test_evidence_is_always_a_number(seen: list[Interval]) -> None:
    by, learned = policy(compare=["100ms", "500ms"], judge={"warmUp": "0s"}), calm(100.0, 500.0)
    evidence = looked(seen, by, learned)
    assert all(math.isfinite(part) and part >= 0 for part in judge.parts_of(evidence, by, learned).values())


@pytest.mark.parametrize("bad", [0, 10_000_000])
def test_evidence_stays_finite_and_small_however_long_a_release_lasts(bad: int) -> None:
    bounds = tuple(10.0 * 1.5**number for number in range(16))
    objectives = [f"p9{number} < {bound}" for number, bound in enumerate(("100ms", "500ms", "1s", "5s", "10s"))]
    by = PolicySpec.model_validate(
        {"checks": {"latency": {"objectives": objectives}, "errors": {"failFast": {"enabled": False}}}}
    )
    learned = calm(*bounds)
    slower = dict.fromkeys(judged_bounds(by, learned), bad // 3 + 1234)
    one = interval(version(11_234_567, bad, slower), version(91_234_567, 12_345, dict.fromkeys(slower, 54_321)))
    evidence = Evidence()
    for step in range(4):
        weight = 100 if step == 3 else 10
        evidence = looked([Interval(one.tally, weight, 15.0)] * 300, by, learned, next_step(evidence))
    assert math.isfinite(found(evidence, by, learned).evidence)
    assert len(evidence.processes) >= 16 + 5
    assert len(evidence.model_dump_json(by_alias=True)) <= 16 * 1024
