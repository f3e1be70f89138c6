"""The words: how queries are spelled, and what Istio's labels mean for a release."""

import re
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters import promql
from rollout.core.policy import ISTIO_BUCKETS_MS
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.ports import Subject

DOMAIN = "cluster.local"
FULL = "checkout.shop.svc.cluster.local"


def subject(label: str = "destination_workload", **fields: Any) -> Subject:
    values = {"namespace": "shop", "service": "checkout", "canary": "v2", "stable": "v1", "bounds_ms": ()}
    return Subject(**{**values, **fields}, policy=MetricsPolicy.model_validate({"version_label": label}))


@pytest.mark.parametrize(
    ("version", "code", "flags", "group"),
    [
        ("v2", "200", "-", "canary"),
        ("v2", "503", "UF,URX", "canary"),
        ("v2", "0", "DC", "canary"),
        ("v1", "200", "-", "stable"),
        ("v3", "200", "-", "other"),
        ("v2", "200", "DI", "other"),
        ("v2", "503", "FI", "other"),
        ("unknown", "503", "FI", "other"),
        ("unknown", "503", "UH", "lost"),
        ("unknown", "503", "NC", "lost"),
        ("unknown", "503", "UO", "lost"),
        ("unknown", "404", "NR", "lost"),
        ("unknown", "503", "URX,UF", "lost"),
        ("unknown", "500", "-", "lost"),
        ("", "503", "UH", "lost"),
        (None, "503", "UH", "lost"),
        ("unknown", "200", "-", "other"),
        ("unknown", "0", "DC", "other"),
        ("unknown", "404", "-", "other"),
    ],
)
@pytest.mark.parametrize("label", ["destination_workload", "destination_canonical_revision", "destination_version"])
def test_a_series_belongs_to_its_version_or_is_lost_or_is_nobodys(
    label: str, version: str | None, code: str, flags: str, group: str
) -> None:
    labels = {"response_code": code, "response_flags": flags}
    if version is not None:
        labels[label] = version
    assert promql.group_of(labels, subject(label)) == group


@pytest.mark.parametrize(
    ("flags", "code", "canary", "group"),
    [
        ("UH", "503", "v2", "lost"),
        ("UH", "503", "latest", "lost"),
        ("NC", "503", "latest", "lost"),
        ("UO", "503", "latest", "lost"),
        ("NR", "404", "latest", "lost"),
        # The host was chosen and is known by its endpoint's metadata.
        ("UF", "503", "latest", "canary"),
        ("-", "200", "latest", "canary"),
        ("-", "200", "v2", "other"),
    ],
)
def test_canonical_revision_latest_is_a_version_only_where_a_host_was_chosen(
    flags: str, code: str, canary: str, group: str
) -> None:
    labels = {"destination_canonical_revision": "latest", "response_code": code, "response_flags": flags}
    assert promql.group_of(labels, subject("destination_canonical_revision", canary=canary)) == group


def test_canonical_revision_latest_is_a_version_where_its_own_proxy_reports() -> None:
    labels = {
        "reporter": "destination",
        "destination_canonical_revision": "latest",
        "response_code": "503",
        "response_flags": "UO",
    }
    assert promql.group_of(labels, subject("destination_canonical_revision", stable="latest")) == "stable"


@pytest.mark.parametrize(
    ("service", "version", "code", "flags", "group"),
    [
        ("checkout-v2", "unknown", "503", "UH", "canary"),
        ("checkout-v2", "unknown", "503", "UO", "canary"),
        ("checkout-v2", "unknown", "0", "DC", "canary"),
        ("checkout-v1", "unknown", "503", "UH", "stable"),
        ("checkout-v2", "unknown", "503", "FI", "other"),
        # Reached, and known by its peer: whoever answered is who was asked.
        ("checkout-v2", "v1", "200", "-", "stable"),
        ("checkout-v2", "v3", "200", "-", "other"),
        # Through the Service of all versions, or with no cluster and only a Host header.
        ("checkout", "unknown", "503", "UH", "lost"),
        ("checkout", "unknown", "503", "NC", "lost"),
        ("checkout", "v2", "200", "-", "canary"),
    ],
)
def test_a_versions_own_service_tells_whose_a_request_without_a_peer_was(
    service: str, version: str, code: str, flags: str, group: str
) -> None:
    labels = {"destination_workload": version, "response_code": code, "response_flags": flags}
    split = subject(hosts=("checkout-v2", "checkout-v1"))
    assert promql.group_of(labels, split, service) == group


