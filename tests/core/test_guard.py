"""The guard of the last step: fair bets on stable's past, an alarm, a retreat, and what is learned from it."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from rollout.core.counts import Tally
from rollout.core.judging import guard, judge
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import AT_FULL_WEIGHT, LIMIT, PAST, Evidence, Interval, against_past, next_step
from rollout.core.policy import PolicySpec
from tests.core import test_betting
from tests.core.chances import binomial, clumps
from tests.core.traffic import CALM, calm, found, healthy, interval, looked, policy, stepped, version

TINY = 1e-9
SLOW = against_past(500.0)


def full(requests: int, errors: int = 0, slow: int = 0, *, seconds: float = 15.0) -> Interval:
    return interval(version(requests, errors, {500.0: slow}), version(0), 100, seconds=seconds)


def control(errors: int = 0, slow: int = 0, requests: int = 1350) -> Interval:
    """The first step again, with stable in whatever state it is."""
    return interval(version(150, 0, {500.0: 0}), version(requests, errors, {500.0: slow}), 10)


def on_guard(
    by: PolicySpec, learned: Learned = CALM, before: Iterable[Interval] = ()
) -> tuple[Evidence, Callable[[Evidence], float]]:
    """The evidence at the beginning of the last step, and how to read the guard's."""
    return stepped(before, [], by=by, learned=learned), lambda evidence: sum(
        guard.parts_of(evidence, by, learned).values()
    )


# --- Fair bets, enumerated ---


def test_the_guard_makes_no_other_bets_than_those_whose_means_are_enumerated() -> None:
    assert set(guard._BETS) <= set(test_betting.AGAINST)


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("clump", [1, 3])
def test_errors_at_the_edge_of_what_the_past_allows_raise_no_alarm_on_average(rate: float, clump: int) -> None:
    by, learned = policy(checks={"errors": {"max": "100%"}}), calm(rate=rate, clump=clump)
    start, value = on_guard(by, learned)
    limit = guard.limit_of(PAST, start, learned)
    assert limit == pytest.approx(3 * rate + 0.005)
    n = 30
    outcomes = binomial(n, limit) if clump == 1 else clumps(n * limit, {clump: 1.0}, 200)
    for before in (start, looked([full(n, 4)], by, learned, start), looked([full(n, 30)], by, learned, start)):
        mean = math.fsum(chance * value(looked([full(n, bad)], by, learned, before)) for bad, chance in outcomes)
        assert mean <= value(before) * (1 + TINY)


def test_errors_at_the_limit_of_the_policy_raise_no_alarm_on_average() -> None:
    by, learned = policy(checks={"errors": {"max": "5%"}}), calm(rate=0.05)
    start, value = on_guard(by, learned)
    mean = math.fsum(chance * value(looked([full(40, bad)], by, learned, start)) for bad, chance in binomial(40, 0.05))
    assert mean <= value(start) * (1 + TINY)


def test_latency_at_the_edge_of_what_the_past_allows_raises_no_alarm_on_average() -> None:
    by, learned = policy(compare=["500ms"], judge={"warmUp": "0s"}), calm(500.0)
    start, value = on_guard(by, learned)
    limit = guard.limit_of(SLOW, start, learned)
    assert limit == pytest.approx(2 * 0.01 + 0.02)
    for before in (start, looked([full(30, 0, 9)], by, learned, start)):
        mean = math.fsum(
            chance * value(looked([full(30, 0, slow)], by, learned, before)) for slow, chance in binomial(30, limit)
        )
        assert mean <= value(before) * (1 + TINY)


def test_a_canary_at_the_edge_alarms_in_one_stay_of_twenty_at_most() -> None:
    by, learned, runs, alarms = policy(checks={"errors": {"max": "100%"}}), calm(rate=0.002), 200, 0
    start, value = on_guard(by, learned)
    limit = guard.limit_of(PAST, start, learned)
    for seed in range(runs):
        random, evidence, most = np.random.default_rng(seed), start, 0.0
        for _ in range(40):
            evidence = judge.look(evidence, full(600, int(random.binomial(600, limit))), by, learned)
            most = max(most, value(evidence))
        alarms += most >= guard.ALARM
    assert alarms <= 0.05 * runs + 3 * math.sqrt(0.05 * runs)


@pytest.mark.parametrize("bounds", [(), (500.0,), (100.0, 500.0)])
def test_the_guard_begins_with_one_at_most(bounds: tuple[float, ...]) -> None:
    by, learned = policy(compare=[f"{bound:g}ms" for bound in bounds]), calm(*bounds)
    _, value = on_guard(by, learned)
    assert value(Evidence()) == pytest.approx(1 if bounds else 0.75)


# --- What the past allows ---


