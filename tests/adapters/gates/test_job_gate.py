"""A Job as a gate, on the embedded API: what is made of a template, and what its end means."""

from datetime import timedelta
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.job_gate import JobGate, job_of, meaning, name_of
from rollout.administration import JobTemplate
from rollout.core.gating import Answer
from rollout.ports import NotFound
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.gates.questions import again, question

JOBS = "/apis/batch/v1/namespaces/shop/jobs"
ASKED = question("job", "smoke")


def template(**more: Any) -> JobTemplate:
    containers = [{"name": "smoke", "image": "example.com/smoke:1", "env": [{"name": "A", "value": "1"}]}]
    return JobTemplate(
        name="smoke", template={"backoffLimit": 1, "template": {"spec": {"containers": containers}}, **more}
    )


async def end(cluster: Cluster, kind: str, message: str = "") -> None:
    """As the Job controller would write it."""
    path = f"{JOBS}/{name_of(ASKED)}/status"
    await cluster.merge(path, {"status": {"conditions": [{"type": kind, "status": "True", "message": message}]}})


async def test_the_job_is_the_template_that_knows_its_release(cluster: Cluster) -> None:
    assert (await JobGate(cluster).ask(ASKED, template())).outcome == "waiting"
    [job] = await cluster.list(JOBS)
    assert job["metadata"]["name"] == f"rollout-{ASKED.key}"
    assert job["metadata"]["labels"]["rollout.dev/gate"] == "board"
    assert "ownerReferences" not in job["metadata"]
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (1, 600, 86_400)
    pod = spec["template"]
    assert pod["metadata"]["labels"]["rollout.dev/service"] == "checkout"
    assert pod["spec"]["restartPolicy"] == "Never"
    env = {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"]}
    assert env == {
        "A": "1",
        "ROLLOUT_NAMESPACE": "shop",
        "ROLLOUT_RELEASE": "checkout-v2-1",
        "ROLLOUT_SERVICE": "checkout",
        "ROLLOUT_VERSION": "v2",
        "ROLLOUT_STABLE": "v1",
        "ROLLOUT_GATE": "board",
        "ROLLOUT_BEFORE": "start",
        "ROLLOUT_WEIGHT": "10",
        "ROLLOUT_KEY": ASKED.key,
    }


def test_what_the_template_says_stays_but_for_our_variables() -> None:
    pod = {
        "metadata": {"labels": {"team": "a", "rollout.dev/gate": "forged"}},
        "spec": {
            "restartPolicy": "OnFailure",
            "serviceAccountName": "smoke",
            "initContainers": [{"name": "i", "image": "x"}],
            "containers": [{"name": "c", "image": "x", "env": [{"name": "ROLLOUT_VERSION", "value": "forged"}]}],
        },
    }
    made = template(ttlSecondsAfterFinished=600, activeDeadlineSeconds=30, template=pod)
    before = made.model_dump()
    spec = job_of(ASKED, made)["spec"]
    assert (spec["ttlSecondsAfterFinished"], spec["activeDeadlineSeconds"]) == (600, 30)
    assert spec["template"]["metadata"]["labels"]["team"] == "a"
    assert spec["template"]["metadata"]["labels"]["rollout.dev/gate"] == "board"
    inner = spec["template"]["spec"]
    assert (inner["restartPolicy"], inner["serviceAccountName"]) == ("OnFailure", "smoke")
    for container in (*inner["initContainers"], *inner["containers"]):
        assert [one["value"] for one in container["env"] if one["name"] == "ROLLOUT_VERSION"] == ["v2"]
    assert made.model_dump() == before


async def test_the_same_question_makes_one_job_however_often_it_is_put(cluster: Cluster) -> None:
    asked, gate = ASKED, JobGate(cluster)
    for _ in range(3):
        # As after a crash: nothing is known of an earlier answer.
        assert (await gate.ask(asked, template())).outcome == "waiting"
        asked = again(asked, begun=False)
    assert len(await cluster.list(JOBS)) == 1
    await end(cluster, "Complete")
    assert (await gate.ask(again(asked, begun=True), template())).outcome == "passed"
    assert (await JobGate(cluster).ask(ASKED, template())).outcome == "passed"
    assert len(await cluster.list(JOBS)) == 1


async def test_a_job_that_fails_says_why(cluster: Cluster) -> None:
    gate = JobGate(cluster)
    await gate.ask(ASKED, template())
    await end(cluster, "Failed", "Job has reached the\nspecified backoff limit")
    said = await gate.ask(again(ASKED, begun=True), template())
    assert said.outcome == "failed"
    assert "Job has reached the specified backoff limit" in said.message


async def test_a_job_that_is_gone_is_a_no_and_is_not_made_again(cluster: Cluster) -> None:
    gate = JobGate(cluster)
    said = await gate.ask(again(ASKED, begun=True), template())
    assert (said.outcome, await cluster.list(JOBS)) == ("failed", [])


async def test_a_namespace_that_is_not_there_is_a_no(cluster: Cluster) -> None:
    said = await JobGate(cluster).ask(question("job", "smoke", namespace="nowhere"), template())
    assert said.outcome in {"failed", "unavailable"}
    with pytest.raises(NotFound):
        await cluster.get("/api/v1/namespaces/nowhere")


async def test_an_api_that_does_not_answer_is_no_answer(cluster: Cluster, server: KubernetesServer) -> None:
    await server.stop()
    assert (await JobGate(cluster).ask(ASKED, template())).outcome == "unavailable"
    assert (await JobGate(cluster).ask(again(ASKED, begun=True), template())).outcome == "unavailable"


@pytest.mark.parametrize(
    ("conditions", "outcome"),
    [
        (None, "waiting"),
        ([], "waiting"),
        ([{"type": "Suspended", "status": "True"}], "waiting"),
        ([{"type": "FailureTarget", "status": "True"}], "waiting"),
        ([{"type": "SuccessCriteriaMet", "status": "True"}], "waiting"),
        ([{"type": "Failed", "status": "False"}], "waiting"),
        ([{"type": "Complete", "status": "Unknown"}], "waiting"),
        ([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}], "passed"),
        ([{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}], "failed"),
    ],
)
def test_only_an_end_is_an_answer(conditions: Any, outcome: str) -> None:
    job = {"metadata": {"name": "rollout-1"}, "status": {"conditions": conditions}}
    said = meaning(job)
    assert (said.outcome, said.again) == (outcome, timedelta(seconds=5))
    assert meaning({"metadata": {"name": "rollout-1"}}) == Answer("waiting", "Job rollout-1 runs")
