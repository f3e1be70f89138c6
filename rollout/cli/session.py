"""One run of a verb against a cluster: what it stands on, how it connects, what each failure means to the user.

Belongs here: from options to a connection, from the ports' exceptions to exit codes. Not here: what a verb does.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rollout.cli.exits import ExitCode, Stop

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from rollout.core.policy import ServicePolicy
    from rollout.core.release import Release
    from rollout.ports import Clock, Metrics, Policies, Preflight, Releases
    from rollout.settings import Settings

T = TypeVar("T")


class Connection(Protocol):
    """What a verb needs of a cluster; `assembly.Connection` has it."""

    @property
    def releases(self) -> "Releases":
        """The Release objects."""
        ...

    @property
    def policies(self) -> "Policies":
        """The policies that are objects."""
        ...

    @property
    def clock(self) -> "Clock":
        """The time."""
        ...

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's context."""
        ...


class Assembly(Protocol):
    """What the command line needs of `rollout.assembly`; tests put another one in its place."""

    def cluster(self, kubeconfig: Path | None, context: str | None) -> AbstractAsyncContextManager[Connection]:
        """A connection to the Kubernetes API. Raises Outage or Refused."""
        ...

    def read_policies(self, paths: Sequence[Path]) -> tuple[tuple[tuple[Path, "ServicePolicy"], ...], tuple[str, ...]]:
        """The policies in these files, and every problem as `file:line:col: path: message`."""
        ...

    def metrics(
        self, url: str, token_file: Path | None, timeout: "timedelta", domain: str, matchers: Sequence[str] = ()
    ) -> AbstractAsyncContextManager["Metrics"]:
        """The way to Prometheus; `timeout` is for one answer."""
        ...

    def preflight(
        self,
        kubeconfig: Path | None,
        context: str | None,
        url: str,
        token_file: Path | None,
        timeout: "timedelta",
        domain: str,
        matchers: Sequence[str] = (),
    ) -> AbstractAsyncContextManager["Preflight"]:
        """What looks around a route, at a cluster and a Prometheus. Raises Outage or Refused."""
        ...

    def now(self) -> "datetime":
        """The time, without a cluster."""
        ...

    def serve(self, settings: "Settings") -> int:
        """Run the controller until a signal; the exit code."""
        ...


def _the_real_one() -> Assembly:
    from rollout import assembly

    return assembly


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long we look, in seconds."""

    poll: float = 0.5
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
class Session:
    """The global options of one run."""

    surroundings: Surroundings = field(default_factory=Surroundings)
    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None

    def narrowed(self, kubeconfig: Path | None, context: str | None, namespace: str | None) -> "Session":
        """The same with the options that were given after the verb, which win over those before it."""
        return replace(
            self,
            kubeconfig=kubeconfig or self.kubeconfig,
            context=context or self.context,
            namespace=namespace or self.namespace,
        )

    def run(self, verb: "Callable[[Access], Awaitable[T]]") -> T:
        """Connect, run the verb, close. Raises Stop for whatever went wrong, and only a defect as anything else."""
        import asyncio

        return asyncio.run(self._run(verb))

    async def _run(self, verb: "Callable[[Access], Awaitable[T]]") -> T:
        async with self._connected() as connection:
            with reported():
                return await verb(Access(connection, self.namespace or connection.namespace, self.surroundings))

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        from rollout.ports import Outage, Refused

        async with contextlib.AsyncExitStack() as stack:
            try:
                cluster = self.surroundings.assembly().cluster(self.kubeconfig, self.context)
                connection = await stack.enter_async_context(cluster)
            except (Outage, Refused) as error:
                raise Stop(
                    ExitCode.UNREACHABLE, f"{error}\nname another cluster with --kubeconfig or --context"
                ) from error
            yield connection


@dataclass(frozen=True, slots=True)
class Access:
    """A connected session: where the releases are, and in which namespace we were told to look."""

    connection: Connection
    namespace: str
    surroundings: Surroundings

    @property
    def releases(self) -> "Releases":
        """The Release objects."""
        return self.connection.releases

    @property
    def clock(self) -> "Clock":
        """The time."""
        return self.connection.clock

    @property
    def elsewhere(self) -> str:
        """` -n shop`, for a command that is hinted at; "" in the namespace of the context."""
        from rollout.cli.narrative import elsewhere

        return elsewhere(self.namespace, self.connection.namespace)

    async def find(self, name_or_service: str) -> "Release":
        """The release of this id, or the newest of this service, one that is under way first. Stop if there is none."""
        from rollout import commands
        from rollout.ports import NotFound

        try:
            return await commands.find(self.releases, self.namespace, name_or_service)
        except NotFound as error:
            raise Stop(
                ExitCode.USAGE,
                f"no release and no service with releases is called {name_or_service} in namespace {self.namespace}\n"
                "`rollout status -A` lists what there is",
            ) from error


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
    from rollout.ports import Conflict, NotFound, Outage, Refused

    denied = isinstance(error, Refused) and isinstance(error, Outage)
    match error:
        case _ if denied:
            hint = "ask whoever runs the cluster for access to releases.rollout.dev (and whether the CRD is installed)"
            return Stop(ExitCode.NOT_ALLOWED, f"{error}\n{hint}")
        case Refused():
            return Stop(ExitCode.REFUSED, str(error))
        case NotFound():
            return Stop(ExitCode.USAGE, f"{error}\n`rollout status -A` lists what there is")
        case Conflict():
            return Stop(ExitCode.UNREACHABLE, f"{error}\nsomebody else keeps changing it; try again")
        case _:
            return Stop(ExitCode.UNREACHABLE, f"{error}\nnothing was changed that we know of; try again")
