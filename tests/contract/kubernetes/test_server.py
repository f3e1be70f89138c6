"""The embedded server itself: its life, its clock, its kubeconfig, its speed."""

import asyncio
import json
import os
import socket
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout.sandbox.kubernetes.resources import CONFIGMAPS
from rollout.sandbox.kubernetes.server import KubernetesServer
from rollout.sandbox.kubernetes.store import HISTORY_LENGTH
from rollout.sandbox.kubernetes.tables import human_duration
from tests.contract.kubernetes.client import (
    JSON_PATCH,
    TABLE,
    Api,
    config_map,
    connect,
    refused_as,
    revision,
    virtual_service,
)


async def test_stopping_ends_watches_and_closes_the_port() -> None:
    server = KubernetesServer()
    await server.start()
    async with connect(server.url) as http:
        api = Api(http, "default")
        async with api.watch(api.path("configmaps")) as watch:
            await api.create("configmaps", config_map("a"))
            await watch.next_change()
            await server.stop()
            assert await watch.rest() == []
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    await server.stop()


async def test_a_server_started_again_still_has_its_objects() -> None:
    server = KubernetesServer()
    await server.start()
    port = int(server.url.rpartition(":")[2])
    async with connect(server.url) as http:
        await Api(http, "default").create("configmaps", config_map("a"))
    await server.stop()
    await server.start(port)
    async with connect(server.url) as http:
        assert await Api(http, "default").names("configmaps") == ["a"]
    await server.stop()


async def test_a_taken_port_is_an_error() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = KubernetesServer()
        with pytest.raises(OSError, match="in use"):
            await server.start(listener.getsockname()[1])
    await server.stop()


async def test_it_listens_on_loopback_only(embedded: KubernetesServer) -> None:
    assert embedded.url.startswith("http://127.0.0.1:")


async def test_the_kubeconfig_is_for_its_owner_only(embedded: KubernetesServer, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    embedded.write_kubeconfig(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert embedded.url in path.read_text()
    assert await asyncio.to_thread(os.listdir, tmp_path) == [path.name]


async def test_time_is_what_the_given_clock_says() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)
    server = KubernetesServer(clock=lambda: moment)
    await server.start()
    async with connect(server.url) as http:
        api = Api(http, "default")
        created = await api.create("configmaps", config_map("a"))
        assert created["metadata"]["creationTimestamp"] == "2026-03-04T05:06:07Z"
        moment += timedelta(minutes=5, seconds=20)
        table = (await http.get(api.path("configmaps"), headers={"accept": TABLE})).json()
        assert table["rows"][0]["cells"] == ["a", "5m20s"]
    await server.stop()


async def test_a_later_server_tells_watchers_of_an_earlier_one_to_list_again() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    earlier = KubernetesServer(clock=lambda: moment)
    later = KubernetesServer(clock=lambda: moment + timedelta(minutes=1))
    await later.start()
    async with connect(later.url) as http:
        api = Api(http, "default")
        query = {"resourceVersion": str(earlier.store.revision)}
        async with api.watch(api.path("configmaps"), **query) as watch:
            assert (await watch.next())["object"]["code"] == 410
    await later.stop()


async def test_history_is_bounded(embedded: KubernetesServer, embedded_api: Api) -> None:
    created = await embedded_api.create("configmaps", config_map("a"))
    for number in range(HISTORY_LENGTH + 1):
        embedded.store.put(CONFIGMAPS, {**created, "data": {"x": str(number)}})
    query = {"resourceVersion": created["metadata"]["resourceVersion"]}
    async with embedded_api.watch(embedded_api.path("configmaps"), **query) as watch:
        assert (await watch.next())["object"]["code"] == 410


async def test_a_list_from_the_future_times_out_at_once(embedded: KubernetesServer, embedded_api: Api) -> None:
    query = {"resourceVersion": str(embedded.store.revision + 1000)}
    answer = await embedded_api.http.get(embedded_api.path("configmaps"), params=query)
    refused_as(answer, 504, "Timeout")


async def test_bodies_over_a_mebibyte_are_refused_without_a_length_too(embedded_api: Api) -> None:
    async def chunks() -> object:
        for _ in range(20):
            yield b" " * 65536

    headers = {"content-type": "application/json"}
    answer = await embedded_api.http.post(embedded_api.path("configmaps"), content=chunks(), headers=headers)
    refused_as(answer, 413, "RequestEntityTooLarge")


async def test_yaml_aliases_are_refused(embedded_api: Api) -> None:
    text = "kind: ConfigMap\nmetadata: {name: a, labels: &l {x: y}, annotations: *l}\n"
    headers = {"content-type": "application/yaml"}
    answer = await embedded_api.http.post(embedded_api.path("configmaps"), content=text, headers=headers)
    refused_as(answer, 400, "BadRequest")


async def test_deeply_nested_json_is_a_bad_request(embedded_api: Api) -> None:
    headers = {"content-type": "application/json"}
    body = b"[" * 200_000
    answer = await embedded_api.http.post(embedded_api.path("configmaps"), content=body, headers=headers)
    refused_as(answer, 400, "BadRequest")


async def test_many_writers_lose_no_update(embedded_api: Api) -> None:
    await embedded_api.create("configmaps", config_map("a", {"count": "0"}))

    async def add_five() -> None:
        for _ in range(5):
            for _ in range(200):
                found = await embedded_api.get("configmaps", "a")
                found["data"]["count"] = str(int(found["data"]["count"]) + 1)
                if (await embedded_api.replace("configmaps", found)).status_code == 200:
                    break

    await asyncio.gather(*(add_five() for _ in range(6)))
    assert (await embedded_api.get("configmaps", "a"))["data"] == {"count": "30"}


async def test_every_watcher_sees_the_same_story(embedded_api: Api) -> None:
    created = await embedded_api.create("configmaps", config_map("a"))
    since = created["metadata"]["resourceVersion"]

    async def story() -> list[int]:
        async with embedded_api.watch(embedded_api.path("configmaps"), resourceVersion=since) as watch:
            return [revision((await watch.next_change())["object"]) for _ in range(50)]

    stories = [asyncio.create_task(story()) for _ in range(4)]
    for number in range(50):
        await embedded_api.patched("configmaps", "a", {"data": {"x": str(number)}})
    first, *others = await asyncio.gather(*stories)
    assert first == sorted(set(first))
    assert all(other == first for other in others)


async def test_a_patch_is_fast(embedded_api: Api) -> None:
    await embedded_api.create("virtualservices", virtual_service("a"))
    path = embedded_api.path("virtualservices", "a")
    seconds = []
    for number in range(100):
        operations = [{"op": "replace", "path": "/spec/http/0/route/0/weight", "value": number}]
        before = time.perf_counter()
        answer = await embedded_api.http.patch(
            path, content=json.dumps(operations), headers={"content-type": JSON_PATCH}
        )
        seconds.append(time.perf_counter() - before)
        assert answer.status_code == 200
    # 1 ms on an idle machine; 40 ms would mean that Nagle's algorithm is back.
    assert statistics.median(seconds) < 0.02


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (320, "5m20s"), (600, "10m"),
        (10799, "179m"), (10800, "3h"), (11400, "3h10m"), (8 * 3600, "8h"), (47 * 3600, "47h"),
        (48 * 3600, "2d"), (50 * 3600, "2d2h"), (8 * 86400, "8d"), (729 * 86400, "729d"),
        (2 * 365 * 86400, "2y"), (1000 * 86400, "2y270d"), (9 * 365 * 86400, "9y"),
    ],
)  # fmt: skip
def test_an_age_reads_as_kubectl_writes_it(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text
