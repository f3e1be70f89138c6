"""One run of a verb: what it stands on, which way to the releases it takes, what each failure means to the user.

Belongs here: from options to a desk, from the ports' exceptions to exit codes. Not here: reading the options of the
HTTP API (`reaching.py`), what a verb does.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rollout.cli.connecting import HOME, Assembly, Cluster, Connection, Patient
from rollout.cli.exits import ExitCode, Stop

if TYPE_CHECKING:
    from rollout.cli.reaching import Reach
    from rollout.core.release import Release
    from rollout.desk import Desk
    from rollout.ports import Clock

T = TypeVar("T")
KUBERNETES = "the Kubernetes API"
_DENIED = "ask whoever runs the cluster for access to releases.rollout.dev (and whether the CRD is installed)"


def _the_real_one() -> Assembly:
    from rollout import assembly

    return assembly


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long we look, in seconds."""

    poll: float = 0.5
    far_poll: float = 2.0
    """The same over HTTP, where requests of one caller are counted."""
    long_poll: float = 10.0
    """How long an answer over HTTP may wait for something new."""
    answer: float = 5.0
    """One request that takes longer than this is an outage."""
    unclaimed: float = 30.0
    """A controller that works picks a release up sooner."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process stands on. `main` uses the defaults."""

    assembly: Callable[[], Assembly] = _the_real_one
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class Far:
    """The options of the HTTP API as they were given; `reaching.py` knows what they mean."""

    server: str | None = None
    token_file: Path | None = None
    token_env: str | None = None
    ca_file: Path | None = None
    insecure_http: bool = False
    env_proxy: bool = False

    def over(self, other: "Far") -> "Far":
        """These, and what is not given here as it is there."""
        ours_names_a_token = self.token_file is not None or self.token_env is not None
        return Far(
            server=self.server or other.server,
            token_file=self.token_file if ours_names_a_token else other.token_file,
            token_env=self.token_env if ours_names_a_token else other.token_env,
            ca_file=self.ca_file or other.ca_file,
            insecure_http=self.insecure_http or other.insecure_http,
            env_proxy=self.env_proxy or other.env_proxy,
        )


@dataclass(frozen=True, slots=True)
class Session:
    """The global options of one run."""

    surroundings: Surroundings = field(default_factory=Surroundings)
    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None
    far: Far = field(default_factory=Far)

    def narrowed(
        self,
        kubeconfig: Path | None,
        context: str | None,
        namespace: str | None,
        far: Far = Far(),
    ) -> "Session":
        """The same with the options that were given after the verb, which win over those before it."""
        return replace(
            self,
            kubeconfig=kubeconfig or self.kubeconfig,
            context=context or self.context,
            namespace=namespace or self.namespace,
            far=far.over(self.far),
        )

    @property
    def named_namespace(self) -> str | None:
        """The namespace that the options name, or the environment."""
        return self.namespace or self.surroundings.environ.get("ROLLOUT_NAMESPACE") or None

    @property
    def reach(self) -> "Reach | None":
        """The HTTP API that is to be asked; None for the Kubernetes API. Raises typer.BadParameter."""
        environ = self.surroundings.environ
        named = self.kubeconfig is not None or self.context is not None
        if self.far.server is None and (named or not environ.get("ROLLOUT_SERVER")):
            return None
        from rollout.cli.reaching import reach_of

        return reach_of(self.far, environ, kubeconfig_too=named)

    def run(self, verb: "Callable[[Access], Awaitable[T]]") -> T:
        """Connect, run the verb, close. Raises Stop for whatever went wrong, and only a defect as anything else."""
        reach = self.reach
        return asyncio.run(self._run(verb, reach))

    def on_the_cluster(self, verb: "Callable[[Access, Cluster], Awaitable[T]]") -> T:
        """The same, by the kubeconfig whatever else is named, for a verb that looks at more than releases."""
        return asyncio.run(self._run_on_cluster(verb))

    async def _run(self, verb: "Callable[[Access], Awaitable[T]]", reach: "Reach | None") -> T:
        async with self._connected(reach) as connection:
            with reported():
                return await verb(self._access(connection, reach))

    async def _run_on_cluster(self, verb: "Callable[[Access, Cluster], Awaitable[T]]") -> T:
        async with self._on_cluster() as cluster:
            with reported():
                return await verb(self._access(cluster, None), cluster)

    def _access(self, connection: Connection, reach: "Reach | None") -> "Access":
        namespace = self.named_namespace or connection.namespace
        other_side = KUBERNETES if reach is None else f"the API at {reach.url}"
        return Access(connection, namespace, self.surroundings, other_side, "" if reach is None else reach.url)

    @contextlib.asynccontextmanager
    async def _connected(self, reach: "Reach | None") -> AsyncIterator[Connection]:
        from rollout.ports import Refused

        if reach is None:
            async with self._on_cluster() as cluster:
                yield cluster
            return
        async with contextlib.AsyncExitStack() as stack:
            try:
                assembly = self.surroundings.assembly()
                remote = assembly.remote(reach.url, reach.token, reach.ca_file, env_proxy=reach.env_proxy)
                connection = await stack.enter_async_context(remote)
            except Refused as error:
                raise Stop(ExitCode.USAGE, str(error)) from error
            yield connection

    @contextlib.asynccontextmanager
    async def _on_cluster(self) -> AsyncIterator[Cluster]:
        from rollout.ports import Outage, Refused

        async with contextlib.AsyncExitStack() as stack:
            try:
                home = self.surroundings.environ.get("ROLLOUT_HOME") or HOME
                cluster = self.surroundings.assembly().cluster(self.kubeconfig, self.context, home)
                connection = await stack.enter_async_context(cluster)
            except (Outage, Refused) as error:
                raise Stop(
                    ExitCode.UNREACHABLE, f"{error}\nname another cluster with --kubeconfig or --context"
                ) from error
            yield connection