def test_stable_in_this_release_may_have_been_worse_than_in_its_past() -> None:
    by, learned = policy(compare=["500ms"]), calm(500.0)
    worse = interval(version(100), version(1000, 20, {500.0: 100}))
    start, _ = on_guard(by, learned, [worse])
    assert guard.limit_of(PAST, start, learned) == pytest.approx(3 * 0.02 + 0.005)
    assert guard.limit_of(SLOW, start, learned) == pytest.approx(2 * 0.1 + 0.02)


def test_no_more_than_all_requests_may_be_slow() -> None:
    by, learned = policy(compare=["500ms"]), calm(500.0)
    slow = interval(version(100), version(1000, 0, {500.0: 900}))
    start, _ = on_guard(by, learned, [slow])
    assert guard.limit_of(SLOW, start, learned) == 1


# --- The alarm ---


def test_a_canary_that_fails_at_full_weight_only_is_alarmed_for_and_not_convicted() -> None:
    by = policy()
    start, _ = on_guard(by, before=[healthy()] * 4)
    kinds = [found(looked([full(1500, 75)] * looks, by, CALM, start), by, CALM, 100) for looks in range(1, 8)]
    assert (kinds[-1].kind, kinds[-1].check) == ("alarm", PAST)
    assert "guilty" not in {one.kind for one in kinds}


def test_a_dead_canary_is_alarmed_for_at_once() -> None:
    by = policy()
    start, _ = on_guard(by, before=[healthy()] * 4)
    assert found(looked([full(1500, 1500)], by, CALM, start), by, CALM, 100).kind == "alarm"


def test_half_of_the_evidence_for_an_alarm_is_the_most_that_one_scrape_gives_short_of_an_outage() -> None:
    by = policy(compare=["500ms"], judge={"warmUp": "0s"})
    learned = calm(500.0)
    start, _ = on_guard(by, learned, [healthy(slower=[500.0])] * 4)
    for one in (full(1_000_000, 30_000), full(1_000_000, 0, 1_000_000)):
        assert found(looked([one], by, learned, start), by, learned, 100).kind == "open"
        assert found(looked([one] * 3, by, learned, start), by, learned, 100).kind == "alarm"


def test_a_slow_canary_is_alarmed_for_after_it_has_warmed_up() -> None:
    by, learned = policy(compare=["500ms"], judge={"warmUp": "1m"}), calm(500.0)
    start, _ = on_guard(by, learned)
    cold = looked([full(1500, 0, 1500)] * 4, by, learned, start)
    assert SLOW not in cold.guard
    warm = looked([full(1500, 0, 1500)] * 4, by, learned, cold)
    assert found(warm, by, learned, 100).check == SLOW


def test_a_canary_beyond_the_limit_of_the_policy_is_alarmed_for_though_the_past_was_as_bad() -> None:
    by, learned = policy(checks={"errors": {"max": "5%"}}), calm(rate=0.04)
    start, _ = on_guard(by, learned)
    got = found(looked([full(1500, 150)] * 12, by, learned, start), by, learned, 100)
    assert (got.kind, got.check) == ("alarm", LIMIT)


@pytest.mark.parametrize(("worth", "kind"), [(guard.ALARM - 0.1, "open"), (guard.ALARM + 0.1, "alarm")])
def test_the_guard_alarms_from_twenty(worth: float, kind: str) -> None:
    evidence = Evidence(guard={PAST: (0.0, 2 * (worth - 0.25))})
    assert found(evidence, policy(), CALM, 100).kind == kind
    assert found(evidence, policy(), CALM, 50).kind == "open"


@pytest.mark.parametrize(("retreats", "kind"), [(0, "alarm"), (3, "alarm"), (4, "suspect")])
def test_after_four_retreats_an_alarm_is_a_suspicion(retreats: int, kind: str) -> None:
    evidence = Evidence(guard={PAST: (0.0, 100.0)}, retreats=retreats)
    got = found(evidence, policy(), CALM, 100)
    assert (got.kind, got.check) == (kind, PAST)


def test_a_healthy_canary_is_never_alarmed_for() -> None:
    by, learned = policy(compare=["500ms"]), calm(500.0)
    start, _ = on_guard(by, learned, [healthy(slower=[500.0])] * 4)
    assert found(looked([full(1500, 3, 30)] * 240, by, learned, start), by, learned, 100).kind == "open"


def test_an_interval_that_began_before_the_last_step_says_nothing_to_the_guard() -> None:
    by = policy()
    early = Interval(Tally(canary=version(1500, 1500)), 100, 15.0, straddles=True)
    assert looked([early], by).guard == {}


# --- The retreat ---


def retreated(check: str = PAST, by: PolicySpec | None = None, strikes: int = 0) -> Evidence:
    by = by or policy(compare=["500ms"])
    evidence = stepped([healthy(slower=[500.0])] * 4, [], by=by, learned=calm(500.0))
    started = evidence.model_copy(update={"strikes": strikes, "guard": {PAST: (0.0, 100.0)}})
    return next_step(guard.retreat(started, check, by, calm(500.0)))


