"""Exact counting: differences of raw samples against what a simulated proxy truly counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rollout.core.counts import (
    Counts,
    Group,
    Instance,
    Points,
    Rise,
    Samples,
    Series,
    Slow,
    Tally,
    increase,
    plus,
    since_then,
    tally,
)

UP = ((0.0, 1.0), (10.0, 1.0), (20.0, 1.0), (30.0, 1.0), (40.0, 1.0))
DOWN_AT_FIRST = ((0.0, 0.0), (10.0, 0.0), (20.0, 1.0), (30.0, 1.0))
EPOCH = datetime(2026, 11, 21, tzinfo=UTC)
TARGET = ("proxies", "gateway")
SIDECAR = ("proxies", "sidecar")
INF = float("inf")


def exactly(requests: int) -> Rise:
    return Rise(requests, certain=True)


def at_least(requests: int) -> Rise:
    return Rise(requests, certain=False)


@pytest.mark.parametrize(
    ("points", "since", "until", "up", "expected"),
    [
        pytest.param((), 5, 50, UP, exactly(0), id="no samples"),
        pytest.param(((0, 3), (10, 7)), 5, 50, None, exactly(4), id="a difference, without any need for up"),
        pytest.param(((0, 3), (10, 3), (20, 3)), 5, 50, None, exactly(0), id="nothing happened"),
        pytest.param(((0, 3), (5, 4), (10, 7)), 5, 50, None, exactly(3), id="a sample at since is before"),
        pytest.param(((0, 3), (10, 7), (20, 9)), 5, 20, None, exactly(6), id="a sample at until is inside"),
        pytest.param(((0, 3), (10, 7), (20, 9)), 5, 15, None, exactly(4), id="samples after until do not count"),
        pytest.param(((0, 3), (60, 9)), 5, 50, None, exactly(0), id="nothing inside"),
        pytest.param(((0, 1), (4, 6), (10, 9)), 5, 50, None, exactly(3), id="the last sample before since is the base"),
        pytest.param(((0, 9), (10, 4)), 5, 50, None, exactly(4), id="a reset counts from zero"),
        pytest.param(((0, 9), (10, 0), (20, 2)), 5, 50, None, exactly(2), id="a reset seen at zero"),
        pytest.param(((0, 9), (10, 4), (20, 6), (30, 1)), 5, 50, None, exactly(7), id="two resets"),
        pytest.param(((20, 5), (30, 7)), 5, 50, UP, exactly(7), id="a birth counts from zero"),
        pytest.param(((20, 5), (30, 2)), 5, 50, UP, exactly(7), id="a birth and a reset"),
        pytest.param(((20, 5), (30, 7)), 5, 50, None, at_least(2), id="no up: the start is unknown"),
        pytest.param(((20, 5), (30, 7)), 5, 50, (), at_least(2), id="an empty up: the start is unknown"),
        pytest.param(
            ((20, 5), (30, 7)), 5, 50, ((20.0, 1.0), (30.0, 1.0)), at_least(2), id="up no earlier than the series"
        ),
        pytest.param(((20, 5), (30, 7)), 5, 50, DOWN_AT_FIRST, at_least(2), id="the target was down before the series"),
        pytest.param(((20, 5),), 5, 50, None, at_least(0), id="one sample of an unknown start says nothing"),
        pytest.param(((20, 5), (30, 7), (40, 3)), 5, 50, None, at_least(5), id="an unknown start, then a reset"),
        pytest.param(((30, 5),), 5, 50, DOWN_AT_FIRST, exactly(5), id="down, then up, then the birth"),
    ],
)
def test_an_increase_is_the_sum_of_differences(
    points: Points, since: float, until: float, up: Points | None, expected: Rise
) -> None:
    assert increase(points, since, until, up) == expected


@dataclass(frozen=True)
class Life:
    """One counter as it was scraped, and what it truly counted from scrape to scrape."""

    points: tuple[tuple[float, float], ...]
    up: tuple[tuple[float, float], ...]
    truth: tuple[tuple[float, int], ...]
    """(time of the scrape, requests that a scrape there sees beyond the scrape before)."""

    def counted(self, since: float, until: float) -> int:
        return sum(requests for when, requests in self.truth if since < when <= until)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Scrapes 1..20 s apart; between two of them requests, a restart (which loses what no scrape saw), or neither.

    The target may fail a scrape; the counter is exposed from its first request on, and again after a restart.
    """
    when, value, seen, unseen = 100.0, 0, 0, 0
    exposed, first = False, draw(st.integers(0, 5))
    points, up, truth = [], [(when, float(draw(st.booleans())))], []
    for number in range(draw(st.integers(1, 15))):
        when += draw(st.integers(1, 20))
        if exposed and draw(st.integers(0, 5)) == 0:
            value, exposed, unseen = 0, False, 0
        requests = draw(st.integers(0, 9)) if number >= first else 0
        value, unseen, exposed = value + requests, unseen + requests, exposed or requests > 0
        reached = draw(st.integers(0, 7)) > 0
        up.append((when, float(reached)))
        if reached and exposed:
            # A restart that has caught up with the old count by its first scrape is seen by nobody.
            assume(unseen == value - seen or value < seen)
            points.append((when, float(value)))
            truth.append((when, unseen))
            seen, unseen = value, 0
    return Life(tuple(points), tuple(up), tuple(truth))


