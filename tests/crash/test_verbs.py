"""The rights that deploy/ grants are those that are used: no more, and none is missing.

Runs after the others here, whose requests are in the audit log as well; by itself it asks for everything once.
"""

import asyncio
import time

import pytest
from ruamel.yaml import YAML

from rollout.sandbox.installation import account_manifests
from tests.crash.arena import Arena
from tests.crash.place import OURS, POLICY, Place

pytestmark = pytest.mark.asyncio(loop_scope="session")

Right = tuple[str, str, str]
"""(group, resource with subresource, verb)."""
_SECONDS = 120.0


def granted() -> set[Right]:
    """What the ClusterRole and the Role for the Lease allow."""
    documents = [one for path in account_manifests() for one in YAML(typ="safe", pure=True).load_all(path.read_text())]
    rules = [rule for one in documents if one["kind"] in {"ClusterRole", "Role"} for rule in one["rules"]]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def test_every_right_is_used_and_none_is_missing(arena: Arena, place: Place, said: list[str]) -> None:
    metadata = {"name": "checkout", "namespace": place.namespace}
    policy = {"apiVersion": OURS, "kind": "ServicePolicy", "metadata": metadata, "spec": POLICY}
    await arena.cluster.apply(policy)
    proxy = await place.proxy()
    first = await place.controller(proxy)
    await place.controller(await place.proxy())
    await place.release(None)
    deadline = time.monotonic() + _SECONDS
    while not place.is_settled():
        assert time.monotonic() < deadline, place.status()
        await asyncio.sleep(0.2)
    # A watch is in the audit log once it has ended.
    await first.end()
    await place.leave()
    await asyncio.sleep(1)
    arena.read_audit()
    used = {(one.group, one.resource, one.verb) for one in arena.requests if one.resource}
    rights = granted()
    said.append(f"{len(rights)} rights granted, {len(arena.requests)} requests, {len(arena.refused)} refused")
    assert [(one.verb, one.request_uri, one.code) for one in arena.refused] == []
    assert used - rights == set()
    assert rights - used == set()
