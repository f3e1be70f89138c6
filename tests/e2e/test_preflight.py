"""Preflight of the sandbox's shop, with Envoy's own metrics in the real Prometheus."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rollout.sandbox import shop
from rollout.sandbox.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.prometheus, pytest.mark.asyncio(loop_scope="module")]

NOWHERE = "http://127.0.0.1:1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with World(tmp_path_factory.mktemp("world"), rate=100) as world:
        await world.apply(shop.deployment(shop.SERVICE, "v2"))
        await world.until(lambda: any(one.labels["version"] == "v2" for one in world.node.endpoints))
        yield world


async def typed(world: World, *more: str) -> tuple[int, dict[str, object]]:
    """The verb as a process of its own: its exit code and what it printed."""
    arguments = ("preflight", shop.SERVICE, "--version", "v2", "--format", "json", *more)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rollout", "--kubeconfig", str(world.kubeconfig), *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    assert child.returncode is not None
    told: dict[str, object] = json.loads(out or "{}")
    return child.returncode, told


async def test_the_sandbox_s_own_shop_is_ready_for_a_release(world: World) -> None:
    code, told = await typed(world, "--prometheus", world.prometheus_url)
    assert (code, told["errors"], told["warnings"]) == (0, 0, 0), told
    assert told["versionLabel"] == "destination_workload"


async def test_a_policy_that_names_no_route_is_22(world: World, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "apiVersion: rollout.dev/v1alpha1\nkind: ServicePolicy\n"
        f"metadata: {{name: {shop.SERVICE}, namespace: {shop.NAMESPACE}}}\n"
        "spec: {route: {virtualService: nowhere}}\n"
    )
    code, told = await typed(world, "--prometheus", world.prometheus_url, "--policy", str(policy))
    assert code == 22
    assert told["errors"] != 0


async def test_a_younger_rival_is_a_warning(world: World) -> None:
    rival = shop.virtual_service()
    rival["metadata"]["name"] = "rival"
    # Its requests are to be answered as ever: both send everything to v1.
    await world.apply(rival)
    try:
        code, told = await typed(world, "--prometheus", world.prometheus_url)
    finally:
        await world.cluster.delete("networking.istio.io/v1", "VirtualService", "rival", shop.NAMESPACE)
    assert (code, told["errors"]) == (0, 0)
    assert told["warnings"] != 0


async def test_a_prometheus_that_is_not_there_is_20(world: World) -> None:
    assert (await typed(world, "--prometheus", NOWHERE))[0] == 20
