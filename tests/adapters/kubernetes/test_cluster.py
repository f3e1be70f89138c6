"""Requests to an API server, and what each kind of answer, or none, means."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster, Denied, Expired
from rollout.ports import Conflict, NotFound, Outage, Refused
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.kubernetes.conftest import Strange, answer, write_kubeconfig

JsonObject = dict[str, Any]
CONFIGMAPS = "/api/v1/namespaces/shop/configmaps"
VIRTUAL_SERVICES = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"


def config_map(name: str, **data: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def virtual_service(name: str) -> JsonObject:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {"hosts": ["checkout"], "http": [{"route": [{"weight": 10}, {"weight": 90}]}]},
    }


async def caught(call: Awaitable[object]) -> type[BaseException]:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which error is the parameter
        await call
    return raised.type


# writing


async def test_a_write_is_read_back(cluster: Cluster) -> None:
    created = await cluster.create(CONFIGMAPS, config_map("a", x="1"))
    assert await cluster.get(f"{CONFIGMAPS}/a") == created
    replaced = await cluster.replace(f"{CONFIGMAPS}/a", {**created, "data": {"x": "2"}})
    assert replaced["data"] == {"x": "2"}
    merged = await cluster.merge(f"{CONFIGMAPS}/a", {"data": {"y": "3"}})
    assert merged["data"] == {"x": "2", "y": "3"}
    patched = await cluster.patch(f"{CONFIGMAPS}/a", [{"op": "remove", "path": "/data/x"}])
    assert patched["data"] == {"y": "3"}
    assert await cluster.get(f"{CONFIGMAPS}/a") == patched


async def test_a_json_patch_of_a_custom_resource_reaches_into_its_lists(cluster: Cluster) -> None:
    await cluster.create(VIRTUAL_SERVICES, virtual_service("checkout"))
    operation = {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": 70}
    patched = await cluster.patch(f"{VIRTUAL_SERVICES}/checkout", [operation])
    assert [route["weight"] for route in patched["spec"]["http"][0]["route"]] == [10, 70]


async def test_a_dry_run_answers_and_writes_nothing(cluster: Cluster) -> None:
    created = await cluster.create(CONFIGMAPS, config_map("a", x="1"))
    path = f"{CONFIGMAPS}/a"
    merged = await cluster.merge(path, {"data": {"x": "2"}}, dry_run=True)
    patched = await cluster.patch(path, [{"op": "replace", "path": "/data/x", "value": "2"}], dry_run=True)
    assert merged["data"] == patched["data"] == {"x": "2"}
    assert await cluster.get(path) == created


async def test_a_stale_write_of_any_kind_is_a_conflict(cluster: Cluster) -> None:
    stale = await cluster.create(CONFIGMAPS, config_map("a", x="1"))
    path, version = f"{CONFIGMAPS}/a", stale["metadata"]["resourceVersion"]
    current = await cluster.merge(path, {"data": {"x": "2"}})
    assert await caught(cluster.replace(path, {**stale, "data": {"x": "3"}})) is Conflict
    merge = {"metadata": {"resourceVersion": version}, "data": {"x": "3"}}
    assert await caught(cluster.merge(path, merge)) is Conflict
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    change = {"op": "replace", "path": "/data/x", "value": "3"}
    assert await caught(cluster.patch(path, [test, change])) is Conflict
    assert await cluster.get(path) == current


async def test_a_taken_name_is_a_conflict(cluster: Cluster) -> None:
    await cluster.create(CONFIGMAPS, config_map("a"))
    assert await caught(cluster.create(CONFIGMAPS, config_map("a"))) is Conflict


async def test_what_the_server_calls_invalid_is_refused_even_where_the_patch_tests(cluster: Cluster) -> None:
    created = await cluster.create(CONFIGMAPS, config_map("a"))
    version = {"op": "test", "path": "/metadata/resourceVersion", "value": created["metadata"]["resourceVersion"]}
    bad_label = {"op": "add", "path": "/metadata/labels", "value": {"not a label!": "x"}}
    assert await caught(cluster.patch(f"{CONFIGMAPS}/a", [version, bad_label])) is Refused
    assert await caught(cluster.patch(f"{CONFIGMAPS}/a", [{"op": "remove", "path": "/nowhere"}])) is Refused
    assert await caught(cluster.create(CONFIGMAPS, config_map("Not A Name"))) is Refused


# absence


async def test_a_missing_object_is_not_found(cluster: Cluster) -> None:
    assert await caught(cluster.get(f"{CONFIGMAPS}/a")) is NotFound
    assert await caught(cluster.merge(f"{CONFIGMAPS}/a", {})) is NotFound


async def test_a_missing_kind_is_never_taken_for_a_missing_object(cluster: Cluster) -> None:
    for path in ("/apis/nobody.example/v1/things/a", "/apis/networking.istio.io/v1/namespaces/shop/wasmplugins/a"):
        error = await caught(cluster.get(path))
        assert error is Denied
        assert issubclass(error, Outage)
        assert issubclass(error, Refused)


async def test_a_404_of_a_proxy_is_never_taken_for_a_missing_object(strange: Strange, tmp_path: Path) -> None:
    async def proxy(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("<html>404</html>", 404, "text/html"))

    async with strange(proxy) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        assert await caught(cluster.get(f"{CONFIGMAPS}/a")) is Denied


# refusals and outages


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (400, Refused), (401, Denied), (403, Denied), (405, Refused), (408, Outage), (409, Conflict), (410, Expired),
        (413, Refused), (415, Refused), (422, Refused), (425, Outage), (429, Outage), (500, Outage), (502, Outage),
        (503, Outage), (504, Outage),
    ],
)  # fmt: skip
async def test_each_code_has_its_meaning(server: KubernetesServer, cluster: Cluster, code: int, meaning: type) -> None:
    await cluster.create(CONFIGMAPS, config_map("a"))
    server.faults.add(resource="configmaps", status=code)
    for call in (
        cluster.get(f"{CONFIGMAPS}/a"),
        cluster.merge(f"{CONFIGMAPS}/a", {"data": {}}),
        cluster.create(CONFIGMAPS, config_map("b")),
    ):
        assert await caught(call) is meaning
    server.faults.clear()
    assert len(await cluster.list(CONFIGMAPS)) == 1


async def test_the_message_of_the_server_is_passed_on(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match=r'configmaps "a" not found'):
        await cluster.get(f"{CONFIGMAPS}/a")


async def test_no_answer_in_time_is_an_outage(server: KubernetesServer, impatient: Cluster) -> None:
    server.faults.add(resource="configmaps", delay_ms=1_000)
    assert await caught(impatient.get(f"{CONFIGMAPS}/a")) is Outage


async def test_a_write_whose_answer_is_lost_is_an_outage(server: KubernetesServer, cluster: Cluster) -> None:
    await cluster.create(CONFIGMAPS, config_map("a"))
    server.faults.add(resource="configmaps", verb="patch", drop=True, when="after", times=1)
    assert await caught(cluster.merge(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})) is Outage
    assert (await cluster.get(f"{CONFIGMAPS}/a"))["data"] == {"x": "1"}


async def test_a_server_that_is_gone_is_an_outage_and_its_return_is_noticed(
    server: KubernetesServer, cluster: Cluster
) -> None:
    port = int(server.url.rpartition(":")[2])
    await server.stop()
    assert await caught(cluster.list(CONFIGMAPS)) is Outage
    await server.start(port)
    assert await cluster.list(CONFIGMAPS) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        answer("not json"),
        answer("[1, 2]"),
        answer(""),
        answer("\ufeff\x00"),
        answer('{"kind": "ConfigMapList"}'),
        answer('{"items": "none", "metadata": {"resourceVersion": "1"}}'),
        answer("<html>try later</html>", 503, "text/html"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://[nonsense\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_an_answer_without_sense_is_an_outage(strange: Strange, tmp_path: Path, raw: bytes) -> None:
    async def babble(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    async with strange(babble) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        assert await caught(cluster.list(CONFIGMAPS)) is Outage


# lists and discovery


async def test_a_long_list_is_read_whole_and_by_label(cluster: Cluster) -> None:
    for number in range(501):
        labels = {"metadata": {"name": f"a{number}", "labels": {"odd": str(number % 2)}}}
        await cluster.create(CONFIGMAPS, {**config_map("a"), **labels})
    assert len({obj["metadata"]["name"] for obj in await cluster.list(CONFIGMAPS)}) == 501
    assert len(await cluster.list(CONFIGMAPS, label_selector="odd=1")) == 250


async def test_a_page_that_expired_is_read_again_in_one_piece(strange: Strange, tmp_path: Path) -> None:
    async def forgetful(head: str, writer: asyncio.StreamWriter) -> None:
        if "continue=" in head:
            writer.write(answer(json.dumps({"kind": "Status", "code": 410, "message": "too old"}), 410))
        elif "limit=" in head:
            page = {"items": [{"n": 1}], "metadata": {"resourceVersion": "5", "continue": "more"}}
            writer.write(answer(json.dumps(page)))
        else:
            writer.write(answer(json.dumps({"items": [{"n": 1}, {"n": 2}], "metadata": {"resourceVersion": "6"}})))

    async with strange(forgetful) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        listing = await cluster.listing(CONFIGMAPS)
    assert (listing.items, listing.revision) == ([{"n": 1}, {"n": 2}], "6")


async def test_the_first_served_candidate_is_the_version(cluster: Cluster) -> None:
    assert await cluster.served_version("networking.istio.io", ["v2", "v1beta1", "v1"]) == "v1beta1"
    assert await caught(cluster.served_version("networking.istio.io", ["v2"])) is Denied
    assert await caught(cluster.served_version("nobody.example", ["v1"])) is Denied


async def test_a_known_version_needs_no_server(server: KubernetesServer, cluster: Cluster) -> None:
    await cluster.served_version("networking.istio.io", ["v1"])
    await server.stop()
    assert await cluster.served_version("networking.istio.io", ["v1"]) == "v1"


async def test_a_discovery_without_sense_is_an_outage(strange: Strange, tmp_path: Path) -> None:
    async def babble(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer('{"versions": "all"}'))

    async with strange(babble) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        assert await caught(cluster.served_version("networking.istio.io", ["v1"])) is Outage


async def test_a_list_without_end_is_an_outage(strange: Strange, tmp_path: Path) -> None:
    async def endless(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer('{"items": [], "metadata": {"resourceVersion": "1", "continue": "more"}}'))

    async with strange(endless) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        assert await caught(cluster.list(CONFIGMAPS)) is Outage


# watches


async def test_a_watch_tells_what_happened_since(cluster: Cluster) -> None:
    since = (await cluster.listing(CONFIGMAPS)).revision
    await cluster.create(CONFIGMAPS, config_map("a"))
    async with aclosing(cluster.watch(CONFIGMAPS, resource_version=since)) as watch:
        kind, obj = await anext(watch)
        assert (kind, obj["metadata"]["name"]) == ("ADDED", "a")
        await cluster.merge(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})
        kind, obj = await anext(watch)
        assert (kind, obj["data"]) == ("MODIFIED", {"x": "1"})


async def test_a_watch_by_label_tells_of_no_others(cluster: Cluster) -> None:
    since = (await cluster.listing(CONFIGMAPS)).revision
    await cluster.create(CONFIGMAPS, config_map("a"))
    await cluster.create(CONFIGMAPS, {**config_map("b"), "metadata": {"name": "b", "labels": {"odd": "1"}}})
    async with aclosing(cluster.watch(CONFIGMAPS, resource_version=since, label_selector="odd=1")) as watch:
        _, obj = await anext(watch)
        assert obj["metadata"]["name"] == "b"


async def test_a_watch_ends_quietly_in_its_time_with_a_bookmark(cluster: Cluster) -> None:
    since = (await cluster.listing(CONFIGMAPS)).revision
    seen = [kind async for kind, _ in cluster.watch(CONFIGMAPS, resource_version=since, timeout_s=1)]
    assert set(seen) == {"BOOKMARK"}


async def test_a_watch_from_a_forgotten_version_has_expired(server: KubernetesServer, cluster: Cluster) -> None:
    since = (await cluster.listing(CONFIGMAPS)).revision
    await cluster.create(CONFIGMAPS, config_map("a"))
    server.faults.forget_history()
    assert await caught(anext(cluster.watch(CONFIGMAPS, resource_version=since))) is Expired


async def test_a_watch_that_is_not_let_in_says_so(server: KubernetesServer, impatient: Cluster) -> None:
    server.faults.add(verb="watch", status=403, times=1)
    assert await caught(anext(impatient.watch(CONFIGMAPS, resource_version="1"))) is Denied
    server.faults.add(verb="watch", delay_ms=1_000)
    assert await caught(anext(impatient.watch(CONFIGMAPS, resource_version="1"))) is Outage


@pytest.mark.parametrize(
    "line", [b"garbage", b"[]", b'{"type": "ADDED"}', b'{"type": 3, "object": {}}', b"x" * 9_000_000]
)
async def test_a_watch_that_tells_nonsense_is_an_outage(strange: Strange, tmp_path: Path, line: bytes) -> None:
    async def babble(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + line + b"\n")

    async with strange(babble) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        assert await caught(anext(cluster.watch(CONFIGMAPS, resource_version="1"))) is Outage


async def test_a_watch_whose_connection_died_without_a_word_is_an_outage(
    strange: Strange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.adapters.cluster._WATCH_MARGIN", 0.2)

    async def fall_silent(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    async with strange(fall_silent) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        assert await caught(anext(cluster.watch(CONFIGMAPS, resource_version="1", timeout_s=0.1))) is Outage


# what is sent


async def test_every_request_says_what_it_carries(strange: Strange, tmp_path: Path) -> None:
    heads: list[str] = []

    async def listen(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head.lower())
        writer.write(answer("{}"))

    calls: list[tuple[Callable[[Cluster], Awaitable[object]], str]] = [
        (lambda c: c.create("/x", {"a": 1}), "application/json"),
        (lambda c: c.replace("/x", {"a": 1}), "application/json"),
        (lambda c: c.merge("/x", {"a": 1}), "application/merge-patch+json"),
        (lambda c: c.patch("/x", [{"op": "test", "path": "/a", "value": 1}]), "application/json-patch+json"),
        (lambda c: c.patch("/x", []), "application/json-patch+json"),
    ]
    async with strange(listen) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        for call, media in calls:
            await call(cluster)
            assert f"content-type: {media}\r\n" in heads[-1]
            assert "fieldmanager=rollout" in heads[-1]
            assert "user-agent: rollout\r\n" in heads[-1]


async def test_closing_twice_is_harmless(server: KubernetesServer, tmp_path: Path) -> None:
    server.write_kubeconfig(tmp_path / "k")
    cluster = await Cluster.connect(tmp_path / "k")
    await cluster.get("/version")
    await cluster.close()
    await cluster.close()
