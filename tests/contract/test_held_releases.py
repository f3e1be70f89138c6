"""Deleting releases under way: what every `ports.Releases` makes of our finalizer, on the fake and on an API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from rollout.core.release import Release
from rollout.ports import Conflict, NotFound, Refused
from tests.contract.release_stages import PAUSE, SPEC, Stage, begun, full_status, next_of, opened, read


@pytest.fixture(params=["fake", "embedded"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with opened(request.param, tmp_path) as one:
        yield one


async def held(stage: Stage, *others: str) -> Release:
    await begun(stage)
    if others:
        await stage.merge("one", {"metadata": {"finalizers": list(others)}})
    await stage.releases.hold(await read(stage, "one"))
    return await read(stage, "one")


async def test_a_held_release_is_the_same_otherwise(stage: Stage) -> None:
    before = await begun(stage)
    await stage.releases.hold(before)
    after = await read(stage, "one")
    assert after == before.model_copy(update={"held": True, "revision": after.revision})
    assert after.revision != before.revision


async def test_holding_what_is_held_is_no_change(stage: Stage) -> None:
    release = await held(stage)
    await stage.releases.hold(release)
    assert await read(stage, "one") == release


async def test_a_held_release_stays_when_it_is_deleted_until_it_is_let_go_of(stage: Stage) -> None:
    assert not (await held(stage)).deleting
    await stage.delete("one")
    dying = await read(stage, "one")
    assert (dying.deleting, dying.held) == (True, True)
    saved = await stage.releases.save(dying, full_status())
    assert (saved.deleting, saved.status) == (True, full_status())
    await stage.releases.let_go(saved)
    assert await stage.releases.get("shop", "one") is None
    await stage.releases.let_go(saved)


async def test_what_was_let_go_of_can_be_deleted_at_once(stage: Stage) -> None:
    await stage.releases.let_go(await held(stage))
    release = await read(stage, "one")
    assert not release.held
    await stage.releases.let_go(release)
    assert await read(stage, "one") == release
    await stage.delete("one")
    assert await stage.releases.get("shop", "one") is None


async def test_the_finalizers_of_others_stay_and_keep_the_object(stage: Stage) -> None:
    release = await held(stage, "example.com/theirs")
    await stage.delete("one")
    await stage.releases.let_go(await read(stage, "one"))
    dying = await read(stage, "one")
    assert (dying.deleting, dying.held, dying.uid) == (True, False, release.uid)
    with pytest.raises(Refused):
        await stage.releases.hold(dying)
    await stage.merge("one", {"metadata": {"finalizers": []}})
    assert await stage.releases.get("shop", "one") is None


async def test_holding_and_letting_go_of_what_changed_since_is_a_conflict(stage: Stage) -> None:
    stale = await begun(stage)
    current = await stage.releases.wish(stale, SPEC.model_copy(update={"pause": PAUSE}))
    with pytest.raises(Conflict):
        await stage.releases.hold(stale)
    assert await read(stage, "one") == current
    await stage.releases.hold(current)
    with pytest.raises(Conflict):
        await stage.releases.let_go(current)
    assert (await read(stage, "one")).held


async def test_a_namesake_made_later_is_neither_held_nor_let_go_of(stage: Stage) -> None:
    release = await begun(stage)
    await stage.delete("one")
    with pytest.raises(NotFound):
        await stage.releases.hold(release)
    namesake = await stage.releases.create("shop", "one", SPEC)
    with pytest.raises(NotFound):
        await stage.releases.hold(release)
    await stage.releases.hold(namesake)
    await stage.releases.let_go(release)
    assert (await read(stage, "one")).held


async def test_a_watch_tells_once_that_a_held_release_was_deleted(stage: Stage) -> None:
    release = await held(stage)
    async with aclosing(stage.releases.watch("shop")) as watch:
        assert await next_of(watch) == ("one", release.generation)
        await stage.delete("one")
        async with asyncio.timeout(5):
            dying = await anext(watch)
        assert dying.deleting
        await stage.releases.let_go(await stage.releases.save(dying, full_status()))
        await stage.releases.create("shop", "two", SPEC)
        assert await next_of(watch) == ("two", 1)