def after(*intervals: Interval, since: Evidence) -> Evidence:
    return looked(intervals, policy(compare=["500ms"]), calm(500.0), since)


def test_a_retreat_ends_the_guard_and_is_counted() -> None:
    evidence = retreated()
    assert (evidence.retreats, evidence.guard, evidence.alarm) == (1, {}, PAST)
    assert evidence.alarm_limit == pytest.approx(0.008)


def test_trouble_that_vanishes_with_the_control_back_is_a_strike() -> None:
    evidence = after(control(), control(), since=retreated())
    assert (evidence.strikes, evidence.alarm, evidence.watched) == (1, "", (0, 0, 0))


def test_trouble_that_stable_has_too_is_an_incident_and_no_strike() -> None:
    evidence = after(control(200), control(200), since=retreated())
    assert (evidence.strikes, evidence.alarm) == (0, "")


@pytest.mark.parametrize(("errors", "strikes"), [(8, 1), (9, 0)])
def test_stable_is_acquitted_of_nothing_below_the_limit_of_the_alarm(errors: int, strikes: int) -> None:
    # The limit is 0.8 %: of a thousand requests eight are within it.
    evidence = after(control(errors, requests=500), control(requests=500), since=retreated())
    assert evidence.strikes == strikes


def test_two_looks_at_stable_decide() -> None:
    evidence = after(control(), since=retreated())
    assert (evidence.strikes, evidence.alarm, evidence.watched) == (0, PAST, (1, 1350, 0))


def test_stable_is_looked_at_until_it_has_had_requests() -> None:
    quiet = after(*[control(requests=0)] * 5, since=retreated())
    assert (quiet.strikes, quiet.alarm) == (0, PAST)
    assert after(control(), since=quiet).strikes == 1


def test_an_interval_that_began_before_the_retreat_is_not_looked_at() -> None:
    early = Interval(control(500).tally, 10, 15.0, settling=True, straddles=True)
    evidence = after(early, control(), control(), since=retreated())
    assert evidence.strikes == 1
    assert after(early, since=retreated()).watched == (0, 0, 0)


@pytest.mark.parametrize(("slow", "strikes"), [(0, 1), (200, 0)])
def test_an_alarm_about_latency_looks_at_stables_latency(slow: int, strikes: int) -> None:
    evidence = after(control(500, slow), control(500, slow), since=retreated(SLOW))
    assert evidence.strikes == strikes


@pytest.mark.parametrize(("errors", "strikes"), [(50, 1), (100, 0)])
def test_an_alarm_about_the_limit_looks_whether_stable_keeps_it(errors: int, strikes: int) -> None:
    evidence = retreated(LIMIT)
    assert evidence.alarm_limit == 0.05
    assert after(control(errors), control(errors), since=evidence).strikes == strikes


def test_the_second_strike_convicts_the_full_weight() -> None:
    by = policy(compare=["500ms"])
    first, second = (after(control(), control(), since=retreated(strikes=strikes)) for strikes in (0, 1))
    assert found(first, by, calm(500.0)).kind != "guilty"
    got = found(second, by, calm(500.0))
    assert (got.kind, got.check) == ("guilty", AT_FULL_WEIGHT)


# --- Where no step has a control ---


@pytest.mark.parametrize(("first", "has"), [(98, True), (99, False), (100, False)])
def test_a_first_weight_up_to_98_leaves_a_control(first: int, has: bool) -> None:
    by = policy(steps=[{"weight": weight} for weight in sorted({first, 100})])
    assert guard.has_control(by) is guard.may_retreat(Evidence(), by) is has


@pytest.mark.parametrize(
    ("worth", "kind"),
    [(guard.ALARM - 0.1, "open"), (guard.ALARM + 0.1, "suspect"), (99.9, "suspect"), (100.1, "guilty")],
)
@pytest.mark.parametrize("first", [99, 100])
def test_without_a_control_at_any_step_the_past_convicts_at_the_full_price(worth: float, kind: str, first: int) -> None:
    by = policy(steps=[{"weight": weight} for weight in sorted({first, 100})])
    got = found(Evidence(guard={PAST: (0.0, 2 * (worth - 0.25))}), by, CALM, first)
    assert got.kind == kind
    assert got.check == ("" if kind == "open" else PAST)


def test_with_a_control_to_go_back_to_the_past_never_convicts_however_much_it_shows() -> None:
    for retreats, kind in ((0, "alarm"), (guard.MOST_RETREATS, "suspect")):
        evidence = Evidence(guard={PAST: (0.0, 1e6)}, retreats=retreats)
        assert found(evidence, policy(), CALM, 100).kind == kind
