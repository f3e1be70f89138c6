"""Nothing is written past the fence: not by any method, not by a retry, and for no longer than it grants."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster
from rollout.ports import Outage
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.kubernetes.conftest import Strange, answer, write_kubeconfig

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
CHANGED = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "2"}}

WRITES: dict[str, Callable[[Cluster], Awaitable[Any]]] = {
    "create": lambda api: api.create(CONFIGMAPS, {**CONFIG_MAP, "metadata": {"name": "b"}}),
    "replace": lambda api: api.replace(f"{CONFIGMAPS}/a", CHANGED),
    "patch": lambda api: api.patch(f"{CONFIGMAPS}/a", [{"op": "replace", "path": "/data/x", "value": "2"}]),
    "merge": lambda api: api.merge(f"{CONFIGMAPS}/a", {"data": {"x": "2"}}),
    "dry run": lambda api: api.merge(f"{CONFIGMAPS}/a", {"data": {"x": "2"}}, dry_run=True),
}


class Gate:
    """A fence that a test opens and closes."""

    def __init__(self, seconds: float | None = 60) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        if self.seconds is None:
            raise Outage("not the leader")
        return self.seconds


@pytest.mark.parametrize("write", WRITES)
async def test_a_closed_fence_lets_no_write_through_and_every_read(
    write: str, server: KubernetesServer, tmp_path: Path
) -> None:
    server.write_kubeconfig(tmp_path / "kubeconfig")
    gate = Gate()
    async with await Cluster.connect(tmp_path / "kubeconfig", fence=gate) as cluster:
        before = await cluster.create(CONFIGMAPS, CONFIG_MAP)
        gate.seconds = None
        with pytest.raises(Outage, match="not the leader"):
            await WRITES[write](cluster)
        assert await cluster.get(f"{CONFIGMAPS}/a") == before
        assert len(await cluster.list(CONFIGMAPS)) == 1
        gate.seconds = 60
        assert (await WRITES[write](cluster))["kind"] == "ConfigMap"


async def test_a_write_takes_no_longer_than_the_fence_grants(strange: Strange, tmp_path: Path) -> None:
    async def hang(_head: str, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with strange(hang) as url:
        config = write_kubeconfig(tmp_path / "kubeconfig", url)
        async with await Cluster.connect(config, seconds=30, fence=Gate(0.2)) as cluster:
            began = time.monotonic()
            with pytest.raises(Outage):
                await cluster.replace(f"{CONFIGMAPS}/a", CHANGED)
            assert time.monotonic() - began < 5


async def test_the_repetition_with_new_credentials_is_a_write_of_its_own(strange: Strange, tmp_path: Path) -> None:
    gate, heads = Gate(), []

    async def refuse(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        gate.seconds = None
        writer.write(answer("{}", 401))

    async with strange(refuse) as url:
        config = write_kubeconfig(tmp_path / "kubeconfig", url)
        async with await Cluster.connect(config, fence=gate) as cluster:
            with pytest.raises(Outage, match="not the leader"):
                await cluster.replace(f"{CONFIGMAPS}/a", CHANGED)
    assert len(heads) == 1
