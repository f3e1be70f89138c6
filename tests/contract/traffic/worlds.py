"""The worlds of the Traffic contract: the fake mesh, and the Istio adapter on a Kubernetes API, embedded or real.

One service `checkout`, all its traffic at v1, carried by one VirtualService or by two. Belongs here: what people do to
the route, and what it looks like afterwards. Does not belong here: what must be true of it (`test_traffic.py`,
`test_pairs.py`).
"""

from dataclasses import replace
from typing import Any, Protocol

import httpx2

from rollout.adapters.cluster import Cluster, Denied
from rollout.adapters.istio import IstioTraffic
from rollout.core.route import Leg, Mesh, Route, Target
from rollout.ports import Traffic
from tests.fakes.mesh import FakeMesh

JsonObject = dict[str, Any]
RELEASE, ANOTHER = "checkout-v2", "another"
NAMES = ("checkout", "gateway")


def target_in(namespace: str, legs: int, **changes: Any) -> Target:
    """A release of v2 while v1 holds the traffic."""
    usual: JsonObject = {
        "namespace": namespace,
        "service": "checkout",
        "legs": tuple(Leg(namespace, name) for name in NAMES[:legs]),
        "destination_rule": "checkout",
        "version_label": "version",
        "canary": "v2",
        "stable": "v1",
        "release": RELEASE,
    }
    return Target(**usual | changes)


class World(Protocol):
    """A mesh and the people who have their hands on it."""

    traffic: Traffic
    target: Target

    async def weights(self) -> list[dict[str, int]]:
        """Version -> share in percent, of each VirtualService; versions without any are left out."""
        ...

    async def subsets(self) -> set[str]:
        """Versions that have a subset."""
        ...

    async def edit(self, percent: int, leg: int = 0) -> None:
        """`kubectl edit`: the canary's weight changes, the annotations stay."""
        ...

    async def replace(self, percent: int, leg: int = 0) -> None:
        """`kubectl replace`: an object without our annotations."""
        ...

    async def touch(self, leg: int = 0) -> None:
        """A change that means nothing to us."""
        ...

    async def give_to(self, version: str, percent: int) -> None:
        """A third version gets a part of the first VirtualService's traffic, at v1's cost."""
        ...

    async def delete(self, leg: int = 0) -> None:
        """`kubectl delete`."""
        ...

    async def take(self, leg: int, percent: int, epoch: int) -> None:
        """Another release of the namespace gives an order for one VirtualService."""
        ...

    def hide(self, *legs: int) -> None:
        """These can be read no more; without any, all can again."""
        ...


class FakeWorld:
    """The fake."""

    def __init__(self, legs: int) -> None:
        self.mesh = FakeMesh(legs=legs)
        self.traffic: Traffic = self.mesh
        self.target = target_in("shop", legs)

    async def weights(self) -> list[dict[str, int]]:
        return [
            {version: share for version in leg.weights if (share := leg.percent(version))}
            for leg in self.mesh.all
            if not leg.gone
        ]

    async def subsets(self) -> set[str]:
        return set(self.mesh.subsets)

    async def edit(self, percent: int, leg: int = 0) -> None:
        self.mesh.edit("v2", percent, leg=leg)

    async def replace(self, percent: int, leg: int = 0) -> None:
        self.mesh.replace("v2", percent, leg=leg)

    async def touch(self, leg: int = 0) -> None:
        self.mesh.all[leg].revision += 1

    async def give_to(self, version: str, percent: int) -> None:
        self.mesh.subsets.add(version)
        self.mesh.edit(version, percent)

    async def delete(self, leg: int = 0) -> None:
        self.mesh.delete(leg)

    async def take(self, leg: int, percent: int, epoch: int) -> None:
        self.mesh.edit("v2", percent, leg=leg)
        self.mesh.all[leg].epoch, self.mesh.all[leg].release = epoch, ANOTHER

    def hide(self, *legs: int) -> None:
        for number, leg in enumerate(self.mesh.all):
            leg.unread = "forbidden" if number in legs else ""


class PartlyBlind(Cluster):
    """A cluster of which some objects may not be read."""

    hidden: frozenset[str] = frozenset()
    """Their paths, as they end."""

    async def get(self, path: str) -> JsonObject:
        if any(path.endswith(one) for one in self.hidden):
            raise Denied(f"GET {path}: forbidden")
        return await super().get(path)


