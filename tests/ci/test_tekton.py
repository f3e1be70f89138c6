"""config/ci/tekton.yaml: its scripts are run with what Tekton puts in place of its variables and mounts."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from rollout.core.release import Phase
from tests.api.house import JOB
from tests.ci.place import BAD, EXAMPLES, SLOW, Place, Process

TASK: dict[str, Any] = yaml.safe_load((EXAMPLES / "tekton.yaml").read_text())
SPEC = TASK["spec"]
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in SPEC["steps"]}
VARIABLE = re.compile(r"\$\(([\w.-]+)\)")


class Run:
    """One TaskRun."""

    def __init__(self, place: Place, version: str) -> None:
        self._place = place
        self.results, self._told = place.directory / "results", place.directory / "told"
        for directory in (self.results, self._told):
            directory.mkdir()
        token = place.directory / "token"
        token.write_text(JOB)
        self._mounts = {"/told": str(self._told), "/var/run/secrets/rollout/token": str(token)}
        given = {"namespace": "shop", "service": "checkout", "version": version, "server": place.server}
        self._known = {f"params.{one['name']}": one.get("default", "") for one in SPEC["params"]}
        self._known |= {f"params.{name}": value for name, value in given.items()}
        self._known |= {"context.taskRun.namespace": "ci", "context.taskRun.name": "r-1", "context.taskRun.uid": "u-1"}
        self._known |= {f"results.{one['name']}.path": str(self.results / one["name"]) for one in SPEC["results"]}

    async def start(self, name: str) -> Process:
        """A script with `#!` is executed as it is."""
        step = STEPS[name]
        assert step["script"].startswith("#!/bin/sh\n")
        environ = {one["name"]: self._filled(one["value"]) for one in step["env"]}
        return await self._place.run(self._filled(step["script"]), self._place.environ(**environ), "sh")

    def result(self, name: str) -> str:
        return (self.results / name).read_text()

    def _filled(self, text: str) -> str:
        text = VARIABLE.sub(lambda found: self._known[found[1]], text)
        for mount, where in self._mounts.items():
            text = text.replace(mount, where)
        return text


@pytest.mark.parametrize(
    ("version", "code", "result", "reason"), [("v2", 0, "promoted", ""), (BAD, 10, "rolled-back", "CheckFailed")]
)
async def test_the_task_ends_as_the_release_with_its_results_written(
    place: Place, version: str, code: int, result: str, reason: str
) -> None:
    run = Run(place, version)
    first = await (await run.start("release")).ended()
    assert first.code == code, first.err
    last = await (await run.start("results")).ended()
    assert last.code == code, last.err
    made = await place.only()
    assert (run.result("release-id"), run.result("result"), run.result("reason")) == (made.name, result, reason)
    assert (made.spec.source.system, made.spec.source.run) == ("tekton", "ci/r-1/u-1")


async def test_a_cancelled_run_puts_the_traffic_back(place: Place) -> None:
    run = Run(place, SLOW)
    step = await run.start("release")
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    await place.told("told/release.env")
    step.signal(signal.SIGTERM)
    assert (await step.ended()).code == 143
    assert (await place.only()).status.phase is Phase.ABORTED


async def test_without_a_release_the_results_say_so_and_the_task_fails(place: Place) -> None:
    run = Run(place, "v2")
    ran = await (await run.start("results")).ended()
    assert ran.code == 1
    assert (run.result("release-id"), run.result("result")) == ("", "unknown")


def test_no_parameter_is_pasted_into_a_script() -> None:
    pasted = [name for step in SPEC["steps"] for name in VARIABLE.findall(step["script"])]
    assert [name for name in pasted if not name.startswith("results.")] == []


def test_the_task_has_the_fields_of_a_task_and_no_other() -> None:
    assert (TASK["apiVersion"], TASK["kind"]) == ("tekton.dev/v1", "Task")
    assert set(SPEC) == {"description", "params", "results", "steps", "volumes"}
    fields = {"name", "image", "onError", "env", "volumeMounts", "securityContext", "script"}
    assert all(set(step) <= fields for step in SPEC["steps"])
    assert all(set(one) <= {"name", "type", "default", "description"} for one in (*SPEC["params"], *SPEC["results"]))
    mounted = {one["name"] for step in SPEC["steps"] for one in step["volumeMounts"]}
    assert mounted == {volume["name"] for volume in SPEC["volumes"]}


def test_every_variable_that_is_used_is_one_that_tekton_knows() -> None:
    text = (EXAMPLES / "tekton.yaml").read_text()
    known = {f"params.{one['name']}" for one in SPEC["params"]} | {
        f"results.{one['name']}.path" for one in SPEC["results"]
    }
    known |= {f"context.taskRun.{word}" for word in ("name", "namespace", "uid")}
    assert set(VARIABLE.findall(text)) <= known


def test_every_container_may_as_little_as_the_restricted_profile_asks_for() -> None:
    for step in SPEC["steps"]:
        context = step["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_paths_of_the_scripts_are_mounted() -> None:
    for step in SPEC["steps"]:
        mounts = [Path(one["mountPath"]) for one in step["volumeMounts"]]
        for path in re.findall(r"(/told/\S+)", step["script"]):
            assert any(Path(path).is_relative_to(mount) for mount in mounts)
