"""A Prometheus that misbehaves: whatever it does, the answer is a reason, in time, and never a number."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

import pytest

from rollout.adapters.prometheus import PrometheusMetrics
from rollout.core.counts import Samples
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.core.route import Unavailable
from rollout.ports import Subject

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=5)
SUBJECT = Subject("shop", "checkout", "v2", "v1", MetricsPolicy(), (50.0,))
OTHER = Subject("shop", "cart", "v2", "v1", MetricsPolicy(), (50.0,))
TIMEOUT = timedelta(seconds=0.4)
NOTHING = {"status": "success", "data": {"resultType": "matrix", "result": []}}


@dataclass
class Asked:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    form: dict[str, list[str]]


@dataclass
class Faulty:
    """A server that does to each request what the test says."""

    do: Callable[["Handler"], None] = lambda handler: handler.answer(NOTHING)
    asked: list[Asked] = field(default_factory=list)
    over: Event = field(default_factory=Event)
    url: str = ""
    port: int = 0
    connections: int = 0
    lock: Lock = field(default_factory=Lock)


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.1 with kept connections, as Prometheus does."""

    protocol_version = "HTTP/1.1"
    faulty: Faulty

    def setup(self) -> None:
        super().setup()
        with self.faulty.lock:
            self.faulty.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        with self.faulty.lock:
            self.faulty.asked.append(Asked(self.path, dict(self.headers.items()), parse_qs(body)))
        self.faulty.do(self)

    def do_GET(self) -> None:
        self.do_POST()

    def answer(self, body: object, code: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def hang(self) -> None:
        self.faulty.over.wait(20)
        self.close_connection = True

    def drip(self, what: bytes, seconds: float = 0.05) -> None:
        """The same few bytes again and again, each within every timeout between two bytes."""
        while not self.faulty.over.wait(seconds):
            self.wfile.write(what)
            self.wfile.flush()
        self.close_connection = True

    def drip_the_body(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.drip(b" ")

    def drip_the_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.drip(b"X-More: 1\r\n", 0.012)

    def drop(self) -> None:
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: object) -> None:
        """A client that gives up is what these tests are about."""


@contextmanager
def serving() -> Iterator[Faulty]:
    faulty = Faulty()
    handler = type("BoundHandler", (Handler,), {"faulty": faulty})
    server = _Server(("127.0.0.1", 0), handler)
    faulty.port = server.server_address[1]
    faulty.url = f"http://127.0.0.1:{faulty.port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield faulty
    finally:
        faulty.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with serving() as server:
        yield server


@asynccontextmanager
async def asking(url: str, **options: Any) -> AsyncIterator[PrometheusMetrics]:
    adapter = PrometheusMetrics(url, **{"timeout": TIMEOUT, **options})
    try:
        yield adapter
    finally:
        await adapter.close()


async def reason(url: str, **options: Any) -> str:
    """Why there is no answer; fails if there is one, or if it takes much longer than it may."""
    began = monotonic()
    async with asking(url, **options) as adapter:
        answer = await adapter.samples(SUBJECT, SINCE, NOW)
    assert isinstance(answer, Unavailable)
    assert monotonic() - began < TIMEOUT.total_seconds() + 1.5
    assert answer.message.isprintable()
    assert len(answer.message) < 500
    return answer.message


def point(value: object) -> dict[str, Any]:
    metric = {
        "destination_service": "checkout.shop.svc.cluster.local",
        "destination_workload": "v2",
        "response_code": "200",
        "job": "proxies",
        "instance": "gateway",
    }
    return {"metric": metric, "values": [[NOW.timestamp() - 60, value]]}


def matrix(*series: object, **more: object) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": list(series)}, **more}


FAULTS: dict[str, Callable[[Handler], None]] = {
    "warnings": lambda it: it.answer(matrix(warnings=["store 2 of 3 did not answer"])),
    "503 of Prometheus": lambda it: it.answer(
        {"status": "error", "errorType": "timeout", "error": "it took long"}, 503
    ),
    "503 of a proxy": lambda it: it.answer(b"<h1>upstream connect error</h1>\x1b[31m\n", 503),
    "422": lambda it: it.answer({"status": "error", "errorType": "execution", "error": "too many samples"}, 422),
    "429": lambda it: it.answer(b"slow down", 429, Retry_After="4"),
    "401": lambda it: it.answer(b"", 401),
    "an error with code 200": lambda it: it.answer({"status": "error", "data": {"resultType": "matrix", "result": []}}),
    "a redirect": lambda it: it.answer(b"", 302, Location="/elsewhere"),
    "a scalar": lambda it: it.answer({"status": "success", "data": {"resultType": "scalar", "result": [1, "5"]}}),
    "a vector": lambda it: it.answer({"status": "success", "data": {"resultType": "vector", "result": []}}),
    "NaN": lambda it: it.answer(matrix(point("NaN"))),
    "infinity": lambda it: it.answer(matrix(point("+Inf"))),
    "a value that is no number": lambda it: it.answer(matrix(point("many"))),
    "a value that is none": lambda it: it.answer(matrix(point(None))),
    "a series without labels": lambda it: it.answer(matrix({"values": [[1, "2"]]})),
    "a series that is none": lambda it: it.answer(matrix(5)),
    "labels that are none": lambda it: it.answer(matrix({"metric": 5, "values": []})),
    "a bound that is none": lambda it: it.answer(
        matrix({"metric": {**point("1")["metric"], "le": "x"}, "values": point("1")["values"]})
    ),
    "an array": lambda it: it.answer([]),
    "no data": lambda it: it.answer({"status": "success"}),
    "no JSON": lambda it: it.answer(b"\x00\xff garbage \n"),
    "half of it": lambda it: it.answer(json.dumps(matrix(point("1"))).encode()[:-20]),
    "nested deep": lambda it: it.answer(b"[" * 200_000),
    "nothing": lambda it: it.answer(b""),
    "too much": lambda it: it.answer(b" " * 10_000_000),
    "hang": Handler.hang,
    "a body that drips": Handler.drip_the_body,
    "headers that drip": Handler.drip_the_headers,
    "a dropped connection": Handler.drop,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_is_a_reason_in_time(faulty: Faulty, fault: str) -> None:
    faulty.do = FAULTS[fault]
    assert await reason(faulty.url, most_bytes=1_000_000)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("503 of Prometheus", "it took long"),
        ("503 of a proxy", "upstream connect error"),
        ("422", "too many samples"),
        ("warnings", "store 2 of 3"),
        ("429", "429"),
        ("a redirect", "302"),
        ("a scalar", "scalar"),
    ],
)
async def test_what_prometheus_said_reaches_whoever_reads_the_reason(faulty: Faulty, fault: str, said: str) -> None:
    faulty.do = FAULTS[fault]
    assert said in await reason(faulty.url)


