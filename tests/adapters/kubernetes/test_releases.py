"""What the releases adapter does beyond the contract: on the wire, and when the server misbehaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.releases import ClusterReleases
from rollout.core.release import API_VERSION, Phase, Release, ReleaseSpec, Status, Wish
from rollout.ports import Conflict, Outage, Refused
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.kubernetes.conftest import Strange, answer, write_kubeconfig

PATH = f"/apis/{API_VERSION}/namespaces/shop/releases"
SPEC = ReleaseSpec(service="checkout", version="v2")
ABORT = SPEC.model_copy(update={"abort": Wish(by="ann", at=datetime(2026, 11, 21, tzinfo=UTC))})


@pytest.fixture
def releases(cluster: Cluster) -> ClusterReleases:
    return ClusterReleases(cluster)


async def names(watch: AsyncIterator[Release], count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [(await anext(watch)).name for _ in range(count)]


async def test_a_release_is_stored_as_people_find_it(cluster: Cluster, releases: ClusterReleases) -> None:
    release = await releases.create("shop", "one", SPEC, "c0ffee")
    await releases.save(release, Status(phase=Phase.PREPARING, stable="v1"))
    stored = await cluster.get(f"{PATH}/one")
    assert (stored["apiVersion"], stored["kind"]) == ("rollout.dev/v1alpha1", "Release")
    assert stored["metadata"]["labels"] == {"rollout.dev/service": "checkout"}
    assert stored["metadata"]["annotations"] == {"rollout.dev/key": "c0ffee"}
    assert stored["spec"] == SPEC.wire()
    assert stored["status"] == Status(phase=Phase.PREPARING, stable="v1").wire()


async def test_a_release_without_a_key_carries_none(cluster: Cluster, releases: ClusterReleases) -> None:
    await releases.create("shop", "one", SPEC)
    assert "annotations" not in (await cluster.get(f"{PATH}/one"))["metadata"]


async def test_a_wish_keeps_labels_annotations_and_unknown_fields(cluster: Cluster, releases: ClusterReleases) -> None:
    await releases.create("shop", "one", SPEC, "c0ffee")
    extra = {"metadata": {"labels": {"team": "pay"}, "annotations": {"note": "x"}, "finalizers": ["a.example/b"]}}
    before = await cluster.merge(f"{PATH}/one", {**extra, "spec": {"surprise": {"deep": [1]}}})
    release = await releases.get("shop", "one")
    assert release is not None
    await releases.wish(release, release.spec.model_copy(update={"abort": ABORT.abort}))
    after = await cluster.get(f"{PATH}/one")
    for part in ("labels", "annotations", "finalizers"):
        assert after["metadata"][part] == before["metadata"][part]
    assert ABORT.abort is not None
    assert after["spec"] == {**before["spec"], "abort": ABORT.abort.wire()}


async def test_a_namespace_that_does_not_exist_is_refused(releases: ClusterReleases) -> None:
    with pytest.raises(Refused):
        await releases.create("nowhere", "one", SPEC)


async def test_a_missing_crd_is_an_outage_to_the_controller_and_a_refusal_to_people(
    strange: Strange, tmp_path: Path
) -> None:
    async def bare(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("404 page not found\n", 404, "text/plain"))

    async with strange(bare) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        releases = ClusterReleases(cluster)
        for kind in (Outage, Refused):
            with pytest.raises(kind):
                await releases.get("shop", "one")
            with pytest.raises(kind):
                await releases.list("shop")


async def test_a_status_whose_answer_was_lost_is_saved_once_and_its_repetition_conflicts(
    server: KubernetesServer, releases: ClusterReleases
) -> None:
    release = await releases.create("shop", "one", SPEC)
    server.faults.add(resource="releases/status", drop=True, when="after", times=1)
    with pytest.raises((Conflict, Outage)):
        await releases.save(release, Status(phase=Phase.PREPARING))
    after = await releases.get("shop", "one")
    assert after is not None
    assert after.status.phase is Phase.PREPARING
    with pytest.raises(Conflict):
        await releases.save(release, Status(phase=Phase.FAILED))


async def test_a_watch_goes_on_when_its_requests_end(server: KubernetesServer, releases: ClusterReleases) -> None:
    async with aclosing(releases.watch("shop")) as watch:
        for number in range(3):
            await releases.create("shop", f"r{number}", SPEC)
            assert await names(watch, 1) == [f"r{number}"]
            server.faults.drop_watches()


async def test_a_watch_lists_again_when_the_server_forgot_and_tells_only_what_is_new(
    server: KubernetesServer, releases: ClusterReleases
) -> None:
    one = await releases.create("shop", "one", SPEC)
    await releases.create("shop", "two", SPEC)
    async with aclosing(releases.watch("shop")) as watch:
        assert await names(watch, 2) == ["one", "two"]
        server.faults.add(verb="watch", resource="releases", status=410, times=1)
        server.faults.drop_watches()
        await releases.save(one, Status(phase=Phase.PREPARING))
        await releases.create("shop", "three", SPEC)
        assert await names(watch, 1) == ["three"]


async def test_a_namesake_made_while_the_watch_was_blind_is_told(
    server: KubernetesServer, releases: ClusterReleases
) -> None:
    for name in ("one", "two"):
        await releases.create("shop", name, SPEC)
    async with aclosing(releases.watch("shop")) as watch:
        assert await names(watch, 2) == ["one", "two"]
        server.faults.add(verb="watch", resource="releases", status=410, times=1)
        server.faults.drop_watches()
        async with httpx2.AsyncClient() as http:
            for name in ("one", "two"):
                await http.delete(f"{server.url}{PATH}/{name}")
        await releases.create("shop", "one", SPEC)
        assert await names(watch, 1) == ["one"]
        await releases.create("shop", "two", SPEC)
        assert await names(watch, 1) == ["two"]


async def test_a_watch_lists_again_when_history_is_lost(server: KubernetesServer, releases: ClusterReleases) -> None:
    await releases.create("shop", "one", SPEC)
    async with aclosing(releases.watch("shop")) as watch:
        assert await names(watch, 1) == ["one"]
        await releases.create("shop", "two", SPEC)
        server.faults.forget_history()
        assert await names(watch, 1) == ["two"]


async def test_a_watch_ends_with_an_outage_when_it_is_refused(
    server: KubernetesServer, releases: ClusterReleases
) -> None:
    server.faults.add(verb="watch", resource="releases", status=500)
    async with aclosing(releases.watch("shop")) as watch:
        with pytest.raises(Outage):
            await names(watch, 1)


async def test_a_server_that_ends_every_watch_at_once_is_an_outage_not_a_storm(
    strange: Strange, tmp_path: Path
) -> None:
    asked = 0

    async def hasty(head: str, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if "watch=true" in head:
            writer.write(answer(""))
        else:
            writer.write(answer('{"items": null, "metadata": {"resourceVersion": "1"}}'))

    async with (
        strange(hasty) as url,
        await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster,
        aclosing(ClusterReleases(cluster).watch(None)) as watch,
    ):
        with pytest.raises(Outage):
            await names(watch, 1)
    assert asked < 20
