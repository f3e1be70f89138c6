"""A controller that stands still in the middle of a write, and another one that takes over and finishes.

Belongs here: the order of events of one such life, and what must be true of the writes of the one that slept.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from rollout.sandbox.audit import AuditEntry
from tests.crash.arena import CLOCK
from tests.crash.invariants import is_refused
from tests.crash.lives import Ending, Life, Point, Story
from tests.crash.place import Place
from tests.crash.proxy import Trap

_AWAKE_S = 30.0


async def slept_through(place: Place, story: Story, point: Point) -> Ending:
    """The first controller is stopped with a write under way, which arrives after the second has ended the release."""
    finished, arrived = asyncio.Event(), asyncio.Event()
    life = Life(place, story)
    woken = datetime.max.replace(tzinfo=UTC)

    async def spring(pass_on: Callable[[], Awaitable[int]]) -> None:
        assert life.controller is not None
        life.controller.send(signal.SIGSTOP)
        await finished.wait()
        nonlocal woken
        woken = CLOCK.now()
        life.controller.send(signal.SIGCONT)
        await pass_on()
        arrived.set()

    trap = Trap(point.write, point.occurrence, spring)
    first = await life.begin(trap)
    try:
        await place.controller(await place.proxy())
        await place.release(story.policy)
        seconds = await life.go_on()
        finished.set()
        if trap.sprung:
            async with asyncio.timeout(_AWAKE_S):
                await arrived.wait()
                # Awake, it finds out that it does not lead any more.
                while not first.told("leader.lost"):
                    await asyncio.sleep(0.1)
        ending = await life.ending(seconds, reached=trap.sprung)
        ending.wrong += _late(ending.written, first.name, woken)
    finally:
        finished.set()
        await place.leave()
    return ending


def _late(written: list[AuditEntry], sleeper: str, woken: datetime) -> list[str]:
    """What the sleeper got written after it woke up. An Event is only told once more, under its own name."""
    late = [one for one in written if one.user_agent == sleeper and one.at >= woken and not is_refused(one)]
    return [
        f"{sleeper} woke up and wrote: {one.verb} {one.resource}/{one.subresource} was answered {one.code}"
        for one in late
        if one.resource != "events"
    ]
