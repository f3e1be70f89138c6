"""What every Metrics port must say of requests, once on the fake, once on the real Prometheus.

Both scrape the same proxies. What they say of saturation and of custom checks is in test_readings.py.
"""

import asyncio
from datetime import timedelta

from rollout.core.counts import Counts, Slow, Tally, plus, since_then, tally
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.ports import Subject
from tests.contract.metrics_world import BOUNDS, World
from tests.fakes.metrics import Proxy


async def test_a_service_that_nobody_asked_for_has_no_samples(world: World) -> None:
    now = await world.scrape()
    samples = await world.samples(now - timedelta(seconds=1), now)
    assert samples.series == ()
    assert samples.newest is None


async def test_each_version_is_counted_exactly_from_its_first_request(world: World) -> None:
    since = await world.scrape()
    world.gateway.serve(world.service, "v1", 90)
    world.gateway.serve(world.service, "v2", 7, ms=0.3)
    world.gateway.serve(world.service, "v2", 2, code="500", ms=700)
    world.sidecar.serve(world.service, "v2", 1, code="404", ms=50)
    world.sidecar.serve(world.service, "v2", 4, code="0", flags="DC", ms=20)
    world.sidecar.serve(world.service, "v3", 55)
    now = await world.scrape()
    assert await world.counted(since, now) == Tally(
        stable=Counts(requests=90, timed=90, slow=slow(90, 90, 0, 0)),
        canary=Counts(requests=10, errors=2, disconnects=4, timed=14, slow=slow(14, 7, 2, 2)),
    )


async def test_only_what_was_scraped_after_since_is_counted(world: World) -> None:
    world.gateway.serve(world.service, "v2", 1000, code="500")
    since = await world.scrape()
    world.gateway.serve(world.service, "v2", 3)
    now = await world.scrape()
    assert (await world.counted(since, now)).canary == Counts(requests=3, timed=3, slow=slow(3, 3, 0, 0))


async def test_what_is_scraped_after_now_is_not_there_yet(world: World) -> None:
    since = await world.scrape()
    world.gateway.serve(world.service, "v2", 3)
    now = await world.scrape()
    world.gateway.serve(world.service, "v2", 100)
    await world.scrape()
    samples = await world.samples(since, now)
    assert tally(samples, BOUNDS, since, now).canary.requests == 3
    assert samples.newest is not None
    assert since < samples.newest <= now


async def test_a_restart_of_the_proxy_loses_nothing_that_was_scraped(world: World) -> None:
    since = await world.scrape()
    world.gateway.serve(world.service, "v2", 50)
    await world.scrape()
    world.gateway.restart()
    world.gateway.serve(world.service, "v2", 8)
    now = await world.scrape()
    assert (await world.counted(since, now)).canary.requests == 58


async def test_a_series_that_is_born_again_later_is_a_reset(world: World) -> None:
    world.gateway.serve(world.service, "v2", 50)
    since = await world.scrape()
    world.gateway.restart()
    await world.scrape()
    world.gateway.serve(world.service, "v2", 8)
    now = await world.scrape()
    assert (await world.counted(since, now)).canary.requests == 8


async def test_requests_that_reached_no_version_are_lost(world: World) -> None:
    since = await world.scrape()
    world.gateway.serve(world.service, "unknown", 3, code="503", flags="UH")
    world.gateway.serve(world.service, "unknown", 2, code="503", flags="URX,UF")
    world.gateway.serve(world.service, "unknown", 1, code="404", flags="NR")
    world.gateway.serve(world.service, "unknown", 40, code="0", flags="DC")
    world.gateway.serve(world.service, "v2", 9, code="503", flags="FI")
    now = await world.scrape()
    counted = await world.counted(since, now)
    assert counted.lost == 6
    assert counted.canary == Counts()


async def test_a_proxy_that_is_gone_keeps_what_it_was_seen_to_count(world: World) -> None:
    since = await world.scrape()
    world.gateway.serve(world.service, "v2", 5)
    world.sidecar.serve(world.service, "v2", 6)
    await world.scrape()
    world.sidecar.reachable = False
    world.gateway.serve(world.service, "v2", 10)
    now = await world.scrape()
    assert (await world.counted(since, now)).canary.requests == 21


