"""What istiod makes of VirtualServices and DestinationRules, as our translation does."""

from typing import Any

import pytest

from rollout.sandbox import shop
from rollout.sandbox.clusters import Config, Endpoint, clusters, fqdn
from rollout.sandbox.routes import route_configuration, untranslated

HOST = "checkout.shop.svc.cluster.local"
V1 = Endpoint("shop", "checkout-v1", 9001, {"app": "checkout", "version": "v1"})
V2 = Endpoint("shop", "checkout-v2", 9002, {"app": "checkout", "version": "v2"})


def virtual_service(*http: dict[str, Any], name: str = "checkout", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"hosts": ["checkout"], "http": list(http), **spec}}


def to(subset: str, weight: int | None = None, **more: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"destination": {"host": "checkout", "subset": subset}, **more}
    return entry if weight is None else {**entry, "weight": weight}


def config(*virtual_services: dict[str, Any], **more: Any) -> Config:
    return Config(
        **{
            "services": [shop.kubernetes_service()],
            "virtual_services": virtual_services,
            "destination_rules": [shop.destination_rule(versions=("v1", "v2"))],
            "endpoints": [V1, V2],
            "source_namespace": "shop",
            **more,
        }
    )


def routes(*http: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    found = route_configuration(config(virtual_service(*http, **more)))
    (host,) = found["virtual_hosts"]
    result: list[dict[str, Any]] = host["routes"]
    return result


def action(rule: dict[str, Any]) -> dict[str, Any]:
    (route,) = routes(rule)
    result: dict[str, Any] = route["route"]
    return result


def weights(rule: dict[str, Any]) -> dict[str, int]:
    return {entry["name"].split("|")[2]: entry["weight"] for entry in action(rule)["weighted_clusters"]["clusters"]}


def test_clusters_are_named_as_istiod_names_them() -> None:
    assert [cluster["name"] for cluster in clusters(config())] == [
        f"outbound|80|v1|{HOST}",
        f"outbound|80|v2|{HOST}",
        f"outbound|80||{HOST}",
    ]


def ports(cluster: dict[str, Any]) -> list[int]:
    (locality,) = cluster["load_assignment"]["endpoints"]
    return [e["endpoint"]["address"]["socket_address"]["port_value"] for e in locality["lb_endpoints"]]


def test_subset_labels_select_endpoints() -> None:
    assert [ports(cluster) for cluster in clusters(config())] == [[9001], [9002], [9001, 9002]]


def test_a_subset_without_endpoints_is_an_empty_cluster() -> None:
    assert [ports(cluster) for cluster in clusters(config(endpoints=[V1]))] == [[9001], [], [9001]]


def test_endpoints_of_other_services_and_namespaces_are_not_selected() -> None:
    other = Endpoint("shop", "cart-v1", 9003, {"app": "cart", "version": "v1"})
    elsewhere = Endpoint("test", "checkout-v1", 9004, {"app": "checkout", "version": "v1"})
    assert [ports(cluster) for cluster in clusters(config(endpoints=[other, elsewhere]))] == [[], [], []]


def test_the_oldest_destination_rule_of_a_host_decides() -> None:
    old, new = shop.destination_rule(versions=("v1",)), shop.destination_rule(versions=("v9",))
    old["metadata"] = {**old["metadata"], "creationTimestamp": "2026-01-01T00:00:00Z"}
    new["metadata"] = {"name": "a", "namespace": "shop", "creationTimestamp": "2026-02-01T00:00:00Z"}
    new["spec"]["host"] = HOST
    names = [cluster["name"].split("|")[2] for cluster in clusters(config(destination_rules=[new, old]))]
    assert names == ["v1", ""]


def test_endpoints_carry_the_labels_of_istios_metrics() -> None:
    labels = {"app": "checkout", "version": "v1", "app.kubernetes.io/version": "1.2.3"}
    endpoint = Endpoint("shop", "checkout-v1", 9001, labels)
    cluster = clusters(config(endpoints=[endpoint]))[0]
    (found,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert found["metadata"]["filter_metadata"]["istio.sandbox"] == {
        "workload": "checkout-v1",
        "workload_namespace": "shop",
        "app": "checkout",
        "version": "1.2.3",
        "canonical_service": "checkout",
        "canonical_revision": "1.2.3",
    }
    assert cluster["metadata"]["filter_metadata"]["istio.sandbox"] == {
        "service": HOST,
        "service_name": "checkout",
        "service_namespace": "shop",
    }


@pytest.mark.parametrize("weight", [None, 0, 100])
def test_a_single_destination_takes_everything_whatever_its_weight(weight: int | None) -> None:
    assert action({"route": [to("v1", weight)]})["cluster"] == f"outbound|80|v1|{HOST}"


def test_weights_are_kept() -> None:
    assert weights({"route": [to("v1", 70), to("v2", 30)]}) == {"v1": 70, "v2": 30}


def test_of_several_destinations_those_without_weight_are_not_programmed() -> None:
    assert weights({"route": [to("v1", 100), to("v2", 0), to("v3")]}) == {"v1": 100}


def test_a_subset_nobody_declared_is_routed_to_all_the_same() -> None:
    assert weights({"route": [to("v1", 70), to("v9", 30)]}) == {"v1": 70, "v9": 30}


def test_a_destination_in_another_namespace_is_named_in_full() -> None:
    entry = {"destination": {"host": "cart.test.svc.cluster.local", "port": {"number": 8080}}}
    assert action({"route": [entry]})["cluster"] == "outbound|8080||cart.test.svc.cluster.local"


def test_a_host_split_goes_to_the_services_of_the_versions() -> None:
    split = {
        "route": [
            {"destination": {"host": "checkout-v1"}, "weight": 90},
            {"destination": {"host": "checkout-v2.shop.svc.cluster.local"}, "weight": 10},
        ]
    }
    apex = shop.kubernetes_service()
    own = [
        {
            "metadata": {"name": f"checkout-{version}", "namespace": "shop"},
            "spec": {"selector": {"app": "checkout", "version": version}, "ports": [{"port": 80}]},
        }
        for version in ("v1", "v2")
    ]
    world = config(virtual_service(split), services=[apex, *own], destination_rules=[])
    # Those hosts are services too, each with a virtual host of its own.
    (host,) = [one for one in route_configuration(world)["virtual_hosts"] if "checkout" in one["domains"]]
    named = {one["name"]: one["weight"] for one in host["routes"][0]["route"]["weighted_clusters"]["clusters"]}
    assert named == {
        "outbound|80||checkout-v1.shop.svc.cluster.local": 90,
        "outbound|80||checkout-v2.shop.svc.cluster.local": 10,
    }
    behind = {
        cluster["name"]: [
            endpoint["metadata"]["filter_metadata"]["istio.sandbox"]["workload"]
            for endpoint in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        ]
        for cluster in clusters(world)
    }
    assert behind == {
        f"outbound|80||{HOST}": ["checkout-v1", "checkout-v2"],
        "outbound|80||checkout-v1.shop.svc.cluster.local": ["checkout-v1"],
        "outbound|80||checkout-v2.shop.svc.cluster.local": ["checkout-v2"],
    }


def test_of_the_meshs_and_a_gateways_virtual_service_the_client_in_the_mesh_follows_the_former() -> None:
    mesh = virtual_service({"route": [to("v1", 90), to("v2", 10)]})
    edge = virtual_service({"route": [to("v1", 40), to("v2", 60)]}, name="public", gateways=["istio-ingress/public"])
    (host,) = route_configuration(config(edge, mesh))["virtual_hosts"]
    (route,) = host["routes"]
    shares = [one["weight"] for one in route["route"]["weighted_clusters"]["clusters"]]
    assert shares == [90, 10]


def test_an_exact_split_reads_the_sequence_header() -> None:
    found = route_configuration(config(virtual_service({"route": [to("v1", 70), to("v2", 30)]})), exact_split=True)
    assert found["virtual_hosts"][0]["routes"][0]["route"]["weighted_clusters"]["header_name"] == "x-sandbox-seq"


def test_matches_of_a_route_are_alternatives_and_fields_of_a_match_are_not() -> None:
    rule = {
        "name": "canary",
        "match": [
            {"name": "h", "headers": {"x-canary": {"exact": "always"}}, "uri": {"prefix": "/pay"}},
            {"uri": {"exact": "/beta"}},
        ],
        "route": [to("v2")],
    }
    first, second, last = routes(rule, {"name": "primary", "route": [to("v1")]})
    assert first["name"] == "canary.h"
    assert first["match"] == {
        "prefix": "/pay",
        "headers": [{"name": "x-canary", "string_match": {"exact": "always"}}],
    }
    assert second["match"] == {"path": "/beta"}
    assert (last["name"], last["match"]) == ("primary", {"prefix": "/"})


@pytest.mark.parametrize(
    ("match", "translated"),
    [
        ({"uri": {"regex": "/v[0-9]+"}}, {"safe_regex": {"regex": "/v[0-9]+"}}),
        ({"uri": {"prefix": "/A"}, "ignoreUriCase": True}, {"prefix": "/A", "case_sensitive": False}),
        ({"headers": {"x": {}}}, {"prefix": "/", "headers": [{"name": "x", "present_match": True}]}),
        (
            {"headers": {"x": {"regex": "a+"}}},
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"safe_regex": {"regex": "a+"}}}]},
        ),
        (
            {"withoutHeaders": {"x": {"prefix": "a"}}},
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"prefix": "a"}, "invert_match": True}]},
        ),
        (
            {"method": {"exact": "POST"}},
            {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]},
        ),
        (
            {"queryParams": {"beta": {"exact": "1"}}},
            {"prefix": "/", "query_parameters": [{"name": "beta", "string_match": {"exact": "1"}}]},
        ),
    ],
)
def test_a_match_means_the_same_to_envoy(match: dict[str, Any], translated: dict[str, Any]) -> None:
    (route,) = routes({"match": [match], "route": [to("v1")]})
    assert route["match"] == translated


