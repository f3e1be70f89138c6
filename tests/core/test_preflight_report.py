"""What follows from findings: errors stop, warnings are told, and the label that was found is frozen."""

import pytest

from rollout.core.policy import Metrics, PolicySpec
from rollout.core.preflight import Finding, Report, Severity, VersionLabel


def finding(code: str, severity: Severity) -> Finding:
    return Finding(code, severity, "DestinationRule shop/checkout", "it is wrong", "mend it", "https://istio.io/")


def policy(label: str = "auto") -> PolicySpec:
    return PolicySpec(metrics=Metrics.model_validate({"version_label": label}))


def test_errors_and_warnings_are_told_apart_and_keep_their_order() -> None:
    first, second, third, fourth = (
        finding("a", "warning"),
        finding("b", "error"),
        finding("c", "info"),
        finding("d", "error"),
    )
    report = Report((first, second, third, fourth))
    assert report.errors == (second, fourth)
    assert report.warnings == (first,)


def test_where_nothing_was_found_nothing_stops() -> None:
    assert (Report().errors, Report().warnings) == ((), ())


@pytest.mark.parametrize("label", ["destination_workload", "destination_canonical_revision", "destination_version"])
def test_the_label_that_was_found_is_frozen_where_the_policy_leaves_the_choice(label: VersionLabel) -> None:
    frozen = Report(version_label=label).applied(policy())
    assert frozen.metrics.version_label == label
    assert frozen == policy(label)


def test_where_no_series_tells_the_label_that_loses_no_failure_is_frozen() -> None:
    assert Report().applied(policy()).metrics.version_label == "destination_workload"


def test_a_label_that_the_policy_names_is_left_alone() -> None:
    chosen = policy("destination_version")
    assert Report(version_label="destination_workload").applied(chosen) is chosen
