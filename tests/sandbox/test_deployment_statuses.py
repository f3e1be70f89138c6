"""What a Deployment says about itself where no real controller says it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.sandbox import shop
from rollout.sandbox.deployment_statuses import deployment_status

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {found["type"]: (found["status"], found["reason"]) for found in status["conditions"]}


def deployment(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    made = shop.deployment("checkout", "v1", replicas=3)
    made["metadata"]["generation"] = 7
    made["spec"].update(spec)
    return {**made, "status": {k: v for k, v in (status or {}).items() if v is not None}}


def test_ready_pods_make_a_deployment_available() -> None:
    status = deployment_status(deployment(), ready=True, now=NOW)
    assert status["observedGeneration"] == 7
    counts = [status[name] for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    assert counts == [3, 3, 3, 3]
    assert status["unavailableReplicas"] is None
    assert conditions(status) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }


def test_pods_that_are_not_ready_are_on_the_way() -> None:
    status = deployment_status(deployment(), ready=False, now=NOW)
    assert (status["readyReplicas"], status["unavailableReplicas"]) == (None, 3)
    assert conditions(status) == {
        "Available": ("False", "MinimumReplicasUnavailable"),
        "Progressing": ("True", "ReplicaSetUpdated"),
    }


def test_pods_that_stay_unready_exceed_the_progress_deadline() -> None:
    first = deployment_status(deployment(progressDeadlineSeconds=30), ready=False, now=NOW)
    waiting = deployment(first, progressDeadlineSeconds=30)
    before = deployment_status(waiting, ready=False, now=NOW + timedelta(seconds=30))
    after = deployment_status(waiting, ready=False, now=NOW + timedelta(seconds=31))
    assert conditions(before)["Progressing"] == ("True", "ReplicaSetUpdated")
    assert conditions(after)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    still = deployment_status(deployment(after), ready=False, now=NOW + timedelta(days=1))
    assert conditions(still)["Progressing"] == ("False", "ProgressDeadlineExceeded")


def test_a_condition_that_stays_keeps_its_times() -> None:
    first = deployment_status(deployment(), ready=True, now=NOW)
    later = deployment_status(deployment(first), ready=True, now=NOW + timedelta(minutes=5))
    assert later["conditions"] == first["conditions"]


def test_a_condition_that_turns_says_when() -> None:
    first = deployment_status(deployment(), ready=True, now=NOW)
    later = deployment_status(deployment(first), ready=False, now=NOW + timedelta(minutes=5))
    found = {condition["type"]: condition for condition in later["conditions"]}
    assert found["Available"]["status"] == "False"
    assert found["Available"]["lastTransitionTime"] == "2026-01-01T12:05:00Z"
    assert found["Progressing"]["reason"] == "NewReplicaSetAvailable"


def test_nothing_wanted_is_nothing_missing() -> None:
    status = deployment_status(deployment(replicas=0), ready=False, now=NOW)
    assert status["replicas"] is None
    assert conditions(status)["Available"] == ("True", "MinimumReplicasAvailable")
