import random
from datetime import timedelta

import pytest

from rollout.core.judging.past import Block, Cell
from rollout.core.replay.rehearsal import (
    Fault,
    History,
    Outcome,
    TooShort,
    added,
    learned_before,
    outcome,
    prepare,
    rehearse,
    share_of,
    slowed,
    split,
    together,
)
from tests.core import pasts
from tests.core.pasts import BLOCK_S, BOUNDS, QUICK, dice


def test_good_canaries_of_a_quiet_service_are_promoted_in_the_time_of_the_holds() -> None:
    rehearsal = prepare(pasts.by_pod(160), QUICK, 12, dice)
    seen: list[float] = []
    found = outcome(rehearse(rehearsal, QUICK, progress=seen.append))
    assert (found.runs, found.promoted, found.wrong) == (12, 12, 0)
    assert found.to_promote == 180
    assert found.to_roll_back is None
    assert found.failed == 0 < found.hit
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_the_same_seed_gives_the_same_releases_and_another_gives_others() -> None:
    history = pasts.by_pod(160)
    one = rehearse(prepare(history, QUICK, 6, dice), QUICK)
    assert rehearse(prepare(history, QUICK, 6, dice), QUICK) == one
    assert rehearse(prepare(history, QUICK, 6, random.Random), QUICK) != one


def test_injected_errors_are_caught_and_counted() -> None:
    rehearsal = prepare(pasts.by_pod(160), QUICK, 12, dice)
    found = outcome(rehearse(rehearsal, QUICK, Fault(errors=0.5)))
    assert found.wrong == 12
    assert found.rate[0] == 1
    assert found.to_roll_back is not None
    assert found.to_roll_back[0] <= found.to_roll_back[1] <= 60
    assert 0.3 * found.hit < found.failed < 0.7 * found.hit
    assert found.to_promote is None


def test_injected_slowness_is_caught_by_latency() -> None:
    rehearsal = prepare(pasts.by_pod(160, requests=3000), QUICK, 6, dice)
    found = outcome(rehearse(rehearsal, QUICK, Fault(latency=1.0)))
    assert found.wrong == 6
    assert all(check.startswith("latency") for check in found.rolled_back)
    assert found.failed == 0


def test_pods_that_cannot_be_told_apart_are_split_by_request() -> None:
    rng = random.Random(4)
    history = pasts.as_a_whole(160, lambda _: pasts.cell(rng, 300))
    found = outcome(rehearse(prepare(history, QUICK, 8, dice), QUICK))
    assert found.promoted == 8


def test_only_some_numbers_can_be_rehearsed_and_go_as_before() -> None:
    rehearsal = prepare(pasts.by_pod(160), QUICK, 8, dice)
    assert rehearse(rehearsal, QUICK, only=[5, 2]) == [rehearse(rehearsal, QUICK)[number] for number in (5, 2)]


def test_starts_are_spread_over_the_time_asked_for_and_no_release_ends_after_it() -> None:
    history = pasts.by_pod(160)
    rehearsal = prepare(history, QUICK, 40, dice)
    starts = sorted(set(rehearsal.starts))
    assert len(rehearsal.starts) == 40
    assert len(starts) == 10
    assert history.blocks[starts[0]].start == history.since
    assert starts[-1] * BLOCK_S + rehearsal.most_seconds == history.blocks[-1].end
    assert rehearsal.apart == 6


def test_one_run_begins_with_the_first_block() -> None:
    assert prepare(pasts.by_pod(160), QUICK, 1, dice).starts == (40,)


@pytest.mark.parametrize("blocks", [0, 30, 51])
def test_a_history_shorter_than_the_holds_is_refused_with_the_time_it_takes(blocks: int) -> None:
    with pytest.raises(TooShort) as refusal:
        prepare(pasts.by_pod(blocks), QUICK, 4, dice)
    assert refusal.value.needed == timedelta(minutes=3)


def test_a_history_as_long_as_the_holds_is_enough() -> None:
    rehearsal = prepare(pasts.by_pod(52), QUICK, 4, dice)
    assert set(rehearsal.starts) == {40}
    assert outcome(rehearse(rehearsal, QUICK)).promoted == 4


def test_a_release_whose_history_ends_is_held_for_want_of_time() -> None:
    history = pasts.by_pod(52)
    quiet = prepare(history, QUICK, 4, dice)
    slow = QUICK.model_copy(
        update={"steps": (*QUICK.steps[:2], QUICK.steps[2].model_copy(update={"hold": timedelta(hours=1)}))}
    )
    patient = type(quiet)(history, quiet.starts, 10_000.0, dice)
    found = outcome(rehearse(patient, slow))
    assert (found.promoted, found.wrong) == (0, 0)
    assert found.held == {"no time left": 4}


def test_a_service_without_requests_holds_for_want_of_them() -> None:
    history = History([Block(index * BLOCK_S, (index + 1) * BLOCK_S) for index in range(80)], BOUNDS, False)
    assert outcome(rehearse(prepare(history, QUICK, 2, dice), QUICK)).held == {"low-data": 2}


