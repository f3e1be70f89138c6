"""One cycle of one release, on fakes: what is left of the world when something fails in the middle of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rollout.core.checks import CustomCheck
from rollout.core.counts import Samples
from rollout.core.judging.gates import Readings
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.core.release import Phase, Reason, Release, Status
from rollout.core.route import Mesh, Problem, Route, Target, Unavailable
from rollout.ports import Conflict, NotFound, Outage, Refused, Subject
from rollout.reconciler import Reconciler
from tests import given
from tests.fakes.mesh import FakeMesh
from tests.fakes.releases import FakeReleases
from tests.place import KEY, LIFE, Place
from tests.simulation.prometheus import Prometheus


def percent(place: Place) -> int:
    return place.mesh.percent(given.CANARY)


async def test_a_healthy_canary_ends_with_all_traffic_and_the_old_version_put_away() -> None:
    place = Place()
    await place.begin()
    await place.rest()
    assert (await place.status()).phase is Phase.PROMOTED
    assert place.mesh.weights == {given.CANARY: 100}
    assert place.mesh.subsets == {given.CANARY}
    assert place.announcer.names(given.NAME)[-1] == "release.succeeded"
    assert {name for _, name in place.announcer.lines} >= {"check.passed", "traffic.applied"}


async def test_a_failing_canary_ends_without_a_trace_on_the_mesh() -> None:
    place = Place()
    place.prometheus.error_rates = {given.CANARY: 0.6}
    await place.begin()
    await place.rest()
    assert (await place.status()).phase is Phase.ROLLED_BACK
    assert place.mesh.weights == {given.STABLE: 100}
    assert place.mesh.subsets == {given.STABLE}
    assert (given.NAME, "check.failed") in place.announcer.lines


async def test_the_cycle_that_sees_the_failure_moves_the_traffic() -> None:
    place = Place()
    place.prometheus.error_rates = {given.CANARY: 0.6}
    await place.begin()
    await place.until(lambda status: status.phase is Phase.ROLLING_BACK)
    assert percent(place) == 0


@pytest.mark.parametrize("label", ["destination_workload", "destination_version"])
async def test_metrics_are_asked_for_in_their_own_words(label: str) -> None:
    asked: list[Subject] = []

    class Listening(Prometheus):
        async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
            asked.append(subject)
            return await super().samples(subject, since, now)

    place = Place()
    metrics = Listening(place.mesh, place.workloads, given.NOW, given.INTERVAL)
    place.reconciler = Reconciler(replace(place.world, metrics=metrics))
    place.policies.policy = given.policy(metrics=MetricsPolicy.model_validate({"version_label": label}))
    await place.begin()
    for _ in range(4):
        await place.cycle()
    expected = ("checkout-v2", "checkout-v1") if label == "destination_workload" else ("v2", "v1")
    assert {(subject.canary, subject.stable) for subject in asked} == {expected}


class Overtaken(FakeReleases):
    """Somebody else writes between every read and the save that follows it."""

    overtaken = True

    async def save(self, release: Release, status: Status) -> Release:
        if self.overtaken:
            self.edit(*release.key, lambda obj: obj["metadata"].setdefault("labels", {}).update(now=release.revision))
        return await super().save(release, status)


async def test_a_conflict_on_save_does_nothing_and_comes_back_soon() -> None:
    place = Place(releases=Overtaken)
    await place.begin()
    before = vars(place.mesh).copy()
    for _ in range(3):
        again = await place.cycle()
        assert again is not None
        assert timedelta(0) < again <= given.seconds(1)
    assert vars(place.mesh) == before
    assert not place.announcer.told
    assert isinstance(place.releases, Overtaken)
    place.releases.overtaken = False
    await place.rest()
    assert (await place.status()).phase is Phase.PROMOTED


class Vanishing(FakeReleases):
    """The release is deleted between the read and the save."""

    async def save(self, release: Release, status: Status) -> Release:
        self.delete(*release.key)
        return await super().save(release, status)


async def test_a_release_that_vanished_is_left_alone() -> None:
    place = Place(releases=Vanishing)
    await place.begin()
    await place.reconciler.reconcile(KEY)
    assert await place.reconciler.reconcile(KEY) is None
    assert percent(place) == 0


async def test_an_api_server_that_does_not_answer_is_an_outage_and_nothing_else() -> None:
    place = Place()
    await place.begin()
    place.releases.fail("no answer")
    with pytest.raises(Outage):
        await place.reconciler.reconcile(KEY)
    assert not place.announcer.told


class Stubborn(FakeMesh):
    """Does not take orders for a while."""

    def __init__(self, error: Exception, times: int) -> None:
        super().__init__()
        self.error, self.times = error, times

    async def set_route(self, target: Target, route: Route, seen: Mesh) -> None:
        if self.times:
            self.times -= 1
            raise self.error
        await super().set_route(target, route, seen)


@pytest.mark.parametrize("error", [Outage("no answer"), Conflict("too late"), NotFound("gone for now")])
async def test_what_could_not_be_written_is_written_by_a_later_cycle(error: Exception) -> None:
    place = Place(mesh=Stubborn(error, times=3))
    await place.begin()
    await place.rest()
    assert (await place.status()).phase is Phase.PROMOTED


async def test_a_write_that_fails_is_not_tried_in_a_busy_loop() -> None:
    place = Place(mesh=Stubborn(Conflict("too late"), times=3))
    await place.begin()
    for _ in range(3):
        again = await place.cycle()
        assert again is not None
        assert again > timedelta(0)


async def test_a_rollback_that_cannot_be_written_is_told_all_the_same() -> None:
    place = Place()
    await place.begin()
    await place.until(lambda status: status.phase is Phase.ANALYSING)
    place.mesh.refusal = "an admission webhook said no"
    await place.abort()
    await place.until(lambda status: status.reason == Reason.STUCK)
    await place.cycle()
    assert {"rollback.started", "rollback.stuck"} <= set(place.announcer.names(given.NAME))
    assert (given.NAME, "traffic.apply_failed") in place.announcer.lines
    place.mesh.refusal = ""
    await place.rest()
    assert percent(place) == 0
    assert (await place.status()).phase is Phase.ABORTED


async def test_an_end_is_told_even_if_nobody_listened_at_first() -> None:
    place = Place()
    await place.begin()
    place.announcer.outage = "nobody listens"
    for _ in range(20):
        assert await place.cycle() is not None
        place.advance(given.seconds(1))
    place.announcer.outage = ""
    await place.rest()
    told = place.announcer.told[given.NAME]
    assert sorted(told) == list(range(1, (await place.status()).sequence + 1))
    assert (await place.status()).outbox == ()


async def test_nobody_waits_for_news_that_cannot_be_told() -> None:
    place = Place()
    place.prometheus.error_rates = {given.CANARY: 0.6}
    await place.begin()
    await place.until(lambda status: status.phase is Phase.ANALYSING)
    place.announcer.outage = "nobody listens"
    await place.until(lambda status: status.phase is Phase.ROLLED_BACK)
    assert percent(place) == 0


async def test_a_cycle_that_finds_nothing_new_writes_nothing() -> None:
    place = Place()
    await place.begin()
    await place.until(lambda status: status.phase is Phase.ANALYSING)
    for _ in range(3):
        await place.reconciler.reconcile(KEY)
    revision = (await place.release()).revision
    await place.reconciler.reconcile(KEY)
    assert (await place.release()).revision == revision


async def test_a_release_that_is_deleted_on_the_way_brings_its_traffic_back_and_then_goes() -> None:
    place = Place()
    await place.begin()
    await place.until(lambda status: status.phase is Phase.ANALYSING)
    place.releases.delete(*KEY)
    await place.until(lambda status: status.phase.terminal)
    assert place.mesh.weights == {given.STABLE: 100}
    assert place.mesh.subsets == {given.STABLE}
    await place.cycle()
    assert await place.releases.get(*KEY) is None
    assert await place.cycle() is None
    assert place.announcer.names(given.NAME)[-1] == "release.aborted"


async def test_a_release_that_is_over_can_be_deleted_at_once() -> None:
    place = Place()
    await place.begin()
    await place.rest()
    place.releases.delete(*KEY)
    assert await place.releases.get(*KEY) is None


async def test_a_deleted_release_that_nobody_hears_of_stays_until_somebody_does() -> None:
    place = Place()
    await place.begin()
    await place.until(lambda status: status.phase is Phase.ANALYSING)
    place.releases.delete(*KEY)
    place.announcer.outage = "nobody listens"
    for _ in range(20):
        again = await place.cycle()
        assert again is not None
        place.advance(given.seconds(1))
    assert again is not None
    assert again >= given.seconds(1)
    assert percent(place) == 0
    assert (await place.release()).held
    place.announcer.outage = ""
    await place.rest()
    assert await place.releases.get(*KEY) is None


class NotAllowed(FakeReleases):
    """RBAC without `patch` on releases."""

    async def hold(self, release: Release) -> None:
        raise Refused(f"releases {release.name} is forbidden")


async def test_a_controller_that_may_not_hold_the_object_moves_no_traffic_and_says_why() -> None:
    place = Place(releases=NotAllowed)
    await place.begin()
    before = vars(place.mesh).copy()
    for _ in range(LIFE):
        if (await place.status()).phase not in {Phase.PENDING, Phase.PREPARING}:
            break
        assert vars(place.mesh) == before
        await place.cycle()
    await place.rest()
    assert place.mesh.weights == {given.STABLE: 100}
    status = await place.status()
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.ROUTE_NOT_WRITABLE)
    assert "finalizer" in status.message
    assert (given.NAME, "traffic.apply_failed") in place.announcer.lines


async def test_a_release_made_again_under_its_old_name_is_a_new_one() -> None:
    place = Place()
    await place.begin()
    await place.abort()
    await place.rest()
    place.releases.delete(*KEY)
    place.announcer.told.clear()
    await place.begin()
    await place.rest()
    assert (await place.status()).phase is Phase.PROMOTED
    assert place.announcer.names(given.NAME)[-1] == "release.succeeded"


async def test_of_two_releases_of_a_service_the_older_goes_and_the_other_is_refused() -> None:
    place = Place()
    await place.begin()
    await place.releases.create("shop", "checkout-v3", given.spec(version="v3"))
    other = Reconciler(place.world)
    await other.reconcile(("shop", "checkout-v3"))
    await place.cycle()
    refused = await place.releases.get("shop", "checkout-v3")
    assert refused is not None
    assert refused.status.reason == Reason.BUSY
    assert (await place.status()).phase is Phase.PREPARING


async def test_a_service_without_a_policy_is_refused() -> None:
    place = Place()
    place.policies.policy = Problem("no-policy", "nobody wrote one")
    await place.begin()
    await place.rest()
    assert (await place.status()).reason == Reason.NO_POLICY


class Hanging(Prometheus):
    """Does not answer, and does not hang up either."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.mesh, place.workloads, given.NOW, given.INTERVAL)
        self.asked = asyncio.Event()

    async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
        self.asked.set()
        await asyncio.Event().wait()
        return await super().samples(subject, since, now)


