"""One namespace with a service to release, and what can be done in it: by CI, by a person, by controllers.

Belongs here: its objects, and reading how they are. Does not belong here: what must be true of them.
"""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.sandbox import shop
from rollout.sandbox.audit import AuditEntry
from rollout.sandbox.cluster_client import ClusterError, JsonObject
from rollout.sandbox.installation import CONTROLLER
from tests.crash.arena import CLOCK, Arena
from tests.crash.forking import Controller
from tests.crash.proxy import Proxy

RELEASE = "checkout-v2"
EDGE = "checkout-edge"
"""A second VirtualService of the same service: the gateway's."""
ISTIO = "networking.istio.io/v1"
OURS = "rollout.dev/v1alpha1"
POLICY: JsonObject = {
    "steps": [{"weight": 50, "hold": "3s"}, {"weight": 100, "hold": "3s"}],
    "interval": "1s",
    "settle": "200ms",
    "deadlines": {"ready": "5m", "route": "5m", "metrics": "5m", "verdict": "5m", "total": "20m"},
    "checks": {"minRequests": 20, "latency": {"compare": []}},
    "judge": {
        "learn": "0s",
        "block": "1s",
        "warmUp": "0s",
        "onset": "5m",
        "caps": {"outage": "1s", "latency": "2s", "traffic": "2s"},
    },
}
"""Two steps, as quick as a scrape a second allows, with deadlines that no crash and no takeover reaches."""
LEASE: JsonObject = {"duration": 6, "renew_deadline": 4.5, "retry": 1.0}
"""Long enough for a busy machine, short enough to wait for after each `kill -9`."""
_READY_S = 60.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Standing:
    """A place as it is when nothing happens in it any more; numbers that chance decides are left out."""

    phase: str
    reason: str
    routes: tuple[str, ...]
    """Destinations, weights and annotations of each VirtualService."""
    subsets: tuple[str, ...]
    finalizers: tuple[str, ...]
    conditions: tuple[tuple[str, str, str], ...]
    """(type, status, reason), all of the newest generation."""


