"""What a release under way costs the API server while nothing happens: counted in the audit log, in real time."""

import asyncio
import time
from collections import Counter
from datetime import datetime, timedelta

import pytest

from tests.crash.arena import CLOCK, Arena
from tests.crash.place import POLICY, Place

pytestmark = pytest.mark.asyncio(loop_scope="session")

RELEASES = 3
MOST_PER_MINUTE = 2.0
INTERVAL_S = 15.0
WARM_UP_S = 35.0
COUNTED = timedelta(seconds=90)
"""Six looks, and three whole times of what a look may wait to be saved."""
OFF_BEAT = timedelta(seconds=7)
"""Counting begins so long after a save, so that none falls on an end of what is counted."""
WATCHED = {
    **POLICY,
    "interval": "15s",
    "steps": [{"weight": 50, "hold": "10m"}, {"weight": 100, "hold": "10s"}],
    "deadlines": {**POLICY["deadlines"], "total": "1h"},
    "judge": {**POLICY["judge"], "block": "15s", "caps": {"outage": "15s", "latency": "30s", "traffic": "30s"}},
}
_BEGIN_S = 120.0


def saved_last(place: Place) -> datetime:
    """When the status of its release was written last."""
    return max(one.at for one in place.written() if one.subresource == "status")


@pytest.mark.usefixtures("deeds")  # they are done while we count: nothing else needs the minutes
async def test_a_release_that_is_watched_costs_two_requests_a_minute(arena: Arena, said: list[str]) -> None:
    places = [Place(arena) for _ in range(RELEASES)]
    await asyncio.gather(*(place.open(interval=INTERVAL_S) for place in places))
    try:
        names = [place.namespace for place in places]
        # A shard of several namespaces has a Lease whose name no right here is about.
        controller = await places[0].controller(await places[0].proxy(), namespaces=names, lease=None)
        await asyncio.gather(*(place.release(WATCHED) for place in places))
        deadline = time.monotonic() + _BEGIN_S
        while not all(place.status().get("phase") == "Analysing" for place in places):
            assert time.monotonic() < deadline, [place.status().get("message") for place in places]
            await asyncio.sleep(0.2)
        await asyncio.sleep(WARM_UP_S)
        since = {place.namespace: saved_last(place) + OFF_BEAT for place in places}
        await asyncio.sleep((max(since.values()) + COUNTED - CLOCK.now()).total_seconds())
        arena.read_audit()
        assert {place.status()["phase"] for place in places} == {"Analysing"}
        told = [(one["namespace"], datetime.fromisoformat(one["ts"])) for one in controller.told("judge.looked")]
    finally:
        for place in places:
            await place.close()
    asked = Counter(
        f"{one.verb} {one.resource}"
        for one in arena.requests
        if one.agent == controller.name
        and one.verb != "watch"
        and one.resource != "leases"
        # What is about no namespace is about the one that is counted last.
        and timedelta(0) < one.at - since.get(one.namespace, max(since.values())) <= COUNTED
    )
    looks = sum(timedelta(0) < at - since[namespace] <= COUNTED for namespace, at in told)
    per_minute = asked.total() / RELEASES / (COUNTED / timedelta(minutes=1))
    said.append(
        f"{RELEASES} releases watched every {INTERVAL_S:g} s for {COUNTED.total_seconds():g} s, {looks} looks: "
        f"{per_minute:.2f} requests per release and minute, besides watches ({dict(asked)})"
    )
    assert looks >= RELEASES * 5
    assert per_minute <= MOST_PER_MINUTE, asked
