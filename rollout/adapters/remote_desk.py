"""The desk over HTTP: what people and CI ask of our API.

Belongs here: requests and their limits. Does not belong here: what an answer means (`remote_answers.py`), where the
address and the token come from (`cli/reaching.py`), the other side of it (`api/`).

No redirect is followed (it would carry the token somewhere else), no proxy is used unless asked for, and no answer is
read beyond 1 MiB.
"""

import asyncio
import json
import re
import secrets
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx2

from rollout import __version__
from rollout.adapters.remote_answers import Unauthenticated, field, freeze_of, meaning_of, release_of, report_of
from rollout.core.freeze import Freeze
from rollout.core.preflight import Report
from rollout.core.quantities import format_instant
from rollout.core.release import Release
from rollout.desk import Caller, Order, Scope, Started, Stopped, Wanted
from rollout.ports import NotFound, Outage, Refused

JsonObject = dict[str, Any]
Token = Callable[[], str | None]

MOST_BYTES = 1 << 20
_SECONDS = 5.0
_SURVEY_SECONDS = 30.0
"""For a preflight, which asks the cluster and Prometheus many things."""
_MARGIN = 3.0
"""A long poll that is not answered this many seconds after it should be is a dead connection."""
_PAGE = 64
_MOST_PAGES = 1000
_TRIES = 4
_LONGEST_PAUSE = 5.0
"""Seconds; a server that wants us to wait longer is told to the user instead."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")


class _TooLong(Outage):
    """More than we read."""


@dataclass(frozen=True, slots=True)
class _Answer:
    code: int
    headers: Mapping[str, str]
    body: Any
    """Parsed JSON; None without a body."""


class RemoteDesk:
    """`Desk` over HTTP; to be closed."""

    def __init__(
        self, url: str, token: Token, *, ca_file: Path | None = None, env_proxy: bool = False, seconds: float = _SECONDS
    ) -> None:
        """Connects to nothing yet.

        Args:
            url: of the API, without a slash at its end.
            token: called before each request; None for none.
            ca_file: PEM of who signs the API's certificate; else the system's.
            env_proxy: use the proxy that the environment names.
            seconds: for one answer.

        Raises:
            Refused: `ca_file` cannot be read.
        """
        self._url = url
        self._token = token
        self._seconds = seconds
        # Reading the system's certificates takes longer than everything else here.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if ca_file is not None or not url.startswith("http:"):
                context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"{ca_file} holds no certificates that can be read: {error}") from error
        self._http = httpx2.AsyncClient(
            verify=context,
            trust_env=env_proxy,
            follow_redirects=False,
            timeout=seconds,
            headers={"User-Agent": f"rollout/{__version__}", "Accept": "application/json, application/problem+json"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    # Desk

    async def start(self, order: Order) -> Started:
        """Ask for a release. Raises Busy, Frozen, KeyReused, Refused."""
        body: JsonObject = {
            "namespace": order.namespace,
            "service": order.service,
            "version": order.version,
            "source": order.source.wire(),
            "onConflict": order.on_conflict,
        }
        if order.policy is not None:
            body["policy"] = order.policy.wire()
        if order.not_before is not None:
            body["notBefore"] = format_instant(order.not_before)
        key = order.key or secrets.token_hex(16)
        answer = await self._ask("POST", "/v1/releases", body=body, headers={"Idempotency-Key": key})
        replayed = answer.headers.get("idempotency-replayed", "").lower() == "true"
        return Started(release_of(answer.body), replayed=replayed)

    async def wish(self, wanted: Wanted) -> Release:
        """Abort, pause, resume, promote or approve. Raises Finished, Refused, NotFound."""
        body = {"reason": wanted.reason} | ({"gate": wanted.gate} if wanted.gate else {})
        path = f"{_path(wanted.namespace, wanted.name)}/{wanted.verb}"
        return release_of((await self._ask("POST", path, body=body)).body)

    async def get(self, namespace: str, name: str) -> Release | None:
        """The release as it is now; None if there is none."""
        return await self._read(namespace, name, {}, self._seconds)

    async def newer(self, release: Release, within: float) -> Release | None:
        """The release as soon as it is another revision, or as it is after `within` seconds; None if it is gone."""
        query = {"wait": f"{round(within * 1000)}ms", "after": release.revision}
        return await self._read(release.namespace, release.name, query, within + _MARGIN)

    async def list(self, namespace: str | None, service: str | None = None) -> Sequence[Release]:
        """All releases (of one service), oldest first; of all namespaces with None."""
        if service is not None and not _NAME.fullmatch(service):
            return []
        query = {"namespace": namespace} if namespace is not None else {}
        query |= {"service": service} if service is not None else {}
        newest_first = [release_of(one) async for one in self._items("/v1/releases", query)]
        return newest_first[::-1]

    async def freeze(self, scope: Scope, until: datetime | None, *, by: str, reason: str) -> Freeze:  # noqa: ARG002 - the API knows who asks
        """Let nobody start or advance; one that stands is replaced."""
        body = {"reason": reason} | ({"until": format_instant(until)} if until is not None else {})
        return freeze_of((await self._ask("PUT", _freeze_path(scope), body=body)).body)

    async def unfreeze(self, scope: Scope, *, by: str) -> bool:  # noqa: ARG002 - the API knows who asks
        """Lift it; False if there was none."""
        try:
            await self._ask("DELETE", _freeze_path(scope))
        except NotFound:
            return False
        return True

    async def freezes(self, namespace: str | None) -> Sequence[Freeze]:
        """Those of a namespace and those of everything; of all namespaces with None."""
        query = {"namespace": namespace} if namespace is not None else {}
        found = (await self._ask("GET", "/v1/freezes", query=query)).body
        return [freeze_of(one) for one in field(found, "items")]

    async def stop(self, scope: Scope, *, by: str, reason: str) -> Stopped:  # noqa: ARG002 - the API knows who asks
        """The brake: freeze the scope first, then abort every release under way in it."""
        answer = (await self._ask("POST", "/v1/stop", body={"scope": str(scope), "reason": reason})).body
        return Stopped(
            freeze=freeze_of(field(answer, "freeze")),
            aborted=tuple(release_of(one) for one in field(answer, "aborted")),
            failed={str(name): str(why) for name, why in field(answer, "failed").items()},
        )

    async def whoami(self, namespace: str) -> Caller:
        """Who we are to the other side."""
        answer = (await self._ask("GET", "/v1/whoami", query={"namespace": namespace})).body
        may = answer.get("may") if isinstance(answer, dict) else None
        return Caller(
            name=str(field(answer, "name")),
            groups=tuple(str(group) for group in answer.get("groups", ())),
            may={str(verb): bool(allowed) for verb, allowed in may.items()} if isinstance(may, dict) else None,
        )

    async def preflight(self, namespace: str, service: str, version: str) -> tuple[str, Report]:
        """Have the API look around a route: which policy it looked with, for people, and what it found."""
        body = {"namespace": namespace, "service": service, "version": version}
        answer = (await self._ask("POST", "/v1/preflight", body=body, seconds=_SURVEY_SECONDS)).body
        return str(field(answer, "policy")), report_of(answer)

    # requests

    async def _read(self, namespace: str, name: str, query: Mapping[str, str], seconds: float) -> Release | None:
        if not _NAME.fullmatch(name):
            return None
        try:
            answer = await self._ask("GET", _path(namespace, name), query=query, seconds=seconds)
        except NotFound:
            return None
        return release_of(answer.body)

    async def _items(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[Any, None]:
        """All pages; smaller ones where releases have so much to tell that a page of them is too long."""
        cursor: Mapping[str, str] = {}
        size = _PAGE
        for _ in range(_MOST_PAGES):
            try:
                page = (await self._ask("GET", path, query={**query, **cursor, "limit": str(size)})).body
            except _TooLong:
                if size == 1:
                    raise
                size //= 2
                continue
            for item in field(page, "items"):
                yield item
            if not page.get("next"):
                return
            cursor = {"cursor": str(page["next"])}
        raise Outage(f"{self._url}{path} goes on for more than {_MOST_PAGES} pages")

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> _Answer:
        """One request; one that came too fast is sent again, because nothing was done for it."""
        for attempt in range(1, _TRIES + 1):
            answer = await self._send(method, path, query or {}, body, headers or {}, seconds or self._seconds)
            if answer.code != 429:
                break
            pause = _pause(answer.headers.get("retry-after", ""))
            if attempt == _TRIES or pause > _LONGEST_PAUSE:
                break
            await asyncio.sleep(pause)
        if answer.code in {200, 201, 202, 204}:
            return answer
        raise meaning_of(self._url, f"{method} {path}", answer.code, answer.body)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: JsonObject | None,
        headers: Mapping[str, str],
        seconds: float,
    ) -> _Answer:
        content = None if body is None else json.dumps(body).encode()
        sent = {**headers, **self._credentials(), **({} if body is None else {"Content-Type": "application/json"})}
        timeout = httpx2.Timeout(seconds, connect=min(seconds, self._seconds))
        try:
            async with (
                asyncio.timeout(seconds),
                self._http.stream(
                    method, self._url + path, params=query, content=content, headers=sent, timeout=timeout
                ) as reply,
            ):
                raw = await _bounded(reply)
        except TimeoutError as error:
            raise Outage(f"{self._url} gave no answer within {seconds:g}s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise Outage(f"{self._url} cannot be asked: {type(error).__name__}: {error}") from error
        received = {name.lower(): value for name, value in reply.headers.items()}
        return _Answer(reply.status_code, received, self._parsed(reply.status_code, raw))

    def _credentials(self) -> Mapping[str, str]:
        try:
            token = self._token()
        except OSError as error:
            raise Unauthenticated(f"the token cannot be read: {error.strerror} ({error.filename})") from error
        if token is None:
            return {}
        if not _TOKEN.fullmatch(token.strip()):
            raise Unauthenticated("what should be the token is none: it is empty, too long, or has other characters")
        return {"Authorization": f"Bearer {token.strip()}"}

    def _parsed(self, code: int, raw: bytes) -> Any:
        if not raw:
            return None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            if code >= 300:
                return None  # a proxy's own page; the code says enough
            raise Outage(f"{self._url} answers with no JSON: is this the address of rollout's API?") from error


async def _bounded(reply: Any) -> bytes:
    """The body, unless it is longer than 1 MiB. Raises Outage."""
    found = bytearray()
    async with aclosing(reply.aiter_bytes()) as chunks:
        async for chunk in chunks:
            found += chunk
            if len(found) > MOST_BYTES:
                raise _TooLong(f"the answer of {reply.url.host} is longer than {MOST_BYTES} bytes")
    return bytes(found)


def _pause(retry_after: str) -> float:
    """Seconds; a date, which our API never gives, counts as too long."""
    if not retry_after:
        return 1.0
    return float(retry_after) if re.fullmatch(r"[0-9]{1,6}", retry_after) else _LONGEST_PAUSE + 1


def _path(namespace: str, name: str) -> str:
    return f"/v1/releases/{quote(namespace, safe='')}/{quote(name, safe='')}"


def _freeze_path(scope: Scope) -> str:
    return f"/v1/freezes/{quote(str(scope), safe='/')}"
