"""A pipeline, people, a webhook and a channel on the real Kubernetes API, with the real controller and HTTP API."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest
import pytest_asyncio
from aiohttp import web

from rollout.sandbox import shop
from rollout.sandbox.cluster_client import JsonObject
from tests.crash.arena import Arena
from tests.crash.door import Door
from tests.crash.place import ISTIO, OURS, POLICY, Place
from tests.crash.proxy import end, listen

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECONDS = 120.0
STEPS = [{"weight": 50, "hold": "2s"}, {"weight": 100, "hold": "2s"}]


class Receiver:
    """A webhook that says yes at the second try, and a channel that loses every second notice."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[JsonObject] = []
        self.notices: dict[str, JsonObject] = {}
        """By the key that is the same for every repetition."""
        self.refused: set[str] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/gate", self._gate)
        app.router.add_post("/notice", self._notice)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.url = await listen(self._runner)
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._runner)

    async def _gate(self, request: web.Request) -> web.Response:
        self.asked.append({"key": request.headers["Rollout-Key"], **json.loads(await request.read())})
        return web.Response(status=200 if len(self.asked) > 1 else 202, headers={"Retry-After": "1"})

    async def _notice(self, request: web.Request) -> web.Response:
        key = request.headers["Rollout-Key"]
        if key not in self.refused:
            self.refused.add(key)
            return web.Response(status=503)
        self.notices[key] = json.loads(await request.read())
        return web.Response()

    def settings(self, path: Path) -> Path:
        """What the administrator writes."""
        near = {"insecure": True, "allow": ["127.0.0.0/8"]}
        spec = {
            "webhooks": [{"name": "smoke", "url": f"{self.url}/gate", "reach": near}],
            "channels": [{"name": "team", "kind": "webhook", "url": f"{self.url}/notice", "reach": near}],
        }
        # JSON is YAML.
        path.write_text(json.dumps({"apiVersion": OURS, "kind": "ControllerConfig", "spec": spec}))
        return path


class Scene:
    """checkout in a namespace of its own, with a controller, a door, and people."""

    def __init__(self, place: Place, door: Door, receiver: Receiver, ci: Path, ann: Path, eve: Path) -> None:
        self.place, self.door, self.receiver = place, door, receiver
        self.ci, self.ann, self.eve = ci, ann, eve

    async def policy(self, **fields: object) -> None:
        metadata = {"name": shop.SERVICE, "namespace": self.place.namespace}
        spec = {**POLICY, "steps": STEPS, **fields}
        obj = {"apiVersion": OURS, "kind": "ServicePolicy", "metadata": metadata, "spec": spec}
        await self.place.arena.cluster.apply(obj)

    async def release(self, name: str) -> JsonObject:
        found = await self.place.get("Release", name)
        assert found is not None
        return found

    async def until(self, name: str, **status: object) -> JsonObject:
        """The release, once its status is so."""
        limit = time.monotonic() + SECONDS
        while True:
            found = await self.release(name)
            seen = found.get("status", {})
            if all(seen.get(field) == value for field, value in status.items()):
                return found
            assert time.monotonic() < limit, seen
            await asyncio.sleep(0.1)

    async def starts(self, version: str, *words: str) -> str:
        """CI asks for a release; its id."""
        said = await self.door.command(
            self.ci, self.place.namespace, "start", shop.SERVICE, "--version", version, *words
        )
        assert said.code == 0, said
        return said.out.split()[0]


@pytest_asyncio.fixture(loop_scope="session")
async def scene(place: Place, arena: Arena) -> AsyncIterator[Scene]:
    async with Receiver() as receiver, Door(arena, place.path()) as door:
        settings = receiver.settings(place.path() / "settings.yaml")
        controller = await place.controller(await place.proxy(), config=str(settings))
        ci = await door.account("ci", place.namespace, role="rollout-operate")
        ann = await door.account("ann", place.namespace, role="rollout-operate")
        eve = await door.account("eve", place.namespace, role=None)
        yield Scene(place, door, receiver, ci, ann, eve)
        await controller.end()


