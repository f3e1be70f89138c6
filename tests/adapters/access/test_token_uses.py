"""A CI job's token starts one release: on the embedded API, and on a real one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster
from rollout.adapters.token_uses import LABEL, TokenUses
from rollout.core.access import Identity
from rollout.ports import Outage
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.access.conftest import Seconds
from tests.fakes.access import FakeTokenUses
from tests.fakes.clock import FakeClock

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"


def job(jti: str, issuer: str = "github") -> Identity:
    return Identity(name="github:repo:acme/checkout", issuer=issuer, claims={"jti": jti})


@pytest.fixture(params=["embedded", "real"])
def real(request: pytest.FixtureRequest) -> tuple[ControlPlane, str] | None:
    """The real API and a namespace of it, or None for the embedded one."""
    if request.param == "embedded":
        return None
    return request.getfixturevalue("control_plane"), request.getfixturevalue("real_namespace")


@pytest.fixture
async def place(real: tuple[ControlPlane, str] | None, tmp_path: Path) -> AsyncIterator[tuple[Cluster, str]]:
    """(connection, namespace)."""
    kubeconfig = tmp_path / "servers-kubeconfig"
    if real is not None:
        plane, namespace = real
        plane.write_kubeconfig(kubeconfig, namespace)
        async with await Cluster.connect(kubeconfig) as cluster:
            yield cluster, namespace
        return
    server = KubernetesServer()
    await server.start()
    try:
        server.write_kubeconfig(kubeconfig)
        async with await Cluster.connect(kubeconfig) as cluster:
            await cluster.create("/api/v1/namespaces", {"metadata": {"name": "rollout"}})
            yield cluster, "rollout"
    finally:
        await server.stop()


async def test_a_token_may_be_used_again_for_the_same_and_for_nothing_else(place: tuple[Cluster, str]) -> None:
    uses = TokenUses(*place, SystemClock())
    assert await uses.first(job("a"), "checkout v2")
    assert await uses.first(job("a"), "checkout v2")
    assert not await uses.first(job("a"), "checkout v3")
    assert await uses.first(job("b"), "checkout v3")
    # Another issuer may give the same number.
    assert await uses.first(job("a", "gitlab"), "checkout v3")


async def test_of_two_uses_at_one_moment_by_two_replicas_one_counts(place: tuple[Cluster, str]) -> None:
    replicas = [TokenUses(*place, SystemClock()) for _ in range(2)]
    for number in range(10):
        asked = (replicas[n % 2].first(job(f"jti-{number}"), f"use-{n}") for n in range(6))
        assert sum(await asyncio.gather(*asked)) == 1


async def test_a_replica_that_starts_later_knows_what_was_used(place: tuple[Cluster, str]) -> None:
    assert await TokenUses(*place, SystemClock()).first(job("a"), "checkout v2")
    assert not await TokenUses(*place, SystemClock()).first(job("a"), "checkout v3")


async def test_who_has_no_issuer_may_come_as_often_as_they_like(place: tuple[Cluster, str]) -> None:
    uses = TokenUses(*place, SystemClock())
    account = Identity(name="system:serviceaccount:shop:ci")
    assert await uses.first(account, "one")
    assert await uses.first(account, "other")


async def test_uses_of_tokens_that_are_long_over_are_put_away_and_others_stay(place: tuple[Cluster, str]) -> None:
    cluster, namespace = place
    path, seconds = LEASES.format(namespace), Seconds()
    theirs = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "rollout"}, "spec": {}}
    await cluster.create(path, {**theirs, "metadata": {"name": "rollout", "labels": {LABEL: "true"}}})
    now = SystemClock().now()
    for number in range(4):
        assert await TokenUses(cluster, namespace, SystemClock(), seconds).first(job(f"old-{number}"), "x")
    later = TokenUses(cluster, namespace, FakeClock(now + timedelta(hours=3)), seconds)
    for number in range(2):
        assert await later.first(job(f"new-{number}"), "x")
    # Whoever put away also took two of its own for old: in truth they were all made a moment ago.
    left = {one["metadata"]["name"] for one in await cluster.list(path, label_selector=f"{LABEL}=true")}
    assert "rollout" in left
    assert len(left) <= 3
    # By the clock of today nothing is old.
    for number in range(4):
        assert await TokenUses(cluster, namespace, SystemClock(), seconds).first(job(f"young-{number}"), "x")
    again = await cluster.list(path, label_selector=f"{LABEL}=true")
    assert len(again) == len(left) + 4


async def test_a_use_that_cannot_be_noted_is_an_outage(place: tuple[Cluster, str]) -> None:
    cluster, _ = place
    with pytest.raises(Outage):
        await TokenUses(cluster, "no-such-namespace", SystemClock()).first(job("a"), "checkout v2")


async def test_the_fake_does_the_same() -> None:
    shared: dict[tuple[str, object], str] = {}
    one, other = FakeTokenUses(shared), FakeTokenUses(shared)
    assert await one.first(job("a"), "x")
    assert await other.first(job("a"), "x")
    assert not await other.first(job("a"), "y")
    assert await other.first(Identity(name="ann"), "y")
    other.reachable = False
    with pytest.raises(Outage):
        await other.first(job("a"), "x")
