"""`rollout replay` and `rollout plan` on a real Prometheus that remembers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from threading import Event
from time import monotonic
from typing import Any

import pytest

from rollout.core.policy import ISTIO_BUCKETS_MS
from tests.adapters.prometheus.real import instant
from tests.e2e.backfill import LABELS, Past, remembering

pytestmark = [pytest.mark.e2e, pytest.mark.prometheus]
SCRAPE = 15
HOUR = 3600
POLICY = """\
apiVersion: rollout.dev/v1alpha1
kind: ServicePolicy
metadata: {name: checkout, namespace: shop}
spec:
  steps:
    - {weight: 20, hold: 2m}
    - {weight: 50, hold: 2m}
    - {weight: 100, hold: 2m}
  judge: {learn: 20m, warmUp: 30s}
"""


def filled(past: Past, since: float, until: float, bad_release_at: float) -> None:
    """Two gateways and two pods of v1; a canary with 10 % errors has 20 % of the requests for four minutes."""
    rng = Random("past")
    gateways = [{"job": "gateways", "instance": f"gateway-{number}"} for number in range(2)]
    pods = [{"job": "pods", "instance": f"checkout-v1-{number}"} for number in range(2)]
    at = since
    while at <= until:
        canary = 0.2 if bad_release_at <= at < bad_release_at + 240 else 0.0
        for gateway, pod in zip(gateways, pods, strict=True):
            past.up(gateway, at)
            past.up(pod, at)
            requests = round(rng.gauss(300, 10))
            to_canary = sum(rng.random() < canary for _ in range(requests))
            _serve(
                past, [(gateway, "source"), (pod, "destination")], "checkout-v1", requests - to_canary, 0.002, rng, at
            )
            _serve(past, [(gateway, "source")], "checkout-v2", to_canary, 0.1, rng, at)
        at += SCRAPE


def _serve(
    past: Past,
    counted: list[tuple[dict[str, str], str]],
    workload: str,
    requests: int,
    errors: float,
    rng: Random,
    at: float,
) -> None:
    failed = sum(rng.random() < errors for _ in range(requests))
    slow = sum(rng.random() < 0.1 for _ in range(requests))
    for target, reporter in counted:
        labels = {**target, **LABELS, "reporter": reporter, "destination_workload": workload, "response_flags": "-"}
        past.count("istio_requests_total", {**labels, "response_code": "503"}, failed, at)
        past.count("istio_requests_total", {**labels, "response_code": "200"}, requests - failed, at)
        for bound in (*ISTIO_BUCKETS_MS, float("inf")):
            within = requests if bound >= 100 else requests - slow if bound >= 25 else 0
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            where = {**labels, "response_code": "200", "le": le}
            past.count("istio_request_duration_milliseconds_bucket", where, within, at)


class Remembered:
    """The CLI, on a Prometheus that knows the last two hours."""

    def __init__(self, url: str, policy: Path, now: float) -> None:
        self.now = now
        self._options = ["--prometheus", url, "--policy", str(policy)]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rollout", *arguments, *self._options]

    def told(self, *arguments: str) -> Any:
        ran = subprocess.run(
            [*self.command(*arguments), "-o", "json"], capture_output=True, text=True, timeout=120, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remembered]:
    folder = tmp_path_factory.mktemp("replay")
    now = instant().timestamp() // SCRAPE * SCRAPE
    past = Past()
    filled(past, now - 2 * HOUR, now, now - HOUR)
    policy = folder / "checkout.yaml"
    policy.write_text(POLICY)
    with remembering(past, folder) as url:
        yield Remembered(url, policy, now)


def ago(remembered: Remembered, seconds: float) -> str:
    return datetime.fromtimestamp(remembered.now - seconds, UTC).isoformat()


def test_pseudo_releases_of_two_pods_pass_and_injected_errors_do_not(remembered: Remembered) -> None:
    window = ("--from", ago(remembered, 3000), "--to", ago(remembered, 0))
    found = remembered.told("replay", "checkout", "--stable", "v1", *window, "--runs", "24", "--inject", "errors=5%")
    assert found["podsToldApart"] is True
    assert found["healthy"]["promoted"] == 24
    assert found["injected"][0]["rolledBack"] == 24
    assert found["injected"][0]["medianSecondsToRollback"] <= 90
    assert found["requests"] == pytest.approx(600 * 3000 / SCRAPE, rel=0.02)


def test_the_bad_release_of_an_hour_ago_would_have_been_rolled_back(remembered: Remembered) -> None:
    found = remembered.told("replay", "checkout", "--versions", "v1,v2", "--from", ago(remembered, 1.3 * HOUR))
    [only] = found["releases"]
    assert abs(datetime.fromisoformat(only["from"]).timestamp() - (remembered.now - HOUR)) <= 2 * SCRAPE
    assert [step["weight"] for step in only["steps"]] == [20]
    assert only["learnedBlocks"] == pytest.approx(80, abs=2)
    assert only["rolledBack"]["check"] == "errors vs stable"
    assert only["steps"][0]["counted"]["canary"]["errors"] == pytest.approx(0.1 * 120 * 16, rel=0.3)


def test_todays_traffic_is_what_steps_are_planned_for(remembered: Remembered) -> None:
    found = remembered.told("plan", "checkout", "--stable", "v1")
    assert found["requestsPerSecond"] == pytest.approx(40, rel=0.1)
    assert found["pods"] == 2
    assert found["errorRate"] == pytest.approx(0.002, rel=0.5)


def test_an_interrupt_ends_it_as_shells_expect(remembered: Remembered) -> None:
    window = ("--from", ago(remembered, 3000), "--to", ago(remembered, 0))
    command = remembered.command("replay", "checkout", "--stable", "v1", *window, "--runs", "10000")
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        limit = monotonic() + 60
        # Reading takes well under three seconds of CPU time; then ten thousand runs take minutes.
        while _cpu_seconds(child.pid) < 6:
            assert child.poll() is None
            assert monotonic() < limit
            Event().wait(0.05)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait(5)
    assert child.returncode == 130
    assert (out, err) == (b"", b"")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