class IstioWorld:
    """The adapter; people use a plain client of the same API."""

    def __init__(self, cluster: PartlyBlind, http: httpx2.AsyncClient, namespace: str, legs: int) -> None:
        self.traffic: Traffic = IstioTraffic(cluster)
        self._cluster = cluster
        self.target = target_in(namespace, legs)
        self._http = http
        self._rules = f"/apis/networking.istio.io/v1/namespaces/{namespace}/destinationrules"
        self._services = f"/apis/networking.istio.io/v1/namespaces/{namespace}/virtualservices"

    async def begin(self) -> None:
        """Make the objects."""
        for leg in self.target.legs:
            await self._create(self._services, "VirtualService", leg.virtual_service, _route({"v1": 100}))
        await self._create(self._rules, "DestinationRule", "checkout", {"host": "checkout", "subsets": [_subset("v1")]})

    async def weights(self) -> list[dict[str, int]]:
        found = []
        for obj in (await self._ask("GET", self._services))["items"]:
            route = obj["spec"]["http"][0]["route"]
            shares = {entry["destination"]["subset"]: entry.get("weight", 0) for entry in route}
            alone = dict.fromkeys(shares, 100) if len(shares) == 1 else shares
            found.append({version: share for version, share in alone.items() if share})
        return found

    async def subsets(self) -> set[str]:
        rule = await self._ask("GET", f"{self._rules}/checkout")
        return {subset["labels"]["version"] for subset in rule["spec"]["subsets"]}

    async def edit(self, percent: int, leg: int = 0) -> None:
        await self._change(leg, {"v1": 100 - percent, "v2": percent}, forget=False)

    async def replace(self, percent: int, leg: int = 0) -> None:
        await self._change(leg, {"v1": 100 - percent, "v2": percent}, forget=True)

    async def touch(self, leg: int = 0) -> None:
        obj = await self._ask("GET", self._path(leg))
        obj["metadata"]["labels"] = {"touched": "yes"}
        await self._ask("PUT", self._path(leg), obj)

    async def give_to(self, version: str, percent: int) -> None:
        rule = await self._ask("GET", f"{self._rules}/checkout")
        rule["spec"]["subsets"].append(_subset(version))
        await self._ask("PUT", f"{self._rules}/checkout", rule)
        await self._change(0, {"v1": 100 - percent, version: percent}, forget=False)

    async def delete(self, leg: int = 0) -> None:
        await self._ask("DELETE", self._path(leg))

    async def take(self, leg: int, percent: int, epoch: int) -> None:
        whom = replace(self.target, legs=self.target.legs[leg : leg + 1], release=ANOTHER)
        mesh = await self.traffic.observe(whom)
        assert isinstance(mesh, Mesh), mesh
        await self.traffic.set_route(whom, Route(percent=percent, epoch=epoch), mesh)

    def hide(self, *legs: int) -> None:
        self._cluster.hidden = frozenset(f"/virtualservices/{NAMES[leg]}" for leg in legs)

    def _path(self, leg: int) -> str:
        return f"{self._services}/{self.target.legs[leg].virtual_service}"

    async def _change(self, leg: int, weights: dict[str, int], *, forget: bool) -> None:
        obj = await self._ask("GET", self._path(leg))
        if forget:
            obj["metadata"].pop("annotations", None)
        await self._ask("PUT", self._path(leg), obj | {"spec": _route(weights)})

    async def _create(self, path: str, kind: str, name: str, spec: JsonObject) -> None:
        head = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}}
        await self._ask("POST", path, head | {"spec": spec})

    async def _ask(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        answer = await self._http.request(method, path, json=body)
        assert answer.is_success, answer.text
        found: JsonObject = answer.json()
        return found


def _route(weights: dict[str, int]) -> JsonObject:
    route = [
        {"destination": {"host": "checkout", "subset": version}, "weight": weight}
        for version, weight in weights.items()
    ]
    return {"hosts": ["checkout"], "http": [{"route": route}]}


def _subset(version: str) -> JsonObject:
    return {"name": version, "labels": {"version": version}}


async def seen(world: World) -> Mesh:
    """The route as it stands now."""
    mesh = await world.traffic.observe(world.target)
    assert isinstance(mesh, Mesh), mesh
    return mesh


async def order(world: World, percent: int, epoch: int) -> None:
    await world.traffic.set_route(world.target, Route(percent=percent, epoch=epoch), await seen(world))


async def split(world: World, percent: int, epoch: int = 1) -> None:
    """v2 has its subset and a share."""
    await world.traffic.add_subset(world.target, "v2")
    await order(world, percent, epoch)


def everywhere(world: World, weights: dict[str, int]) -> list[dict[str, int]]:
    return [weights] * len(world.target.legs)