async def test_where_nobody_listens_the_reason_names_the_place_and_no_secret() -> None:
    with serving() as gone:
        port = gone.port
    message = await reason(f"http://user:secret@127.0.0.1:{port}/prefix")
    assert f"127.0.0.1:{port}" in message
    assert "secret" not in message


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid", "https://127.0.0.1:1", "ftp://x"])
async def test_an_address_without_prometheus_is_a_reason(url: str) -> None:
    assert await reason(url)


async def test_redirects_are_not_followed(faulty: Faulty) -> None:
    faulty.do = FAULTS["a redirect"]
    await reason(faulty.url)
    assert {one.path for one in faulty.asked} == {"/api/v1/query"}


async def test_infos_are_no_reason_for_doubt(faulty: Faulty) -> None:
    faulty.do = lambda it: it.answer(matrix(infos=["metric might not be a counter"], warnings=[]))
    async with asking(faulty.url) as adapter:
        answer = await adapter.samples(SUBJECT, SINCE, NOW)
    assert answer == Samples((), query=answer.query if isinstance(answer, Samples) else "")


async def test_samples_from_outside_the_window_are_left_out(faulty: Faulty) -> None:
    old, new = point("5"), point("5")
    old["values"], new["values"] = [[SINCE.timestamp() - 3600, "5"]], [[NOW.timestamp() + 1, "5"]]
    faulty.do = lambda it: it.answer(matrix(old, new))
    async with asking(faulty.url) as adapter:
        answer = await adapter.samples(SUBJECT, SINCE, NOW)
    assert isinstance(answer, Samples)
    assert (answer.series, answer.newest) == ((), None)


async def test_the_query_is_in_the_body_and_the_time_is_the_callers(faulty: Faulty) -> None:
    async with asking(f"{faulty.url}/prefix/", headers={"X-Scope-OrgID": "team"}) as adapter:
        await adapter.samples(SUBJECT, SINCE, NOW)
    for one in faulty.asked:
        assert one.path == "/prefix/api/v1/query"
        assert one.headers["X-Scope-OrgID"] == "team"
        assert float(one.form["time"][0]) == NOW.timestamp()
        assert 0 < float(one.form["timeout"][0]) <= TIMEOUT.total_seconds()
    assert [one.form["query"][0].split("{")[0] for one in faulty.asked] == [
        "istio_requests_total",
        "istio_request_duration_milliseconds_bucket",
    ]
    assert faulty.connections == 1


