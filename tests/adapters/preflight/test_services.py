"""Services: there, for pods of the mesh, with ports that Istio takes for HTTP. And Gateway API routes for them."""

from typing import Any

import pytest

from rollout.adapters.preflight.gateway_api import mixed
from rollout.adapters.preflight.services import of_service, protocol, selects
from tests.adapters.preflight.shapes import JsonObject, codes, said, scene, service


def found(obj: JsonObject | None) -> set[tuple[str, str]]:
    return codes(of_service(scene(), "checkout", obj))


@pytest.mark.parametrize(
    ("port", "spoken"),
    [
        ({"name": "http"}, "http"),
        ({"name": "HTTP-web"}, "http"),
        ({"name": "http2-x"}, "http"),
        ({"name": "grpc"}, "http"),
        ({"name": "grpc-web-x"}, "http"),
        ({"name": "web", "appProtocol": "http"}, "http"),
        ({"name": "web", "appProtocol": "kubernetes.io/h2c"}, "http"),
        ({"name": "http", "appProtocol": "tcp"}, "tcp"),
        ({"name": "https-x"}, "tcp"),
        ({"name": "tls"}, "tcp"),
        ({"name": "mysql-main"}, "tcp"),
        ({"name": "http", "protocol": "UDP"}, "tcp"),
        ({"name": "web"}, "guessed"),
        ({"name": "httpserver"}, "guessed"),
        ({"port": 80}, "guessed"),
        ({"name": None, "appProtocol": 7}, "guessed"),
    ],
)
def test_a_port_speaks_what_its_app_protocol_or_its_name_s_first_part_says(port: JsonObject, spoken: str) -> None:
    assert protocol(port) == spoken


def test_the_canary_s_own_service_may_come_with_it_and_all_others_have_to_be_there() -> None:
    split = scene(host="{service}-{version}")
    missing = {name: codes(of_service(split, name, None)) for name in ("checkout", "checkout-v1", "checkout-v2")}
    assert missing == {
        "checkout": {("error", "service-missing")},
        "checkout-v1": {("error", "service-missing")},
        "checkout-v2": {("warning", "service-missing")},
    }
    one_for_both = scene(host="{service}-all")
    assert codes(of_service(one_for_both, "checkout-all", None)) == {("error", "service-missing")}


def test_a_service_that_speaks_http_is_no_finding() -> None:
    assert not found(service())


def test_a_service_without_any_http_port_is_an_error() -> None:
    assert found(service({"name": "tcp-web", "port": 80})) == {("error", "port-not-http")}


def test_a_tcp_port_beside_an_http_one_is_a_warning() -> None:
    ports = ({"name": "http", "port": 80}, {"name": "tls-admin", "port": 443}, {"name": "mongo", "port": 27017})
    assert found(service(*ports)) == {("warning", "port-not-http")}


def test_a_port_that_istio_has_to_guess_is_a_warning() -> None:
    assert found(service({"port": 80})) == {("warning", "port-undeclared")}


def test_a_service_that_does_not_exist_is_an_error() -> None:
    assert said(of_service(scene(), "till", None)) == [("error", "service-missing", "Service shop/till")]


def test_names_for_something_outside_and_headless_services_are_warnings() -> None:
    assert found(service(type="ExternalName", externalName="shop.example")) == {("warning", "service-external-name")}
    assert found(service(clusterIP="None")) == {("warning", "service-headless")}


def test_a_service_that_does_not_select_the_pods_is_an_error() -> None:
    obj = service(selector={"app": "checkout", "version": "v1"})
    assert codes(selects(obj, {"app": "checkout", "version": "v2"}, "v2")) == {("error", "service-selects-not")}
    assert not said(selects(obj, {"app": "checkout", "version": "v1", "more": "x"}, "v2"))
    assert not said(selects(service(selector=None), {}, "v2"))
    assert not said(selects(None, {}, "v2"))


def route(namespace: str = "shop", **spec: Any) -> JsonObject:
    return {"metadata": {"name": "checkout", "namespace": namespace}, "spec": spec}


def test_a_gateway_api_route_attached_to_the_service_is_an_error() -> None:
    for namespace, parent in (("shop", {}), ("web", {"namespace": "shop"})):
        obj = route(namespace, parentRefs=[{"group": "", "kind": "Service", "name": "checkout", **parent}])
        assert said(mixed(scene(), "HTTPRoute", [obj])) == [("error", "mixed-apis", f"HTTPRoute {namespace}/checkout")]


def test_a_gateway_s_route_to_the_service_is_a_warning() -> None:
    rules = [{"backendRefs": [{"name": "till"}, {"name": "checkout", "port": 80}]}]
    obj = route(parentRefs=[{"name": "public", "namespace": "ingress"}], rules=rules)
    assert said(mixed(scene(), "GRPCRoute", [obj])) == [("warning", "ingress-not-stepped", "GRPCRoute shop/checkout")]


@pytest.mark.parametrize(
    "obj",
    [
        route("web", parentRefs=[{"kind": "Service", "name": "checkout"}]),
        route(parentRefs=[{"kind": "Service", "name": "till"}]),
        route(parentRefs=[{"kind": "Service", "group": "other", "name": "checkout"}]),
        route(parentRefs=[{"name": "checkout"}]),  # a Gateway of that name
        route(rules=[{"backendRefs": [{"kind": "Hostname", "group": "networking.istio.io", "name": "checkout"}]}]),
        {"spec": {"parentRefs": "x", "rules": [7, {"backendRefs": [None]}]}},
    ],
)
def test_routes_for_others_are_no_finding(obj: JsonObject) -> None:
    assert not said(mixed(scene(), "HTTPRoute", [obj]))


def test_a_route_for_a_version_s_own_service_counts_in_the_host_mode() -> None:
    obj = route(rules=[{"backendRefs": [{"name": "checkout-v1"}]}])
    assert not said(mixed(scene(), "HTTPRoute", [obj]))
    assert said(mixed(scene(host="{service}-{version}"), "HTTPRoute", [obj]))
