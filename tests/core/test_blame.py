"""Requests that were lost before any version: whose they are, and that stable's losses convict no healthy canary."""

import random
from math import sqrt

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from rollout.core.counts import Counts, Tally, blamed
from rollout.core.judging import judge
from rollout.core.judging.evidence import Evidence, Interval, blame
from rollout.core.judging.trial import Ended, Traffic, run
from rollout.core.replay.chance import binomial
from tests.core.traffic import CALM, policy, version

examples = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
MANY = st.integers(0, 100_000)
COUNTS = st.builds(Counts, requests=MANY, disconnects=st.integers(0, 1000))
TALLIES = st.builds(Tally, stable=COUNTS, canary=COUNTS, lost=MANY, astray=st.just(0) | MANY)
WEIGHTS = st.integers(1, 100)
RPS, SECONDS = 100, 15.0


def everything(tally: Tally) -> int:
    return arrived(tally.canary) + arrived(tally.stable) + tally.lost + tally.astray


def arrived(counts: Counts) -> int:
    return counts.requests + counts.disconnects


# --- Whose they are ---


@examples
@given(TALLIES, WEIGHTS)
def test_every_lost_request_is_somebodys_and_nothing_else_changes(tally: Tally, weight: int) -> None:
    told = blamed(tally, weight)
    event("shared" if told.lost and told.astray else "the canary's" if told.lost else "not the canary's")
    assert told.lost + told.astray == tally.lost + tally.astray
    assert told.model_copy(update={"lost": tally.lost, "astray": tally.astray}) == tally


@examples
@given(TALLIES, WEIGHTS)
def test_blaming_twice_is_blaming_once(tally: Tally, weight: int) -> None:
    told = blamed(tally, weight)
    assert blamed(told, weight) == told


@examples
@given(TALLIES, WEIGHTS)
def test_a_canary_that_got_its_share_is_blamed_for_nothing(tally: Tally, weight: int) -> None:
    if 100 * arrived(tally.canary) >= weight * everything(tally):
        assert blamed(tally, weight).lost == 0


@examples
@given(TALLIES, WEIGHTS)
def test_no_canary_is_blamed_for_more_than_it_lacks(tally: Tally, weight: int) -> None:
    lacks = everything(tally) * weight / 100 - arrived(tally.canary)
    assert blamed(tally, weight).lost <= max(0.0, lacks) + 1e-6


@examples
@given(MANY, WEIGHTS)
def test_a_subset_that_is_gone_is_blamed_for_all_it_should_have_got_up_to_chance(requests: int, weight: int) -> None:
    share = weight / 100
    lost = round(requests * share)
    told = blamed(Tally(stable=Counts(requests=requests - lost), lost=lost), weight)
    assert lost - 2 * sqrt(requests * share * (1 - share)) - 2 <= told.lost <= lost


@examples
@given(TALLIES)
def test_at_full_weight_everything_that_is_lost_is_the_canarys(tally: Tally) -> None:
    told = blamed(tally, 100)
    assert (told.lost, told.astray) == (tally.lost + tally.astray, 0)


def test_where_nothing_was_lost_there_is_nothing_to_blame() -> None:
    tally = Tally(stable=Counts(requests=1500))
    assert blamed(tally, 50) == tally


def test_clients_that_went_away_had_arrived() -> None:
    gone = Tally(stable=Counts(requests=900), canary=Counts(requests=50, disconnects=50), lost=100)
    assert blamed(gone, 9).lost == 0
    assert blamed(gone.model_copy(update={"canary": Counts(requests=50)}), 20).lost > 0


# --- What the judge makes of it ---


def losing(share: float, *, whose: str, seed: int, since: float = 0.0) -> Traffic:
    """RPS requests a second, from `since` on a share of stable's or of the canary's lost; one in 1,000 fails anyway."""
    dice = random.Random(f"lost/{seed}")

    def counted(weight: int, start: float, end: float) -> Tally:
        n = round(RPS * (end - start))
        canary = binomial(dice, n, weight / 100)
        stable = n - canary
        lost = binomial(dice, stable if whose == "stable" else canary, share if start >= since else 0.0)
        stable, canary = (stable - lost, canary) if whose == "stable" else (stable, canary - lost)
        return Tally(
            canary=version(canary, binomial(dice, canary, 0.001)),
            stable=version(stable, binomial(dice, stable, 0.001)),
            lost=lost,
        )

    return counted


def looked_at(traffic: Traffic, weight: int, looks: int) -> list[str]:
    """What the judge thinks after each look at one and the same weight."""
    by, evidence, kinds = policy(fail_fast=True), Evidence(), list[str]()
    for number in range(looks):
        tally = traffic(weight, number * SECONDS, (number + 1) * SECONDS)
        assert tally is not None
        first = number == 0
        interval = Interval(
            tally=blamed(tally, weight), weight=weight, seconds=SECONDS, settling=first, straddles=first
        )
        evidence = judge.look(evidence, interval, by, CALM)
        kinds.append(judge.opinion(evidence, by, CALM, weight).kind)
    return kinds


@pytest.mark.parametrize("share", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("weight", [10, 50])
def test_what_stable_loses_never_convicts_a_healthy_canary(weight: int, share: float) -> None:
    for seed in range(10):
        assert "guilty" not in looked_at(losing(share, whose="stable", seed=seed), weight, 80)
        assert "guilty" not in looked_at(losing(share, whose="stable", seed=seed, since=150), weight, 80)


@pytest.mark.parametrize("weight", [10, 50])
def test_a_canary_whose_subset_is_gone_is_convicted_within_four_looks(weight: int) -> None:
    for seed in range(10):
        assert "guilty" in looked_at(losing(1.0, whose="canary", seed=seed), weight, 4)


@pytest.mark.parametrize("weight", [10, 50])
def test_a_canary_whose_subset_goes_later_is_convicted_within_four_looks(weight: int) -> None:
    for seed in range(10):
        kinds = looked_at(losing(1.0, whose="canary", seed=seed, since=20 * SECONDS), weight, 24)
        assert "guilty" not in kinds[:20]
        assert "guilty" in kinds


def ended(share: float, *, whose: str, since: float, until: float = 2400.0) -> Ended:
    by = policy(steps=[{"weight": 10, "hold": "5m"}, {"weight": 50, "hold": "5m"}, {"weight": 100, "hold": "5m"}])
    return run(by, CALM, losing(share, whose=whose, seed=1, since=since), most_seconds=until)


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_a_release_beside_a_stable_that_loses_requests_goes_on_to_its_end(share: float) -> None:
    assert ended(share, whose="stable", since=60.0).outcome == "promoted"


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_a_release_whose_canary_loses_requests_is_rolled_back(share: float) -> None:
    assert ended(share, whose="canary", since=60.0).outcome == "rolled back"


def test_what_stables_full_circuit_breaker_refused_does_not_fill_the_canarys() -> None:
    its_share = Tally(canary=Counts(requests=100), stable=Counts(requests=800), lost=100, overflowed=100)
    seen = blame(Evidence(), its_share, 10)
    assert (seen.lost, seen.astray, seen.overflowed) == (0, 100, 0)


def test_what_the_canarys_own_refused_still_counts() -> None:
    nothing_arrived = Tally(stable=Counts(requests=900), lost=100, overflowed=100)
    seen = blame(Evidence(), nothing_arrived, 10)
    assert seen.lost == seen.overflowed > 50
    assert seen.lost + seen.astray == 100
