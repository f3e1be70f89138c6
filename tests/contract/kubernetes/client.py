"""What the contract suite says to a Kubernetes API: plain HTTP, one namespace per test."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

JsonObject = dict[str, Any]

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

PATIENCE = 30.0
"""Seconds until something that must happen has not happened."""

_PLACES = {
    "configmaps": "/api/v1",
    "events": "/api/v1",
    "deployments": "/apis/apps/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "virtualservices": "/apis/networking.istio.io/v1",
    "releases": "/apis/rollout.dev/v1alpha1",
}


def connect(url: str) -> httpx2.AsyncClient:
    """A client for plain HTTP; reading the CA certificates would take longer than most tests."""
    return httpx2.AsyncClient(base_url=url, timeout=10, verify=False)


class Watch:
    """The events of one watch."""

    def __init__(self, response: Any) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> JsonObject:
        async with asyncio.timeout(PATIENCE):
            event: JsonObject = json.loads(await anext(self._lines))
            return event

    async def next_change(self) -> JsonObject:
        while (event := await self.next())["type"] == "BOOKMARK":
            pass
        return event

    async def rest(self) -> list[JsonObject]:
        async with asyncio.timeout(PATIENCE):
            return [json.loads(line) async for line in self._lines]


class Api:
    """Requests against one server; `namespace` exists and is empty.

    `write_kubeconfig` writes a file that leads kubectl to the same server, where a test may need one.
    """

    def __init__(
        self, http: httpx2.AsyncClient, namespace: str, write_kubeconfig: Callable[[Path], None] | None = None
    ) -> None:
        self.http = http
        self.namespace = namespace
        self._write_kubeconfig = write_kubeconfig

    def write_kubeconfig(self, path: Path) -> None:
        assert self._write_kubeconfig is not None
        self._write_kubeconfig(path)

    def path(self, plural: str, name: str = "", *, place: str = "", subresource: str = "") -> str:
        parts = [place or _PLACES[plural], "namespaces", self.namespace, plural, name, subresource]
        return "/".join(part for part in parts if part)

    async def create(self, plural: str, obj: JsonObject, **query: str) -> JsonObject:
        answer = await self.http.post(self.path(plural), json=obj, params=query)
        assert answer.status_code == 201, answer.text
        created: JsonObject = answer.json()
        return created

    async def get(self, plural: str, name: str) -> JsonObject:
        answer = await self.http.get(self.path(plural, name))
        assert answer.status_code == 200, answer.text
        found: JsonObject = answer.json()
        return found

    async def exists(self, plural: str, name: str) -> bool:
        answer = await self.http.get(self.path(plural, name))
        assert answer.status_code in {200, 404}, answer.text
        return bool(answer.status_code == 200)

    async def names(self, plural: str, **query: str) -> list[str]:
        answer = await self.http.get(self.path(plural), params=query)
        assert answer.status_code == 200, answer.text
        return [item["metadata"]["name"] for item in answer.json()["items"]]

    async def patch(
        self, plural: str, name: str, body: Any, media: str = MERGE, *, subresource: str = "", **query: str
    ) -> httpx2.Response:
        path = self.path(plural, name, subresource=subresource)
        content, headers = json.dumps(body), {"content-type": media}
        return await self.http.patch(path, content=content, headers=headers, params=query)

    async def patched(
        self, plural: str, name: str, body: Any, media: str = MERGE, *, subresource: str = "", **query: str
    ) -> JsonObject:
        answer = await self.patch(plural, name, body, media, subresource=subresource, **query)
        assert answer.status_code in {200, 201}, answer.text
        result: JsonObject = answer.json()
        return result

    async def replace(self, plural: str, obj: JsonObject, *, subresource: str = "") -> httpx2.Response:
        path = self.path(plural, obj["metadata"]["name"], subresource=subresource)
        return await self.http.put(path, json=obj)

    @asynccontextmanager
    async def watch(self, path: str, *, accept: str = "application/json", **query: str) -> AsyncIterator[Watch]:
        params = {"watch": "true", "timeoutSeconds": "60", **query}
        async with self.http.stream("GET", path, params=params, headers={"accept": accept}) as response:
            assert response.status_code == 200
            yield Watch(response)


def refused_as(answer: httpx2.Response, code: int, reason: str) -> JsonObject:
    """Assert that the answer is that failure; returns the Status."""
    assert answer.status_code == code, answer.text
    status: JsonObject = answer.json()
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert (status["code"], status["reason"]) == (code, reason)
    return status


def virtual_service(name: str, weight: int = 100, **metadata: Any) -> JsonObject:
    def destination(subset: str, share: int) -> JsonObject:
        return {"destination": {"host": "checkout", "subset": subset}, "weight": share}

    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, **metadata},
        "spec": {
            "hosts": ["checkout"],
            "http": [{"route": [destination("v1", weight), destination("v2", 100 - weight)]}],
        },
    }


def config_map(name: str, data: dict[str, str] | None = None, **metadata: Any) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": data or {}}


def lease(name: str, holder: str) -> JsonObject:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    }


def deployment(name: str, replicas: int = 2) -> JsonObject:
    labels = {"app": name}
    containers = [
        {"name": "app", "image": "app:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"name": "side", "image": "side:1"},
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


def event(name: str, namespace: str, subject: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name},
        "involvedObject": {"kind": "ConfigMap", "namespace": namespace, "name": subject, "apiVersion": "v1"},
        "reason": "Shifted",
        "message": "30 percent",
        "type": "Normal",
    }


def weights(obj: JsonObject) -> list[int]:
    return [route["weight"] for route in obj["spec"]["http"][0]["route"]]


def revision(obj: JsonObject) -> int:
    return int(obj["metadata"]["resourceVersion"])


def images(obj: JsonObject) -> Iterator[tuple[str, str]]:
    for container in obj["spec"]["template"]["spec"]["containers"]:
        yield container["name"], container["image"]
