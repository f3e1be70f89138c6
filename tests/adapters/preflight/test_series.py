"""What the series of a service say: the label that tells versions apart, reporters, tags, buckets, scrapes."""

from typing import Any

import pytest

from rollout.adapters.preflight.mesh_series import MeshSeries
from rollout.adapters.preflight.series import (
    buckets,
    client_namespaces,
    client_workloads,
    reporting,
    scraping,
    tags,
    unread,
    version_label,
)
from tests.adapters.preflight.shapes import codes, scene, series
from tests.adapters.preflight.shapes import tags as tag

NOBODY = {
    "destination_workload": "unknown",
    "destination_canonical_revision": "unknown",
    "destination_version": "unknown",
    "response_code": "503",
    "response_flags": "NR",
}
BARE = {
    "destination_workload": "checkout",
    "destination_canonical_revision": "latest",
    "destination_version": "unknown",
}


@pytest.mark.parametrize(
    ("carried", "label", "found"),
    [
        ({}, "destination_workload", {("info", "version-label")}),
        ({"destination_workload": "checkout"}, "destination_canonical_revision", {("info", "version-label")}),
        (
            BARE | {"destination_version": "v1"},
            "destination_version",
            {("info", "version-label"), ("warning", "version-label-weak")},
        ),
        (BARE, None, {("error", "versions-not-told-apart")}),
        ({"reporter": "destination"}, None, set()),
    ],
)
def test_the_label_is_the_first_that_names_stable_and_loses_the_fewest_failures(
    carried: dict[str, str], label: str | None, found: set[tuple[str, str]]
) -> None:
    chosen, said = version_label(scene(), series(tag(**carried)))
    assert chosen == label
    assert codes(said) == found


def test_requests_that_reached_no_pod_are_no_traffic_and_tell_no_versions() -> None:
    failed = series(tag(**NOBODY))
    assert version_label(scene(), failed) == (None, [])
    assert codes(reporting(scene(), failed)) == {("warning", "no-traffic")}
    told = scene({"metrics": {"versionLabel": "destination_version"}})
    assert version_label(told, failed) == ("destination_version", [])
    elsewhere = series(tag(**NOBODY), tag(reporter="destination"))
    assert codes(reporting(scene(), elsewhere)) == {("warning", "no-traffic")}
    assert codes(reporting(scene({"metrics": {"reporters": ["destination"]}}), failed)) == {("warning", "no-traffic")}
    assert version_label(scene(), series(tag(**NOBODY), tag()))[0] == "destination_workload"


def test_labels_that_are_removed_from_all_series_are_not_taken_for_requests_that_reached_nobody() -> None:
    bare = tag(destination_workload=None, destination_canonical_revision=None, destination_version=None)
    assert codes(version_label(scene(), series(bare))[1]) == {("error", "versions-not-told-apart")}
    assert not codes(reporting(scene(), series(bare)))


def test_latest_is_no_version_that_a_canonical_revision_could_tell_apart() -> None:
    carried = tag(**BARE | {"destination_version": "latest"})
    assert version_label(scene(stable="latest"), series(carried))[0] == "destination_version"


def test_a_workload_is_told_apart_whatever_its_version_is_called() -> None:
    carried = tag(destination_workload="checkout-latest")
    assert version_label(scene(stable="latest"), series(carried))[0] == "destination_workload"


def test_without_traffic_or_stable_nothing_is_chosen() -> None:
    assert version_label(scene(), MeshSeries()) == (None, [])
    assert version_label(scene(stable=None), series()) == (None, [])


def test_the_policy_s_own_choice_stands_and_is_an_error_where_it_does_not_fit() -> None:
    told = scene({"metrics": {"versionLabel": "destination_version"}})
    chosen, said = version_label(told, series())
    assert (chosen, codes(said)) == ("destination_version", {("info", "version-label")})
    chosen, said = version_label(told, series(tag(destination_version="unknown")))
    assert (chosen, codes(said)) == ("destination_version", {("error", "versions-not-told-apart")})
    assert version_label(told, MeshSeries())[0] == "destination_version"


def test_a_service_without_requests_is_a_warning() -> None:
    assert codes(reporting(scene(), MeshSeries())) == {("warning", "no-traffic")}
    assert codes(reporting(scene(), series(moving=False))) == {("warning", "no-traffic")}
    assert not codes(reporting(scene(), series()))
    assert not codes(reporting(scene(), series(moving=None)))


def test_requests_that_only_others_report_are_an_error() -> None:
    assert codes(reporting(scene(), series(tag(reporter="destination")))) == {("error", "no-reporter")}
    assert codes(reporting(scene(), series(tag(reporter=None)))) == {("error", "no-reporter")}
    assert not codes(reporting(scene(), series(tag(reporter="destination"), tag(reporter="waypoint"))))


