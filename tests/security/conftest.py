"""The HTTP API with its real locks: tokens are judged and rights looked up as in production.

The CI system, and what the Kubernetes API says of tokens and rights, are listeners of the test's own.
"""

import io
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from rollout import telemetry
from rollout.adapters.authentication import Authentication
from rollout.adapters.cluster import Cluster
from rollout.adapters.oidc import OidcIssuer
from rollout.adapters.permissions import Permissions
from rollout.adapters.token_reviews import TokenReviews
from rollout.adapters.token_uses import TokenUses
from rollout.core.policy import PolicySpec
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.access.conftest import Seconds, api, ci, clock, cluster, issuer, seconds  # noqa: F401 - fixtures
from tests.adapters.access.listener import Listener, Said
from tests.api.house import House
from tests.fakes.clock import FakeClock

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
RIGHTS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
TRIGGER = {"issuer": "github", "repositoryId": "4711", "environment": "production"}


def may(*, everything: bool) -> Said:
    return Said({"kind": "SubjectAccessReview", "status": {"allowed": everything}}, 201)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Where the API keeps what tokens were used for."""
    server = KubernetesServer()
    await server.start()
    try:
        path = tmp_path / "store"
        server.write_kubeconfig(path)
        async with await Cluster.connect(path) as connection:
            await connection.create("/api/v1/namespaces", {"metadata": {"name": "rollout"}})
            yield connection
    finally:
        await server.stop()


@pytest.fixture
def house(
    api: Listener,  # noqa: F811 - the fixture
    cluster: Cluster,  # noqa: F811 - the fixture
    clock: FakeClock,  # noqa: F811 - the fixture
    seconds: Seconds,  # noqa: F811 - the fixture
    issuer: OidcIssuer,  # noqa: F811 - the fixture
    store: Cluster,
) -> House:
    """Everybody whom the Kubernetes API knows is ann, who may do everything; one CI job may release checkout."""
    status = {"authenticated": True, "audiences": ["rollout"], "user": {"username": "ann"}}
    api.answers[REVIEWS] = lambda _: Said({"kind": "TokenReview", "status": status}, 201)
    api.answers[RIGHTS] = lambda _: may(everything=True)
    house = House(clock)
    house.policies.found = PolicySpec.model_validate({"allowedTriggers": [TRIGGER]})
    return house.but(
        authenticator=Authentication(TokenReviews(cluster, "rollout", clock, seconds), [issuer]),
        authorizer=Permissions(cluster, house.policies, seconds),
        token_uses=TokenUses(store, "rollout", clock, seconds),
    )


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """All that is logged, at the lowest level there is."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    telemetry.configure("json", "debug", stream)
    # The tests' own client, which writes down what it asks.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    yield stream
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
