"""Telemetry overrides that switch off or bend what a release is judged by."""

from dataclasses import replace
from typing import Any

import pytest

from rollout.adapters.preflight.telemetries import overrides
from tests.adapters.preflight.shapes import JsonObject, istio, said, scene

NO_LATENCY: JsonObject = {"checks": {"latency": {"compare": []}}}
AT_SERVER = {"metrics": {"reporters": ["destination"]}}


def telemetry(*given: JsonObject, namespace: str = "web", name: str = "default", **spec: Any) -> JsonObject:
    return istio("Telemetry", name, {"metrics": [{"overrides": [*given]}], **spec}, namespace)


def off(metric: str | None = None, mode: str | None = None, *, disabled: bool = True) -> JsonObject:
    match = {key: value for key, value in (("metric", metric), ("mode", mode)) if value}
    return {"match": match, "disabled": disabled} if match else {"disabled": disabled}


@pytest.mark.parametrize(
    "given",
    [off(), off("ALL_METRICS"), off("REQUEST_COUNT"), off("REQUEST_DURATION", "CLIENT"), off(mode="CLIENT_AND_SERVER")],
)
@pytest.mark.parametrize("namespace", ["web", "istio-system"])
def test_a_metric_that_is_off_at_a_client_is_an_error(given: JsonObject, namespace: str) -> None:
    found = said(overrides(scene(clients=["web"]), [telemetry(given, namespace=namespace)]))
    assert found == [("error", "telemetry-disabled", f"Telemetry {namespace}/default")]


@pytest.mark.parametrize(
    "obj",
    [
        telemetry(off("REQUEST_SIZE")),
        telemetry(off("REQUEST_COUNT", "SERVER")),
        telemetry(off(disabled=False)),
        telemetry(off(), namespace="elsewhere"),
        telemetry(),
        telemetry({"match": {"customMetric": "mine"}, "disabled": True}),
        {"metadata": {"namespace": "web"}, "spec": {"metrics": [7, {"overrides": "x"}]}},
    ],
)
def test_what_does_not_touch_the_metrics_of_the_client_is_no_finding(obj: JsonObject) -> None:
    assert not said(overrides(scene(clients=["web"]), [obj]))


def test_the_server_s_namespace_decides_where_the_server_reports() -> None:
    both = [telemetry(off(), namespace="shop"), telemetry(off(), namespace="web")]
    at_server = scene(AT_SERVER, clients=["web"])
    assert said(overrides(at_server, both)) == [("error", "telemetry-disabled", "Telemetry shop/default")]
    assert not said(overrides(at_server, [telemetry(off("REQUEST_COUNT", "CLIENT"), namespace="shop")]))


def test_a_waypoint_s_side_matters_where_one_counts() -> None:
    obj = telemetry(off(), namespace="shop")
    assert not said(overrides(scene(clients=["web"]), [obj]))
    at_waypoint = replace(scene(clients=["web"]), reporters=frozenset({"waypoint"}))
    assert said(overrides(at_waypoint, [obj])) == [("error", "telemetry-disabled", "Telemetry shop/default")]


def test_a_namespace_overrules_the_root_namespace() -> None:
    objects = [telemetry(off(disabled=False)), telemetry(off("REQUEST_COUNT"), namespace="istio-system")]
    assert not said(overrides(scene(clients=["web"]), objects))


def test_one_that_selects_workloads_is_a_warning() -> None:
    obj = telemetry(off("REQUEST_COUNT"), selector={"matchLabels": {"app": "cart"}})
    assert said(overrides(scene(clients=["web"]), [obj])) == [
        ("warning", "telemetry-disabled", "Telemetry web/default")
    ]


def test_durations_do_not_matter_to_a_policy_that_does_not_judge_latency() -> None:
    obj = telemetry(off("REQUEST_DURATION"))
    assert not said(overrides(scene(NO_LATENCY, clients=["web"]), [obj]))
    assert said(overrides(scene(clients=["web"]), [obj]))


def test_a_needed_tag_that_is_removed_or_replaced_is_a_warning_and_another_is_none() -> None:
    def bent(tag: str) -> JsonObject:
        return telemetry({"match": {"metric": "ALL_METRICS"}, "tagOverrides": {tag: {"operation": "REMOVE"}}})

    found = said(overrides(scene(clients=["web"]), [bent("response_code")]))
    assert found == [("warning", "telemetry-tags", "Telemetry web/default")]
    assert not said(overrides(scene(clients=["web"]), [bent("request_host")]))


def test_with_no_client_known_the_service_s_own_namespace_is_looked_at() -> None:
    assert said(overrides(scene(), [telemetry(off(), namespace="shop"), telemetry(off())])) == [
        ("warning", "telemetry-disabled", "Telemetry shop/default")
    ]
    assert said(overrides(scene(), [telemetry(off(), namespace="istio-system")])) == [
        ("error", "telemetry-disabled", "Telemetry istio-system/default")
    ]


def test_one_of_several_clients_is_a_warning_and_all_of_them_an_error() -> None:
    batch = telemetry(off("REQUEST_COUNT"), namespace="batch")
    several = scene(clients=["web", "batch"])
    assert said(overrides(several, [batch])) == [("warning", "telemetry-disabled", "Telemetry batch/default")]
    assert said(overrides(several, [batch, telemetry(off("REQUEST_DURATION"))])) == [
        ("warning", "telemetry-disabled", "Telemetry batch/default"),
        ("warning", "telemetry-disabled", "Telemetry web/default"),
    ]
    assert said(overrides(several, [batch, telemetry(off("REQUEST_COUNT"))])) == [
        ("error", "telemetry-disabled", "Telemetry batch/default"),
        ("error", "telemetry-disabled", "Telemetry web/default"),
    ]
    but_web = [telemetry(off(), namespace="istio-system"), telemetry(off(disabled=False))]
    assert said(overrides(several, but_web)) == [("warning", "telemetry-disabled", "Telemetry istio-system/default")]


@pytest.mark.parametrize(
    ("providers", "blind"),
    [(["stackdriver"], False), (["stackdriver", "prometheus"], True), (["our-Prometheus"], True), ([], True)],
)
def test_a_block_for_other_providers_says_nothing_about_prometheus(providers: list[str], *, blind: bool) -> None:
    block = {"providers": [{"name": one} for one in providers], "overrides": [off()]}
    obj = istio("Telemetry", "default", {"metrics": [block]}, "istio-system")
    assert bool(said(overrides(scene(clients=["web"]), [obj]))) is blind
