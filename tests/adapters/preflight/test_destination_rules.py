"""DestinationRules of other namespaces, several for one host, and those that are not exported."""

import pytest

from rollout.adapters.preflight.destination_rules import hidden, needed_subsets, several, shadows
from tests.adapters.preflight.shapes import destination_rule, said, scene

NEEDED = ("v1", "v2")


def test_the_route_needs_the_subset_of_both_versions_by_the_names_that_the_rule_gives_them() -> None:
    rule = destination_rule("v1")
    rule["spec"]["subsets"][0]["name"] = "blue"
    assert needed_subsets(scene(), rule) == ("blue", "v2")
    assert needed_subsets(scene(canary="v2.1"), None) == ("v1", "v2-1")
    assert needed_subsets(scene(slots=("a", "b")), rule) == ("a", "b")
    assert needed_subsets(scene(host="{service}-{version}"), rule) == ()


def test_a_rule_in_the_namespace_of_a_known_client_without_the_canary_s_subset_is_an_error() -> None:
    rule = destination_rule("v1", namespace="web")
    assert said(shadows(scene(clients=["web"]), [rule], NEEDED)) == [
        ("error", "subset-shadowed", "DestinationRule web/checkout")
    ]


def test_it_is_a_warning_where_no_client_is_known() -> None:
    rule = destination_rule("v1", namespace="web")
    assert said(shadows(scene(), [rule], NEEDED)) == [("warning", "subset-shadowed", "DestinationRule web/checkout")]


def test_it_is_a_warning_where_only_selected_clients_follow_it() -> None:
    rule = destination_rule("v1", namespace="web", spec={"workloadSelector": {"matchLabels": {"app": "cart"}}})
    assert said(shadows(scene(clients=["web"]), [rule], NEEDED)) == [
        ("warning", "subset-shadowed", "DestinationRule web/checkout")
    ]


@pytest.mark.parametrize("host", ["*.local", "*.shop.svc.cluster.local", "*", "CHECKOUT.shop.svc.cluster.local"])
def test_wildcards_and_other_spellings_shadow_too(host: str) -> None:
    assert said(shadows(scene(), [destination_rule(namespace="web", host=host)], NEEDED))


@pytest.mark.parametrize(
    ("namespace", "host", "subsets"),
    [
        ("web", "checkout", ["v1"]),  # web's own checkout
        ("web", "checkout.shop", ["v1"]),  # no Kubernetes service at all
        ("web", "*.web.svc.cluster.local", []),
        ("web", "checkout.shop.svc.cluster.local", ["v2", "v1", "v0"]),
        ("istio-system", "*.local", []),  # the root namespace comes last
        ("shop", "checkout", ["v1"]),
    ],
)
def test_rules_that_take_nothing_away_are_no_finding(namespace: str, host: str, subsets: list[str]) -> None:
    rule = destination_rule(*subsets, namespace=namespace, host=host)
    assert not said(shadows(scene(clients=["web"]), [rule], NEEDED))


@pytest.mark.parametrize(
    ("places", "found"), [(["pay"], False), (["."], True), (["web"], True), (["*"], True), (["pay", "web"], True)]
)
def test_a_rule_that_its_own_namespace_does_not_see_shadows_nothing_there(places: list[str], *, found: bool) -> None:
    rule = destination_rule("v1", namespace="web", spec={"exportTo": places})
    assert bool(said(shadows(scene(clients=["web"]), [rule], NEEDED))) is found


def test_of_several_rules_for_the_host_the_younger_one_is_named() -> None:
    old = destination_rule("v1", name="zz", creationTimestamp="2026-01-01T00:00:00Z")
    new = destination_rule("v1", host="checkout", creationTimestamp="2026-02-01T00:00:00Z")
    assert said(several(scene(), [new, old])) == [("warning", "several-rules", "DestinationRule shop/checkout")]


def test_rules_for_selected_clients_other_hosts_and_other_namespaces_do_not_count_as_several() -> None:
    rules = [
        destination_rule("v1"),
        destination_rule("v1", name="some", spec={"workloadSelector": {"matchLabels": {"app": "cart"}}}),
        destination_rule("v1", name="till", host="till"),
        destination_rule("v1", name="all", host="*.shop.svc.cluster.local"),
        destination_rule("v1", namespace="web"),
    ]
    assert not said(several(scene(), rules))


@pytest.mark.parametrize(("places", "seen"), [(["."], False), (["shop", "pay"], False), (["*"], True), (["web"], True)])
def test_a_rule_that_a_client_s_namespace_cannot_see_is_a_warning(places: list[str], *, seen: bool) -> None:
    rule = destination_rule("v1", spec={"exportTo": places})
    assert bool(said(hidden(scene(clients=["web", "shop"]), rule))) is not seen


def test_without_rule_or_in_the_host_mode_nothing_is_hidden() -> None:
    rule = destination_rule("v1", spec={"exportTo": ["."]})
    assert not said(hidden(scene(clients=["web"]), None))
    assert not said(hidden(scene(clients=["web"], host="{service}-{version}"), rule))


@pytest.mark.parametrize("rule", [{}, {"metadata": None, "spec": []}, {"spec": {"host": 7, "subsets": "x"}}])
def test_what_is_no_rule_is_no_finding(rule: dict[str, object]) -> None:
    assert not said([*shadows(scene(), [rule], NEEDED), *several(scene(), [rule, rule]), *hidden(scene(), rule)])
