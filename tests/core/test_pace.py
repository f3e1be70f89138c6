"""How fast one may be convicted: no scrape convicts alone, an outage takes two, and the plain threshold one."""

from datetime import timedelta
from typing import Any

import pytest

from rollout.core.counts import Counts
from rollout.core.judging.evidence import ERRORS, FAIL_FAST, OVER, UNDER, Evidence, next_step
from rollout.core.judging.judge import Opinion
from rollout.core.judging.pace import Pace, needed_for
from tests.core.traffic import CALM, DEAD, IDLE, calm, found, healthy, interval, looked, policy, verdict, version

# --- Caps: how fast one may be convicted ---


@pytest.mark.parametrize("alpha", ["0.1%", "1%", "5%", "20%"])
@pytest.mark.parametrize("idle", [0, 40, 240])
@pytest.mark.parametrize("seconds", [1.0, 15.0, 300.0])
def test_no_single_scrape_convicts_however_bad_it_is(alpha: str, idle: int, seconds: float) -> None:
    bounds = (100.0, 500.0)
    by = policy(
        compare=["100ms", "500ms"],
        checks={"latency": {"objectives": ["p99 < 500ms"]}},
        judge={"falseRollback": alpha, "warmUp": "0s"},
    )
    learned = calm(*bounds)
    before = looked([IDLE] * idle, by, learned)
    for requests in (3, 100, 10_000_000):
        all_bad = version(requests, requests, dict.fromkeys(bounds, requests))
        for weight in (1, 10, 90):
            one = interval(all_bad, version(100 * requests, 0, dict.fromkeys(bounds, 0)), weight, seconds=seconds)
            assert found(looked([one], by, learned, before), by, learned).kind in {"open", "suspect"}


@pytest.mark.parametrize("bounds", [(), (100.0, 500.0)])
def test_a_dead_canary_is_convicted_after_two_scrapes_and_never_after_one(bounds: tuple[float, ...]) -> None:
    by, learned = policy(compare=[f"{bound:g}ms" for bound in bounds]), calm(*bounds)
    dead = interval(version(150, 150, dict.fromkeys(bounds, 0)), version(1350, 1, dict.fromkeys(bounds, 0)))
    once, twice = verdict(dead, by=by, learned=learned), verdict(dead, dead, by=by, learned=learned)
    assert (once.kind, once.check) == ("suspect", ERRORS)
    assert (twice.kind, twice.check) == ("guilty", ERRORS)
    assert twice.evidence >= twice.convicts == 100


@pytest.mark.parametrize(("looks", "scrapes"), [(1, 2), (20, 2), (60, 2), (240, 3)])
def test_a_canary_that_dies_later_is_convicted_nearly_as_soon(looks: int, scrapes: int) -> None:
    kinds = [verdict(*[healthy()] * looks, *[DEAD] * dead).kind for dead in range(1, scrapes + 1)]
    assert "guilty" not in kinds[:-1]
    assert kinds[-1] == "guilty"


def test_a_canary_that_dies_with_a_step_is_convicted_after_two_scrapes() -> None:
    by = policy()
    begun = next_step(looked([healthy()] * 20, by))
    assert found(looked([DEAD], by, CALM, begun), by).kind == "suspect"
    assert found(looked([DEAD, DEAD], by, CALM, begun), by).kind == "guilty"


def test_a_dead_canary_is_convicted_within_three_scrapes_of_five_seconds() -> None:
    dead = interval(version(50, 50), version(450), seconds=5.0)
    assert verdict(dead).kind != "guilty"
    assert verdict(dead, dead, dead).kind == "guilty"


def test_a_blip_of_one_scrape_is_forgiven() -> None:
    blip = interval(version(150, 60), version(1350))
    assert verdict(healthy(), blip, *[healthy()] * 200).kind in {"open", "proven"}


def test_the_time_to_convict_is_the_policys_to_say() -> None:
    slowly = policy(judge={"caps": {"outage": "2m"}})
    assert verdict(DEAD, DEAD, by=slowly).kind == "suspect"
    assert verdict(*[DEAD] * 8, by=slowly).kind == "guilty"
    bounds = (500.0,)
    slow = interval(version(150, 0, {500.0: 150}), version(1350, 0, {500.0: 0}))
    for span, enough in (("30s", 4), ("2m", 8)):
        by = policy(compare=["500ms"], judge={"warmUp": "0s", "caps": {"latency": span}})
        kinds = [verdict(*[slow] * looks, by=by, learned=calm(*bounds)).kind for looks in range(1, 20)]
        assert enough - 2 <= kinds.index("guilty") + 1 <= 2 * enough
    black_hole = interval(version(0), version(1500), 30)
    for span, least in (("25s", 2), ("3m", 6)):
        by = policy(judge={"caps": {"traffic": span}})
        kinds = [verdict(*[black_hole] * looks, by=by).kind for looks in range(1, 30)]
        assert least <= kinds.index("guilty") + 1 <= 3 * least


