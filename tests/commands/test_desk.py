"""The desk at the Kubernetes API is a desk like any other."""

from rollout.commands import LocalDesk
from rollout.core.release import Phase, Source, Status
from rollout.desk import VERBS, Caller, Desk, Order, Scope, Wanted
from tests.commands.conftest import existing
from tests.fakes.clock import FakeClock
from tests.fakes.freezes import FakeFreezes
from tests.fakes.releases import FakeReleases


async def test_what_is_started_can_be_got_listed_and_wished_for(desk: LocalDesk) -> None:
    asked: Desk = desk
    release = (await asked.start(Order("shop", "checkout", "v2", Source(actor="ci")))).release
    assert await asked.get("shop", release.name) == release
    assert await asked.get("pay", release.name) is None
    assert await asked.list("shop", "checkout") == await asked.list(None) == [release]
    assert await asked.list("shop", "cart") == []
    wished = await asked.wish(Wanted("shop", release.name, "pause", by="ann"))
    assert await asked.get("shop", release.name) == wished


async def test_every_verb_but_approve_does_without_a_gate(desk: LocalDesk, releases: FakeReleases) -> None:
    for verb in VERBS:
        if verb == "approve":
            continue
        name = f"for-{verb}"
        before = await existing(releases, Status(phase=Phase.ANALYSING, step=0), name=name)
        after = await desk.wish(Wanted("shop", name, verb, by="ann"))
        # There is nothing to resume.
        assert (after == before) == (verb == "resume")


async def test_who_we_are_is_what_the_other_side_says(
    desk: LocalDesk, releases: FakeReleases, freezes: FakeFreezes, clock: FakeClock
) -> None:
    async def known(namespace: str) -> Caller:
        return Caller("ann", ("devs",), {"abort": namespace == "shop"})

    asked = LocalDesk(releases, freezes, clock, whoami=known)
    assert await asked.whoami("shop") == Caller("ann", ("devs",), {"abort": True})
    assert await desk.whoami("shop") == Caller("")


async def test_a_freeze_stops_starts_until_it_is_lifted_through_the_same_desk(desk: LocalDesk) -> None:
    await desk.freeze(Scope("shop"), None, by="ann", reason="sale")
    assert await desk.unfreeze(Scope("shop"), by="ann")
    assert not (await desk.start(Order("shop", "checkout", "v2", Source()))).replayed
