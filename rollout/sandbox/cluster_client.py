"""The sandbox's own client of the Kubernetes API: read, write, and mirror kinds of objects.

Belongs here: HTTP to any Kubernetes API, as nobody or with a bearer token. Does not belong here: what the objects mean.
It has nothing to do with the controller's client, so that neither can hide the other's mistakes.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Self

import httpx2
from ruamel.yaml import YAML

JsonObject = dict[str, Any]

_PARTS: Final = ("contexts", "clusters", "users")
_MERGE_PATCH: Final = "application/merge-patch+json"
_JSON_PATCH: Final = "application/json-patch+json"
_WATCH_SECONDS: Final = 240
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0
_TIMEOUT: Final = httpx2.Timeout(10.0)
_WATCH_TIMEOUT: Final = httpx2.Timeout(10.0, read=_WATCH_SECONDS + 30)


class ClusterError(RuntimeError):
    """The API said no. `code` is the HTTP status, the message the server's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class ClusterClient:
    """Talks to one API server. Every method may raise `ClusterError` and httpx2.TransportError.

    Args:
        url: `http://host:port`, or `https://host:port` with a CA.
        ca: certificates (PEM) that may have signed the server's; no others are trusted.
        token: who we are; None is nobody.
    """

    def __init__(self, url: str, *, ca: str | None = None, token: str | None = None) -> None:
        self._http = httpx2.AsyncClient(
            base_url=url,
            timeout=_TIMEOUT,
            trust_env=False,
            verify=ssl.create_default_context(cadata=ca) if ca is not None else True,
            headers={} if token is None else {"authorization": f"Bearer {token}"},
        )
        self._plurals: dict[str, dict[str, JsonObject]] = {}

    @classmethod
    def of_kubeconfig(cls, path: Path) -> Self:
        """A client for the current context of a kubeconfig that knows nothing but a server, its CA and a token.

        Raises:
            OSError: it cannot be read.
            LookupError: it names something that is not in it.
        """
        config = YAML(typ="safe", pure=True).load(path.read_text())
        contexts, clusters, users = ({one["name"]: one for one in config[part]} for part in _PARTS)
        context = contexts[config["current-context"]]["context"]
        cluster, user = clusters[context["cluster"]]["cluster"], users[context["user"]]["user"] or {}
        data = cluster.get("certificate-authority-data")
        ca = base64.b64decode(data).decode() if data is not None else None
        if ca is None and "certificate-authority" in cluster:
            ca = (path.parent / cluster["certificate-authority"]).read_text()
        return cls(cluster["server"], ca=ca, token=user.get("token"))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(self, method: str, path: str, **more: Any) -> JsonObject:
        answer = await self._http.request(method, path, **more)
        if answer.is_success:
            body: JsonObject = answer.json()
            return body
        try:
            message = answer.json()["message"]
        except (ValueError, KeyError):
            message = answer.text
        raise ClusterError(answer.status_code, message)

    async def collection(self, api_version: str, kind: str, namespace: str | None) -> str:
        """The path of a kind's objects (in a namespace), asked from the server's discovery until it is known."""
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if kind not in self._plurals.get(api_version, {}):
            found = (await self._ask("GET", root))["resources"]
            self._plurals[api_version] = {r["kind"]: r for r in found if "/" not in r["name"]}
        resource = self._plurals[api_version].get(kind)
        if resource is None:
            raise ClusterError(404, f"the server serves no {kind} in {api_version}")
        scope = f"/namespaces/{namespace}" if resource["namespaced"] and namespace else ""
        return f"{root}{scope}/{resource['name']}"

    async def _path(self, obj: JsonObject) -> str:
        metadata = obj["metadata"]
        collection = await self.collection(obj["apiVersion"], obj["kind"], metadata.get("namespace"))
        return f"{collection}/{metadata['name']}"

    async def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> JsonObject:
        """Read one object."""
        return await self._ask("GET", f"{await self.collection(api_version, kind, namespace)}/{name}")

    async def apply(self, obj: JsonObject) -> JsonObject:
        """Create the object, or merge it into what is there (RFC 7396: lists are replaced)."""
        path = await self._path(obj)
        try:
            return await self._ask("POST", path.rpartition("/")[0], json=obj)
        except ClusterError as error:
            if error.code != 409:
                raise
        return await self.merge(obj)

    async def create(self, path: str, obj: JsonObject) -> JsonObject:
        """Send an object to a collection, or to a subresource that makes something of it."""
        return await self._ask("POST", path, json=obj)

    async def merge(self, obj: JsonObject, subresource: str = "") -> JsonObject:
        """Merge into an object that is there."""
        path = await self._path(obj) + (f"/{subresource}" if subresource else "")
        body = json.dumps(obj).encode()
        return await self._ask("PATCH", path, content=body, headers={"content-type": _MERGE_PATCH})

    async def patch(self, path: str, operations: list[JsonObject]) -> JsonObject:
        """Send a JSON patch (RFC 6902) to a path."""
        body = json.dumps(operations).encode()
        return await self._ask("PATCH", path, content=body, headers={"content-type": _JSON_PATCH})

    async def delete(
        self, api_version: str, kind: str, name: str, namespace: str | None = None, *, grace_seconds: int | None = None
    ) -> None:
        """Delete an object; one that is not there is fine. `grace_seconds` is for kinds that take their time."""
        query = {} if grace_seconds is None else {"gracePeriodSeconds": str(grace_seconds)}
        try:
            path = f"{await self.collection(api_version, kind, namespace)}/{name}"
            await self._ask("DELETE", path, params=query)
        except ClusterError as error:
            if error.code != 404:
                raise

    async def events(self, path: str, revision: str) -> AsyncIterator[tuple[str, JsonObject]]:
        """One watch, until the server ends it: (ADDED | MODIFIED | DELETED | BOOKMARK, object).

        Raises:
            ClusterError: 410 when the revision is too old, whichever way the server says so.
        """
        query = {"watch": "true", "resourceVersion": revision, "allowWatchBookmarks": "true"}
        query["timeoutSeconds"] = str(_WATCH_SECONDS)
        async with self._http.stream("GET", path, params=query, timeout=_WATCH_TIMEOUT) as answer:
            if not answer.is_success:
                raise ClusterError(answer.status_code, (await answer.aread()).decode(errors="replace"))
            async for line in answer.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ClusterError(event["object"].get("code", 500), event["object"].get("message", ""))
                yield event["type"], event["object"]

    async def list(self, path: str) -> tuple[list[JsonObject], str]:
        """All objects of a collection, and the revision to watch from."""
        answer = await self._ask("GET", path)
        return answer["items"], answer["metadata"]["resourceVersion"]


