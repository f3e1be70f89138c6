"""What whoever offers news may rely on: of the real notifier, and of the fake that other tests use."""

from collections.abc import Callable
from typing import Protocol

import pytest

from rollout.core.release import Delivered, Release
from rollout.ports import Notifier
from tests.adapters.notices.given import channel, notice, release, until
from tests.adapters.notices.receiver import Receiver, Say
from tests.fakes.notifier import FakeNotifier


class House(Protocol):
    """A notifier, and what its channels have heard."""

    @property
    def notifier(self) -> Notifier: ...

    def heard(self, name: str) -> list[int]: ...

    def silence(self, name: str) -> None: ...


class FakeHouse:
    def __init__(self) -> None:
        self.notifier = FakeNotifier("a", "b")

    def heard(self, name: str) -> list[int]:
        return [number for to, _, number in self.notifier.told if to == name]

    def silence(self, name: str) -> None:
        self.notifier.silent.add(name)


class RealHouse:
    def __init__(self, notifier: Notifier, receiver: Receiver) -> None:
        self.notifier = notifier
        self._receiver = receiver

    def heard(self, name: str) -> list[int]:
        return [got.json["sequence"] for got in self._receiver.got if got.path == f"/{name}"]

    def silence(self, name: str) -> None:
        self._receiver.answer = lambda got: Say(reset=got.path == f"/{name}")


@pytest.fixture(params=["fake", "real"])
def house(request: pytest.FixtureRequest, receiver: Receiver, notifying: Callable[..., Notifier]) -> House:
    if request.param == "fake":
        return FakeHouse()
    channels = [channel(f"{receiver.url}/{name}", name=name) for name in ("a", "b")]
    return RealHouse(notifying(*channels), receiver)


def told(house: House, one: Release, name: str, sequence: int) -> Callable[[], bool]:
    return lambda: house.notifier.delivered(one)[name].sequence == sequence


async def test_every_channel_hears_everything_once_and_in_order(house: House) -> None:
    one = release(notice(1), notice(2))
    for _ in range(3):
        house.notifier.offer(one)
    for name in ("a", "b"):
        await until(told(house, one, name, 2))
        assert house.heard(name) == [1, 2]


async def test_before_anything_was_offered_it_knows_what_the_release_remembers(house: House) -> None:
    one = release(notice(5), notified={"a": Delivered(sequence=4)})
    known = house.notifier.delivered(one)
    assert {name: delivered.sequence for name, delivered in known.items()} == {"a": 4, "b": 0}


async def test_a_channel_that_takes_nothing_stays_where_it_is_and_holds_nobody_back(house: House) -> None:
    house.silence("a")
    one = release(notice(1), notice(2))
    house.notifier.offer(one)
    await until(told(house, one, "b", 2))
    assert house.notifier.delivered(one)["a"].sequence == 0


async def test_releases_are_told_apart_by_their_uid(house: House) -> None:
    for uid in ("x", "y"):
        house.notifier.offer(release(notice(1), uid=uid))
    for uid in ("x", "y"):
        await until(told(house, release(uid=uid), "a", 1))
    assert house.heard("a") == [1, 1]


async def test_what_is_forgotten_may_be_offered_again(house: House) -> None:
    house.notifier.forget("uid-1")
    house.notifier.offer(release(notice(1)))
    await until(told(house, release(), "a", 1))
