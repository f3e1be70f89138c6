"""What a verb is connected to, and who connects it, as protocols: `assembly` has them, tests put others in their place.

Belongs here: what is needed of the other side. Does not belong here: which side is meant (`session.py`).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from rollout.core.policy import ServicePolicy
    from rollout.core.preflight import Report
    from rollout.core.release import Release
    from rollout.desk import Desk
    from rollout.ports import Clock, Metrics, Policies, Preflight
    from rollout.settings import ApiSettings, Settings

HOME = "rollout"
"""Where the controller is, unless $ROLLOUT_HOME says otherwise: a freeze of everything is an object there."""


class Connection(Protocol):
    """What every verb needs, whichever way it takes; `assembly` has one for each."""

    @property
    def desk(self) -> "Desk":
        """Who is asked."""
        ...

    @property
    def clock(self) -> "Clock":
        """The time."""
        ...

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's context; `default` over HTTP."""
        ...


class Cluster(Connection, Protocol):
    """What a kubeconfig gives besides; `assembly.Connection` has it."""

    @property
    def policies(self) -> "Policies":
        """The policies that are objects."""
        ...


@runtime_checkable
class Patient(Protocol):
    """A desk that answers when there is something new."""

    async def newer(self, release: "Release", within: float) -> "Release | None":
        """The release as soon as it is another revision, or as it is after `within` seconds; None if it is gone."""
        ...


@runtime_checkable
class Surveyor(Protocol):
    """A desk that looks around a route itself."""

    async def preflight(self, namespace: str, service: str, version: str) -> "tuple[str, Report]":
        """Which policy it looked with, for people; what it found. Raises Outage, Refused."""
        ...


class Assembly(Protocol):
    """What the command line needs of `rollout.assembly`; tests put another one in its place."""

    def cluster(
        self, kubeconfig: Path | None, context: str | None, home: str = HOME
    ) -> AbstractAsyncContextManager[Cluster]:
        """A connection to the Kubernetes API; `home` is the controller's namespace. Raises Outage or Refused."""
        ...

    def remote(
        self, url: str, token: Callable[[], str | None], ca_file: Path | None, *, env_proxy: bool
    ) -> AbstractAsyncContextManager[Connection]:
        """A connection to our HTTP API. Raises Refused where the files that are named cannot be read."""
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

    def serve_api(self, settings: "ApiSettings") -> int:
        """Run the HTTP API until a signal; the exit code."""
        ...