class HangingReadings(Prometheus):
    """Counts requests, but never answers a custom query."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.mesh, place.workloads, given.NOW, given.INTERVAL)
        self.asked = asyncio.Event()

    async def readings(self, subject: Subject, custom: Sequence[CustomCheck], now: datetime) -> Readings | Unavailable:
        self.asked.set()
        await asyncio.Event().wait()
        return await super().readings(subject, custom, now)


async def analysing_with_slow_metrics(
    slow: type[Hanging | HangingReadings] = Hanging,
) -> tuple[Place, asyncio.Task[timedelta | None]]:
    place = Place()
    await place.begin()
    await place.until(lambda status: status.phase is Phase.ANALYSING)
    metrics = slow(place)
    place.reconciler = Reconciler(replace(place.world, metrics=metrics))
    cycle = asyncio.create_task(place.reconciler.reconcile(KEY))
    await metrics.asked.wait()
    return place, cycle


@pytest.mark.parametrize("slow", [Hanging, HangingReadings])
async def test_slow_metrics_do_not_delay_an_abort(slow: type[Hanging | HangingReadings]) -> None:
    place, cycle = await analysing_with_slow_metrics(slow)
    await place.abort()
    place.reconciler.interrupt(await place.release())
    assert await cycle == timedelta(0)
    await place.reconciler.reconcile(KEY)
    assert (await place.status()).phase is Phase.ROLLING_BACK
    assert percent(place) == 0


async def test_a_release_that_did_not_change_interrupts_nothing() -> None:
    place, cycle = await analysing_with_slow_metrics()
    place.reconciler.interrupt(await place.release())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not cycle.done()
    cycle.cancel()
    await asyncio.gather(cycle, return_exceptions=True)


async def test_an_interrupt_is_for_looks_only() -> None:
    place = Place()
    await place.begin()
    place.reconciler.interrupt(await place.release())
    assert await place.reconciler.reconcile(KEY) == timedelta(0)
    place.reconciler.interrupt(await place.release())
    assert (await place.status()).phase is Phase.PREPARING


async def test_a_controller_that_is_stopped_while_it_looks_leaves_nothing_running() -> None:
    _, cycle = await analysing_with_slow_metrics()
    cycle.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cycle
    assert asyncio.all_tasks() == {asyncio.current_task()}
