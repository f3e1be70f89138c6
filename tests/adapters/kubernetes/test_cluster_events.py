"""Kubernetes Events: on which objects, under which names, in which words, and what happens when they are not taken."""

import ast
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster, JsonObject
from rollout.adapters.cluster_events import CONTROLLER, REFUSED, ClusterEvents
from rollout.adapters.event_notes import LONGEST_NOTE, WORDINGS, note_of, reason_of
from rollout.adapters.releases import ClusterReleases
from rollout.core.events import CATALOGUE, Level, Notice, Scalar
from rollout.core.policy import PolicySpec, RouteSelection, VirtualServiceRef
from rollout.core.release import Phase, Release, ReleaseSpec, Status
from rollout.core.route import Route
from rollout.ports import Outage
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.fakes.announcer import FakeAnnouncer
from tests.fakes.clock import FakeClock

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
ROUTES = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"
EVENTS = "/apis/events.k8s.io/v1/namespaces/shop/events"
SPEC = ReleaseSpec(service="checkout", version="v2")


def announced() -> set[str]:
    """Every event that the core announces, as its source says."""
    found = set()
    for path in Path("rollout/core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="tell"), args=[ast.Constant(value=str(name))]):
                    found.add(name)
    return found


def filled(name: str, fields: Mapping[str, Scalar]) -> Notice:
    return Notice(sequence=1, at=NOON, name=name, fields=dict(fields))


def notice(name: str, sequence: int = 1, **fields: Scalar) -> Notice:
    return Notice(sequence=sequence, at=NOON, name=name, fields=fields)


def whole(name: str) -> Mapping[str, Scalar]:
    """Fields of an event with something in each of them."""
    return {field: f"<{field}>" for field in CATALOGUE[name].fields}


@pytest.fixture
def log() -> FakeAnnouncer:
    return FakeAnnouncer()


@pytest.fixture
def events(cluster: Cluster, log: FakeAnnouncer) -> ClusterEvents:
    return ClusterEvents(cluster, log, FakeClock(NOON), instance="rollout-0")


@pytest.fixture
async def release(cluster: Cluster) -> Release:
    await create_route(cluster)
    releases = ClusterReleases(cluster)
    made = await releases.create("shop", "checkout-v2-abcde", SPEC)
    return await releases.save(made, status())


def status(policy: PolicySpec | None = None) -> Status:
    return Status(
        phase=Phase.ANALYSING,
        service="checkout",
        version="v2",
        stable="v1",
        policy=policy or PolicySpec(),
        order=Route(percent=10, epoch=4),
    )


async def create_route(cluster: Cluster, name: str = "checkout", namespace: str = "shop") -> JsonObject:
    spec = {"hosts": [name], "http": [{"route": [{"destination": {"host": name}}]}]}
    obj = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}, "spec": spec}
    return await cluster.create(ROUTES.replace("shop", namespace), obj)


async def told_on(cluster: Cluster, kind: str, namespace: str = "shop") -> list[JsonObject]:
    found = await cluster.list(EVENTS.replace("shop", namespace))
    return [one for one in found if one["regarding"]["kind"] == kind]


# Form


async def test_an_event_says_what_who_and_when(cluster: Cluster, events: ClusterEvents, release: Release) -> None:
    fields: dict[str, Scalar] = {"canary_requests": 4000, "canary_errors": 3, "proven": True, "evidence": 1.0}
    await events.announce(release, filled("step.promoted", fields))
    (event,) = await told_on(cluster, "Release")
    assert event["regarding"] == {
        "apiVersion": "rollout.dev/v1alpha1",
        "kind": "Release",
        "namespace": "shop",
        "name": release.name,
        "uid": release.uid,
    }
    assert (event["reason"], event["type"], event["action"]) == ("StepPromoted", "Normal", "Advance")
    assert (event["reportingController"], event["reportingInstance"]) == (CONTROLLER, "rollout-0")
    assert event["eventTime"] == "2026-11-21T12:00:00.123456Z"
    assert "3 of 4000 requests" in event["note"]
    assert event["metadata"]["name"].startswith(f"{release.name}.")


@pytest.mark.parametrize("name", sorted(announced() | {"traffic.apply_failed"}))
def test_every_event_that_is_announced_has_its_words(release_of_no_cluster: Release, name: str) -> None:
    assert reason_of(name).isalnum()
    assert reason_of(name)[0].isupper()
    assert WORDINGS[name].action.isalpha()
    note = note_of(release_of_no_cluster, name, whole(name))
    assert "{" not in note
    assert "?" not in note, "it names a field that the event does not have"
    bare = note_of(release_of_no_cluster, name, {})
    assert "\n" not in bare


