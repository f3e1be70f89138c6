"""The algebra of the bets: none wins on average while the canary is tolerable. Means are enumerated, not sampled.

What the judge makes of the bets is in test_bets.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.judging import betting
from tests.core.chances import Chances, binomial, clumps, means, poisson

TINY = 1e-9
AGAINST = (1.4, 1.5, 1.6, 2.2, 2.5, 3.0, 5.0, 8.0, 20.0, 30.0, 1e4)
IN_FAVOUR = (0.1, 0.3, 0.5, 0.7, 0.85)
SHARES = (0.02, 0.2, 0.5, 0.8)
TOLERANCES = ((1.25, 0.0005), (1.25, 0.002), (1.0, 0.0), (1.5, 0.01), (3.0, 0.2))
Sizes = Mapping[int, float]
UP_TO: dict[int, list[Sizes]] = {
    1: [{1: 1.0}],
    2: [{2: 1.0}, {1: 0.4, 2: 0.6}],
    3: [{3: 1.0}, {1: 0.3, 2: 0.3, 3: 0.4}],
    5: [{5: 1.0}, {1: 0.5, 5: 0.5}, {2: 0.5, 4: 0.5}],
    10: [{10: 1.0}, {1: 0.1, 3: 0.2, 7: 0.3, 10: 0.4}],
}
"""How clumps of at most so many may come."""
Game = tuple[list[float], list[list[float]], list[float]]
Bets = Callable[..., list[float]]


def mean_of_both(
    bets: Bets,
    canary: tuple[Chances, int, float],
    stable: tuple[Chances, int, float],
    tolerance: tuple[float, float],
    factors: Sequence[float],
) -> list[float]:
    """Mean payoffs of a bet on both versions, each (chances of bad requests, requests, clump size divided by).

    Their logarithm is a sum of one part for each version, so no double sum is needed.
    """
    (chances, n, m), (others_chances, others, others_m) = canary, stable

    def logs(bad: int, others_bad: int) -> list[float]:
        return bets(bad, n, m, others_bad, others, others_m, *tolerance, factors)

    ours, theirs = means(chances, lambda bad: logs(bad, 0)), means(others_chances, lambda bad: logs(0, bad))
    return [one * other / math.exp(log) for one, other, log in zip(ours, theirs, logs(0, 0), strict=True)]


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 60),
    st.integers(1, 60),
    st.floats(1, 12),
    st.floats(1, 12),
    st.sampled_from(TOLERANCES),
)
def test_a_comparison_adds_up_one_part_for_each_version(
    bad: int, others_bad: int, n: int, others: int, m: float, others_m: float, tolerance: tuple[float, float]
) -> None:
    bets: Sequence[tuple[Bets, Sequence[float]]] = ((betting.comparison, AGAINST), (betting.not_worse, IN_FAVOUR))
    for bet, factors in bets:

        def logs(one: int, other: int, bet: Bets = bet, factors: Sequence[float] = factors) -> list[float]:
            return bet(one, n, m, other, others, others_m, *tolerance, factors)

        parts = zip(logs(bad, 0), logs(0, others_bad), logs(0, 0), strict=True)
        assert logs(bad, others_bad) == pytest.approx([ours + theirs - both for ours, theirs, both in parts], abs=1e-9)


# --- Against the canary: worse than stable ---


@pytest.mark.parametrize(("n", "others"), [(1, 1), (1, 30), (5, 9), (12, 3), (30, 30), (30, 1)])
@pytest.mark.parametrize("rate", [0.0, 0.001, 0.01, 0.2, 0.7])
@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_a_comparison_wins_nothing_at_the_edge_of_the_tolerated(
    n: int, others: int, rate: float, tolerance: tuple[float, float]
) -> None:
    canary = binomial(n, min(1.0, tolerance[0] * rate + tolerance[1])), n, 1.0
    stable = binomial(others, rate), others, 1.0
    assert max(mean_of_both(betting.comparison, canary, stable, tolerance, AGAINST)) <= 1 + TINY


@pytest.mark.parametrize(("n", "others"), [(5, 9), (30, 10), (10, 90)])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_comparison_loses_while_the_canary_is_better_than_tolerated(n: int, others: int, part: float) -> None:
    ratio, margin, rate = 1.25, 0.05, 0.1
    canary, stable = (binomial(n, part * (ratio * rate + margin)), n, 1.0), (binomial(others, rate), others, 1.0)
    assert max(mean_of_both(betting.comparison, canary, stable, (ratio, margin), AGAINST)) < 1


@pytest.mark.parametrize(("mean", "others_mean"), [(0.1, 0.05), (2.0, 4.0), (6.0, 1.0)])
def test_a_comparison_is_exactly_fair_for_poisson_counts_at_the_edge(mean: float, others_mean: float) -> None:
    n, others, ratio = 100, 300, 1.25
    tolerance = ratio, (mean - ratio * others_mean * n / others) / n
    assert tolerance[1] > 0
    canary, stable = (poisson(mean), n, 1.0), (poisson(others_mean), others, 1.0)
    assert mean_of_both(betting.comparison, canary, stable, tolerance, (1.4, 3.0, 8.0)) == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("m", UP_TO)
@pytest.mark.parametrize("others_m", UP_TO)
@pytest.mark.parametrize(("n", "others"), [(10, 90), (30, 30), (60, 20)])
def test_clumps_no_larger_than_expected_win_nothing_in_a_comparison(m: int, others_m: int, n: int, others: int) -> None:
    rate, tolerance = 0.05, (1.25, 0.01)
    for sizes in UP_TO[m]:
        canary = clumps(n * (tolerance[0] * rate + tolerance[1]), sizes), n, m
        for others_sizes in UP_TO[others_m]:
            stable = clumps(others * rate, others_sizes), others, others_m
            assert max(mean_of_both(betting.comparison, canary, stable, tolerance, AGAINST)) <= 1 + TINY


@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_clumps_one_larger_than_expected_win(m: int) -> None:
    n, others, rate, tolerance = 30, 270, 0.05, (1.25, 0.01)
    canary, stable = clumps(n * (tolerance[0] * rate + tolerance[1]), {m: 1.0}), clumps(others * rate, {m: 1.0})

    def found(divisor: int) -> list[float]:
        return mean_of_both(
            betting.comparison, (canary, n, divisor), (stable, others, divisor), tolerance, (1.6, 3.0, 8.0)
        )

    assert max(found(m)) <= 1 + TINY
    assert min(found(m - 1)) > 1.001


def test_a_comparison_does_not_ask_what_stables_rate_is() -> None:
    # A shared incident: both versions' rates jump together, as seldom as it likes.
    n, others, tolerance = 20, 40, (1.25, 0.01)
    mixed = [0.0] * len(AGAINST)
    for rate, chance in ((0.001, 0.9), (0.3, 0.07), (0.79, 0.03)):
        canary = binomial(n, min(1.0, tolerance[0] * rate + tolerance[1])), n, 1.0
        found = mean_of_both(betting.comparison, canary, (binomial(others, rate), others, 1.0), tolerance, AGAINST)
        mixed = [total + chance * mean for total, mean in zip(mixed, found, strict=True)]
    assert max(mixed) <= 1 + TINY


def test_without_one_of_the_versions_nothing_is_compared() -> None:
    for n, others in ((0, 100), (100, 0), (0, 0)):
        assert betting.comparison(0, n, 1.0, 0, others, 1.0, 1.25, 0.0005, AGAINST) == [0.0] * len(AGAINST)
        assert betting.not_worse(0, n, 1.0, 0, others, 1.0, 1.25, 0.0005, IN_FAVOUR) == [0.0] * len(IN_FAVOUR)


@pytest.mark.parametrize("rho", [1.6, 3.0, 8.0])
def test_a_comparison_wins_where_the_canary_is_as_bad_as_it_was_bet(rho: float) -> None:
    n, others, rate, tolerance = 100, 900, 0.01, (1.25, 0.0005)
    bad = rho * (tolerance[0] * rate + tolerance[1])
    growth = [
        chance * betting.comparison(count, n, 1.0, 9, others, 1.0, *tolerance, (rho,))[0]
        for count, chance in binomial(n, bad)
    ]
    assert sum(growth) > 0


# --- Against the canary: beyond a limit ---


@pytest.mark.parametrize("n", [0, 1, 2, 7, 30])
@pytest.mark.parametrize("limit", [0.0, 0.0001, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_bet_on_a_limit_wins_nothing_while_the_rate_is_within_it(n: int, limit: float, part: float) -> None:
    assert max(means(binomial(n, part * limit), lambda bad: betting.beyond(bad, n, 1.0, limit, AGAINST))) <= 1 + TINY


def test_a_bet_on_a_limit_is_exactly_fair_for_poisson_counts_at_the_limit() -> None:
    n, limit = 40, 0.05
    fair = means(poisson(n * limit), lambda bad: betting.beyond(bad, n, 1.0, limit, (1.5, 3.0, 8.0, 20.0)))
    assert fair == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("m", UP_TO)
def test_clumps_no_larger_than_expected_win_nothing_on_a_limit(m: int) -> None:
    n, limit, rhos = 40, 0.05, (1.5, 1.6, 2.5, 3.0, 5.0, 8.0, 20.0)
    for sizes in UP_TO[m]:
        found = means(clumps(n * limit, sizes, 600), lambda bad: betting.beyond(bad, n, m, limit, rhos))
        assert max(found) <= 1 + TINY


@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_clumps_one_larger_than_expected_win_on_a_limit(m: int) -> None:
    n, limit = 40, 0.05
    found = means(clumps(n * limit, {m: 1.0}), lambda bad: betting.beyond(bad, n, m - 1, limit, (1.6, 3.0, 8.0)))
    assert min(found) > 1.001


# --- Against the canary: its share of the traffic ---


@pytest.mark.parametrize("n", [0, 1, 3, 10, 30])
@pytest.mark.parametrize("weight", [1, 10, 50, 99, 99.5])
@pytest.mark.parametrize("skew", [1 / 1.5, 0.9, 1.0, 1.2, 1.5])
def test_a_bet_on_the_share_wins_nothing_while_the_odds_are_tolerated(n: int, weight: float, skew: float) -> None:
    odds = weight / (100 - weight)
    chances = binomial(n, odds * skew / (1 + odds * skew))
    under = means(chances, lambda got: betting.too_little(got, n - got, 1.0, odds / 1.5, SHARES))
    over = means(chances, lambda got: betting.too_little(n - got, got, 1.0, 1 / (odds * 1.5), SHARES))
    assert max(*under, *over) <= 1 + TINY


@pytest.mark.parametrize("n", [1, 10, 30])
def test_a_bet_on_the_share_is_exactly_fair_at_the_tolerated_odds(n: int) -> None:
    chances = binomial(n, 0.2 / 1.2)
    assert means(chances, lambda got: betting.too_little(got, n - got, 1.0, 0.2, SHARES)) == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_requests_that_arrive_together_win_on_the_share_only_if_more_than_expected_do(m: int, size: int) -> None:
    odds, groups = 0.2, 8
    chances = binomial(groups, odds / (1 + odds))
    found = means(chances, lambda got: betting.too_little(size * got, size * (groups - got), m, odds, SHARES))
    assert max(found) <= 1 + TINY if size <= m else min(found) > 1.001


# --- For the canary: not worse than a margin ---


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.02, 0.2])
@pytest.mark.parametrize("margin", [(1.5, 0.005), (1.5, 0.01), (1.0, 0.05), (2.0, 0.0)])
@pytest.mark.parametrize("beyond", [1.0, 1.1, 3.0])
def test_a_bet_for_the_canary_wins_nothing_while_it_is_worse_than_the_margin(
    rate: float, margin: tuple[float, float], beyond: float
) -> None:
    worse = min(1.0, beyond * (margin[0] * rate + margin[1]))
    for n, others in ((1, 1), (30, 30), (7, 30), (30, 3)):
        canary, stable = (binomial(n, worse), n, 1.0), (binomial(others, rate), others, 1.0)
        assert max(mean_of_both(betting.not_worse, canary, stable, margin, IN_FAVOUR)) <= 1 + TINY


def test_a_bet_for_the_canary_is_exactly_fair_for_poisson_counts_at_the_margin() -> None:
    n, others, rate, margin = 60, 90, 0.02, (1.5, 0.01)
    canary, stable = (poisson(n * (margin[0] * rate + margin[1])), n, 1.0), (poisson(others * rate), others, 1.0)
    assert mean_of_both(betting.not_worse, canary, stable, margin, IN_FAVOUR) == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("m", UP_TO)
@pytest.mark.parametrize("others_m", UP_TO)
def test_clumps_no_larger_than_expected_prove_nothing(m: int, others_m: int) -> None:
    n, others, rate, margin = 60, 90, 0.02, (1.5, 0.01)
    for sizes in UP_TO[m]:
        canary = clumps(n * (margin[0] * rate + margin[1]), sizes), n, m
        for others_sizes in UP_TO[others_m]:
            stable = clumps(others * rate, others_sizes), others, others_m
            assert max(mean_of_both(betting.not_worse, canary, stable, margin, IN_FAVOUR)) <= 1 + TINY


@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_clumps_one_larger_than_expected_prove_what_is_not_so(m: int) -> None:
    n, others, rate, margin = 60, 90, 0.02, (1.5, 0.01)
    canary = clumps(n * (margin[0] * rate + margin[1]), {m: 1.0}), n, m - 1
    stable = clumps(others * rate, {m: 1.0}), others, m - 1
    assert min(mean_of_both(betting.not_worse, canary, stable, margin, IN_FAVOUR[:3])) > 1.001


def test_no_failure_in_many_requests_is_worth_its_share_of_the_margin() -> None:
    found = betting.not_worse(0, 1000, 2.0, 0, 9000, 2.0, 1.5, 0.005, (0.3,))
    assert found == pytest.approx([1000 * 0.005 * 0.7 / 2])


# --- Stakes, caps and wealth ---


@st.composite
def fair_games(draw: st.DrawFn) -> Game:
    """A process, the logs of its bets in each outcome, and the outcomes' chances: every bet has mean 1."""
    bets = draw(st.integers(1, 5))
    process = draw(st.lists(st.floats(0, 1e6), min_size=bets + 1, max_size=bets + 1))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=2, max_size=5))
    chances = [weight / sum(weights) for weight in weights]
    logs = []
    for _ in range(bets):
        payoffs = draw(st.lists(st.floats(0.001, 1000), min_size=len(chances), max_size=len(chances)))
        mean = sum(chance * payoff for chance, payoff in zip(chances, payoffs, strict=True))
        logs.append([math.log(payoff / mean) for payoff in payoffs])
    return process, [list(outcome) for outcome in zip(*logs, strict=True)], chances


