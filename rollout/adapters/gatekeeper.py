"""Who asks webhooks and Jobs: questions are put in the background, answers wait here until somebody wants them.

Belongs here: that a question is put once, how many at once, whose policy may name what. Does not belong here: how a
webhook (`webhook_gate.py`) or a Job (`job_gate.py`) is asked, what follows from an answer (`core/waiting.py`).

Nothing here outlives the process: what is lost is asked again, under the same key, and who honours keys (Kubernetes
does, by names) acts once.
"""

import asyncio
import traceback
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

import structlog

from rollout.adapters.cluster import Cluster
from rollout.adapters.job_gate import JobGate
from rollout.adapters.outbound import Outbound
from rollout.adapters.webhook_gate import WebhookGate
from rollout.administration import JobTemplate, Settings, Webhook
from rollout.core.gating import Answer, Question
from rollout.ports import Clock, Fence, Outage

_MOST_ASKED: Final = 64
"""Questions on their way at once; others wait for a later cycle."""
_MOST_ASKED_OF_ONE: Final = 8
"""Of these, to one webhook or of one Job: one that hangs leaves room for the others."""
_MOST_KNOWN: Final = 4096
"""Gates whose last answer is kept."""


@dataclass(frozen=True, slots=True)
class _Said:
    uid: str
    attempt: int
    answer: Answer


class Gatekeeper:
    """Implements `ports.Gatekeeper`; must be used inside one running loop.

    Args:
        settings: which webhooks and Jobs there are.
        road: on which webhooks are asked.
        api: where Jobs are made; it has a fence of its own.
        clock: the time in signatures.
        fence: while it raises, nobody is asked anything new.
    """

    def __init__(
        self, settings: Settings, road: Outbound, api: Cluster, clock: Clock, *, fence: Fence | None = None
    ) -> None:
        self._webhooks = {one.name: one for one in settings.webhooks}
        self._jobs = {one.name: one for one in settings.jobs}
        self._webhook_gate = WebhookGate(road, clock)
        self._job_gate = JobGate(api)
        self._fence = fence
        self._asking: dict[str, tuple[Question, asyncio.Task[Answer]]] = {}
        """By the question's key: a gate has one open question at a time."""
        self._said: OrderedDict[str, _Said] = OrderedDict()
        """By key: the answer to its last question."""

    def ask(self, question: Question) -> Answer | None:
        """As the port says."""
        key = question.key
        said = self._said.get(key)
        if said is not None and said.attempt == question.attempt:
            return said.answer
        if key in self._asking:
            # Another attempt's question is still on its way only if its answer did not matter any more.
            return None
        target = self._target(question)
        if target is None or isinstance(target, Answer):
            return target
        if not self._may_ask(question):
            return None
        task = asyncio.ensure_future(self._put(question, target))
        self._asking[key] = question, task
        task.add_done_callback(lambda done: self._hear(question, done))
        return None

    def forget(self, uid: str) -> None:
        """As the port says. A question on its way is let go; what a Job does, it does."""
        for key in [key for key, said in self._said.items() if said.uid == uid]:
            del self._said[key]
        for question, task in list(self._asking.values()):
            if question.uid == uid:
                task.cancel()

    async def close(self) -> None:
        """End everything under way and forget all answers; `ask` may be called again, in another term."""
        tasks = [task for _, task in self._asking.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._asking.clear()
        self._said.clear()

    def _target(self, question: Question) -> Webhook | JobTemplate | Answer | None:
        """Whom to ask; the answer where nobody may be asked; None for what only people answer."""
        gate = question.gate
        if gate.kind == "approval":
            return None
        known: dict[str, Webhook] | dict[str, JobTemplate] = self._webhooks if gate.kind == "webhook" else self._jobs
        target, where = known.get(gate.use or ""), f"spec.{gate.kind}s of the controller's settings"
        if target is None:
            return Answer("failed", f"there is no {gate.kind} {gate.use}; the administrator can add it to {where}")
        if target.namespaces and question.namespace not in target.namespaces:
            why = f"{gate.kind} {gate.use} is not for namespace {question.namespace}"
            return Answer("failed", f"{why}; the administrator can add it to its namespaces in {where}")
        return target

    def _may_ask(self, question: Question) -> bool:
        of_one = sum(
            (other.gate.kind, other.gate.use) == (question.gate.kind, question.gate.use)
            for other, _ in self._asking.values()
        )
        if len(self._asking) >= _MOST_ASKED or of_one >= _MOST_ASKED_OF_ONE:
            return False
        try:
            if self._fence is not None:
                self._fence()
        except Outage:
            return False
        return True

    def _put(self, question: Question, target: Webhook | JobTemplate) -> Coroutine[Any, Any, Answer]:
        if isinstance(target, Webhook):
            return self._webhook_gate.ask(question, target)
        return self._job_gate.ask(question, target)

    def _hear(self, question: Question, done: asyncio.Task[Answer]) -> None:
        self._asking.pop(question.key, None)
        if done.cancelled():
            return
        if (defect := done.exception()) is not None:
            # A defect of ours. The release waits, and its gate's policy says for how long.
            # Not its text, which may be of our making and hold anything.
            frame = traceback.extract_tb(defect.__traceback__)[-1]
            structlog.stdlib.get_logger("rollout").error(
                "gate.broken",
                namespace=question.namespace,
                release=question.release,
                gate=question.gate.name,
                error=f"{type(defect).__name__} at {frame.filename}:{frame.lineno}",
            )
            answer = Answer("unavailable", f"it could not be asked: {type(defect).__name__}")
        else:
            answer = done.result()
        self._said[question.key] = _Said(question.uid, question.attempt, answer)
        self._said.move_to_end(question.key)
        while len(self._said) > _MOST_KNOWN:
            self._said.popitem(last=False)