@pytest.mark.parametrize(
    ("seconds", "dead", "part"),
    [
        (15.0, 0.0, 1 / 3),
        (15.0, -0.5, 1 / 3),
        (15.0, 0.4, 1 / 3),
        (15.0, 1.0, 15 / 20.1),
        (15.0, 0.6, 9 / 20.1),
        (5.0, 1.0, 5 / 10),
        (5.0, 0.0, 1 / 9),
        (1.0, 0.1, 1 / 45),
        (60.0, 0.0, 1 / 3),
        (60.0, 1.0, 60 / 80.4),
    ],
)
def test_one_interval_gives_a_third_of_what_is_needed_and_more_the_deader_the_canary_is(
    seconds: float, dead: float, part: float
) -> None:
    by = policy()
    cap = Pace(by, seconds, Evidence(), None).cap(0.45, 1 / 3, dead=dead)
    assert cap == pytest.approx(part * needed_for(0.45, by))


@pytest.mark.parametrize(("seconds", "part"), [(5.0, 5 / 30), (9.9, 9.9 / 30), (10.0, 1 / 3), (300.0, 1 / 3)])
def test_a_check_that_needs_its_time_gives_its_part_of_it_in_one_interval(seconds: float, part: float) -> None:
    by = policy()
    cap = Pace(by, seconds, Evidence(), None).cap_for(timedelta(seconds=30), 0.25, 1 / 3)
    assert cap == pytest.approx(part * needed_for(0.25, by))


@pytest.mark.parametrize(
    ("looks", "begun", "seconds", "share"),
    [
        (0, False, 15.0, 1 / 2),
        (0, True, 15.0, 1 / 3),
        (1, False, 15.0, 1 / 2),
        (1, True, 15.0, 15 / 1800),
        (1, True, 599.0, 599 / 1800),
        (1, True, 601.0, 1 / 3),
    ],
)
def test_most_is_staked_when_a_release_or_a_step_begins(looks: int, begun: bool, seconds: float, share: float) -> None:
    pace = Pace(policy(), seconds, Evidence(looks=looks), None)
    assert pace.share((1.0,) if begun else None) == pytest.approx(share)


def test_the_share_of_the_traffic_is_bet_on_anew_when_the_weight_of_a_step_has_arrived() -> None:
    by = policy()
    begun = next_step(looked([healthy()] * 20, by))
    settling = looked([interval(version(150), version(1350), settling=True, straddles=True)], by, CALM, begun)
    after = looked([healthy(30)], by, CALM, settling)
    for check in (UNDER, OVER):
        assert settling.processes[check] == begun.processes[check]
        assert after.processes[check][0] == pytest.approx(begun.processes[check][0] * 2 / 3)
        assert looked([healthy(30)], by, CALM, after).processes[check][0] > after.processes[check][0] * 0.98


# --- The plain threshold for the impatient ---


def hard(canary: Counts, stable: Counts, **fail_fast: Any) -> Opinion:
    by = policy(checks={"errors": {"failFast": fail_fast}})
    return verdict(interval(canary, stable), by=by)


@pytest.mark.parametrize(
    ("requests", "errors", "convicts"),
    [(49, 49, False), (50, 50, True), (50, 45, True), (50, 44, False), (90, 80, False)],
)
def test_the_hard_limit_convicts_at_ninety_of_a_hundred_over_fifty_requests(
    requests: int, errors: int, convicts: bool
) -> None:
    got = hard(version(requests, errors), version(450))
    assert (got.kind == "guilty") == convicts
    assert (got.check == FAIL_FAST) == convicts


@pytest.mark.parametrize(("most", "requests", "errors"), [("7%", 100, 7), ("29%", 100, 29), ("57%", 100, 57)])
def test_exactly_the_share_of_the_hard_limit_is_enough(most: str, requests: int, errors: int) -> None:
    assert hard(version(requests, errors), version(900), max=most).check == FAIL_FAST
    assert hard(version(requests, errors - 1), version(900), max=most).kind != "guilty"


def test_the_hard_limit_is_waived_while_stable_fails_half_as_often() -> None:
    assert hard(version(50, 50), version(1000, 449)).check == FAIL_FAST
    assert hard(version(50, 50), version(1000, 450)).kind != "guilty"
    assert hard(version(50, 50), version(0)).check == FAIL_FAST


def test_the_hard_limit_can_be_switched_off() -> None:
    assert hard(version(150, 150), version(450), enabled=False).kind != "guilty"


def test_the_hard_limit_counts_over_as_many_scrapes_as_it_takes() -> None:
    by = policy(fail_fast=True)
    few = interval(version(10, 10), version(90))
    assert found(looked([few] * 4, by), by).check != FAIL_FAST
    assert found(looked([few] * 5, by), by).check == FAIL_FAST


def test_the_hard_limit_begins_anew_when_it_has_looked() -> None:
    by = policy(fail_fast=True)
    good, bad = interval(version(50), version(450)), interval(version(30, 30), version(270))
    assert looked([good, bad], by).dead == ""
    assert looked([good, bad, bad], by).dead == FAIL_FAST


def test_lost_requests_count_for_the_hard_limit() -> None:
    by = policy(fail_fast=True)
    assert looked([interval(version(0), version(450), lost=50)], by).dead == FAIL_FAST


def test_what_the_hard_limit_found_is_not_forgotten() -> None:
    by = policy(fail_fast=True)
    evidence = next_step(looked([DEAD, *[healthy()] * 10], by))
    assert found(evidence, by).kind == "guilty"
