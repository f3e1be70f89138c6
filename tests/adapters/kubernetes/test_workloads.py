"""How a Deployment's status is read: as `kubectl rollout status` does, and in the Deployment's own words."""

from typing import Any

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.workloads import ClusterWorkloads, read_health
from rollout.core.route import Unavailable
from rollout.core.workload import Health
from rollout.sandbox.kubernetes.server import KubernetesServer

JsonObject = dict[str, Any]
PATH = "/apis/apps/v1/namespaces/shop/deployments"
COMPLETE = {
    "observedGeneration": 2,
    "replicas": 3,
    "updatedReplicas": 3,
    "readyReplicas": 3,
    "availableReplicas": 3,
    "conditions": [
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "fine"},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "fine"},
    ],
}


def deployment(wanted: int | None = 3, **status: Any) -> JsonObject:
    spec: JsonObject = {} if wanted is None else {"replicas": wanted}
    return {"metadata": {"name": "checkout-v2", "generation": 2}, "spec": spec, "status": {**COMPLETE, **status}}


def condition(kind: str, status: str, reason: str, message: str) -> JsonObject:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def test_a_deployment_that_rolled_out_is_complete() -> None:
    assert read_health(deployment()) == Health(ready=3, wanted=3, complete=True, message="")


def test_one_replica_is_wanted_where_none_is_said() -> None:
    one = deployment(None, replicas=1, updatedReplicas=1, readyReplicas=1, availableReplicas=1)
    assert read_health(one) == Health(ready=1, wanted=1, complete=True, message="")


@pytest.mark.parametrize(
    "status",
    [
        {"observedGeneration": 1},
        {"updatedReplicas": 2},
        {"replicas": 4},
        {"availableReplicas": 2},
        {"conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded", "timed out")]},
    ],
    ids=["unobserved", "not all updated", "old pods left", "not available long enough", "deadline exceeded"],
)
def test_a_deployment_on_its_way_is_not_complete(status: JsonObject) -> None:
    health = read_health(deployment(**status))
    assert not health.complete
    assert health.message
    assert (health.ready, health.wanted) == (3, 3)


def test_a_deployment_without_a_status_has_no_ready_pods() -> None:
    fresh = {"metadata": {"generation": 1}, "spec": {"replicas": 2}}
    health = read_health(fresh)
    assert (health.ready, health.wanted, health.complete) == (0, 2, False)


def test_a_deployment_scaled_to_zero_is_never_complete() -> None:
    zero = deployment(0, replicas=0, updatedReplicas=0, readyReplicas=0, availableReplicas=0)
    assert not read_health(zero).complete


def test_the_message_counts_pods_and_repeats_what_the_deployment_says() -> None:
    conditions = [
        condition("ReplicaFailure", "True", "FailedCreate", "pods is forbidden: exceeded\nquota"),
        condition("Available", "False", "MinimumReplicasUnavailable", "ImagePullBackOff: no such image"),
        condition("Progressing", "True", "ReplicaSetUpdated", "is progressing"),
    ]
    health = read_health(deployment(readyReplicas=2, availableReplicas=2, conditions=conditions))
    assert "2 of 3 pods ready" in health.message
    assert "exceeded quota" in health.message
    assert "ImagePullBackOff" in health.message
    assert "is progressing" not in health.message


def test_a_long_message_is_cut() -> None:
    conditions = [condition("ReplicaFailure", "True", "FailedCreate", "x" * 5000)]
    assert len(read_health(deployment(readyReplicas=0, availableReplicas=0, conditions=conditions)).message) <= 300


# through the API


async def put(cluster: Cluster, status: JsonObject) -> None:
    labels = {"app": "checkout"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "checkout-v2"}, "spec": spec}
    await cluster.create(PATH, body)
    await cluster.merge(f"{PATH}/checkout-v2/status", {"status": status})


async def test_health_is_read_from_the_api(cluster: Cluster) -> None:
    await put(cluster, {**COMPLETE, "observedGeneration": 1})
    health = await ClusterWorkloads(cluster).health("shop", "checkout-v2")
    assert health == Health(ready=3, wanted=3, complete=True, message="")


@pytest.mark.parametrize("name", ["checkout-v9", "no/name", "..", ""])
async def test_a_deployment_that_does_not_exist_has_no_ready_pods(cluster: Cluster, name: str) -> None:
    health = await ClusterWorkloads(cluster).health("shop", name)
    assert isinstance(health, Health)
    assert (health.ready, health.wanted, health.complete) == (0, 0, False)


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
async def test_an_api_that_does_not_answer_says_nothing_about_pods(
    server: KubernetesServer, cluster: Cluster, code: int
) -> None:
    await put(cluster, COMPLETE)
    server.faults.add(resource="deployments", status=code)
    assert isinstance(await ClusterWorkloads(cluster).health("shop", "checkout-v2"), Unavailable)


@pytest.mark.parametrize(
    "status",
    [{"readyReplicas": "3"}, {"replicas": -1}, {"updatedReplicas": True}, {"conditions": ["x"]}, {"conditions": [{}]}],
)
async def test_a_status_that_makes_no_sense_says_nothing_about_pods(cluster: Cluster, status: JsonObject) -> None:
    await put(cluster, {**COMPLETE, **status})
    assert isinstance(await ClusterWorkloads(cluster).health("shop", "checkout-v2"), Unavailable)
