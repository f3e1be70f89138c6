"""Approving a gate: of a frozen policy, of one that came along, of one that is not known yet; twice, and too late."""

from typing import Any

import pytest

from rollout.commands import LocalDesk
from rollout.core.gating import Gate, GateRun
from rollout.core.policy import PolicySpec
from rollout.core.release import Phase, Release, Status
from rollout.desk import Finished, Wanted
from rollout.ports import Conflict, NotFound, Refused
from tests.commands.conftest import NOON, OVER, SECOND, SPEC, existing
from tests.fakes.clock import FakeClock
from tests.fakes.releases import FakeReleases

POLICY = PolicySpec(
    gates=(Gate(name="owner"), Gate(name="promotion", before="promotion"), Gate(name="smoke", kind="job", use="smoke"))
)


def waiting(phase: Phase = Phase.ANALYSING, **more: Any) -> Status:
    return Status(phase=phase, step=0, since=NOON, policy=POLICY, **more)


async def approved(desk: LocalDesk, gate: str = "owner", by: str = "ann", **more: Any) -> Release:
    return await desk.wish(Wanted("shop", "one", "approve", by=by, reason="looks good", gate=gate, **more))


async def stored(releases: FakeReleases) -> Release:
    release = await releases.get("shop", "one")
    assert release is not None
    return release


async def test_an_approval_says_who_when_and_why(releases: FakeReleases, desk: LocalDesk) -> None:
    await existing(releases, waiting())
    release = await approved(desk)
    approval = release.spec.approvals[0]
    assert (approval.gate, approval.by, approval.at, approval.reason) == ("owner", "ann", NOON, "looks good")
    assert await stored(releases) == release


async def test_approving_twice_is_once_and_the_first_one_stays(
    releases: FakeReleases, desk: LocalDesk, clock: FakeClock
) -> None:
    await existing(releases, waiting())
    first = await approved(desk)
    clock.advance(SECOND)
    assert await approved(desk, by="bob") == first


async def test_every_gate_is_approved_by_itself(releases: FakeReleases, desk: LocalDesk) -> None:
    await existing(releases, waiting())
    await approved(desk, "promotion")
    release = await approved(desk, "owner", by="bob")
    assert [(one.gate, one.by) for one in release.spec.approvals] == [("promotion", "ann"), ("owner", "bob")]


async def test_a_person_may_let_a_job_pass(releases: FakeReleases, desk: LocalDesk) -> None:
    await existing(releases, waiting())
    assert (await approved(desk, "smoke")).spec.approvals[0].gate == "smoke"


async def test_a_gate_that_is_not_there_is_refused_with_those_that_are(releases: FakeReleases, desk: LocalDesk) -> None:
    before = await existing(releases, waiting())
    with pytest.raises(Refused) as raised:
        await approved(desk, "onwer")
    for name in ("owner", "promotion", "smoke"):
        assert name in str(raised.value)
    assert await stored(releases) == before


async def test_the_gates_of_a_policy_that_came_along_are_known_at_once(releases: FakeReleases, desk: LocalDesk) -> None:
    await existing(releases, Status(), spec=SPEC.model_copy(update={"policy": POLICY}))
    assert (await approved(desk)).spec.approvals[0].gate == "owner"


async def test_before_the_policy_is_frozen_the_gates_that_are_waited_for_are_known(
    releases: FakeReleases, desk: LocalDesk
) -> None:
    await existing(releases, Status(gate_runs=(GateRun(gate="owner", since=NOON),)))
    assert (await approved(desk)).spec.approvals[0].gate == "owner"
    with pytest.raises(Refused):
        await approved(desk, "other")


@pytest.mark.parametrize("status", [Status(), Status(phase=Phase.ANALYSING, policy=PolicySpec())], ids=["new", "none"])
async def test_where_no_gate_is_known_none_can_be_approved(
    releases: FakeReleases, desk: LocalDesk, status: Status
) -> None:
    before = await existing(releases, status)
    with pytest.raises(Refused):
        await approved(desk)
    assert await stored(releases) == before


async def test_a_release_on_its_way_back_takes_no_approval(releases: FakeReleases, desk: LocalDesk) -> None:
    await existing(releases, waiting())
    before = await desk.wish(Wanted("shop", "one", "abort"))
    with pytest.raises(Refused):
        await approved(desk)
    assert await stored(releases) == before


@pytest.mark.parametrize("phase", OVER)
async def test_a_release_that_is_over_takes_no_approval(releases: FakeReleases, desk: LocalDesk, phase: Phase) -> None:
    await existing(releases, waiting(phase))
    with pytest.raises(Finished):
        await approved(desk)


async def test_what_is_not_there_cannot_be_approved(desk: LocalDesk) -> None:
    with pytest.raises(NotFound):
        await approved(desk)


async def test_an_approval_of_what_was_seen_is_refused_once_it_changed(releases: FakeReleases, desk: LocalDesk) -> None:
    seen = await existing(releases, waiting())
    await releases.save(seen, waiting(sequence=1))
    with pytest.raises(Conflict):
        await approved(desk, revision=seen.revision)
    assert (await stored(releases)).spec.approvals == ()
    assert (await approved(desk, revision=(await stored(releases)).revision)).spec.approvals


async def test_only_an_approval_names_a_gate(releases: FakeReleases, desk: LocalDesk) -> None:
    before = await existing(releases, waiting())
    with pytest.raises(Refused):
        await desk.wish(Wanted("shop", "one", "promote", gate="owner"))
    assert await stored(releases) == before
