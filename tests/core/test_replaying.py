import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from rollout.core.judging.clumps import Learned, learn
from rollout.core.judging.past import Block, Cell
from rollout.core.replay.replaying import Review, releases, review, usual_losses, weights_of
from tests.core import pasts
from tests.core.pasts import BLOCK_S, BOUNDS, QUICK, block

STEPS = [20, 50, 100]
PAST = 40


def story(weights: Sequence[int], bad: float = 0.001, lost: int = 0, requests: float = 300.0) -> list[Block]:
    """Blocks of a release with these weights, after a quiet past; the canary fails at the rate `bad`."""
    rng = random.Random("story")
    found = []
    for index, weight in enumerate([*([0] * PAST), *weights]):
        canary = pasts.cell(rng, requests * weight / 100, bad)
        stable = pasts.cell(rng, requests * (100 - weight) / 100)
        found.append(block(index, stable=stable, canary=canary, lost=Cell(lost, lost)))
    return found


def judged(blocks: Sequence[Block]) -> Review:
    weights = weights_of(blocks, STEPS)
    [span] = releases(weights)
    before = learn(blocks[: span.start], BOUNDS)
    part = slice(span.start, span.stop)
    return review(QUICK, before, blocks[part], weights[part], BOUNDS, usual_losses(blocks[: span.start]))


def test_weights_are_read_off_the_split_of_requests() -> None:
    weights = [20] * 5 + [50] * 4 + [100] * 6
    assert weights_of(story(weights), STEPS) == [0] * PAST + weights


@pytest.mark.parametrize("requests", [6.0, 20.0])
def test_little_traffic_does_not_look_like_many_changes(requests: float) -> None:
    weights = [20] * 20 + [50] * 20 + [100] * 20
    found = weights_of(story(weights, requests=requests), STEPS)
    changes = [(one, other) for one, other in pairwise(found) if one != other]
    assert changes == [(0, 20), (20, 50), (50, 100)]


def test_a_weight_that_no_step_has_is_taken_for_the_nearest() -> None:
    assert weights_of(story([25] * 6), STEPS) == [0] * PAST + [20] * 6


def test_blocks_without_requests_go_with_the_others() -> None:
    blocks = story([20] * 8)
    blocks[PAST + 3] = block(PAST + 3)
    assert weights_of(blocks, STEPS)[PAST:] == [20] * 8


def test_no_blocks_have_no_weights() -> None:
    assert weights_of([], STEPS) == []


def test_releases_are_what_lies_between_two_zeros() -> None:
    assert releases([0, 20, 50, 0, 0, 20, 100]) == [range(1, 3), range(5, 7)]
    assert releases([0, 0]) == []


def test_a_good_release_would_have_passed_and_its_steps_were_proven() -> None:
    found = judged(story([20] * 5 + [50] * 5 + [100] * 5, requests=3000))
    assert found.convicted is None
    assert found.finished
    assert [stay.weight for stay in found.stays] == STEPS
    assert found.stays[1].proven_at is not None
    assert found.stays[1].since < found.stays[1].proven_at <= found.stays[1].until
    assert found.saved == 0
    assert found.since == PAST * BLOCK_S
    assert sum(stay.counted.canary.requests for stay in found.stays) == pytest.approx(
        5 * 600 + 5 * 1500 + 5 * 3000, rel=0.1
    )


def test_a_bad_release_would_have_been_rolled_back_and_what_followed_is_counted() -> None:
    found = judged(story([20] * 6 + [50] * 6, bad=0.2))
    assert found.convicted is not None
    assert found.convicted.check == "errors vs stable"
    assert found.convicted.weight == 20
    assert found.convicted.at - found.since <= 90
    assert found.convicted.evidence >= found.convicted.convicts
    assert found.saved == pytest.approx(6 * 150 * 0.2, rel=0.5)
    assert not found.finished
    assert [turn.at for turn in found.turns] == sorted(turn.at for turn in found.turns)


def test_a_fault_at_full_weight_only_asks_for_a_control() -> None:
    quiet, bad = story([20] * 5 + [50] * 5 + [100] * 8, requests=3000), story([100] * 18, bad=0.2, requests=3000)
    found = judged([*quiet[: PAST + 10], *bad[PAST + 10 :]])
    assert found.convicted is None or found.convicted.weight == 100
    assert "alarm" in {turn.kind for turn in found.turns}
    assert found.saved >= 0


def test_requests_that_are_lost_anyway_are_not_held_against_the_canary() -> None:
    found = judged(story([20] * 6 + [50] * 6, lost=3))
    assert found.convicted is None
    assert all(stay.counted.lost == 0 for stay in found.stays)


def test_requests_that_only_the_release_lost_are() -> None:
    rng = random.Random("lost")
    blocks = story([20] * 6 + [50] * 6)
    blocks[PAST:] = [
        block(PAST + index, stable=one.groups["stable"], canary=pasts.cell(rng, 30), lost=Cell(30, 30))
        for index, one in enumerate(blocks[PAST:])
    ]
    found = review(QUICK, learn(blocks[:PAST], BOUNDS), blocks[PAST:], [20] * 12, BOUNDS)
    assert found.convicted is not None


def test_nothing_is_lost_before_the_first_block() -> None:
    assert usual_losses([]) == 0


def test_a_release_of_which_nothing_was_known_is_judged_by_first_guesses() -> None:
    blocks = story([20] * 6 + [50] * 6)[PAST:]
    found = review(QUICK, Learned(), blocks, [20] * 6 + [50] * 6, BOUNDS)
    assert found.convicted is None


def test_a_canary_that_took_everything_has_no_rate_to_be_held_against() -> None:
    rng = random.Random("all")
    blocks = [block(index, canary=pasts.cell(rng, 300, 0.95)) for index in range(12)]
    found = review(QUICK, Learned(), blocks, [100] * 12, BOUNDS)
    assert found.convicted is not None
    assert found.saved > 0