@given(fair_games(), st.floats(0, 1), st.floats(0, 10), st.booleans())
def test_staking_and_capping_win_nothing_on_fair_bets(game: Game, share: float, cap: float, begun: bool) -> None:
    process, outcomes, chances = game
    before = process if begun else []
    mean = sum(
        chance * betting.worth(betting.grow(before, logs, share, cap))
        for logs, chance in zip(outcomes, chances, strict=True)
    )
    assert mean <= betting.worth(before) * (1 + 1e-9)


@given(fair_games(), st.floats(0, 1))
def test_without_news_nothing_is_won_or_lost(game: Game, share: float) -> None:
    process, outcomes, _ = game
    quiet = betting.grow(process, [0.0] * len(outcomes[0]), share, 5.0)
    assert betting.worth(quiet) == pytest.approx(betting.worth(process))
    assert quiet[0] == pytest.approx(process[0] * (1 - share), abs=1e-6)


@given(fair_games(), st.floats(0, 1), st.floats(0, 8))
def test_one_interval_multiplies_the_evidence_by_its_cap_at_most(game: Game, share: float, cap: float) -> None:
    process, outcomes, _ = game
    for logs in outcomes:
        grown = betting.grow(process, logs, share, cap)
        assert betting.worth(grown) <= betting.worth(process) * math.exp(cap) * (1 + 1e-9)


