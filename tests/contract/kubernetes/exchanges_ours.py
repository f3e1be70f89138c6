"""Series of requests about Releases and ServicePolicies: what their definitions take and refuse."""

from typing import Any

from tests.contract.kubernetes.client import APPLY, TABLE, Api, JsonObject
from tests.contract.kubernetes.transcript import Recorder, exchange

_VERSION = "rollout.dev/v1alpha1"
_STEPS: list[JsonObject] = [{"weight": 50}, {"weight": 100}]


def release(name: str, **spec: Any) -> JsonObject:
    body = {"service": "checkout", "version": "v2", **spec}
    return {"apiVersion": _VERSION, "kind": "Release", "metadata": {"name": name}, "spec": body}


def _custom(**check: Any) -> JsonObject:
    return {"checks": {"custom": [{"name": "a", "query": "x", **check}]}}


@exchange
async def making_releases(api: Api, _: Recorder) -> None:
    specs: tuple[JsonObject, ...] = (
        {"service": 1},
        {"service": "X"},
        {"service": ""},
        {"service": "a" * 64},
        {"version": None},
        {"policy": 3},
        {"policy": {"steps": []}},
        {"policy": {"steps": [{"weight": 0}]}},
        {"policy": {"steps": [{"weight": 101}]}},
        {"policy": {"steps": [{"weight": "x"}]}},
        {"policy": {"steps": [{"weight": 10.5}]}},
        {"policy": {"steps": [{"weight": 50}]}},
        {"policy": {"steps": [{"weight": 50}, {"weight": 20}, {"weight": 100}]}},
        {"policy": {"steps": [{"hold": "1m"}]}},
        {"policy": {"steps": [{"weight": number + 1} for number in range(25)]}},
        {"policy": {"interval": "soon"}},
        {"pause": "yes"},
        {"pause": {"nonsense": 1}},
        {"nonsense": {"x": 1}},
    )
    for spec in specs:
        await api.http.post(api.path("releases"), json=release("a", **spec))
        await api.http.delete(api.path("releases", "a"))
    without = release("a")
    del without["spec"]
    await api.http.post(api.path("releases"), json=without)


@exchange
async def unknown_fields(api: Api, _: Recorder) -> None:
    body = release("a", nonsense=1) | {"other": {"x": 1}}
    for validation in ("Strict", "Warn", "Ignore", ""):
        await api.http.post(api.path("releases"), json=body, params={"fieldValidation": validation})
        await api.http.delete(api.path("releases", "a"))
    await api.create("releases", release("a"))
    for query in ({"fieldValidation": "Strict"}, {}):
        await api.patch("releases", "a", {"spec": {"nonsense": 1}}, **query)
    status = {"status": {"phase": "Shifting", "strange": 1}}
    await api.patch("releases", "a", status, subresource="status", fieldValidation="Strict")
    for bad in (body, release("a", nonsense=1)):
        await api.patch("releases", "a", bad, APPLY, fieldManager="git")


@exchange
async def changing_releases(api: Api, _: Recorder) -> None:
    await api.create("releases", release("a", policy={"steps": _STEPS}))
    await api.create("releases", release("b"))
    for name, spec in (
        ("a", {"version": "v3"}),
        ("a", {"service": "other", "version": "v3"}),
        ("a", {"policy": {"steps": [{"weight": 100}]}}),
        ("a", {"policy": None}),
        ("b", {"policy": {"steps": _STEPS}}),
        ("b", {"version": None}),
    ):
        await api.patch("releases", name, {"spec": spec})
    for wish in ("pause", "abort", "promote"):
        for value in ({"by": "me", "at": "2026-01-01T00:00:00Z", "reason": "x"}, "x", {}, {"at": "soon"}, None):
            await api.patch("releases", "b", {"spec": {wish: value}})
    await api.http.get(api.path("releases"))
    await api.http.get(api.path("releases"), headers={"accept": TABLE})