@dataclass(frozen=True, slots=True)
class Access:
    """A connected session: who is asked, and about which namespace."""

    connection: Connection
    namespace: str
    surroundings: Surroundings
    other_side: str = KUBERNETES
    """Who answers, or does not, in words."""
    address: str = ""
    """Of the HTTP API that is asked, without a slash at its end; "" over a kubeconfig."""

    @property
    def far(self) -> bool:
        """Whether it is the HTTP API that is asked."""
        return bool(self.address)

    @property
    def desk(self) -> "Desk":
        """Who is asked."""
        return self.connection.desk

    @property
    def clock(self) -> "Clock":
        """The time."""
        return self.connection.clock

    @property
    def home(self) -> str:
        """The namespace that a command means which names none."""
        return self.surroundings.environ.get("ROLLOUT_NAMESPACE") or self.connection.namespace

    @property
    def elsewhere(self) -> str:
        """` -n shop`, for a command that is hinted at; "" in the namespace that is meant anyway."""
        from rollout.cli.narrative import elsewhere

        return elsewhere(self.namespace, self.home)

    @property
    def between_looks(self) -> float:
        """How long to wait before the same is asked for again, in seconds."""
        pace = self.surroundings.pace
        return pace.far_poll if self.far else pace.poll

    async def find(self, name_or_service: str) -> "Release":
        """The release of this id, or the one that is meant by this service's name. Stop if there is none."""
        from rollout.cli.views import meant_of
        from rollout.ports import Outage, Refused

        denied: Refused | None = None
        try:
            if (release := await self.desk.get(self.namespace, name_or_service)) is not None:
                return release
        except Refused as error:
            # A CI job may look at its own service only, and is told nothing of names that are no release of it.
            if not isinstance(error, Outage):
                raise
            denied = error
        try:
            of_service = await self.desk.list(self.namespace, name_or_service)
        except Refused as error:
            raise denied or error from error
        if not of_service:
            raise Stop(
                ExitCode.USAGE,
                f"no release and no service with releases is called {name_or_service} in namespace {self.namespace}\n"
                "`rollout status -A` lists what there is",
            )
        return meant_of(of_service)

    async def look(self, name: str, after: "Release | None" = None) -> "Release | None":
        """The release as it is now; with `after` a moment later, or over HTTP as soon as it changed.

        None if it is gone. Raises Outage, also where the answer takes too long; Refused.
        """
        pace, desk = self.surroundings.pace, self.desk
        if after is not None and isinstance(desk, Patient):
            return await self.in_time(desk.newer(after, pace.long_poll), pace.long_poll)
        if after is not None:
            await asyncio.sleep(pace.poll)
        return await self.in_time(desk.get(self.namespace, name))

    async def in_time(self, asking: "Awaitable[T]", longer: float = 0.0) -> T:
        """What is asked for; Outage where the answer takes too long. `longer` is in seconds."""
        from rollout.ports import Outage

        try:
            async with asyncio.timeout(self.surroundings.pace.answer + longer):
                return await asking
        except TimeoutError as error:
            raise Outage("no answer in time") from error


@contextlib.contextmanager
def reported() -> Any:
    """Turn the ports' exceptions into Stop: the code, the words, what to do next."""
    from rollout.ports import Conflict, NotFound, Outage, Refused

    try:
        yield
    except (Outage, Refused, Conflict, NotFound) as error:
        raise stop_for(error) from error


def stop_for(error: Exception) -> Stop:
    """What a failed request means to whoever typed the command."""
    from rollout.desk import Busy, Frozen
    from rollout.ports import Conflict, NotFound, Outage, Refused

    remedies = {
        Busy: "`rollout start … --on-conflict queue` waits for it, `supersede` puts its traffic back first",
        Frozen: "`rollout start … --on-conflict queue` starts it once that is over",
    }
    denied = isinstance(error, Refused) and isinstance(error, Outage)
    match error:
        case _ if denied:
            return Stop(ExitCode.NOT_ALLOWED, f"{error}\n{getattr(error, 'remedy', _DENIED)}")
        case Refused():
            remedy = next((f"\n{said}" for kind, said in remedies.items() if isinstance(error, kind)), "")
            return Stop(ExitCode.REFUSED, f"{error}{remedy}")
        case NotFound():
            return Stop(ExitCode.USAGE, f"{error}\n`rollout status -A` lists what there is")
        case Conflict():
            return Stop(ExitCode.UNREACHABLE, f"{error}\nsomebody else keeps changing it; try again")
        case _:
            return Stop(ExitCode.UNREACHABLE, f"{error}\nnothing was changed that we know of; try again")
