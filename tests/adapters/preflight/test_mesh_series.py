"""The queries against the real Prometheus, and against one that does not answer or says nonsense."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

import pytest

from rollout.adapters.preflight.mesh_series import MeshSeries, PrometheusSeries
from rollout.adapters.preflight.series import client_namespaces, reporters_of, version_label
from rollout.core.route import Unavailable
from tests.adapters.preflight.shapes import scene, tags
from tests.adapters.prometheus.exporter import series as line
from tests.adapters.prometheus.real import RealPrometheus, shared
from tests.given import NOW

HOST = "preflight.shop.svc.cluster.local"
OF_CLIENT = {"source_workload": "front", "source_workload_namespace": "web"}


@pytest.fixture
def real(request: pytest.FixtureRequest) -> RealPrometheus:
    return shared(request.config)


@pytest.fixture
async def asked(real: RealPrometheus) -> AsyncIterator[PrometheusSeries]:
    prometheus = PrometheusSeries(real.url, timeout=timedelta(seconds=10))
    yield prometheus
    await prometheus.close()


def page(host: str = HOST, count: float = 5) -> str:
    labels = {"destination_service": host, **OF_CLIENT, **tags(destination_workload="preflight-v1")}
    durations = "".join(
        line("istio_request_duration_milliseconds_bucket", {**labels, "le": le}, count) for le in ("5", "10", "+Inf")
    )
    return line("istio_requests_total", labels, count) + durations


@pytest.mark.prometheus
async def test_reporters_clients_versions_and_buckets_are_found(real: RealPrometheus, asked: PrometheusSeries) -> None:
    real.exporter.pages["odd"] = page()
    await real.scraped("odd")
    real.exporter.pages["odd"] = page(count=9)
    now = await real.scraped("odd")
    found = await asked.read([HOST], now)
    assert isinstance(found, MeshSeries), found
    assert reporters_of(found) == {"source"}
    assert client_namespaces(found) == {"web"}
    assert {labels["le"]: count for labels, count in found.buckets} == {"5": 1, "10": 1, "+Inf": 1}
    assert found.moving
    assert found.scrape_s is None
    assert version_label(scene(service="preflight"), found)[0] == "destination_workload"
    assert found.tags[0].get("grpc_response_status") is None


@pytest.mark.prometheus
async def test_a_service_that_is_not_called_and_one_that_does_not_exist_are_told_apart(
    real: RealPrometheus, asked: PrometheusSeries
) -> None:
    idle = "idle.shop.svc.cluster.local"
    real.exporter.pages["odd"] = page(idle)
    await real.scraped("odd")
    now = await real.scraped("odd")
    found = await asked.read([idle], now)
    assert isinstance(found, MeshSeries)
    assert found.tags
    assert not found.moving
    assert await asked.read(["nobody.shop.svc.cluster.local"], now) == MeshSeries()
    # Its own name, not that of another which it is the beginning of.
    assert await asked.read(["idle.shop.svc.cluster.loca"], now) == MeshSeries()


@pytest.mark.prometheus
async def test_matchers_narrow_every_query(real: RealPrometheus) -> None:
    elsewhere = PrometheusSeries(real.url, timeout=timedelta(seconds=10), matchers=['cluster="elsewhere"'])
    real.exporter.pages["odd"] = page()
    try:
        assert await elsewhere.read([HOST], await real.scraped("odd")) == MeshSeries()
    finally:
        await elsewhere.close()


Say = Callable[[str], tuple[object, int]]
NONE = {"status": "success", "data": {"resultType": "vector", "result": []}}
ONE = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": tags(), "value": [1, "1"]}]}}
TOO_HARD = {"status": "error", "errorType": "execution", "error": "too many samples"}
TOO_SLOW = {"status": "error", "errorType": "timeout", "error": "query timed out"}


async def answered(body: object, code: int = 200) -> MeshSeries | Unavailable:
    """What is made of a Prometheus that says this to everything."""
    return await asked_of(lambda _query: (body, code))


async def asked_of(say: Say) -> MeshSeries | Unavailable:
    """What is made of a Prometheus that answers each query so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            body, code = say(given["query"][0])
            raw = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    prometheus = PrometheusSeries(f"http://127.0.0.1:{server.server_address[1]}")
    try:
        return await prometheus.read([HOST], NOW)
    finally:
        await prometheus.close()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join(5)


@pytest.mark.parametrize(
    "body",
    [
        {"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}},
        {"status": "success", "data": {"resultType": "vector", "result": [{}]}},
        {"status": "success", "warnings": ["half of it"], "data": {"resultType": "vector", "result": []}},
        {"status": "error", "error": "no"},
        [],
    ],
)
async def test_an_answer_that_cannot_be_believed_is_none(body: object) -> None:
    assert isinstance(await answered(body), Unavailable)
    assert isinstance(await answered(body, 500), Unavailable)


@pytest.mark.parametrize(("refusal", "code"), [(TOO_HARD, 422), (TOO_SLOW, 503)])
async def test_a_question_that_is_too_hard_is_followed_by_an_easier_one(refusal: object, code: int) -> None:
    found = await asked_of(lambda query: (refusal, code) if "last_over_time" in query else (ONE, 200))
    assert isinstance(found, MeshSeries), found
    assert (found.tags, found.unread) == ((tags(),), ("scrape_s",))


@pytest.mark.parametrize(
    ("word", "unread"),
    [
        ("_bucket", ("buckets",)),
        ("source_workload", ("clients",)),
        ("rate(", ("moving",)),
        ("count_over", ("scrape_s",)),
    ],
)
async def test_what_cannot_be_asked_is_left_out_where_the_counter_answers(word: str, unread: tuple[str, ...]) -> None:
    found = await asked_of(lambda query: (TOO_SLOW, 503) if word in query else (ONE, 200))
    assert isinstance(found, MeshSeries), found
    assert (found.tags, found.unread) == ((tags(),), unread)


async def test_where_the_counter_itself_cannot_be_read_nothing_could_be_judged() -> None:
    found = await asked_of(lambda query: (TOO_SLOW, 503) if "response_code" in query else (ONE, 200))
    assert isinstance(found, Unavailable)


async def test_a_prometheus_that_is_down_for_one_question_is_down() -> None:
    found = await asked_of(lambda query: ({}, 500) if "_bucket" in query else (ONE, 200))
    assert isinstance(found, Unavailable)


async def test_no_series_at_all_is_an_answer() -> None:
    assert await answered(NONE) == MeshSeries()


async def test_a_prometheus_that_is_not_there_is_no_answer() -> None:
    prometheus = PrometheusSeries("http://127.0.0.1:1", timeout=timedelta(seconds=1))
    assert isinstance(await prometheus.read([HOST], NOW), Unavailable)
    await prometheus.close()
