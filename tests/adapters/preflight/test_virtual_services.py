"""VirtualServices beside the stepped ones: conflicts, detours, delegates, mirrors, and clients that are not reached."""

from typing import Any

import pytest

from rollout.adapters.preflight.virtual_services import (
    bypasses,
    carriers,
    conflicts,
    gateways_of,
    hidden,
    mirrors,
    roots,
    unreached,
)
from rollout.core.route import Leg
from tests.adapters.preflight.shapes import HOST, JsonObject, said, scene, to, virtual_service

OURS = virtual_service(created="2026-02-01T00:00:00Z")
GATEWAY = "ingress/public"


def other(**more: Any) -> JsonObject:
    return virtual_service(**{"name": "rival", "created": "2026-01-01T00:00:00Z"} | more)


def conflict(rival: JsonObject, ours: JsonObject = OURS, clients: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    around = scene(clients=clients)
    return said(conflicts(around, carriers(around, [rival, ours])))


def test_another_one_for_the_host_in_the_mesh_is_an_error() -> None:
    assert conflict(other()) == [("error", "virtual-service-conflict", "VirtualService shop/rival")]
    assert conflict(other(namespace="web", gateways=["mesh", "public"]))


def test_a_younger_one_which_istio_ignores_is_a_warning() -> None:
    rival = other(created="2026-03-01T00:00:00Z")
    assert conflict(rival) == [("warning", "virtual-service-conflict", "VirtualService shop/rival")]


def test_another_one_for_the_host_on_the_same_gateway_is_a_warning() -> None:
    ours = virtual_service(gateways=[GATEWAY])
    rival = other(namespace="ingress", gateways=["public"])
    assert conflict(rival, ours) == [("warning", "virtual-service-conflict", "VirtualService ingress/rival")]


def test_one_that_only_its_own_namespace_sees_is_a_warning_unless_clients_are_there() -> None:
    rival = other(namespace="web", exportTo=["."])
    assert conflict(rival) == [("warning", "virtual-service-conflict", "VirtualService web/rival")]
    assert conflict(rival, clients=("web",))[0][0] == "error"


@pytest.mark.parametrize(
    "rival",
    [
        other(hosts=["till"]),
        other(hosts=["checkout"], namespace="web"),  # web's own checkout
        other(hosts=["*.shop.svc.cluster.local"]),  # the most specific host wins
        other(gateways=[GATEWAY]),
        other(hosts=[]),  # a delegate
        {"metadata": {"name": "odd"}, "spec": {"hosts": "x", "gateways": {}, "http": [None, {"route": 7}]}},
    ],
)
def test_ones_for_other_hosts_and_gateways_are_no_conflict(rival: JsonObject) -> None:
    assert not conflict(rival)


def test_those_that_are_stepped_together_are_no_conflict() -> None:
    around = scene(legs=(Leg("shop", "checkout"), Leg("shop", "rival")))
    assert not said(conflicts(around, carriers(around, [OURS, other()])))


@pytest.mark.parametrize(
    ("names", "resolved"),
    [
        ([], {"mesh"}),
        (["mesh"], {"mesh"}),
        (["public", "./inner", "web/outer"], {"shop/public", "shop/inner", "web/outer"}),
        (["public.ingress.svc.cluster.local"], {"ingress/public"}),
    ],
)
def test_gateways_are_named_as_istio_resolves_them(names: list[str], resolved: set[str]) -> None:
    assert gateways_of(virtual_service(gateways=names)) == resolved


def test_a_match_may_bring_a_gateway_of_its_own() -> None:
    obj = virtual_service({"match": [{"gateways": ["public"]}], "route": [to("v1")]})
    assert gateways_of(obj) == {"mesh", "shop/public"}


def detour(obj: JsonObject, **of_target: Any) -> list[tuple[str, str, str]]:
    around = scene(**of_target)
    return said(bypasses(around, carriers(around, [OURS, obj])))


def test_a_gateway_s_route_to_the_service_that_is_not_stepped_is_a_warning() -> None:
    obj = virtual_service(
        {"route": [to(None)]}, name="shop", namespace="ingress", hosts=["shop.example"], gateways=["public"]
    )
    assert detour(obj) == [("warning", "ingress-not-stepped", "VirtualService ingress/shop")]
    assert not detour(obj, legs=(Leg("shop", "checkout"), Leg("ingress", "shop")))


def test_another_host_s_route_to_the_service_is_a_warning() -> None:
    obj = virtual_service({"route": [to("v1", host="checkout")]}, name="old", hosts=["old-checkout"])
    assert detour(obj) == [("warning", "other-route", "VirtualService shop/old")]
    assert not detour(virtual_service({"route": [to("v1", host="till")]}, name="till", hosts=["till"]))


def test_a_route_to_a_version_s_own_service_counts_in_the_host_mode() -> None:
    obj = virtual_service({"route": [to(None, host="checkout-v1")]}, name="old", hosts=["old-checkout"])
    assert not detour(obj)
    assert detour(obj, host="{service}-{version}")


def test_a_root_that_delegates_to_the_stepped_one_is_told_and_is_no_detour() -> None:
    delegate = virtual_service(hosts=[])
    root = virtual_service(
        {"match": [{"uri": {"prefix": "/checkout"}}], "delegate": {"name": "checkout", "namespace": "shop"}},
        {"route": [to("v1")]},
        name="root",
        namespace="ingress",
        hosts=["shop.example"],
        gateways=["public"],
    )
    sorted_out = carriers(scene(), [delegate, root])
    assert said(roots(sorted_out)) == [("info", "delegate-root", "VirtualService ingress/root")]
    assert not said(bypasses(scene(), sorted_out))
    rival = virtual_service(name="rival", namespace="ingress", hosts=["shop.example"], gateways=["public"])
    found = said(conflicts(scene(), carriers(scene(), [delegate, root, rival])))
    assert found == [("warning", "virtual-service-conflict", "VirtualService ingress/rival")]


def test_clients_in_the_mesh_are_missed_by_a_route_for_gateways_only() -> None:
    bound = carriers(scene(), [virtual_service(gateways=[GATEWAY])])
    callers = {("web", "front"), ("istio-system", "istio-ingressgateway")}
    assert said(unreached(bound, callers)) == [("warning", "mesh-not-stepped", "VirtualService shop/checkout")]
    assert not said(unreached(bound, {("istio-system", "istio-ingressgateway"), ("edge", "public-gateway-istio")}))
    assert not said(unreached(carriers(scene(), [OURS]), callers))
    assert not said(unreached(carriers(scene(), []), callers))


def test_a_route_that_a_client_s_namespace_cannot_see_is_a_warning() -> None:
    private = virtual_service(exportTo=["."])
    assert said(hidden(scene(clients=["web"]), carriers(scene(), [private]))) == [
        ("warning", "not-exported", "VirtualService shop/checkout")
    ]
    at_gateway = virtual_service(exportTo=["."], gateways=[GATEWAY])
    for obj, client in ((private, "shop"), (OURS, "web"), (at_gateway, "web")):
        assert not said(hidden(scene(clients=[client]), carriers(scene(), [obj])))


@pytest.mark.parametrize(
    ("copied", "found"),
    [
        ({"mirror": {"host": HOST, "subset": "v2"}}, True),
        ({"mirrors": [{"destination": {"host": "checkout", "subset": "v2"}, "percentage": {"value": 5}}]}, True),
        ({"mirror": {"host": HOST}}, True),
        ({"mirror": {"host": HOST, "subset": "v1"}}, False),
        ({"mirror": {"host": "till", "subset": "v2"}}, False),
        ({}, False),
    ],
)
def test_a_mirror_to_the_canary_is_a_warning_where_the_server_counts(copied: JsonObject, *, found: bool) -> None:
    legs = [virtual_service({"route": [to("v1")], **copied})]
    at_server = scene({"metrics": {"reporters": ["destination"]}})
    assert bool(said(mirrors(at_server, legs, {"v2"}))) is found
    assert not said(mirrors(scene(), legs, {"v2"}))


def test_a_mirror_to_the_canary_s_own_service_is_a_warning_in_the_host_mode() -> None:
    legs = [virtual_service({"route": [to(None)], "mirror": {"host": "checkout-v2"}})]
    around = scene({"metrics": {"reporters": ["destination"]}}, host="{service}-{version}")
    assert said(mirrors(around, legs, ())) == [("warning", "mirrored", "VirtualService shop/checkout")]