def test_a_workload_called_latest_is_an_ordinary_version() -> None:
    labels = {"destination_workload": "latest", "response_code": "503", "response_flags": "UH"}
    assert promql.group_of(labels, subject(canary="latest")) == "canary"


@pytest.mark.parametrize(
    ("host", "source", "found"),
    [
        (FULL, "elsewhere", ("shop", "checkout")),
        (f"{FULL}:8080", "elsewhere", ("shop", "checkout")),
        ("checkout.shop.svc", "elsewhere", ("shop", "checkout")),
        ("checkout.shop", "elsewhere", ("shop", "checkout")),
        ("checkout.shop:80", "elsewhere", ("shop", "checkout")),
        ("checkout", "shop", ("shop", "checkout")),
        ("checkout:9080", "shop", ("shop", "checkout")),
        ("checkout", "elsewhere", ("elsewhere", "checkout")),
        ("checkout", "", None),
        ("unknown", "", None),
        ("", "shop", None),
    ],
)
def test_a_host_header_names_a_service_as_its_client_would_resolve_it(
    host: str, source: str, found: tuple[str, str] | None
) -> None:
    labels = {"destination_service": host, "source_workload_namespace": source}
    assert promql.destination(labels, DOMAIN) == found


def test_every_spelling_of_the_host_is_asked_for_and_no_other_service() -> None:
    pattern = re.compile(promql.hosts([subject(), subject(service="cart")], DOMAIN))
    for name, tail, port in product(
        ("checkout", "cart"), ("", ".shop", ".shop.svc", ".shop.svc.cluster.local"), ("", ":80")
    ):
        assert pattern.fullmatch(name + tail + port)
    for other in (
        "checkout2",
        "xcheckout",
        "checkout.bar",
        "checkout.shop2",
        "checkout.shop.svc.cluster.local.evil",
        "checkoutxshop",
        "checkout.shop.svc.clusterxlocal",
        "checkout:",
        "",
        "unknown",
    ):
        assert not pattern.fullmatch(other)


def test_the_services_of_a_host_split_are_asked_for_too() -> None:
    pattern = re.compile(promql.hosts([subject(hosts=("checkout-v2", "checkout-v1"))], DOMAIN))
    for service in ("checkout", "checkout-v1", "checkout-v2"):
        assert pattern.fullmatch(f"{service}.shop.svc.cluster.local")
    for other in ("checkout-v3.shop.svc.cluster.local", "checkout-v2.bar.svc.cluster.local"):
        assert not pattern.fullmatch(other)


@pytest.mark.parametrize("bound", ISTIO_BUCKETS_MS)
def test_a_bound_is_found_however_it_is_spelled(bound: float) -> None:
    pattern = re.compile(promql.bounds([bound]))
    spellings = {f"{bound:.15g}", repr(float(bound)), "+Inf"}
    if float(f"{bound:g}") == bound:
        spellings.add(f"{bound:g}")
    assert all(pattern.fullmatch(spelling) for spelling in spellings)
    others = [other for other in ISTIO_BUCKETS_MS if other != bound]
    assert not any(pattern.fullmatch(f"{other:.15g}") or pattern.fullmatch(repr(float(other))) for other in others)


@given(st.text(), st.text())
def test_a_literal_matches_its_own_text_only(text: str, other: str) -> None:
    # Python's syntax for these escapes is RE2's; the real Prometheus is asked in test_real_answers.py.
    pattern = re.compile(promql.literal(text))
    assert pattern.fullmatch(text)
    assert bool(pattern.fullmatch(other)) == (text == other)
