import json
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.cli.exits import ExitCode
from tests.cli.conftest import MISSING, Terminal
from tests.cli.traffic import POLICY, past
from tests.given import NOW

PROMETHEUS = ("--prometheus", "http://prometheus:9090")


@pytest.fixture
def file(tmp_path: Path) -> str:
    found = tmp_path / "checkout.yaml"
    found.write_text(POLICY)
    return str(found)


def test_each_step_is_told_with_what_it_can_prove_and_catch(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=70))
    ran = rollout(
        "plan", "checkout", *PROMETHEUS, "--policy", file, "--stable", "v1", "-o", "json", "--kubeconfig", MISSING
    )
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["requestsPerSecond"] == pytest.approx(20, rel=0.02)
    assert found["errorRate"] == pytest.approx(0.001, rel=0.8)
    assert [step["weight"] for step in found["steps"]] == [20, 50, 100]
    assert found["steps"][0]["canaryRequests"] == pytest.approx(240, rel=0.02)
    assert found["steps"][2]["proof"] is None
    assert [one["times"] for one in found["steps"][0]["catches"]] == [2, 5, 10]


def test_a_step_that_is_too_short_is_warned_of(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=70), requests=60)
    ran = rollout("plan", "checkout", *PROMETHEUS, "--policy", file, "--stable", "v1")
    assert (ran.code, ran.err) == (0, "")
    warnings = [line for line in ran.out.splitlines() if line.startswith("warning:")]
    assert "step 1 (20% for 1m)" in warnings[0]
    assert "step 2 (50% for 1m)" in warnings[1]


def test_a_hold_that_waits_for_a_proof_it_is_too_short_for_is_warned_of(rollout: Terminal, file: str) -> None:
    Path(file).write_text(POLICY.replace("warmUp: 15s", "warmUp: 15s, unproven: hold"))
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=70), requests=150)
    ran = rollout("plan", "checkout", *PROMETHEUS, "--policy", file, "--stable", "v1")
    assert (ran.code, ran.err) == (0, "")
    assert any(line.startswith("warning: step 1") and "unproven: hold" in line for line in ran.out.splitlines())
    assert "not planned: saturation" in ran.out.splitlines()


def test_a_service_without_requests_cannot_be_planned(rollout: Terminal, file: str) -> None:
    ran = rollout("plan", "checkout", *PROMETHEUS, "--policy", file, "--stable", "v1")
    assert ran.code == ExitCode.USAGE
    assert 'destination_workload="checkout-v1"' in ran.err


def test_a_prometheus_that_does_not_answer_is_an_outage(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus.outage = "Prometheus at prometheus:9090 is not reachable: no route"
    ran = rollout("plan", "checkout", *PROMETHEUS, "--policy", file, "--stable", "v1")
    assert ran.code == ExitCode.UNREACHABLE
    assert "no route" in ran.err
