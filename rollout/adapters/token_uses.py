"""What a CI job's token was used for: it starts one release and no other, whichever replica it is shown to.

Belongs here: the claim of a token's `jti`, as a Lease in the API's own namespace, and putting old ones away. Does not
belong here: whether the token is genuine (`oidc.py`).

A job makes several calls with one token: it starts, looks, aborts. Only a start can do what the job did not mean, so
only that is bound: the first one binds the token to its request, and any other start by it is refused. Creating an
object is what an API server does for one caller alone; so it holds over all replicas, and over their ends.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from rollout.adapters.cluster import Cluster, Denied, JsonObject
from rollout.adapters.oidc import LONGEST_LIFE
from rollout.core.access import Identity
from rollout.core.quantities import format_instant
from rollout.ports import Clock, Conflict, NotFound, Outage, Refused

LABEL: Final = "rollout.dev/token-use"
PREFIX: Final = "rollout-token-"
_KEPT: Final = timedelta(seconds=2 * LONGEST_LIFE)
"""A token is too old for anything long before its use is forgotten."""
_BETWEEN_SWEEPS: Final = 600.0
_AT_ONCE: Final = 3
"""Old ones put away by each new one: more than come, so that they do not pile up, and never a long wait."""


class TokenUses:
    """What tokens were used for, a Lease each.

    Args:
        cluster: with the right to create, get, list and delete Leases of that namespace; stays open.
        namespace: where they are kept.
        clock: for their age.
        now: seconds that only ever rise.
    """

    def __init__(self, cluster: Cluster, namespace: str, clock: Clock, now: Callable[[], float] = monotonic) -> None:
        self._cluster = cluster
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._clock = clock
        self._now = now
        self._swept_at: float | None = None
        self._old: deque[str] = deque()

    async def first(self, who: Identity, use: str) -> bool:
        """Whether the bearer's token is used for the first time, or for the same again; `use` is a digest of it.

        Identities without a `jti` (those that the Kubernetes API knows) may come as often as they like. Raises Outage.
        """
        jti = who.claims.get("jti")
        if not who.issuer:
            return True
        name = PREFIX + hashlib.sha256(f"{who.issuer}\n{jti}".encode()).hexdigest()[:48]
        try:
            await self._cluster.create(self._path, self._lease(name, use))
        except Conflict:
            return await self._used_for(name) == use
        except (Refused, NotFound) as error:
            raise Outage(f"what the token was used for cannot be noted: {error}") from error
        await self._put_away()
        return True

    async def _used_for(self, name: str) -> str:
        try:
            lease = await self._cluster.get(f"{self._path}/{name}")
        except (NotFound, Refused) as error:
            raise Outage(f"what the token was used for cannot be read: {error}") from error
        spec = lease.get("spec")
        return str(spec.get("holderIdentity", "")) if isinstance(spec, dict) else ""

    def _lease(self, name: str, use: str) -> JsonObject:
        at = self._clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "labels": {LABEL: "true"}},
            "spec": {
                "holderIdentity": use,
                "leaseDurationSeconds": int(_KEPT.total_seconds()),
                "acquireTime": at,
                "renewTime": at,
            },
        }

    async def _put_away(self) -> None:
        """Delete a few that are old. That it fails is no reason to refuse anybody: the next one tries again."""
        try:
            if self._swept_at is None or self._now() - self._swept_at >= _BETWEEN_SWEEPS:
                self._swept_at = self._now()
                listed = await self._cluster.list(self._path, label_selector=f"{LABEL}=true")
                before = format_instant(self._clock.now() - _KEPT)
                self._old = deque(name for name in (_old_name(one, before) for one in listed) if name)
            for _ in range(min(_AT_ONCE, len(self._old))):
                await self._delete(self._old.popleft())
        except (Outage, Refused, Denied):
            return

    async def _delete(self, name: str) -> None:
        try:
            await self._cluster.delete(f"{self._path}/{name}")
        except NotFound:
            return


def _old_name(lease: JsonObject, before: str) -> str:
    """Its name, if it was made before that; "" if not, or if it is none of ours."""
    metadata: dict[str, Any] = lease["metadata"]
    name = str(metadata["name"])
    made = datetime.fromisoformat(metadata["creationTimestamp"])
    return name if name.startswith(PREFIX) and made < datetime.fromisoformat(before) else ""
