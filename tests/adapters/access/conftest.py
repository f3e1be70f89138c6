"""A Kubernetes API and a CI system that say what a test wants, and a clock."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.oidc import OidcIssuer
from rollout.adapters.outbound import Outbound
from tests.adapters.access.ci_system import NOW, CiSystem
from tests.adapters.access.listener import Listener, listening
from tests.fakes.clock import FakeClock

_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: main
clusters:
- {{name: main, cluster: {{server: "{url}"}}}}
contexts:
- {{name: main, context: {{cluster: main, user: main, namespace: rollout}}}}
users:
- name: main
  user: {{}}
"""


class Seconds:
    """A monotonic clock that stands still until it is told to go."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime.fromtimestamp(NOW, UTC))


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
async def api() -> AsyncIterator[Listener]:
    """A Kubernetes API that answers as a test says."""
    async with listening() as listener:
        yield listener


@pytest.fixture
async def cluster(api: Listener, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A connection to it."""
    path = tmp_path / "kubeconfig"
    path.write_text(_KUBECONFIG.format(url=api.url))
    async with await Cluster.connect(path, seconds=2) as cluster:
        yield cluster


@pytest.fixture
async def ci() -> AsyncIterator[CiSystem]:
    async with listening() as listener:
        yield CiSystem(listener)


@pytest.fixture
def issuer(ci: CiSystem, clock: FakeClock, seconds: Seconds) -> OidcIssuer:
    """What believes its tokens, over the real road outwards."""
    return OidcIssuer(ci.settings(), Outbound(), clock, seconds)
