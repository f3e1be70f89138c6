"""What stable's past teaches about clumps: seeded pasts of which the truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.counts import Instance
from rollout.core.judging.clumps import LONG, Habit, Learned, learn
from rollout.core.judging.past import Block, Cell

BLOCK_S = 15.0
BOUND = 500.0
SEEDS = range(4)


@dataclass(frozen=True)
class World:
    """An hour of a stable version; every bad request is a failed one and a slow one."""

    rate: float
    requests: int = 1500
    """In each block."""
    blocks: int = 240
    pods: int = 3
    clump: int = 1
    noise: float = 0.0
    """Squared coefficient of variation of the rate, new in every block."""
    slow_noise: float = 0.0
    """The same, new every eight blocks."""
    incidents: int = 0
    """Of four blocks each, in which three requests of ten fail, whichever pod they reach."""

    def lived(self, seed: int) -> list[Block]:
        random = np.random.default_rng(seed)
        starts = random.choice(self.blocks - 4, size=self.incidents, replace=False)
        shared = {int(start) + after for start in starts for after in range(4)}
        blocks, factor = [], 1.0
        for index in range(self.blocks):
            if self.slow_noise and index % 8 == 0:
                factor = random.gamma(1 / self.slow_noise, self.slow_noise)
            rate = self.rate * factor * (random.gamma(1 / self.noise, self.noise) if self.noise else 1.0)
            cells: dict[Instance, Cell] = {}
            for pod in range(self.pods):
                n = int(random.poisson(self.requests / self.pods))
                clumps = int(random.poisson(n * min(rate, 1.0) / self.clump))
                bad = int(random.binomial(n, 0.3)) if index in shared else min(n, clumps * self.clump)
                cells["pods", str(pod)] = Cell(requests=n, errors=bad, timed=n, slow=(bad,))
            blocks.append(block(index, cells))
        return blocks


def block(index: int, pods: dict[Instance, Cell]) -> Block:
    cells = pods.values()
    slow = sum(cell.slow[0] for cell in cells if cell.slow)
    stable = Cell(
        requests=sum(cell.requests for cell in cells),
        errors=sum(cell.errors for cell in cells),
        timed=sum(cell.timed for cell in cells),
        slow=(slow,),
    )
    return Block(BLOCK_S * index, BLOCK_S * (index + 1), {"stable": stable}, pods)


def taught(world: World, seed: int, *, by_pod: bool) -> Habit:
    past = world.lived(seed)
    learned = learn(past, (BOUND,), past if by_pod else ())
    assert learned.habit_at(BOUND) == learned.errors
    return learned.errors


@pytest.mark.parametrize("by_pod", [True, False])
@pytest.mark.parametrize("rate", [0.0001, 0.001, 0.01])
@pytest.mark.parametrize("seed", SEEDS)
def test_errors_that_come_one_by_one_have_no_clumps_and_no_noise(rate: float, seed: int, by_pod: bool) -> None:
    habit = taught(World(rate), seed, by_pod=by_pod)
    assert 1 <= habit.clump <= 1.8
    assert habit.noise == 0
    assert habit.dispersion(1500 * rate) <= 1.8
    assert habit.rate == pytest.approx(rate, rel=0.5, abs=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("clump", [10, 30])
@pytest.mark.parametrize("rate", [0.001, 0.01])
def test_bursts_are_learned_from_the_difference_between_pods(rate: float, clump: int, seed: int) -> None:
    assert 0.7 * clump <= taught(World(rate, clump=clump), seed, by_pod=True).clump <= 1.4 * clump


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("clump", [10, 30])
def test_bursts_are_learned_from_their_times_where_there_is_one_pod(clump: int, seed: int) -> None:
    for rate in (0.001, 0.01):
        habit = taught(World(rate, clump=clump), seed, by_pod=False)
        assert habit.dispersion(1500 * rate) >= 0.7 * clump
        assert habit.clump <= 1.4 * clump


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_that_all_pods_share_is_noise_and_no_clump(seed: int) -> None:
    habit = taught(World(0.01, noise=0.5), seed, by_pod=True)
    assert habit.clump <= 1.5
    assert 0.25 <= habit.noise <= 0.75


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_slower_than_a_block_is_seen_in_longer_stretches(seed: int) -> None:
    habit = taught(World(0.01, slow_noise=0.25), seed, by_pod=True)
    assert habit.slow_noise > 0.02
    assert habit.dispersion(15) > 2


@pytest.mark.parametrize("seed", SEEDS)
def test_rare_incidents_of_all_pods_are_neither_clumps_nor_noise(seed: int) -> None:
    calm, habit = World(0.001), taught(World(0.001, incidents=2), seed, by_pod=True)
    assert habit.clump <= 1.5
    assert habit.noise <= 0.05
    assert habit.rate == pytest.approx(taught(calm, seed, by_pod=True).rate, rel=0.3)


def one_pod(errors: Sequence[int]) -> list[Block]:
    return [block(index, {("pods", "0"): Cell(requests=1000, errors=bad)}) for index, bad in enumerate(errors)]


@pytest.mark.parametrize("blocks", [4, 10])
@pytest.mark.parametrize("after", [0, 2, 20])
def test_an_excess_that_lasts_is_an_incident_and_no_clump_of_the_only_pod(blocks: int, after: int) -> None:
    past = one_pod([1] * 20 + [400] * blocks + [1] * after)
    assert learn(past, (), past).errors.clump <= 1.5


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_an_excess_of_a_moment_is_a_clump_of_the_only_pod(blocks: int) -> None:
    past = one_pod([1] * 20 + [40] * blocks + [1] * 20)
    assert learn(past, (), past).errors.clump >= 10


def test_without_traffic_nothing_is_learned() -> None:
    assert learn([], (BOUND,)) == Learned()
    assert learn([Block(0.0, BLOCK_S), block(1, {("pods", "0"): Cell(disconnects=3)})], (BOUND,)) == Learned()


def test_one_block_teaches_little_more_than_the_first_guess() -> None:
    learned = learn([block(0, {("pods", "0"): Cell(requests=1000, errors=2, timed=1000, slow=(400,))})], (BOUND,))
    assert learned.errors.rate == 0.002
    assert 1 <= learned.errors.clump <= 1.5
    assert (learned.errors.noise, learned.errors.slow_noise) == (0, 0)
    assert (learned.blocks, learned.pods) == (1, 0)
    assert learned.per_second == pytest.approx(1000 / BLOCK_S)


def test_the_usual_rate_is_the_median_so_that_incidents_do_not_raise_it() -> None:
    assert learn(one_pod([10] * 19 + [900] * 11), ()).errors.rate == 0.01


def test_where_most_blocks_are_spotless_the_usual_rate_is_the_mean_of_all_but_the_worst() -> None:
    assert learn(one_pod([0] * 51 + [1] * 44 + [500] * 5), ()).errors.rate == pytest.approx(44 / 95_000)


@given(st.floats(1, 50), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6))
def test_a_dispersion_is_at_least_everything_that_was_learned(
    clump: float, noise: float, slow_noise: float, expected: float
) -> None:
    habit = Habit(clump=clump, noise=noise, slow_noise=slow_noise)
    assert habit.dispersion(expected) >= max(clump, 1 + noise * expected, 1 + slow_noise * LONG * expected)
    assert habit.dispersion(0) == clump


# --- Which latency bounds are worth comparing ---


def timed(slow: Sequence[int], count: int = 3) -> list[Block]:
    cell = Cell(requests=100, timed=100, slow=tuple(slow))
    return [Block(BLOCK_S * index, BLOCK_S * (index + 1), {"stable": cell}) for index in range(count)]


def test_latency_is_compared_from_the_bound_above_the_median_up_to_ten_seconds() -> None:
    bounds = (10.0, 50.0, 100.0, 10_000.0, 30_000.0)
    learned = learn(timed((90, 51, 50, 1, 0)), bounds)
    assert learned.bounds == (100.0, 10_000.0)
    assert learned.slow_at == bounds
    assert learned.habit_at(50.0).rate == 0.51


def test_a_bound_that_nothing_is_known_about_has_the_first_guess() -> None:
    assert learn(timed((1,)), (100.0,)).habit_at(250.0) == Habit()
    assert learn(timed(()), (100.0,)).habit_at(100.0).rate == 0


def test_without_a_histogram_no_latency_is_compared() -> None:
    past = [Block(0.0, BLOCK_S, {"stable": Cell(requests=100)})]
    learned = learn(past, (100.0, 500.0))
    assert learned.bounds == ()
    assert learned.latency == (Habit(), Habit())


@given(st.integers(1, 64))
def test_however_fine_the_histograms_are_a_few_bounds_are_compared(count: int) -> None:
    bounds = tuple(float(10 * number) for number in range(1, count + 1))
    learned = learn(timed((10,) * count), bounds)
    assert 1 <= len(learned.bounds) <= 16
    assert learned.bounds[0] == bounds[0]
    assert set(learned.bounds) <= set(bounds)


# --- Pods ---


def test_pods_that_cannot_be_told_apart_teach_nothing_about_clumps() -> None:
    world = World(0.01, pods=3, clump=10)
    past = world.lived(1)
    together = [Block(each.start, each.end, each.groups, {("pods", "0"): each.groups["stable"]}) for each in past]
    alone = learn(past, (BOUND,))
    assert learn(past, (BOUND,), together) == alone
    assert learn(past, (BOUND,), past[1:]) == alone
    assert alone.pods == 0
    assert learn(past, (BOUND,), past).pods == 3


@pytest.mark.parametrize(("hit", "clumped"), [(1, True), (2, False)])
def test_several_pods_out_of_the_usual_together_are_an_incident_and_one_alone_is_a_clump(
    hit: int, clumped: bool
) -> None:
    def pods(index: int) -> dict[Instance, Cell]:
        bad = [300 if index == 20 and pod < hit else 1 for pod in range(3)]
        return {("pods", str(pod)): Cell(requests=1000, errors=bad[pod]) for pod in range(3)}

    past = [block(index, pods(index)) for index in range(40)]
    assert (learn(past, (), past).errors.clump > 10) == clumped


def test_a_pod_may_come_and_go() -> None:
    past = World(0.01, pods=3).lived(1)
    fewer = [
        Block(each.start, each.end, each.groups, dict(list(each.pods.items())[: 1 + index % 3]))
        for index, each in enumerate(past)
    ]
    assert learn(past, (BOUND,), fewer).errors.clump <= 1.5


def test_a_block_that_no_pod_counted_is_left_out() -> None:
    past = World(0.01, pods=3, clump=10).lived(1)
    gaps = [Block(each.start, each.end) if index % 2 else each for index, each in enumerate(past)]
    assert learn(past, (BOUND,), gaps).errors.clump == pytest.approx(10, rel=0.3)


def test_what_was_learned_is_the_same_after_a_round_trip_through_its_wire_form() -> None:
    past = World(0.001, clump=3, noise=0.3).lived(5)
    learned = learn(past, (BOUND,), past)
    assert Learned.model_validate(learned.wire()) == learned
    assert Learned.model_validate_json(learned.model_dump_json(by_alias=True)) == learned
