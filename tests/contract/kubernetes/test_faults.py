"""The fault switch: only the sandbox's server has one."""

import asyncio
import time

import httpx2
import pytest

from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.contract.kubernetes.client import Api, refused_as, revision, virtual_service


async def test_a_rule_turns_requests_into_errors(embedded: KubernetesServer, embedded_api: Api) -> None:
    await embedded_api.create("virtualservices", virtual_service("a"))
    embedded.faults.add(verb="get", resource="virtualservices", status=503)
    refused_as(await embedded_api.http.get(embedded_api.path("virtualservices", "a")), 503, "ServiceUnavailable")
    assert await embedded_api.names("virtualservices") == ["a"]
    embedded.faults.clear()
    assert await embedded_api.exists("virtualservices", "a")


async def test_a_rule_can_strike_a_number_of_times(embedded: KubernetesServer, embedded_api: Api) -> None:
    embedded.faults.add(resource="configmaps", status=500, times=2)
    codes = [(await embedded_api.http.get(embedded_api.path("configmaps"))).status_code for _ in range(4)]
    assert codes == [500, 500, 200, 200]


async def test_a_rule_can_be_about_one_object_and_its_status(embedded: KubernetesServer, embedded_api: Api) -> None:
    for name in ("a", "b"):
        await embedded_api.create("virtualservices", virtual_service(name))
    embedded.faults.add(verb="patch", resource="virtualservices/status", name="a", status=409)
    body = {"status": {"observedGeneration": "1"}}
    refused_as(await embedded_api.patch("virtualservices", "a", body, subresource="status"), 409, "Conflict")
    await embedded_api.patched("virtualservices", "b", body, subresource="status")
    await embedded_api.patched("virtualservices", "a", {"metadata": {"labels": {"x": "y"}}})


async def test_a_rule_can_delay(embedded: KubernetesServer, embedded_api: Api) -> None:
    embedded.faults.add(verb="list", delay_ms=150)
    before = time.monotonic()
    await embedded_api.names("configmaps")
    assert time.monotonic() - before >= 0.15


async def test_a_dropped_request_is_not_carried_out(embedded: KubernetesServer, embedded_api: Api) -> None:
    embedded.faults.add(verb="create", drop=True, times=1)
    with pytest.raises(httpx2.TransportError):
        await embedded_api.http.post(embedded_api.path("virtualservices"), json=virtual_service("a"))
    assert not await embedded_api.exists("virtualservices", "a")


async def test_a_request_dropped_afterwards_was_carried_out(embedded: KubernetesServer, embedded_api: Api) -> None:
    embedded.faults.add(verb="create", drop=True, when="after", times=1)
    with pytest.raises(httpx2.TransportError):
        await embedded_api.http.post(embedded_api.path("virtualservices"), json=virtual_service("a"))
    assert await embedded_api.exists("virtualservices", "a")


async def test_dropped_watches_end_and_can_be_resumed(embedded: KubernetesServer, embedded_api: Api) -> None:
    created = await embedded_api.create("virtualservices", virtual_service("a"))
    since = created["metadata"]["resourceVersion"]
    path = embedded_api.path("virtualservices")
    async with embedded_api.watch(path, resourceVersion=since) as watch:
        await embedded_api.create("virtualservices", virtual_service("b"))
        assert (await watch.next_change())["type"] == "ADDED"
        assert embedded.faults.drop_watches() == 1
        assert await watch.rest() == []
    async with embedded_api.watch(path, resourceVersion=since) as watch:
        assert (await watch.next_change())["object"]["metadata"]["name"] == "b"


async def test_a_watch_from_forgotten_times_is_told_410(embedded: KubernetesServer, embedded_api: Api) -> None:
    created = await embedded_api.create("virtualservices", virtual_service("a"))
    embedded.faults.forget_history()
    path = embedded_api.path("virtualservices")
    since = created["metadata"]["resourceVersion"]
    async with embedded_api.watch(path, resourceVersion=since) as watch:
        (event,) = await watch.rest()
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    listed = (await embedded_api.http.get(path)).json()
    assert revision(listed) > revision(created)
    async with embedded_api.watch(path, resourceVersion=str(revision(listed))) as watch:
        await embedded_api.create("virtualservices", virtual_service("b"))
        assert (await watch.next_change())["object"]["metadata"]["name"] == "b"


async def test_a_page_of_a_forgotten_list_is_told_410(embedded: KubernetesServer, embedded_api: Api) -> None:
    for name in ("a", "b"):
        await embedded_api.create("virtualservices", virtual_service(name))
    path = embedded_api.path("virtualservices")
    page = (await embedded_api.http.get(path, params={"limit": "1"})).json()
    embedded.faults.forget_history()
    token = page["metadata"]["continue"]
    refused_as(await embedded_api.http.get(path, params={"limit": "1", "continue": token}), 410, "Expired")


async def test_the_switch_works_over_http(embedded: KubernetesServer, embedded_api: Api) -> None:
    http, path = embedded_api.http, embedded_api.path("configmaps")
    rule = {"verb": "list", "resource": "configmaps", "status": 429, "times": 5}
    assert (await http.put("/sandbox/faults", json={"rules": [rule]})).status_code == 200
    refused_as(await http.get(path), 429, "TooManyRequests")
    (left,) = (await http.get("/sandbox/faults")).json()["rules"]
    assert left["times"] == 4
    assert (await http.delete("/sandbox/faults")).status_code == 200
    assert (await http.get(path)).status_code == 200
    assert embedded.faults.rules == []


async def test_orders_over_http_drop_watches_and_forget(embedded: KubernetesServer, embedded_api: Api) -> None:
    before = embedded.store.revision
    async with embedded_api.watch(embedded_api.path("virtualservices"), resourceVersion=str(before)) as watch:
        await embedded_api.create("virtualservices", virtual_service("a"))
        await watch.next_change()
        orders = {"drop_watches": True, "forget_history": True}
        assert (await embedded_api.http.put("/sandbox/faults", json=orders)).status_code == 200
        assert await watch.rest() == []
    async with embedded_api.watch(embedded_api.path("virtualservices"), resourceVersion=str(before)) as watch:
        assert (await watch.next())["object"]["code"] == 410


@pytest.mark.parametrize(
    "body", [{"rules": [{"verbs": "get"}]}, {"rules": [{"status": 200}]}, {"rules": {}}, {"forget": True}]
)
async def test_orders_nobody_understands_change_nothing(
    embedded: KubernetesServer, embedded_api: Api, body: dict[str, object]
) -> None:
    embedded.faults.add(verb="watch", status=500)
    refused_as(await embedded_api.http.put("/sandbox/faults", json=body), 400, "BadRequest")
    assert [rule.verb for rule in embedded.faults.rules] == ["watch"]


async def test_a_slow_request_does_not_hold_up_others(embedded: KubernetesServer, embedded_api: Api) -> None:
    embedded.faults.add(verb="list", resource="configmaps", delay_ms=60_000)
    slow = asyncio.create_task(embedded_api.names("configmaps"))
    await embedded_api.create("virtualservices", virtual_service("a"))
    assert not slow.done()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
