"""The canary's Deployment and pods, and what the metrics will call both versions."""

import pytest

from rollout.adapters.preflight.versions import (
    canonical_revision,
    in_mesh,
    labels,
    readiness,
    revisions,
    selector_of,
    sidecars,
)
from rollout.core.preflight import VersionLabel
from tests.adapters.preflight.shapes import JsonObject, codes, deployment, pod, said, scene

NAME = "checkout-v2"


def test_a_ready_deployment_is_no_finding() -> None:
    assert not said(readiness(scene(), NAME, deployment("v2")))


@pytest.mark.parametrize("obj", [None, deployment("v2", ready=1), deployment("v2", ready=0, wanted=0)])
def test_a_deployment_that_is_missing_unready_or_scaled_to_zero_is_a_warning(obj: JsonObject | None) -> None:
    assert said(readiness(scene(), NAME, obj)) == [("warning", "canary-not-ready", "Deployment shop/checkout-v2")]


def test_a_template_with_another_version_label_than_the_subset_selects_by_is_an_error() -> None:
    wrong = deployment("v2", {"app": "checkout", "version": "2"})
    assert said(labels(scene(), wrong, [])) == [("error", "version-label-differs", "Deployment shop/checkout-v2")]
    assert codes(labels(scene(version_label="release"), deployment("v2"), [])) == {("error", "version-label-differs")}


def test_pods_of_the_deployment_that_carry_another_one_are_a_warning() -> None:
    stray = pod("v3", "checkout-v2-b")
    assert said(labels(scene(), deployment("v2"), [pod(), stray])) == [
        ("warning", "version-label-differs", "Pod shop/checkout-v2-b")
    ]


@pytest.mark.parametrize(
    "obj",
    [
        pod("v1", owner="checkout-v1-5d8f"),
        pod("v1", owner="checkout-v2-5d8f", phase="Failed"),
        pod("v1", phase="Succeeded"),
        pod("v1", deleted="2026-01-01T00:00:00Z"),
        {"metadata": {"labels": {"app": "checkout"}}},
        {"metadata": {"ownerReferences": [None, {"kind": "Job", "name": "checkout-v2-5d8f"}]}, "status": 7},
    ],
)
def test_pods_of_others_and_those_that_are_gone_say_nothing_of_the_version(obj: JsonObject) -> None:
    assert not said(labels(scene(), deployment("v2"), [pod(), obj]))
    assert not said(sidecars(scene(), deployment("v2"), [pod(), {**obj, "spec": {}}]))


def test_pods_that_carry_it_are_no_finding_and_in_the_host_mode_none_has_to() -> None:
    assert not said(labels(scene(), deployment("v2"), [pod(), pod()]))
    assert not said(labels(scene(host="{service}-{version}"), deployment("v2", {"app": "checkout"}), []))
    assert not said(labels(scene(), None, []))


@pytest.mark.parametrize(
    "obj",
    [
        pod(),
        pod(containers=(), init=("istio-proxy",)),
        pod(containers=(), labels={"istio.io/dataplane-mode": "ambient"}),
        pod(containers=(), annotations={"ambient.istio.io/redirection": "enabled"}),
    ],
)
def test_a_pod_with_a_sidecar_of_either_kind_or_in_ambient_is_in_the_mesh(obj: JsonObject) -> None:
    assert in_mesh(obj)


def test_pods_without_a_proxy_are_a_warning() -> None:
    bare = pod(containers=("istio-proxy-not",))
    found = said(sidecars(scene(), deployment("v2"), [pod(), bare]))
    assert found == [("warning", "no-sidecar", "Deployment shop/checkout-v2")]
    assert not said(sidecars(scene(), deployment("v2"), [pod()]))


@pytest.mark.parametrize(
    ("carried", "revision"),
    [
        ({"service.istio.io/canonical-revision": "r", "app.kubernetes.io/version": "a", "version": "v"}, "r"),
        ({"app.kubernetes.io/version": "a", "version": "v"}, "a"),
        ({"version": "v"}, "v"),
        ({"app": "checkout"}, "latest"),
    ],
)
def test_the_canonical_revision_is_that_of_istio(carried: dict[str, str], revision: str) -> None:
    assert canonical_revision(carried) == revision


REVISION: VersionLabel = "destination_canonical_revision"


def test_two_versions_without_labels_collapse_which_is_an_error_only_where_they_are_judged_by_it() -> None:
    bare = deployment("v1", {"app": "a"}), deployment("v2", {"app": "a"})
    assert codes(revisions(scene(), REVISION, *bare)) == {("error", "revisions-collapse")}
    assert codes(revisions(scene(), "destination_workload", *bare)) == {("info", "revisions-collapse")}
    assert not codes(revisions(scene(), REVISION, deployment("v1"), deployment("v2")))


def test_a_version_that_the_metrics_name_otherwise_is_an_error() -> None:
    named = deployment("v2", {"version": "v2", "app.kubernetes.io/version": "2.0.0"})
    for label in (REVISION, "destination_version"):
        assert codes(revisions(scene(), label, deployment("v1"), named)) == {("error", "revision-differs")}
        assert not codes(revisions(scene(), label, deployment("v1"), deployment("v2")))
    assert not codes(revisions(scene(), "destination_workload", deployment("v1"), named))
    assert not codes(revisions(scene(), REVISION, None, None))


def test_the_selector_of_a_deployment_is_spelled_as_a_query() -> None:
    obj = deployment("v2")
    obj["spec"]["selector"]["matchExpressions"] = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "tier", "operator": "NotIn", "values": ["c"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "new", "operator": "Exists"},
        {"key": "odd", "operator": ["Exists"]},
    ]
    assert selector_of(obj) == "app=checkout,version=v2,tier in (a,b),tier notin (c),!old,new"
    assert selector_of({}) == ""


@pytest.mark.parametrize(
    "obj", [{}, {"metadata": 7, "spec": []}, {"spec": {"template": {"metadata": {"labels": "x"}}}}]
)
def test_what_is_no_deployment_and_no_pod_raises_nothing(obj: JsonObject) -> None:
    for one in (readiness(scene(), NAME, obj), revisions(scene(), REVISION, obj, obj), sidecars(scene(), obj, [obj])):
        assert said(one) is not None