@given(lives(), st.integers(90, 400), st.integers(90, 400))
def test_increases_equal_what_was_truly_counted_since_the_first_sample_that_can_be_trusted(
    life: Life, one: int, other: int
) -> None:
    since, until = sorted((one, other))
    inside = [when for when, _ in life.points if since < when <= until]
    based = any(when <= since for when, _ in life.points)
    if not inside or based or any(when < inside[0] and value == 1 for when, value in life.up):
        expected = exactly(life.counted(since, until))
    else:
        expected = at_least(life.counted(inside[0], until))
    assert increase(life.points, since, until, life.up) == expected


@given(lives(), st.lists(st.integers(90, 400), min_size=2, max_size=8))
def test_windows_that_tile_sum_to_the_whole(life: Life, cuts: list[int]) -> None:
    edges = sorted(cuts)
    parts = [increase(life.points, since, until, life.up) for since, until in pairwise(edges)]
    whole = increase(life.points, edges[0], edges[-1], life.up)
    assert Rise(sum(part.by for part in parts), all(part.certain for part in parts)) == whole


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def series(
    group: Group,
    value: float,
    *,
    code: str = "200",
    le: float | None = None,
    base: float = 0,
    target: Instance = TARGET,
) -> Series:
    start = EPOCH.timestamp()
    return Series(group, target, ((start, base), (start + 10, base + value)), code=code, le=le)


def test_codes_are_sorted_into_answers_errors_and_disconnects() -> None:
    codes = {"200": 100, "301": 7, "404": 5, "500": 3, "503": 2, "0": 11, "": 1}
    samples = Samples(tuple(series("canary", count, code=code) for code, count in codes.items()))
    counts = tally(samples, (), at(1), at(20)).canary
    assert counts == Counts(requests=118, errors=6, disconnects=11)


def test_each_group_is_counted_by_itself() -> None:
    samples = Samples(
        (
            series("stable", 90),
            series("stable", 4, code="502"),
            series("canary", 10),
            series("canary", 3, code="0"),
            series("lost", 5, code="503"),
            series("lost", 2, code="404"),
            series("lost", 1, code="0"),
            series("other", 77, code="500"),
        )
    )
    assert tally(samples, (), at(1), at(20)) == Tally(
        stable=Counts(requests=94, errors=4), canary=Counts(requests=10, disconnects=3), lost=7
    )


def test_slower_than_a_bound_is_everything_but_its_bucket() -> None:
    samples = Samples(
        (
            series("canary", 50, le=INF),
            series("canary", 20, le=100.0),
            series("canary", 45, le=500.0),
            series("canary", 10, le=INF, code="500"),
            series("canary", 10, le=100.0, code="500"),
            series("canary", 10, le=500.0, code="500"),
        )
    )
    counts = tally(samples, (100.0, 250.0, 500.0), at(1), at(20)).canary
    assert counts.timed == 60
    assert counts.slow == (Slow(bound=100.0, requests=30, timed=60), Slow(bound=500.0, requests=5, timed=60))
    assert counts.slower_than(500.0) == counts.slow[1]
    assert counts.slower_than(250.0) is None


