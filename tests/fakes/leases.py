"""A Lease in memory, shared by several candidates; each has a line to it that can fail, hang, or lose answers."""

import asyncio
from collections.abc import AsyncGenerator

from rollout.core.lease import Claim, Lease
from rollout.ports import Conflict, Outage


class FakeLease:
    """The object itself, as a server keeps it."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.history: list[Lease | None] = []
        self._revision = 0
        self._changed = asyncio.Event()

    def put(self, claim: Claim, over: Lease | None) -> Lease:
        """Compare and set; a POST where `over` is None. One that was deleted is made again, as by a PUT."""
        if self.lease is not None and (over.revision if over else None) != self.lease.revision:
            raise Conflict("the Lease was modified")
        return self.set(claim.holder, claim.duration, claim.transitions)

    def set(self, holder: str, duration: int = 15, transitions: int = 0) -> Lease:
        """Anybody's hand."""
        self._revision += 1
        stamp = str(self._revision)
        lease = Lease(holder, duration, transitions, stamp, stamp)
        self._tell(lease)
        return lease

    def delete(self) -> None:
        self._tell(None)

    async def after(self, seen: int) -> None:
        """Until there is more history than that."""
        while len(self.history) <= seen:
            await self._changed.wait()

    def _tell(self, lease: Lease | None) -> None:
        self.lease = lease
        self.history.append(lease)
        self._changed.set()
        self._changed = asyncio.Event()


class Line:
    """One candidate's way to the Lease: implements `ports.Leases`.

    Attributes:
        failing: every request raises this at once.
        hanging: no request is answered, and none arrives.
        deaf: requests arrive and are carried out, no answer does.
        watches: whether watches tell anything.
    """

    def __init__(self, lease: FakeLease) -> None:
        self._lease = lease
        self.failing: Exception | None = None
        self.hanging = False
        self.deaf = False
        self.watches = True

    async def get(self) -> Lease | None:
        await self._way()
        lease = self._lease.lease
        await self._way_back()
        return lease

    async def put(self, claim: Claim, over: Lease | None) -> Lease:
        await self._way()
        lease = self._lease.put(claim, over)
        await self._way_back()
        return lease

    async def watch(self, since: Lease) -> AsyncGenerator[Lease | None, None]:
        await self._way()
        seen = self._lease.history.index(since) + 1
        while True:
            await self._lease.after(seen)
            while not self.watches or self.hanging:
                await asyncio.sleep(0.1)
            if self.failing is not None:
                raise Outage("the watch broke")
            yield self._lease.history[seen]
            seen += 1

    async def _way(self) -> None:
        await asyncio.sleep(0.01)
        if self.failing is not None:
            raise self.failing
        if self.hanging:
            await asyncio.Event().wait()

    async def _way_back(self) -> None:
        await asyncio.sleep(0.01)
        if self.deaf:
            await asyncio.Event().wait()
