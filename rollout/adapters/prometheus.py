"""Prometheus: raw samples in, or a sentence that says why there are none. Never a number that might be wrong.

Here is the way to Prometheus and back: batching, one deadline, limits, and the checks without which an answer is not
believed. The words of the queries are in promql.py; what samples add up to is `core/counts.py`'s business.

`prometheus-api-client` by itself drops warnings (a partial answer looks whole), has no timeout, obeys redirects and
proxies of the environment and sends POST queries in the URL; the session below corrects all of it.
"""

import asyncio
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from requests.auth import AuthBase

from rollout.adapters import promql
from rollout.core.counts import Instance, Points, Samples, Series
from rollout.core.route import Unavailable
from rollout.ports import Subject

LOOKBACK = timedelta(seconds=150)
"""How far before `since` samples are read: two scrapes of a minute, one of them missed. A counter's value at `since` is
its last sample before; without one it cannot be told from a counter that was just born."""
_GATHER = 0.01
"""Seconds that a question waits for others to share its query."""
_MOST_SUBJECTS = 50
"""Services in one query; their names make a regular expression that every label value is held against."""
_PIECE = 1 << 16


class _Doubt(Exception):  # noqa: N818 - not a defect of ours
    """No answer, or one that cannot be believed. Says why, for people."""


class _TooMuch(_Doubt):
    """The answer is too large for us or for Prometheus; half the question may fit."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """One caller's question. Times in Unix seconds."""

    subject: Subject
    since: float
    now: float
    answer: asyncio.Future[Samples | Unavailable]


@dataclass(slots=True)
class _Found:
    """What the batch's answer holds for one ask."""

    series: list[Series] = field(default_factory=list)
    born: set[Instance] = field(default_factory=set)
    """Targets of series without a sample at or before `since`."""
    doubt: str = ""


class _Answer(requests.Response):
    """A believed answer, as `PrometheusConnect` expects it: it reads `json()["data"]["result"]`."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.status_code = 200
        self._body = body

    def json(self, **_kwargs: Any) -> Any:
        return self._body


class _Session(requests.Session):
    """Query in the body, one deadline, a size limit, no redirects; 200 means a complete matrix. Raises `_Doubt`."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self.trust_env = False
        # Plain, so that the size limit is a limit on memory.
        self.headers["Accept-Encoding"] = "identity"
        self._most_bytes = most_bytes

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        seconds = kwargs["timeout"]
        deadline = monotonic() + seconds
        ours = {
            "data": kwargs.pop("params"),
            "timeout": urllib3.Timeout(total=seconds),
            "allow_redirects": False,
            "stream": True,
        }
        with super().request(method, url, *args, **{**kwargs, **ours}) as response:
            content = self._read(response, deadline)
        if response.status_code != 200:
            raise _refusal(response.status_code, content)
        return _Answer(_believed(content))

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        content = bytearray()
        while piece := response.raw.read1(_PIECE):
            content += piece
            if len(content) > self._most_bytes:
                raise _TooMuch(f"the answer is larger than {self._most_bytes:,} bytes")
            if monotonic() > deadline:
                raise requests.exceptions.ReadTimeout
        return bytes(content)


