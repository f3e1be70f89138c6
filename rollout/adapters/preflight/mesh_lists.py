"""Lists of the whole mesh: read once for all who ask at about the same time, and kept no longer than that.

Belongs here: whose turn it is, pages, what is kept of an object. Does not belong here: what may not be read
(`reading.py`), rules. A mesh may have thousands of VirtualServices, and many releases may begin at once, in a pod of
256 MiB: so one list is read at a time, page by page, and of each object only that is kept which the rules read.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from rollout.adapters.cluster import Cluster
from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.adapters.preflight.scene import spec_of
from rollout.ports import Conflict, NotFound, Outage, Refused

_PAGE = 200
"""Objects of a page: some milliseconds of decoding."""
_MOST_PAGES = 1000
_METADATA = ("name", "namespace", "creationTimestamp")

Trim = Callable[[JsonObject], JsonObject]


@dataclass(frozen=True, slots=True)
class _Read:
    """How one list was read; times are the loop's."""

    began: float
    ended: float
    items: tuple[JsonObject, ...] = ()
    error: Exception | None = None


class MeshLists:
    """One for a process.

    Args:
        cluster: where they are read.
        lasts: seconds that a list is good for.
        seconds: reading one list may take, from when its turn has come.
    """

    def __init__(self, cluster: Cluster, *, lasts: float = 10.0, seconds: float = 60.0) -> None:
        self._cluster = cluster
        self._lasts = lasts
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._reads: dict[str, _Read] = {}

    async def whole(self, path: str, trim: Trim, since: float | None = None) -> tuple[tuple[JsonObject, ...], float]:
        """All objects of a collection, trimmed, and when reading them began; at `since` or later, where that is given.

        Raises:
            Outage, Refused: as `Cluster`; also what an earlier one met for whose end we were waiting.
        """
        asked = _now()
        async with self._turn:
            known = self._reads.get(path)
            if known is None or not _good(known, asked, since):
                known = await self._read(path, trim)
                self._keep(path, known)
        if known.error is not None:
            # One of its own for each: an exception collects the frames of all who raise it.
            raise type(known.error)(str(known.error))
        return known.items, known.began

    async def _read(self, path: str, trim: Trim) -> _Read:
        began = _now()
        try:
            async with asyncio.timeout(self._seconds):
                items = await self._pages(path, trim)
        except TimeoutError:
            return _Read(began, _now(), error=Outage(f"GET {path}: not read within {self._seconds:g} s"))
        except (Outage, Refused, Conflict, NotFound) as error:
            return _Read(began, _now(), error=type(error)(str(error)))
        return _Read(began, _now(), tuple(items))

    async def _pages(self, path: str, trim: Trim) -> list[JsonObject]:
        items: list[JsonObject] = []
        token = ""
        for _ in range(_MOST_PAGES):
            query = urlencode({"limit": _PAGE} | ({"continue": token} if token else {}))
            page = await self._cluster.get(f"{path}?{query}")
            if not mapping(page.get("metadata")).get("resourceVersion"):
                raise Outage(f"GET {path}: the answer is no list of objects")
            items += [trim(one) for one in sequence(page.get("items")) if isinstance(one, dict)]
            token = str(mapping(page.get("metadata")).get("continue") or "")
            if not token:
                return items
            del page
            await asyncio.sleep(0)
        raise Outage(f"GET {path}: more than {_MOST_PAGES} pages")

    def _keep(self, path: str, read: _Read) -> None:
        self._reads[path] = read
        asyncio.get_running_loop().call_later(self._lasts, self._forget, path, read)

    def _forget(self, path: str, read: _Read) -> None:
        if self._reads.get(path) is read:
            del self._reads[path]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _good(read: _Read, asked: float, since: float | None) -> bool:
    if read.error is not None:
        # Whoever was waiting meanwhile has its answer; whoever comes later asks again.
        return read.ended >= asked
    return since is None or read.began >= since


def trimmed(obj: JsonObject) -> JsonObject:
    """Its spec, and what the rules read of its metadata."""
    return _with_spec(obj, spec_of(obj))


def trimmed_rule(obj: JsonObject) -> JsonObject:
    """Of a DestinationRule: whom it is for, and the names of its subsets."""
    spec = spec_of(obj)
    subsets = [{"name": mapping(one).get("name")} for one in sequence(spec.get("subsets"))]
    return _with_spec(obj, {**_picked(spec, "host", "exportTo", "workloadSelector"), "subsets": subsets})


def trimmed_service(obj: JsonObject) -> JsonObject:
    """Of a VirtualService: hosts, gateways, delegates, and each host that it sends to, once; no matches and paths."""
    spec = spec_of(obj)
    routes = [mapping(one) for kind in ("http", "tls", "tcp") for one in sequence(spec.get(kind))]
    gateways = dict.fromkeys(
        str(name)
        for route in routes
        for match in sequence(route.get("match"))
        for name in sequence(mapping(match).get("gateways"))
    )
    hosts = dict.fromkeys(_destinations(routes))
    short: JsonObject = {}
    if gateways:
        short["match"] = [{"gateways": [*gateways]}]
    if hosts:
        short["route"] = [{"destination": {"host": host}} for host in hosts]
    delegates = [{"delegate": delegate} for route in routes if (delegate := mapping(route.get("delegate")))]
    http = [*([short] if short else []), *delegates]
    return _with_spec(obj, {**_picked(spec, "hosts", "gateways", "exportTo"), "http": http})


def _destinations(routes: list[JsonObject]) -> Iterator[str]:
    for route in routes:
        for entry in sequence(route.get("route")):
            host = mapping(mapping(entry).get("destination")).get("host")
            if isinstance(host, str):
                yield host


def _with_spec(obj: JsonObject, spec: JsonObject) -> JsonObject:
    return {"metadata": _picked(mapping(obj.get("metadata")), *_METADATA), "spec": spec}


def _picked(given: JsonObject, *keys: str) -> JsonObject:
    return {key: given[key] for key in keys if key in given}
