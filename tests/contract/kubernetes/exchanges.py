"""Series of requests that write objects of kinds that are not ours."""

from typing import Any

from tests.contract.kubernetes.client import (
    APPLY,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    TABLE,
    Api,
    JsonObject,
    config_map,
    deployment,
    event,
    lease,
    virtual_service,
)
from tests.contract.kubernetes.transcript import Recorder, exchange

_WEIGHT = "/spec/http/0/route/0/weight"
_ELSE = "11111111-2222-3333-4444-555555555555"


async def _post(api: Api, plural: str, body: Any, **query: str) -> None:
    await api.http.post(api.path(plural), json=body, params=query)


async def _delete(api: Api, plural: str, name: str, body: Any) -> None:
    await api.http.request("DELETE", api.path(plural, name), json=body)


@exchange
async def making_and_deleting(api: Api, _: Recorder) -> None:
    for plural, body in (("virtualservices", virtual_service("a")), ("configmaps", config_map("a", {"x": "1"}))):
        await _post(api, plural, body)
        await _post(api, plural, body)
        await api.http.get(api.path(plural, "a"))
        await api.http.get(api.path(plural, "nobody"))
        await api.http.get(api.path(plural))
        await api.http.delete(api.path(plural, "a"))
        await api.http.delete(api.path(plural, "a"))
    await _post(api, "configmaps", {**config_map("x"), "metadata": {"generateName": "note-"}})
    await api.http.post("/api/v1/namespaces/nowhere/configmaps", json=config_map("a"))
    await api.http.get("/api/v1/namespaces/nowhere/configmaps")


@exchange
async def replacing(api: Api, _: Recorder) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    await api.replace("virtualservices", virtual_service("a"))
    await api.replace("virtualservices", virtual_service("new"))
    await api.replace("virtualservices", {**created, "spec": virtual_service("a", 40)["spec"]})
    await api.replace("virtualservices", {**created, "spec": virtual_service("a", 60)["spec"]})
    found = await api.get("virtualservices", "a")
    await api.replace("virtualservices", found)
    other = {**found, "metadata": {**found["metadata"], "uid": _ELSE}}
    await api.replace("virtualservices", other)
    await api.replace("virtualservices", other, subresource="status")
    for generation in (1, 2):
        body = {**found, "status": {"observedGeneration": generation}}
        await api.replace("virtualservices", body, subresource="status")
    blind = {**found, "metadata": {k: v for k, v in found["metadata"].items() if k != "resourceVersion"}}
    await api.replace("virtualservices", {**blind, "status": {}}, subresource="status")
    await api.http.put(api.path("virtualservices"), json=found)
    await api.http.put(api.path("configmaps"), json=config_map("a"))
    await api.http.put(api.path("configmaps", "nobody"), json=config_map("nobody"))


@exchange
async def patching(api: Api, _: Recorder) -> None:
    await api.create("virtualservices", virtual_service("a", 90, labels={"x": "y"}))
    bodies: tuple[Any, ...] = (
        {"metadata": {"resourceVersion": "1"}},
        {"metadata": {"resourceVersion": "x"}},
        {"metadata": {"uid": _ELSE}},
        {"metadata": {"name": "b"}},
        {"metadata": {"annotations": {"x": 1}}},
        {"metadata": {"creationTimestamp": None, "labels": {"x": None, "z": "1"}}},
        {"metadata": {"labels": {"no spaces": "1"}}},
        {"spec": {"gateways": None, "http": [{"timeout": None, "route": []}]}},
        {"spec": {"gateways": None}},
        [],
        "text",
    )
    for body in bodies:
        await api.patch("virtualservices", "a", body)
    for media in (STRATEGIC, "application/json", "text/plain"):
        await api.patch("virtualservices", "a", {}, media)
    await api.patch("configmaps", "a", {}, "application/json")
    await api.patch("virtualservices", "nobody", {})
    await api.http.patch(api.path("virtualservices", "a"), content=b"{", headers={"content-type": MERGE})


@exchange
async def patching_by_operations(api: Api, _: Recorder) -> None:
    await api.create("virtualservices", virtual_service("a", 90))
    bodies: tuple[Any, ...] = (
        [{"op": "test", "path": _WEIGHT, "value": 1}, {"op": "replace", "path": _WEIGHT, "value": 2}],
        [{"op": "test", "path": _WEIGHT, "value": 90}, {"op": "replace", "path": _WEIGHT, "value": 70}],
        [{"op": "test", "path": "/spec/hosts", "value": ["checkout"]}],
        [{"op": "test", "path": "/metadata/annotations/x", "value": "1"}],
        [{"op": "replace", "path": "/spec/nothing/here", "value": 1}],
        [{"op": "remove", "path": "/spec/nothing"}],
        [{"op": "add", "path": "/spec/http/7", "value": {}}],
        [{"op": "nonsense", "path": "/a"}],
        [{"op": "add", "path": "/metadata/annotations", "value": {}}],
        [
            {"op": "add", "path": "/metadata/annotations", "value": {}},
            {"op": "add", "path": "/metadata/annotations/x~1y", "value": "1"},
        ],
        [{"op": "remove", "path": "/metadata/annotations/x~1y"}],
        [{"op": "add", "path": "/metadata/annotations/x~1y", "value": "1"}],
        [],
        {},
        "text",
        [1],
    )
    for body in bodies:
        await api.patch("virtualservices", "a", body, JSON_PATCH)
    await api.http.get(api.path("virtualservices", "a"))


