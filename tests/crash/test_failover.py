"""The leader is killed -9 in the middle of a release: the standby leads in time, and no step is lost or repeated."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from rollout.sandbox.cluster_client import JsonObject
from tests.crash.arena import Arena
from tests.crash.invariants import decisions, told_wrongly, violations
from tests.crash.place import LEASE, POLICY, RELEASE, Place

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOMENTS = {
    "before it began": ("Preparing", None),
    "at its first step": ("Analysing", 0),
    "at its last step": ("Analysing", 1),
    "while it puts away": ("Finishing", 1),
}
SECONDS = 120.0


async def until(fact: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not fact():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def failover(arena: Arena, moment: tuple[str, int | None]) -> float:
    """How many seconds after the kill the standby led."""
    place = Place(arena)
    await place.open()
    try:
        first = await place.controller(await place.proxy())
        await until(lambda: first.told("leader.acquired"))
        second = await place.controller(await place.proxy())
        await until(lambda: second.told("controller.started"))
        await place.release(POLICY)

        def is_then(status: JsonObject) -> bool:
            return (status.get("phase"), status.get("step")) == moment

        await until(lambda: is_then(place.status()))
        lease = await place.get("Lease", f"rollout-{place.namespace}")
        assert lease is not None
        killed = lease["spec"]["holderIdentity"], time.time()  # noqa: TID251 - held against the time in a log
        first.kill()
        await until(lambda: second.told("leader.acquired"))
        led = datetime.fromisoformat(second.told("leader.acquired")[0]["ts"]).timestamp()
        await until(place.is_settled)
        lease = await place.get("Lease", f"rollout-{place.namespace}")
        release = await place.get("Release", RELEASE)
        assert lease is not None and release is not None
        assert lease["spec"]["holderIdentity"] != killed[0]
        assert lease["spec"]["leaseTransitions"] == 1
        assert release["status"]["phase"] == "Promoted"
        events = await place.events()
        assert violations(place.written()) == []
        assert list(told_wrongly(release, events)) == []
        told = decisions(events)
        assert (told["StepStarted"], told["StepPromoted"], told["ReleaseSucceeded"]) == (2, 2, 1)
        return led - killed[1]
    finally:
        await place.close()


async def test_after_a_kill_the_standby_leads_within_lease_time_and_no_step_is_lost_or_repeated(
    arena: Arena, said: list[str]
) -> None:
    took = await asyncio.gather(*(failover(arena, moment) for moment in MOMENTS.values()))
    every = ", ".join(f"{seconds:.1f} s {when}" for when, seconds in zip(MOMENTS, took, strict=True))
    said.append(f"failover after kill -9 with a Lease of {LEASE['duration']} s: {every}")
    assert max(took) <= LEASE["duration"] + 1