@exchange
async def statuses_of_releases(api: Api, _: Recorder) -> None:
    await api.create("releases", release("a"))
    statuses: tuple[Any, ...] = (
        {"phase": "Shifting", "weight": "x"},
        {"phase": "Shifting", "weight": 30, "strange": {"x": [1]}},
        {"phase": None, "weight": None},
        {"conditions": [{"type": "Promoted", "status": "False", "reason": "X", "message": ""}]},
        {"conditions": [{"type": "Promoted"}, {"type": "Promoted"}]},
        {"conditions": [{"status": "True"}]},
        {"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "False"}]},
        None,
    )
    for status in statuses:
        await api.patch("releases", "a", {"status": status}, subresource="status")
    await api.patch("releases", "a", {"status": {"phase": "Failed"}, "metadata": {"labels": {"x": "y"}}})
    found = await api.get("releases", "a")
    await api.replace("releases", {**found, "status": {"phase": "Pending"}}, subresource="status")
    await api.http.get(api.path("releases", "a", subresource="status"))


@exchange
async def applied_conditions(api: Api, _: Recorder) -> None:
    await api.create("releases", release("a"))
    conditions = [{"type": "A", "status": "True"}, {"type": "B", "status": "False"}]
    await api.patch("releases", "a", {"status": {"conditions": conditions}}, subresource="status")
    applied = [{"type": "B", "status": "True"}, {"type": "C", "status": "True"}]
    head = {"apiVersion": _VERSION, "kind": "Release", "metadata": {"name": "a"}}
    for query in ({}, {"force": "true"}):
        body = {**head, "status": {"conditions": applied}}
        await api.patch("releases", "a", body, APPLY, subresource="status", fieldManager="other", **query)


@exchange
async def dry_runs(api: Api, _: Recorder) -> None:
    dry = {"dryRun": "All"}
    await api.http.post(api.path("releases"), json=release("a"), params=dry)
    await api.http.get(api.path("releases", "a"))
    await api.create("releases", release("a"))
    await api.patch("releases", "a", {"metadata": {"labels": {"x": "y"}}}, **dry)
    await api.patch("releases", "a", {"spec": {"version": "v3"}}, **dry)
    await api.patch("releases", "a", {"status": {"phase": "Shifting"}}, subresource="status", **dry)
    await api.patch("releases", "a", release("a"), APPLY, fieldManager="git", **dry)
    await api.http.delete(api.path("releases", "a"), params=dry)
    await api.http.delete(api.path("releases"), params=dry)
    await api.http.get(api.path("releases", "a"))


@exchange
async def policies(api: Api, _: Recorder) -> None:
    specs: tuple[JsonObject, ...] = (
        {},
        {"steps": _STEPS},
        {"steps": None},
        {"steps": [{"weight": 50}, {"weight": 50}, {"weight": 100}]},
        {"steps": [{"weight": 50, "hold": "1d12h"}]},
        {"interval": "1d"},
        {"interval": "5x"},
        {"interval": "2m", "deadlines": {"ready": "30s"}},
        {"settle": "10m"},
        {"deadlines": {"total": "1m"}},
        {"deadlines": {"total": "2d"}},
        _custom(query="x{{foo}}", max=1),
        {"checks": {"custom": [{"name": "a", "query": query, "max": 1} for query in "xy"]}},
        _custom(),
        _custom(max=1, min=3),
        _custom(overStable=1),
        _custom(overStable=1, query="x{{version}}"),
        {"checks": {"errors": {"failFast": {"max": "1%"}}}},
        {"checks": {"latency": "fast"}},
        {"checks": None},
        {"route": {"virtualServices": [{"name": "a"}, {"name": "a"}]}},
        {"route": {"virtualServices": [{"name": "a", "namespace": "x"}, {"name": "a"}]}},
        {"route": {"virtualServices": [{"name": "a"}], "name": "x"}},
        {"route": {"subsets": ["a", "a"]}},
        {"route": {"subsets": ["a"]}},
        {"route": {"host": "x"}},
        {"route": {"host": "x-{version}"}},
        {"deployment": "y"},
        {"judge": {"falseRollback": "0%"}},
        {"judge": {"falseRollback": "21%"}},
        {"judge": {"falseRollback": "0.5%"}},
        {"judge": {"learn": "7h"}},
        {"judge": {"block": "10ms"}},
        {"judge": {"proof": {"risk": "60%"}}},
        {"judge": []},
        {"nonsense": 1},
    )
    path = api.path("servicepolicies", place=f"/apis/{_VERSION}")
    head = {"apiVersion": _VERSION, "kind": "ServicePolicy"}
    for spec in specs:
        await api.http.post(path, json={**head, "metadata": {"name": "checkout"}, "spec": spec})
        await api.http.delete(f"{path}/checkout")
    for name in ("Not.A.Service", "9", "a.b"):
        await api.http.post(path, json={**head, "metadata": {"name": name}, "spec": {}})
    await api.http.post(path, json={**head, "metadata": {"name": "b"}, "spec": {"steps": _STEPS}})
    await api.http.get(path, headers={"accept": TABLE})
