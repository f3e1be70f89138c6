"""The desk that stands at the Kubernetes API: implements `rollout.desk.Desk` by writing the objects itself.

Belongs here: which command answers which question. Does not belong here: what the commands do.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from rollout.commands import freezing, starting, wishes
from rollout.core.freeze import Freeze
from rollout.core.release import Release
from rollout.desk import Caller, Order, Scope, Started, Stopped, Wanted
from rollout.ports import Clock, Freezes, Refused, Releases

_VERBS = {
    "abort": wishes.abort,
    "pause": wishes.pause,
    "resume": wishes.resume,
    "promote": wishes.promote,
}


class LocalDesk:
    """`Desk` on the ports.

    Args:
        releases: where wishes are written.
        freezes: where freezes are; it knows which namespace a freeze of everything lives in.
        clock: the time that is noted with each wish.
        namespaces: what "all namespaces" means where we may not list every one; all of them if empty.
        whoami: asks the API server who we are, for a namespace; without it nobody in particular.
    """

    def __init__(
        self,
        releases: Releases,
        freezes: Freezes,
        clock: Clock,
        *,
        namespaces: Sequence[str] = (),
        whoami: Callable[[str], Awaitable[Caller]] | None = None,
    ) -> None:
        self._releases = releases
        self._freezes = freezes
        self._clock = clock
        self._namespaces = tuple(namespaces)
        self._whoami = whoami

    async def start(self, order: Order) -> Started:
        """As the protocol says; raises Busy, Frozen, KeyReused, Refused."""
        return await starting.start(self._releases, self._freezes, self._clock, order)

    async def wish(self, wanted: Wanted) -> Release:
        """As the protocol says; raises Finished, Refused, NotFound."""
        about = {
            "namespace": wanted.namespace,
            "name": wanted.name,
            "by": wanted.by,
            "reason": wanted.reason,
            "revision": wanted.revision,
        }
        if wanted.verb == "approve":
            return await wishes.approve(self._releases, self._clock, **about, gate=wanted.gate)
        if wanted.gate:
            raise Refused(f"only approve names a gate, {wanted.verb} does not")
        return await _VERBS[wanted.verb](self._releases, self._clock, **about)

    async def get(self, namespace: str, name: str) -> Release | None:
        """The release as it is now; None if there is none."""
        return await self._releases.get(namespace, name)

    async def list(self, namespace: str | None, service: str | None = None) -> Sequence[Release]:
        """All releases (of one service), oldest first in each namespace; of all namespaces with None."""
        return await freezing.listed(self._releases, namespace, service, self._namespaces)

    async def freeze(self, scope: Scope, until: datetime | None, *, by: str, reason: str) -> Freeze:
        """As the protocol says; raises Refused, NotFound."""
        return await freezing.freeze(self._freezes, self._clock, scope, until, by=by, reason=reason)

    async def unfreeze(self, scope: Scope, *, by: str) -> bool:
        """As the protocol says; who lifted it is in the API server's audit log. Raises Refused."""
        del by
        return await freezing.unfreeze(self._freezes, scope)

    async def freezes(self, namespace: str | None) -> Sequence[Freeze]:
        """Those of a namespace and those of everything; of all namespaces with None."""
        return await self._freezes.list(namespace)

    async def stop(self, scope: Scope, *, by: str, reason: str) -> Stopped:
        """As the protocol says; raises Refused, NotFound."""
        return await freezing.stop(
            self._releases, self._freezes, self._clock, scope, by=by, reason=reason, namespaces=self._namespaces
        )

    async def whoami(self, namespace: str) -> Caller:
        """Who we are to the API server; nobody in particular where nobody can be asked."""
        return Caller(name="") if self._whoami is None else await self._whoami(namespace)
