"""The desk at which people and CI ask, wherever they stand: at the Kubernetes API, or at ours over HTTP.

Belongs here: what can be asked, and what the answers are. Does not belong here: carrying it out (`commands/` writes
wishes, `adapters/remote_desk.py` asks over HTTP), printing (`cli/`).

Every method raises what `ports.py` says of its kind: Outage (nobody answered), Refused (the answer is no; both at once
where only an administrator can change that), NotFound, Conflict.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from rollout.core.freeze import Freeze
from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_instant
from rollout.core.release import Release, Source
from rollout.ports import Refused

OnConflict = Literal["reject", "queue", "supersede"]


class Busy(Refused):
    """Another release of the service is under way: `release`."""

    def __init__(self, release: Release) -> None:
        status = release.status
        since = status.since or release.created_at
        when = f" since {format_instant(since)}" if since else ""
        super().__init__(
            f"another release of {release.spec.service} is under way: {release.name} "
            f"(version {release.spec.version}, {status.phase}{when})"
        )
        self.release = release


class Finished(Refused):
    """The release is over, nothing can be asked of it any more: `release`."""

    def __init__(self, release: Release) -> None:
        why = release.problem or release.status.message
        super().__init__(f"{release.name} is over: {release.status.phase}" + (f" ({why})" if why else ""))
        self.release = release


class KeyReused(Refused):
    """The idempotency key was used for another request: `release` is what that one started."""

    def __init__(self, release: Release, message: str) -> None:
        super().__init__(message)
        self.release = release


class Frozen(Refused):
    """Nobody may start now: `freeze`."""

    def __init__(self, freeze: Freeze) -> None:
        spec = freeze.spec
        until = f" until {format_instant(spec.until)}" if spec.until else ""
        why = f": {spec.reason}" if spec.reason else ""
        super().__init__(f"{freeze.scope} is frozen{until}, by {spec.by or 'somebody'}{why}")
        self.freeze = freeze


@dataclass(frozen=True, slots=True)
class Order:
    """What to release. With the same `key`, asking again is answered with the same release."""

    namespace: str
    service: str
    version: str
    source: Source
    key: str | None = None
    policy: PolicySpec | None = None
    on_conflict: OnConflict = "reject"
    not_before: datetime | None = None


def default_key(service: str, version: str, repository: str, run: str, attempt: str) -> str:
    """The idempotency key of one attempt of one CI run, 64 hex digits.

    With the run and its attempt, never the commit alone: a release that was rolled back must be startable again by
    running the job again. Each part is written with its length, so that no two different requests have one key.
    """
    parts = (service, version, repository, run, attempt)
    return hashlib.sha256("".join(f"{len(part)}:{part};" for part in parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Started:
    """A release that was asked for. `replayed`: it had been, with the same key, and nothing was created."""

    release: Release
    replayed: bool


Verb = Literal["abort", "pause", "resume", "promote", "approve"]
VERBS: tuple[Verb, ...] = ("abort", "pause", "resume", "promote", "approve")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A wish for one release. `gate` only for `approve`; `by` is replaced by who is known to ask, over HTTP.

    With a `revision` the wish is refused with Conflict if the release is not, or no longer, as it was then.
    """

    namespace: str
    name: str
    verb: Verb
    by: str = ""
    reason: str = ""
    gate: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a freeze is for: a service, a namespace, or (with neither) everything."""

    namespace: str | None = None
    service: str | None = None

    def __str__(self) -> str:
        if self.namespace is None:
            return "all"
        return self.namespace if self.service is None else f"{self.namespace}/{self.service}"


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a brake did: the freeze it set, the releases it wrote an abort to, and those it could not, with why."""

    freeze: Freeze
    aborted: tuple[Release, ...]
    failed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the other side knows them, and what they may do in a namespace: verb -> yes or no."""

    name: str
    groups: tuple[str, ...] = ()
    may: Mapping[str, bool] | None = None


class Desk(Protocol):
    """What can be asked."""

    async def start(self, order: Order) -> Started:
        """Ask for a release. Raises Busy, Frozen, KeyReused, Refused."""
        ...

    async def wish(self, wanted: Wanted) -> Release:
        """Abort, pause, resume, promote or approve; asking twice is asking once. Raises Finished, Refused, NotFound."""
        ...

    async def get(self, namespace: str, name: str) -> Release | None:
        """The release as it is now; None if there is none."""
        ...

    async def list(self, namespace: str | None, service: str | None = None) -> Sequence[Release]:
        """All releases (of one service), oldest first; of all namespaces with None."""
        ...

    async def freeze(self, scope: Scope, until: datetime | None, *, by: str, reason: str) -> Freeze:
        """Let nobody start or advance; one that stands is replaced."""
        ...

    async def unfreeze(self, scope: Scope, *, by: str) -> bool:
        """Lift it; False if there was none."""
        ...

    async def freezes(self, namespace: str | None) -> Sequence[Freeze]:
        """Those of a namespace and those of everything; of all namespaces with None."""
        ...

    async def stop(self, scope: Scope, *, by: str, reason: str) -> Stopped:
        """The brake: freeze the scope first, then abort every release under way in it."""
        ...

    async def whoami(self, namespace: str) -> Caller:
        """Who we are to the other side."""
        ...
