"""Asking for a release: once, twice, with a key, and while another one is under way."""

import asyncio
from typing import Any

import pytest

from rollout import commands
from rollout.core.policy import PolicySpec, Step
from rollout.core.release import Phase, Release, ReleaseSpec, Source, Status
from rollout.ports import Conflict, Refused
from tests.commands.conftest import NOON, OVER, SECOND, UNDER_WAY, existing
from tests.fakes.clock import FakeClock
from tests.fakes.releases import FakeReleases


async def started(releases: FakeReleases, clock: FakeClock, **request: Any) -> commands.Started:
    wanted: dict[str, Any] = {
        "namespace": "shop", "service": "checkout", "version": "v2", "source": Source(actor="ci"), "key": None,
    } | request  # fmt: skip
    return await commands.start(releases, clock, **wanted)


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
    assert again == commands.Started(first.release, replayed=True)
    over = await releases.save(first.release, Status(phase=Phase.PROMOTED))
    assert await started(releases, clock, key="pipeline-7") == commands.Started(over, replayed=True)
    assert len(await releases.list("shop")) == 1


@pytest.mark.parametrize("other", [{"version": "v3"}, {"policy": PolicySpec()}], ids=["version", "policy"])
async def test_the_same_key_for_another_request_is_refused(
    releases: FakeReleases, clock: FakeClock, other: dict[str, Any]
) -> None:
    first = await started(releases, clock, key="pipeline-7")
    await releases.save(first.release, Status(phase=Phase.PROMOTED))
    with pytest.raises(Refused):
        await started(releases, clock, key="pipeline-7", **other)
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
    with pytest.raises(commands.Busy) as raised:
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