class Mirror:
    """A local copy of all objects of one kind in all namespaces, kept up to date until cancelled.

    Attributes:
        objects: (namespace, name) -> object.
        filled: set once the first list has arrived.
    """

    def __init__(self, client: ClusterClient, api_version: str, kind: str, changed: Callable[[], None]) -> None:
        self.objects: dict[tuple[str, str], JsonObject] = {}
        self.filled = asyncio.Event()
        self._client = client
        self._api_version = api_version
        self._kind = kind
        self._changed = changed

    async def run(self) -> None:
        """List, watch from there, watch again when the watch ends, list again when the server says no."""
        revision, pause = "", _FIRST_PAUSE
        while True:
            try:
                path = await self._client.collection(self._api_version, self._kind, None)
                if not revision:
                    revision = await self._list(path)
                async for kind, obj in self._client.events(path, revision):
                    revision, pause = obj["metadata"]["resourceVersion"], _FIRST_PAUSE
                    if kind != "BOOKMARK":
                        self._take(kind, obj)
            except ClusterError:
                # 410: the server forgot where we were. Whatever else it said, a list is a fresh start.
                revision = ""
            except (httpx2.TransportError, httpx2.StreamError):
                # Dropped, down or out of order: what was missed can still be watched from where we were.
                pass
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _list(self, path: str) -> str:
        items, revision = await self._client.list(path)
        # Items of built-in kinds do not say what they are.
        kind = {"apiVersion": self._api_version, "kind": self._kind}
        self.objects = {_key(item): kind | item for item in items}
        self.filled.set()
        self._changed()
        return revision

    def _take(self, kind: str, obj: JsonObject) -> None:
        if kind == "DELETED":
            self.objects.pop(_key(obj), None)
        else:
            self.objects[_key(obj)] = obj
        self._changed()


def _key(obj: JsonObject) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