@given(fair_games(), st.floats(0, 0.9))
def test_cash_is_kept_whatever_the_bets_lose(game: Game, share: float) -> None:
    process, outcomes, _ = game
    ruined = betting.grow(process, [-1e9] * len(outcomes[0]), share, 5.0)
    assert betting.worth(ruined) == pytest.approx(process[0] * (1 - share), abs=1e-6)


def test_a_process_that_never_bet_is_worth_one() -> None:
    assert betting.worth(()) == betting.worth(betting.grow((), (0.0, 0.0), 0.5, 3.0)) == 1.0
    assert betting.mean_of(()) == betting.mean_of(betting.held((), (0.0, 0.0))) == 1.0


def test_wealth_stays_finite_however_long_it_grows() -> None:
    process: tuple[float, ...] = ()
    logs: tuple[float, ...] = ()
    for _ in range(100):
        process = betting.grow(process, (400.0, -400.0), 0.5, 1000.0)
        logs = betting.held(logs, (400.0, -400.0))
    assert max(process) == betting.MOST
    assert math.isfinite(betting.mean_of(logs))
    assert betting.mean_of(logs) > 1e200


@given(st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=6))
def test_held_bets_multiply_their_payoffs(intervals: list[list[float]]) -> None:
    process: tuple[float, ...] = ()
    for logs in intervals:
        process = betting.held(process, logs)
    products = [math.prod(math.exp(logs[index]) for logs in intervals) for index in range(3)]
    assert betting.mean_of(process) == pytest.approx(sum(products) / 3)


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.floats(1, 1e6),
    st.floats(1, 1e6),
    st.sampled_from(TOLERANCES),
)
def test_every_payoff_is_a_number_whatever_was_counted(
    bad: int, good: int, others_bad: int, others_good: int, m: float, others_m: float, tolerance: tuple[float, float]
) -> None:
    n, others = bad + good, others_bad + others_good
    logs = [
        *betting.comparison(bad, n, m, others_bad, others, others_m, *tolerance, AGAINST),
        *betting.not_worse(bad, n, m, others_bad, others, others_m, *tolerance, IN_FAVOUR),
        *betting.beyond(bad, n, m, tolerance[1], AGAINST),
        *betting.too_little(n, others, m, 0.1, SHARES),
    ]
    assert all(map(math.isfinite, logs))
