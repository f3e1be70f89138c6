"""deploy/components/gates-jobs and settings: the right to make the Jobs of gates, and no others, and a file to read."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster as Connection
from rollout.adapters.config_file import read
from rollout.adapters.job_gate import JobGate, job_of
from rollout.administration import JobTemplate
from rollout.core.gating import Gate, Question
from tests.deploy.cluster import ROOT, Cluster, create, question, until

JOBS = "/apis/batch/v1/namespaces/shop/jobs"
_KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{resources}]
components: [{components}]
"""
_CONTAINERS = [{"name": "smoke", "image": "example.com/smoke:1"}]


def asked(release: str) -> Question:
    gate = Gate(name="smoke", kind="job", use="smoke")
    return Question("shop", release, f"uid-of-{release}", "checkout", "v2", "v1", None, 0, gate, 1)


def template(**pod: Any) -> JobTemplate:
    return JobTemplate(name="smoke", template={"template": {"spec": {"containers": _CONTAINERS, **pod}}})


def write(folder: Path, resources: list[str], components: list[str]) -> Path:
    """An overlay, as an administrator would write it beside a copy of `deploy/`."""
    folder.mkdir(parents=True, exist_ok=True)
    lists = [
        ", ".join(os.path.relpath(ROOT / "deploy" / one, folder.resolve()) for one in kind)
        for kind in (resources, components)
    ]
    (folder / "kustomization.yaml").write_text(_KUSTOMIZATION.format(resources=lists[0], components=lists[1]))
    return folder


@pytest.fixture
def with_jobs(cluster: Cluster, cluster_wide: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """The cluster-wide installation with the component, taken back afterwards."""
    del cluster_wide
    cluster.apply(write(tmp_path / "overlay", ["overlays/cluster-wide"], ["components/gates-jobs"]))
    yield cluster
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        cluster.kubectl("delete", kind, "rollout-jobs")
    cluster.apply("deploy/overlays/cluster-wide")


async def connect(cluster: Cluster, folder: Path) -> Connection:
    """As the controller."""
    cluster.plane.write_kubeconfig(folder / "kubeconfig", "shop", await cluster.token())
    return await Connection.connect(folder / "kubeconfig")


async def test_the_controller_may_make_the_jobs_of_gates_and_no_others(with_jobs: Cluster, tmp_path: Path) -> None:
    may = [question("batch", "jobs", verb, "shop") for verb in ("create", "get")]
    may_not = [question("batch", "jobs", verb, "shop") for verb in ("list", "watch", "update", "patch", "delete")]
    may_not += [question("batch", "cronjobs", "create", "shop"), question("", "pods", "create", "shop")]

    async def in_force() -> bool:
        return await with_jobs.allowed([*may, *may_not]) == [True] * len(may) + [False] * len(may_not)

    await until(in_force)
    async with with_jobs.plane.client(await with_jobs.token()) as http:

        async def refused(job: dict[str, Any]) -> bool:
            answer = await http.post(JOBS, json=job, params={"dryRun": "All"})
            return bool(answer.status_code == 422)

        plain = job_of(asked("plain"), template())
        # The API server compiles a policy some time after it is written.
        await until(partial(refused, plain | {"metadata": {**plain["metadata"], "name": "backdoor"}}))
        # Without any, Kubernetes takes the labels of the pods.
        unlabelled = {**plain, "metadata": {**plain["metadata"], "labels": {"some": "other"}}}
        beyond = (
            template(hostNetwork=True),
            template(hostPID=True),
            template(hostIPC=True),
            template(volumes=[{"name": "root", "hostPath": {"path": "/"}}]),
            template(containers=[{**_CONTAINERS[0], "securityContext": {"privileged": True}}]),
            template(initContainers=[{**_CONTAINERS[0], "name": "i", "securityContext": {"privileged": True}}]),
        )
        for job in (unlabelled, *(job_of(asked("beyond"), one) for one in beyond)):
            assert await refused(job), job
        # Nobody else is concerned.
        async with with_jobs.plane.client() as admin:
            await create(admin, JOBS, plain | {"metadata": {"name": "of-somebody"}})
    async with await connect(with_jobs, tmp_path) as api:
        assert (await JobGate(api).ask(asked("real"), template())).outcome == "waiting"


def test_for_one_namespace_it_is_a_role_there(cluster: Cluster, tmp_path: Path) -> None:
    order = ["components/gates-jobs", "components/one-namespace"]
    for number, components in enumerate((order, order[::-1])):
        overlay = write(tmp_path / f"one-{number}", ["rights"], components)
        (overlay / "kustomization.yaml").write_text(
            "namespace: shop\n" + (overlay / "kustomization.yaml").read_text(encoding="utf-8")
        )
        made = cluster.kubectl("kustomize", overlay).stdout
        [role] = [one for one in made.split("\n---\n") if "\nkind: Role\n" in one]
        assert "- jobs\n" in role
        assert "kind: ClusterRole\n" not in made


def test_the_settings_are_mounted_where_the_controller_reads_them(cluster: Cluster, tmp_path: Path) -> None:
    overlay = write(tmp_path / "settings", ["base"], ["components/settings"])
    made = cluster.kubectl("kustomize", overlay).stdout
    [deployment] = [one for one in made.split("\n---\n") if "\nkind: Deployment\n" in one]
    [config] = [
        one for one in made.split("\n---\n") if "name: rollout-settings-" in one and "\nkind: ConfigMap\n" in one
    ]
    name = config.split("name: rollout-settings-")[1].split("\n")[0]
    assert f"name: rollout-settings-{name}" in deployment
    assert "- --config=/etc/rollout/settings/settings.yaml\n" in deployment
    assert "mountPath: /etc/rollout/settings\n" in deployment
    assert "mountPath: /etc/rollout/secrets\n" in deployment
    read((ROOT / "deploy/components/settings/settings.yaml").read_bytes(), "settings.yaml")