@exchange
async def deleting(api: Api, _: Recorder) -> None:
    for plural, make in (("virtualservices", virtual_service), ("configmaps", config_map)):
        body = make("a", finalizers=["rollout.dev/hold"])
        uid = (await api.create(plural, body))["metadata"]["uid"]
        await _delete(api, plural, "a", {"preconditions": {"uid": "no"}})
        await _delete(api, plural, "a", {"preconditions": {"uid": uid, "resourceVersion": "1"}})
        await _delete(api, plural, "a", {"propagationPolicy": "Nonsense"})
        await _delete(api, plural, "a", {"dryRun": ["Some"]})
        await _delete(api, plural, "a", {"dryRun": ["All"]})
        await _delete(api, plural, "a", {"propagationPolicy": "Background", "preconditions": {"uid": uid}})
        await _delete(api, plural, "a", {})
        await api.patch(plural, "a", {"metadata": {"finalizers": ["rollout.dev/hold", "rollout.dev/more"]}})
        await api.patch(plural, "a", {"metadata": {"labels": {"x": "y"}}})
        await api.patch(plural, "a", {"metadata": {"finalizers": None}})
        await api.http.get(api.path(plural, "a"))
    await api.create("virtualservices", virtual_service("b"))
    await _delete(api, "virtualservices", "b", {"gracePeriodSeconds": 5, "apiVersion": "v1", "kind": "DeleteOptions"})
    await api.create("virtualservices", virtual_service("c"))
    await api.http.delete(api.path("virtualservices"))
    await api.http.get(api.path("virtualservices"))


@exchange
async def deleting_in_the_foreground(api: Api, _: Recorder) -> None:
    for plural, body in (("virtualservices", virtual_service("a")), ("configmaps", config_map("a"))):
        await api.create(plural, body)
        await _delete(api, plural, "a", {"propagationPolicy": "Foreground"})


@exchange
async def bodies_of_custom_objects(api: Api, _: Recorder) -> None:
    spoilt: tuple[JsonObject, ...] = (
        {"kind": "DestinationRule"},
        {"apiVersion": "networking.istio.io/v1beta1"},
        {"kind": ""},
        {"apiVersion": ""},
        {"metadata": {"name": "a", "namespace": "elsewhere"}},
        {"metadata": {"name": "a", "labels": {"n": 1}}},
        {"metadata": {"name": "a", "labels": ["n"]}},
        {"metadata": "a"},
        {"metadata": {"name": ""}},
        {"metadata": {"name": "Upper"}},
        {"metadata": {"name": "a" * 254}},
        {"metadata": {"name": "a", "labels": {"x": "no spaces"}}},
        {"metadata": {"name": "a", "labels": {"no spaces": "x"}}},
        {"metadata": {"name": "a", "annotations": {"no spaces": "x"}}},
        {"metadata": {"name": "a", "resourceVersion": "5"}},
        {"metadata": {"name": "a", "ownerReferences": [{"name": "x"}]}},
        {"metadata": {"name": "a", "finalizers": ["nodomain"], "nonsense": 1}},
    )
    for part in spoilt:
        await _post(api, "virtualservices", {**virtual_service("a"), **part})


@exchange
async def bodies_that_are_no_objects(api: Api, _: Recorder) -> None:
    headers = {"content-type": "application/json"}
    for plural in ("configmaps", "virtualservices"):
        for body in (b"", b"{", b"[]", b"\xff\xfe", b'{"metadata": {"name": NaN}}'):
            await api.http.post(api.path(plural), content=body, headers=headers)
        await api.http.post(api.path(plural), content=b"a,b", headers={"content-type": "text/csv"})
        await api.http.request("DELETE", api.path(plural, "a"), content=b"nonsense", headers=headers)
    await api.http.get(api.path("configmaps"), headers={"accept": "text/html"})


@exchange
async def bodies_of_config_maps(api: Api, _: Recorder) -> None:
    parts: tuple[JsonObject, ...] = (
        {"kind": "Secret"},
        {"apiVersion": "v2"},
        {"data": {"x": 1}},
        {"data": [1]},
        {"data": {}},
        {"metadata": {"name": "b", "labels": {}, "annotations": None}},
    )
    for part in parts:
        await _post(api, "configmaps", {**config_map("b"), **part})
        await api.http.delete(api.path("configmaps", "b"))
    for validation in ("Strict", "Ignore", "Some"):
        await _post(api, "configmaps", {**config_map("b"), "nonsense": 1}, fieldValidation=validation)
    await _post(api, "configmaps", {**config_map("c"), "nonsense": 1})
    await _post(api, "configmaps", config_map("d"), dryRun="Some")
    await api.patch("configmaps", "c", {"data": {"x": 1}})
    await api.patch("configmaps", "c", {"data": {"x": "1"}})
    await api.patch("configmaps", "c", {"data": {"x": None}})