@pytest.fixture
def release_of_no_cluster() -> Release:
    return Release(namespace="shop", name="one", uid="uid", spec=SPEC, status=status())


def test_there_are_no_words_for_what_is_never_announced() -> None:
    assert WORDINGS.keys() - announced() == {"traffic.apply_failed"}


def test_reasons_are_told_apart() -> None:
    assert len({reason_of(name) for name in WORDINGS}) == len(WORDINGS)


@pytest.mark.parametrize("name", sorted(WORDINGS))
async def test_every_kind_is_taken_by_the_api_with_the_type_of_its_level(
    cluster: Cluster, events: ClusterEvents, release: Release, name: str
) -> None:
    await events.announce(release, filled(name, whole(name)))
    (event,) = await told_on(cluster, "Release")
    assert event["reason"] == reason_of(name)
    assert event["type"] == ("Normal" if CATALOGUE[name].level is Level.INFO else "Warning")


async def test_a_note_is_one_line_of_at_most_1024_characters_whatever_people_write(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    await events.announce(release, notice("release.paused", actor="{ann}\n\x1b[2J", reason="x" * 3000))
    (event,) = await told_on(cluster, "Release")
    assert len(event["note"]) == LONGEST_NOTE
    assert event["note"].isprintable()
    assert "{ann}" in event["note"]


def test_a_note_is_the_same_however_late_it_is_told(release_of_no_cluster: Release) -> None:
    later = release_of_no_cluster.model_copy(
        update={"status": release_of_no_cluster.status.model_copy(update={"weight": 50, "step": 2, "phase": "Aborted"})}
    )
    for name in WORDINGS:
        assert note_of(release_of_no_cluster, name, whole(name)) == note_of(later, name, whole(name))


# Objects


async def test_what_is_about_traffic_is_told_on_the_virtual_service_too(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    await events.announce(release, notice("step.started", weight_from=10, weight_to=30, hold_s=300.0))
    (event,) = await told_on(cluster, "VirtualService")
    route = await cluster.get(f"{ROUTES}/checkout")
    assert event["regarding"]["uid"] == route["metadata"]["uid"]
    assert event["regarding"]["apiVersion"] == "networking.istio.io/v1"
    assert event["related"]["name"] == release.name
    assert event["note"] == (await told_on(cluster, "Release"))[0]["note"]


async def test_what_is_not_about_traffic_is_told_on_the_release_alone(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    await events.announce(release, notice("metrics.unavailable", error="no answer"))
    assert await told_on(cluster, "VirtualService") == []


async def test_each_of_several_virtual_services_is_told_in_its_own_namespace(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    await cluster.create("/api/v1/namespaces", {"metadata": {"name": "gateways"}})
    await create_route(cluster, "public", "gateways")
    legs = (VirtualServiceRef(name="checkout"), VirtualServiceRef(name="public", namespace="gateways"))
    policy = PolicySpec(route=RouteSelection(virtual_services=legs))
    release = release.model_copy(update={"status": status(policy)})
    await events.announce(release, notice("rollback.done", took_ms=12))
    assert [one["regarding"]["name"] for one in await told_on(cluster, "VirtualService")] == ["checkout"]
    assert [one["regarding"]["name"] for one in await told_on(cluster, "VirtualService", "gateways")] == ["public"]


async def test_a_virtual_service_that_is_gone_is_left_out(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    policy = PolicySpec(route=RouteSelection(virtual_service="gone"))
    release = release.model_copy(update={"status": status(policy)})
    await events.announce(release, notice("rollback.done", took_ms=12))
    assert await told_on(cluster, "VirtualService") == []
    assert len(await told_on(cluster, "Release")) == 1


async def test_a_release_that_was_refused_before_it_had_a_policy_is_told_on_itself(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    release = release.model_copy(update={"status": Status(phase=Phase.FAILED)})
    await events.announce(release, notice("release.rejected", reason_code="NoPolicy", reason="no policy"))
    assert len(await told_on(cluster, "Release")) == 1


# Once


async def test_telling_again_makes_no_second_event(
    cluster: Cluster, log: FakeAnnouncer, events: ClusterEvents, release: Release
) -> None:
    told = notice("release.succeeded", 7, duration_s=1200.0)
    await events.announce(release, told)
    another = ClusterEvents(cluster, log, FakeClock(NOON + timedelta(minutes=5)), instance="rollout-1")
    await another.announce(release, told)
    assert len(await told_on(cluster, "Release")) == 1
    assert len(await told_on(cluster, "VirtualService")) == 1


async def test_two_decisions_of_one_kind_are_two_events(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    for sequence in (1, 2):
        await events.announce(release, notice("step.held", sequence, reason="later"))
    assert len(await told_on(cluster, "Release")) == 2


async def test_a_release_of_the_same_name_later_has_events_of_its_own(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    await events.announce(release, notice("release.finishing"))
    await events.announce(release.model_copy(update={"uid": "another"}), notice("release.finishing"))
    assert len(await told_on(cluster, "Release")) == 2


async def test_a_long_name_is_cut_before_the_part_that_tells_events_apart(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    long = release.model_copy(update={"name": "a" * 235 + "." + "b" * 17})
    await events.announce(long, notice("release.finishing"))
    (event,) = await told_on(cluster, "Release")
    assert len(event["metadata"]["name"]) <= 253
    assert event["regarding"]["name"] == long.name


async def test_events_sort_by_their_names_as_they_happened(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    for sequence in (9, 10, 101, 8):
        await events.announce(release, notice("step.held", sequence, reason=f"{sequence}"))
    told = sorted(await told_on(cluster, "Release"), key=lambda one: str(one["metadata"]["name"]))
    assert [one["note"].rpartition(" ")[2] for one in told] == ["8", "9", "10", "101"]


async def test_an_order_that_cannot_be_written_is_told_once_per_order_and_error(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    for error in ("denied", "denied", "broken"):
        await events.record(release, "traffic.apply_failed", {"percent": 10, "error": error})
    newer = release.model_copy(update={"status": release.status.model_copy(update={"order": None})})
    await events.record(newer, "traffic.apply_failed", {"percent": None, "error": "denied"})
    assert len(await told_on(cluster, "Release")) == 3


async def test_what_only_describes_a_cycle_is_no_event(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    for name in ("judge.looked", "traffic.applied", "check.passed"):
        await events.record(release, name, {})
    assert await told_on(cluster, "Release") == []


async def test_a_kind_that_another_version_knows_is_left_out(
    cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    await events.announce(release, notice("step.teleported"))
    assert await told_on(cluster, "Release") == []


# Not taken


async def test_without_the_right_it_is_said_once_and_nothing_stops(
    server: KubernetesServer, log: FakeAnnouncer, events: ClusterEvents, release: Release
) -> None:
    server.faults.add(resource="events", status=403)
    for sequence in (1, 2):
        await events.announce(release, notice("release.finishing", sequence))
    await events.record(release, "traffic.apply_failed", {"percent": 10, "error": "x"})
    assert log.lines == [(release.name, REFUSED)]


async def test_a_route_that_may_not_be_read_is_said_once_and_the_release_is_told(
    server: KubernetesServer, cluster: Cluster, log: FakeAnnouncer, events: ClusterEvents, release: Release
) -> None:
    server.faults.add(verb="get", resource="virtualservices", status=403)
    await events.announce(release, notice("rollback.done", took_ms=1))
    assert log.lines == [(release.name, REFUSED)]
    assert len(await told_on(cluster, "Release")) == 1


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_an_outage_is_for_the_caller_to_try_again_and_the_result_is_one_event(
    server: KubernetesServer, cluster: Cluster, events: ClusterEvents, release: Release, code: int
) -> None:
    told = notice("rollback.done", took_ms=1)
    # The Event is written, and nobody hears of it.
    server.faults.add(verb="create", resource="events", status=code, when="after", times=1)
    with pytest.raises(Outage):
        await events.announce(release, told)
    await events.announce(release, told)
    assert len(await told_on(cluster, "Release")) == 1
    assert len(await told_on(cluster, "VirtualService")) == 1


async def test_an_outage_does_not_reach_whoever_only_describes_a_cycle(
    server: KubernetesServer, cluster: Cluster, events: ClusterEvents, release: Release
) -> None:
    server.faults.add(resource="events", status=503, times=1)
    await events.record(release, "traffic.apply_failed", {"percent": 10, "error": "x"})
    assert await told_on(cluster, "Release") == []


async def test_a_namespace_that_is_gone_has_nobody_left_to_tell(events: ClusterEvents, release: Release) -> None:
    await events.announce(release.model_copy(update={"namespace": "gone"}), notice("release.finishing"))
