"""One Kubernetes API server: raw paths and plain dicts in, plain dicts or one of the ports' errors out.

Belongs here: requests, timeouts, and what each answer means. Does not belong here: any kind of object (`releases.py`,
`workloads.py`, `istio.py`), where the credentials come from (`kubeconfig.py`).

Only the lowest layer of the vendor's client is used: its informer and electors are not safe with custom resources, and
its typed patch methods pick a Content-Type by themselves. Here every write names its own.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import OpenApiException
from kubernetes.aio.config.config_exception import ConfigException

from rollout.adapters.kubeconfig import Access, find_access
from rollout.ports import Conflict, Fence, NotFound, Outage, Refused

JsonObject = dict[str, Any]

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"

_SECONDS = 5.0
_LIST_SECONDS = 20.0
_WATCH_MARGIN = 5.0
"""A watch that the server has not ended this many seconds after it should have is a dead connection."""
_PAGE = 500
_MOST_PAGES = 200
_DISCOVERY_LASTS = 300.0
_LONGEST_MESSAGE = 500

_NO_ANSWER = (aiohttp.ClientError, HttpProcessingError, OSError, OpenApiException, ConfigException, ValueError)
"""What the vendor's client and the one below it raise when there was no answer that they understood."""


class Expired(Outage):
    """410: the server does not remember that far back. List again."""


class Denied(Refused, Outage):
    """401, 403, or a path that is not served: the server said no, and only its administrators can change that.

    A refusal to people; an outage to whoever retries, because it says nothing about the object that was asked for.
    """