async def test_a_connection_that_was_closed_meanwhile_is_opened_again(faulty: Faulty) -> None:
    def answer_and_close(it: Handler) -> None:
        it.answer(NOTHING)
        it.close_connection = True

    faulty.do = answer_and_close
    async with asking(faulty.url) as adapter:
        for _ in range(3):
            assert isinstance(await adapter.samples(SUBJECT, SINCE, NOW), Samples)


async def test_proxies_and_netrc_of_the_environment_are_not_used(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with asking(faulty.url) as adapter:
        assert isinstance(await adapter.samples(SUBJECT, SINCE, NOW), Samples)
    assert all("Authorization" not in one.headers for one in faulty.asked)


async def test_the_bearer_token_is_read_anew_for_each_question(faulty: Faulty, tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with asking(faulty.url, bearer_file=file) as adapter:
        assert isinstance(await adapter.samples(SUBJECT, SINCE, NOW), Unavailable)
        for token in ("first", "second"):
            file.write_text(f"{token}\n")
            assert isinstance(await adapter.samples(SUBJECT, SINCE, NOW), Samples)
            assert faulty.asked[-1].headers["Authorization"] == f"Bearer {token}"


async def test_a_file_of_authorities_is_needed_only_for_https(faulty: Faulty, tmp_path: Path) -> None:
    async with asking(faulty.url, ca_file=tmp_path / "ca.crt") as adapter:
        assert isinstance(await adapter.samples(SUBJECT, SINCE, NOW), Samples)
    assert await reason(f"https://127.0.0.1:{faulty.port}", ca_file=tmp_path / "ca.crt")


async def test_a_service_with_too_many_samples_does_not_blind_the_others(faulty: Faulty) -> None:
    def too_much_of_checkout(it: Handler) -> None:
        if "checkout" in it.faulty.asked[-1].form["query"][0]:
            it.answer({"status": "error", "errorType": "execution", "error": "too many samples"}, 422)
        else:
            it.answer(NOTHING)

    faulty.do = too_much_of_checkout
    async with asking(faulty.url) as adapter:
        large, small = await asyncio.gather(adapter.samples(SUBJECT, SINCE, NOW), adapter.samples(OTHER, SINCE, NOW))
    assert isinstance(large, Unavailable)
    assert isinstance(small, Samples)


async def test_questions_behind_a_hanging_one_are_answered_in_time_too(faulty: Faulty) -> None:
    faulty.do = Handler.hang
    began = monotonic()
    async with asking(faulty.url) as adapter:
        first = asyncio.create_task(adapter.samples(SUBJECT, SINCE, NOW))
        await until(lambda: len(faulty.asked) > 0)
        answers = await asyncio.gather(first, *(adapter.samples(OTHER, SINCE, NOW) for _ in range(20)))
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert monotonic() - began < 2 * TIMEOUT.total_seconds() + 2


async def test_who_stops_waiting_takes_nobody_along(faulty: Faulty) -> None:
    async with asking(faulty.url) as adapter:
        impatient = asyncio.create_task(adapter.samples(SUBJECT, SINCE, NOW))
        patient = asyncio.create_task(adapter.samples(OTHER, SINCE, NOW))
        await asyncio.sleep(0)
        impatient.cancel()
        assert isinstance(await patient, Samples)
    assert impatient.cancelled()


async def test_closing_answers_whoever_still_waits(faulty: Faulty) -> None:
    faulty.do = Handler.hang
    adapter = PrometheusMetrics(faulty.url, timeout=TIMEOUT)
    under_way = asyncio.create_task(adapter.samples(SUBJECT, SINCE, NOW))
    await until(lambda: len(faulty.asked) > 0)
    waiting = asyncio.create_task(adapter.samples(OTHER, SINCE, NOW))
    await asyncio.sleep(0)
    await adapter.close()
    assert isinstance(await under_way, Unavailable)
    assert isinstance(await waiting, Unavailable)


async def test_closing_before_any_question_is_harmless(faulty: Faulty) -> None:
    await PrometheusMetrics(faulty.url).close()
    assert faulty.asked == []


async def until(condition: Callable[[], bool]) -> None:
    limit = monotonic() + 5
    while not condition():
        assert monotonic() < limit
        await asyncio.sleep(0.01)
