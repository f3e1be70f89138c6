"""The gates' words: what fills the blanks of a custom check means exactly itself, and the right pods are measured."""

import asyncio
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rollout.adapters import promql_gates
from rollout.adapters.promql_gates import BadQueryError, filled
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.ports import Subject
from tests.adapters.prometheus.exporter import series
from tests.adapters.prometheus.real import RealPrometheus
from tests.adapters.prometheus.test_real_answers import NASTY

VALUES = {"version": "v2.1", "workload": "checkout-v2.1", "service": "checkout", "namespace": "shop"}
QUOTED = tuple(f"{quote}{{{{version}}}}{quote}" for quote in "\"'`")
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\\\"'`{}[]().*+?|^$\nnt:a-x0 #=~,", max_size=30)


def subject(**fields: Any) -> Subject:
    values = {"namespace": "shop", "service": "checkout", "canary": "v2", "stable": "v1", "bounds_ms": ()}
    return Subject(**{**values, **fields}, policy=MetricsPolicy())


def fill(query: str, values: Mapping[str, str] = VALUES) -> str:
    return filled(query, values, "60000ms")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("up", "up"),
        ('x{v="{{version}}"}', 'x{v="v2.1"}'),
        ("x{v='{{ version }}'}", "x{v='v2.1'}"),
        ("x{v=`{{version}}`}", 'x{v="v2.1"}'),
        ('x{v="a-{{service}}.{{namespace}}-b"}', 'x{v="a-checkout.shop-b"}'),
        ('x{v=~"{{version}}|{{workload}}-.*"}', r'x{v=~"v2\\.1|checkout-v2\\.1-.*"}'),
        ("x{v!~'{{version}}'}", r"x{v!~'v2\\.1'}"),
        ("x{v =~ # why\n `{{version}}`}", 'x{v =~ # why\n "v2\\\\.1"}'),
        ('x{v!="{{version}}",w=~"a"}', 'x{v!="v2.1",w=~"a"}'),
        ("rate(x[{{interval}}])", "rate(x[60000ms])"),
        ("max_over_time(rate(x[1m])[5m:{{ interval }}])", "max_over_time(rate(x[1m])[5m:60000ms])"),
        (r'x{v="\"{{version}}\\"}', r'x{v="\"v2.1\\"}'),
        ('x{v="]#[`"} # {{', 'x{v="]#[`"} # {{'),
        ("`a\nb` + 'a{2}'", "`a\nb` + 'a{2}'"),
    ],
)
def test_blanks_are_filled_where_they_stand(query: str, expected: str) -> None:
    assert fill(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "x{v={{version}}}",
        "{{workload}}",
        "x{{{version}}}",
        'x{v="{{interval}}"}',
        "x offset {{interval}}",
        "x[5m] + {{interval}}",
        'x{v="{{pod}}"}',
        "{{pod}}",
        "x[{{version}}]",
        'x # {{version}} "',
        'x{v="{{version}}}',
        "x{v='{{version}}\n'}",
        "x{v=`{{version}}}",
    ],
)
def test_a_blank_anywhere_else_is_an_error(query: str) -> None:
    with pytest.raises(BadQueryError):
        fill(query)


@pytest.mark.prometheus
async def test_what_fills_a_blank_matches_its_own_text_only(real: RealPrometheus) -> None:
    rng = random.Random(7)
    odd = ["".join(rng.choices("\\\"'`{}[]().*+?|^$\nnt:a-x0 #=~,\r\x00ü", k=rng.randint(1, 8))) for _ in range(40)]
    texts = sorted({*NASTY, *odd})
    real.exporter.pages["odd"] = "".join(series("blank", {"text": text}, 1) for text in texts)
    at = await real.frozen("odd")

    def selected(matcher: str, text: str) -> set[str]:
        return {one["metric"]["text"] for one in real.query(fill(f"blank{{text{matcher}}}", {"version": text}), at)}

    def exact(text: str) -> None:
        there = {text} & set(texts)
        for quote in QUOTED:
            assert selected(f"={quote}", text) == there
            assert selected(f"=~{quote}", text) == there
            assert selected(f"!~{quote}", text) == set(texts) - there

    @given(TEXTS)
    @example('x"}) or vector(1) #')
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def no_other(text: str) -> None:
        exact(text)

    for text in texts:
        await asyncio.to_thread(exact, text)
    await asyncio.to_thread(no_other)
    real.exporter.pages["odd"] = ""


