"""What the API server itself lets the controller change of a VirtualService, whatever RBAC says."""

import copy
import itertools
from typing import Any

import httpx2
import pytest

from tests.deploy.cluster import ISTIO, JsonObject, Operation, create, patch

_numbers = itertools.count(1)

V1: JsonObject = {
    "destination": {"host": "checkout", "subset": "v1", "port": {"number": 80}},
    "headers": {"request": {"remove": ["x"]}},
}
V2: JsonObject = {**V1, "destination": {"host": "checkout", "subset": "v2", "port": {"number": 80}}}
V3: JsonObject = {**V1, "destination": {"host": "checkout", "subset": "v3", "port": {"number": 80}}}
BUSY: JsonObject = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {
        "labels": {"team": "shop", "istio.io/rev": "stable"},
        "annotations": {"rollout.dev/epoch": "7", "rollout.dev/release": "checkout-v1", "note": "ours"},
        "finalizers": ["example.com/kept"],
    },
    "spec": {
        "hosts": ["checkout"],
        "gateways": ["mesh", "istio-system/public"],
        "exportTo": ["."],
        "http": [
            {
                "name": "testers",
                "match": [{"headers": {"x-canary": {"exact": "true"}}}],
                "route": [{**V2, "weight": 100}],
            },
            {
                "name": "main",
                "timeout": "3s",
                "retries": {"attempts": 2},
                "rewrite": {"uri": "/v1"},
                "mirror": {"host": "audit"},
                "headers": {"response": {"add": {"a": "b"}}},
                "route": [{**V1, "weight": 90}, {**V2, "weight": 10}, {**V3, "weight": 0}],
            },
            {"name": "old", "redirect": {"uri": "/gone"}},
        ],
        "tls": [
            {
                "match": [{"sniHosts": ["checkout"], "port": 443}],
                "route": [
                    {"destination": {"host": "checkout", "subset": "v1"}, "weight": 60},
                    {"destination": {"host": "checkout", "subset": "v2"}, "weight": 40},
                ],
            }
        ],
        "tcp": [{"route": [{"destination": {"host": "checkout", "subset": "v1"}}]}],
    },
}
MAIN = "/spec/http/1"
EPOCH, RELEASE = "/metadata/annotations/rollout.dev~1epoch", "/metadata/annotations/rollout.dev~1release"


def put(path: str, value: Any) -> Operation:
    return {"op": "replace", "path": path, "value": value}


def add(path: str, value: Any) -> Operation:
    return {"op": "add", "path": path, "value": value}


def remove(path: str) -> Operation:
    return {"op": "remove", "path": path}


async def made(admin: httpx2.AsyncClient, obj: JsonObject = BUSY, **spec: Any) -> tuple[str, JsonObject]:
    """(path, object) of a new VirtualService like `obj`, but for these fields of its spec."""
    one = copy.deepcopy(obj)
    one["metadata"]["name"] = f"checkout-{next(_numbers)}"
    one["spec"] |= spec
    path = f"{ISTIO}/virtualservices"
    return f"{path}/{one['metadata']['name']}", await create(admin, path, one)


def split(*weights: int | None) -> JsonObject:
    """An http route over v1, v2, …; None leaves the weight out."""
    entries = []
    for number, weight in enumerate(weights, 1):
        entry: JsonObject = {"destination": {"host": "checkout", "subset": f"v{number}"}}
        entries.append(entry if weight is None else entry | {"weight": weight})
    return {"route": entries}


