"""Freezes and the brake, as the desk carries them out."""

import asyncio
from datetime import datetime, timedelta

import pytest

from rollout.commands import LocalDesk
from rollout.core.freeze import Freeze
from rollout.core.release import Phase, Release, ReleaseSpec, Status
from rollout.desk import Scope
from rollout.ports import Conflict, Outage, Refused
from tests.commands.conftest import NOON, OVER, SECOND, SPEC, UNDER_WAY, existing
from tests.fakes.clock import FakeClock
from tests.fakes.freezes import FakeFreezes
from tests.fakes.releases import FakeReleases

CART = ReleaseSpec(service="cart", version="v9")
SCOPES = [Scope(), Scope("shop"), Scope("shop", "checkout")]
HOUR = timedelta(hours=1)


async def frozen(desk: LocalDesk, scope: Scope, until: datetime | None = None) -> Freeze:
    return await desk.freeze(scope, until, by="ann", reason="sale")


async def aborted(releases: FakeReleases) -> set[str]:
    return {"/".join(one.key) for one in await releases.list(None) if one.spec.abort is not None}


# freezing


@pytest.mark.parametrize("scope", SCOPES, ids=str)
async def test_a_freeze_says_who_when_until_when_and_why(desk: LocalDesk, scope: Scope) -> None:
    freeze = await frozen(desk, scope, NOON + HOUR)
    spec = freeze.spec
    assert (spec.by, spec.at, spec.until, spec.reason) == ("ann", NOON, NOON + HOUR, "sale")
    assert freeze.scope == str(scope)
    assert await desk.freezes(None) == [freeze]


@pytest.mark.parametrize("scope", SCOPES, ids=str)
async def test_a_freeze_replaces_the_one_that_stands(desk: LocalDesk, scope: Scope) -> None:
    await frozen(desk, scope, NOON + HOUR)
    second = await frozen(desk, scope)
    assert await desk.freezes(None) == [second]
    assert second.spec.until is None


@pytest.mark.parametrize("until", [NOON, NOON - SECOND])
async def test_a_freeze_that_would_be_over_is_refused(desk: LocalDesk, until: datetime) -> None:
    with pytest.raises(Refused):
        await frozen(desk, Scope("shop"), until)
    assert await desk.freezes(None) == []


@pytest.mark.parametrize("scope", [Scope(None, "checkout"), Scope("shop", "Check Out")], ids=str)
async def test_a_scope_that_cannot_be_is_refused(desk: LocalDesk, scope: Scope) -> None:
    with pytest.raises(Refused):
        await frozen(desk, scope)
    assert await desk.freezes(None) == []


async def test_texts_that_are_too_long_are_cut_not_refused(desk: LocalDesk) -> None:
    freeze = await desk.freeze(Scope("shop"), None, by="a" * 999, reason="r" * 9999)
    assert (len(freeze.spec.by), len(freeze.spec.reason)) == (256, 1024)


@pytest.mark.parametrize("scope", SCOPES, ids=str)
async def test_a_thaw_lifts_its_own_scope_alone_and_once(desk: LocalDesk, scope: Scope) -> None:
    standing = {one.scope: one for one in [await frozen(desk, one) for one in SCOPES]}
    assert await desk.unfreeze(scope, by="ann")
    assert {one.scope for one in await desk.freezes(None)} == standing.keys() - {str(scope)}
    assert not await desk.unfreeze(scope, by="ann")


async def test_the_freezes_of_a_namespace_are_its_own_and_those_of_everything(desk: LocalDesk) -> None:
    for scope in (*SCOPES, Scope("pay")):
        await frozen(desk, scope)
    assert {one.scope for one in await desk.freezes("shop")} == {"all", "shop", "shop/checkout"}
    assert {one.scope for one in await desk.freezes("pay")} == {"all", "pay"}


# the brake


@pytest.fixture
async def busy(releases: FakeReleases) -> FakeReleases:
    """Releases of two services in two namespaces, and one that is over."""
    status = Status(phase=Phase.ANALYSING, step=0)
    await existing(releases, status)
    await existing(releases, Status(phase=Phase.PENDING), name="two")
    await existing(releases, status, name="cart", spec=CART)
    await existing(releases, status, name="one", namespace="pay")
    await existing(releases, Status(phase=Phase.PROMOTED), name="over")
    return releases


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope(), {"shop/one", "shop/two", "shop/cart", "pay/one"}),
        (Scope("shop"), {"shop/one", "shop/two", "shop/cart"}),
        (Scope("shop", "checkout"), {"shop/one", "shop/two"}),
        (Scope("empty"), set()),
    ],
    ids=str,
)
async def test_the_brake_freezes_its_scope_and_aborts_all_that_is_under_way_in_it(
    desk: LocalDesk, busy: FakeReleases, scope: Scope, expected: set[str]
) -> None:
    stopped = await desk.stop(scope, by="ann", reason="fire")
    assert await desk.freezes(None) == [stopped.freeze]
    assert (stopped.freeze.scope, stopped.freeze.spec.until) == (str(scope), None)
    assert {"/".join(one.key) for one in stopped.aborted} == await aborted(busy) == expected
    assert not stopped.failed
    for release in stopped.aborted:
        wish = release.spec.abort
        assert wish is not None
        assert (wish.by, wish.at, wish.reason) == ("ann", NOON, "fire")


