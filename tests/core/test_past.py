"""The past in blocks: counted as the judge counts an interval, whatever the cut."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.counts import Counts, Failing, Group, Instance, Points, Samples, Series, Slow, increase, tally
from rollout.core.judging.past import Block, Cell, blocks, rises_of

BOUNDS = (100.0, 500.0)
INF = float("inf")
GATEWAY, SIDECAR = ("proxies", "gateway"), ("proxies", "sidecar")


@st.composite
def counters(draw: st.DrawFn) -> Points:
    """Scrapes 1..20 s apart of a counter that grows, stands still or begins anew; some scrapes are missed."""
    when, value = float(draw(st.integers(50, 200))), draw(st.integers(0, 50))
    points = []
    for _ in range(draw(st.integers(0, 12))):
        when += draw(st.integers(1, 20))
        value = draw(st.integers(0, 5)) if draw(st.integers(0, 6)) == 0 else value + draw(st.integers(0, 20))
        if draw(st.integers(0, 6)):
            points.append((when, float(value)))
    return tuple(points)


@st.composite
def samples(draw: st.DrawFn) -> Samples:
    """Up to four targets: any counters, and histograms that all have the same bounds."""
    groups: tuple[Group, ...] = ("stable", "canary", "lost", "other")
    series, ups = [], {}
    for number in range(draw(st.integers(0, 4))):
        target = ("pods", str(number))
        group = draw(st.sampled_from(groups))
        codes = draw(st.lists(st.sampled_from([("200", ""), ("503", ""), ("0", ""), ("200", "13")]), unique=True))
        series += [Series(group, target, draw(counters()), code=code, grpc=grpc) for code, grpc in codes]
        if draw(st.booleans()):
            series += [Series(group, target, draw(counters()), code="200", le=le) for le in (*BOUNDS, 10.0, INF)]
        if draw(st.booleans()):
            ups[target] = tuple((float(when), float(draw(st.booleans()))) for when in range(40, 400, 30))
    return Samples(tuple(series), ups=ups)


def judged(counts: Counts) -> tuple[int, int, int, int, list[tuple[int, int]]]:
    """What the judge reads: a bound that nobody has is the same as one that nobody was timed at."""
    slow = [counts.slower_than(bound) or Slow(bound=bound, requests=0, timed=0) for bound in BOUNDS]
    pairs = [(one.requests, one.timed) for one in slow]
    return counts.requests, counts.errors, counts.disconnects, counts.timed, pairs


@given(samples(), st.lists(st.integers(40, 400), min_size=2, max_size=9, unique=True))
@settings(deadline=None)
def test_every_block_counts_what_the_judge_would_have_counted_then(seen: Samples, cuts: list[int]) -> None:
    edges = [float(cut) for cut in sorted(cuts)]
    cut = blocks(seen, BOUNDS, edges)
    assert [(block.start, block.end) for block in cut] == list(pairwise(edges))
    for block in cut:
        since, until = (datetime.fromtimestamp(edge, UTC) for edge in (block.start, block.end))
        expected, got = tally(seen, BOUNDS, since, until), block.tally(BOUNDS)
        assert judged(got.canary) == judged(expected.canary)
        assert judged(got.stable) == judged(expected.stable)
        assert got.lost == expected.lost


@given(samples(), st.lists(st.integers(40, 400), min_size=2, max_size=9, unique=True))
@settings(deadline=None)
def test_the_pods_of_stable_add_up_to_stable(seen: Samples, cuts: list[int]) -> None:
    for block in blocks(seen, BOUNDS, [float(cut) for cut in sorted(cuts)]):
        stable, pods = block.groups.get("stable", Cell()), block.pods.values()
        assert sum(pod.requests for pod in pods) == stable.requests
        assert sum(pod.errors for pod in pods) == stable.errors
        assert sum(pod.disconnects for pod in pods) == stable.disconnects
        assert sum(pod.timed for pod in pods) == stable.timed


@given(counters(), st.lists(st.integers(40, 400), min_size=2, max_size=9, unique=True), st.booleans())
def test_a_counter_rises_in_its_blocks_as_it_is_counted_between_their_edges(
    points: Points, cuts: list[int], was_up: bool
) -> None:
    edges, up = [float(cut) for cut in sorted(cuts)], ((0.0, 1.0),) if was_up else None
    expected = [increase(points, since, until, up).by for since, until in pairwise(edges)]
    assert rises_of(points, edges, up) == expected


def series(value: float, *, code: str = "200", le: float | None = None, target: Instance = GATEWAY) -> Series:
    return Series("stable", target, ((0.0, 0.0), (10.0, value)), code=code, le=le)


def stable(*parts: Series, failing: Failing | None = None) -> Mapping[Group, Cell]:
    seen = Samples(parts)
    (block,) = blocks(seen, BOUNDS, [1.0, 20.0]) if failing is None else blocks(seen, BOUNDS, [1.0, 20.0], failing)
    return block.groups


def test_a_block_in_which_nothing_happened_is_empty() -> None:
    seen = Samples((series(5), series(5, le=INF)))
    first, second = blocks(seen, BOUNDS, [1.0, 20.0, 40.0])
    assert first.groups["stable"] == Cell(requests=5, timed=5, slow=(0, 0))
    assert second == Block(20.0, 40.0)
    assert second.tally(BOUNDS).stable == Counts()


def test_a_bound_that_no_histogram_has_was_never_exceeded() -> None:
    cell = stable(series(50, le=INF), series(30, le=500.0), series(20, le=250.0))["stable"]
    assert cell == Cell(timed=50, slow=(0, 20))


def test_a_bucket_is_never_larger_than_everything() -> None:
    assert stable(series(3, le=INF), series(5, le=100.0))["stable"] == Cell(timed=3, slow=(0, 0))


def test_which_answers_are_failures_is_the_policys_to_say() -> None:
    parts = (series(3, code="429"), series(4, code="503"))
    assert stable(*parts)["stable"].errors == 4
    assert stable(*parts, failing=Failing(http=frozenset({"429"}), grpc=frozenset()))["stable"].errors == 3


def test_each_pod_has_its_own_cell() -> None:
    (block,) = blocks(Samples((series(3), series(4, target=SIDECAR))), (), [1.0, 20.0])
    assert block.pods == {GATEWAY: Cell(requests=3), SIDECAR: Cell(requests=4)}


@pytest.mark.parametrize(("cut", "expected"), [([0.0, 10.0], [6.0]), ([10.0, 20.0], [0.0]), ([0.0, 5.0, 10.0], [0, 6])])
def test_a_sample_on_an_edge_belongs_to_the_block_that_it_ends(cut: list[float], expected: list[float]) -> None:
    assert rises_of(((0.0, 1.0), (10.0, 7.0)), cut, None) == expected