@exchange
async def leases(api: Api, _: Recorder) -> None:
    body = lease("a", "me")
    body["spec"] |= {"acquireTime": "2026-01-01T00:00:00.123456Z", "leaseTransitions": 0}
    created = await api.create("leases", body)
    await api.replace("leases", body)
    created["spec"]["renewTime"] = "2026-01-01T00:00:01.000000Z"
    await api.replace("leases", created)
    await api.replace("leases", created)
    for spec in (
        {"renewTime": "2026-01-01T00:00:05Z"},
        {"renewTime": "soon"},
        {"leaseDurationSeconds": 0},
        {"leaseDurationSeconds": "x"},
        {"leaseTransitions": -1},
        {"holderIdentity": ""},
        {"holderIdentity": None},
    ):
        await api.patch("leases", "a", {"spec": spec})
    await api.http.put(api.path("leases", "b"), json=lease("b", "you"))
    await api.http.delete(api.path("leases", "a"))
    await api.replace("leases", created)
    fresh = {key: value for key, value in created["metadata"].items() if key != "uid"}
    await api.replace("leases", {**created, "metadata": fresh})
    await api.http.get(api.path("leases"))
    await api.http.get(api.path("leases"), headers={"accept": TABLE})


@exchange
async def events(api: Api, _: Recorder) -> None:
    await _post(api, "events", event("old", api.namespace, "subject"))
    await _post(api, "events", event("old2", "elsewhere", "subject"))
    new = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "new"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "rollout.dev/controller",
        "reportingInstance": "rollout-0",
        "action": "Shift",
        "reason": "Shifted",
        "type": "Normal",
        "regarding": {"kind": "ConfigMap", "namespace": api.namespace, "name": "subject", "apiVersion": "v1"},
        "note": "50 percent",
    }
    path = api.path("events", place="/apis/events.k8s.io/v1")
    await api.http.post(path, json=new)
    for missing in ("eventTime", "reportingController", "reportingInstance", "action", "reason", "type", "regarding"):
        less = {key: value for key, value in new.items() if key != missing}
        await api.http.post(path, json={**less, "metadata": {"name": "less"}})
    for key, value in (("note", "x" * 1100), ("type", "Strange"), ("reason", "x" * 200), ("eventTime", "soon")):
        await api.http.post(path, json={**new, "metadata": {"name": "more"}, key: value})
    for place in ("/api/v1", "/apis/events.k8s.io/v1"):
        await api.http.get(api.path("events", "new", place=place))
        await api.http.get(api.path("events", "nobody", place=place))
    await api.http.get(api.path("events"), params={"fieldSelector": "involvedObject.name=subject,type=Normal"})
    await api.http.get(path, params={"fieldSelector": "regarding.name=subject"})
    series = {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:09.000000Z"}}
    await api.http.patch(f"{path}/new", json=series, headers={"content-type": MERGE})
    await api.http.delete(f"{path}/new")


@exchange
async def scaling(api: Api, _: Recorder) -> None:
    await api.http.get(api.path("deployments", "nobody", subresource="scale"))
    await api.http.post(api.path("deployments"), json={**deployment("x"), "metadata": {"name": "Bad_"}})
    body = deployment("a")
    body["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    await _post(api, "deployments", body)
    await api.http.get(api.path("deployments", "a", subresource="nonsense"))


@exchange
async def applying(api: Api, _: Recorder) -> None:
    async def apply(obj: JsonObject, manager: str, **query: str) -> None:
        plural = f"{obj['kind'].lower()}s" if obj["kind"] in {"ConfigMap", "VirtualService"} else "configmaps"
        await api.patch(plural, obj["metadata"]["name"], obj, APPLY, fieldManager=manager, **query)

    for _round in range(2):
        await apply(virtual_service("a", 90), "git")
    await api.patched("virtualservices", "a", {"spec": virtual_service("a", 50)["spec"]}, fieldManager="controller")
    await apply(virtual_service("a", 90), "git")
    await apply(virtual_service("a", 90), "git", force="true")
    await apply(config_map("a", {"x": "1", "y": "1"}), "one")
    await apply(config_map("a", {"x": "2"}), "two")
    await apply(config_map("a", {"x": "2"}), "two", force="true")
    await apply(config_map("a", {"y": "1"}), "one")
    await apply(config_map("a"), "one")
    await apply(config_map("a"), "two")
    for part in ({"kind": ""}, {"apiVersion": ""}, {"kind": "Secret"}):
        await apply({**config_map("b"), **part}, "one")
    await api.patch("configmaps", "b", config_map("b"), APPLY)
    await apply(virtual_service("fresh", resourceVersion="1"), "git")
    await apply(virtual_service("a", managedFields=[]), "git")