class Place:
    """A namespace of its own. `open` it once, `reset` it before each use but the first."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.routes: tuple[str, ...] = (shop.SERVICE,)
        """VirtualServices that carry the traffic; what is set takes effect with the next reset."""
        self.namespace = f"life-{next(_numbers)}"
        self._dir = arena.dir / self.namespace
        self._uid = ""
        self._was_seen = False
        self._names = itertools.count(1)
        self._controllers: list[Controller] = []
        self._proxies: list[Proxy] = []

    async def open(self, *, interval: float = 1.0, **error_rates: float) -> None:
        """Make everything, and wait until the pods are ready."""
        self._dir.mkdir()
        (self._dir / "policies").mkdir()
        cluster, namespace = self.arena.cluster, self.namespace
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        for obj in (*_lease_rights(namespace), shop.kubernetes_service()):
            await cluster.apply(self._here(obj))
        for version in ("v1", "v2"):
            await cluster.apply(self._here(shop.deployment(shop.SERVICE, version, replicas=1)))
        await self._lay_route()
        self.arena.traffic.open(namespace, interval, **error_rates)
        async with asyncio.timeout(_READY_S):
            while not all([await self._is_ready(version) for version in ("v1", "v2")]):
                await asyncio.sleep(0.2)

    async def reset(self, *, interval: float = 1.0, **error_rates: float) -> None:
        """As it was when it was opened; its controllers are gone."""
        await self.leave()
        cluster, namespace = self.arena.cluster, self.namespace
        with suppress(ClusterError):
            patch = {"apiVersion": OURS, "kind": "Release", "metadata": self._named(RELEASE) | {"finalizers": None}}
            await cluster.merge(patch)
        await cluster.delete(OURS, "Release", RELEASE, namespace)
        await cluster.delete("coordination.k8s.io/v1", "Lease", f"rollout-{namespace}", namespace)
        for kind in ("VirtualService", "DestinationRule"):
            for name in (shop.SERVICE, EDGE):
                await cluster.delete(ISTIO, kind, name, namespace)
        await self._lay_route()
        self.arena.traffic.open(namespace, interval, **error_rates)

    async def leave(self) -> None:
        """End the controllers and their ways to the API."""
        for controller in self._controllers:
            controller.kill()
        for proxy in self._proxies:
            await proxy.stop()
        self._controllers.clear()
        self._proxies.clear()

    async def close(self) -> None:
        """Nothing is done here any more."""
        await self.leave()
        self.arena.traffic.close(self.namespace)

    def written(self) -> list[AuditEntry]:
        """Everything that was written here since the route was laid, by anybody, Leases excepted."""
        self.arena.read_audit()
        return sorted(self.arena.by_namespace[self.namespace], key=lambda one: one.ended)

    async def proxy(self) -> Proxy:
        """A way to the API for one controller after another."""
        proxy = Proxy(self.arena.plane.url, self.arena.plane.ca, self.namespace)
        await proxy.start()
        self._proxies.append(proxy)
        return proxy

    async def controller(self, proxy: Proxy, **changed: Any) -> Controller:
        """Start one that watches this namespace, as the account that deploy/ makes; `changed` are `Settings`."""
        number = next(self._names)
        proxy.agent = f"{self.namespace}/{number}"
        kubeconfig = self._dir / f"{number}.kubeconfig"
        proxy.write_kubeconfig(kubeconfig, self.namespace, self.arena.token)
        settings = {
            "kubeconfig": str(kubeconfig),
            "namespaces": [self.namespace],
            "prometheus": self.arena.traffic.url,
            "policies": str(self._dir / "policies"),
            "lease": LEASE,
            "listen": "",
            "log_format": "json",
            **changed,
        }
        controller = await self.arena.forks.controller(proxy.agent, settings, self._dir / f"{number}.log")
        self._controllers.append(controller)
        return controller

    async def release(self, policy: JsonObject | None = POLICY) -> None:
        """CI wants v2, by its own policy or by the one that is there for the service."""
        spec: JsonObject = {"service": shop.SERVICE, "version": "v2", "source": {"actor": "ci"}}
        if policy is not None:
            spec["policy"] = policy
        obj = {"apiVersion": OURS, "kind": "Release", "metadata": self._named(RELEASE), "spec": spec}
        created = await self.arena.cluster.create(f"/apis/{OURS}/namespaces/{self.namespace}/releases", obj)
        self._uid, self._was_seen = created["metadata"]["uid"], False

    async def wish(self, **wishes: JsonObject | None) -> None:
        """Somebody wants something: `abort`, `pause`, `resume`, `promote`."""
        stamp = CLOCK.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {name: None if wish is None else {"by": "ann", "at": stamp, **wish} for name, wish in wishes.items()}
        await self.arena.cluster.merge(
            {"apiVersion": OURS, "kind": "Release", "metadata": self._named(RELEASE), "spec": spec}
        )

    async def get(self, kind: str, name: str = shop.SERVICE) -> JsonObject | None:
        """An object of this namespace, None if it is not there."""
        versions = {"Release": OURS, "Lease": "coordination.k8s.io/v1", "Deployment": "apps/v1"}
        try:
            return await self.arena.cluster.get(versions.get(kind, ISTIO), kind, name, self.namespace)
        except ClusterError as error:
            if error.code != 404:
                raise
            return None

    def watched(self) -> JsonObject | None:
        """The release as a watch told it last; None before it was told, and after it is gone."""
        obj = self.arena.release(self.namespace, RELEASE)
        return obj if obj is not None and obj["metadata"]["uid"] == self._uid else None

    def status(self) -> JsonObject:
        """Of the release, as a watch told it last; empty where there is none."""
        return (self.watched() or {}).get("status") or {}

    async def weights(self) -> dict[str, int]:
        """Subset -> weight on the route; a single one has 100. Empty without a route."""
        obj = await self.get("VirtualService")
        route = obj["spec"]["http"][0]["route"] if obj is not None else []
        return {one["destination"]["subset"]: 100 if len(route) == 1 else one.get("weight", 0) for one in route}

    def is_settled(self) -> bool:
        """Whether the release is over, told, and let go of, or gone altogether."""
        obj = self.watched()
        if obj is None:
            return self._was_seen
        self._was_seen = True
        status = obj.get("status") or {}
        return bool(status.get("finishedAt")) and not status.get("outbox") and not obj["metadata"].get("finalizers")

    async def events(self) -> list[JsonObject]:
        """The Kubernetes Events of this namespace that the controllers wrote about the present release."""
        found, _ = await self.arena.cluster.list(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")
        return [one for one in found if self._uid in {one["regarding"].get("uid"), one.get("related", {}).get("uid")}]

    async def standing(self) -> Standing:
        """How everything is now."""
        release, rule = await self.get("Release", RELEASE), await self.get("DestinationRule")
        routes = [await self.get("VirtualService", name) for name in self.routes]
        assert release is not None and rule is not None
        status, metadata = release["status"], release["metadata"]
        outdated = status["observedGeneration"] != metadata["generation"]
        return Standing(
            phase=status["phase"],
            reason=status["reason"],
            routes=tuple(_read_route(route) for route in routes),
            subsets=tuple(one["name"] for one in rule["spec"]["subsets"]),
            finalizers=tuple(metadata.get("finalizers", ())),
            conditions=tuple(
                (one["type"], one["status"], "outdated" if outdated else one["reason"]) for one in status["conditions"]
            ),
        )

    def lines(self) -> list[JsonObject]:
        """What all controllers here have logged, in the order of time."""
        found = [line for controller in self._controllers for line in controller.lines()]
        return sorted(found, key=lambda line: str(line["ts"]))

    def here(self, objects: Sequence[JsonObject]) -> list[JsonObject]:
        """The demo's objects, in this namespace."""
        return [self._here(obj) for obj in objects]

    def path(self) -> Path:
        """Where the logs are."""
        return self._dir

    async def _lay_route(self) -> None:
        """The beginning: what was written before is forgotten."""
        self.arena.read_audit()
        self.arena.by_namespace[self.namespace].clear()
        await self.arena.cluster.apply(self._here(shop.destination_rule()))
        for name in self.routes:
            obj = self._here(shop.virtual_service())
            obj["metadata"]["name"] = name
            obj["spec"]["hosts"] = [shop.SERVICE] if name == shop.SERVICE else [f"{self.namespace}.example.com"]
            await self.arena.cluster.apply(obj)

    async def _is_ready(self, version: str) -> bool:
        obj = await self.get("Deployment", shop.deployment_name(shop.SERVICE, version))
        return obj is not None and obj.get("status", {}).get("availableReplicas") == 1

    def _named(self, name: str) -> JsonObject:
        return {"name": name, "namespace": self.namespace}

    def _here(self, obj: JsonObject) -> JsonObject:
        return {**obj, "metadata": {**obj["metadata"], "namespace": self.namespace}}


def _read_route(route: JsonObject | None) -> str:
    if route is None:
        return "gone"
    destinations = [f"{one['destination']['subset']} {one.get('weight')}" for one in route["spec"]["http"][0]["route"]]
    notes = sorted(route["metadata"].get("annotations", {}).items())
    return f"{', '.join(destinations)} under {notes}"


def _lease_rights(namespace: str) -> list[JsonObject]:
    """deploy/base/lease-role.yaml for a Lease that is in the namespace that its controller watches."""
    name, group = f"rollout-{namespace}", "coordination.k8s.io"
    metadata = {"name": "rollout-lease", "namespace": namespace}
    rules = [
        {"apiGroups": [group], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": [group],
            "resources": ["leases"],
            "resourceNames": [name],
            "verbs": ["get", "watch", "update"],
        },
    ]
    rbac = "rbac.authorization.k8s.io"
    subjects = [{"kind": "ServiceAccount", "name": CONTROLLER, "namespace": CONTROLLER}]
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "rollout-lease"},
            "subjects": subjects,
        },
    ]
