"""Stable's past in pieces: nothing lost at the seams, nothing double, and no more patience than was given."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.checks import CustomCheck
from rollout.core.counts import SERVER_FAILURES, Samples
from rollout.core.judging.clumps import Learned, learn
from rollout.core.judging.gates import Readings
from rollout.core.judging.past import Block, blocks
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.core.policy import PolicySpec
from rollout.core.route import Unavailable
from rollout.history import bounds_to_learn, learn_past, stretch
from rollout.ports import Metrics, Subject
from tests.fakes.metrics import FakeMetrics, Proxy

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
BLOCK_S = 15.0
BOUNDS = (50.0, 500.0)
SUBJECT = Subject("shop", "checkout", "v2", "v1", MetricsPolicy(), BOUNDS)
POLICY = PolicySpec.model_validate({"judge": {"learn": "30m"}})


class Watched:
    """A Metrics port that answers as long as `willing` says so, and remembers what it was asked."""

    def __init__(self, metrics: Metrics, willing: Callable[[Subject, datetime, datetime], bool]) -> None:
        self._metrics, self._willing = metrics, willing
        self.asked: list[tuple[datetime, datetime]] = []
        self.hangs = False
        """Whether it does not answer at all, rather than with Unavailable."""

    async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
        self.asked.append((since, now))
        if self._willing(subject, since, now):
            return await self._metrics.samples(subject, since, now)
        if self.hangs:
            await asyncio.Event().wait()
        return Unavailable("the answer is too large")

    async def readings(self, subject: Subject, custom: Sequence[CustomCheck], now: datetime) -> Readings | Unavailable:
        return await self._metrics.readings(subject, custom, now)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def shop(pods: int = 3) -> FakeMetrics:
    """Half an hour of 20 requests per second, a scrape every 15 s, the errors in clumps of one pod."""
    gateway = Proxy("gateway")
    own = [Proxy(f"pod-{number}", reporter="destination") for number in range(pods)]
    metrics = FakeMetrics(gateway, *own)
    metrics.scrape(at(-15))
    for scrape in range(121):
        for number, pod in enumerate(own):
            failed = 12 if (scrape + number) % 17 == 0 else 0
            for code, requests in (("200", 100 - failed), ("503", failed)):
                for proxy in (gateway, pod) if requests else ():
                    proxy.serve("checkout", "v1", requests, code=code, ms=700 if scrape % 10 == number else 20)
        metrics.scrape(at(15 * scrape))
    return metrics


async def whole(metrics: Metrics, subject: Subject, since: float, until: float) -> list[Block]:
    """The same without pieces."""
    samples = await metrics.samples(subject, at(since), at(until))
    assert isinstance(samples, Samples)
    count = round((until - since) / BLOCK_S)
    edges = [at(since + number * BLOCK_S).timestamp() for number in range(count + 1)]
    return blocks(samples, subject.bounds_ms, edges, SERVER_FAILURES)


async def read(metrics: Metrics, since: float, until: float, block_s: float = BLOCK_S) -> list[Block]:
    found = await stretch(metrics, SUBJECT, at(since), at(until), block_s=block_s, failing=SERVER_FAILURES)
    assert not isinstance(found, Unavailable), found
    return found


def no_longer_than(seconds: float) -> Callable[[Subject, datetime, datetime], bool]:
    return lambda _subject, since, now: (now - since).total_seconds() <= seconds


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["serve", "fail", "restart", "away", "back", "rest"]), st.integers(0, 1), st.integers(0, 40)
    ),
    min_size=5,
    max_size=60,
)


@settings(max_examples=120, deadline=None)
@given(acts=ACTS, step=st.sampled_from([4.0, 15.0, 23.0]), most=st.integers(1, 25))
def test_any_size_of_the_pieces_gives_the_same_blocks(acts: list[tuple[str, int, int]], step: float, most: int) -> None:
    proxies = [Proxy("one"), Proxy("two")]
    metrics = FakeMetrics(*proxies)
    last = 0.0
    away = dict.fromkeys(range(2), 0)
    for number, (act, which, requests) in enumerate(acts):
        proxy = proxies[which]
        if act in {"serve", "fail"}:
            proxy.serve("checkout", "v1" if requests % 3 else "v2", requests, code="503" if act == "fail" else "200")
        elif act == "restart":
            proxy.restart()
        elif act in {"away", "back"}:
            proxy.reachable = act == "back"
        for index, each in enumerate(proxies):
            # Beyond the look back a gap is a gap: nobody can follow a counter through it.
            away[index] = 0 if each.reachable else away[index] + 1
            each.reachable = each.reachable or away[index] * step > 60
        last = number * step
        metrics.scrape(at(last))
    until = BLOCK_S * (last // BLOCK_S)
    watched = Watched(metrics, no_longer_than(most * BLOCK_S))

    async def compare() -> None:
        assert await read(watched, 0, last) == await whole(metrics, SUBJECT, 0, until)

    asyncio.run(compare())


async def test_blocks_follow_each_other_on_multiples_of_their_length() -> None:
    found = await read(shop(), 7, 1000)
    assert [block.start % BLOCK_S for block in found] == [0.0] * len(found)
    assert [block.end for block in found[:-1]] == [block.start for block in found[1:]]
    assert (found[0].start, found[-1].end) == (at(15).timestamp(), at(990).timestamp())


async def test_blocks_of_fractions_of_a_second_have_edges_of_whole_milliseconds() -> None:
    metrics = FakeMetrics(proxy := Proxy("gateway"))
    for scrape in range(100):
        proxy.serve("checkout", "v1", 1)
        metrics.scrape(at(scrape * 0.7))
    found = await read(metrics, 0, 69.3, block_s=1.4)
    assert sum(block.groups["stable"].requests for block in found) == 2 * len(found)


async def test_a_stretch_shorter_than_a_block_holds_none() -> None:
    assert await read(shop(), 1, 14) == []


async def test_progress_rises_to_the_whole() -> None:
    heard: list[float] = []
    found = await stretch(
        shop(), SUBJECT, START, at(1800), block_s=BLOCK_S, failing=SERVER_FAILURES, progress=heard.append
    )
    assert isinstance(found, list)
    assert heard == sorted(set(heard))
    assert heard[-1] == 1.0
    assert len(heard) == 6


async def test_no_more_than_some_minutes_are_asked_for_at_once() -> None:
    for block_s, most in ((1.0, 300.0), (15.0, 300.0), (60.0, 1200.0)):
        watched = Watched(shop(), no_longer_than(float("inf")))
        await read(watched, 0, 1800, block_s)
        assert max((until - since).total_seconds() for since, until in watched.asked) == most


async def test_a_prometheus_that_never_answers_is_asked_a_few_times_only() -> None:
    watched = Watched(shop(), no_longer_than(-1))
    found = await stretch(watched, SUBJECT, START, at(1800), block_s=1.0, failing=SERVER_FAILURES)
    assert isinstance(found, Unavailable)
    assert len(watched.asked) < 10


async def test_what_is_learned_in_pieces_is_what_the_whole_past_says() -> None:
    metrics = shop()
    learned = await learn_past(Watched(metrics, no_longer_than(100)), SUBJECT, POLICY, at(1800))
    bounds = bounds_to_learn(POLICY)
    asked = replace(SUBJECT, bounds_ms=bounds)
    pods = replace(asked, policy=MetricsPolicy(reporters=("destination",)))
    assert learned == learn(await whole(metrics, asked, 0, 1800), bounds, await whole(metrics, pods, 0, 1800))
    assert isinstance(learned, Learned)
    assert (learned.blocks, learned.pods) == (120, 3)
    assert learned.per_second == pytest.approx(20)
    assert learned.errors.clump > 3


async def test_without_the_pods_own_count_clumps_are_seen_over_time() -> None:
    def only_the_clients(subject: Subject, _since: datetime, _now: datetime) -> bool:
        return "destination" not in subject.policy.reporters

    metrics = shop()
    learned = await learn_past(Watched(metrics, only_the_clients), SUBJECT, POLICY, at(1800))
    bounds = bounds_to_learn(POLICY)
    assert learned == learn(await whole(metrics, replace(SUBJECT, bounds_ms=bounds), 0, 1800), bounds)
    assert isinstance(learned, Learned)
    assert (learned.blocks, learned.pods) == (120, 0)


async def test_pods_that_are_judged_by_their_own_count_are_read_once() -> None:
    policy = PolicySpec.model_validate({"judge": {"learn": "30m"}, "metrics": {"reporters": ["destination"]}})
    watched = Watched(shop(), no_longer_than(float("inf")))
    learned = await learn_past(watched, replace(SUBJECT, policy=policy.metrics), policy, at(1800))
    assert isinstance(learned, Learned)
    assert (learned.blocks, learned.pods, len(watched.asked)) == (120, 3, 6)


@pytest.mark.parametrize("hangs", [True, False])
async def test_when_patience_or_prometheus_ends_the_newest_past_is_what_is_learned_from(hangs: bool) -> None:
    metrics = shop()
    watched = Watched(metrics, lambda _subject, since, _now: since >= at(1200))
    watched.hangs = hangs
    learned = await learn_past(watched, SUBJECT, POLICY, at(1800), patience=timedelta(seconds=1))
    short = PolicySpec.model_validate({"judge": {"learn": "10m"}})
    assert learned == await learn_past(metrics, SUBJECT, short, at(1800))
    assert isinstance(learned, Learned)
    assert learned.blocks == 40


@pytest.mark.parametrize("hangs", [True, False])
async def test_nothing_can_be_learned_from_a_prometheus_that_does_not_answer(hangs: bool) -> None:
    watched = Watched(shop(), no_longer_than(-1))
    watched.hangs = hangs
    assert isinstance(
        await learn_past(watched, SUBJECT, POLICY, at(1800), patience=timedelta(seconds=0.2)), Unavailable
    )


async def test_a_past_without_traffic_is_nothing_learned() -> None:
    assert await learn_past(FakeMetrics(), SUBJECT, POLICY, at(1800)) == Learned()


async def test_a_policy_that_wants_no_past_asks_for_none() -> None:
    policy = PolicySpec.model_validate({"judge": {"learn": "0s"}})
    watched = Watched(shop(), no_longer_than(float("inf")))
    assert await learn_past(watched, SUBJECT, policy, at(1800)) == Learned()
    assert watched.asked == []


@pytest.mark.parametrize(
    ("latency", "bounds"),
    [
        ({}, (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)),
        ({"objectives": ["p99 < 30s"]}, (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000)),
        ({"compare": ["100ms"], "objectives": ["p99 < 500ms"]}, (100, 500)),
        ({"compare": []}, ()),
    ],
)
def test_the_bounds_to_learn_about_are_those_that_may_be_judged(
    latency: dict[str, list[str]], bounds: tuple[float, ...]
) -> None:
    assert bounds_to_learn(PolicySpec.model_validate({"checks": {"latency": latency}})) == bounds