def test_a_group_of_pods_that_falls_silent_does_not_look_like_lost_traffic() -> None:
    history = pasts.by_pod(160, pods=2)
    blocks = [
        Block(one.start, one.end, one.groups, {("pods", "pod-0"): one.groups["stable"]}) if index >= 44 else one
        for index, one in enumerate(history.blocks)
    ]
    found = outcome(rehearse(prepare(History(blocks, BOUNDS, True, history.since), QUICK, 8, dice), QUICK))
    assert found.promoted == 8


def test_the_past_before_a_start_is_what_the_policy_would_learn_from() -> None:
    history = pasts.by_pod(160)
    learned = learned_before(history, QUICK, 60)
    assert learned.blocks == 40
    assert learned.pods == 4
    assert learned_before(history, QUICK, 10).blocks == 10
    assert learned_before(History(history.blocks, BOUNDS, by_pod=False), QUICK, 60).pods == 0


def test_a_policy_with_long_blocks_learns_from_blocks_as_long() -> None:
    policy = QUICK.model_copy(update={"judge": QUICK.judge.model_copy(update={"block": timedelta(minutes=1)})})
    history = pasts.by_pod(80)
    learned = learned_before(history, policy, 62)
    assert learned.blocks == 10
    assert learned.per_second == pytest.approx(20, rel=0.1)


def test_blocks_put_together_hold_the_same_requests() -> None:
    blocks = pasts.by_pod(11).blocks
    found = together(blocks, 4)
    assert [(one.start, one.end) for one in found] == [(45.0, 105.0), (105.0, 165.0)]
    assert found[0].groups["stable"] == added([one.groups["stable"] for one in blocks[3:7]], len(BOUNDS))
    assert sum(cell.requests for cell in found[1].pods.values()) == found[1].groups["stable"].requests
    assert together(blocks, 1) == list(blocks)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
def test_a_split_loses_no_request_and_keeps_slow_ones_nested(share: float) -> None:
    rng = random.Random(5)
    for _ in range(50):
        whole = pasts.cell(rng, 200, errors=0.1)
        part, rest = split(rng, whole, share)
        assert added([part, rest], len(BOUNDS)) == whole
        for one in (part, rest):
            assert one.errors <= one.requests
            assert list(one.slow) == sorted(one.slow, reverse=True)
            assert not one.slow or one.slow[0] <= one.timed
    assert split(rng, whole, 0)[0].requests == 0
    assert split(rng, whole, 1)[1].requests == 0


def test_a_split_of_histograms_that_contradict_themselves_stays_possible() -> None:
    part, rest = split(random.Random(1), Cell(10, 0, 0, 5, (7, 2, 4)), 0.5)
    assert all(count >= 0 for count in (*part.slow, *rest.slow))


def test_requests_that_take_twice_as_long_are_slower_than_half_the_bound() -> None:
    # 1,000 requests in each of (0, 10], (10, 50], (50, 100], (100, 500] ms, and 1,000 above.
    whole = Cell(5000, 0, 0, 5000, (4000, 3000, 2000, 1000))
    found = slowed(random.Random(2), whole, BOUNDS, 1.0)
    assert found.slow[0] == pytest.approx(4500, abs=60)
    assert found.slow[1] == pytest.approx(3000 + 1000 * 0.43, abs=60)
    assert found.slow[2] == pytest.approx(3000, abs=1)
    assert found.slow[3] == pytest.approx(1000 + 1000 * 0.43, abs=60)
    assert found._replace(slow=()) == whole._replace(slow=())


def test_requests_that_take_much_longer_pass_several_bounds() -> None:
    whole = Cell(1000, 0, 0, 1000, (1000, 0, 0, 0))
    assert slowed(random.Random(2), whole, BOUNDS, 99.0).slow == (1000, 1000, 1000, 1000)


def test_a_share_has_an_interval_that_knows_how_little_was_seen() -> None:
    assert share_of(0, 200)[:2] == (0, 0)
    assert share_of(0, 200)[2] == pytest.approx(0.0188, abs=1e-3)
    assert share_of(200, 200)[2] == 1
    assert share_of(10, 100) == pytest.approx((0.1, 0.055, 0.174), abs=1e-3)


def test_faults_are_spelled_as_they_are_asked_for() -> None:
    assert str(Fault(errors=0.02)) == "errors=2%"
    assert str(Fault(latency=0.25)) == "latency=+25%"


def test_outcomes_are_summed_up_by_what_decided_most() -> None:
    rehearsal = prepare(pasts.by_pod(160, errors=0.3), QUICK, 8, dice)
    found: Outcome = outcome(rehearse(rehearsal, QUICK))
    assert found.promoted + found.wrong + sum(found.held.values()) == 8
    assert list(found.held.values()) == sorted(found.held.values(), reverse=True)
