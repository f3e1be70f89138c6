"""Jobs of the real API, its Job controller and its rights; a test stands in for the kubelet and marks the pods."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.job_gate import JobGate
from rollout.administration import JobTemplate
from rollout.core.gating import Answer, Question
from rollout.sandbox.control_plane import ControlPlane
from tests.adapters.gates.questions import PATIENCE, again, question


@pytest.fixture
async def api(control_plane: ControlPlane, real_namespace: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    control_plane.write_kubeconfig(tmp_path / "kubeconfig", real_namespace)
    async with await Cluster.connect(tmp_path / "kubeconfig") as cluster:
        yield cluster


def template(**more: Any) -> JobTemplate:
    containers = [{"name": "smoke", "image": "example.com/smoke:1"}]
    return JobTemplate(
        name="smoke", template={"backoffLimit": 0, "template": {"spec": {"containers": containers}}, **more}
    )


async def pods(api: Cluster, namespace: str) -> list[dict[str, Any]]:
    return await api.list(f"/api/v1/namespaces/{namespace}/pods", label_selector="rollout.dev/gate=board")


async def finish(api: Cluster, namespace: str, phase: str) -> None:
    """The kubelet's word on the Job's one pod."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await pods(api, namespace)):
            await asyncio.sleep(0.05)
    [pod] = found
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/status"
    await api.merge(path, {"status": {"phase": phase}})


async def end_of(gate: JobGate, asked: Question, made: JobTemplate) -> Answer:
    """The answer that is not "later"; asked as the core would, attempt after attempt."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await gate.ask(asked, made)).outcome == "waiting":
            asked = again(asked, begun=True)
            await asyncio.sleep(0.05)
    return answer


@pytest.mark.parametrize(("phase", "outcome"), [("Succeeded", "passed"), ("Failed", "failed")])
async def test_what_the_pod_comes_to_is_the_answer(api: Cluster, real_namespace: str, phase: str, outcome: str) -> None:
    asked, gate = question("job", "smoke", namespace=real_namespace), JobGate(api)
    assert (await gate.ask(asked, template())).outcome == "waiting"
    await finish(api, real_namespace, phase)
    answer = await end_of(gate, asked, template())
    assert answer.outcome == outcome, answer
    assert ("backoff limit" in answer.message) == (phase == "Failed")


async def test_a_hundred_askers_make_one_job_and_one_pod(api: Cluster, real_namespace: str) -> None:
    asked = question("job", "smoke", namespace=real_namespace)
    answers = await asyncio.gather(*(JobGate(api).ask(asked, template()) for _ in range(100)))
    assert {answer.outcome for answer in answers} == {"waiting"}
    await finish(api, real_namespace, "Succeeded")
    assert (await end_of(JobGate(api), asked, template())).outcome == "passed"
    assert len(await api.list(f"/apis/batch/v1/namespaces/{real_namespace}/jobs")) == 1
    assert len(await pods(api, real_namespace)) == 1


async def test_a_job_whose_time_is_up_is_a_no(api: Cluster, real_namespace: str) -> None:
    asked = question("job", "smoke", namespace=real_namespace)
    made = template(activeDeadlineSeconds=1)
    gate = JobGate(api)
    assert (await gate.ask(asked, made)).outcome == "waiting"
    # Kubernetes waits for the pod to be gone; without a kubelet, only force takes one that was bound, and none was.
    assert (await end_of(gate, asked, made)).outcome == "failed"


async def test_a_template_that_the_api_refuses_is_a_no_that_says_what_is_wrong(
    api: Cluster, real_namespace: str
) -> None:
    made = template(template={"spec": {"containers": [{"name": "No_Label", "image": ""}], "surprise": 1}})
    answer = await JobGate(api).ask(question("job", "smoke", namespace=real_namespace), made)
    assert answer.outcome == "failed"
    assert "surprise" in answer.message


async def test_without_the_right_to_it_there_is_no_answer_until_somebody_gives_it(
    control_plane: ControlPlane, real_namespace: str, tmp_path: Path
) -> None:
    async with control_plane.client() as http:
        answer = await http.post(
            f"/api/v1/namespaces/{real_namespace}/serviceaccounts", json={"metadata": {"name": "nobody"}}
        )
        assert answer.status_code == 201
        token = await http.post(f"/api/v1/namespaces/{real_namespace}/serviceaccounts/nobody/token", json={"spec": {}})
    control_plane.write_kubeconfig(tmp_path / "nobody", real_namespace, token.json()["status"]["token"])
    async with await Cluster.connect(tmp_path / "nobody") as api:
        said = await JobGate(api).ask(question("job", "smoke", namespace=real_namespace), template())
    assert said.outcome == "unavailable"
    assert "forbidden" in said.message
