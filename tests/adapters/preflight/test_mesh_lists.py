"""Lists of the whole mesh: shared, one at a time, page by page, trimmed to what the rules read."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rollout.adapters.cluster import Cluster, Denied
from rollout.adapters.preflight.mesh_lists import MeshLists, trimmed, trimmed_rule, trimmed_service
from rollout.adapters.preflight.virtual_services import carriers, destinations, gateways_of
from rollout.core.route import Leg
from rollout.ports import Outage
from tests.adapters.preflight.shapes import JsonObject, destination_rule, istio, scene, to, virtual_service

PATIENCE = 5.0
SERVICES = "/apis/networking.istio.io/v1/virtualservices"
RULES = "/apis/networking.istio.io/v1/destinationrules"


class Mesh(Cluster):
    """As many objects of each kind as `size` says, in pages; `slow` has to be set before a page is answered."""

    def __init__(self, size: int = 3) -> None:
        self.size = size
        self.slow = asyncio.Event()
        self.slow.set()
        self.failure: Exception | None = None
        self.busy = self.busiest = self.served = 0

    async def get(self, path: str) -> JsonObject:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await self.slow.wait()
            await asyncio.sleep(0)
        finally:
            self.busy -= 1
        if self.failure is not None:
            raise self.failure
        self.served += 1
        query = parse_qs(urlsplit(path).query)
        begin, limit = int(query.get("continue", ["0"])[0]), int(query["limit"][0])
        end = min(begin + limit, self.size)
        more = {"continue": str(end)} if end < self.size else {}
        items = [{"metadata": {"name": f"one-{number}"}, "spec": {}} for number in range(begin, end)]
        return {"metadata": {"resourceVersion": "1", **more}, "items": items}


async def names(lists: MeshLists, path: str = SERVICES, since: float | None = None) -> list[str]:
    items, _ = await lists.whole(path, trimmed, since)
    return [one["metadata"]["name"] for one in items]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.005)


async def test_every_page_is_read() -> None:
    assert await names(MeshLists(Mesh(1001))) == [f"one-{number}" for number in range(1001)]
    assert await names(MeshLists(Mesh(0))) == []


async def test_one_list_is_for_all_who_ask_within_some_seconds_and_then_forgotten() -> None:
    mesh = Mesh()
    lists = MeshLists(mesh, lasts=0.05)
    told = await asyncio.gather(*(names(lists) for _ in range(20)))
    assert (len(told[0]), mesh.served) == (3, 1)
    mesh.size = 4
    async with asyncio.timeout(PATIENCE):
        while len(await names(lists)) != 4:
            await asyncio.sleep(0.005)


async def test_whoever_needs_what_is_true_now_is_told_it() -> None:
    mesh = Mesh()
    lists = MeshLists(mesh)
    await names(lists)
    mesh.size = 4
    assert len(await names(lists)) == 3
    now = asyncio.get_running_loop().time()
    assert len(await names(lists, since=now)) == 4
    assert len(await names(lists)) == 4


async def test_one_list_is_read_at_a_time() -> None:
    mesh = Mesh(900)
    lists = MeshLists(mesh)
    await asyncio.gather(*(names(lists, path) for path in (SERVICES, RULES) for _ in range(5)))
    assert mesh.busiest == 1


async def test_those_who_waited_for_a_list_that_failed_are_told_so_and_the_next_one_asks_again() -> None:
    mesh = Mesh()
    lists = MeshLists(mesh)
    mesh.failure = Denied("forbidden")
    mesh.slow.clear()
    waiting = [asyncio.create_task(names(lists)) for _ in range(3)]
    await until(lambda: mesh.busy == 1)
    mesh.slow.set()
    assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [Denied] * 3
    assert mesh.served == 0
    mesh.failure = None
    assert len(await names(lists)) == 3


async def test_time_counts_from_the_turn_and_ends_in_an_outage() -> None:
    mesh = Mesh()
    lists = MeshLists(mesh, seconds=0.05)
    mesh.slow.clear()
    with pytest.raises(Outage):
        await names(lists)
    mesh.slow.set()
    assert len(await names(lists)) == 3


async def test_whoever_gives_up_leaves_the_turn_to_the_next() -> None:
    mesh = Mesh()
    lists = MeshLists(mesh)
    mesh.slow.clear()
    first = asyncio.create_task(names(lists))
    await until(lambda: mesh.busy == 1)
    second = asyncio.create_task(names(lists))
    first.cancel()
    mesh.slow.set()
    assert len(await second) == 3


async def test_what_is_no_list_is_an_outage() -> None:
    class Odd(Mesh):
        async def get(self, path: str) -> JsonObject:
            return {"path": path}

    with pytest.raises(Outage):
        await names(MeshLists(Odd()))


def test_a_trimmed_virtual_service_says_what_the_rules_ask_and_little_else() -> None:
    whole = virtual_service(
        {"match": [{"gateways": ["public"], "uri": {"prefix": "/a"}}], "route": [to("v1", weight=90), to("v2")]},
        {"route": [to(None, host="till")], "retries": {"attempts": 3}},
        {"delegate": {"name": "checkout", "namespace": "shop"}},
        tcp=[{"route": [to(None, host="ledger")]}],
        gateways=["mesh", "edge"],
        exportTo=["."],
        created="2026-01-01T00:00:00Z",
        managedFields=[{"manager": "x"}],
    )
    whole["status"] = {"a": 1}
    short = trimmed_service(whole)
    assert set(short) == {"metadata", "spec"}
    assert set(short["metadata"]) == {"name", "namespace", "creationTimestamp"}
    assert gateways_of(short) == gateways_of(whole)
    assert {one["host"] for one in destinations(short)} == {one["host"] for one in destinations(whole)}
    assert short["spec"]["exportTo"] == ["."]
    around = scene(legs=(Leg("shop", "leg"),))
    leg = virtual_service(name="leg", hosts=[])
    root = virtual_service({"delegate": {"name": "leg"}}, {"delegate": {"name": "x"}}, name="root")
    assert carriers(around, [leg, trimmed_service(root)]).roots == (trimmed_service(root),)


def test_a_trimmed_rule_keeps_whom_it_is_for_and_the_names_of_its_subsets() -> None:
    whole = destination_rule("v1", spec={"exportTo": ["*"], "trafficPolicy": {"tls": {}}}, annotations={"a": "b"})
    assert trimmed_rule(whole) == {
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"host": whole["spec"]["host"], "exportTo": ["*"], "subsets": [{"name": "v1"}]},
    }


@pytest.mark.parametrize("trim", [trimmed, trimmed_rule, trimmed_service])
@pytest.mark.parametrize("odd", [{}, {"metadata": 7, "spec": []}, {"spec": {"http": [7, {"route": [None]}], "tls": 1}}])
def test_what_is_no_object_of_istio_is_trimmed_too(trim: Callable[[JsonObject], JsonObject], odd: Any) -> None:
    assert set(trim(odd)) == {"metadata", "spec"}


def test_a_telemetry_keeps_all_of_its_spec() -> None:
    obj = istio("Telemetry", "quiet", {"metrics": [{"overrides": [{"disabled": True}]}]}, labels={"a": "b"})
    assert trimmed(obj)["spec"] == obj["spec"]
    assert "labels" not in trimmed(obj)["metadata"]
