"""Pause, resume, promote and abort: on releases in every state, twice, and under contention."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from rollout import commands
from rollout.core.release import Drift, Phase, Release, ReleaseSpec, Status
from rollout.desk import Finished
from rollout.ports import Conflict, NotFound, Outage, Refused
from tests.commands.conftest import NOON, OVER, SECOND, SPEC, UNDER_WAY, existing
from tests.fakes.clock import FakeClock
from tests.fakes.releases import FakeReleases

WISHES = [commands.pause, commands.resume, commands.abort, commands.promote]
Verb = Callable[..., Awaitable[Release]]


async def ask(verb: Verb, releases: FakeReleases, clock: FakeClock, name: str = "one", by: str = "ann") -> Release:
    return await verb(releases, clock, namespace="shop", name=name, by=by, reason="because")


async def stored(releases: FakeReleases, name: str = "one") -> Release:
    release = await releases.get("shop", name)
    assert release is not None
    return release


def holding(step: int = 1, **more: Any) -> Status:
    return Status(phase=Phase.ANALYSING, step=step, since=NOON, **more)


class Racing(FakeReleases):
    """Somebody else writes between our read and our write, `times` times."""

    times = 0

    async def wish(self, release: Release, spec: ReleaseSpec) -> Release:
        if self.times > 0:
            self.times -= 1
            await self.save(release, release.status.model_copy(update={"sequence": release.status.sequence + 1}))
        return await super().wish(release, spec)


# wishes that all have in common


@pytest.mark.parametrize("verb", WISHES)
@pytest.mark.parametrize("phase", OVER)
async def test_nothing_can_be_asked_of_a_release_that_is_over(
    releases: FakeReleases, clock: FakeClock, verb: Verb, phase: Phase
) -> None:
    before = await existing(releases, Status(phase=phase, message="5 % errors"))
    with pytest.raises(Finished) as raised:
        await ask(verb, releases, clock)
    assert raised.value.release == before
    assert await stored(releases) == before


@pytest.mark.parametrize("verb", WISHES)
async def test_nothing_can_be_asked_of_a_release_that_is_not_there(
    releases: FakeReleases, clock: FakeClock, verb: Verb
) -> None:
    with pytest.raises(NotFound):
        await ask(verb, releases, clock)


@pytest.mark.parametrize("verb", WISHES)
async def test_an_outage_is_passed_on(releases: FakeReleases, clock: FakeClock, verb: Verb) -> None:
    await existing(releases, holding())
    releases.fail("down")
    with pytest.raises(Outage):
        await ask(verb, releases, clock)


@pytest.mark.parametrize(
    ("verb", "field"), [(commands.pause, "pause"), (commands.abort, "abort"), (commands.promote, "promote")]
)
async def test_a_wish_says_who_when_and_why_and_the_first_one_stays(
    releases: FakeReleases, clock: FakeClock, verb: Verb, field: str
) -> None:
    await existing(releases, holding())
    first = await ask(verb, releases, clock)
    wish = getattr(first.spec, field)
    assert (wish.by, wish.at, wish.reason) == ("ann", NOON, "because")
    clock.advance(SECOND)
    assert await ask(verb, releases, clock, by="bob") == first
    assert await stored(releases) == first


@pytest.mark.parametrize("verb", [commands.pause, commands.abort, commands.promote])
async def test_a_wish_gets_through_while_the_release_keeps_changing(clock: FakeClock, verb: Verb) -> None:
    releases = Racing(clock)
    await existing(releases, holding())
    releases.times = commands.ATTEMPTS - 1
    wished = await ask(verb, releases, clock)
    assert wished.spec != SPEC
    assert wished.status.sequence == commands.ATTEMPTS - 1


async def test_a_release_that_never_stops_changing_is_given_up(clock: FakeClock) -> None:
    releases = Racing(clock)
    await existing(releases, holding())
    releases.times = 10 * commands.ATTEMPTS
    with pytest.raises(Conflict):
        await ask(commands.abort, releases, clock)
    assert (await stored(releases)).spec == SPEC


async def test_texts_that_are_too_long_are_cut_not_refused(releases: FakeReleases, clock: FakeClock) -> None:
    await existing(releases, holding())
    wished = await commands.abort(releases, clock, namespace="shop", name="one", by="a" * 999, reason="r" * 9999)
    assert wished.spec.abort is not None
    assert len(wished.spec.abort.reason) == 1024


# abort


@pytest.mark.parametrize("phase", UNDER_WAY)
async def test_every_unfinished_release_can_be_aborted(releases: FakeReleases, clock: FakeClock, phase: Phase) -> None:
    await existing(releases, Status(phase=phase))
    assert (await ask(commands.abort, releases, clock)).spec.abort is not None


async def test_a_release_with_a_spoilt_spec_can_be_aborted(releases: FakeReleases, clock: FakeClock) -> None:
    await existing(releases, holding(service="checkout", version="v2"))
    releases.edit("shop", "one", lambda obj: obj["spec"].update(surprise=1))
    assert (await ask(commands.abort, releases, clock)).spec.abort is not None


# pause and resume


@pytest.mark.parametrize("verb", [commands.pause, commands.resume, commands.promote])
@pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.FINISHING])
async def test_a_release_that_is_ending_anyway_takes_no_other_wishes(
    releases: FakeReleases, clock: FakeClock, verb: Verb, phase: Phase
) -> None:
    before = await existing(releases, Status(phase=phase, step=1))
    with pytest.raises(Refused):
        await ask(verb, releases, clock)
    assert await stored(releases) == before


@pytest.mark.parametrize("verb", [commands.pause, commands.resume, commands.promote])
async def test_an_abort_that_is_on_its_way_takes_no_other_wishes(
    releases: FakeReleases, clock: FakeClock, verb: Verb
) -> None:
    await existing(releases, holding())
    before = await ask(commands.abort, releases, clock)
    with pytest.raises(Refused):
        await ask(verb, releases, clock)
    assert await stored(releases) == before


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.PREPARING, Phase.SHIFTING, Phase.ANALYSING])
async def test_a_pause_is_ended_by_a_resume(releases: FakeReleases, clock: FakeClock, phase: Phase) -> None:
    await existing(releases, Status(phase=phase, step=0))
    await ask(commands.pause, releases, clock)
    clock.advance(SECOND)
    resumed = await ask(commands.resume, releases, clock, by="bob")
    assert resumed.spec.pause is None
    assert resumed.spec.resume is not None
    assert (resumed.spec.resume.by, resumed.spec.resume.at) == ("bob", clock.now())
    assert await ask(commands.resume, releases, clock) == resumed


async def test_a_resumed_release_can_be_paused_and_resumed_again(releases: FakeReleases, clock: FakeClock) -> None:
    await existing(releases, holding())
    for _ in range(2):
        clock.advance(SECOND)
        assert (await ask(commands.pause, releases, clock)).spec.pause is not None
        clock.advance(SECOND)
        resumed = await ask(commands.resume, releases, clock)
        assert resumed.spec.resume is not None
        assert resumed.spec.resume.at == clock.now()


async def test_with_nothing_to_resume_nothing_changes(releases: FakeReleases, clock: FakeClock) -> None:
    before = await existing(releases, holding())
    assert await ask(commands.resume, releases, clock) == before


@pytest.mark.parametrize("ahead", [-5, 0, 5])
async def test_a_resume_takes_an_edited_route_back_whatever_the_clocks_say(
    releases: FakeReleases, clock: FakeClock, ahead: int
) -> None:
    edited = clock.now() + timedelta(seconds=ahead)
    await existing(releases, holding(drift=Drift(percent=80, at=edited)))
    resumed = await ask(commands.resume, releases, clock)
    assert resumed.spec.resume is not None
    assert resumed.spec.resume.at is not None
    assert resumed.spec.resume.at > edited
    clock.advance(SECOND)
    assert await ask(commands.resume, releases, clock) == resumed


async def test_a_later_edit_needs_a_resume_of_its_own(releases: FakeReleases, clock: FakeClock) -> None:
    await existing(releases, holding(drift=Drift(percent=80, at=clock.now())))
    first = await ask(commands.resume, releases, clock)
    clock.advance(SECOND)
    later = Drift(percent=90, at=clock.now())
    await releases.save(first, first.status.model_copy(update={"drift": later}))
    second = await ask(commands.resume, releases, clock)
    assert second.spec.resume is not None
    assert second.spec.resume.at is not None
    assert second.spec.resume.at > later.at


# promote


async def test_a_promote_names_the_step_that_is_on_hold(releases: FakeReleases, clock: FakeClock) -> None:
    release = await existing(releases, holding(step=0))
    first = await ask(commands.promote, releases, clock)
    assert first.spec.promote is not None
    assert first.spec.promote.step == 0
    await releases.save(first, holding(step=1))
    second = await ask(commands.promote, releases, clock)
    assert second.spec.promote is not None
    assert second.spec.promote.step == 1
    assert second.generation == release.generation + 2


async def test_a_promote_that_loses_a_race_never_skips_the_step_after(clock: FakeClock) -> None:
    class Advancing(FakeReleases):
        """The controller moves on between our read and our write."""

        async def wish(self, release: Release, spec: ReleaseSpec) -> Release:
            if release.status.phase is Phase.ANALYSING:
                await self.save(release, Status(phase=Phase.SHIFTING, step=1))
            return await super().wish(release, spec)

    releases = Advancing(clock)
    await existing(releases, holding(step=0))
    with pytest.raises(Refused):
        await ask(commands.promote, releases, clock)
    assert (await stored(releases)).spec.promote is None


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.PREPARING, Phase.SHIFTING])
async def test_without_a_hold_there_is_nothing_to_promote(
    releases: FakeReleases, clock: FakeClock, phase: Phase
) -> None:
    before = await existing(releases, Status(phase=phase, step=0, message="waiting"))
    with pytest.raises(Refused, match="waiting"):
        await ask(commands.promote, releases, clock)
    assert await stored(releases) == before


async def test_a_paused_or_edited_release_is_resumed_before_it_is_promoted(
    releases: FakeReleases, clock: FakeClock
) -> None:
    await existing(releases, holding(drift=Drift(percent=80, at=NOON)))
    with pytest.raises(Refused, match="80"):
        await ask(commands.promote, releases, clock)
    await existing(releases, holding(), "two")
    await ask(commands.pause, releases, clock, "two")
    with pytest.raises(Refused, match="paused"):
        await ask(commands.promote, releases, clock, "two")


async def test_an_abort_is_noted_even_where_the_status_cannot_be_read(releases: FakeReleases, clock: FakeClock) -> None:
    await existing(releases, Status(phase=Phase.ANALYSING, step=1, since=NOON))
    releases.edit("shop", "one", lambda obj: obj["status"].update(step="of another version"))
    assert (await stored(releases)).status.phase is Phase.FAILED
    assert (await ask(commands.abort, releases, clock)).spec.abort is not None