@pytest.mark.parametrize("catch_all", [{}, {"uri": {"prefix": "/"}}, {"uri": {"regex": ".*"}}])
def test_nothing_follows_a_route_that_takes_everything(catch_all: dict[str, Any]) -> None:
    first = {"match": [catch_all], "route": [to("v1")]} if catch_all else {"route": [to("v1")]}
    assert len(routes(first, {"route": [to("v2")]})) == 1


@pytest.mark.parametrize(
    "match",
    [
        {"gateways": ["istio-system/public"]},
        {"port": 8443},
        {"sourceLabels": {"app": "someone-else"}},
        {"sourceNamespace": "elsewhere"},
    ],
)
def test_routes_for_other_clients_are_not_ours(match: dict[str, Any]) -> None:
    (route,) = routes({"match": [match], "route": [to("v2")]}, {"route": [to("v1")]})
    assert route["route"]["cluster"] == f"outbound|80|v1|{HOST}"


def test_a_virtual_service_bound_to_a_gateway_alone_leaves_the_default_route() -> None:
    (route,) = routes({"route": [to("v2")]}, gateways=["istio-system/public"])
    assert route["route"]["cluster"] == f"outbound|80||{HOST}"


def test_the_mesh_may_be_named_among_gateways() -> None:
    (route,) = routes({"route": [to("v2")]}, gateways=["istio-system/public", "mesh"])
    assert route["route"]["cluster"] == f"outbound|80|v2|{HOST}"


