"""Credentials that take longer to renew than a request may take."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster, Denied
from rollout.adapters.kubeconfig import find_access
from tests.adapters.kubernetes.conftest import Strange, answer, write_kubeconfig

CONFIG_MAP = "/api/v1/namespaces/shop/configmaps/a"


class Plugin:
    """Takes as long as a test lets it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = self.running = self.asked = 0
        self.valid = False
        self.may_end = asyncio.Event()
        self._error = error

    async def renew(self) -> None:
        self.runs += 1
        self.running += 1
        try:
            await self.may_end.wait()
        finally:
            self.running -= 1
        if self._error is not None:
            raise self._error
        self.valid = True

    async def serve(self, _head: str, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        writer.write(answer('{"kind": "ConfigMap"}') if self.valid else answer("{}", 401))


async def connected(plugin: Plugin, url: str, tmp_path: Path) -> Cluster:
    access = await find_access(write_kubeconfig(tmp_path / "kubeconfig", url), None)
    return Cluster(replace(access, renew=plugin.renew))


async def test_a_renewal_goes_on_when_nobody_waits_for_it_any_more(strange: Strange, tmp_path: Path) -> None:
    plugin = Plugin()
    async with strange(plugin.serve) as url, await connected(plugin, url, tmp_path) as cluster:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await cluster.get(CONFIG_MAP)
        plugin.may_end.set()
        async with asyncio.timeout(10):
            while not plugin.valid:
                await asyncio.sleep(0.01)
        assert (await cluster.get(CONFIG_MAP))["kind"] == "ConfigMap"
    assert plugin.runs == 1


async def test_many_who_are_refused_share_one_renewal(strange: Strange, tmp_path: Path) -> None:
    plugin = Plugin()
    async with strange(plugin.serve) as url, await connected(plugin, url, tmp_path) as cluster:
        gets = [asyncio.create_task(cluster.get(CONFIG_MAP)) for _ in range(5)]
        async with asyncio.timeout(10):
            while plugin.asked < len(gets):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        plugin.may_end.set()
        assert [obj["kind"] for obj in await asyncio.gather(*gets)] == ["ConfigMap"] * 5
    assert plugin.runs == 1


async def test_a_failed_renewal_is_a_denial_and_is_tried_again_next_time(strange: Strange, tmp_path: Path) -> None:
    plugin = Plugin(OSError("no such program"))
    plugin.may_end.set()
    async with strange(plugin.serve) as url, await connected(plugin, url, tmp_path) as cluster:
        for _ in range(2):
            with pytest.raises(Denied, match="no such program"):
                await cluster.get(CONFIG_MAP)
    assert plugin.runs == 2


async def test_a_renewal_under_way_ends_with_the_connection(strange: Strange, tmp_path: Path) -> None:
    plugin = Plugin()
    async with strange(plugin.serve) as url:
        async with await connected(plugin, url, tmp_path) as cluster:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await cluster.get(CONFIG_MAP)
            assert plugin.running == 1
        assert plugin.running == 0
