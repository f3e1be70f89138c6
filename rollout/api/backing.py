"""What the API stands on: the ports it asks, as `assembly.py` puts them together.

Belongs here: names of things. Does not belong here: any answer.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rollout.administration import Api
from rollout.core.access import Identity
from rollout.core.policy import ServicePolicy
from rollout.core.release import Release
from rollout.desk import Desk
from rollout.ports import Authenticator, Authorizer, Clock, Policies, Preflight


class TokenUses(Protocol):
    """What CI tokens were used for."""

    async def first(self, who: Identity, use: str) -> bool:
        """Whether the bearer's token is used for the first time, or for the same again. Raises Outage."""
        ...


@dataclass(frozen=True, slots=True)
class Misfit:
    """One thing that is wrong in a policy's text; line and column from 1, `path` dotted, "" where it is no YAML."""

    line: int
    column: int
    path: str
    message: str


Checked = tuple[Sequence[ServicePolicy], Sequence[Misfit]]
"""The policies of a text, and what is wrong with it."""


def _never(_release: Release) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Backing:
    """Everything outside, as ports. `closing` is set once no further answer may take its time."""

    desk: Desk
    authenticator: Authenticator
    authorizer: Authorizer
    token_uses: TokenUses
    policies: Policies
    clock: Clock
    check: Callable[[bytes], Checked]
    """Reads policies; it may take long, and runs in a thread."""
    preflight: Preflight | None = None
    limits: Api = field(default_factory=Api)
    namespaces: tuple[str, ...] = ()
    """Those that are served; empty for all."""
    is_ready: Callable[[], bool] = lambda: True
    unchanged: Callable[[Release], bool] = _never
    """`Releases.unchanged`: what a watch says, at no cost."""
    look_seconds: float = 1.0
    """Time between looks at a release that somebody waits for, where no watch says that nothing changed."""
    ping_seconds: float = 15.0
    closing: asyncio.Event = field(default_factory=asyncio.Event)
