"""A Kubernetes Job as a gate: it is made once, and its end is the answer.

Belongs here: the Job's name and what is added to the administrator's template, the meaning of its conditions. Does not
belong here: which templates there are (`administration.py`), when it is looked at again (`core/waiting.py`).

The Job is named after the question's key, so that Kubernetes itself refuses a second one. It is never deleted by us:
people want to read its logs, and `ttlSecondsAfterFinished` cleans up.
"""

import copy
from datetime import timedelta
from typing import Any, Final

from rollout.adapters.cluster import Cluster, Denied, JsonObject
from rollout.adapters.hearsay import short_line
from rollout.administration import JobTemplate
from rollout.core.gating import Answer, Question
from rollout.ports import Conflict, NotFound, Outage, Refused

_AGAIN: Final = timedelta(seconds=5)
_KEPT_S: Final = 86_400
"""How long a Job is kept after its end, unless its template says."""


class JobGate:
    """Runs Jobs."""

    def __init__(self, api: Cluster) -> None:
        self._api = api

    async def ask(self, question: Question, template: JobTemplate) -> Answer:
        """Make the Job unless it was made, and look how it is. Raises nothing."""
        name, path = name_of(question), f"/apis/batch/v1/namespaces/{question.namespace}/jobs"
        try:
            if not question.begun:
                try:
                    return meaning(await self._api.create(path, job_of(question, template)))
                except Conflict:
                    pass
            return meaning(await self._api.get(f"{path}/{name}"))
        except NotFound:
            # Its outcome is lost; a second one would do everything twice.
            return Answer("failed", f"Job {name} is gone")
        except Denied as error:
            # Quotas and missing rights are both 403, and both may be mended by somebody while we ask again.
            return Answer("unavailable", f"Job {name} cannot be run: {short_line(error)}")
        except (Refused, Conflict) as error:
            return Answer("failed", f"Job {name} was not accepted, the administrator must mend it: {short_line(error)}")
        except Outage as error:
            return Answer("unavailable", f"Job {name}: {short_line(error)}")


def name_of(question: Question) -> str:
    """`rollout-` and the key: the same for every attempt, another for every release and gate."""
    return f"rollout-{question.key}"


def job_of(question: Question, template: JobTemplate) -> JsonObject:
    """The Job to make: the template, told through the environment which release it is about.

    Where the template says nothing: a pod that fails is not restarted in its place, the Job ends when the gate's time
    is up, and is kept for a day after its end.
    """
    gate = question.gate
    labels = {
        "app.kubernetes.io/managed-by": "rollout",
        "rollout.dev/service": question.service,
        "rollout.dev/gate": gate.name,
    }
    spec: JsonObject = copy.deepcopy(template.template)
    spec.setdefault("ttlSecondsAfterFinished", _KEPT_S)
    spec.setdefault("activeDeadlineSeconds", max(1, round(gate.timeout.total_seconds())))
    pods = spec["template"]
    pods["metadata"] = {**(pods.get("metadata") or {})}
    pods["metadata"]["labels"] = {**(pods["metadata"].get("labels") or {}), **labels}
    pod = pods["spec"]
    pod.setdefault("restartPolicy", "Never")
    ours = environment(question)
    for container in [*(pod.get("initContainers") or []), *pod["containers"]]:
        theirs = [one for one in container.get("env") or [] if one.get("name") not in ours]
        container["env"] = [*theirs, *({"name": name, "value": value} for name, value in ours.items())]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name_of(question),
            "namespace": question.namespace,
            "labels": labels,
            "annotations": {"rollout.dev/release": question.release, "rollout.dev/release-uid": question.uid},
        },
        "spec": spec,
    }


def environment(question: Question) -> dict[str, str]:
    """What every container of the Job finds in its environment."""
    return {
        "ROLLOUT_NAMESPACE": question.namespace,
        "ROLLOUT_RELEASE": question.release,
        "ROLLOUT_SERVICE": question.service,
        "ROLLOUT_VERSION": question.version,
        "ROLLOUT_STABLE": question.stable,
        "ROLLOUT_GATE": question.gate.name,
        "ROLLOUT_BEFORE": str(question.gate.before),
        "ROLLOUT_WEIGHT": str(question.weight),
        "ROLLOUT_KEY": question.key,
    }


def meaning(job: JsonObject) -> Answer:
    """`Complete` is yes, `Failed` is no, anything else not yet (k8s.io/api/batch/v1, JobConditionType)."""
    name = job["metadata"]["name"]
    status: dict[str, Any] = job.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("status") != "True":
            continue
        if condition.get("type") == "Complete":
            return Answer("passed", f"Job {name} completed")
        if condition.get("type") == "Failed":
            said = short_line(condition.get("message") or condition.get("reason") or "no reason given")
            return Answer("failed", f"Job {name} failed: {said}")
    return Answer("waiting", f"Job {name} runs", _AGAIN)