async def test_an_old_counter_that_is_seen_for_the_first_time_counts_from_there_and_is_told(world: World) -> None:
    late = Proxy(f"late-{world.service}")
    late.serve(world.service, "v2", 100_000, code="500")
    since = await world.scrape()
    world.gateway.serve(world.service, "v2", 3)
    found = await world.scrape(late)
    counted = await world.counted(since, found)
    assert counted.uncertain > 0
    assert counted.canary == Counts(requests=3, timed=3, slow=slow(3, 3, 0, 0))
    late.serve(world.service, "v2", 7, code="500", ms=700)
    after = await world.counted(since, await world.scrape())
    assert after.uncertain == counted.uncertain
    assert after.canary == Counts(requests=10, errors=7, timed=10, slow=slow(10, 10, 7, 7))


async def test_a_proxy_without_a_bound_says_nothing_about_it(world: World) -> None:
    since = await world.scrape()
    world.gateway.serve(world.service, "v2", 90, ms=20)
    world.gateway.serve(world.service, "v2", 10, ms=700)
    world.coarse.serve(world.service, "v2", 35, ms=20)
    world.coarse.serve(world.service, "v2", 5, ms=700)
    world.coarse.serve(world.service, "v1", 8, ms=700)
    now = await world.scrape()
    counted = await world.counted(since, now)
    assert counted.canary.timed == 140
    assert counted.canary.slow == (
        Slow(bound=0.5, requests=140, timed=140),
        Slow(bound=50.0, requests=10, timed=100),
        Slow(bound=500.0, requests=15, timed=140),
    )
    assert counted.stable.slow == (Slow(bound=0.5, requests=8, timed=8), Slow(bound=500.0, requests=8, timed=8))


async def test_a_birth_while_its_proxy_was_not_reachable_is_a_birth(world: World) -> None:
    since = await world.scrape()
    world.sidecar.reachable = False
    world.sidecar.serve(world.service, "v2", 12)
    await world.scrape()
    world.sidecar.reachable = True
    now = await world.scrape()
    counted = await world.counted(since, now)
    assert (counted.canary.requests, counted.uncertain) == (12, 0)


async def test_looks_that_follow_each_other_add_up_to_everything(world: World) -> None:
    since = await world.scrape()
    before = whole = Tally()
    for look in range(1, 5):
        world.gateway.serve(world.service, "v1", 10 * look)
        world.sidecar.serve(world.service, "v2", look, code="500" if look == 2 else "200")
        if look == 3:
            world.gateway.restart()
            world.gateway.serve(world.service, "v1", 5)
        now = await world.scrape()
        after = await world.counted(since, now)
        whole = plus(whole, since_then(after, before))
        before = after
    assert whole == before
    assert (before.canary.requests, before.canary.errors) == (10, 2)
    assert before.stable.requests == 10 + 20 + 5 + 40


async def test_subjects_that_ask_together_get_only_their_own(world: World) -> None:
    since = await world.scrape()
    subjects = [
        Subject("shop", f"{world.service}-{number}", "v2", "v1", MetricsPolicy(), bounds)
        for number, bounds in enumerate([(), (100.0,), BOUNDS, BOUNDS])
    ]
    for number, subject in enumerate(subjects):
        world.gateway.serve(subject.service, "v2", number)
    now = await world.scrape()
    answers = await asyncio.gather(*(world.samples(since, now, subject) for subject in subjects))
    for number, (subject, answer) in enumerate(zip(subjects, answers, strict=True)):
        assert tally(answer, BOUNDS, since, now).canary.requests == number
        assert {series.le for series in answer.series} <= {None, float("inf"), *subject.bounds_ms}


async def test_the_same_question_has_the_same_answer_whoever_asks_beside_it(world: World) -> None:
    world.gateway.serve(world.service, "v2", 5)
    since = await world.scrape()
    world.gateway.serve(world.service, "v2", 5)
    now = await world.scrape()
    alone = await world.samples(since, now)
    earlier = since - timedelta(minutes=2)
    beside, _ = await asyncio.gather(world.samples(since, now), world.samples(earlier, now))
    assert sorted(beside.series, key=repr) == sorted(alone.series, key=repr)
    assert beside.query == alone.query


async def test_the_time_before_anything_was_scraped_holds_nothing(world: World) -> None:
    world.gateway.serve(world.service, "v2", 5)
    await world.scrape()
    samples = await world.samples(world.start() - timedelta(minutes=5), world.start())
    assert samples.series == ()


def slow(timed: int, *requests: int) -> tuple[Slow, ...]:
    """Requests slower than each of BOUNDS, out of `timed`."""
    return tuple(
        Slow(bound=bound, requests=number, timed=timed) for bound, number in zip(BOUNDS, requests, strict=True)
    )
