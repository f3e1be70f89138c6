"""Releases of one service beside one another: what every `ports.Releases` remembers of them while a watch runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rollout.core.release import API_VERSION, Phase, Reason, Release, ReleaseSpec, Status
from tests.contract.release_stages import PAUSE, SPEC, Stage, opened, read

LATER = SPEC.model_copy(update={"version": "v3", "on_conflict": "supersede"})
QUEUED = Status(phase=Phase.PENDING, reason=Reason.QUEUED)
UNDER_WAY = Status(phase=Phase.ANALYSING, step=0, service="checkout", version="v2")


@pytest.fixture(params=["fake", "embedded"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with opened(request.param, tmp_path) as one:
        yield one


@asynccontextmanager
async def watched(stage: Stage) -> AsyncIterator[None]:
    """A watch of the namespace runs meanwhile."""

    async def watch() -> None:
        async with aclosing(stage.releases.watch("shop")) as changes:
            async for _ in changes:
                pass

    task = asyncio.create_task(watch())
    try:
        await so(lambda: stage.releases.unfinished("shop", "checkout") is not None)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def so(fact: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(5):
        while not fact():
            await asyncio.sleep(0.01)


async def made(stage: Stage, name: str, spec: ReleaseSpec, status: Status | None = None) -> Release:
    release = await stage.releases.create("shop", name, spec)
    return release if status is None else await stage.releases.save(release, status)


async def told(stage: Stage, release: Release) -> None:
    """Wait until the watch told of this very state."""
    await so(lambda: stage.releases.unchanged(release))


# unfinished


async def test_without_a_watch_nobody_knows_what_is_unfinished(stage: Stage) -> None:
    release = await made(stage, "one", SPEC, UNDER_WAY)
    assert stage.releases.unfinished("shop", "checkout") is None
    assert stage.releases.superseder(release) == ""


async def test_the_unfinished_of_a_service_are_told_oldest_first(stage: Stage) -> None:
    await made(stage, "b", SPEC, UNDER_WAY)
    await made(stage, "over", SPEC, Status(phase=Phase.PROMOTED))
    await made(stage, "cart", ReleaseSpec(service="cart", version="v2"))
    async with watched(stage):
        await made(stage, "a", SPEC)
        assert stage.releases.unfinished("shop", "checkout") == (("shop", "b"), ("shop", "a"))
        assert stage.releases.unfinished("shop", "cart") == (("shop", "cart"),)
        assert stage.releases.unfinished("shop", "none") == ()


async def test_what_ends_or_goes_is_unfinished_no_more(stage: Stage) -> None:
    one, _ = await made(stage, "one", SPEC, UNDER_WAY), await made(stage, "two", SPEC)
    async with watched(stage):
        await stage.releases.save(one, UNDER_WAY.model_copy(update={"phase": Phase.ABORTED}))
        await so(lambda: stage.releases.unfinished("shop", "checkout") == (("shop", "two"),))
        await stage.delete("two")
        await so(lambda: stage.releases.unfinished("shop", "checkout") == ())


async def test_a_release_under_way_belongs_to_the_service_that_it_began_with(stage: Stage) -> None:
    await made(stage, "one", SPEC, UNDER_WAY)
    async with watched(stage):
        await stage.merge("one", {"spec": {"service": "cart"}})
        await told(stage, await read(stage, "one"))
        assert stage.releases.unfinished("shop", "checkout") == (("shop", "one"),)
        assert stage.releases.unfinished("shop", "cart") == ()


# superseding


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.SHIFTING, Phase.ANALYSING])
async def test_a_queued_release_supersedes_the_one_under_way(stage: Stage, phase: Phase) -> None:
    older = await made(stage, "z", SPEC, UNDER_WAY.model_copy(update={"phase": phase}))
    async with watched(stage):
        await told(stage, await made(stage, "a", LATER, QUEUED))
        assert stage.releases.superseder(older) == "a"


@pytest.mark.parametrize("later", [True, False])
async def test_of_two_that_wait_the_younger_supersedes_the_older(stage: Stage, *, later: bool) -> None:
    async with watched(stage):
        first = await made(stage, "z", LATER, QUEUED)
        second = await made(stage, "a", LATER, QUEUED)
        await told(stage, first)
        await told(stage, second)
        assert stage.releases.superseder(first if later else second) == ("a" if later else "")


async def test_of_several_the_youngest_is_named(stage: Stage) -> None:
    older = await made(stage, "older", SPEC, UNDER_WAY)
    async with watched(stage):
        for name in ("y", "x", "z"):
            await told(stage, await made(stage, name, LATER, QUEUED))
        assert stage.releases.superseder(older) == "z"


@pytest.mark.parametrize("on_conflict", ["reject", "queue"])
async def test_one_that_waits_without_asking_for_it_supersedes_nobody(stage: Stage, on_conflict: str) -> None:
    older = await made(stage, "older", SPEC, UNDER_WAY)
    async with watched(stage):
        spec = LATER.model_copy(update={"on_conflict": on_conflict})
        await told(stage, await made(stage, "newer", spec, QUEUED))
        assert stage.releases.superseder(older) == ""


@pytest.mark.parametrize(
    "status",
    [
        None,
        Status(phase=Phase.PENDING, reason=Reason.SCHEDULED),
        Status(phase=Phase.PENDING, reason=Reason.FROZEN),
        Status(phase=Phase.PREPARING, reason=Reason.QUEUED),
        Status(phase=Phase.ABORTED, reason=Reason.QUEUED),
    ],
    ids=["new", "scheduled", "frozen", "begun", "over"],
)
async def test_one_whose_time_has_not_come_or_is_past_supersedes_nobody(stage: Stage, status: Status | None) -> None:
    older = await made(stage, "older", SPEC, UNDER_WAY)
    async with watched(stage):
        newer = await made(stage, "newer", LATER, status)
        await told(stage, newer)
        assert stage.releases.superseder(older) == ""


async def test_one_that_was_aborted_or_deleted_supersedes_nobody_any_more(stage: Stage) -> None:
    older = await made(stage, "older", SPEC, UNDER_WAY)
    async with watched(stage):
        newer = await made(stage, "newer", LATER, QUEUED)
        await told(stage, newer)
        assert stage.releases.superseder(older) == "newer"
        await told(stage, await stage.releases.wish(newer, LATER.model_copy(update={"abort": PAUSE})))
        assert stage.releases.superseder(older) == ""
        await told(stage, await made(stage, "third", LATER, QUEUED))
        assert stage.releases.superseder(older) == "third"
        await stage.delete("third")
        await so(lambda: stage.releases.superseder(older) == "")


async def test_releases_of_other_services_supersede_nobody(stage: Stage) -> None:
    older = await made(stage, "older", SPEC, UNDER_WAY)
    async with watched(stage):
        await told(stage, await made(stage, "newer", LATER.model_copy(update={"service": "cart"}), QUEUED))
        assert stage.releases.superseder(older) == ""


@pytest.mark.parametrize("spec", [{}, {"service": 7}, {"service": "checkout", "onConflict": ["supersede"]}])
async def test_what_cannot_be_read_supersedes_nobody_and_breaks_nothing(stage: Stage, spec: Any) -> None:
    older = await made(stage, "older", SPEC, UNDER_WAY)
    async with watched(stage):
        metadata = {"name": "odd", "namespace": "shop"}
        await stage.put({"apiVersion": API_VERSION, "kind": "Release", "metadata": metadata, "spec": spec})
        await stage.set_status("odd", {"phase": "Pending", "reason": "Queued"})
        await stage.set_status("odd", {"phase": 7, "service": ["x"]})
        await told(stage, await read(stage, "odd"))
        assert stage.releases.superseder(older) == ""