REFUSED: dict[str, list[Operation]] = {
    "a host": [put("/spec/hosts/0", "payment")],
    "another host": [add("/spec/hosts/-", "payment")],
    "a gateway": [remove("/spec/gateways/1")],
    "to whom it is exported": [put("/spec/exportTo", ["*"])],
    "the weights of a tls route": [put("/spec/tls/0/route/0/weight", 50), put("/spec/tls/0/route/1/weight", 50)],
    "a tcp route": [put("/spec/tcp/0/route/0/destination/subset", "v2")],
    "no more tcp routes": [remove("/spec/tcp")],
    "no http routes at all": [remove("/spec/http")],
    "a match": [put("/spec/http/0/match/0/headers/x-canary/exact", "false")],
    "no match": [remove("/spec/http/0/match")],
    "a match where there was none": [add(f"{MAIN}/match", [{"uri": {"prefix": "/new"}}])],
    "a mirror": [put(f"{MAIN}/mirror/host", "elsewhere")],
    "a new mirror": [add("/spec/http/0/mirror", {"host": "elsewhere"})],
    "a timeout": [put(f"{MAIN}/timeout", "30s")],
    "retries": [put(f"{MAIN}/retries/attempts", 9)],
    "a rewrite": [put(f"{MAIN}/rewrite/uri", "/v2")],
    "a fault": [add(f"{MAIN}/fault", {"abort": {"httpStatus": 500, "percentage": {"value": 100}}})],
    "a route's headers": [put(f"{MAIN}/headers/response/add/a", "c")],
    "a route's name": [put(f"{MAIN}/name", "first")],
    "a redirect": [put("/spec/http/2/redirect/uri", "/elsewhere")],
    "a new route": [add("/spec/http/-", {"route": [{"destination": {"host": "checkout", "subset": "v2"}}]})],
    "one route less": [remove("/spec/http/2")],
    "the order of routes": [{"op": "move", "from": "/spec/http/1", "path": "/spec/http/0"}],
    "a destination's host": [put(f"{MAIN}/route/1/destination/host", "payment")],
    "a destination's subset": [put(f"{MAIN}/route/1/destination/subset", "v9")],
    "another route's destination": [put("/spec/http/0/route/0/destination/subset", "v1")],
    "a destination's port": [put(f"{MAIN}/route/1/destination/port/number", 81)],
    "a destination's headers": [put(f"{MAIN}/route/1/headers/request/remove/0", "y")],
    "a weight below 0": [put(f"{MAIN}/route/0/weight", -1), put(f"{MAIN}/route/1/weight", 101)],
    "weights that are not 100 together": [put(f"{MAIN}/route/0/weight", 100)],
    "a destination with traffic gone": [put(f"{MAIN}/route/0/weight", 100), remove(f"{MAIN}/route/1")],
    "no destination": [put(f"{MAIN}/route", [])],
    "no list of destinations": [remove(f"{MAIN}/route")],
    "a destination of another host": [
        add(f"{MAIN}/route/3", {**V1, "destination": V1["destination"] | {"host": "payment"}, "weight": 0})
    ],
    "a destination of another port": [
        add(f"{MAIN}/route/3", {**V1, "destination": {"host": "checkout", "subset": "v4"}, "weight": 0})
    ],
    "a destination with other headers": [
        add(f"{MAIN}/route/3", {"destination": V1["destination"] | {"subset": "v4"}, "weight": 0})
    ],
    "a destination of all versions": [
        add(f"{MAIN}/route/3", {**V1, "destination": {"host": "checkout", "port": {"number": 80}}, "weight": 0})
    ],
    "a destination of another host and a subset": [
        add(f"{MAIN}/route/3", {**V1, "destination": V1["destination"] | {"host": "checkout-v2"}, "weight": 0})
    ],
    "two destinations at once": [
        add(f"{MAIN}/route/3", {**V1, "destination": V1["destination"] | {"subset": name}, "weight": 0})
        for name in ("v4", "v5")
    ],
    "the same destination twice": [add(f"{MAIN}/route/3", {**V3, "weight": 0})],
    "one destination in place of another": [put(f"{MAIN}/route/2/destination/subset", "v4")],
    "a label": [put("/metadata/labels/team", "other")],
    "a new label": [add("/metadata/labels/canary", "yes")],
    "no labels": [remove("/metadata/labels")],
    "an annotation": [put("/metadata/annotations/note", "theirs")],
    "a new annotation": [add("/metadata/annotations/argocd.argoproj.io~1sync-options", "Prune=false")],
    "an annotation less": [remove("/metadata/annotations/note")],
    "no epoch": [remove(EPOCH)],
    "no annotations but ours": [put("/metadata/annotations", {"rollout.dev/epoch": "8", "rollout.dev/release": "r"})],
    "an older epoch": [put(EPOCH, "6")],
    "an epoch that is no number": [put(EPOCH, "nine")],
    "a finalizer": [remove("/metadata/finalizers")],
    "an owner": [
        add(
            "/metadata/ownerReferences",
            [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "0b7c9d6e-0000-4000-8000-000000000000"}],
        )
    ],
}


