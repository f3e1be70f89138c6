"""What a server answers to a series of requests, without what may differ between two servers that behave the same.

Left out: names of people's making (namespaces, uids, revisions, times, made-up names) are numbered as they appear,
messages and descriptions are for people, ages and hashes are nobody's.
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from tests.contract.kubernetes.client import Api, JsonObject

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AGE = re.compile(r"\d+[smhdy](\d+[smhd])?")
_IN_ANY_ORDER = frozenset({"causes", "verbs"})
_FOR_PEOPLE = frozenset({"message", "description", "storageVersionHash"})


class Recorder:
    """Hears every answer that a client gets, but those of watches; `note` adds what else was seen."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._labels: dict[tuple[str, str], str] = {}
        self.answers: list[Any] = []

    def note(self, value: Any) -> None:
        self.answers.append(self._plain(value))

    async def hear(self, response: httpx2.Response) -> None:
        if response.request.url.params.get("watch"):
            return
        await response.aread()
        media = response.headers.get("content-type", "").partition(";")[0]
        body = response.json() if media == "application/json" and response.content else response.text
        said: JsonObject = {"to": response.request.method, "code": response.status_code, "media": media, "body": body}
        if response.is_success:
            said["warnings"] = response.headers.get_list("warning")
        self.note(said)

    def _label(self, kind: str, value: str) -> str:
        known = sum(key[0] == kind for key in self._labels)
        return self._labels.setdefault((kind, value), f"{kind} {known}")

    def _plain(self, value: Any, key: str = "") -> Any:
        if isinstance(value, list):
            plain = [self._plain(item, key) for item in value]
            if key == "resources":
                return sorted(plain, key=lambda one: str(one["name"]))
            return sorted({json.dumps(item, sort_keys=True) for item in plain}) if key in _IN_ANY_ORDER else plain
        if isinstance(value, dict):
            return {self._plain(name): self._plain(inner, name) for name, inner in _said(value).items()}
        return self._plain_text(value, key) if isinstance(value, str) else value

    def _plain_text(self, value: str, key: str) -> str:
        if key == "resourceVersion":
            return self._label("revision", value)
        if key == "cells" and _AGE.fullmatch(value):
            return "an age"
        text = _UID.sub(lambda found: self._label("uid", found[0]), value.replace(self._namespace, "NAMESPACE"))
        return _TIME.sub(lambda found: "microseconds" if found[1] else "seconds", text)


def _said(value: JsonObject) -> JsonObject:
    """An object of an answer without what nobody may rely on."""
    kept = {name: inner for name, inner in value.items() if name not in _FOR_PEOPLE}
    if "continue" in kept or "items" in kept or "rows" in kept:
        # A list shows the moment it was made, which other people's writes move on.
        kept.pop("resourceVersion", None)
    if "metadata" in kept and ("items" in kept or "rows" in kept):
        kept["metadata"] = {k: v for k, v in kept["metadata"].items() if k != "resourceVersion"}
    if kept.get("continue"):
        kept["continue"] = "a token"
    if "generateName" in kept:
        kept["name"] = "a made-up name"
    if "involvedObject" in kept or "regarding" in kept:
        # Who owns a field of an event is kept under the names of the version it was written in; nobody looks.
        kept["metadata"] = {k: v for k, v in kept["metadata"].items() if k != "managedFields"}
    return kept


Exchange = Callable[[Api, Recorder], Awaitable[None]]
EXCHANGES: dict[str, Exchange] = {}


def exchange(play: Exchange) -> Exchange:
    """Register a series of requests under the name of its function."""
    EXCHANGES[play.__name__] = play
    return play


async def transcript(http: httpx2.AsyncClient, namespace: str, play: Exchange) -> list[Any]:
    """Play it in a fresh namespace, and return what was answered."""
    # The field manager of whoever does not name one.
    http.headers["user-agent"] = "contract/1"
    answer = await http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
    assert answer.status_code == 201, answer.text
    recorder = Recorder(namespace)
    http.event_hooks = {"response": [recorder.hear]}
    try:
        await play(Api(http, namespace), recorder)
    finally:
        http.event_hooks = {"response": []}
        await http.delete(f"/api/v1/namespaces/{namespace}")
    return recorder.answers
