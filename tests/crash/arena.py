"""Everything around the controllers, once for all tests: a control plane, pods, Prometheus, and what forks controllers.

Belongs here: composition, and reading the audit log as it grows. Does not belong here: what a namespace holds
(`place.py`), what must be true of it (`invariants.py`).
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from rollout.adapters.clock import SystemClock
from rollout.sandbox import audit
from rollout.sandbox.audit import AuditEntry
from rollout.sandbox.cluster_client import ClusterClient, JsonObject, Mirror
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.installation import CONTROLLER, controller_token
from tests.crash.forking import Forks
from tests.crash.pods import Pods
from tests.crash.traffic import Traffic

CLOCK = SystemClock()
USER = f"system:serviceaccount:{CONTROLLER}:{CONTROLLER}"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_GATEWAY: Final = "gateway.networking.k8s.io"
_CRDS = Path(__file__).parents[2] / "deploy" / "base" / "crds.yaml"


class Request(NamedTuple):
    """What a controller asked for."""

    at: datetime
    agent: str
    """Which controller: `Controller.name`."""
    group: str
    resource: str
    """With its subresource; empty for a path that is no resource."""
    verb: str
    namespace: str


class Arena:
    """Start it, use it, stop it; all in one event loop."""

    def __init__(self, run_dir: Path) -> None:
        self.dir = run_dir
        self.plane = ControlPlane(_made(run_dir / "plane"))
        self.forks = Forks(run_dir)
        self.token = ""
        self.by_namespace: dict[str, list[AuditEntry]] = defaultdict(list)
        """What was written, and what people wrote, in the order of the answers; no Leases."""
        self.requests: list[Request] = []
        """Everything that controllers asked."""
        self.refused: list[AuditEntry] = []
        """What the controller was denied: 401 and 403."""
        self._audit_read = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._cluster: ClusterClient | None = None
        self._traffic: Traffic | None = None
        self._pods: Pods | None = None
        self._releases: Mirror | None = None

    @property
    def cluster(self) -> ClusterClient:
        """As the administrator."""
        assert self._cluster is not None, "the arena is not started"
        return self._cluster

    @property
    def traffic(self) -> Traffic:
        """Requests and their counts."""
        assert self._traffic is not None, "the arena is not started"
        return self._traffic

    @property
    def pods(self) -> Pods:
        """What makes pods ready."""
        assert self._pods is not None, "the arena is not started"
        return self._pods

    def release(self, namespace: str, name: str) -> JsonObject | None:
        """A Release as a watch told it last: asking costs nothing."""
        assert self._releases is not None, "the arena is not started"
        return self._releases.objects.get((namespace, name))

    async def start(self) -> None:
        """All of it, at once where that is possible."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.forks.start())
            group.create_task(self._start_plane())
        self._cluster = ClusterClient(self.plane.url, ca=self.plane.ca, token=self.plane.token)
        token = await controller_token(self.cluster)
        assert token is not None
        self.token = token
        self._traffic = Traffic(self.cluster)
        self._pods = Pods(self.cluster)
        self._releases = Mirror(self.cluster, "rollout.dev/v1alpha1", "Release", lambda: None)
        await self.traffic.start()
        self._run(self.traffic.run())
        self._run(self.pods.run())
        self._run(self._releases.run())

    async def stop(self) -> None:
        """The controllers die with what forked them."""
        await self.forks.stop()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._traffic is not None:
            await self._traffic.stop()
        if self._cluster is not None:
            await self._cluster.close()
        await self.plane.stop()
        failures = [one for one in results if isinstance(one, Exception)]
        assert not failures, failures

    def read_audit(self) -> None:
        """Take in what is new in the audit log."""
        with self.plane.audit_log.open("rb") as log:
            log.seek(self._audit_read)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                self._audit_read += len(line)
                event = json.loads(line)
                ours = event.get("user", {}).get("username") == USER
                wrote = event["verb"] in WRITES and (event.get("objectRef") or {}).get("resource") != "leases"
                if event.get("stage") != "ResponseComplete" or not (ours or wrote):
                    continue
                entry = audit._entry(event)
                if ours:
                    self._note(entry)
                if wrote and "dryRun" not in entry.request_uri:
                    self.by_namespace[entry.namespace].append(entry)

    def _note(self, entry: AuditEntry) -> None:
        resource = f"{entry.resource}/{entry.subresource}" if entry.subresource else entry.resource
        self.requests.append(Request(entry.at, entry.user_agent, entry.group, resource, entry.verb, entry.namespace))
        if entry.code in {401, 403}:
            self.refused.append(entry)

    async def _start_plane(self) -> None:
        await self.plane.start()
        await self.plane.apply_crds(self.plane.assets.istio_crds.read_text())
        await self.plane.apply_crds(_CRDS.read_text())
        await self.plane.apply_crds("---\n".join(_gateway_api(kind) for kind in ("HTTPRoute", "GRPCRoute")))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))


def _gateway_api(kind: str) -> str:
    """Just enough of the Gateway API to be asked whether it is used."""
    plural = f"{kind.lower()}s"
    schema = "{type: object, x-kubernetes-preserve-unknown-fields: true}"
    return f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.{_GATEWAY}
  annotations: {{api-approved.kubernetes.io: "unapproved, made by a test"}}
spec:
  group: {_GATEWAY}
  names: {{kind: {kind}, plural: {plural}}}
  scope: Namespaced
  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {schema}}}}}]
"""


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
