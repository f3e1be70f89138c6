"""A whole release with a webhook and a Job as its gates: the real reconciler and gatekeeper, all else is fake."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.gatekeeper import Gatekeeper
from rollout.adapters.outbound import Outbound
from rollout.administration import JobTemplate, Reach, Settings, Webhook
from rollout.core.gating import GateRun
from rollout.core.release import Phase, Reason, Status
from rollout.reconciler import Reconciler
from tests import given
from tests.adapters.outbound.receiver import Receiver, answer
from tests.place import LIFE, Place

JOBS = "/apis/batch/v1/namespaces/shop/jobs"
GATES = [
    {"name": "calendar", "before": "start", "kind": "webhook", "use": "calendar"},
    {"name": "smoke", "before": 30, "kind": "job", "use": "smoke", "timeout": "5m"},
    {"name": "go-ahead", "before": "promotion", "kind": "webhook", "use": "calendar", "onFailure": "hold"},
]


@pytest.fixture
async def place(receiver: Receiver, cluster: Cluster) -> AsyncIterator[Place]:
    place = Place()
    place.policies.policy = given.policy(gates=GATES)
    reach = Reach(insecure=True, allow=("127.0.0.0/8",))
    pod = {"spec": {"containers": [{"name": "smoke", "image": "example.com/smoke:1"}]}}
    settings = Settings(
        webhooks=(Webhook(name="calendar", url=receiver.url, reach=reach),),
        jobs=(JobTemplate(name="smoke", template={"template": pod}),),
    )
    gatekeeper = Gatekeeper(settings, Outbound(), cluster, place.clock)
    place.reconciler = Reconciler(replace(place.world, gatekeeper=gatekeeper))
    await place.begin()
    yield place
    await gatekeeper.close()


async def until(place: Place, done: Callable[[Status], bool]) -> Status:
    """Cycle by cycle; real time passes a little in each, for answers to come."""
    for _ in range(2 * LIFE):
        status = await place.status()
        if done(status):
            return status
        await place.cycle()
        await asyncio.sleep(0.005)
    pytest.fail(f"still {status.phase}, {status.reason}: {status.message}")


async def end_job(cluster: Cluster, kind: str) -> None:
    [job] = await cluster.list(JOBS)
    ended = {"status": {"conditions": [{"type": kind, "status": "True", "message": "two of nine failed"}]}}
    await cluster.merge(f"{JOBS}/{job['metadata']['name']}/status", ended)


def run_of(status: Status, gate: str) -> GateRun | None:
    return next((run for run in status.gate_runs if run.gate == gate), None)


def keys(receiver: Receiver) -> list[str]:
    return [got.headers["rollout-key"] for got in receiver.got]


async def test_a_release_whose_gates_say_yes_is_promoted_and_each_acted_once(
    place: Place, receiver: Receiver, cluster: Cluster
) -> None:
    await until(place, lambda status: run_of(status, "smoke") is not None)
    for _ in range(20):
        await place.cycle()
        await asyncio.sleep(0.005)
    held = await place.status()
    assert (held.phase, held.weight, held.reason) == (Phase.ANALYSING, 10, Reason.WAITING_FOR_GATE)
    await end_job(cluster, "Complete")
    status = await until(place, lambda status: status.phase is Phase.PROMOTED)
    assert {run.gate: run.state for run in status.gate_runs} == dict.fromkeys(
        ("calendar", "smoke", "go-ahead"), "passed"
    )
    assert len(keys(receiver)) == len(set(keys(receiver))) == 2
    assert len(await cluster.list(JOBS)) == 1


async def test_a_job_that_fails_puts_all_traffic_back(place: Place, cluster: Cluster) -> None:
    await until(place, lambda status: run_of(status, "smoke") is not None)
    async with asyncio.timeout(30):
        while not await cluster.list(JOBS):
            await place.cycle()
            await asyncio.sleep(0.005)
    await end_job(cluster, "Failed")
    status = await until(place, lambda status: status.phase is Phase.ROLLED_BACK)
    assert status.reason == Reason.GATE_FAILED
    assert "two of nine failed" in status.message
    assert place.mesh.percent("v2") == 0


async def test_a_no_before_the_start_moves_nothing(place: Place, receiver: Receiver) -> None:
    receiver.said = answer(403, b"frozen for the quarter")
    status = await until(place, lambda status: status.phase is Phase.FAILED)
    assert "frozen for the quarter" in status.message
    assert place.mesh.percent("v2") == 0


async def test_a_receiver_that_fails_now_and_then_is_asked_again_under_one_key(
    place: Place, receiver: Receiver
) -> None:
    told: list[Any] = [answer(503), answer(202, Retry_After="1"), answer(429), answer(200)]

    async def script(_request: object, writer: asyncio.StreamWriter) -> None:
        writer.write(told.pop(0))
        await writer.drain()

    receiver.script = script
    await until(place, lambda status: (run := run_of(status, "calendar")) is not None and run.state == "passed")
    assert len(keys(receiver)) == 4
    assert len(set(keys(receiver))) == 1