_MEANINGS: dict[int, type[Exception]] = {
    401: Denied, 403: Denied, 408: Outage, 409: Conflict, 410: Expired, 425: Outage, 429: Outage,
}  # fmt: skip
"""Codes that are not simply "4xx: Refused, all else: Outage"."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a collection at one moment; `revision` is the resourceVersion to watch from."""

    items: list[JsonObject]
    revision: str


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    content_type: str = JSON

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Cluster:
    """A connection to one API server; close it, or use it as a context manager.

    Every method raises `Outage` when the server could not be asked or did not answer in time, in sense or at all
    (timeouts, connections, 429, 5xx, garbage), `Denied` on 401, 403 and unserved paths, `Refused` on what it calls
    invalid (400, 405, 413, 415, 422), with the server's own message.

    Args:
        access: where the server is and who we are.
        seconds: how long one answer may take; lists have four times as long.
        fence: asked before every request that could write, dry runs too; what it raises is what the call raises.
    """

    def __init__(self, access: Access, *, seconds: float = _SECONDS, fence: Fence | None = None) -> None:
        self._api = ApiClient(configuration=access.configuration)
        self._api.user_agent = "rollout"
        self._renew: Callable[[], Awaitable[None]] = access.renew
        self._renewal: asyncio.Future[None] | None = None
        self._seconds = seconds
        self._fence = fence
        self._versions: dict[str, tuple[float, list[str]]] = {}
        self.namespace = access.namespace

    @classmethod
    async def connect(
        cls,
        kubeconfig: Path | None = None,
        context: str | None = None,
        *,
        seconds: float = _SECONDS,
        fence: Fence | None = None,
    ) -> Self:
        """A cluster as kubectl would find it: explicit file, $KUBECONFIG, ~/.kube/config, the pod's service account.

        Nothing is sent yet. Raises Refused, saying where it looked, when there are no usable credentials.
        """
        access = await find_access(kubeconfig, context)
        try:
            return cls(access, seconds=seconds, fence=fence)
        except (OSError, ValueError) as error:
            # Certificates are loaded here; ssl.SSLError is an OSError.
            raise Refused(f"the certificates for {access.configuration.host} cannot be used: {error}") from error

    async def close(self) -> None:
        """Close all connections; nothing may be called afterwards."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait({self._renewal})
        await self._api.close()
        # A closed transport lets go of its socket in the loop's next turn; without one, Python warns of a leak.
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, path: str) -> JsonObject:
        """One object. Raises NotFound only where the server names the object that is missing."""
        return await self._ask(_Call("GET", path))

    async def list(self, path: str, *, label_selector: str | None = None) -> list[JsonObject]:
        """All objects of a collection."""
        return (await self.listing(path, label_selector=label_selector)).items

    async def listing(self, path: str, *, label_selector: str | None = None) -> Listing:
        """All objects of a collection and the resourceVersion they were read at; read in pages of 500."""
        selector = (("labelSelector", label_selector),) if label_selector else ()
        try:
            return await self._pages(path, selector)
        except Expired:
            # A continue token outlived the server's memory; in one piece a list cannot expire (client-go pager.go).
            return _listing(await self._ask(_Call("GET", path, selector), 4 * self._seconds))

    async def create(self, path: str, obj: JsonObject) -> JsonObject:
        """POST to a collection. Raises Conflict if the name is taken, Refused for fields the server does not know."""
        query = (("fieldManager", "rollout"), ("fieldValidation", "Strict"))
        return await self._ask(_Call("POST", path, query, obj))

    async def replace(self, path: str, obj: JsonObject) -> JsonObject:
        """PUT; `obj` carries the resourceVersion it was read at. Raises Conflict if that is no longer the latest."""
        return await self._ask(_Call("PUT", path, (("fieldManager", "rollout"),), obj))

    async def patch(self, path: str, operations: Sequence[JsonObject], *, dry_run: bool = False) -> JsonObject:
        """JSON Patch (RFC 6902). Raises Conflict on 409 and where a `test` of it fails; Refused if invalid."""
        return await self._ask(_Call("PATCH", path, _patch_query(dry_run=dry_run), [*operations], JSON_PATCH))

    async def merge(self, path: str, body: JsonObject, *, dry_run: bool = False) -> JsonObject:
        """JSON merge patch (RFC 7386); with a `metadata.resourceVersion` in it, raises Conflict if that is stale."""
        return await self._ask(_Call("PATCH", path, _patch_query(dry_run=dry_run), body, MERGE_PATCH))

    async def delete(self, path: str) -> None:
        """Remove one object. Raises NotFound only where the server names the object that is missing."""
        await self._ask(_Call("DELETE", path))

    async def watch(
        self,
        path: str,
        *,
        resource_version: str,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_s: float = 60,
    ) -> AsyncGenerator[tuple[str, JsonObject], None]:
        """Changes after `resource_version`: (ADDED | MODIFIED | DELETED | BOOKMARK, object).

        Ends quietly when the server ends it, at the latest after `timeout_s`. A connection that is still silent a few
        seconds later is given up with Outage. Raises Expired when the server no longer remembers that version.
        Leave it with `contextlib.aclosing`, so that the connection goes with it.
        """
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(max(1, round(timeout_s)))),
        ]
        if label_selector:
            query.append(("labelSelector", label_selector))
        if field_selector:
            query.append(("fieldSelector", field_selector))
        call = _Call("GET", path, tuple(query))
        lasts = timeout_s + _WATCH_MARGIN
        deadline = asyncio.get_running_loop().time() + lasts
        answer = await self._open(call, lasts)
        try:
            while line := await _next_line(call, answer, deadline):
                yield _event(call, line)
        finally:
            answer.close()

    async def served_version(self, group: str, candidates: Sequence[str]) -> str:
        """The first of `candidates` under which the server serves an API group; known for five minutes.

        Raises Denied when it serves none: not NotFound, which would say something about an object.
        """
        now = asyncio.get_running_loop().time()
        since, served = self._versions.get(group, (0.0, []))
        if not served or now - since > _DISCOVERY_LASTS:
            found = await self._ask(_Call("GET", f"/apis/{group}"))
            versions = found.get("versions")
            if not isinstance(versions, list):
                raise Outage(f"GET /apis/{group}: the answer lists no versions")
            served = [str(one.get("version")) for one in versions if isinstance(one, dict)]
            self._versions[group] = (now, served)
        for candidate in candidates:
            if candidate in served:
                return candidate
        raise Denied(f"the cluster serves {group} only as {', '.join(served)}, not as {', '.join(candidates)}")

    async def _pages(self, path: str, selector: tuple[tuple[str, str], ...]) -> Listing:
        items: list[JsonObject] = []
        token = ""
        for _ in range(_MOST_PAGES):
            query = (*selector, ("limit", str(_PAGE)), *((("continue", token),) if token else ()))
            page = await self._ask(_Call("GET", path, query), 4 * self._seconds)
            listing = _listing(page)
            items += listing.items
            token = page["metadata"].get("continue") or ""
            if not token:
                return Listing(items, listing.revision)
        raise Outage(f"GET {path}: more than {_MOST_PAGES} pages")

    async def _ask(self, call: _Call, seconds: float | None = None) -> JsonObject:
        code, raw = await self._exchange(call, seconds or self._seconds)
        if code == 401:
            try:
                await self._renewed()
            except Exception as error:
                # Plugins are foreign programs; whatever goes wrong with them is the same to us.
                raise Denied(f"{call}: not authenticated, and the credentials cannot be renewed: {error}") from error
            code, raw = await self._exchange(call, seconds or self._seconds)
        answer = _decoded(raw)
        if not 200 <= code <= 299:
            raise _refusal(call, code, answer)
        if answer is None:
            raise Outage(f"{call}: the answer is no JSON object")
        return answer

    async def _renewed(self) -> None:
        """One renewal for all who wait for it. It goes on when they give up: a plugin may take longer than they may."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.ensure_future(self._renew())
            # Looked at, so that nothing is said of a failure that nobody waited for.
            self._renewal.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._renewal)

    async def _exchange(self, call: _Call, seconds: float) -> tuple[int, bytes]:
        if self._fence is not None and call.method != "GET":
            # Asked for every attempt; the time it grants covers connecting too, so nothing is sent after its end.
            seconds = min(seconds, self._fence())
        try:
            async with asyncio.timeout(seconds):
                answer = await self._send(call, seconds)
                try:
                    return answer.status, await answer.read()
                finally:
                    answer.release()
        except TimeoutError as error:
            raise Outage(f"{call}: no answer within {seconds:g} s") from error
        except _NO_ANSWER as error:
            raise Outage(f"{call}: {_said(error)}") from error

    async def _open(self, call: _Call, lasts: float) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._send(call, lasts)
                if answer.status == 200:
                    return answer
                try:
                    raw = await answer.read()
                finally:
                    answer.release()
        except TimeoutError as error:
            raise Outage(f"{call}: no answer within {self._seconds:g} s") from error
        except _NO_ANSWER as error:
            raise Outage(f"{call}: {_said(error)}") from error
        raise _refusal(call, answer.status, _decoded(raw))

    async def _send(self, call: _Call, seconds: float) -> aiohttp.ClientResponse:
        serialized = await self._api.param_serialize(
            call.method,
            call.path,
            query_params=[*call.query],
            header_params={"Accept": JSON, "Content-Type": call.content_type},
            body=call.body,
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*serialized, _request_timeout=seconds)
        response: aiohttp.ClientResponse = answer.response
        return response


