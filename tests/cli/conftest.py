"""The command line in this process, on releases in memory: what a user types in, what a user sees out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rollout import assembly
from rollout.cli.main import run
from rollout.cli.session import Pace, Surroundings
from rollout.commands import LocalDesk
from rollout.core.access import Right
from rollout.core.policy import PolicySpec, ServicePolicy
from rollout.core.preflight import Report
from rollout.core.release import FINALIZER, Release, Status
from rollout.core.route import Problem, Target, Unavailable
from rollout.desk import Caller
from rollout.ports import Metrics, Preflight, Refused
from rollout.settings import ApiSettings, Settings
from tests.cli.api_thread import TOKEN, ApiThread
from tests.fakes.access import FakeAuthenticator, FakeAuthorizer
from tests.fakes.freezes import FakeFreezes
from tests.fakes.metrics import FakeMetrics
from tests.fakes.preflight import FakePreflight
from tests.fakes.releases import FakeReleases
from tests.given import NOW

QUICK = Pace(poll=0.005, far_poll=0.005, long_poll=0.05, answer=2.0, unclaimed=0.05)
MISSING = "/nonexistent"
Act = Callable[["Cluster"], None]


@dataclass
class Clock:
    """Stands still unless a test moves it."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at


class Cluster(FakeReleases):
    """Releases in memory, and a controller that plays one act per look at a release."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.acts: list[Act] = []
        self.refusal: Exception | None = None

    async def get(self, namespace: str, name: str) -> Release | None:
        found = await super().get(namespace, name)
        if found is not None and self.acts:
            self.acts.pop(0)(self)
            return await super().get(namespace, name)
        return found

    def _answer(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        super()._answer()

    def set_status(self, name: str, status: Status) -> None:
        """What the controller of a real cluster would have saved."""
        self.edit("shop", name, lambda obj: obj.update(status=status.wire()))

    def hold_all(self) -> None:
        """As the controller does before it moves any traffic."""
        for key in self._objects:
            self.edit(*key, lambda obj: obj["metadata"].update(finalizers=[FINALIZER]))

    def only(self) -> Release:
        """The one release there is."""
        [found] = asyncio.run(self.list(None))
        return found


@dataclass
class Policies:
    """The policies that are objects: one for every service, or why there is none."""

    found: PolicySpec | Problem = field(default_factory=lambda: Problem("no-policy", "there is no ServicePolicy"))

    async def find(self, namespace: str, service: str) -> PolicySpec | Problem:
        del namespace, service
        return self.found


@dataclass
class Connection:
    desk: LocalDesk
    clock: Clock
    policies: Policies
    namespace: str = "shop"


@dataclass
class Assembly:
    """Stands where `rollout.assembly` does: no Kubernetes, but the real reader of policies."""

    cluster_of: dict[str | None, Cluster]
    clock: Clock
    served: list[Settings] = field(default_factory=list)
    api_served: list[ApiSettings] = field(default_factory=list)
    prometheus: FakeMetrics = field(default_factory=FakeMetrics)
    surroundings: FakePreflight = field(default_factory=FakePreflight)
    policies: Policies = field(default_factory=Policies)
    freezes: FakeFreezes = field(default_factory=FakeFreezes)
    may: dict[str, bool] = field(default_factory=lambda: {right.value: True for right in Right})

    @contextlib.asynccontextmanager
    async def cluster(
        self, kubeconfig: Path | None, context: str | None, home: str = "rollout"
    ) -> AsyncIterator[Connection]:
        assert home == self.freezes.home
        if str(kubeconfig) == MISSING:
            raise Refused(f"there is no kubeconfig file {kubeconfig}")
        yield Connection(self.desk(context), self.clock, self.policies)

    @contextlib.asynccontextmanager
    async def remote(
        self, url: str, token: Callable[[], str | None], ca_file: Path | None, *, env_proxy: bool
    ) -> AsyncIterator[assembly.Remote]:
        async with assembly.remote(url, token, ca_file, env_proxy=env_proxy) as real:
            yield replace(real, clock=self.clock)

    def desk(self, context: str | None = None) -> LocalDesk:
        async def whoami(_namespace: str) -> Caller:
            self.cluster_of[context]._answer()
            return Caller("github:ann", ("builders",), self.may)

        return LocalDesk(self.cluster_of[context], self.freezes, self.clock, whoami=whoami)

    def read_policies(self, paths: Sequence[Path]) -> tuple[tuple[tuple[Path, ServicePolicy], ...], tuple[str, ...]]:
        return assembly.read_policies(paths)

    @contextlib.asynccontextmanager
    async def metrics(
        self, url: str, _token: Path | None, _timeout: timedelta, _domain: str, _matchers: Sequence[str] = ()
    ) -> AsyncIterator[Metrics]:
        assert url
        yield self.prometheus

    @contextlib.asynccontextmanager
    async def preflight(
        self,
        _kubeconfig: Path | None,
        _context: str | None,
        url: str,
        _token: Path | None,
        _timeout: timedelta,
        _domain: str,
        _matchers: Sequence[str] = (),
    ) -> AsyncIterator[Preflight]:
        assert url
        yield self.surroundings

    def now(self) -> datetime:
        return self.clock.now()

    def serve(self, settings: Settings) -> int:
        self.served.append(settings)
        return 0

    def serve_api(self, settings: ApiSettings) -> int:
        self.api_served.append(settings)
        return 0


@dataclass(frozen=True)
class Around:
    """Whatever looks around routes by the time it is asked."""

    assembly: Assembly

    async def inspect(self, target: Target, policy: PolicySpec) -> Report | Unavailable:
        return await self.assembly.surroundings.inspect(target, policy)


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


class Terminal:
    """Types commands: over a kubeconfig, or (`far`) to the HTTP API with `ROLLOUT_SERVER` and a token."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.clock = Clock()
        self.cluster = Cluster(self.clock)
        self.elsewhere = Cluster(self.clock)
        self.assembly = Assembly({None: self.cluster, "other": self.elsewhere}, self.clock)
        self.environ: dict[str, str] = {"GITHUB_ACTOR": "ann"}
        self.far = False
        self.authorizer = FakeAuthorizer(everything=["github:ann"])
        """What the HTTP API lets us do."""
        self.authenticator = FakeAuthenticator()
        """Whom it knows."""

    def __call__(self, *arguments: str) -> Ran:
        self._capture.readouterr()
        code = run(arguments, Surroundings(assembly=lambda: self.assembly, environ=self.environ, pace=QUICK))
        out, err = self._capture.readouterr()
        return Ran(code, out, err)

    def given(self, release: Release) -> Release:
        """Have this release on the cluster, status and all; its creation time is the clock's."""

        async def put() -> Release:
            made = await self.cluster.create(release.namespace, release.name, release.spec)
            return await self.cluster.save(made, release.status)

        return asyncio.run(put())

    def now(self, verb: Awaitable[object]) -> None:
        """Run a port's method from a test that is not asynchronous itself."""

        async def once() -> None:
            await verb

        asyncio.run(once())


@pytest.fixture
def nearby(capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Over a kubeconfig only: for what the other way does not have, or has elsewhere."""
    return Terminal(capsys)


@pytest.fixture
def afar(nearby: Terminal) -> Iterator[Terminal]:
    """To the HTTP API only."""
    made = nearby.assembly
    api = ApiThread(made.desk(), nearby.clock, made.policies, Around(made), authorizer=nearby.authorizer)
    with capture_logs(), api:
        nearby.environ |= {"ROLLOUT_SERVER": api.url, "ROLLOUT_TOKEN": TOKEN, "ROLLOUT_NAMESPACE": "shop"}
        nearby.far, nearby.authenticator = True, api.authenticator
        yield nearby


@pytest.fixture(params=["nearby", "afar"])
def rollout(request: pytest.FixtureRequest) -> Terminal:
    """One suite, both ways."""
    terminal: Terminal = request.getfixturevalue(request.param)
    return terminal
