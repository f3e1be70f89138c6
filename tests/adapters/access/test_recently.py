"""Answers that hold for a while."""

import pytest

from rollout.adapters.recently import Recently
from rollout.ports import Outage
from tests.adapters.access.conftest import Seconds


def test_an_answer_holds_for_its_time_and_not_longer(seconds: Seconds) -> None:
    known: Recently[str, bool] = Recently(10, seconds)
    known.put("a", value=False, seconds=5)
    assert known.get("a") is False
    seconds.now += 5
    assert known.get("a") is None
    assert len(known) == 0


def test_an_answer_that_holds_for_no_time_is_not_kept(seconds: Seconds) -> None:
    known: Recently[str, bool] = Recently(10, seconds)
    known.put("a", value=True, seconds=0)
    known.put("b", value=True, seconds=-1)
    assert len(known) == 0


def test_there_are_never_more_than_so_many_and_what_is_used_stays(seconds: Seconds) -> None:
    known: Recently[int, int] = Recently(3, seconds)
    for number in range(100):
        known.put(number, number, 60)
        known.get(0)
    assert len(known) == 3
    assert [known.get(one) for one in (0, 97, 98, 99)] == [0, None, 98, 99]


async def test_a_failure_is_told_and_not_kept(seconds: Seconds) -> None:
    known: Recently[str, bool] = Recently(10, seconds)
    asked = []

    async def question() -> tuple[bool, float]:
        asked.append("a")
        if len(asked) == 1:
            raise Outage("nobody there")
        return True, 60

    with pytest.raises(Outage):
        await known.ask("a", question)
    assert await known.ask("a", question)
    assert await known.ask("a", question)
    assert len(asked) == 2
