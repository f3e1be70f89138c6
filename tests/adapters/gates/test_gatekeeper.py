"""Who may be asked, how many at once, and that nothing is left behind."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import structlog.testing

from rollout.adapters.cluster import Cluster
from rollout.adapters.gatekeeper import Gatekeeper
from rollout.adapters.outbound import Outbound
from rollout.administration import JobTemplate, Reach, Settings, Webhook
from rollout.core.gating import Question
from rollout.ports import Outage
from tests.adapters.gates.questions import PATIENCE, again, answer_to, question
from tests.adapters.outbound.receiver import Receiver, Request, answer, receiving
from tests.fakes.clock import FakeClock

PLAIN = Reach(insecure=True, allow=("127.0.0.0/8",))
JOBS = "/apis/batch/v1/namespaces/shop/jobs"


def settings(receiver: Receiver, **more: Any) -> Settings:
    pod = {"spec": {"containers": [{"name": "smoke", "image": "example.com/smoke:1"}]}}
    return Settings(
        webhooks=(Webhook(name="change-board", url=receiver.url, reach=PLAIN, **more),),
        jobs=(JobTemplate(name="smoke", template={"template": pod}, **more),),
    )


@pytest.fixture
async def gatekeeper(receiver: Receiver, cluster: Cluster, clock: FakeClock) -> AsyncIterator[Gatekeeper]:
    one = Gatekeeper(settings(receiver), Outbound(), cluster, clock)
    yield one
    await one.close()


def of(number: int, use: str = "change-board") -> Question:
    """The question of another release."""
    return question(use=use, uid=f"uid-{number}")


async def hang(_request: Request, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_a_job_is_asked_like_a_webhook(gatekeeper: Gatekeeper, cluster: Cluster) -> None:
    asked = question("job", "smoke")
    assert (await answer_to(gatekeeper, asked)).outcome == "waiting"
    [job] = await cluster.list(JOBS)
    await cluster.merge(
        f"{JOBS}/{job['metadata']['name']}/status", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    )
    assert (await answer_to(gatekeeper, again(asked, begun=True))).outcome == "passed"


@pytest.mark.parametrize("kind", ["webhook", "job"])
async def test_what_the_settings_do_not_know_is_a_no_that_says_what_to_do(
    gatekeeper: Gatekeeper, kind: Any, receiver: Receiver
) -> None:
    said = gatekeeper.ask(question(kind, "unheard-of"))
    assert said is not None
    assert said.outcome == "failed"
    assert "unheard-of" in said.message
    assert f"spec.{kind}s" in said.message
    assert not receiver.connections


@pytest.mark.parametrize(("kind", "use"), [("webhook", "change-board"), ("job", "smoke")])
async def test_only_the_namespaces_it_is_for_may_name_it(
    receiver: Receiver, cluster: Cluster, clock: FakeClock, kind: Any, use: str
) -> None:
    gatekeeper = Gatekeeper(settings(receiver, namespaces=("shop",)), Outbound(), cluster, clock)
    said = gatekeeper.ask(question(kind, use, namespace="pay"))
    assert said is not None
    assert said.outcome == "failed"
    assert "pay" in said.message
    assert (await answer_to(gatekeeper, question(kind, use))).outcome in {"passed", "waiting"}
    await gatekeeper.close()


async def test_whoever_may_not_write_asks_nobody(receiver: Receiver, cluster: Cluster, clock: FakeClock) -> None:
    leads = False

    def fence() -> float:
        if not leads:
            raise Outage("another one leads")
        return 10.0

    gatekeeper = Gatekeeper(settings(receiver), Outbound(), cluster, clock, fence=fence)
    for _ in range(10):
        assert gatekeeper.ask(question()) is None
        await asyncio.sleep(0)
    assert not receiver.connections
    leads = True
    assert (await answer_to(gatekeeper, question())).outcome == "passed"
    await gatekeeper.close()


async def test_a_webhook_that_hangs_leaves_room_for_the_others(
    gatekeeper: Gatekeeper, receiver: Receiver, cluster: Cluster, clock: FakeClock
) -> None:
    receiver.script = hang
    async with receiving() as other:
        both = Settings(webhooks=(*settings(receiver).webhooks, Webhook(name="other", url=other.url, reach=PLAIN)))
        gatekeeper = Gatekeeper(both, Outbound(), cluster, clock)
        for number in range(100):
            assert gatekeeper.ask(of(number)) is None
        assert (await answer_to(gatekeeper, of(1000, "other"))).outcome == "passed"
        assert 1 <= receiver.connections <= 8
        await gatekeeper.close()


async def test_who_had_to_wait_for_room_is_asked_later(gatekeeper: Gatekeeper, receiver: Receiver) -> None:
    answers = await asyncio.gather(*(answer_to(gatekeeper, of(number)) for number in range(40)))
    assert {said.outcome for said in answers} == {"passed"}
    assert len({got.headers["rollout-key"] for got in receiver.got}) == len(receiver.got) == 40


async def test_forgotten_while_it_is_asked_is_let_go(gatekeeper: Gatekeeper, receiver: Receiver) -> None:
    receiver.script = hang
    gatekeeper.ask(question())
    async with asyncio.timeout(PATIENCE):
        while not receiver.got:
            await asyncio.sleep(0.005)
    gatekeeper.forget(question().uid)
    await asyncio.sleep(0)
    receiver.script = None
    assert (await answer_to(gatekeeper, question())).outcome == "passed"


async def test_another_term_begins_with_nothing(gatekeeper: Gatekeeper, receiver: Receiver) -> None:
    assert (await answer_to(gatekeeper, question())).outcome == "passed"
    receiver.script = hang
    gatekeeper.ask(of(1))
    await asyncio.sleep(0)
    await gatekeeper.close()
    receiver.script, receiver.said = None, answer(403)
    assert (await answer_to(gatekeeper, question())).outcome == "failed"
    assert (await answer_to(gatekeeper, of(1))).outcome == "failed"


async def test_a_defect_of_ours_is_no_answer_and_is_logged(
    receiver: Receiver, cluster: Cluster, clock: FakeClock
) -> None:
    async def broken(_host: str, _port: int) -> tuple[str, ...]:
        raise KeyError("SECRET")

    gatekeeper = Gatekeeper(settings(receiver), Outbound(broken), cluster, clock)
    with structlog.testing.capture_logs() as logs:
        said = await answer_to(gatekeeper, question())
    assert said.outcome == "unavailable"
    [line] = [one for one in logs if one["event"] == "gate.broken"]
    assert line["error"].startswith("KeyError at ")
    assert "SECRET" not in f"{said} {logs}"
    await gatekeeper.close()


async def test_memory_is_bounded_by_dropping_the_oldest(
    gatekeeper: Gatekeeper, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.adapters.gatekeeper._MOST_KNOWN", 3)
    for number in range(5):
        await answer_to(gatekeeper, of(number))
    before = len(receiver.got)
    assert gatekeeper.ask(of(4)) is not None
    assert gatekeeper.ask(of(0)) is None
    await answer_to(gatekeeper, of(0))
    assert len(receiver.got) == before + 1


async def test_a_second_gate_of_a_release_does_not_wait_for_the_first(
    gatekeeper: Gatekeeper, receiver: Receiver
) -> None:
    async def slow_for_the_first(request: Request, writer: asyncio.StreamWriter) -> None:
        if b'"gate":"board"' in request.body:
            await asyncio.Event().wait()
        writer.write(answer(200))

    receiver.script = slow_for_the_first
    second = replace(question(), gate=question().gate.model_copy(update={"name": "second"}))
    assert gatekeeper.ask(question()) is None
    assert (await answer_to(gatekeeper, second)).outcome == "passed"
