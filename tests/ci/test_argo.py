"""config/ci/argo-workflow.yaml: its container is run with what Argo puts in place of its variables and mounts."""

import re
import signal
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from rollout.core.release import Phase
from tests.api.house import JOB
from tests.ci.place import BAD, EXAMPLES, SLOW, Place, Process, report, variables

TEMPLATE: dict[str, Any] = yaml.safe_load((EXAMPLES / "argo-workflow.yaml").read_text())
SPEC = TEMPLATE["spec"]
[RELEASE] = SPEC["templates"]
CONTAINER = RELEASE["container"]
VARIABLE = re.compile(r"\{\{([\w.-]+)\}\}")


async def start(place: Place, version: str) -> Process:
    told, token = place.directory / "told", place.directory / "token"
    told.mkdir()
    token.write_text(JOB)
    given = {"namespace": "shop", "service": "checkout", "version": version, "server": place.server}
    known = {f"workflow.parameters.{one['name']}": one.get("value", "") for one in SPEC["arguments"]["parameters"]}
    known |= {f"workflow.parameters.{name}": value for name, value in given.items()}
    known |= {"workflow.namespace": "ci", "workflow.name": "release-1", "workflow.uid": "u-1"}
    mounts = {"/told": str(told), "/var/run/secrets/rollout/token": str(token)}

    def filled(text: str) -> str:
        text = VARIABLE.sub(lambda found: known[found[1]], text)
        for mount, where in mounts.items():
            text = text.replace(mount, where)
        return text

    environ = {one["name"]: filled(one["value"]) for one in CONTAINER["env"]}
    [script] = CONTAINER["args"]
    shell, options = CONTAINER["command"]
    assert options == "-euc"
    return await place.run(filled(script), place.environ(**environ, ARGO_NODE_ID="release-1-7"), shell, "-eu")


@pytest.mark.parametrize(("version", "code", "result"), [("v2", 0, "promoted"), (BAD, 10, "rolled-back")])
async def test_the_node_ends_as_the_release_and_its_output_tells_how(
    place: Place, version: str, code: int, result: str
) -> None:
    ran = await (await start(place, version)).ended()
    assert ran.code == code, ran.err
    made = await place.only()
    assert (made.spec.source.system, made.spec.source.run) == ("argo-workflows", "ci/release-1/u-1")
    assert variables(place.directory / "told" / "release.env")["ROLLOUT_RESULT"] == result
    assert report(place.directory / "told" / "release.json")["result"] == result


async def test_a_stopped_workflow_puts_the_traffic_back(place: Place) -> None:
    node = await start(place, SLOW)
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    await place.told("told/release.env")
    node.signal(signal.SIGTERM)
    assert (await node.ended()).code == 143
    assert (await place.only()).status.phase is Phase.ABORTED


def test_the_pod_lives_longer_after_a_signal_than_rollout_needs_to_see_the_traffic_back() -> None:
    patch = yaml.safe_load(RELEASE["podSpecPatch"])
    assert patch["terminationGracePeriodSeconds"] > 60  # --cancel-timeout


def test_no_parameter_is_pasted_into_a_script() -> None:
    assert VARIABLE.findall(CONTAINER["args"][0]) == []


def test_the_output_is_a_file_that_the_script_writes_on_a_volume_that_is_mounted() -> None:
    [output] = RELEASE["outputs"]["parameters"]
    assert output["valueFrom"]["path"] in CONTAINER["args"][0]
    mounts = {one["name"]: one["mountPath"] for one in CONTAINER["volumeMounts"]}
    assert output["valueFrom"]["path"].startswith(mounts["told"] + "/")
    assert set(mounts) == {volume["name"] for volume in SPEC["volumes"]}


def test_the_template_has_the_fields_of_a_template_and_no_other() -> None:
    assert (TEMPLATE["apiVersion"], TEMPLATE["kind"]) == ("argoproj.io/v1alpha1", "WorkflowTemplate")
    fields = {"entrypoint", "serviceAccountName", "arguments", "synchronization", "volumes", "templates"}
    assert set(SPEC) == fields
    assert set(RELEASE) == {"name", "podSpecPatch", "container", "outputs"}
    assert SPEC["entrypoint"] == RELEASE["name"]


def test_every_variable_that_is_used_is_one_that_argo_knows() -> None:
    text = (EXAMPLES / "argo-workflow.yaml").read_text()
    known = {f"workflow.parameters.{one['name']}" for one in SPEC["arguments"]["parameters"]}
    assert set(VARIABLE.findall(text)) <= known | {"workflow.name", "workflow.namespace", "workflow.uid"}