@pytest.mark.parametrize("phase", UNDER_WAY)
async def test_the_brake_stops_releases_in_every_state(desk: LocalDesk, releases: FakeReleases, phase: Phase) -> None:
    await existing(releases, Status(phase=phase))
    assert [one.name for one in (await desk.stop(Scope(), by="", reason="")).aborted] == ["one"]


@pytest.mark.parametrize("phase", OVER)
async def test_the_brake_leaves_alone_what_is_over(desk: LocalDesk, releases: FakeReleases, phase: Phase) -> None:
    before = await existing(releases, Status(phase=phase))
    stopped = await desk.stop(Scope(), by="", reason="")
    assert (stopped.aborted, stopped.failed) == ((), {})
    assert await releases.list(None) == [before]


async def test_pulling_the_brake_again_changes_no_abort(desk: LocalDesk, busy: FakeReleases, clock: FakeClock) -> None:
    first = await desk.stop(Scope(), by="ann", reason="fire")
    clock.advance(SECOND)
    again = await desk.stop(Scope(), by="bob", reason="still")
    assert again.aborted == first.aborted
    assert await desk.freezes(None) == [again.freeze]
    assert len(await aborted(busy)) == 4


async def test_an_abort_that_fails_is_told_and_keeps_no_other_from_being_written(clock: FakeClock) -> None:
    class Stubborn(FakeReleases):
        """One release cannot be written."""

        async def wish(self, release: Release, spec: ReleaseSpec) -> Release:
            if release.name == "two":
                raise Refused("not you")
            if release.name == "three":
                raise Outage("not now")
            return await super().wish(release, spec)

    releases, freezes = Stubborn(clock), FakeFreezes()
    for name in ("one", "two", "three", "four"):
        await existing(releases, Status(phase=Phase.ANALYSING), name=name)
    desk = LocalDesk(releases, freezes, clock)
    stopped = await desk.stop(Scope("shop"), by="ann", reason="fire")
    assert set(stopped.failed) == {"shop/two", "shop/three"}
    assert "not you" in stopped.failed["shop/two"]
    assert await aborted(releases) == {"shop/one", "shop/four"}
    assert len(await desk.freezes("shop")) == 1


async def test_what_ends_while_the_brake_is_pulled_is_neither_aborted_nor_failed(clock: FakeClock) -> None:
    class Ending(FakeReleases):
        """One ends, one is deleted, between the list and the abort."""

        async def get(self, namespace: str, name: str) -> Release | None:
            if name == "gone":
                return None
            release = await super().get(namespace, name)
            assert release is not None
            return await self.save(release, Status(phase=Phase.PROMOTED))

    releases = Ending(clock)
    for name in ("one", "gone"):
        await existing(releases, Status(phase=Phase.ANALYSING), name=name)
    stopped = await LocalDesk(releases, FakeFreezes(), clock).stop(Scope(), by="", reason="")
    assert (stopped.aborted, stopped.failed) == ((), {})


async def test_the_freeze_stands_before_the_first_abort(clock: FakeClock) -> None:
    freezes = FakeFreezes()
    frozen_at_abort = set()

    class Watching(FakeReleases):
        async def wish(self, release: Release, spec: ReleaseSpec) -> Release:
            frozen_at_abort.add(len(await freezes.list(None)))
            return await super().wish(release, spec)

    releases = Watching(clock)
    await existing(releases, Status(phase=Phase.ANALYSING))
    await LocalDesk(releases, freezes, clock).stop(Scope(), by="", reason="")
    assert frozen_at_abort == {1}


async def test_without_a_list_of_releases_the_freeze_stands_all_the_same(
    desk: LocalDesk, releases: FakeReleases
) -> None:
    releases.fail("down")
    with pytest.raises(Outage):
        await desk.stop(Scope(), by="", reason="")
    assert [one.scope for one in await desk.freezes(None)] == ["all"]


async def test_a_freeze_that_cannot_be_set_aborts_nobody(
    desk: LocalDesk, busy: FakeReleases, freezes: FakeFreezes
) -> None:
    freezes.fail("down")
    with pytest.raises(Outage):
        await desk.stop(Scope(), by="", reason="")
    assert await aborted(busy) == set()


async def test_where_not_all_namespaces_may_be_listed_everything_is_those_that_are_named(
    busy: FakeReleases, freezes: FakeFreezes, clock: FakeClock
) -> None:
    desk = LocalDesk(busy, freezes, clock, namespaces=["shop"])
    await desk.stop(Scope(), by="", reason="")
    assert await aborted(busy) == {"shop/one", "shop/two", "shop/cart"}
    assert {one.namespace for one in await desk.list(None)} == {"shop"}


async def test_many_brakes_at_once_are_one(desk: LocalDesk, busy: FakeReleases) -> None:
    found = await asyncio.gather(*(desk.stop(Scope(), by="ann", reason="fire") for _ in range(10)))
    assert not any(one.failed for one in found)
    assert len(await desk.freezes(None)) == 1
    assert len(await aborted(busy)) == 4


async def test_a_brake_that_is_pulled_while_releases_keep_changing_gets_through(clock: FakeClock) -> None:
    class Racing(FakeReleases):
        times = 5

        async def wish(self, release: Release, spec: ReleaseSpec) -> Release:
            if self.times:
                self.times -= 1
                raise Conflict("changed")
            return await super().wish(release, spec)

    releases = Racing(clock)
    await existing(releases, Status(phase=Phase.ANALYSING), spec=SPEC)
    stopped = await LocalDesk(releases, FakeFreezes(), clock).stop(Scope(), by="", reason="")
    assert len(stopped.aborted) == 1
