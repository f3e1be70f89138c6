"""Asking for a release: once, twice, with a key, and while another one is under way."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from rollout import commands
from rollout.core.freeze import FreezeSpec
from rollout.core.policy import PolicySpec, Step
from rollout.core.release import Phase, Release, ReleaseSpec, Source, Status
from rollout.desk import Busy, Frozen, KeyReused, Order, Started, default_key
from rollout.ports import Conflict, Refused
from tests.commands.conftest import NOON, OVER, SECOND, UNDER_WAY, existing
from tests.fakes.clock import FakeClock
from tests.fakes.freezes import FakeFreezes
from tests.fakes.releases import FakeReleases


async def started(
    releases: FakeReleases, clock: FakeClock, freezes: FakeFreezes | None = None, **request: Any
) -> Started:
    wanted: dict[str, Any] = {
        "namespace": "shop", "service": "checkout", "version": "v2", "source": Source(actor="ci"),
    } | request  # fmt: skip
    return await commands.start(releases, freezes or FakeFreezes(), clock, Order(**wanted))


async def test_a_start_creates_the_release_that_was_asked_for(releases: FakeReleases, clock: FakeClock) -> None:
    policy = PolicySpec(steps=(Step(weight=100),))
    outcome = await started(releases, clock, policy=policy, source=Source(actor="ci", url="https://ci.example/7"))
    assert not outcome.replayed
    assert await releases.list("shop", "checkout") == [outcome.release]
    assert outcome.release.spec == ReleaseSpec(
        service="checkout", version="v2", policy=policy, source=Source(actor="ci", url="https://ci.example/7")
    )
    assert outcome.release.name.startswith("checkout-v2-")


async def test_a_version_with_dots_makes_a_name_without(releases: FakeReleases, clock: FakeClock) -> None:
    outcome = await started(releases, clock, version="1.2.3")
    assert outcome.release.name.startswith("checkout-1-2-3-")
    assert outcome.release.spec.version == "1.2.3"


async def test_the_longest_names_fit_and_stay_apart(releases: FakeReleases, clock: FakeClock) -> None:
    service = "s" * 63
    one = await started(releases, clock, service=service, version="v" * 63, key="1")
    other = await started(releases, clock, service="s" * 50, version="1-" + "v" * 60, key="2")
    assert len(one.release.name) <= 63
    assert one.release.name != other.release.name
    again = await started(releases, clock, service=service, version="v" * 63, key="1")
    assert again.release == one.release


async def test_the_same_key_and_request_is_the_same_release_even_when_over(
    releases: FakeReleases, clock: FakeClock
) -> None:
    first = await started(releases, clock, key="pipeline-7")
    clock.advance(60 * SECOND)
    again = await started(releases, clock, key="pipeline-7", source=Source(actor="retry"))
    assert again == Started(first.release, replayed=True)
    over = await releases.save(first.release, Status(phase=Phase.PROMOTED))
    assert await started(releases, clock, key="pipeline-7") == Started(over, replayed=True)
    assert len(await releases.list("shop")) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"version": "v3"},
        {"policy": PolicySpec()},
        {"on_conflict": "queue"},
        {"not_before": NOON + SECOND},
    ],
    ids=["version", "policy", "conflict", "time"],
)
async def test_the_same_key_for_another_request_is_refused(
    releases: FakeReleases, clock: FakeClock, other: dict[str, Any]
) -> None:
    first = await started(releases, clock, key="pipeline-7")
    await releases.save(first.release, Status(phase=Phase.PROMOTED))
    with pytest.raises(KeyReused) as raised:
        await started(releases, clock, key="pipeline-7", **other)
    assert raised.value.release.key == first.release.key
    assert len(await releases.list("shop")) == 1


async def test_the_same_key_may_be_used_for_each_service(releases: FakeReleases, clock: FakeClock) -> None:
    first = await started(releases, clock, key="pipeline-7")
    second = await started(releases, clock, key="pipeline-7", service="cart")
    assert first.release.name != second.release.name
    assert not second.replayed


async def test_without_a_key_every_start_is_another_release(releases: FakeReleases, clock: FakeClock) -> None:
    first = await started(releases, clock)
    await releases.save(first.release, Status(phase=Phase.PROMOTED))
    second = await started(releases, clock)
    assert not second.replayed
    assert second.release.name != first.release.name
    await releases.save(second.release, Status(phase=Phase.FAILED))
    third = await started(releases, clock, key="pipeline-7")
    assert not third.replayed


@pytest.mark.parametrize("phase", UNDER_WAY)
async def test_a_release_under_way_makes_the_service_busy(
    releases: FakeReleases, clock: FakeClock, phase: Phase
) -> None:
    busy = await existing(releases, Status(phase=phase, since=NOON))
    with pytest.raises(Busy) as raised:
        await started(releases, clock, version="v3")
    assert raised.value.release == busy
    for fact in ("one", "v2", phase.value, "2026-11-21T12:00:00"):
        assert fact in str(raised.value)
    assert await releases.list("shop") == [busy]


@pytest.mark.parametrize("phase", OVER)
async def test_a_release_that_is_over_makes_nobody_wait(releases: FakeReleases, clock: FakeClock, phase: Phase) -> None:
    await existing(releases, Status(phase=phase))
    assert not (await started(releases, clock)).replayed


async def test_releases_of_other_services_and_namespaces_are_not_in_the_way(
    releases: FakeReleases, clock: FakeClock
) -> None:
    await started(releases, clock, service="cart")
    await started(releases, clock, namespace="other")
    assert not (await started(releases, clock)).replayed


@pytest.mark.parametrize("request_", [{"service": "Check Out"}, {"version": "V2/latest"}, {"version": ""}])
async def test_names_that_cannot_be_are_refused(
    releases: FakeReleases, clock: FakeClock, request_: dict[str, Any]
) -> None:
    with pytest.raises(Refused):
        await started(releases, clock, **request_)
    assert await releases.list("shop") == []


async def test_two_starts_with_one_key_at_once_are_one_release(clock: FakeClock) -> None:
    class Slow(FakeReleases):
        """All lists are answered before anything is created."""

        async def create(self, namespace: str, name: str, spec: ReleaseSpec, key_hash: str = "") -> Release:
            await asyncio.sleep(0)
            return await super().create(namespace, name, spec, key_hash)

    releases = Slow(clock)
    one, other = await asyncio.gather(*(started(releases, clock, key="k") for _ in range(2)))
    assert one.release == other.release
    assert {one.replayed, other.replayed} == {True, False}


async def test_a_release_deleted_while_it_is_started_is_refused(clock: FakeClock) -> None:
    class Fleeting(FakeReleases):
        """The name is taken when we create, and free again when we look."""

        async def create(self, namespace: str, name: str, spec: ReleaseSpec, key_hash: str = "") -> Release:
            release = await super().create(namespace, name, spec, key_hash)
            self.delete(*release.key)
            raise Conflict(name)

    with pytest.raises(Refused):
        await started(Fleeting(clock), clock, key="k")


async def test_a_time_that_is_finer_than_what_is_stored_is_the_same_request(
    releases: FakeReleases, clock: FakeClock
) -> None:
    request: dict[str, Any] = {"key": "k", "not_before": NOON + timedelta(hours=1, microseconds=1234)}
    first = await started(releases, clock, **request)
    assert await started(releases, clock, **request) == Started(first.release, replayed=True)


class Simultaneous(FakeReleases):
    """Everybody has looked before anything is created."""

    async def create(self, namespace: str, name: str, spec: ReleaseSpec, key_hash: str = "") -> Release:
        await asyncio.sleep(0)
        return await super().create(namespace, name, spec, key_hash)


async def test_fifty_identical_starts_at_once_are_one_release_every_time(clock: FakeClock) -> None:
    for _ in range(100):
        releases = Simultaneous(clock)
        found = await asyncio.gather(*(started(releases, clock, key="k") for _ in range(50)))
        assert len(await releases.list(None)) == 1
        assert {one.release.name for one in found} == {found[0].release.name}
        assert sum(not one.replayed for one in found) == 1


async def test_two_different_requests_with_one_key_at_once_are_one_release_and_one_refusal(clock: FakeClock) -> None:
    releases = Simultaneous(clock)
    one, other = await asyncio.gather(
        *(started(releases, clock, key="k", version=version) for version in ("v2", "v3")), return_exceptions=True
    )
    assert isinstance(one, Started)
    assert isinstance(other, KeyReused)
    assert await releases.list(None) == [one.release]


# while another one is under way


@pytest.mark.parametrize("phase", UNDER_WAY)
@pytest.mark.parametrize("on_conflict", ["queue", "supersede"])
async def test_a_start_that_does_not_mind_others_is_created_beside_them(
    releases: FakeReleases, clock: FakeClock, phase: Phase, on_conflict: str
) -> None:
    await existing(releases, Status(phase=phase))
    made = await started(releases, clock, version="v3", on_conflict=on_conflict)
    assert made.release.spec.on_conflict == on_conflict
    assert len(await releases.list("shop", "checkout")) == 2


@pytest.mark.parametrize("watched", [True, False])
async def test_a_rival_is_found_whether_or_not_a_watch_runs(
    releases: FakeReleases, clock: FakeClock, *, watched: bool
) -> None:
    await existing(releases, Status(phase=Phase.PROMOTED), name="over")
    await existing(releases, Status(phase=Phase.PREPARING), name="busy")
    async with aclosing(releases.watch("shop")) as watch:
        if watched:
            await anext(watch)
        with pytest.raises(Busy) as raised:
            await started(releases, clock, version="v3")
    assert raised.value.release.name == "busy"


@pytest.mark.parametrize("status", [Status(phase=Phase.PROMOTED), None], ids=["ended", "gone"])
async def test_a_rival_that_ended_since_the_watch_told_of_it_makes_nobody_wait(
    clock: FakeClock, status: Status | None
) -> None:
    class Late(FakeReleases):
        """The watch still tells of it."""

        def unfinished(self, namespace: str, service: str) -> tuple[tuple[str, str], ...]:
            del namespace, service
            return (("shop", "one"),)

    releases = Late(clock)
    if status is not None:
        await existing(releases, status)
    assert not (await started(releases, clock, version="v3")).replayed


# while it is frozen


FROZEN = FreezeSpec(until=NOON + timedelta(hours=1), by="ann", reason="sale")


@pytest.mark.parametrize("on_conflict", ["reject", "supersede"])
@pytest.mark.parametrize(
    ("namespace", "spec"),
    [
        (None, FROZEN.model_copy(update={"everywhere": True})),
        ("shop", FROZEN),
        ("shop", FROZEN.model_copy(update={"service": "checkout"})),
        ("shop", FROZEN.model_copy(update={"until": None})),
    ],
    ids=["everything", "namespace", "service", "for ever"],
)
async def test_nobody_starts_what_is_frozen(
    releases: FakeReleases,
    freezes: FakeFreezes,
    clock: FakeClock,
    on_conflict: str,
    namespace: str | None,
    spec: FreezeSpec,
) -> None:
    freeze = await freezes.put(namespace, spec)
    with pytest.raises(Frozen) as raised:
        await started(releases, clock, freezes, on_conflict=on_conflict)
    assert raised.value.freeze == freeze
    assert await releases.list(None) == []


async def test_a_start_that_queues_is_created_and_waits_for_the_thaw(
    releases: FakeReleases, freezes: FakeFreezes, clock: FakeClock
) -> None:
    await freezes.put("shop", FROZEN)
    assert not (await started(releases, clock, freezes, on_conflict="queue")).replayed


@pytest.mark.parametrize(
    ("namespace", "spec"),
    [("pay", FROZEN), ("shop", FROZEN.model_copy(update={"service": "cart"})),
     ("shop", FROZEN.model_copy(update={"until": NOON}))],
    ids=["namespace", "service", "ended"],
)  # fmt: skip
async def test_freezes_of_others_and_of_the_past_stop_nobody(
    releases: FakeReleases, freezes: FakeFreezes, clock: FakeClock, namespace: str, spec: FreezeSpec
) -> None:
    await freezes.put(namespace, spec)
    assert not (await started(releases, clock, freezes)).replayed


async def test_a_start_after_the_thaw_may_be_asked_for_before(
    releases: FakeReleases, freezes: FakeFreezes, clock: FakeClock
) -> None:
    await freezes.put("shop", FROZEN)
    assert FROZEN.until is not None
    with pytest.raises(Frozen):
        await started(releases, clock, freezes, not_before=FROZEN.until - SECOND)
    assert not (await started(releases, clock, freezes, not_before=FROZEN.until)).replayed


async def test_what_was_started_before_a_freeze_is_still_found_by_its_key(
    releases: FakeReleases, freezes: FakeFreezes, clock: FakeClock
) -> None:
    first = await started(releases, clock, freezes, key="k")
    await freezes.put("shop", FROZEN)
    assert await started(releases, clock, freezes, key="k") == Started(first.release, replayed=True)


async def test_where_freezes_cannot_be_read_the_controller_decides(
    releases: FakeReleases, freezes: FakeFreezes, clock: FakeClock
) -> None:
    freezes.fail("down")
    assert not (await started(releases, clock, freezes)).replayed


def test_every_attempt_of_every_run_has_a_key_of_its_own() -> None:
    base = {"service": "checkout", "version": "v2", "repository": "acme/checkout", "run": "7", "attempt": "1"}
    others = {default_key(**base | {part: f"{base[part]}1"}) for part in base}
    shifted = default_key(**base | {"repository": "acme/checkout7", "run": ""})
    assert len({default_key(**base), *others, shifted}) == len(base) + 2
    assert default_key(**base) == default_key(**base)
