"""Every command of docs/kubectl.md, as it stands there, against a real controller: on our own API and on a real one."""

import asyncio
import json
import os
import re
import shlex
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rollout.core.release import Phase
from rollout.sandbox.control_plane import KubernetesMissingError
from rollout.sandbox.controller import ControllerProcess
from rollout.sandbox.shop import NAMESPACE, SERVICE, STABLE, deployment
from rollout.sandbox.world import World

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.envoy,
    pytest.mark.prometheus,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH"),
    pytest.mark.asyncio(loop_scope="module"),
]

PAGE = (Path(__file__).parents[2] / "docs" / "kubectl.md").read_text(encoding="utf-8")
RATE = 300
PATIENCE = 60.0
WATCHED = 3
"""Seconds after which somebody who watches presses Ctrl-C."""
TEMPO = {
    "steps": [{"weight": 10, "hold": "10m"}, {"weight": 100, "hold": "2s"}],
    "interval": "1s",
    "settle": "500ms",
    "checks": {
        "errors": {"max": "2%", "overStable": {"ratio": 1.25, "margin": "0.2%"}},
        "latency": {"compare": []},
    },
    "judge": {
        "learn": "0s",
        "block": "1s",
        "warmUp": "1s",
        "onset": "2m",
        "caps": {"outage": "700ms", "latency": "2s", "traffic": "2s"},
    },
    "deadlines": {"ready": "20s", "route": "10s", "metrics": "20s", "verdict": "1m", "total": "1h"},
}
"""The policy in a test's time; its first hold can only be skipped."""


@dataclass
class Page:
    """The page and whoever works through it; what a block assigns, the next one knows."""

    environment: dict[str, str]
    directory: Path
    sections: dict[str, list[str]]
    done: set[str] = field(default_factory=set)

    async def run(self, title: str) -> list[tuple[int, str]]:
        """Run the commands of a section, one after the other; exit code and output of each."""
        self.done.add(title)
        return [await self._run(command) for command in self.sections[title]]

    async def well(self, title: str) -> str:
        """The same where all of them must succeed; returns what they wrote."""
        results = await self.run(title)
        for command, (code, out) in zip(self.sections[title], results, strict=True):
            assert code == 0, f"{command}\n{out}"
        return "".join(out for _, out in results)

    async def kubectl(self, line: str) -> str:
        """A command that is not on the page."""
        code, out = await self._run(f"kubectl {line}")
        assert code == 0, out
        return out

    async def release(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.kubectl('get "$release" -o json'))
        return found

    async def until(self, path: str, value: str) -> None:
        await self.kubectl(f"wait --for=jsonpath='{{{path}}}'={value} --timeout={PATIENCE:g}s \"$release\"")

    async def _run(self, command: str) -> tuple[int, str]:
        if "--watch" in command:
            command = f"timeout --signal=INT {WATCHED} {command} || test $? = 124"
        known = self.directory / "known.sh"
        known.touch()
        script = f"set -uo pipefail; source {shlex.quote(str(known))}\n{command}\ncode=$?\n"
        script += f"declare -p release step > {shlex.quote(str(known))} 2> /dev/null; exit $code"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(2 * PATIENCE):
                out, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return process.returncode, out.decode()


