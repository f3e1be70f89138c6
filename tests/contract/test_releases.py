"""What every `ports.Releases` does: one suite for the fake and for the adapter on an API server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from rollout.core.policy import PolicySpec
from rollout.core.release import (
    API_VERSION,
    Cause,
    Phase,
    Reason,
    Release,
    ReleaseSpec,
    Status,
    Wish,
)
from rollout.ports import Conflict, NotFound, Outage, Releases
from tests.contract.release_stages import (
    NOON,
    PAUSE,
    SPEC,
    JsonObject,
    Stage,
    begun,
    full_status,
    next_of,
    opened,
    read,
)


@pytest.fixture(params=["fake", "embedded"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with opened(request.param, tmp_path) as one:
        yield one


def raw(name: str, spec: Any) -> JsonObject:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": API_VERSION, "kind": "Release", "metadata": metadata, "spec": spec}


# reading and creating


async def test_a_created_release_is_read_back_as_it_was_wished_for(stage: Stage) -> None:
    spec = SPEC.model_copy(update={"policy": PolicySpec(), "pause": PAUSE})
    created = await stage.releases.create("shop", "one", spec, "0123")
    assert created == await stage.releases.get("shop", "one")
    assert (created.spec, created.status, created.problem) == (spec, Status(), "")
    assert created.generation == 1
    assert created.uid
    assert created.revision
    assert created.created_at is not None
    assert created.created_at.tzinfo is not None


async def test_a_taken_name_is_a_conflict_and_changes_nothing(stage: Stage) -> None:
    created = await stage.releases.create("shop", "one", SPEC)
    with pytest.raises(Conflict):
        await stage.releases.create("shop", "one", ReleaseSpec(service="checkout", version="v3"))
    assert await read(stage, "one") == created


@pytest.mark.parametrize("name", ["absent", "..", "a/b", "A", "", "x" * 300, "one?watch=true"])
async def test_what_does_not_exist_or_could_not_is_none(stage: Stage, name: str) -> None:
    await stage.releases.create("shop", "one", SPEC)
    assert await stage.releases.get("shop", name) is None


async def test_a_list_is_oldest_first_and_of_one_service_or_all(stage: Stage) -> None:
    releases = stage.releases
    await releases.create("shop", "b", SPEC)
    await releases.create("shop", "a", SPEC)
    await releases.create("shop", "cart-1", ReleaseSpec(service="cart", version="v9"))
    await releases.create("other", "c", SPEC)
    assert [one.name for one in await releases.list("shop")] == ["b", "a", "cart-1"]
    assert [one.name for one in await releases.list("shop", "checkout")] == ["b", "a"]
    assert [one.key for one in await releases.list(None)] == [
        ("shop", "b"), ("shop", "a"), ("shop", "cart-1"), ("other", "c"),
    ]  # fmt: skip
    assert await releases.list("empty") == []


async def test_a_release_made_by_hand_is_listed_with_its_service(stage: Stage) -> None:
    await stage.put(raw("by-hand", {"service": "checkout", "version": "v2"}))
    assert [one.name for one in await stage.releases.list("shop", "checkout")] == ["by-hand"]


# wishes


async def test_a_wish_changes_the_spec_alone_and_is_a_new_generation(stage: Stage) -> None:
    release = await begun(stage)
    wished = await stage.releases.wish(release, SPEC.model_copy(update={"pause": PAUSE}))
    assert wished == await read(stage, "one")
    assert wished.spec.pause == PAUSE
    assert wished.generation == release.generation + 1
    assert wished.status == release.status
    assert wished.revision != release.revision


async def test_a_wish_can_be_taken_back_and_replaced(stage: Stage) -> None:
    release = await begun(stage, spec=SPEC.model_copy(update={"pause": PAUSE}))
    resumed = await stage.releases.wish(release, SPEC.model_copy(update={"resume": Wish(by="ann", at=NOON)}))
    assert resumed.spec.pause is None
    again = await stage.releases.wish(resumed, SPEC.model_copy(update={"resume": Wish(reason="now")}))
    assert again.spec == SPEC.model_copy(update={"resume": Wish(reason="now")})


async def test_a_stale_wish_is_a_conflict_and_changes_nothing(stage: Stage) -> None:
    stale = await begun(stage)
    current = await stage.releases.wish(stale, SPEC.model_copy(update={"pause": PAUSE}))
    for spec in (SPEC.model_copy(update={"abort": PAUSE}), stale.spec):
        with pytest.raises(Conflict):
            await stage.releases.wish(stale, spec)
    assert await read(stage, "one") == current


async def test_a_wish_older_than_the_status_is_a_conflict(stage: Stage) -> None:
    stale = await stage.releases.create("shop", "one", SPEC)
    saved = await stage.releases.save(stale, Status(phase=Phase.PREPARING))
    with pytest.raises(Conflict):
        await stage.releases.wish(stale, SPEC.model_copy(update={"abort": PAUSE}))
    assert await read(stage, "one") == saved


async def test_a_wish_keeps_what_others_wrote_into_the_metadata(stage: Stage) -> None:
    await begun(stage)
    await stage.merge("one", {"metadata": {"labels": {"team": "pay"}}})
    release = await read(stage, "one")
    await stage.releases.wish(release, SPEC.model_copy(update={"pause": PAUSE}))
    with pytest.raises(Conflict):
        await stage.releases.wish(release, SPEC)
    await stage.merge("one", {"metadata": {"labels": {"team": "pay"}}})
    assert (await read(stage, "one")).generation == release.generation + 1


async def test_a_wish_on_a_deleted_release_is_not_found(stage: Stage) -> None:
    release = await begun(stage)
    await stage.delete("one")
    with pytest.raises(NotFound):
        await stage.releases.wish(release, SPEC.model_copy(update={"pause": PAUSE}))


# memory


async def test_a_status_is_read_back_as_it_was_saved(stage: Stage) -> None:
    release = await stage.releases.create("shop", "one", SPEC)
    saved = await stage.releases.save(release, full_status())
    assert saved.status == full_status()
    assert saved == await read(stage, "one")


async def test_a_save_replaces_the_whole_status(stage: Stage) -> None:
    release = await stage.releases.create("shop", "one", SPEC)
    release = await stage.releases.save(release, full_status())
    after = Status(phase=Phase.FAILED, cause=Cause(kind="infrastructure", reason=Reason.DEADLINE, message="late"))
    await stage.releases.save(release, after)
    assert (await read(stage, "one")).status == after


async def test_a_save_is_no_new_generation_and_leaves_the_spec(stage: Stage) -> None:
    release = await stage.releases.create("shop", "one", SPEC)
    saved = await stage.releases.save(release, full_status())
    assert (saved.generation, saved.spec, saved.uid) == (release.generation, release.spec, release.uid)
    assert saved.revision != release.revision


async def test_saving_the_same_again_is_no_change(stage: Stage) -> None:
    release = await stage.releases.create("shop", "one", SPEC)
    saved = await stage.releases.save(release, full_status())
    assert await stage.releases.save(saved, full_status()) == saved


async def test_a_stale_save_is_a_conflict_and_changes_nothing(stage: Stage) -> None:
    stale = await stage.releases.create("shop", "one", SPEC)
    current = await stage.releases.wish(stale, SPEC.model_copy(update={"abort": PAUSE}))
    with pytest.raises(Conflict):
        await stage.releases.save(stale, full_status())
    assert await read(stage, "one") == current


async def test_of_two_saves_at_once_exactly_one_counts(stage: Stage) -> None:
    release = await stage.releases.create("shop", "one", SPEC)
    tries = (stage.releases.save(release, Status(weight=weight)) for weight in (10, 30))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(result) for result in results if isinstance(result, BaseException)] == [Conflict]
    winner = next(result for result in results if isinstance(result, Release))
    assert await read(stage, "one") == winner


async def test_a_save_on_a_deleted_release_is_not_found(stage: Stage) -> None:
    release = await begun(stage)
    await stage.delete("one")
    with pytest.raises(NotFound):
        await stage.releases.save(release, full_status())


async def test_a_save_never_hits_a_namesake_made_later(stage: Stage) -> None:
    release = await begun(stage)
    await stage.delete("one")
    namesake = await stage.releases.create("shop", "one", SPEC)
    with pytest.raises(Conflict):
        await stage.releases.save(release, full_status())
    assert await read(stage, "one") == namesake
    assert namesake.uid != release.uid


# what others spoil


async def test_an_unknown_wish_is_a_problem_and_the_rest_of_the_spec_is_read(stage: Stage) -> None:
    await stage.put(raw("odd", {"service": "checkout", "version": "v2", "pasue": {}, "abort": {"by": "ann"}}))
    release = await read(stage, "odd")
    assert "pasue" in release.problem
    assert release.spec == ReleaseSpec(service="checkout", version="v2", abort=Wish(by="ann"))


@pytest.mark.parametrize("spec", [{}, {"service": "Check Out", "version": 2}, {"version": ["v2"], "service": None}])
async def test_a_spec_without_sound_names_is_a_problem_and_still_a_release(stage: Stage, spec: Any) -> None:
    await stage.put(raw("odd", spec))
    release = await read(stage, "odd")
    assert release.problem
    assert (release.spec.service, release.spec.version) == ("unreadable", "unreadable")
    assert [one.name for one in await stage.releases.list("shop")] == ["odd"]


async def test_a_spec_spoilt_on_the_way_keeps_the_names_it_began_with(stage: Stage) -> None:
    await begun(stage)
    await stage.merge("one", {"spec": {"service": "Nonsense!", "version": 7}})
    release = await read(stage, "one")
    assert release.problem
    assert (release.spec.service, release.spec.version) == ("checkout", "v2")
    assert [one.name for one in await stage.releases.list("shop", "checkout")] == ["one"]


async def test_a_version_changed_on_the_way_is_a_problem_and_read_as_it_was(stage: Stage) -> None:
    await begun(stage)
    await stage.merge("one", {"spec": {"version": "v3"}})
    release = await read(stage, "one")
    assert "spec.version" in release.problem
    assert release.spec.version == "v2"


async def test_a_spoilt_spec_can_still_be_given_a_status(stage: Stage) -> None:
    await begun(stage)
    await stage.merge("one", {"spec": {"surprise": 1}})
    saved = await stage.releases.save(await read(stage, "one"), full_status())
    assert saved.status == full_status()


@pytest.mark.parametrize("status", [{"phase": "Dancing"}, {"order": {"percent": 400, "epoch": 1}}, {"steps": "all"}])
async def test_a_status_that_is_none_is_a_problem_and_reads_as_failed(stage: Stage, status: Any) -> None:
    await begun(stage)
    await stage.set_status("one", status)
    release = await read(stage, "one")
    assert "status." in release.problem
    assert release.status.phase is Phase.FAILED


async def test_what_a_newer_controller_remembers_is_ignored_at_any_depth(stage: Stage) -> None:
    await begun(stage)
    status = full_status().wire()
    status["mood"] = "good"
    status["order"]["lane"] = 3
    await stage.set_status("one", status)
    release = await read(stage, "one")
    assert release.status == full_status()
    assert not release.problem


# watching


async def test_a_watch_begins_with_all_there_are_and_tells_new_ones(stage: Stage) -> None:
    await stage.releases.create("shop", "one", SPEC)
    await stage.releases.create("other", "elsewhere", SPEC)
    async with aclosing(stage.releases.watch("shop")) as watch:
        assert await next_of(watch) == ("one", 1)
        await stage.releases.create("shop", "two", SPEC)
        assert await next_of(watch) == ("two", 1)


async def test_a_watch_of_all_namespaces_tells_of_each(stage: Stage) -> None:
    await stage.releases.create("shop", "one", SPEC)
    await stage.releases.create("other", "elsewhere", SPEC)
    async with aclosing(stage.releases.watch(None)) as watch:
        assert {await next_of(watch), await next_of(watch)} == {("one", 1), ("elsewhere", 1)}


async def test_a_watch_tells_of_wishes_but_not_of_what_is_saved(stage: Stage) -> None:
    release = await stage.releases.create("shop", "one", SPEC)
    async with aclosing(stage.releases.watch("shop")) as watch:
        assert await next_of(watch) == ("one", 1)
        release = await stage.releases.save(release, full_status())
        release = await stage.releases.wish(release, SPEC.model_copy(update={"pause": PAUSE}))
        assert await next_of(watch) == ("one", 2)


async def test_a_watch_is_silent_about_a_deletion_and_tells_of_a_namesake(stage: Stage) -> None:
    await stage.releases.create("shop", "one", SPEC)
    async with aclosing(stage.releases.watch("shop")) as watch:
        assert await next_of(watch) == ("one", 1)
        await stage.delete("one")
        await stage.releases.create("shop", "one", SPEC)
        assert await next_of(watch) == ("one", 1)


async def test_a_watch_tells_of_objects_that_are_spoilt(stage: Stage) -> None:
    await stage.put(raw("odd", {}))
    async with aclosing(stage.releases.watch("shop")) as watch:
        assert await next_of(watch) == ("odd", 1)


async def test_a_watch_ends_with_an_outage_when_the_server_goes(stage: Stage) -> None:
    await stage.releases.create("shop", "one", SPEC)
    async with aclosing(stage.releases.watch("shop")) as watch:
        assert await next_of(watch) == ("one", 1)
        await stage.break_down()
        with pytest.raises(Outage):
            await next_of(watch)


@pytest.mark.parametrize(
    "call",
    [
        lambda releases, _: releases.get("shop", "one"),
        lambda releases, _: releases.list("shop"),
        lambda releases, _: releases.create("shop", "two", SPEC),
        lambda releases, release: releases.wish(release, SPEC),
        lambda releases, release: releases.save(release, Status()),
        lambda releases, release: releases.hold(release),
        lambda releases, release: releases.let_go(release),
        lambda releases, _: anext(releases.watch("shop")),
    ],
    ids=["get", "list", "create", "wish", "save", "hold", "let_go", "watch"],
)
async def test_without_a_server_every_call_is_an_outage(stage: Stage, call: Callable[[Releases, Release], Any]) -> None:
    release = await stage.releases.create("shop", "one", SPEC)
    await stage.break_down()
    with pytest.raises(Outage):
        await call(stage.releases, release)


@pytest.mark.parametrize("abort", [True, "now", {"by": 7}])
async def test_an_abort_that_cannot_be_read_is_an_abort_all_the_same(stage: Stage, abort: object) -> None:
    await begun(stage)
    await stage.merge("one", {"spec": {"abort": abort}})
    release = await read(stage, "one")
    assert release.problem
    assert release.spec.abort is not None
