"""The release's first writes, sent with `dryRun=All`: validation, webhooks and rights answer, nothing is stored.

Belongs here: which writes, and what a refusal means. Does not belong here: the patches, which are the very ones of
`adapters/istio.py`. Istio's webhook takes dry runs for what they are (sideEffects: None), so on a real mesh this is
istiod's own validation of the exact object that the release would make.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from rollout.adapters.cluster import Cluster, Denied, JsonObject, Listing
from rollout.adapters.istio import IstioTraffic
from rollout.adapters.preflight.catalogue import found
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Finding
from rollout.core.route import Leg, Mesh, Route, Target
from rollout.ports import NotFound, Refused

# "admission webhook ... does not support dry run" (apiserver/pkg/admission/plugin/webhook/errors/statuserror.go).
_NO_DRY_RUN = "does not support dry run"
_ADMISSION = re.compile(r"denied (the )?request")
"""How webhooks and ValidatingAdmissionPolicies say no (apiserver/pkg/admission), and RBAC does not."""
_REQUEST = re.compile(r"^[A-Z]+ /\S+: ")


class DryCluster(Cluster):
    """The same cluster for whoever reads and patches; no patch is ever stored, nothing else is written at all."""

    def __init__(self, cluster: Cluster) -> None:  # a view of a connection makes none of its own
        self._real = cluster
        self.namespace = cluster.namespace

    async def get(self, path: str) -> JsonObject:
        """As the cluster's."""
        return await self._real.get(path)

    async def listing(self, path: str, *, label_selector: str | None = None) -> Listing:
        """As the cluster's."""
        return await self._real.listing(path, label_selector=label_selector)

    async def patch(self, path: str, operations: Sequence[JsonObject], *, dry_run: bool = True) -> JsonObject:  # noqa: ARG002 - it is one
        """Tried out, whatever `dry_run` says."""
        return await self._real.patch(path, operations, dry_run=True)

    async def merge(self, path: str, body: JsonObject, *, dry_run: bool = True) -> JsonObject:  # noqa: ARG002 - it is one
        """Tried out, whatever `dry_run` says."""
        return await self._real.merge(path, body, dry_run=True)

    async def served_version(self, group: str, candidates: Sequence[str]) -> str:
        """As the cluster's."""
        return await self._real.served_version(group, candidates)

    async def create(self, path: str, obj: JsonObject) -> JsonObject:
        """Refused."""
        raise Refused(f"POST {path} ({len(obj)} fields): nothing is created in a rehearsal")

    async def replace(self, path: str, obj: JsonObject) -> JsonObject:
        """Refused."""
        raise Refused(f"PUT {path} ({len(obj)} fields): nothing is replaced in a rehearsal")

    async def close(self) -> None:
        """The connection is its owner's to close."""


class Rehearsal:
    """Tries out what a release does first. Raises Outage or Conflict as the writes themselves would."""

    def __init__(self, cluster: Cluster) -> None:
        self._traffic = IstioTraffic(DryCluster(cluster))

    async def of(self, target: Target, policy: PolicySpec, mesh: Mesh) -> list[Finding]:
        """The claim of each VirtualService and its first weight; where the canary has no subset yet, its addition."""
        tried = [self._leg(target, leg, policy, mesh) for leg in target.legs]
        rule = f"DestinationRule {target.namespace}/{target.destination_rule}"
        if target.canary not in mesh.subsets and target.host is None:
            subset = self._try(rule, "patch destinationrules", lambda: self._traffic.add_subset(target, target.canary))
            tried.append(subset)
        said: list[Finding] = []
        # All of them end before the first failure is told: nothing is left running behind our back.
        for part in await asyncio.gather(*tried, return_exceptions=True):
            if isinstance(part, BaseException):
                raise part
            said += part
        return said

    async def _leg(self, target: Target, leg: Leg, policy: PolicySpec, mesh: Mesh) -> list[Finding]:
        alone = replace(target, legs=(leg,))
        seen = await self._traffic.observe(alone)
        if not isinstance(seen, Mesh) or seen.problem is not None:
            return []
        where, verb = f"VirtualService {leg}", "patch virtualservices"
        claim = Route(percent=0, epoch=mesh.epoch + 1)
        said = await self._try(where, verb, lambda: self._traffic.set_route(alone, claim, seen))
        if said or target.canary not in seen.subsets:
            return said
        first = Route(percent=policy.steps[0].weight, epoch=mesh.epoch + 2)
        return await self._try(where, verb, lambda: self._traffic.set_route(alone, first, seen))

    async def _try(self, where: str, verb: str, write: Callable[[], Awaitable[None]]) -> list[Finding]:
        namespace = where.partition(" ")[2].partition("/")[0]
        try:
            await write()
        except (Refused, NotFound) as error:
            # Admission may answer 403 too: whoever denies a request has let the account make it.
            if isinstance(error, Denied) and not _ADMISSION.search(str(error)):
                message = f"the account may not {verb} in {namespace}: {_plain(error)}"
                return [found("not-allowed", where, message)]
            untried = _NO_DRY_RUN in str(error)
            message = f"the first write would be refused: {_plain(error)}"
            return [found("dry-run-refused", where, message, severity="warning" if untried else "error")]
        return []


def _plain(error: Exception) -> str:
    """The server's own words, without the request before them and the full stop behind."""
    return _REQUEST.sub("", str(error)).rstrip(". ")