async def test_a_pipeline_releases_with_nothing_but_its_own_token(scene: Scene) -> None:
    gates = [
        {"name": "smoke", "kind": "webhook", "use": "smoke", "before": 50},
        {"name": "owner", "before": "promotion"},
    ]
    await scene.policy(gates=gates)
    space, key = scene.place.namespace, ("--idempotency-key", "run-1")
    name = await scene.starts("v2", *key)
    assert await scene.starts("v2", *key) == name
    waiting = asyncio.create_task(scene.door.command(scene.ci, space, "wait", name))
    held = await scene.until(name, reason="WaitingForApproval")
    assert held["status"]["weight"] == 100
    by = f"system:serviceaccount:{space}:"
    assert held["spec"]["source"]["actor"] == f"{by}ci"

    denied = await scene.door.command(scene.eve, space, "approve", name, "--gate", "owner")
    assert denied.code == 21
    approved = await scene.door.command(scene.ann, space, "approve", name, "--gate", "owner", "--reason", "looks good")
    assert approved.code == 0, approved
    assert (await waiting).code == 0
    done = await scene.release(name)
    passed = {run["gate"]: run for run in done["status"]["gateRuns"]}
    assert {run["state"] for run in passed.values()} == {"passed"}
    assert (passed["owner"]["by"], passed["owner"]["message"]) == (f"{by}ann", "looks good")
    assert len({question["key"] for question in scene.receiver.asked}) == 1
    assert await scene.place.weights() == {"v2": 100}

    # Every notice arrives, though the channel refuses each of them once; what is owed to nobody is forgotten.
    await scene.until(name, outbox=[])
    told = [notice["event"] for notice in scene.receiver.notices.values()]
    assert {"release.started", "gate.passed", "release.succeeded"} <= set(told)
    assert told.count("release.succeeded") == 1


async def test_a_newer_version_takes_the_place_of_the_one_under_way_after_it_was_put_back(scene: Scene) -> None:
    await scene.policy(steps=[{"weight": 50, "hold": "10m"}, {"weight": 100, "hold": "2s"}])
    space = scene.place.namespace
    await scene.place.arena.cluster.apply(*scene.place.here([shop.deployment(shop.SERVICE, "v3", replicas=1)]))
    first = await scene.starts("v2")
    waiting = asyncio.create_task(scene.door.command(scene.ci, space, "wait", first))
    await scene.until(first, phase="Analysing", weight=50)

    start = ("start", shop.SERVICE, "--version", "v3")
    busy = await scene.door.command(scene.ci, space, *start)
    assert busy.code == 22
    frozen = await scene.door.command(scene.ann, space, "freeze", shop.SERVICE, "--reason", "sale")
    assert frozen.code == 0, frozen
    refused = await scene.door.command(scene.ci, space, *start, "--on-conflict", "supersede")
    assert refused.code == 22
    assert (await scene.release(first))["status"]["phase"] == "Analysing"
    assert (await scene.door.command(scene.ann, space, "unfreeze", shop.SERVICE)).code == 0

    await scene.policy()
    second = await scene.starts("v3", "--on-conflict", "supersede")
    assert (await waiting).code == 13
    back = await scene.release(first)
    assert (back["status"]["phase"], back["status"]["reason"]) == ("Aborted", "Superseded")
    done = await scene.until(second, phase="Promoted")
    assert done["status"]["startedAt"] >= back["status"]["finishedAt"]
    assert done["status"]["stable"] == "v1"
    assert await scene.place.weights() == {"v3": 100}


async def test_the_brake_puts_everything_back_and_keeps_it_there(scene: Scene) -> None:
    await scene.policy(steps=[{"weight": 50, "hold": "10m"}, {"weight": 100, "hold": "2s"}])
    space = scene.place.namespace
    name = await scene.starts("v2")
    await scene.until(name, phase="Analysing", weight=50)
    stopped = await scene.door.command(scene.ann, space, "stop", "--reason", "an incident")
    assert stopped.code == 0, stopped
    await scene.until(name, phase="Aborted")
    assert await scene.place.weights() == {"v1": 100}
    again = await scene.door.command(scene.ci, space, "start", shop.SERVICE, "--version", "v2")
    assert again.code == 22
    # Who has a kubeconfig can still make the object: it waits.
    await scene.place.release(None)
    await scene.until("checkout-v2", reason="Frozen")
    assert (await scene.door.command(scene.ann, space, "unfreeze")).code == 0
    await scene.until("checkout-v2", phase="Analysing")
    route = await scene.place.arena.cluster.get(ISTIO, "VirtualService", shop.SERVICE, space)
    assert route["metadata"]["annotations"]["rollout.dev/release"] == "checkout-v2"
