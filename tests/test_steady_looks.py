"""Looks while a release is watched at its weight: few writes, few reads, and nothing done on hearsay."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

from rollout.core.release import Phase, Release
from rollout.core.route import Gone, Mesh, Target, Unavailable
from rollout.reconciler import Reconciler
from tests import given
from tests.fakes.mesh import FakeMesh
from tests.fakes.releases import FakeReleases
from tests.place import KEY, Place

LONG = given.policy(steps=[{"weight": 30, "hold": "2m"}, {"weight": 100, "hold": "12s"}])


class CountingReleases(FakeReleases):
    """Counts what it is asked for."""

    reads = saves = 0

    async def get(self, namespace: str, name: str) -> Release | None:
        self.reads += 1
        return await super().get(namespace, name)

    async def save(self, release: Release, status: object) -> Release:
        self.saves += 1
        return await super().save(release, status)  # type: ignore[arg-type]  # whatever it is given


@dataclass
class LaggingWatch:
    """A mesh whose watch tells nothing new while it lags."""

    mesh: FakeMesh
    lags: bool = False
    told: dict[Target, Mesh | Gone | Unavailable] = field(default_factory=dict)

    async def observe(self, target: Target, *, remembered: bool = False) -> Mesh | Gone | Unavailable:
        if remembered and self.lags and target in self.told:
            return self.told[target]
        self.told[target] = seen = await self.mesh.observe(target)
        return seen

    def __getattr__(self, name: str) -> object:
        return getattr(self.mesh, name)


async def watched(place: Place) -> None:
    """Until the release is watched at 30 %, and has been looked at once."""
    place.policies.policy = LONG
    await place.begin()
    await place.until(lambda status: status.phase is Phase.ANALYSING and bool(status.verdicts))


async def test_every_third_look_is_saved_and_none_reads() -> None:
    place = Place(releases=CountingReleases)
    await watched(place)
    releases = place.releases
    assert isinstance(releases, CountingReleases)
    began, releases.reads, releases.saves = place.clock.now(), 0, 0
    looks = 0
    while place.clock.now() - began < timedelta(minutes=1):
        await place.cycle()
        looks += 1
    assert looks >= 12
    assert releases.reads == 0
    assert looks // 3 - 1 <= releases.saves <= looks // 3 + 1


async def test_what_was_not_saved_is_counted_again_after_a_crash() -> None:
    place, other = Place(), Place()
    for one in (place, other):
        await watched(one)
        for _ in range(3):
            await one.cycle()
    other.reconciler = Reconciler(other.world)
    for one in (place, other):
        await one.cycle()
        await one.cycle()
    counted = [(await one.status()).window for one in (place, other)]
    assert counted[0] is not None
    assert counted[1] is not None
    ahead = abs(counted[0].counted.canary.requests - counted[1].counted.canary.requests)
    assert ahead <= 2 * max(one.counted.canary.requests for one in counted if one) // 3
    for one in (place, other):
        await one.rest()
        assert (await one.status()).phase is Phase.PROMOTED


async def test_a_wish_is_heard_by_the_next_look() -> None:
    place = Place()
    await watched(place)
    for _ in range(3):
        await place.cycle()
    await place.abort()
    await place.cycle()
    assert (await place.status()).phase in {Phase.ROLLING_BACK, Phase.ABORTED}
    assert place.mesh.percent(given.CANARY) == 0


async def test_another_ones_save_is_never_overwritten() -> None:
    place = Place()
    await watched(place)
    for _ in range(3):
        await place.cycle()
    release = await place.release()
    theirs = release.status.model_copy(update={"message": "somebody else was here", "unseen_since": given.NOW})
    await place.releases.save(release, theirs)
    await place.cycle()
    assert (await place.status()).unseen_since is None
    assert "traffic.readable" in place.announcer.names(given.NAME)


async def test_nothing_is_done_on_what_a_lagging_watch_told() -> None:
    place = Place()
    lagging = LaggingWatch(place.mesh)
    place.reconciler = Reconciler(replace(place.world, traffic=lagging))  # type: ignore[arg-type]  # all of a mesh
    await watched(place)
    await place.cycle()
    lagging.lags = True
    place.mesh.delete()
    before = dict(place.mesh.weights)
    while (await place.status()).phase is Phase.ANALYSING:
        await place.cycle()
    assert (await place.status()).phase is Phase.FAILED
    assert place.mesh.weights == before


async def test_a_hand_on_the_route_that_the_watch_told_holds_the_release() -> None:
    place = Place()
    await watched(place)
    await place.cycle()
    place.mesh.edit(given.CANARY, 55)
    await place.cycle()
    status = await place.status()
    assert status.drift is not None
    assert status.drift.percent == 55
    assert (place.mesh.percent(given.CANARY), KEY) == (55, ("shop", given.NAME))
