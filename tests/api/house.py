"""The API on fakes, or on the embedded Kubernetes API: what its tests stand in."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
from fastapi import FastAPI

from rollout.adapters.policy_yaml import PolicyErrors, read
from rollout.administration import Api
from rollout.api import connections
from rollout.api.application import application
from rollout.api.backing import Backing, Checked, Misfit
from rollout.api.connections import Connection
from rollout.commands.desk import LocalDesk
from rollout.core.access import Identity, Right
from rollout.core.policy import PolicySpec
from rollout.core.release import Release, ReleaseSpec, Status
from rollout.core.route import Problem
from tests.fakes.access import FakeAuthenticator, FakeAuthorizer, FakeTokenUses
from tests.fakes.clock import FakeClock
from tests.fakes.freezes import FakeFreezes
from tests.fakes.preflight import FakePreflight
from tests.fakes.releases import FakeReleases
from tests.given import NOW, POLICY

ANN, BEN, JOB = "ann-token", "ben-token", "job-token"
START = {"namespace": "shop", "service": "checkout", "version": "v2"}
ISSUER = "github"
JOB_RIGHTS = (Right.CREATE, Right.GET, Right.ABORT)
PLENTY = Api(per_minute=100_000, burst=10_000)


class Policies:
    """`ports.Policies` with one policy for every service, or a reason why there is none."""

    def __init__(self) -> None:
        self.found: PolicySpec | Problem = POLICY

    async def find(self, namespace: str, service: str) -> PolicySpec | Problem:
        del namespace, service
        return self.found


def check(text: bytes) -> Checked:
    """As `assembly.py` has it."""
    try:
        return read(text, ""), ()
    except PolicyErrors as errors:
        return (), tuple(Misfit(one.line, one.column, one.path, one.message) for one in errors.errors)


@dataclass
class House:
    """Ann may do everything, Ben nothing yet; the job may release checkout in shop."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    seconds: float = 0.0
    """What the API's monotonic clock says."""

    def __post_init__(self) -> None:
        self.releases = FakeReleases(self.clock)
        self.freezes = FakeFreezes(home="rollout")
        self.policies = Policies()
        self.preflight = FakePreflight()
        job = Identity(name="github:repo:acme/checkout", issuer=ISSUER, claims={"jti": "1"})
        self.authenticator = FakeAuthenticator({ANN: Identity("ann", ("devs",)), BEN: Identity("ben"), JOB: job})
        self.authorizer = FakeAuthorizer(everything=["ann"])
        self.authorizer.services = {(ISSUER, right, "shop", "checkout") for right in JOB_RIGHTS}
        self.token_uses = FakeTokenUses()
        self.is_ready = True
        self.backing = Backing(
            desk=LocalDesk(self.releases, self.freezes, self.clock),
            authenticator=self.authenticator,
            authorizer=self.authorizer,
            token_uses=self.token_uses,
            policies=self.policies,
            clock=self.clock,
            check=check,
            preflight=self.preflight,
            limits=PLENTY,
            is_ready=lambda: self.is_ready,
            unchanged=self.releases.unchanged,
            look_seconds=0.01,
            ping_seconds=0.05,
        )

    def but(self, **other: Any) -> "House":
        """With another backing."""
        self.backing = replace(self.backing, **other)
        return self

    def application(self) -> FastAPI:
        """The API itself."""
        return application(self.backing, lambda: self.seconds)

    @asynccontextmanager
    async def client(self, token: str = ANN) -> AsyncIterator[httpx2.AsyncClient]:
        """Somebody who asks, without a socket between."""
        transport = httpx2.ASGITransport(self.application())
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
            yield client

    async def started(
        self, status: Status | None = None, *, service: str = "checkout", version: str = "v2", namespace: str = "shop"
    ) -> Release:
        """A release that is there, in some state."""
        spec = ReleaseSpec(service=service, version=version)
        made = await self.releases.create(namespace, f"{service}-{version}", spec)
        return made if status is None else await self.releases.save(made, status)


@dataclass(frozen=True)
class Served:
    """An API that listens."""

    url: str
    host: str
    port: int
    closing: asyncio.Event
    serving: "asyncio.Task[None]"


@asynccontextmanager
async def served(house: House, protocol: type[Connection] = Connection) -> AsyncIterator[Served]:
    """The API on a loopback port, until the block ends."""
    listener = connections.listening("127.0.0.1:0")
    host, port = listener.getsockname()
    serving = asyncio.create_task(
        connections.serve(listener, house.application(), house.backing.closing, protocol=protocol)
    )
    try:
        yield Served(f"http://{host}:{port}", host, port, house.backing.closing, serving)
    finally:
        house.backing.closing.set()
        await serving


def bearer(token: str, **more: str) -> dict[str, str]:
    """Headers."""
    return {"authorization": f"Bearer {token}"} | more


def names(items: Sequence[dict[str, Any]]) -> list[str]:
    """Of releases."""
    return [one["name"] for one in items]
