"""What the adapters make of rights that a real API server does not give them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.cluster_events import REFUSED, ClusterEvents
from rollout.adapters.policies import Policies
from rollout.adapters.policy_files import PolicyFiles
from rollout.adapters.policy_objects import PolicyObjects
from rollout.core.events import Notice
from rollout.core.policy import PolicySpec
from rollout.core.release import Phase, Release, ReleaseSpec, Status
from rollout.core.route import Problem
from rollout.sandbox.control_plane import ControlPlane
from tests.fakes.announcer import FakeAnnouncer
from tests.fakes.clock import FakeClock

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def nobody(control_plane: ControlPlane, real_namespace: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A ServiceAccount that may do nothing but what every account may."""
    accounts = f"/api/v1/namespaces/{real_namespace}/serviceaccounts"
    async with control_plane.client() as http:
        made = await http.post(accounts, json={"metadata": {"name": "nobody"}})
        assert made.status_code == 201, made.text
        token = await http.post(f"{accounts}/nobody/token", json={"spec": {}})
        assert token.status_code == 201, token.text
    kubeconfig = tmp_path / "nobody"
    control_plane.write_kubeconfig(kubeconfig, real_namespace, token.json()["status"]["token"])
    async with await Cluster.connect(kubeconfig) as cluster:
        yield cluster


def policies(cluster: Cluster, directory: Path) -> Policies:
    files = PolicyFiles(directory)
    files.load()
    return Policies(files, PolicyObjects(cluster))


async def test_policies_that_may_not_be_read_are_told_from_a_kind_that_is_not_there(
    nobody: Cluster, real_namespace: str, tmp_path: Path
) -> None:
    found = await policies(nobody, tmp_path).find(real_namespace, "checkout")
    assert isinstance(found, Problem)
    assert found.code == "policy-unreadable"
    assert f"`get` servicepolicies of rollout.dev in namespace {real_namespace}" in found.message


async def test_a_file_is_enough_where_policies_may_not_be_read(
    nobody: Cluster, real_namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "checkout.yaml").write_text(
        "apiVersion: rollout.dev/v1alpha1\nkind: ServicePolicy\n"
        f"metadata: {{name: checkout, namespace: {real_namespace}}}\n"
    )
    assert await policies(nobody, tmp_path).find(real_namespace, "checkout") == PolicySpec()


async def test_events_that_may_not_be_written_are_said_once(nobody: Cluster, real_namespace: str) -> None:
    log = FakeAnnouncer()
    events = ClusterEvents(nobody, log, FakeClock(NOON), instance="rollout-0")
    spec = ReleaseSpec(service="checkout", version="v2")
    status = Status(phase=Phase.ANALYSING, policy=PolicySpec())
    release = Release(namespace=real_namespace, name="one", uid="uid", spec=spec, status=status)
    for sequence in (1, 2):
        await events.announce(release, Notice(sequence=sequence, at=NOON, name="rollback.done"))
    assert log.lines == [("one", REFUSED)]
