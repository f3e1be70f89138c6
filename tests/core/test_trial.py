"""A release on made-up traffic: how it ends, when, and why. Traffic is exact, so that nothing here is chance."""

from collections.abc import Callable

import pytest

from rollout.core.counts import Tally
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import AT_FULL_WEIGHT, ERRORS, LIMIT, PAST, UNDER
from rollout.core.judging.trial import Ended, Traffic, run
from rollout.core.policy import PolicySpec
from tests.core.traffic import CALM, policy, version

Rate = Callable[[int, float], float]
"""(weight, time) -> share of failed requests."""
RPS = 100
HOLDS = 4 * 300.0


def world(canary: Rate, stable: Rate = lambda _weight, _now: 0.001, rps: float = RPS) -> Traffic:
    """Every interval gets its share of `rps`, and as many failures as its rate says, rounded."""

    def counted(weight: int, since: float, until: float) -> Tally:
        n = round(rps * (until - since) * weight / 100)
        others = round(rps * (until - since)) - n
        return Tally(
            canary=version(n, round(n * canary(weight, since))),
            stable=version(others, round(others * stable(weight, since))),
        )

    return counted


def good(_weight: int, _now: float) -> float:
    return 0.001


def released(
    traffic: Traffic, by: PolicySpec | None = None, *, learned: Learned = CALM, most_seconds: float = 3 * HOLDS
) -> Ended:
    return run(by or policy(), learned, traffic, most_seconds=most_seconds)


def test_a_good_canary_is_promoted_when_all_holds_are_over() -> None:
    ended = released(world(good))
    assert (ended.outcome, ended.seconds, ended.step, ended.check) == ("promoted", HOLDS, 3, "")
    assert ended.reached == (0.0, 300.0, 600.0, 900.0)


def test_a_good_canary_that_is_proven_may_be_promoted_early() -> None:
    early = policy(judge={"early": True, "dwell": "1m"})
    ended = released(world(good, rps=1000), early)
    assert (ended.outcome, ended.unproven) == ("promoted", 0)
    # Three dwells; the last step, where nothing can be proven, is held in full.
    assert 3 * 60 + 300 <= ended.seconds < HOLDS


def test_steps_that_are_left_without_proof_are_counted() -> None:
    assert released(world(good, rps=5)).unproven == 3
    assert released(world(good, rps=1000)).unproven == 0


def test_an_unproven_step_is_held_until_it_is_proven_where_the_policy_says_so() -> None:
    by = policy(judge={"unproven": "hold"}, steps=[{"weight": 10}, {"weight": 100}])
    slow = world(good, rps=5)
    waiting = released(slow, by, most_seconds=600)
    assert (waiting.outcome, waiting.step, waiting.check) == ("held", 0, "unproven")
    ended = released(slow, by)
    assert (ended.outcome, ended.unproven) == ("promoted", 0)
    assert ended.reached[1] > 600


@pytest.mark.parametrize(("rate", "within"), [(1.0, 30), (0.5, 60), (0.05, 90)])
def test_a_bad_canary_is_rolled_back_the_sooner_the_worse_it_is(rate: float, within: float) -> None:
    ended = released(world(lambda _weight, _now: rate))
    assert (ended.outcome, ended.step) == ("rolled back", 0)
    assert ended.check in {ERRORS, LIMIT}
    assert ended.seconds <= within
    assert ended.evidence.looks == ended.seconds / 15


def test_a_canary_that_turns_bad_at_half_the_traffic_is_rolled_back_there() -> None:
    ended = released(world(lambda weight, _now: 0.05 if weight >= 50 else 0.001))
    assert (ended.outcome, ended.step) == ("rolled back", 2)
    assert 600 < ended.seconds <= 690


def test_a_black_hole_is_rolled_back_for_its_traffic() -> None:
    def swallowed(weight: int, since: float, until: float) -> Tally:
        return Tally(stable=version(round(RPS * (until - since) * (100 - weight) / 100)))

    ended = released(swallowed)
    assert (ended.outcome, ended.check) == ("rolled back", UNDER)
    assert ended.seconds <= 150


def test_without_traffic_a_release_is_held_for_want_of_data() -> None:
    ended = released(lambda _weight, _since, _until: Tally())
    assert (ended.outcome, ended.step, ended.check) == ("held", 0, "low-data")
    assert ended.seconds == 3 * HOLDS


def test_traffic_that_ends_holds_the_release_where_it_is() -> None:
    counted = world(good)
    ended = released(lambda weight, since, until: counted(weight, since, until) if until <= 400 else None)
    assert (ended.outcome, ended.seconds, ended.step) == ("held", 390, 1)
    assert ended.reached == (0.0, 300.0)


def test_a_limit_that_stable_breaks_too_holds_the_release() -> None:
    ended = released(world(lambda _weight, _now: 0.2, lambda _weight, _now: 0.2))
    assert (ended.outcome, ended.step, ended.check) == ("held", 0, "stable-too")


def test_an_incident_of_both_versions_delays_a_release_and_ends_nothing() -> None:
    def incident(_weight: int, now: float) -> float:
        return 0.3 if 280 <= now < 500 else 0.001

    ended = released(world(incident, incident))
    assert ended.outcome == "promoted"
    assert HOLDS < ended.seconds <= HOLDS + 300
    assert ended.reached[1] > 500


def test_a_canary_that_fails_at_full_weight_only_is_rolled_back_after_two_retreats() -> None:
    ended = released(world(lambda weight, _now: 0.05 if weight == 100 else 0.001))
    assert (ended.outcome, ended.check) == ("rolled back", AT_FULL_WEIGHT)
    assert (ended.evidence.retreats, ended.evidence.strikes, ended.step) == (2, 2, 0)
    assert ended.reached == (0.0, 300.0, 600.0, 900.0)


def test_an_incident_at_full_weight_costs_a_retreat_and_no_more() -> None:
    def incident(_weight: int, now: float) -> float:
        return 0.3 if 1000 <= now < 1150 else 0.001

    ended = released(world(incident, incident))
    assert (ended.outcome, ended.evidence.retreats, ended.evidence.strikes) == ("promoted", 1, 0)
    # Within 75 seconds it is back at the first step, and all steps are held again.
    assert 1000 + HOLDS < ended.seconds <= 1000 + 75 + HOLDS
    assert ended.reached == (0.0, 300.0, 600.0, 900.0)


def test_a_canary_that_is_bad_at_every_weight_but_little_traffic_is_convicted_where_there_is_more() -> None:
    ended = released(world(lambda _weight, _now: 0.1, rps=2))
    assert ended.outcome == "rolled back"


def test_a_policy_may_have_the_last_step_alone() -> None:
    alone = policy(steps=[{"weight": 100}])
    assert released(world(good), alone).outcome == "promoted"
    bad = released(world(lambda _weight, _now: 0.5), alone)
    assert (bad.outcome, bad.step, bad.evidence.retreats) == ("rolled back", 0, 0)
    assert bad.check in {LIMIT, PAST}


def test_the_hard_limit_rolls_back_after_one_scrape() -> None:
    ended = released(world(lambda _weight, _now: 1.0), policy(fail_fast=True))
    assert (ended.outcome, ended.seconds) == ("rolled back", 15)
