"""Freeze objects in a Kubernetes API, `kubectl get freezes`: implements `ports.Freezes`.

Belongs here: which objects concern whom, what to make of one that cannot be read, and which request does what. Does not
belong here: what a freeze says (`core/freeze.py`), what it holds (`core/waiting.py`).

A freeze of everything counts in the namespace of the controller alone, so that the right to freeze one's own namespace
is no right to freeze others'. Elsewhere `everywhere: true` freezes its own namespace. Whatever cannot be read freezes
as much as it may: somebody wanted everybody to stay where they are.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from rollout.adapters.cluster import Cluster, Denied, JsonObject
from rollout.adapters.mirror import Mirror
from rollout.adapters.release_object import complaints, is_name
from rollout.core.freeze import EVERYWHERE, Freeze, FreezeSpec, freeze_name
from rollout.core.release import API_VERSION
from rollout.core.route import Unavailable
from rollout.ports import Conflict, NotFound, Outage, Refused

KIND: Final = "Freeze"
_PLURAL: Final = "freezes"
_GROUP_VERSION: Final = f"/apis/{API_VERSION}"
_ATTEMPTS: Final = 5
_ABSENT_SECONDS: Final = 60.0
"""For how long we do not ask again whether a cluster has the kind by now, while nothing but looking is done."""
_WATCH_LAGS_SECONDS: Final = 2.0
"""For how long after a change of our own nothing but the server is believed: its watch tells a moment later."""


class ClusterFreezes:
    """Freezes as custom resources.

    Args:
        cluster: where they are; stays open.
        home: the controller's own namespace.
        mirror: for what a watch told a moment ago; stays open.
    """

    def __init__(self, cluster: Cluster, home: str, mirror: Mirror | None = None) -> None:
        self._cluster = cluster
        self._home = home
        self._mirror = mirror
        self._absent_until = float("-inf")
        self._behind_until = float("-inf")

    async def of(self, namespace: str, service: str, *, remembered: bool = False) -> tuple[Freeze, ...] | Unavailable:
        """Those that concern a service, ended ones too; `remembered`: what a watch told a moment ago will do.

        Never raises. A cluster without the kind has no freezes.
        """
        now = asyncio.get_running_loop().time()
        if remembered and now < self._absent_until:
            return ()
        remembered = remembered and now >= self._behind_until
        places = dict.fromkeys((namespace, self._home))
        found = await asyncio.gather(*(self._looked(place, remembered=remembered) for place in places))
        known: list[Freeze] = []
        for one in found:
            if isinstance(one, Unavailable):
                return one
            known += one
        return tuple(freeze for freeze in known if _concerns(freeze, namespace, service))

    async def list(self, namespace: str | None) -> Sequence[Freeze]:
        """Those of a namespace and those of everything; of all namespaces with None. Raises Refused."""
        if namespace is None:
            return await self._of_place(None)
        places = dict.fromkeys((namespace, self._home))
        found = [freeze for place in places for freeze in await self._of_place(place)]
        return [freeze for freeze in found if freeze.namespace == namespace or freeze.spec.everywhere]

    async def put(self, namespace: str | None, spec: FreezeSpec) -> Freeze:
        """Set it, in place of the one that was set for the same scope.

        Raises Refused if it is not accepted, NotFound if there is no such namespace, Conflict if somebody else keeps
        changing it.
        """
        place = self._place(namespace, everywhere=spec.everywhere)
        name = freeze_name(spec.service, everywhere=spec.everywhere)
        path = f"{_path(place)}/{name}"
        wire = {**spec.wire(), "everywhere": True} if spec.everywhere else _without(spec.wire(), "everywhere")
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "namespace": place}, "spec": wire}
        for _ in range(_ATTEMPTS):
            self._look_anew()
            try:
                return self._read(await self._cluster.create(_path(place), body))
            except Conflict:
                pass
            try:
                standing = await self._cluster.get(path)
                return self._read(await self._cluster.replace(path, {**standing, "spec": wire}))
            except (Conflict, NotFound):
                # It was changed, or lifted, between our two requests.
                continue
        raise Conflict(f"{place}/{name} changed {_ATTEMPTS} times while it was set; set it again")

    async def remove(self, namespace: str | None, service: str | None) -> bool:
        """Lift every freeze of exactly this scope, whatever its name; False if there is none. Raises Refused."""
        place = self._place(namespace, everywhere=namespace is None)
        scope = EVERYWHERE if namespace is None else place if service is None else f"{place}/{service}"
        standing = [one.name for one in await self._of_place(place) if one.scope == scope]
        self._look_anew()
        lifted = False
        for name in standing:
            try:
                await self._cluster.delete(f"{_path(place)}/{name}")
            except NotFound:
                continue
            lifted = True
        return lifted

    def _look_anew(self) -> None:
        self._absent_until = float("-inf")
        self._behind_until = asyncio.get_running_loop().time() + _WATCH_LAGS_SECONDS

    def _place(self, namespace: str | None, *, everywhere: bool) -> str:
        if (namespace is None) != everywhere:
            raise Refused("a freeze of everything has no namespace, and no other is without")
        place = self._home if namespace is None else namespace
        if not is_name(place):
            raise Refused(f"{place!r} is no name of a namespace")
        return place

    async def _looked(self, place: str, *, remembered: bool) -> Sequence[Freeze] | Unavailable:
        try:
            return await self._of_place(place, remembered=remembered)
        except Denied as error:
            right = f"the controller needs the right to list and watch {_PLURAL} of rollout.dev in namespace {place}"
            return Unavailable(f"{right} ({error})")
        except (Outage, Refused, NotFound, Conflict) as error:
            return Unavailable(f"freezes of namespace {place} cannot be read: {error}")

    async def _of_place(self, place: str | None, *, remembered: bool = False) -> Sequence[Freeze]:
        if place is not None and not is_name(place):
            return []
        try:
            if remembered and self._mirror is not None:
                objects = await self._mirror.list(_path(place))
            else:
                objects = await self._cluster.list(_path(place))
        except Denied:
            # A right that is missing and a kind that is not installed are told apart by discovery, which all may read.
            if await self._is_served():
                raise
            self._absent_until = asyncio.get_running_loop().time() + _ABSENT_SECONDS
            return []
        return sorted((self._read(obj) for obj in objects), key=lambda one: (one.namespace, one.name))

    async def _is_served(self) -> bool:
        found = await self._cluster.get(_GROUP_VERSION)
        resources = found.get("resources")
        if not isinstance(resources, list):
            raise Outage(f"GET {_GROUP_VERSION}: the answer lists no resources")
        return any(isinstance(one, dict) and one.get("name") == _PLURAL for one in resources)

    def _read(self, obj: JsonObject) -> Freeze:
        return read_freeze(obj, self._home)


def read_freeze(obj: Mapping[str, Any], home: str) -> Freeze:
    """Any object of our kind; never raises for what a user can have written into its spec."""
    namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
    raw = obj.get("spec")
    try:
        spec = FreezeSpec.model_validate({} if raw is None else raw, by_alias=True, by_name=False)
    except ValidationError as error:
        everywhere = isinstance(raw, dict) and bool(raw.get("everywhere"))
        spec = FreezeSpec(everywhere=everywhere, reason=f"its spec cannot be read: {complaints(error)}"[:1024])
    if spec.everywhere and namespace != home:
        spec = spec.model_copy(update={"everywhere": False, "service": None})
    return Freeze(namespace=namespace, name=name, spec=spec)


def _concerns(freeze: Freeze, namespace: str, service: str) -> bool:
    if freeze.spec.everywhere:
        return True
    return freeze.namespace == namespace and freeze.spec.service in {None, service}


def _without(wire: JsonObject, name: str) -> JsonObject:
    return {key: value for key, value in wire.items() if key != name}


def _path(namespace: str | None) -> str:
    where = f"/namespaces/{namespace}" if namespace is not None else ""
    return f"{_GROUP_VERSION}{where}/{_PLURAL}"