class _Bearer(AuthBase):
    """The token as it is in the file now: projected service account tokens are replaced under way."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        try:
            token = self._file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise _Doubt(f"the bearer token in {self._file} cannot be read: {type(error).__name__}") from error
        request.headers["Authorization"] = f"Bearer {token}"
        return request


class PrometheusMetrics:
    """`ports.Metrics` on a real Prometheus, or what speaks its HTTP API (Thanos, Mimir).

    Questions that arrive together, or while an answer is under way, share one pair of queries: as many as all active
    releases ask at once, yet no question ever sees older data than it asked for, as it would from a cache.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: timedelta = timedelta(seconds=3),
        headers: Mapping[str, str] | None = None,
        bearer_file: Path | None = None,
        ca_file: Path | None = None,
        lookback: timedelta = LOOKBACK,
        cluster_domain: str = "cluster.local",
        most_bytes: int = 32 << 20,
    ) -> None:
        """`timeout` is for the whole question, up to the last byte; `most_bytes` for each answer."""
        parts = urlsplit(url)
        self._name = f"Prometheus at {parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._seconds = timeout.total_seconds()
        self._lookback = lookback.total_seconds()
        self._domain = cluster_domain
        self._session = _Session(most_bytes)
        if ca_file is not None:
            self._session.verify = str(ca_file)
        self._prometheus = PrometheusConnect(
            url.rstrip("/"),
            headers=dict(headers or {}),
            auth=None if bearer_file is None else _Bearer(bearer_file),
            session=self._session,
            retry=urllib3.Retry(total=0),
            method="POST",
        )
        self._waiting: list[_Ask] = []
        self._flight: asyncio.Task[None] | None = None

    async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
        """Everything counted about the subject from `lookback` before `since` until `now`. Never raises."""
        answer: asyncio.Future[Samples | Unavailable] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Ask(subject, since.timestamp(), now.timestamp(), answer))
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fly())
        try:
            # A little beyond the deadline of the query itself, whose message says more.
            async with asyncio.timeout(self._seconds + 0.5):
                return await answer
        except TimeoutError:
            return self._unavailable(f"did not answer within {self._seconds:g} s")

    async def close(self) -> None:
        """Answer whoever still waits, and close the connections."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)
        for ask in self._waiting:
            _give(ask, self._unavailable("is no longer asked: we are shutting down"))
        self._waiting.clear()
        self._session.close()

    async def _fly(self) -> None:
        """Answer all who wait, batch by batch; whoever asks meanwhile is in a later batch."""
        await asyncio.sleep(_GATHER)
        while self._waiting:
            asks, self._waiting = self._waiting, []
            try:
                for batch in _batches(asks, self._lookback):
                    live = [ask for ask in batch if not ask.answer.done()]
                    if live:
                        await self._answer(live)
            finally:
                for ask in asks:
                    _give(ask, self._unavailable("is no longer asked: we are shutting down"))

    async def _answer(self, batch: Sequence[_Ask]) -> None:
        answers: Sequence[Samples | Unavailable]
        try:
            async with asyncio.timeout(self._seconds + 0.5):
                answers = await asyncio.to_thread(self._ask, batch, monotonic() + self._seconds)
        except TimeoutError:
            answers = [self._unavailable(f"did not answer within {self._seconds:g} s")] * len(batch)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever happened; the port never raises
            answers = [self._unavailable(f"answered what we cannot read: {_line(repr(error))}")] * len(batch)
        for ask, answer in zip(batch, answers, strict=True):
            _give(ask, answer)

    def _ask(self, batch: Sequence[_Ask], deadline: float) -> list[Samples | Unavailable]:
        """Runs in a thread."""
        try:
            return self._read(batch, deadline)
        except _TooMuch as doubt:
            if len(batch) == 1:
                return [self._unavailable(str(doubt))]
            half = len(batch) // 2
            return [*self._ask(batch[:half], deadline), *self._ask(batch[half:], deadline)]
        except _Doubt as doubt:
            return [self._unavailable(str(doubt))] * len(batch)

    def _read(self, batch: Sequence[_Ask], deadline: float) -> list[Samples | Unavailable]:
        subjects = [ask.subject for ask in batch]
        # A service has one release at a time, as a rule; but nothing here depends on that.
        about: dict[tuple[str, str], list[tuple[_Ask, _Found]]] = {}
        found = [_Found() for _ in batch]
        for ask, mine in zip(batch, found, strict=True):
            about.setdefault((ask.subject.namespace, ask.subject.service), []).append((ask, mine))
        for selector in (promql.requests(subjects, self._domain), promql.durations(subjects, self._domain)):
            for labels, points in self._matrix(selector, batch, deadline):
                destination = promql.destination(labels, self._domain)
                for ask, mine in about.get(destination, ()) if destination else ():
                    self._take(ask, mine, labels, points)
        born = set[Instance]().union(*(mine.born for mine in found))
        ups: dict[Instance, Points] = {}
        if born:
            for labels, points in self._matrix(promql.ups(born), batch, deadline):
                ups[promql.instance_of(labels)] = points
        return [self._samples(ask, mine, ups) for ask, mine in zip(batch, found, strict=True)]

    def _take(self, ask: _Ask, found: _Found, labels: Mapping[str, str], points: Points) -> None:
        """Keep a series of this subject, cut to its own window, so that no answer depends on who else asked."""
        inside = tuple(point for point in points if ask.since - self._lookback <= point[0] <= ask.now)
        if not inside:
            return
        group = promql.group_of(labels, ask.subject)
        versioned = group in {"canary", "stable"}
        le = float(labels["le"]) if "le" in labels else None
        if le is not None and not (versioned and (math.isinf(le) or le in ask.subject.bounds_ms)):
            return
        if not all(math.isfinite(value) for _, value in inside):
            found.doubt = "holds a counter that is not a number (NaN or infinite)"
        if versioned and "response_code" not in labels:
            found.doubt = "holds requests without response_code: a Telemetry override removes the label we judge by"
        instance = promql.instance_of(labels)
        if inside[0][0] > ask.since:
            found.born.add(instance)
        code, flags = labels.get("response_code", ""), labels.get("response_flags", "-")
        grpc = labels.get("grpc_response_status", "")
        found.series.append(Series(group, instance, inside, code=code, grpc=grpc, flags=flags, le=le))

    def _samples(self, ask: _Ask, found: _Found, ups: Mapping[Instance, Points]) -> Samples | Unavailable:
        if found.doubt:
            return self._unavailable(found.doubt)
        newest = max((series.points[-1][0] for series in found.series), default=None)
        window = math.ceil(max(0.0, ask.now - ask.since) + self._lookback)
        return Samples(
            series=tuple(found.series),
            ups={instance: ups[instance] for instance in sorted(found.born & ups.keys())},
            newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
            query=f"{promql.everything(ask.subject, self._domain)}[{window}s] @ {ask.now:.3f}",
        )

    def _matrix(
        self, selector: str, batch: Sequence[_Ask], deadline: float
    ) -> Iterator[tuple[Mapping[str, str], Points]]:
        end = max(ask.now for ask in batch)
        start = min(min(ask.since, ask.now) for ask in batch) - self._lookback
        query = f"{selector}[{math.ceil((end - start) * 1000) + 1}ms]"
        for one in self._query(query, end, deadline):
            points = tuple((float(when), float(value)) for when, value in one.get("values", ()))
            yield one["metric"], points

    def _query(self, query: str, at: float, deadline: float) -> list[dict[str, Any]]:
        for last in (False, True):
            seconds = deadline - monotonic()
            if seconds <= 0:
                break
            params = {"time": f"{at:.3f}", "timeout": f"{seconds:.3f}"}
            try:
                result: list[dict[str, Any]] = self._prometheus.custom_query(query, params, timeout=seconds)
                return result
            except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
                break
            except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                # Once more: a kept connection may have been closed by the other side just now.
                if last:
                    raise _Doubt(f"is not reachable: {_root(error)}") from error
        raise _Doubt(f"did not answer within {self._seconds:g} s")

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(f"{self._name} {reason}")


def _batches(asks: Sequence[_Ask], lookback: float) -> Iterator[Sequence[_Ask]]:
    """Asks that fit into one query: same reporters, windows within a factor of two, not too many."""
    alike: dict[tuple[tuple[str, ...], int], list[_Ask]] = {}
    for ask in asks:
        window = max(1.0, ask.now - ask.since + lookback)
        alike.setdefault((ask.subject.policy.reporters, int(math.log2(window))), []).append(ask)
    for group in alike.values():
        for first in range(0, len(group), _MOST_SUBJECTS):
            yield group[first : first + _MOST_SUBJECTS]


def _give(ask: _Ask, answer: Samples | Unavailable) -> None:
    if not ask.answer.done():
        ask.answer.set_result(answer)


def _believed(content: bytes) -> Any:
    """The body of a complete answer to a range selector. Infos (hints about the query) are no reason for doubt."""
    try:
        body = json.loads(content)
        status, warnings, kind = body["status"], body.get("warnings"), body["data"]["resultType"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Doubt("answered what is no answer of Prometheus") from error
    if status != "success":
        raise _Doubt(f"answered with status {_line(status)}")
    if warnings:
        raise _Doubt(f"gave a partial answer: {_line('; '.join(map(str, warnings)))}")
    if kind != "matrix":
        raise _Doubt(f"answered with a {_line(kind)}, not a matrix")
    return body


def _refusal(code: int, content: bytes) -> _Doubt:
    try:
        text = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = content[:200].decode("utf-8", errors="replace")
    said = f"answered HTTP {code}" + (f": {_line(text)}" if text else "")
    if 300 <= code < 400:
        said = f"answered HTTP {code}, a redirect; redirects are not followed"
    # 422: the query could not be executed, such as for its number of samples (Prometheus HTTP API documentation).
    return _TooMuch(said) if code in {413, 422} else _Doubt(said)


def _line(text: object) -> str:
    """What the other side said, as one short line that cannot disturb a terminal or a log."""
    return "".join(char if char.isprintable() else " " for char in str(text))[:300].strip()


def _root(error: BaseException) -> str:
    """The operating system's own words, from under the layers of two HTTP libraries."""
    cause: BaseException | None = error
    for _ in range(10):
        if isinstance(cause, OSError) and cause.strerror:
            return _line(cause.strerror)
        if cause is None:
            break
        cause = cause.__cause__ or cause.__context__
    return _line(error)
