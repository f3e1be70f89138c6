"""What every `ports.Gatekeeper` does: one suite for the fake and for the adapter with a real receiver."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.gatekeeper import Gatekeeper as RealGatekeeper
from rollout.adapters.outbound import Outbound
from rollout.administration import Reach, Settings, Webhook
from rollout.core.gating import Answer
from rollout.ports import Gatekeeper
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.gates.questions import again, answer_to, question
from tests.adapters.outbound.receiver import Receiver, Request, answer, receiving
from tests.fakes.clock import FakeClock
from tests.fakes.gatekeeper import FakeGatekeeper

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Stage(Protocol):
    """A gatekeeper, and the gate that it asks."""

    gatekeeper: Gatekeeper

    def says(self, kind: str) -> None:
        """What the gate answers from now on: yes, no, later, error, redirect, hangs, resets."""
        ...

    def questions(self) -> list[tuple[str, int]]:
        """(key, attempt) of every question that the gate got, each counted once."""
        ...


class FakeStage:
    def __init__(self) -> None:
        self._fake = FakeGatekeeper()
        self.gatekeeper: Gatekeeper = self._fake

    def says(self, kind: str) -> None:
        meant = {
            "yes": Answer("passed", "go"),
            "no": Answer("failed", "no"),
            "later": Answer("waiting", again=timedelta(seconds=7)),
            "error": Answer("unavailable"),
            "redirect": Answer("failed"),
            "resets": Answer("unavailable"),
        }
        self._fake.answers = {} if kind == "hangs" else {"board": meant[kind]}

    def questions(self) -> list[tuple[str, int]]:
        return list(self._fake.asked)


class RealStage:
    def __init__(self, receiver: Receiver, gatekeeper: Gatekeeper) -> None:
        self._receiver = receiver
        self.gatekeeper = gatekeeper

    def says(self, kind: str) -> None:
        async def hang(_request: Request, _writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async def reset(_request: Request, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        self._receiver.script = {"hangs": hang, "resets": reset}.get(kind)
        self._receiver.said = {
            "yes": answer(200, b"go"),
            "no": answer(403, b"no"),
            "later": answer(202, Retry_After="7"),
            "error": answer(503),
            "redirect": answer(302, Location="http://127.0.0.1:1/"),
        }.get(kind, b"")

    def questions(self) -> list[tuple[str, int]]:
        return [
            (got.headers["rollout-key"], int(got.body.split(b'"attempt":')[1].split(b",")[0]))
            for got in self._receiver.got
        ]


@pytest.fixture(params=["fake", "real"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    if request.param == "fake":
        yield FakeStage()
        return
    server = KubernetesServer()
    await server.start()
    server.write_kubeconfig(tmp_path / "kubeconfig")
    async with receiving() as receiver, await Cluster.connect(tmp_path / "kubeconfig") as api:
        reach = Reach(insecure=True, allow=("127.0.0.0/8",))
        webhook = Webhook(name="change-board", url=receiver.url, reach=reach, timeout=timedelta(seconds=20))
        gatekeeper = RealGatekeeper(Settings(webhooks=(webhook,)), Outbound(), api, FakeClock(NOON))
        yield RealStage(receiver, gatekeeper)
        await gatekeeper.close()
    await server.stop()


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("yes", "passed"),
        ("no", "failed"),
        ("later", "waiting"),
        ("error", "unavailable"),
        ("redirect", "failed"),
        ("resets", "unavailable"),
    ],
)
async def test_each_kind_of_answer_means_what_it_means(stage: Stage, kind: str, outcome: str) -> None:
    stage.says(kind)
    assert (await answer_to(stage.gatekeeper, question())).outcome == outcome


async def test_a_gate_that_says_later_says_when(stage: Stage) -> None:
    stage.says("later")
    assert (await answer_to(stage.gatekeeper, question())).again == timedelta(seconds=7)


async def test_a_gate_that_hangs_has_not_answered_and_nobody_waits_for_it(stage: Stage) -> None:
    stage.says("hangs")
    asked = asyncio.get_running_loop().time()
    for _ in range(50):
        assert stage.gatekeeper.ask(question()) is None
        await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() - asked < 10
    assert len(stage.questions()) <= 1


async def test_an_attempt_is_asked_once_and_keeps_its_answer(stage: Stage) -> None:
    stage.says("later")
    first = await answer_to(stage.gatekeeper, question())
    stage.says("yes")
    for _ in range(20):
        assert stage.gatekeeper.ask(question()) == first
        await asyncio.sleep(0)
    assert stage.questions() == [(question().key, 1)]


async def test_another_attempt_is_asked_anew_under_the_same_key(stage: Stage) -> None:
    stage.says("error")
    await answer_to(stage.gatekeeper, question())
    stage.says("yes")
    assert (await answer_to(stage.gatekeeper, again(question(), begun=False))).outcome == "passed"
    assert stage.questions() == [(question().key, 1), (question().key, 2)]


async def test_what_was_forgotten_is_asked_again_and_others_are_not(stage: Stage) -> None:
    stage.says("yes")
    other = question(uid="other")
    for one in (question(), other):
        await answer_to(stage.gatekeeper, one)
    stage.gatekeeper.forget(question().uid)
    stage.says("no")
    assert (await answer_to(stage.gatekeeper, question())).outcome == "failed"
    assert (await answer_to(stage.gatekeeper, other)).outcome == "passed"


async def test_to_forget_what_was_never_asked_is_nothing(stage: Stage) -> None:
    stage.gatekeeper.forget("nobody")
    assert stage.questions() == []


async def test_an_approval_is_nobodys_to_ask(stage: Stage) -> None:
    stage.says("yes")
    for _ in range(5):
        assert stage.gatekeeper.ask(question("approval")) is None
        await asyncio.sleep(0)


async def test_two_gates_of_one_release_have_two_keys(stage: Stage) -> None:
    stage.says("yes")
    second = replace(question(), gate=question().gate.model_copy(update={"name": "second"}))
    assert second.key != question().key
    await answer_to(stage.gatekeeper, question())
    assert [key for key, _ in stage.questions()] == [question().key]
