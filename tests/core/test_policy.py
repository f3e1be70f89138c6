"""The policy model: what its defaults mean, and which combinations make no sense."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.checks import Objective
from rollout.core.policy import ISTIO_BUCKETS_MS, PolicySpec, ServicePolicy

NAMED: dict[str, Any] = {
    "apiVersion": "rollout.dev/v1alpha1",
    "kind": "ServicePolicy",
    "metadata": {"name": "checkout", "namespace": "shop"},
}


def spec(**fields: Any) -> PolicySpec:
    """A spec from its wire form."""
    return PolicySpec.model_validate(fields)


def where(**fields: Any) -> list[str]:
    """Dotted path of every problem of a spec."""
    with pytest.raises(ValidationError) as caught:
        spec(**fields)
    return [
        ".".join([*map(str, error["loc"]), *([error["ctx"]["path"]] if error["type"] == "disagree" else [])])
        for error in caught.value.errors()
    ]


def test_a_name_is_a_whole_policy_and_its_defaults_are_safe() -> None:
    policy = ServicePolicy.model_validate(NAMED).spec
    assert [step.weight for step in policy.steps] == [10, 30, 50, 100]
    assert {step.hold for step in policy.steps} == {timedelta(minutes=5)}
    assert policy.interval == timedelta(seconds=15)
    assert policy == PolicySpec() == spec()


def test_a_policy_is_the_same_after_a_round_trip_through_its_wire_form() -> None:
    policy = spec(
        steps=[{"weight": 1, "hold": "30s"}, {"weight": 100}],
        checks={
            "latency": {"objectives": ["p99 < 500ms", {"bound": "1s", "max": "0.5%"}]},
            "errors": {"codes": ["5xx", "429"], "failFast": {"enabled": False}},
            "custom": [{"name": "carts", "query": "carts{version='{{version}}'}", "overStable": {"ratio": 2}}],
        },
        judge={"falseRollback": "0.1%", "learn": "30m", "caps": {"outage": "30s"}, "early": True},
        route={"name": "primary"},
    )
    assert PolicySpec.model_validate(policy.wire()) == policy
    assert PolicySpec.model_validate_json(policy.model_dump_json(by_alias=True)) == policy


@pytest.mark.parametrize(
    ("text", "bound_ms", "slower"),
    [("p99 < 500ms", 500, 0.01), ("p99.9<1s", 1000, 0.001), ("p50  <  100ms", 100, 0.5), ("p0.5 < 5ms", 5, 0.995)],
)
def test_a_quantile_is_a_share_of_slower_requests(text: str, bound_ms: int, slower: float) -> None:
    (objective,) = spec(checks={"latency": {"objectives": [text]}}).checks.latency.objectives
    assert (objective.bound, objective.max) == (timedelta(milliseconds=bound_ms), slower)


def test_an_objective_says_what_it_limits() -> None:
    assert str(Objective.model_validate({"bound": "500ms", "max": "1%"})) == "1% slower than 500ms"


@pytest.mark.parametrize("text", ["p99", "p100 < 1s", "p0 < 1s", "p99 < 500", "99 < 1s", "p99 > 1s", "p99 < ", 5, None])
def test_anything_else_is_no_objective(text: object) -> None:
    assert where(checks={"latency": {"objectives": [text]}})[0].startswith("checks.latency.objectives.0")


def test_the_judged_bounds_are_exact_and_each_is_there_once() -> None:
    policy = spec(checks={"latency": {"objectives": ["p99 < 500ms", "p50 < 10ms"], "compare": ["500ms", "100ms"]}})
    assert policy.named_bounds_ms() == (10.0, 100.0, 500.0)


@given(st.sampled_from(ISTIO_BUCKETS_MS))
def test_every_bound_of_istio_that_a_duration_can_say_can_be_judged(bound: float) -> None:
    if bound >= 1:
        assert spec(checks={"latency": {"compare": [f"{bound:.0f}ms"]}}).named_bounds_ms() == (float(bound),)


def test_a_bound_between_two_buckets_is_refused_unless_the_mesh_has_it() -> None:
    checks = {"latency": {"compare": ["400ms"]}}
    assert where(checks=checks) == ["checks.latency"]
    assert spec(checks=checks, metrics={"buckets": [100, 400]}).named_bounds_ms() == (400.0,)


@pytest.mark.parametrize("weights", [[100, 100], [50, 10, 100], [10, 10, 100], [100, 50], [50], [1, 99]])
def test_weights_rise_and_end_at_100(weights: list[int]) -> None:
    assert where(steps=[{"weight": weight} for weight in weights]) == ["steps"]


@pytest.mark.parametrize("weights", [[100], [1, 100], [1, 2, 3, 100]])
def test_any_rising_weights_that_end_at_100_will_do(weights: list[int]) -> None:
    assert [step.weight for step in spec(steps=[{"weight": one} for one in weights]).steps] == weights


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"interval": "999ms"}, "interval"),
        ({"interval": "5m1s"}, "interval"),
        ({"settle": "5m1s"}, "settle"),
        ({"deployment": "{service}"}, "deployment"),
        ({"deadlines": {"ready": "14s"}}, "deadlines.ready"),
        ({"deadlines": {"metrics": "14s"}}, "deadlines.metrics"),
        ({"deadlines": {"verdict": "14s"}}, "deadlines.verdict"),
        ({"deadlines": {"total": "14s"}}, "deadlines.total"),
        ({"deadlines": {"total": "20m"}}, "deadlines.total"),
        ({"metrics": {"buckets": [0]}}, "metrics.buckets.0"),
        ({"checks": {"traffic": {"tolerance": 1}}}, "checks.traffic.tolerance"),
        ({"podLabel": ""}, "podLabel"),
        ({"podLabel": "a/b/c"}, "podLabel"),
        ({"gates": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}, "gates.2.name"),
        ({"gates": [{"name": "a", "before": "promotion"}, {"name": "b", "before": 20}]}, "gates.1.before"),
        ({"gates": [{"name": "a", "before": "end"}]}, "gates.0.before"),
        ({"gates": [{"name": "a", "kind": "job"}]}, "gates.0.use"),
        ({"after": ["Payments"]}, "after.0"),
        ({"notify": ["#releases"]}, "notify.0"),
        ({"allowedTriggers": [{"issuer": "github"}]}, "allowedTriggers.0"),
        ({"schedule": {"windows": [{"cron": "0 9 * * *"}]}}, "schedule.windows.0.for"),
    ],
)
def test_values_that_make_no_sense_are_refused_at_the_field_to_change(fields: dict[str, Any], path: str) -> None:
    assert where(**fields)[0] == path


def test_a_gate_stands_before_a_step_that_there_is() -> None:
    gates = [{"name": "a", "before": 7}, {"name": "b", "before": 100}, {"name": "c", "before": "promotion"}]
    assert [gate.before for gate in spec(steps=[{"weight": 7}, {"weight": 100}], gates=gates).gates] == [
        7,
        100,
        "promotion",
    ]
    assert where(gates=gates) == ["gates.0.before"]


def test_a_release_may_take_longer_than_the_longest_time_between_two_windows() -> None:
    nights = {"windows": [{"from": "09:00", "to": "17:00"}]}
    steps = [{"weight": 100, "hold": "1h"}]
    assert where(schedule=nights, steps=steps, deadlines={"total": "17h"}) == ["deadlines.total"]
    assert spec(schedule=nights, steps=steps, deadlines={"total": "17h1ms"}).schedule.windows
    # Clocks may be set back.
    there = nights | {"timeZone": "Europe/Berlin"}
    assert where(schedule=there, steps=steps, deadlines={"total": "17h1ms"}) == ["deadlines.total"]
    assert spec(schedule=there, steps=steps, deadlines={"total": "18h1ms"}).schedule.windows


def test_a_freeze_in_the_schedule_asks_for_no_longer_deadline() -> None:
    assert spec(schedule={"freezes": [{"from": "2026-12-20", "until": "2027-01-06"}]}) != spec()


def test_a_service_does_not_wait_for_itself() -> None:
    ServicePolicy.model_validate(NAMED | {"spec": {"after": ["payments", "ledger"]}})
    with pytest.raises(ValidationError) as caught:
        ServicePolicy.model_validate(NAMED | {"spec": {"after": ["payments", "checkout"]}})
    assert [error["ctx"]["path"] for error in caught.value.errors()] == ["spec.after.1"]


@pytest.mark.parametrize(
    "route",
    [
        {"virtualService": "a", "virtualServices": [{"name": "b"}]},
        {"name": "a", "virtualServices": [{"name": "b"}]},
        {"virtualServices": [{"name": "b"}, {"name": "b"}]},
        {"subsets": ["a", "a"]},
        {"subsets": ["a", "b"], "host": "{version}"},
        {"host": "{service}"},
    ],
    ids=str,
)
def test_shapes_of_a_route_that_exclude_one_another_are_refused(route: dict[str, Any]) -> None:
    assert where(route=route)[0].startswith("route.")


def test_the_label_that_loses_no_failure_is_meant_where_any_may_be() -> None:
    assert spec().metrics.series_label == "destination_workload"
    assert spec(metrics={"versionLabel": "destination_version"}).metrics.series_label == "destination_version"


@pytest.mark.parametrize("hold", ["999ms", "1d1s", "0s"])
def test_a_hold_is_between_a_second_and_a_day(hold: str) -> None:
    assert where(steps=[{"weight": 100, "hold": hold}])[0] == "steps.0"


@pytest.mark.parametrize(
    "fields",
    [
        {
            "interval": "1s",
            "settle": "0s",
            "steps": [{"weight": 100, "hold": "1s"}],
            "deadlines": {"ready": "1s", "route": "1s", "metrics": "1s", "verdict": "1s", "total": "2s"},
        },
        {
            "interval": "5m",
            "settle": "5m",
            "steps": [{"weight": 100, "hold": "1d"}],
            "deadlines": {"route": "5m", "total": "1d1s"},
        },
    ],
)
def test_the_edges_are_allowed(fields: dict[str, Any]) -> None:
    assert spec(**fields).wire().items() >= {key: fields[key] for key in ("interval", "settle", "steps")}.items()


def test_a_deployment_is_named_by_service_and_version() -> None:
    assert PolicySpec().deployment_of("checkout", "v2") == "checkout-v2"
    assert spec(deployment="{version}.{service}.x").deployment_of("checkout", "v2") == "v2.checkout.x"


@pytest.mark.parametrize(
    "fields", [{"step": []}, {"interval": 15}, {"steps": "all"}, {"checks": {"minRequests": "50"}}]
)
def test_nothing_unknown_and_nothing_loose_is_accepted(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**fields)


def test_a_block_of_the_past_is_never_shorter_than_a_scrape() -> None:
    assert spec(judge={"block": "5s"}).block_s == 15.0
    assert spec(judge={"block": "1m"}).block_s == 60.0
    assert spec(interval="5s", judge={"block": "5s"}).block_s == 5.0