def test_a_proxy_without_a_bound_says_nothing_about_it() -> None:
    samples = Samples(
        (
            series("canary", 100, le=INF),
            series("canary", 90, le=100.0),
            series("canary", 99, le=500.0),
            series("canary", 40, le=INF, target=SIDECAR),
            series("canary", 10, le=500.0, target=SIDECAR),
            series("stable", 70, le=INF),
            series("stable", 60, le=100.0, target=SIDECAR),
        )
    )
    got = tally(samples, (100.0, 250.0, 500.0), at(1), at(20))
    assert got.canary.timed == 140
    assert got.canary.slow == (Slow(bound=100.0, requests=10, timed=100), Slow(bound=500.0, requests=31, timed=140))
    assert (got.stable.timed, got.stable.slow) == (70, ())


def test_a_bound_that_nobody_was_timed_at_lately_is_still_had() -> None:
    samples = Samples((series("canary", 0, le=INF), series("canary", 0, le=100.0)))
    assert tally(samples, (100.0,), at(1), at(20)).canary.slow == (Slow(bound=100.0, requests=0, timed=0),)


def test_a_bucket_is_never_larger_than_everything() -> None:
    samples = Samples((series("canary", 3, le=INF), series("canary", 5, le=100.0)))
    assert tally(samples, (100.0,), at(1), at(20)).canary.slow == (Slow(bound=100.0, requests=0, timed=3),)


def test_a_series_whose_start_is_unknown_counts_what_follows_its_first_sample_and_is_told() -> None:
    start = EPOCH.timestamp()
    errors = Series("canary", SIDECAR, ((start + 10, 1000.0), (start + 15, 1012.0)), code="500")
    everything = Series("canary", SIDECAR, ((start + 10, 5000.0), (start + 15, 5030.0)), code="200", le=INF)
    fast = Series("canary", SIDECAR, ((start + 10, 4000.0), (start + 15, 4020.0)), code="200", le=100.0)
    got = tally(Samples((errors, everything, fast, series("stable", 5))), (100.0,), at(1), at(20))
    assert got.stable == Counts(requests=5)
    assert got.canary == Counts(requests=12, errors=12, timed=30, slow=(Slow(bound=100.0, requests=10, timed=30),))
    assert got.uncertain == 3


def test_a_birth_counts_where_its_own_target_was_up_before() -> None:
    start = EPOCH.timestamp()
    born = Series("canary", TARGET, ((start + 10, 12.0),), code="200")
    elsewhere = Samples((born,), ups={SIDECAR: ((start, 1.0),)})
    here = Samples((born,), ups={TARGET: ((start, 1.0),)})
    assert tally(elsewhere, (), at(1), at(20)).uncertain == 1
    assert tally(here, (), at(1), at(20)) == Tally(canary=Counts(requests=12))


@given(st.lists(lives(), min_size=1, max_size=5), st.randoms(use_true_random=False), st.integers(90, 400))
def test_many_targets_add_up_in_any_order(counted: list[Life], shuffle: Random, since: int) -> None:
    parts = [Series("canary", ("proxies", str(number)), life.points, code="200") for number, life in enumerate(counted)]
    samples = Samples(
        tuple(shuffled(parts, shuffle)),
        ups={("proxies", str(number)): life.up for number, life in enumerate(counted)},
    )
    window = (datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(500, UTC))
    got = tally(samples, (), *window)
    rises = [increase(life.points, since, 500, life.up) for life in counted]
    assert got.canary.requests == sum(rise.by for rise in rises)
    assert got.uncertain == sum(not rise.certain for rise in rises)


def shuffled(parts: Sequence[Series], random: Random) -> list[Series]:
    again = list(parts)
    random.shuffle(again)
    return again