@pytest.mark.parametrize("what", REFUSED)
async def test_the_controller_cannot_change(
    what: str, admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, before = await made(admin)
    answer = await patch(controller, path, REFUSED[what])
    assert answer.status_code == 422, answer.text
    assert (await admin.get(path)).json() == before
    # Not because the API would refuse it to anybody.
    by_somebody_else = await patch(admin, path, REFUSED[what], dry=True)
    assert by_somebody_else.status_code == 200, by_somebody_else.text


def to(*weights: int) -> list[Operation]:
    return [put(f"{MAIN}/route/{place}/weight", weight) for place, weight in enumerate(weights)]


NOTED = [put(EPOCH, "8"), put(RELEASE, "checkout-v2")]
ADMITTED: dict[str, list[Operation]] = {
    "other weights and the order they are of": [*to(50, 50, 0), *NOTED],
    "all traffic to one": [*to(0, 100, 0), *NOTED],
    "the same epoch again": [*to(70, 30, 0)],
    "a third version": [
        *to(50, 10, 0),
        add(f"{MAIN}/route/3", {**V3, "destination": V3["destination"] | {"subset": "v4"}, "weight": 40}),
    ],
    "a destination without traffic gone": [remove(f"{MAIN}/route/2")],
    "an order and nothing else": NOTED,
}


@pytest.mark.parametrize("what", ADMITTED)
async def test_the_controller_can_write(what: str, admin: httpx2.AsyncClient, controller: httpx2.AsyncClient) -> None:
    path, before = await made(admin)
    answer = await patch(controller, path, ADMITTED[what])
    assert answer.status_code == 200, answer.text
    after = answer.json()
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["metadata"]["annotations"]["note"] == "ours"


async def test_a_single_destination_without_weight_gets_a_second_one_and_is_alone_again_later(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, _ = await made(admin, http=[split(None)])
    canary = split(None, 10)["route"][1]
    steps: list[list[Operation]] = [
        [add("/spec/http/0/route/0/weight", 90), add("/spec/http/0/route/1", canary)],
        [put("/spec/http/0/route/0/weight", 0), put("/spec/http/0/route/1/weight", 100)],
        [remove("/spec/http/0/route/0")],
    ]
    for step in steps:
        answer = await patch(controller, path, step)
        assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["http"][0]["route"] == [{**canary, "weight": 100}]


async def test_a_destination_may_go_from_weights_that_are_not_100_together(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, _ = await made(admin, http=[split(3, 2, None)])
    answer = await patch(controller, path, [remove("/spec/http/0/route/2")])
    assert answer.status_code == 200, answer.text


async def test_of_weights_that_are_all_0_none_may_go_since_the_last_one_would_get_everything(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, _ = await made(admin, http=[split(0, 0)])
    assert (await patch(controller, path, [remove("/spec/http/0/route/0")])).status_code == 422


async def test_with_a_service_per_version_the_other_host_may_come_from_the_same_namespace_only(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, _ = await made(admin, http=[{"route": [{"destination": {"host": "checkout-v1.shop.svc.cluster.local"}}]}])
    codes = {}
    for host in ("checkout-v2.pay.svc.cluster.local", "checkout-v2", "checkout-v2.shop.svc.cluster.local"):
        entry = {"destination": {"host": host}, "weight": 10}
        change = [add("/spec/http/0/route/0/weight", 90), add("/spec/http/0/route/1", entry)]
        codes[host] = (await patch(controller, path, change)).status_code
    assert codes == {
        "checkout-v2.pay.svc.cluster.local": 422,
        "checkout-v2": 422,
        "checkout-v2.shop.svc.cluster.local": 200,
    }


async def test_the_first_annotations_are_as_good_as_later_ones(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    plain = {**BUSY, "metadata": {}}
    path, _ = await made(admin, plain, http=[split(100)])
    notes = {"rollout.dev/epoch": "1", "rollout.dev/release": "checkout-v2"}
    answer = await patch(controller, path, [add("/metadata/annotations", notes)])
    assert answer.status_code == 200, answer.text


async def test_every_version_of_istios_api_is_guarded_alike(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, before = await made(admin)
    for version in ("v1", "v1beta1", "v1alpha3"):
        elsewhere = path.replace("/v1/", f"/{version}/")
        assert (await patch(controller, elsewhere, REFUSED["a host"])).status_code == 422
    assert (await admin.get(path)).json() == before


async def test_the_largest_objects_are_no_trouble(admin: httpx2.AsyncClient, controller: httpx2.AsyncClient) -> None:
    routes = [{"match": [{"uri": {"prefix": f"/{number}"}}], **split(90, 10)} for number in range(1000)]
    path, _ = await made(admin, http=routes)
    weights = [put(f"/spec/http/999/route/{place}/weight", 50) for place in (0, 1)]
    answer = await patch(controller, path, weights)
    assert answer.status_code == 200, answer.text
    assert (await patch(controller, path, [put("/spec/http/998/match/0/uri/prefix", "/x")])).status_code == 422


async def test_a_route_with_many_destinations_is_no_trouble(
    admin: httpx2.AsyncClient, controller: httpx2.AsyncClient
) -> None:
    path, _ = await made(admin, http=[split(*[0] * 49, 100)])
    weights = [put(f"/spec/http/0/route/{place}/weight", 50) for place in (0, 49)]
    answer = await patch(controller, path, weights)
    assert answer.status_code == 200, answer.text
