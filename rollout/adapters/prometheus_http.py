"""The way to Prometheus and back: one question, one deadline, and an answer that may be believed, or a `Doubt`.

Belongs here: the session, tokens, limits, refusals, warnings. Does not belong here: what is asked (promql.py), or what
the answers mean (prometheus.py).

`prometheus-api-client` by itself drops warnings (a partial answer looks whole), has no timeout, obeys redirects and
proxies of the environment and sends POST queries in the URL; the session below corrects all of it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from requests.auth import AuthBase

_PIECE = 1 << 16


class Doubt(Exception):  # noqa: N818 - not a defect of ours
    """No answer, or one that cannot be believed. Says why, for people."""


class Refusal(Doubt):
    """Prometheus is well, but will not answer this very question."""


class TooMuch(Refusal):
    """The answer is too large for us or for Prometheus; half the question may fit."""


class TooSlow(Refusal):
    """There was no answer in time: the question may be too hard, or Prometheus too busy."""


class Answer(NamedTuple):
    """The `data` of an answer (Prometheus HTTP API, "Expression query result formats")."""

    kind: str
    """matrix, vector, scalar or string."""
    result: Any


class _Believed(requests.Response):
    """A believed answer, as `PrometheusConnect` reads it: `json()["data"]["result"]` is all that it hands on."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.status_code = 200
        self._answer = answer

    def json(self, **_kwargs: Any) -> Any:
        return {"data": {"result": self._answer}}


class _Session(requests.Session):
    """Query in the body, one deadline, a size limit, no redirects; 200 means a complete answer. Raises `Doubt`."""

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
        return _Believed(_believed(content))

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        content = bytearray()
        while piece := response.raw.read1(_PIECE):
            content += piece
            if len(content) > self._most_bytes:
                raise TooMuch(f"the answer is larger than {self._most_bytes:,} bytes")
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
            raise Doubt(f"the bearer token in {self._file} cannot be read: {type(error).__name__}") from error
        request.headers["Authorization"] = f"Bearer {token}"
        return request


class PrometheusApi:
    """Instant queries, from any thread."""

    def __init__(
        self,
        url: str,
        *,
        seconds: float,
        headers: Mapping[str, str],
        bearer_file: Path | None,
        ca_file: Path | None,
        most_bytes: int,
    ) -> None:
        """`seconds` is how long a whole question may take: it is only told here, each `query` has its deadline."""
        parts = urlsplit(url)
        self.name = f"Prometheus at {parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._seconds = seconds
        self._session = _Session(most_bytes)
        if ca_file is not None:
            self._session.verify = str(ca_file)
        self._prometheus = PrometheusConnect(
            url.rstrip("/"),
            headers=dict(headers),
            auth=None if bearer_file is None else _Bearer(bearer_file),
            session=self._session,
            retry=urllib3.Retry(total=0),
            method="POST",
        )

    def query(self, query: str, at: float, deadline: float) -> Answer:
        """What it says at a time (Unix seconds); `deadline` is in seconds of the monotonic clock. Raises Doubt."""
        for last in (False, True):
            seconds = deadline - monotonic()
            if seconds <= 0:
                break
            params = {"time": f"{at:.3f}", "timeout": f"{seconds:.3f}"}
            try:
                answer: Answer = self._prometheus.custom_query(query, params, timeout=seconds)
                return answer
            except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
                break
            except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                # Once more: a kept connection may have been closed by the other side just now.
                if last:
                    raise Doubt(f"is not reachable: {_root(error)}") from error
        raise TooSlow(f"did not answer within {self._seconds:g} s")

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def line(text: object) -> str:
    """What the other side said, as one short line that cannot disturb a terminal or a log."""
    return "".join(char if char.isprintable() else " " for char in str(text))[:300].strip()


def _believed(content: bytes) -> Answer:
    """A complete answer. Infos (hints about the query) are no reason for doubt."""
    try:
        body = json.loads(content)
        status, warnings, kind, result = (
            body["status"], body.get("warnings"), body["data"]["resultType"], body["data"]["result"],
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Doubt("answered what is no answer of Prometheus") from error
    if status != "success":
        raise Doubt(f"answered with status {line(status)}")
    if warnings:
        raise Doubt(f"gave a partial answer: {line('; '.join(map(str, warnings)))}")
    return Answer(line(kind), result)


def _refusal(code: int, content: bytes) -> Doubt:
    """Error types and codes: Prometheus HTTP API, "Format overview"; web/api/v1/api.go, `respondError`."""
    kind = ""
    try:
        body = json.loads(content)
        text, kind = body["error"], body.get("errorType", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = content[:200].decode("utf-8", errors="replace")
    said = f"answered HTTP {code}" + (f": {line(text)}" if text else "")
    if 300 <= code < 400:
        return Doubt(f"answered HTTP {code}, a redirect; redirects are not followed")
    # 422: the query could not be executed, such as for its number of samples.
    if code in {413, 422}:
        return TooMuch(said)
    if code == 400:
        return Refusal(said)
    return TooSlow(said) if kind == "timeout" else Doubt(said)


def _root(error: BaseException) -> str:
    """The operating system's own words, from under the layers of two HTTP libraries."""
    cause: BaseException | None = error
    for _ in range(10):
        if isinstance(cause, OSError) and cause.strerror:
            return line(cause.strerror)
        if cause is None:
            break
        cause = cause.__cause__ or cause.__context__
    return line(error)