def test_to_count_both_ends_is_a_warning() -> None:
    both = scene({"metrics": {"reporters": ["source", "destination"]}})
    assert codes(reporting(both, series())) == {("warning", "counted-twice")}


@pytest.mark.parametrize("label", ["response_code", "response_flags", "destination_workload"])
def test_a_needed_label_that_is_on_no_series_is_an_error(label: str) -> None:
    found = codes(tags(scene(), series(tag(**{label: None}), tag(**{label: None})), "destination_workload"))
    assert found == {("error", "tag-missing")}
    assert not codes(tags(scene(), series(tag(**{label: None}), tag()), "destination_workload"))


def test_labels_are_looked_for_where_the_policy_counts() -> None:
    elsewhere = tag(reporter="destination", response_flags=None)
    assert not codes(tags(scene(), series(elsewhere), None))
    assert not codes(tags(scene(), series(elsewhere, tag()), None))


def test_a_grpc_status_that_is_missing_from_all_grpc_calls_is_an_error() -> None:
    call = tag(request_protocol="grpc")
    assert codes(tags(scene(), series(call), None)) == {("error", "tag-missing")}
    assert not codes(tags(scene(), series(call, tag(request_protocol="grpc", grpc_response_status="0")), None))
    unanswered = tag(request_protocol="grpc", response_code="0", response_flags="DC")
    assert not codes(tags(scene(), series(unanswered), None))


def test_what_prometheus_would_not_tell_is_a_warning_and_nothing_follows_from_it() -> None:
    given = series(buckets=(), clients=(), scrape_s=None, unread=("buckets", "clients"))
    assert codes(unread(scene(), given)) == {("warning", "series-not-read")}
    assert not codes(buckets(scene(), given))
    assert not codes(unread(scene(), series()))


def objective(**policy: Any) -> dict[str, Any]:
    return {"checks": {"latency": {"compare": ["250ms"]}}} | policy


def test_buckets_as_the_policy_lists_them_are_no_finding() -> None:
    assert not codes(buckets(scene(objective()), series()))


def test_a_bound_of_the_policy_that_no_histogram_has_is_an_error() -> None:
    found = codes(buckets(scene(objective()), series(bounds=(100, 500))))
    assert found == {("error", "bound-missing"), ("warning", "buckets-not-as-told")}


def test_other_bounds_than_the_policy_lists_are_a_warning() -> None:
    assert codes(buckets(scene(objective()), series(bounds=(100, 250, 500)))) == {("warning", "buckets-not-as-told")}
    listed = objective(metrics={"buckets": [100, 250, 500]})
    assert not codes(buckets(scene(listed), series(bounds=(100, 250, 500))))


def test_bounds_that_only_some_series_have_are_a_warning() -> None:
    given = series()
    some = tuple((labels, count - 4 * (labels["le"] == "250")) for labels, count in given.buckets)
    assert codes(buckets(scene(objective()), series(buckets=some))) == {("warning", "buckets-differ")}


def test_no_histogram_is_an_error_where_latency_is_judged() -> None:
    assert codes(buckets(scene(), series(buckets=()))) == {("error", "no-histogram")}
    assert not codes(buckets(scene({"checks": {"latency": {"compare": []}}}), series(buckets=())))
    assert not codes(buckets(scene(), MeshSeries()))
    assert not codes(buckets(scene(), series(buckets=(), moving=None)))


def test_bounds_that_are_no_numbers_are_left_out() -> None:
    odd = (({"reporter": "source", "le": "+Inf"}, 1.0), ({"reporter": "source", "le": "x"}, 1.0))
    assert codes(buckets(scene(objective()), series(buckets=odd)))


@pytest.mark.parametrize(("seconds", "found"), [(None, False), (1.0, False), (20.0, False), (30.0, True)])
def test_scrapes_slower_than_the_policy_looks_are_a_warning(seconds: float | None, *, found: bool) -> None:
    assert bool(codes(scraping(scene(), series(scrape_s=seconds)))) is found


def test_clients_are_those_with_a_name() -> None:
    given = series(
        clients=(
            {"reporter": "source", "source_workload": "web", "source_workload_namespace": "web"},
            {"reporter": "destination", "source_workload": "cart", "source_workload_namespace": "pay"},
            {"reporter": "destination", "source_workload": "unknown", "source_workload_namespace": "unknown"},
            {"reporter": "source"},
        )
    )
    assert client_namespaces(given) == {"web", "pay"}
    assert client_workloads(given) == {("web", "web")}