@pytest.mark.prometheus
async def test_text_around_a_blank_keeps_its_meaning(real: RealPrometheus) -> None:
    real.exporter.pages["odd"] = "".join(series("around", {"text": f"a.{text}\n"}, 1) for text in NASTY)
    at = await real.frozen("odd")
    for text in NASTY:
        for body, quotes in ((r"a\\.{{version}}\n", "\"'"), ("a[.]{{version}}\n", "`")):
            for quote in quotes:
                query = fill(f"around{{text=~{quote}{body}{quote}}}", {"version": text})
                assert [one["metric"]["text"] for one in real.query(query, at)] == [f"a.{text}\n"]
    real.exporter.pages["odd"] = ""


@pytest.mark.parametrize(
    ("pod", "ours"),
    [
        ("checkout-v2-7d9f8b6c5d-x2k4p", True),
        ("checkout-v2-7-x2k4p", True),
        ("checkout-v2-old-7d9f8b6c5d-x2k4p", False),
        ("checkout-v2-0", False),
        ("checkout-v22-7d9f8b6c5d-x2k4p", False),
        ("my-checkout-v2-7d9f8b6c5d-x2k4p", False),
        ("checkout-v2", False),
    ],
)
def test_a_pod_belongs_to_the_deployment_whose_name_it_begins_with(pod: str, ours: bool) -> None:
    assert bool(re.fullmatch(promql_gates.pods("checkout-v2"), pod)) == ours


@pytest.mark.parametrize("length", [*range(44, 64), 100])
@pytest.mark.parametrize("replica_set", ["7d9f8b6c5d", "69dc4", "7d9f8b6c5"])
def test_pods_of_deployments_with_long_names_are_found_where_kubernetes_cuts_them(
    length: int, replica_set: str
) -> None:
    name = "a" * length
    pod = f"{name}-{replica_set}-"[:58] + "x2k4p"
    assert re.fullmatch(promql_gates.pods(name), pod)
    assert not re.fullmatch(promql_gates.pods("b" * length), pod)


@pytest.mark.parametrize(
    ("cluster", "ours"),
    [
        ("outbound|80|v2-1|checkout.shop.svc.cluster.local", True),
        ("outbound|80|v2-1|checkout.shop.svc.cluster.local;", True),
        ("outbound|8080|v2-1|checkout.shop.svc.cluster.local;", True),
        ("outbound|80||checkout.shop.svc.cluster.local;", False),
        ("outbound|80|v2|checkout.shop.svc.cluster.local;", False),
        ("outbound|80|v2x1|checkout.shop.svc.cluster.local;", False),
        ("outbound|80|v2-1|checkoutxshop.svc.cluster.local;", False),
        ("outbound|80|v2-1|cart.shop.svc.cluster.local;", False),
        ("inbound|80|v2-1|checkout.shop.svc.cluster.local;", False),
    ],
)
def test_a_cluster_belongs_to_the_subset_of_the_version_on_any_port(cluster: str, ours: bool) -> None:
    pattern = promql_gates.clusters(subject(), "v2.1", "cluster.local")
    assert bool(re.fullmatch(pattern, cluster)) == ours


def test_a_version_with_a_service_of_its_own_has_clusters_without_a_subset() -> None:
    split = subject(versions=("v2", "v1"), hosts=("checkout-v2", "checkout-v1"))
    pattern = promql_gates.clusters(split, "v2", "cluster.local")
    assert re.fullmatch(pattern, "outbound|80||checkout-v2.shop.svc.cluster.local")
    assert not re.fullmatch(pattern, "outbound|80||checkout-v1.shop.svc.cluster.local")
    assert not re.fullmatch(pattern, "outbound|80|v2|checkout.shop.svc.cluster.local")


def test_nothing_is_asked_about_a_version_that_is_not_known() -> None:
    assert promql_gates.saturation(subject(), "cluster.local") == ""
    only_stable = promql_gates.saturation(subject(versions=("", "v1")), "cluster.local")
    assert "canary" not in only_stable
    assert "container_" not in only_stable
