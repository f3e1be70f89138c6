"""`rollout serve` as a process: it starts, reloads policies, ends in good order, and says why when it cannot."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rollout.sandbox.kubernetes.server import KubernetesServer

POLICY = "apiVersion: rollout.dev/v1alpha1\nkind: ServicePolicy\nmetadata: {name: checkout, namespace: shop}\n"


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    server = KubernetesServer()
    await server.start()
    path = tmp_path / "kubeconfig"
    server.write_kubeconfig(path)
    yield path
    await server.stop()


class Served:
    def __init__(self, kubeconfig: Path, policies: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "rollout", "--kubeconfig", str(kubeconfig), "serve"),
                    *("--prometheus", "http://127.0.0.1:9", "--policies", str(policies), "--listen", ""),
                ],
                stderr=output,
                env=dict(os.environ),
            )

    def events(self) -> list[dict[str, Any]]:
        text = self.log.read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    async def until(self, condition: Callable[[list[dict[str, Any]]], bool], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not condition(self.events()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            await asyncio.sleep(0.05)


@pytest.fixture
async def served(kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Served]:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "checkout.yaml").write_text(POLICY)
    one = Served(kubeconfig, policies, tmp_path / "log")
    await one.until(lambda events: any(event["event"] == "controller.started" for event in events))
    yield one
    one.process.kill()
    one.process.wait()


async def test_sigterm_ends_it_in_good_order(served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(10) == 0
    assert served.events()[-1]["event"] == "controller.stopped"


async def test_a_policy_that_becomes_bad_is_told_while_it_runs(served: Served, tmp_path: Path) -> None:
    (tmp_path / "policies" / "checkout.yaml").write_text(POLICY + "spec: {stepz: []}\n")
    await served.until(lambda events: any(event["event"] == "policy.invalid" for event in events))
    told = next(event for event in served.events() if event["event"] == "policy.invalid")
    assert "checkout.yaml:4:8: spec.stepz" in told["error"]


async def test_a_policy_file_that_is_taken_away_is_told(served: Served, tmp_path: Path) -> None:
    (tmp_path / "policies" / "checkout.yaml").unlink()
    await served.until(lambda events: any(event["event"] == "policy.removed" for event in events))


async def test_without_a_cluster_it_says_so_and_ends_with_20(tmp_path: Path) -> None:
    log = tmp_path / "log"
    one = Served(tmp_path / "no-such-kubeconfig", tmp_path, log)
    assert one.process.wait(20) == 20
    assert "no-such-kubeconfig" in log.read_text()
