"""The made-up traffic is what its description says: otherwise the table says nothing about any judge."""

from dataclasses import replace
from math import sqrt

import pytest

from benchmarks.judge.latencies import BOUNDS_MS, usual_tails
from benchmarks.judge.streams import LONGEST_S, Stream
from benchmarks.judge.worlds import Fault, World
from rollout.core.counts import Tally, plus
from rollout.core.judging.clumps import learn

PLAIN = World("plain")


def counted(stream: Stream, weight: int, since: float, until: float, interval: float = 15.0) -> Tally:
    whole = Tally()
    now = since
    while now < until:
        tally = stream.tally(weight, now, now + interval)
        assert tally is not None
        whole = plus(whole, tally)
        now += interval
    return whole


def near(found: int, n: int, share: float) -> bool:
    """Within five standard deviations of a binomial."""
    return abs(found - n * share) <= 5 * sqrt(n * share * (1 - share)) + 1


def test_whoever_goes_the_same_way_sees_the_same_traffic() -> None:
    world = World("busy", incidents=12, burst=10, noise=0.7, latency_noise=0.1, glitches=6, restarts=4, sticky=0.3)
    one, other = (Stream(world, Fault(errors=0.05), 7) for _ in range(2))
    for now in range(0, 600, 15):
        weight = 10 if now < 300 else 30
        assert one.tally(weight, now, now + 15.0) == other.tally(weight, now, now + 15.0)
    assert one.past() == other.past()
    assert (one.first_bad, one.harmed) == (other.first_bad, other.harmed)


def test_another_seed_is_another_world() -> None:
    assert Stream(PLAIN, Fault(), 1).tally(10, 0, 15) != Stream(PLAIN, Fault(), 2).tally(10, 0, 15)


@pytest.mark.parametrize("weight", [10, 50, 100])
def test_requests_errors_and_slow_ones_are_as_many_as_the_world_says(weight: int) -> None:
    tally = counted(Stream(replace(PLAIN, errors=0.01), Fault(), 3), weight, 0, 900)
    n = tally.canary.requests + tally.stable.requests
    assert abs(n - 90_000) < 5 * 300
    assert near(tally.canary.requests, n, weight / 100)
    for counts in (tally.canary, tally.stable):
        assert near(counts.errors, counts.requests, 0.01)
        for bound, share in zip(BOUNDS_MS, usual_tails().tolist(), strict=True):
            slow = counts.slower_than(bound)
            assert slow is None or near(slow.requests, slow.timed, share)


def test_the_median_is_forty_milliseconds_and_a_factor_moves_it() -> None:
    assert 0.35 < usual_tails()[0] < 0.36
    assert usual_tails(1.25)[0] == pytest.approx(0.5, abs=0.005)
    assert usual_tails(very_slow=0.01)[5] == pytest.approx(0.01, abs=0.001)


def test_an_incident_hits_both_versions_at_the_same_time() -> None:
    stream = Stream(replace(PLAIN, errors=0.0, incidents=12), Fault(), 5)
    both = one = 0
    for now in range(0, int(LONGEST_S), 60):
        tally = counted(stream, 50, now, now + 60.0)
        hit = (tally.canary.errors > 0, tally.stable.errors > 0)
        both += all(hit)
        one += any(hit)
    assert both >= 3
    assert one - both <= 2


def test_noise_is_each_versions_own() -> None:
    stream = Stream(replace(PLAIN, rps=1000, errors=0.01, noise=0.7), Fault(), 5)
    ratios = []
    for now in range(0, 1800, 60):
        tally = counted(stream, 50, now, now + 60.0)
        ratios.append(tally.canary.errors / tally.stable.errors)
    assert min(ratios) < 0.6
    assert max(ratios) > 1.6


def test_a_burst_is_so_many_failures_for_one_cause() -> None:
    stream = Stream(replace(PLAIN, errors=0.0, burst=30, burst_errors=0.001), Fault(), 5)
    tally = counted(stream, 50, 0, 1800)
    assert tally.canary.errors % 30 == 0
    assert tally.stable.errors % 30 == 0
    assert tally.canary.errors + tally.stable.errors > 0


def test_sticky_clients_leave_the_whole_to_the_last_step() -> None:
    stream = Stream(replace(PLAIN, sticky=0.3), Fault(), 5)
    assert counted(stream, 100, 0, 60).stable.requests == 0
    share = counted(stream, 10, 60, 660)
    assert 0.06 < share.canary.requests / (share.canary.requests + share.stable.requests) < 0.14


def test_a_cold_canary_is_slow_for_a_minute_only() -> None:
    stream = Stream(replace(PLAIN, cold_s=60), Fault(), 5)
    cold, warm = (counted(stream, 50, since, since + 30.0).canary for since in (0, 60))
    shares = [slow.requests / slow.timed for one in (cold, warm) if (slow := one.slower_than(100.0)) is not None]
    assert shares[0] > 4 * shares[1]


def test_a_fault_begins_when_and_where_it_says() -> None:
    late = Stream(replace(PLAIN, errors=0.0), Fault(errors=1, after_s=30, from_weight=50), 5)
    assert counted(late, 50, 0, 30).canary.errors == 0
    assert counted(late, 30, 30, 60).canary.errors == 0
    assert late.harmed == 0
    whole = counted(late, 50, 60, 90)
    assert whole.canary.errors == whole.canary.requests == late.harmed
    assert late.first_bad == 60
    assert whole.stable.errors == 0


def test_a_leak_grows() -> None:
    stream = Stream(replace(PLAIN, errors=0.0), Fault(errors=0.05, leak_s=600), 5)
    early, midway, full = (counted(stream, 50, since, since + 60.0).canary for since in (0, 270, 600))
    assert early.errors < midway.errors < full.errors
    assert near(full.errors, full.requests, 0.05)


def test_a_black_hole_swallows_what_unreachable_loses() -> None:
    vanished = counted(Stream(PLAIN, Fault(vanished=1), 5), 10, 0, 60)
    lost = counted(Stream(PLAIN, Fault(lost=1), 5), 10, 0, 60)
    assert vanished.canary.requests == vanished.lost == 0
    assert lost.canary.requests == 0
    assert 400 < lost.lost < 800


def test_a_misroute_multiplies_the_odds() -> None:
    tally = counted(Stream(PLAIN, Fault(delivery=3), 5), 10, 0, 300)
    assert near(tally.canary.requests, tally.canary.requests + tally.stable.requests, 0.25)


def test_the_past_teaches_what_the_world_is_made_of() -> None:
    quiet, bursty, noisy = (
        learn(past, BOUNDS_MS, by_pod)
        for world in (
            replace(PLAIN, errors=0.01),
            replace(PLAIN, burst=30),
            replace(PLAIN, rps=1000, errors=0.01, noise=0.7),
        )
        for past, by_pod in (Stream(world, Fault(), 5).past(),)
    )
    assert quiet.pods == 3
    assert quiet.blocks == 240
    assert quiet.bounds == BOUNDS_MS
    assert quiet.per_second == pytest.approx(100, rel=0.05)
    assert quiet.errors.rate == pytest.approx(0.01, rel=0.1)
    assert quiet.errors.clump < 2
    assert bursty.errors.clump > 8
    assert quiet.errors.noise < 0.05 < noisy.errors.noise + noisy.errors.slow_noise


def test_nothing_is_made_up_beyond_the_longest_release() -> None:
    assert Stream(PLAIN, Fault(), 1).tally(10, LONGEST_S, LONGEST_S + 15) is None
