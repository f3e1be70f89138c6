"""What the shell needs from the outside, as protocols. Adapters implement them; only `assembly.py` knows which.

Every method may raise `Outage` (the system could not be asked; try again later) and nothing else but what it names.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from rollout.core.access import Identity, Right
from rollout.core.checks import CustomCheck
from rollout.core.counts import Samples
from rollout.core.events import Notice, Scalar
from rollout.core.freeze import Freeze, FreezeSpec
from rollout.core.gating import Answer, Question
from rollout.core.judging.gates import Readings
from rollout.core.lease import Claim, Lease
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Report
from rollout.core.release import Delivered, Release, ReleaseSpec, Status
from rollout.core.route import Gone, Mesh, Problem, Route, Target, Unavailable
from rollout.core.workload import Health


class Outage(Exception):  # noqa: N818 - an outage is no programming error
    """An outside system did not answer, or answered that it cannot now. Says which and how."""


class Conflict(Exception):  # noqa: N818 - losing a compare-and-set is no programming error
    """The object changed since it was read. Nothing was written."""


class Refused(Exception):  # noqa: N818 - a refusal is an answer
    """The system understood and said no: not allowed, not valid, already taken. Says why."""


class NotFound(Exception):  # noqa: N818 - absence is an answer
    """There is no such object."""


class Releases(Protocol):
    """The Release objects. Wishes go to `spec`, memory to `status`; one writer each.

    An object whose spec does not fit the model is still a Release: its `problem` says what is wrong, and its spec holds
    what could be saved (service and version from the status's copies, else from the spec, else `unreadable`): a release
    under way must be rolled back even when somebody spoilt its spec. A status that does not fit is a problem too; it is
    read as `Status(phase=Failed)`, so that nothing is decided on it and nothing overwrites it.
    """

    async def get(self, namespace: str, name: str) -> Release | None:
        """The release as the API server holds it now; None if there is none."""
        ...

    async def list(self, namespace: str | None, service: str | None = None) -> Sequence[Release]:
        """All releases (of one service), oldest first."""
        ...

    async def create(self, namespace: str, name: str, spec: ReleaseSpec, key_hash: str = "") -> Release:
        """Make a new one. Raises Conflict if the name is taken, Refused if the server does not accept it."""
        ...

    async def wish(self, release: Release, spec: ReleaseSpec) -> Release:
        """Replace the wishes. Raises Conflict if the release changed since, NotFound if it is gone."""
        ...

    async def save(self, release: Release, status: Status) -> Release:
        """Replace the status. Raises Conflict if the release changed since, NotFound if it is gone."""
        ...

    async def hold(self, release: Release) -> None:
        """Put our finalizer on: deleted, it stays until `let_go`. Raises Conflict, NotFound; Refused if not allowed."""
        ...

    async def let_go(self, release: Release) -> None:
        """Take our finalizer off; one that is gone is fine. Raises Conflict; Refused if not allowed."""
        ...

    def unchanged(self, release: Release) -> bool:
        """Whether the watch is alive and says that nobody has changed the release since it was read or saved."""
        ...

    def superseder(self, release: Release) -> str:
        """Name of a pending release of the same service, made later, that asks for this one to be put back; "" if none.

        What the watch told; it costs nothing to ask. Pending means Queued: one whose own time has not come supersedes
        nobody yet.
        """
        ...

    def unfinished(self, namespace: str, service: str) -> tuple[tuple[str, str], ...] | None:
        """Keys of the releases of a service that are not over, oldest first; None where no watch is alive.

        What the watch told; it costs nothing to ask.
        """
        ...

    def watch(self, namespace: str | None) -> AsyncGenerator[Release, None]:
        """All releases, then those that are new, deleted but held, or of a changed `spec`; ends with Outage.

        Use `aclosing`.
        """
        ...


class Traffic(Protocol):
    """The mesh. A precise edit or none: nothing but weights and our own route entries ever changes."""

    async def observe(self, target: Target, *, remembered: bool = False) -> Mesh | Gone | Unavailable:
        """Read the route; `remembered`: what a watch told a moment ago will do. Never raises."""
        ...

    async def set_route(self, target: Target, route: Route, seen: Mesh) -> None:
        """Order it. Raises Conflict if it changed since `seen` or carries a newer epoch, Refused if not accepted."""
        ...

    async def drop_destination(self, target: Target, version: str, seen: Mesh) -> None:
        """Take a version without traffic out of the route. Raises Conflict, Refused."""
        ...

    async def add_subset(self, target: Target, version: str) -> None:
        """Copy stable's subset for `version`, if it is not there. Raises Conflict, Refused, NotFound."""
        ...

    async def drop_subset(self, target: Target, version: str) -> None:
        """Remove the version's subset, unless a VirtualService of the namespace names it. Raises Conflict, Refused."""
        ...


class Workloads(Protocol):
    """The Deployments, which are CI's; we only read them."""

    async def health(self, namespace: str, deployment: str, *, remembered: bool = False) -> Health | Unavailable:
        """How a version's pods are; `remembered`: what a watch told a moment ago will do. Never raises."""
        ...


class Freezes(Protocol):
    """The Freeze objects: of a namespace, of one of its services, of everything."""

    async def of(self, namespace: str, service: str, *, remembered: bool = False) -> tuple[Freeze, ...] | Unavailable:
        """Those that concern a service, ended ones too; `remembered`: what a watch told a moment ago will do.

        Never raises: what cannot be read keeps everybody where they are.
        """
        ...

    async def list(self, namespace: str | None) -> Sequence[Freeze]:
        """Those of a namespace and those of everything; of all namespaces with None. Raises Refused."""
        ...

    async def put(self, namespace: str | None, spec: FreezeSpec) -> Freeze:
        """Set it, in place of one of the same scope; `namespace` None with `everywhere`. Raises Refused, NotFound."""
        ...

    async def remove(self, namespace: str | None, service: str | None) -> bool:
        """Lift the one of this scope; False if there is none. Raises Refused."""
        ...


class Gatekeeper(Protocol):
    """Who asks webhooks and Jobs. A question takes its time; nobody waits for it."""

    def ask(self, question: Question) -> Answer | None:
        """The answer to this very attempt; None while it is being asked, which the first call begins. Never raises."""
        ...

    def forget(self, uid: str) -> None:
        """Nobody will ask for this release again."""
        ...


class Notifier(Protocol):
    """Who tells channels. A channel takes its time; nobody waits for it."""

    def offer(self, release: Release) -> None:
        """Tell every channel that wants to know what it has not been told of the release's outbox. Never raises."""
        ...

    def delivered(self, release: Release) -> Mapping[str, Delivered]:
        """By channel that wants to know of this release: how far it has been told, or given up."""
        ...

    def forget(self, uid: str) -> None:
        """Nothing more is owed to anybody about this release."""
        ...


class Preflight(Protocol):
    """What is around the route: everything that would make a release hurt, or blind."""

    async def inspect(self, target: Target, policy: PolicySpec) -> Report | Unavailable:
        """Look at all of it. Never raises; what may not be read is a finding."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose requests to look for, in the words of the metrics."""

    namespace: str
    service: str
    canary: str
    stable: str
    policy: MetricsPolicy
    bounds_ms: tuple[float, ...]
    versions: tuple[str, str] = ("", "")
    """The canary's and stable's version, whatever label tells them apart."""
    workloads: tuple[str, str] = ("", "")
    """Their Deployments."""
    interval: timedelta = timedelta(seconds=15)
    """Time between scrapes."""
    hosts: tuple[str, ...] = ()
    """The canary's and stable's own Service, of the same namespace, where a host split tells the versions apart."""


class Metrics(Protocol):
    """Prometheus: raw samples or a reason, never a number that might be wrong."""

    async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
        """Everything counted about the subject from before `since` until `now`. Never raises."""
        ...

    async def readings(self, subject: Subject, custom: Sequence[CustomCheck], now: datetime) -> Readings | Unavailable:
        """The saturation of both versions and the custom checks' values, as they are now. Never raises."""
        ...


class Policies(Protocol):
    """The policies the controller knows."""

    async def find(self, namespace: str, service: str) -> PolicySpec | Problem:
        """The last good policy of a service, or why there is none. Raises Outage if that cannot be known now."""
        ...


class Announcer(Protocol):
    """Where events go."""

    async def announce(self, release: Release, notice: Notice) -> None:
        """Tell it; telling the same notice (same sequence) again is harmless."""
        ...

    async def record(self, release: Release, name: str, fields: Mapping[str, Scalar]) -> None:
        """Write an event of the catalogue that only describes this cycle: lost in a crash, never owed to anybody."""
        ...


class Leases(Protocol):
    """The one Lease that the controllers of a shard compete for."""

    async def get(self) -> Lease | None:
        """The Lease as the API server holds it now; None if there is none."""
        ...

    async def put(self, claim: Claim, over: Lease | None) -> Lease:
        """Write the claim over what was read, or make the Lease where there was none.

        Raises Conflict if it is another one by now; one that was deleted is made again. NotFound, Refused if there
        can be none.
        """
        ...

    def watch(self, since: Lease) -> AsyncGenerator[Lease | None, None]:
        """Every state after `since`, None when it was deleted; ends now and then. Use `aclosing`."""
        ...


class Fence(Protocol):
    """Whether we are the one who may write. It is asked before every write, and costs nothing to ask."""

    def __call__(self) -> float:
        """How many seconds a write that begins now may take. Raises Outage when nothing may be written."""
        ...


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """The current time in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside, as ports."""

    releases: Releases
    traffic: Traffic
    workloads: Workloads
    metrics: Metrics
    policies: Policies
    preflight: Preflight
    announcer: Announcer
    freezes: Freezes
    gatekeeper: Gatekeeper
    notifier: Notifier
    clock: Clock
    most_active: int | None = None
    """How many releases of a namespace may be under way at once."""


class Unauthenticated(Exception):  # noqa: N818 - an answer, no programming error
    """The token is none that we believe. Says why in words that tell an attacker nothing."""


class Authenticator(Protocol):
    """Who bears this token."""

    async def identify(self, token: str) -> Identity:
        """The bearer. Raises Unauthenticated; Outage if that cannot be known now."""
        ...


class Authorizer(Protocol):
    """Who may do what."""

    async def allows(self, who: Identity, right: Right, namespace: str | None, service: str | None) -> bool:
        """Whether they may, in a namespace (None: in all) and for a service (None: for any). Raises Outage."""
        ...
