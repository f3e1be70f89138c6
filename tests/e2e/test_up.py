"""`rollout sandbox up`, used as a person would: start a release, turn a knob, look, and leave with Ctrl-C."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rollout.core.release import FINALIZER
from rollout.sandbox.control_plane import KubernetesMissingError, find_assets

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.prometheus]

ROLLOUT = [sys.executable, "-m", "rollout"]

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="it is asked, and waited for, with kubectl")


@dataclass
class Up:
    process: subprocess.Popen[str]
    environment: dict[str, str]
    has_pods: bool

    def rollout(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ROLLOUT, *arguments], env=self.environment, capture_output=True, text=True, timeout=90, check=False
        )

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", "-n", "shop", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def object(self, kind: str, name: str) -> dict[str, Any]:
        found = self.kubectl("get", kind, name, "-o", "json")
        assert found.returncode == 0, found.stderr
        parsed: dict[str, Any] = json.loads(found.stdout)
        return parsed


@pytest.fixture(scope="module", params=["embedded", "kubernetes"])
def up(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    real = request.param == "kubernetes"
    if real:
        try:
            find_assets()
        except KubernetesMissingError as missing:
            pytest.skip(str(missing))
    directory = tmp_path_factory.mktemp("up")
    environment = {**os.environ, "ROLLOUT_SANDBOX": str(directory), "KUBECONFIG": str(directory / "kubeconfig")}
    arguments = [*ROLLOUT, "sandbox", "up", *(["--kubernetes"] if real else [])]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        yield Up(process, environment, has_pods=real)
        process.kill()


def children_of(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.add(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@needs_kubectl
def test_kubectl_shows_everything_with_the_kubeconfig_that_is_printed(up: Up) -> None:
    kinds = ["virtualservice", "deployment", "pod"][: 3 if up.has_pods else 2]
    names = up.kubectl("get", ",".join(["rel", *kinds]), "-o", "name")
    assert names.returncode == 0, names.stderr
    found = [name.partition(".")[0].partition("/")[0] for name in names.stdout.split()]
    assert {kind: found.count(kind) for kind in kinds} == dict(zip(kinds, (1, 4, 8), strict=False))


def test_a_knob_makes_a_release_fail_and_why_names_the_check(up: Up) -> None:
    assert up.rollout("sandbox", "set", "checkout", "v3", "--errors", "20%").returncode == 0
    started = up.rollout("start", "checkout", "-n", "shop", "--version", "v3", "--wait", "--timeout", "60s")
    assert started.returncode == 10, started.stderr
    release = started.stdout.strip()
    why = up.rollout("why", release, "-n", "shop", "-o", "json")
    assert '"check"' in why.stdout
    assert "errors" in why.stdout


@needs_kubectl
async def test_a_release_deleted_during_a_step_brings_all_traffic_back_and_is_gone(up: Up) -> None:
    started = up.rollout("start", "checkout", "-n", "shop", "--version", "v2")
    assert started.returncode == 0, started.stderr
    release = started.stdout.strip()
    deadline = time.monotonic() + 30
    while not up.object("release", release)["status"].get("weight"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert up.object("release", release)["metadata"]["finalizers"] == [FINALIZER]
    # kubectl returns once the object is gone.
    deleted = up.kubectl("delete", "release", release, "--timeout=30s")
    assert deleted.returncode == 0, deleted.stderr
    assert "NotFound" in up.kubectl("get", "release", release).stderr
    route = next(http for http in up.object("virtualservice", "checkout")["spec"]["http"] if http["name"] == "primary")
    assert [(one["destination"]["subset"], one.get("weight", 100)) for one in route["route"]] == [("v1", 100)]
    assert [one["name"] for one in up.object("destinationrule", "checkout")["spec"]["subsets"]] == ["v1"]


def test_a_knob_of_a_version_that_is_not_there_is_an_error(up: Up) -> None:
    assert up.rollout("sandbox", "set", "checkout", "v99", "--errors", "5%").returncode == 2


def test_a_knob_that_makes_no_sense_is_an_error(up: Up) -> None:
    assert up.rollout("sandbox", "set", "checkout", "v2", "--errors", "many").returncode == 2


def test_a_second_sandbox_is_refused_while_one_runs(up: Up) -> None:
    assert up.rollout("sandbox", "up").returncode == 2
    assert up.process.poll() is None


async def test_ctrl_c_leaves_no_process_behind(up: Up) -> None:
    children = children_of(up.process.pid)
    assert children
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(20) == 0
    deadline = time.monotonic() + 5
    while any(map(alive, children)) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert not any(map(alive, children))


def test_without_a_sandbox_a_knob_cannot_be_turned(tmp_path: Path) -> None:
    environment = {**os.environ, "ROLLOUT_SANDBOX": str(tmp_path)}
    turned = subprocess.run(
        [*ROLLOUT, "sandbox", "set", "checkout", "v2", "--errors", "5%"], env=environment, check=False, timeout=30
    )
    assert turned.returncode == 2


@pytest.mark.parametrize("verb", ["up", "demo"])
def test_without_its_programs_a_real_control_plane_is_refused_as_a_wrong_call(tmp_path: Path, verb: str) -> None:
    environment = {**os.environ, "ROLLOUT_SANDBOX": str(tmp_path), "ROLLOUT_CACHE": str(tmp_path)}
    environment.pop("KUBEBUILDER_ASSETS", None)
    refused = subprocess.run([*ROLLOUT, "sandbox", verb, "--kubernetes"], env=environment, check=False, timeout=30)
    assert refused.returncode == 2
