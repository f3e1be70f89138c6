"""Questions to gates, and patience for their answers."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from rollout.core.gating import Answer, Gate, Question
from rollout.ports import Gatekeeper

PATIENCE = 30.0


def question(
    kind: Literal["approval", "webhook", "job"] = "webhook", use: str = "change-board", **more: Any
) -> Question:
    """The first attempt of a gate of release shop/checkout-v2."""
    gate = Gate(name="board", kind=kind, use=None if kind == "approval" else use, timeout=timedelta(minutes=10))
    asked = Question(
        namespace="shop",
        release="checkout-v2-1",
        uid="9f1c",
        service="checkout",
        version="v2",
        stable="v1",
        step=0,
        weight=10,
        gate=gate,
        attempt=1,
    )
    return replace(asked, **more)


def again(asked: Question, *, begun: bool) -> Question:
    """The next attempt."""
    return replace(asked, attempt=asked.attempt + 1, begun=begun)


async def answer_to(gatekeeper: Gatekeeper, asked: Question) -> Answer:
    """Ask until there is an answer."""
    async with asyncio.timeout(PATIENCE):
        while (answer := gatekeeper.ask(asked)) is None:
            await asyncio.sleep(0.005)
    return answer
