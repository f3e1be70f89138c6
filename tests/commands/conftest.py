"""Releases and freezes in memory and a clock, for all verbs."""

from datetime import UTC, datetime, timedelta

import pytest

from rollout.commands import LocalDesk
from rollout.core.release import Phase, Release, ReleaseSpec, Status
from tests.fakes.clock import FakeClock
from tests.fakes.freezes import FakeFreezes
from tests.fakes.releases import FakeReleases

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SPEC = ReleaseSpec(service="checkout", version="v2")
OVER = [Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABORTED, Phase.FAILED]
UNDER_WAY = [Phase.PENDING, Phase.PREPARING, Phase.SHIFTING, Phase.ANALYSING, Phase.FINISHING, Phase.ROLLING_BACK]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def releases(clock: FakeClock) -> FakeReleases:
    return FakeReleases(clock)


@pytest.fixture
def freezes() -> FakeFreezes:
    return FakeFreezes(home="rollout")


@pytest.fixture
def desk(releases: FakeReleases, freezes: FakeFreezes, clock: FakeClock) -> LocalDesk:
    return LocalDesk(releases, freezes, clock)


async def existing(
    releases: FakeReleases, status: Status, name: str = "one", spec: ReleaseSpec = SPEC, namespace: str = "shop"
) -> Release:
    return await releases.save(await releases.create(namespace, name, spec), status)
