"""Long polls and event streams: what changes is told at once, what does not costs nothing, and everything ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from rollout.administration import Api
from rollout.core.release import Phase, Release, Status
from tests import given
from tests.api.house import ANN, BEN, House, bearer, served

RELEASE = "/v1/releases/shop/checkout-v2"
SOON = 5.0


async def set_phase(house: House, phase: Phase, **status: Any) -> Release:
    now = await house.releases.get("shop", "checkout-v2")
    assert now is not None
    return await house.releases.save(now, given.release(phase, **status).status)


async def told(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, str]]:
    """Events as a browser would understand them; a comment is an event named `ping`."""
    event: dict[str, str] = {}
    async for line in lines:
        if not line:
            if event and event.keys() != {"retry"}:
                yield event
            event = {}
        elif line.startswith(":"):
            event["event"] = line[1:].strip()
        else:
            name, _, value = line.partition(": ")
            event[name] = value


@pytest.fixture
async def api(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        served(house) as up,
        httpx2.AsyncClient(base_url=up.url, headers=bearer(ANN), trust_env=False, timeout=SOON) as client,
    ):
        yield client


async def test_a_long_poll_answers_when_the_release_changes(house: House, api: httpx2.AsyncClient) -> None:
    made = await house.started()
    async with asyncio.timeout(SOON):
        asked = asyncio.create_task(api.get(RELEASE, params={"wait": "60s", "after": made.revision}))
        while not house.releases._read:
            await asyncio.sleep(0.01)
        changed = await set_phase(house, Phase.PREPARING)
        answer = await asked
    assert answer.status_code == 200
    assert answer.headers["etag"] == f'"{changed.revision}"'


async def test_a_long_poll_about_what_changed_already_answers_at_once(house: House, api: httpx2.AsyncClient) -> None:
    made = await house.started()
    await set_phase(house, Phase.PREPARING)
    answer = await api.get(RELEASE, params={"wait": "60s", "after": made.revision})
    assert answer.json()["status"]["phase"] == "Preparing"


async def test_a_long_poll_ends_with_what_is_known_or_304(house: House, api: httpx2.AsyncClient) -> None:
    made = await house.started()
    known = {"wait": "50ms", "after": made.revision}
    assert (await api.get(RELEASE, params=known)).json()["revision"] == made.revision
    tagged = await api.get(RELEASE, params={"wait": "50ms"}, headers={"if-none-match": f'"{made.revision}"'})
    assert tagged.status_code == 304


async def test_a_long_poll_for_a_release_that_goes_is_404(house: House, api: httpx2.AsyncClient) -> None:
    made = await house.started()
    asked = asyncio.create_task(api.get(RELEASE, params={"wait": "60s", "after": made.revision}))
    await asyncio.sleep(0.05)
    house.releases.delete("shop", "checkout-v2")
    assert (await asked).status_code == 404


async def test_a_stream_tells_every_state_and_ends_after_the_end(house: House, api: httpx2.AsyncClient) -> None:
    await house.started()
    seen: list[tuple[str, str]] = []
    async with asyncio.timeout(SOON), api.stream("GET", f"{RELEASE}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async for event in told(stream.aiter_lines()):
            if event["event"] == "ping":
                continue
            state = json.loads(event["data"])
            assert event["id"] == state["revision"]
            seen.append((event["event"], state["status"]["phase"]))
            if state["status"]["phase"] == "Pending":
                await set_phase(house, Phase.ANALYSING)
            elif state["status"]["phase"] == "Analysing":
                last = await set_phase(house, Phase.PROMOTED)
    assert seen == [("state", "Pending"), ("state", "Analysing"), ("state", "Promoted")]
    again = await api.get(f"{RELEASE}/events", headers={"last-event-id": last.revision})
    assert again.status_code == 204


async def test_who_comes_back_is_told_only_what_is_new(house: House, api: httpx2.AsyncClient) -> None:
    made = await house.started()
    async with asyncio.timeout(SOON):
        async with api.stream("GET", f"{RELEASE}/events", headers={"last-event-id": made.revision}) as stream:
            events = told(stream.aiter_lines())
            assert (await anext(events))["event"] == "ping"
        await set_phase(house, Phase.PREPARING)
        async with api.stream("GET", f"{RELEASE}/events", headers={"last-event-id": made.revision}) as stream:
            events = told(stream.aiter_lines())
            assert json.loads((await anext(events))["data"])["status"]["phase"] == "Preparing"


async def test_a_release_that_is_deleted_ends_its_streams(house: House, api: httpx2.AsyncClient) -> None:
    await house.started()
    async with asyncio.timeout(SOON), api.stream("GET", f"{RELEASE}/events") as stream:
        kinds: list[str] = []
        async for event in told(stream.aiter_lines()):
            if not kinds:
                house.releases.delete("shop", "checkout-v2")
            kinds.append(event["event"])
    assert kinds[-1] == "gone"


async def test_an_outage_in_between_ends_no_stream(house: House, api: httpx2.AsyncClient) -> None:
    await house.started()
    async with asyncio.timeout(SOON), api.stream("GET", f"{RELEASE}/events") as stream:
        events = told(stream.aiter_lines())
        await anext(events)
        house.releases.fail("no answer")
        assert (await anext(events))["event"] == "ping"
        house.releases.recover()
        await set_phase(house, Phase.PROMOTED)
        async for event in events:
            last = event
    assert json.loads(last["data"])["status"]["phase"] == "Promoted"


async def test_what_does_not_change_is_not_read_again(house: House, api: httpx2.AsyncClient) -> None:
    made = await house.started()
    looks = 0
    read = house.releases.get

    async def counted(namespace: str, name: str) -> Release | None:
        nonlocal looks
        looks += 1
        return await read(namespace, name)

    house.releases.get = counted  # type: ignore[method-assign]
    asked = [api.get(RELEASE, params={"wait": "500ms", "after": made.revision}) for _ in range(10)]
    assert {(await one).status_code for one in asked} == {200}
    assert looks == len(asked), "one for each request, and none while they wait"


async def test_one_caller_has_so_many_streams_and_another_their_own(house: House) -> None:
    made = await house.started()
    house.but(limits=Api(per_minute=10_000, burst=1000, streams=2))
    house.authorizer.everything = {"ann", "ben"}
    async with served(house) as up, httpx2.AsyncClient(base_url=up.url, trust_env=False, timeout=SOON) as client:
        poll = {"wait": "10ms", "after": made.revision}
        async with (
            client.stream("GET", f"{RELEASE}/events", headers=bearer(ANN)) as one,
            client.stream("GET", f"{RELEASE}/events", headers=bearer(ANN)) as two,
        ):
            assert (one.status_code, two.status_code) == (200, 200)
            # Kept: an iterator that nobody holds any more closes its stream.
            events = [told(stream.aiter_lines()) for stream in (one, two)]
            for each in events:
                await anext(each)
            assert (await client.get(f"{RELEASE}/events", headers=bearer(ANN))).status_code == 429
            assert (await client.get(RELEASE, params=poll, headers=bearer(ANN))).status_code == 429
            assert (await client.get(RELEASE, headers=bearer(ANN))).status_code == 200
            assert (await client.get(RELEASE, params=poll, headers=bearer(BEN))).status_code == 200
        async with asyncio.timeout(SOON):
            while (await client.get(RELEASE, params=poll, headers=bearer(ANN))).status_code == 429:
                await asyncio.sleep(0.01)


async def test_two_hundred_wait_for_one_release_and_all_are_told(house: House) -> None:
    made = await house.started(Status())
    house.but(limits=Api(per_minute=100_000, burst=1000, streams=1000))
    limits = httpx2.Limits(max_connections=300)
    async with (
        served(house) as up,
        httpx2.AsyncClient(base_url=up.url, headers=bearer(ANN), trust_env=False, timeout=30, limits=limits) as client,
    ):
        poll = {"wait": "20s", "after": made.revision}
        asked = [asyncio.create_task(client.get(RELEASE, params=poll)) for _ in range(200)]
        await asyncio.sleep(0.2)
        changed = await set_phase(house, Phase.PREPARING)
        answers = await asyncio.gather(*asked)
    assert {one.json()["revision"] for one in answers} == {changed.revision}
