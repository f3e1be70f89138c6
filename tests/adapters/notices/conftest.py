"""A receiver, and a notifier that is closed in the end."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rollout.adapters.notices.notifier import ChannelNotifier
from rollout.adapters.outbound import Outbound
from rollout.administration import Channel, Settings
from tests.adapters.notices.given import LINKS, NOON
from tests.adapters.notices.journal import Journal
from tests.adapters.notices.receiver import Receiver, receiving
from tests.fakes.clock import FakeClock

Notifying = Callable[..., ChannelNotifier]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
async def notifying(clock: FakeClock, journal: Journal) -> AsyncIterator[Notifying]:
    """Makes notifiers for channels."""
    made: list[ChannelNotifier] = []

    def make(*channels: Channel, **parts: Any) -> ChannelNotifier:
        settings = Settings(channels=channels, links=LINKS)
        one = ChannelNotifier(settings, Outbound(), clock, journal, **{"first_wait_s": 0.01, **parts})
        made.append(one)
        return one

    yield make
    for one in made:
        await one.close()