def _patch_query(*, dry_run: bool) -> tuple[tuple[str, str], ...]:
    return (("fieldManager", "rollout"), *((("dryRun", "All"),) if dry_run else ()))


def _said(error: BaseException) -> str:
    return str(error)[:_LONGEST_MESSAGE] or type(error).__name__


def _decoded(raw: bytes) -> JsonObject | None:
    try:
        answer = json.loads(raw)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _listing(page: JsonObject) -> Listing:
    items, metadata = page.get("items"), page.get("metadata")
    if items is None:
        # Go writes an empty list as null where a server forgets to make one.
        items = []
    if not isinstance(items, list) or not isinstance(metadata, dict) or not metadata.get("resourceVersion"):
        raise Outage("the answer is no list of objects")
    return Listing([item for item in items if isinstance(item, dict)], str(metadata["resourceVersion"]))


async def _next_line(call: _Call, answer: aiohttp.ClientResponse, deadline: float) -> bytes:
    try:
        async with asyncio.timeout_at(deadline):
            return await answer.content.readline()
    except TimeoutError as error:
        raise Outage(f"{call}: the watch went silent") from error
    except _NO_ANSWER as error:
        raise Outage(f"{call}: {_said(error)}") from error


def _event(call: _Call, line: bytes) -> tuple[str, JsonObject]:
    event = _decoded(line) or {}
    kind, obj = event.get("type"), event.get("object")
    if not isinstance(kind, str) or not isinstance(obj, dict):
        raise Outage(f"{call}: the watch told something that is no event")
    if kind == "ERROR":
        code = obj.get("code")
        raise _refusal(call, code if isinstance(code, int) else 500, obj)
    return kind, obj


def _refusal(call: _Call, code: int, status: JsonObject | None) -> Exception:
    """What an answer with an error code means (codes: k8s.io/apimachinery/pkg/api/errors; body: metav1.Status)."""
    status = status or {}
    given = status.get("details")
    details: JsonObject = given if isinstance(given, dict) else {}
    message = f"{call}: {str(status.get('message') or f'HTTP {code}')[:_LONGEST_MESSAGE]}"
    if code == 404:
        # A path that is not served, and any proxy, answer 404 as well, but without the name of an object.
        return NotFound(message) if details.get("name") else Denied(f"{message} (is this kind of object installed?)")
    if code == 422 and _tests(call) and not details.get("causes"):
        # A patch that cannot be carried out has no causes; an object that would be invalid lists its bad fields
        # (apiserver/pkg/endpoints/handlers/patch.go, applyJSPatch).
        return Conflict(message)
    if code in _MEANINGS:
        return _MEANINGS[code](message)
    return Refused(message) if 400 <= code <= 499 else Outage(message)


def _tests(call: _Call) -> bool:
    return call.content_type == JSON_PATCH and any(operation.get("op") == "test" for operation in call.body)