@st.composite
def counts(draw: st.DrawFn, bounds: tuple[float, ...] = (100.0, 500.0)) -> Counts:
    requests, timed = draw(st.integers(0, 1000)), draw(st.integers(0, 1000))
    with_bound = [draw(st.integers(0, timed)) for _ in bounds]
    return Counts(
        requests=requests,
        errors=draw(st.integers(0, requests)),
        disconnects=draw(st.integers(0, 100)),
        timed=timed,
        slow=tuple(
            Slow(bound=bound, requests=draw(st.integers(0, most)), timed=most)
            for bound, most in zip(bounds, with_bound, strict=True)
        ),
    )


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    return Tally(
        stable=draw(counts()),
        canary=draw(counts()),
        lost=draw(st.integers(0, 100)),
        overflowed=draw(st.integers(0, 100)),
        uncertain=draw(st.integers(0, 3)),
    )


@given(tallies(), tallies())
def test_what_came_since_then_and_what_was_before_make_the_whole(before: Tally, grown: Tally) -> None:
    now = plus(before, grown)
    assert since_then(now, before) == grown
    assert plus(before, since_then(now, before)) == now


@given(tallies(), tallies(), tallies())
def test_windows_add_in_any_grouping(one: Tally, two: Tally, three: Tally) -> None:
    assert plus(plus(one, two), three) == plus(one, plus(two, three))


@given(tallies(), tallies())
def test_nothing_is_ever_counted_below_zero(now: Tally, before: Tally) -> None:
    # Prometheus may have lost data since, or give less of it: that is no negative request.
    left = since_then(now, before)
    assert left.lost == max(0, now.lost - before.lost)
    assert left.overflowed == max(0, now.overflowed - before.overflowed)
    for got, late, early in ((left.canary, now.canary, before.canary), (left.stable, now.stable, before.stable)):
        assert got.requests == max(0, late.requests - early.requests)
        assert got.timed == max(0, late.timed - early.timed)
        assert [slow.timed for slow in got.slow] == [
            max(0, one.timed - other.timed) for one, other in zip(late.slow, early.slow, strict=True)
        ]
    nothing = since_then(now, now)
    assert (nothing.lost, nothing.canary.requests, nothing.stable.timed) == (0, 0, 0)
    assert {(slow.requests, slow.timed) for slow in nothing.canary.slow} == {(0, 0)}


@given(tallies())
def test_an_empty_window_changes_nothing(one: Tally) -> None:
    settled = one.model_copy(update={"uncertain": 0})
    assert plus(Tally(), settled) == settled
    assert plus(settled, Tally()) == settled
    assert since_then(settled, Tally()) == settled


def test_a_bound_that_only_one_window_has_is_kept_with_its_own_total() -> None:
    one = Tally(canary=Counts(timed=10, slow=(Slow(bound=100.0, requests=4, timed=10),)))
    more = (Slow(bound=100.0, requests=5, timed=17), Slow(bound=500.0, requests=2, timed=6))
    other = Tally(canary=Counts(timed=20, slow=more))
    assert plus(one, other).canary.slow == (Slow(bound=100.0, requests=9, timed=27), more[1])
    assert plus(other, one).canary.slow == (Slow(bound=100.0, requests=9, timed=27), more[1])
    assert since_then(other, one).canary.slow == (Slow(bound=100.0, requests=1, timed=7), more[1])


@given(tallies())
def test_a_tally_survives_json(one: Tally) -> None:
    assert Tally.model_validate_json(one.model_dump_json()) == one
    assert Tally.model_validate(one.wire()) == one


@pytest.mark.parametrize(("status", "failed"), [("0", 0), ("5", 0), ("8", 0), ("14", 7), ("13", 7), ("", 0)])
def test_a_grpc_call_that_failed_is_an_error_although_its_http_code_is_200(status: str, failed: int) -> None:
    series = Series("canary", ("pods", "p1"), ((at(0).timestamp(), 1.0), (at(10).timestamp(), 8.0)), "200", status)
    counts = tally(Samples((series,)), (), at(1), at(20)).canary
    assert (counts.requests, counts.errors) == (7, failed)