def test_of_two_virtual_services_for_a_host_the_older_one_counts() -> None:
    younger = virtual_service({"route": [to("v2")]}, name="a-younger")
    younger["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
    older = virtual_service({"route": [to("v1")]})
    (host,) = route_configuration(config(younger, older))["virtual_hosts"]
    assert host["routes"][0]["route"]["cluster"] == f"outbound|80|v1|{HOST}"


def test_a_service_is_known_by_all_its_names() -> None:
    (host,) = route_configuration(config())["virtual_hosts"]
    names = {HOST, "checkout.shop.svc", "checkout.shop", "checkout"}
    assert set(host["domains"]) == names | {f"{name}:80" for name in names}


def test_the_short_name_is_for_clients_of_the_same_namespace() -> None:
    (host,) = route_configuration(config(source_namespace="elsewhere"))["virtual_hosts"]
    assert "checkout" not in host["domains"]


def test_there_is_no_timeout_and_two_retries_unless_the_rule_says_otherwise() -> None:
    plain = action({"route": [to("v1")]})
    assert plain["timeout"] == "0s"
    assert plain["retry_policy"]["num_retries"] == 2
    said = {"timeout": "1m0.5s", "retries": {"attempts": 5, "perTryTimeout": "250ms", "retryOn": "5xx"}}
    told = action({"route": [to("v1")], **said})
    assert told["timeout"] == "60.5s"
    policy = told["retry_policy"]
    assert (policy["num_retries"], policy["per_try_timeout"], policy["retry_on"]) == (5, "0.25s", "5xx")


def test_no_attempts_means_no_retries() -> None:
    assert "retry_policy" not in action({"route": [to("v1")], "retries": {"attempts": 0}})


def test_a_duration_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="soon"):
        action({"route": [to("v1")], "timeout": "soon"})


def test_headers_are_edited_per_route_and_per_destination() -> None:
    edits = {"request": {"set": {"a": "1"}, "remove": ["b"]}, "response": {"add": {"c": "2"}}}
    (route,) = routes({"route": [to("v1", 50, headers=edits), to("v2", 50)], "headers": edits})
    for holder in (route, route["route"]["weighted_clusters"]["clusters"][0]):
        assert holder["request_headers_to_remove"] == ["b"]
        assert holder["request_headers_to_add"][0]["header"] == {"key": "a", "value": "1"}
        assert holder["response_headers_to_add"][0]["append_action"] == "APPEND_IF_EXISTS_OR_ADD"


def test_a_redirect_and_a_direct_response_need_no_destination() -> None:
    redirect, direct = routes(
        {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/new", "redirectCode": 308}},
        {"directResponse": {"status": 418, "body": {"string": "teapot"}}},
    )
    assert redirect["redirect"] == {"path_redirect": "/new", "response_code": "PERMANENT_REDIRECT"}
    assert direct["direct_response"] == {"status": 418, "body": {"inline_string": "teapot"}}


def test_what_has_no_effect_here_is_named() -> None:
    rule = {"route": [to("v1")], "mirror": {"host": "x"}, "fault": {}}
    found = untranslated(virtual_service(rule, tcp=[{"route": []}]))
    assert found == ["spec.tcp", "spec.http[0].mirror", "spec.http[0].fault"]


def test_names_without_dots_belong_to_the_namespace() -> None:
    assert fqdn("checkout", "shop") == HOST
    assert fqdn("checkout.test", "shop") == "checkout.test"
    assert fqdn("*", "shop") == "*"
