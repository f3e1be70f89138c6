"""The adapter against the real Prometheus: odd labels, odd values, hostile names, many questions."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rollout import assembly
from rollout.adapters import promql
from rollout.adapters.prometheus import PrometheusMetrics
from rollout.core.counts import Samples, Slow, tally
from rollout.core.judging.gates import BREAKERS, Reading
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.core.route import Unavailable
from rollout.ports import Subject
from tests.adapters.prometheus.exporter import series
from tests.adapters.prometheus.real import RealPrometheus

pytestmark = pytest.mark.prometheus
NASTY = (
    'x"}[1m])) or vector(1) #',
    '"',
    "\\",
    '\\"',
    "a\nb",
    "`",
    "'",
    "a|b",
    ".*",
    ".+",
    "(a)",
    "[a-z]",
    "a{2}",
    "^a$",
    "a?",
    "$1",
    "\\d",
    "\\Qa\\E",
    "(?i)A",
    "ü\u2028☃\U0001f426",
    "\t\r\x01\x7f",
    "{}",
    "checkout",
)


def subject(service: str, label: str = "destination_workload", **fields: Any) -> Subject:
    values = {"namespace": "shop", "service": service, "canary": "v2", "stable": "v1", "bounds_ms": (50.0,)}
    return Subject(**{**values, **fields}, policy=MetricsPolicy.model_validate({"version_label": label}))


async def answered(metrics: PrometheusMetrics, who: Subject, since: datetime, now: datetime) -> Samples:
    answer = await metrics.samples(who, since, now)
    assert isinstance(answer, Samples), answer
    return answer


def found(real: RealPrometheus, selector: str) -> list[dict[str, str]]:
    # A range, as the adapter asks for: one scrape that came too late marks a series stale, and a range does not mind.
    return [one["metric"] for one in real.query(f"{selector}[1m]")]


async def test_labels_are_quoted_so_that_each_text_selects_itself_alone(real: RealPrometheus) -> None:
    real.exporter.pages["odd"] = "".join(series("nasty", {"text": text}, 1) for text in NASTY)
    await real.scraped("odd")
    for text in NASTY:
        exact = f"nasty{{text={promql.quoted(text)}}}"
        pattern = f"nasty{{text=~{promql.quoted(promql.any_of([text]))}}}"
        assert [one["text"] for one in found(real, exact)] == [text]
        assert [one["text"] for one in found(real, pattern)] == [text]
    several = f"nasty{{text=~{promql.quoted(promql.any_of(NASTY))}}}"
    assert {one["text"] for one in found(real, several)} == set(NASTY)


async def test_no_name_changes_what_is_selected(real: RealPrometheus) -> None:
    real.proxies["gateway"].serve("target", "v2", 5)
    await real.scraped("gateway")
    honest = promql.requests([subject("target")], "cluster.local")
    truth = found(real, honest)
    assert len(truth) == 1
    texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
        "\\\"'`{}[]().*+?|^$\nnt:a-x0 #=~,", max_size=30
    )

    @given(texts, texts)
    @example('x"}[1m])) or vector(1) #', ".*")
    @example("target|.*", "shop")
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def unchanged(service: str, namespace: str) -> None:
        evil = subject(service, namespace=namespace)
        assert found(real, promql.requests([evil, subject("target")], "cluster.local")) == truth
        alone = found(real, promql.requests([evil], "cluster.local"))
        assert alone == (truth if (service, namespace) == ("target", "shop") else [])

    await asyncio.to_thread(unchanged)


async def test_a_name_that_cannot_even_be_sent_is_no_answer(metrics: PrometheusMetrics, real: RealPrometheus) -> None:
    now = await real.scraped("gateway")
    assert isinstance(await metrics.samples(subject("\ud800"), now, now), Unavailable)


async def test_requests_lost_before_a_cluster_are_found_by_their_host_header(
    metrics: PrometheusMetrics, real: RealPrometheus
) -> None:
    def lost(host: str, source: str, value: int) -> str:
        labels = {
            "reporter": "source",
            "source_workload_namespace": source,
            "destination_service": host,
            "destination_workload": "unknown",
            "response_code": "503",
            "response_flags": "NC",
        }
        return series("istio_requests_total", labels, value)

    since = await real.scraped("odd")
    real.exporter.pages["odd"] = (
        lost("absent.shop.svc.cluster.local", "bar", 1)
        + lost("absent.shop:8080", "bar", 20)
        + lost("absent:8080", "shop", 300)
        + lost("absent", "elsewhere", 4000)
        + lost("unknown", "shop", 50000)
    )
    now = await real.scraped("odd")
    here = await answered(metrics, subject("absent"), since, now)
    there = await answered(metrics, subject("absent", namespace="elsewhere"), since, now)
    assert tally(here, (), since, now).lost == 321
    assert tally(there, (), since, now).lost == 4000


async def test_the_requests_of_a_host_split_are_found_under_every_service(
    metrics: PrometheusMetrics, real: RealPrometheus
) -> None:
    def counted(host: str, workload: str, code: str, flags: str, value: int) -> str:
        labels = {
            "reporter": "source",
            "source_workload_namespace": "shop",
            "destination_service": host,
            "destination_workload": workload,
            "response_code": code,
            "response_flags": flags,
        }
        return series("istio_requests_total", labels, value)

    tail = "shop.svc.cluster.local"
    since = await real.scraped("odd")
    real.exporter.pages["odd"] = (
        counted(f"split-v1.{tail}", "split-v1", "200", "-", 1000)
        + counted(f"split-v2.{tail}", "split-v2", "200", "-", 100)
        + counted(f"split.{tail}", "split-v2", "200", "-", 10)
        + counted(f"split-v2.{tail}", "unknown", "503", "UH", 7)
        + counted(f"split-v1.{tail}", "unknown", "503", "UH", 5)
        + counted("split", "unknown", "503", "NC", 3)
        + counted(f"split-v3.{tail}", "split-v3", "200", "-", 50000)
        + counted("split-v2.elsewhere.svc.cluster.local", "split-v2", "200", "-", 50000)
    )
    now = await real.scraped("odd")
    who = subject("split", canary="split-v2", stable="split-v1", hosts=("split-v2", "split-v1"))
    found = tally(await answered(metrics, who, since, now), (), since, now)
    assert (found.canary.requests, found.canary.errors) == (117, 7)
    assert (found.stable.requests, found.stable.errors) == (1005, 5)
    assert found.lost == 3


async def test_buckets_are_found_however_their_bounds_are_spelled(
    metrics: PrometheusMetrics, real: RealPrometheus
) -> None:
    def bucket(le: str, version: str, value: int) -> str:
        labels = {
            "reporter": "waypoint",
            "destination_service": "spelled.shop.svc.cluster.local",
            "destination_canonical_revision": version,
            "response_code": "200",
            "le": le,
        }
        return series("istio_request_duration_milliseconds_bucket", labels, value)

    since = await real.scraped("odd")
    real.exporter.pages["odd"] = (
        bucket("50", "v1", 3) + bucket("+Inf", "v1", 10) + bucket("50.0", "v2", 4) + bucket("+Inf", "v2", 11)
    )
    now = await real.scraped("odd")
    who = subject("spelled", "destination_canonical_revision")
    counted = tally(await answered(metrics, who, since, now), (50.0,), since, now)
    assert counted.stable.slower_than(50.0) == Slow(bound=50.0, requests=7, timed=10)
    assert counted.canary.slower_than(50.0) == Slow(bound=50.0, requests=7, timed=11)


@pytest.mark.parametrize(
    ("service", "code", "value"),
    [
        ("not-a-number", {"response_code": "200"}, float("nan")),
        ("infinite", {"response_code": "200"}, float("inf")),
        ("no-response-code", {}, 5.0),
    ],
)
async def test_counters_that_cannot_be_true_are_no_answer_for_their_service_only(
    metrics: PrometheusMetrics, real: RealPrometheus, service: str, code: dict[str, str], value: float
) -> None:
    labels = {
        "reporter": "source",
        "destination_service": f"{service}.shop.svc.cluster.local",
        "destination_workload": "v2",
        **code,
    }
    real.proxies["gateway"].serve("whole", "v2", 5)
    real.exporter.pages["odd"] = series("istio_requests_total", labels, value)
    now = await real.scraped("odd", "gateway")
    since = now - timedelta(seconds=0.5)
    broken, whole = await asyncio.gather(
        metrics.samples(subject(service), since, now), metrics.samples(subject("whole"), since, now)
    )
    real.exporter.pages["odd"] = ""
    assert isinstance(broken, Unavailable)
    assert isinstance(whole, Samples)


async def test_only_the_chosen_reporters_are_counted(metrics: PrometheusMetrics, real: RealPrometheus) -> None:
    def seen_by(reporter: str, value: int) -> str:
        labels = {
            "reporter": reporter,
            "destination_service": "twice.shop.svc.cluster.local",
            "destination_workload": "v2",
            "response_code": "200",
        }
        return series("istio_requests_total", labels, value)

    since = await real.scraped("odd")
    real.exporter.pages["odd"] = seen_by("source", 1) + seen_by("waypoint", 20) + seen_by("destination", 300)
    now = await real.scraped("odd")
    ours = subject("twice")
    theirs = Subject("shop", "twice", "v2", "v1", MetricsPolicy(reporters=("destination",)), ())
    one, other = await asyncio.gather(answered(metrics, ours, since, now), answered(metrics, theirs, since, now))
    assert tally(one, (), since, now).canary.requests == 21
    assert tally(other, (), since, now).canary.requests == 300


async def test_matchers_choose_one_cluster_of_several(real: RealPrometheus) -> None:
    def seen_in(cluster: str, value: int) -> str:
        labels = {
            "cluster": cluster,
            "reporter": "source",
            "destination_service": "everywhere.shop.svc.cluster.local",
            "destination_workload": "v2",
            "response_code": "200",
        }
        breaker = {"cluster": cluster, "cluster_name": "outbound|80|v2|everywhere.shop.svc.cluster.local;"}
        return (
            series("istio_requests_total", labels, value)
            + series("istio_request_duration_milliseconds_bucket", {**labels, "le": "+Inf"}, value)
            + series("envoy_cluster_circuit_breakers_default_rq_open", breaker, float(value > 1))
        )

    real.exporter.pages["odd"] = seen_in("eu-1", 0) + seen_in("us-1", 0)
    since = await real.scraped("odd")
    real.exporter.pages["odd"] = seen_in("eu-1", 1) + seen_in("us-1", 20)
    now = await real.scraped("odd")
    who = subject("everywhere", versions=("v2", "v1"))
    here = ('cluster="eu-1"', 'job="proxies"')
    for matchers, requests_, is_open in (((), 21, 1.0), (here, 1, 0.0), (('job="elsewhere"',), 0, None)):
        adapter = PrometheusMetrics(real.url, matchers=matchers)
        samples = await answered(adapter, who, since, now)
        readings = await adapter.readings(who, (), now)
        await adapter.close()
        counted = tally(samples, (), since, now).canary
        assert (counted.requests, counted.timed) == (requests_, requests_)
        assert len(real.query(samples.query)) == len(samples.series)
        assert not isinstance(readings, Unavailable)
        assert readings[BREAKERS] == Reading(is_open)
    real.exporter.pages["odd"] = ""


async def test_the_command_line_asks_as_the_controller_does(real: RealPrometheus) -> None:
    real.proxies["gateway"].serve("by-hand", "v2", 5)
    since = await real.scraped("gateway")
    real.proxies["gateway"].serve("by-hand", "v2", 6)
    now = await real.scraped("gateway")
    for matchers, requests_ in (((), 6), (('job="elsewhere"',), 0)):
        async with assembly.metrics(real.url, None, timedelta(seconds=3), "cluster.local", matchers) as asked:
            samples = await asked.samples(subject("by-hand"), since, now)
            assert isinstance(samples, Samples)
            assert tally(samples, (), since, now).canary.requests == requests_


async def test_a_person_who_pastes_the_query_sees_the_same(metrics: PrometheusMetrics, real: RealPrometheus) -> None:
    since = await real.scraped("gateway")
    real.proxies["gateway"].serve("pasted", "v2", 5)
    real.proxies["gateway"].serve("pasted", "v1", 9)
    now = await real.scraped("gateway")
    real.proxies["gateway"].serve("pasted", "v1", 100)
    await real.scraped("gateway")
    samples = await answered(metrics, subject("pasted"), since, now)
    pasted = real.query(samples.query)
    assert len(pasted) == len(samples.series)
    ends = sorted(float(one["values"][-1][1]) for one in pasted)
    assert ends == sorted(one.points[-1][1] for one in samples.series)


async def test_hundreds_of_questions_at_once_are_few_queries(metrics: PrometheusMetrics, real: RealPrometheus) -> None:
    since = await real.scraped("gateway")
    for number in range(120):
        real.proxies["gateway"].serve(f"many-{number}", "v2", number + 1)
    now = await real.scraped("gateway")
    asked = 'prometheus_http_requests_total{handler="/api/v1/query"}'
    before = handled(real, asked)
    answers = await asyncio.gather(*(answered(metrics, subject(f"many-{number}"), since, now) for number in range(120)))
    queries = handled(real, asked) - before
    assert [tally(one, (), since, now).canary.requests for one in answers] == list(range(1, 121))
    # Three batches of counters, buckets and ups.
    assert queries <= 9
    real.proxies["gateway"].restart()


def handled(real: RealPrometheus, series_name: str) -> float:
    """From Prometheus' own page: it does not scrape itself here, and nothing else asks it meanwhile."""
    lines = requests.get(f"{real.url}/metrics", timeout=5).text.splitlines()
    name = series_name.split("{", 1)[0]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and '"/api/v1/query"' in line)
