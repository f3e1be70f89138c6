"""Looking: what is asked for keeps nobody waiting, and what it adds up to over all releases of a namespace."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from time import monotonic

from rollout.core.freeze import Freeze
from rollout.core.release import Approval, Phase, Reason, Status
from rollout.core.route import Unavailable
from rollout.reconciler import Reconciler
from tests import given
from tests.place import KEY, Place

LOOKS = 40
"""More than either release below needs to be decided on."""


class NoAnswer:
    """Freezes that nobody gets to see, once `hangs`."""

    hangs = False

    async def of(self, namespace: str, service: str, *, remembered: bool = False) -> tuple[Freeze, ...] | Unavailable:
        del namespace, service, remembered
        if self.hangs:
            await asyncio.Event().wait()
        return ()


async def stepped(freezes: NoAnswer) -> Place:
    """A release at its second weight."""
    place = Place()
    place.world = replace(place.world, freezes=freezes)  # type: ignore[arg-type]  # nothing else of them is asked
    place.reconciler = Reconciler(place.world)
    await place.begin()
    await place.until(lambda status: status.phase is Phase.ANALYSING and status.weight == 30)
    return place


async def test_a_rollback_does_not_wait_for_freezes_that_nobody_can_read() -> None:
    freezes = NoAnswer()
    place = await stepped(freezes)
    freezes.hangs = True
    place.workloads.ready["checkout-v2"] = 0
    began = monotonic()
    await place.reconciler.reconcile(KEY)
    assert (await place.status()).phase is Phase.ROLLING_BACK
    assert place.mesh.percent("v2") == 0
    # Two looks: at what is told, and at what the API server holds. A list of it may take twenty seconds.
    assert monotonic() - began < 10


async def test_nobody_advances_while_freezes_do_not_answer() -> None:
    freezes = NoAnswer()
    place = await stepped(freezes)

    def is_over(status: Status) -> bool:
        return status.reason == Reason.FROZEN or status.weight > 30

    for _ in range(LOOKS):
        again = await place.reconciler.reconcile(KEY)
        if is_over(await place.status()):
            break
        assert again is not None
        place.advance(again)
        freezes.hangs = place.clock.now() - (await place.status()).steps[-1].since > timedelta(seconds=11)
    assert (await place.status()).reason == Reason.FROZEN
    assert place.mesh.percent("v2") == 30


async def test_of_services_whose_own_policies_wait_for_one_another_the_younger_is_refused() -> None:
    place = Place()
    place.policies.policy = given.policy()
    names = {"a": ["b"], "b": ["a"]}
    for service, after in names.items():
        await place.releases.create(
            "shop", service, given.spec(service=service, policy=given.policy(after=after), on_conflict="queue")
        )
        place.clock.advance(timedelta(seconds=1))
    for _ in range(2):
        for name in names:
            await place.reconciler.reconcile(("shop", name))
    older, younger = [await place.releases.get("shop", name) for name in names]
    assert older is not None
    assert younger is not None
    assert (younger.status.phase, younger.status.reason) == (Phase.FAILED, Reason.NO_POLICY)
    assert older.status.phase is Phase.PREPARING


async def test_a_release_goes_on_until_the_one_that_supersedes_it_was_approved() -> None:
    place = await stepped(NoAnswer())
    newer = ("shop", "checkout-v3")
    policy = given.policy(gates=[{"name": "board"}])
    place.clock.advance(timedelta(seconds=1))
    spec = given.spec(version="v3", on_conflict="supersede", policy=policy)
    await place.releases.create(*newer, spec)
    for _ in range(3):
        for key in (newer, KEY):
            await place.reconciler.reconcile(key)
    assert (await place.status()).phase is Phase.ANALYSING
    waiting = await place.releases.get(*newer)
    assert waiting is not None
    assert waiting.status.reason == Reason.WAITING_FOR_APPROVAL
    approved = spec.model_copy(update={"approvals": (Approval(gate="board", by="ann", at=place.clock.now()),)})
    await place.releases.wish(waiting, approved)
    for key in (newer, KEY):
        await place.reconciler.reconcile(key)
    assert (await place.status()).phase is Phase.ROLLING_BACK