def commands(text: str) -> dict[str, list[str]]:
    """Section title -> its commands; a command may go on over several lines."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        found[title] = [one for block in re.findall(r"^```bash\n(.*?)^```$", body, re.DOTALL | re.MULTILINE)
                        for one in _split(block)]  # fmt: skip
    return found


def _split(block: str) -> list[str]:
    out: list[str] = []
    lines: list[str] = []
    for line in block.splitlines():
        lines.append(line)
        text = "\n".join(lines)
        heredoc = "<<'YAML'" in text and not re.search(r"^YAML$", text, re.MULTILINE)
        if not heredoc and text.count("$(") <= text.count(")"):
            out.append(text)
            lines = []
    assert not lines, f"a command without an end: {lines}"
    return out


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "real"])
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    try:
        world = World(tmp_path_factory.mktemp("world"), rate=RATE, kubernetes=request.param == "real")
    except KubernetesMissingError as missing:
        pytest.skip(str(missing))
    async with world:
        for version, errors in (("v2", "0%"), ("v3", "20%"), ("v4", "0%")):
            await world.apply(deployment(SERVICE, version, errors=errors))
        async with ControllerProcess(world):
            yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(world: World, tmp_path_factory: pytest.TempPathFactory) -> Page:
    home = tmp_path_factory.mktemp("home")
    environment = {"KUBECONFIG": str(world.kubeconfig), "HOME": str(home), "PATH": os.environ["PATH"]}
    return Page(environment, home, commands(PAGE))


async def start(page: Page, version: str) -> None:
    """As the page does, for another version."""
    (command,) = page.sections["Start"]
    code, out = await page._run(command.replace("v2", version))
    assert code == 0, out


async def test_a_policy_is_an_object(page: Page, world: World) -> None:
    assert SERVICE in await page.well("A policy")
    policy = {"apiVersion": "rollout.dev/v1alpha1", "kind": "ServicePolicy"}
    await world.apply({**policy, "metadata": {"name": SERVICE, "namespace": NAMESPACE}, "spec": TEMPO})


async def test_a_release_is_started(page: Page) -> None:
    await page.well("Start")
    await page.until(".status.phase", "Analysing")
    release = await page.release()
    assert release["metadata"]["name"].startswith("checkout-v2-")
    assert release["status"]["policy"]["interval"] == "1s"
    assert (release["status"]["stable"], release["status"]["weight"]) == (STABLE, 10)


async def test_a_release_is_looked_at(page: Page) -> None:
    out = await page.well("Look")
    assert out.splitlines()[0].split() == ["NAME", "SERVICE", "VERSION", "PHASE", "WEIGHT", "STEP", "REASON", "AGE"]
    assert "1/2" in out


async def test_a_release_is_paused_and_goes_on(page: Page) -> None:
    await page.well("Pause and go on")
    told = [event["reason"] for event in json.loads(await page.kubectl("get events -o json"))["items"]]
    assert {"ReleasePaused", "ReleaseResumed"} <= set(told)


async def test_a_route_that_a_hand_changed_is_taken_back(page: Page, world: World) -> None:
    await world.traffic_split({STABLE: 60, "v2": 40})
    await page.until(".status.reason", "Drifted")
    drifted = datetime.fromisoformat((await page.release())["status"]["drift"]["at"])
    # A time of whole seconds must not come before the edit.
    while (now := datetime.fromisoformat((await page._run("date -u +%FT%TZ"))[1].strip())) <= drifted:
        await asyncio.sleep(0.1)
    assert now > drifted
    await page.well("Take the route back")
    await page.kubectl(f'wait --for=condition=Progressing --timeout={PATIENCE:g}s "$release"')
    await page.until(".status.weight", "10")


async def test_a_hold_is_skipped_and_the_release_is_waited_for(page: Page) -> None:
    await page.until(".status.phase", "Analysing")
    await page.well("Skip a hold")
    await page.well("Wait, in CI")
    release = await page.release()
    assert release["status"]["phase"] == Phase.PROMOTED
    assert release["status"]["progress"] == "2/2"


async def test_a_bad_version_is_rolled_back_and_the_wait_says_so(page: Page) -> None:
    await start(page, "v3")
    finished, promoted = await page.run("Wait, in CI")
    assert (finished[0], promoted[0]) == (0, 1)
    assert (await page.release())["status"]["phase"] == Phase.ROLLED_BACK


async def test_what_happened_is_told_by_the_object_and_by_events(page: Page) -> None:
    results = await page.run("Why was it rolled back?")
    assert [code for code, _ in results] == [0] * len(results), results
    outcome, failed, of_release, of_route = (out for _, out in results)
    assert outcome.startswith("RolledBack: ")
    assert failed.startswith("errors")
    for reason in ("ReleaseStarted", "StepStarted", "RollbackStarted", "ReleaseRolledBack"):
        assert len(re.findall(rf"\b{reason}\b", of_release)) == 1
    for reason in ("StepStarted", "RollbackStarted", "RollbackDone"):
        assert reason in of_route
    # In the order in which they happened.
    described = await page.kubectl('describe "$release"')
    order = [described.index(reason) for reason in ("ReleaseRequested", "StepStarted", "RollbackStarted")]
    assert order == sorted(order)


async def test_a_release_is_aborted_and_another_is_deleted(page: Page, world: World) -> None:
    *abort, delete, tidy = page.sections["Abort"]
    page.done.add("Abort")
    await start(page, "v4")
    await page.until(".status.phase", "Analysing")
    for command in abort:
        assert (await page._run(command))[0] == 0
    assert (await page.release())["status"]["phase"] == Phase.ABORTED
    await start(page, "v4")
    await page.until(".status.phase", "Analysing")
    assert (await page._run(delete))[0] == 0
    assert "NotFound" in (await page._run('kubectl get "$release"'))[1]
    assert (await page._run(tidy))[0] == 0
    route = await world.cluster.get("networking.istio.io/v1", "VirtualService", SERVICE, NAMESPACE)
    (http,) = route["spec"]["http"]
    assert [(one["destination"]["subset"], one.get("weight", 100)) for one in http["route"]] == [("v2", 100)]


async def test_no_command_of_the_page_was_left_out(page: Page) -> None:
    assert page.done == {title for title, found in page.sections.items() if found}
