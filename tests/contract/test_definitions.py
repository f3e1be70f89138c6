"""Our kinds on a real API server: what it accepts, what it refuses as the models do, and what kubectl shows."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from rollout.adapters.cluster import Cluster
from rollout.adapters.releases import ClusterReleases
from rollout.core.conditions import conditions
from rollout.core.freeze import FreezeSpec
from rollout.core.policy import PolicySpec, ServicePolicy
from rollout.core.release import API_VERSION, Approval, Phase, Reason, Release, Status
from rollout.sandbox.control_plane import ControlPlane
from tests.contract.policy_corpus import BAD, GOOD, LEFT_TO_THE_MODEL, mixed
from tests.contract.release_stages import NOON, SPEC, full_status

JsonObject = dict[str, Any]
Kubectl = Callable[..., Coroutine[Any, Any, str]]

_KUBECTL = shutil.which("kubectl")
_DRY = {"dryRun": "All", "fieldValidation": "Strict"}
_MOST_AT_ONCE = 20


@pytest.fixture
async def http(control_plane: ControlPlane) -> AsyncIterator[httpx2.AsyncClient]:
    async with control_plane.client() as client:
        yield client


@pytest.fixture
async def releases(control_plane: ControlPlane, real_namespace: str, tmp_path: Path) -> AsyncIterator[ClusterReleases]:
    kubeconfig = tmp_path / "kubeconfig"
    control_plane.write_kubeconfig(kubeconfig, real_namespace)
    async with await Cluster.connect(kubeconfig) as cluster:
        yield ClusterReleases(cluster)


@pytest.fixture
def kubectl(control_plane: ControlPlane, real_namespace: str, tmp_path: Path) -> Kubectl:
    if _KUBECTL is None:
        pytest.skip("kubectl is not on PATH")
    kubeconfig = tmp_path / "kubectl.kubeconfig"
    control_plane.write_kubeconfig(kubeconfig, real_namespace)
    environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    async def run(*arguments: str, code: int = 0) -> str:
        assert _KUBECTL is not None
        process = await asyncio.create_subprocess_exec(
            _KUBECTL, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(30):
                out, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode == code, out.decode()
        return out.decode()

    return run


def _path(namespace: str, plural: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}"


def _policy(spec: JsonObject) -> JsonObject:
    return {"apiVersion": API_VERSION, "kind": "ServicePolicy", "metadata": {"name": "checkout"}, "spec": spec}


async def _refusal(http: httpx2.AsyncClient, path: str, obj: JsonObject) -> JsonObject | None:
    """The failure that the server answers; None where it accepts the object."""
    answer = await http.post(path, params=_DRY, json=obj)
    assert answer.status_code in {201, 400, 422}, answer.text
    return None if answer.status_code == 201 else answer.json()


def _model_accepts(spec: JsonObject) -> bool:
    try:
        policy = _policy(spec)
        named = policy | {"metadata": {**policy["metadata"], "namespace": "default"}}
        ServicePolicy.model_validate(named, by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


# The definitions


@pytest.mark.parametrize("name", ["releases", "servicepolicies", "freezes"])
async def test_the_definition_is_established_and_structural(http: httpx2.AsyncClient, name: str) -> None:
    told: dict[str, str] = {}
    async with asyncio.timeout(10):
        # The status follows a moment after the definition is served.
        while told.get("Established") != "True":
            answer = await http.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}.rollout.dev")
            told = {one["type"]: one["status"] for one in answer.json()["status"].get("conditions") or ()}
    assert told["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in told


# Policies: the model and the server


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_policy_is_accepted(http: httpx2.AsyncClient, name: str) -> None:
    assert _model_accepts(GOOD[name])
    assert await _refusal(http, _path("default", "servicepolicies"), _policy(GOOD[name])) is None


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_policy_is_refused_where_it_is_bad(http: httpx2.AsyncClient, name: str) -> None:
    assert not _model_accepts(BAD[name])
    refusal = await _refusal(http, _path("default", "servicepolicies"), _policy(BAD[name]))
    assert refusal is not None
    if refusal["reason"] == "Invalid":
        # Of deadlines and holds that disagree, the deadline is the one to change.
        parts = tuple(f"spec.{part}" for part in (*BAD[name], "deadlines"))
        assert any(cause["field"].startswith(parts) for cause in refusal["details"]["causes"]), refusal


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_policy_is_refused_inside_a_release_too(http: httpx2.AsyncClient, name: str) -> None:
    spec = {"service": "checkout", "version": "v2", "policy": BAD[name]}
    release = {"apiVersion": API_VERSION, "kind": "Release", "metadata": {"generateName": "checkout-"}, "spec": spec}
    assert await _refusal(http, _path("default", "releases"), release) is not None


@pytest.mark.parametrize("name", LEFT_TO_THE_MODEL)
async def test_what_the_server_cannot_see_is_refused_by_the_model(http: httpx2.AsyncClient, name: str) -> None:
    assert not _model_accepts(LEFT_TO_THE_MODEL[name])
    assert await _refusal(http, _path("default", "servicepolicies"), _policy(LEFT_TO_THE_MODEL[name])) is None


async def test_any_mixture_is_judged_by_the_server_as_by_the_model(http: httpx2.AsyncClient) -> None:
    policies = list(mixed(seed=4, count=400))
    turns = asyncio.Semaphore(_MOST_AT_ONCE)

    async def accepted(spec: JsonObject) -> bool:
        async with turns:
            return await _refusal(http, _path("default", "servicepolicies"), _policy(spec)) is None

    by_server = await asyncio.gather(*map(accepted, policies))
    by_model = [*map(_model_accepts, policies)]
    assert [policy for policy, one, other in zip(policies, by_server, by_model, strict=True) if one != other] == []
    assert 100 < sum(by_model) < 300


async def test_the_message_says_what_was_expected(http: httpx2.AsyncClient) -> None:
    refusal = await _refusal(http, _path("default", "servicepolicies"), _policy(BAD["falling"]))
    assert refusal is not None
    assert {"field": "spec.steps", "reason": "FieldValueInvalid"} in [
        {key: cause[key] for key in ("field", "reason")} for cause in refusal["details"]["causes"]
    ]


@pytest.mark.parametrize(
    "file", ["config/minimal.yaml", "config/full.yaml", "config/routes.yaml", "config/schedule.yaml"]
)
async def test_the_examples_are_accepted(http: httpx2.AsyncClient, file: str) -> None:
    for policy in YAML(typ="safe", pure=True).load_all(Path(file)):
        policy["metadata"]["namespace"] = "default"
        assert await _refusal(http, _path("default", "servicepolicies"), policy) is None


# Releases


@pytest.mark.parametrize(
    "change",
    [
        {"service": "cart"},
        {"version": "v3"},
        {"policy": {"interval": "5s"}},
        {"source": {"actor": "somebody else"}},
        {"source": None},
        {"onConflict": "supersede"},
        {"notBefore": "2026-11-21T12:00:00Z"},
        {"approvals": []},
        {"approvals": [{"gate": "tests", "by": "eve"}]},
        {"approvals": [{"gate": "other"}]},
    ],
    ids="-".join,
)
async def test_what_a_release_is_about_cannot_be_changed(
    http: httpx2.AsyncClient, releases: ClusterReleases, real_namespace: str, change: JsonObject
) -> None:
    approved = SPEC.model_copy(update={"approvals": (Approval(gate="tests", by="ann"),)})
    release = await releases.create(real_namespace, "one", approved)
    path = f"{_path(real_namespace, 'releases')}/one"
    headers = {"content-type": "application/merge-patch+json"}
    answer = await http.patch(path, content=json.dumps({"spec": change}), headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
    assert await releases.get(real_namespace, "one") == release


async def test_every_wish_may_be_made_and_a_pause_taken_back(
    http: httpx2.AsyncClient, releases: ClusterReleases, real_namespace: str
) -> None:
    await releases.create(real_namespace, "one", SPEC.model_copy(update={"policy": PolicySpec()}))
    path, headers = f"{_path(real_namespace, 'releases')}/one", {"content-type": "application/merge-patch+json"}
    wishes: tuple[JsonObject, ...] = (
        {"pause": {"by": "ann", "reason": "lunch"}},
        {"pause": None},
        {"resume": {"at": "2026-11-21T12:00:00Z"}},
        {"promote": {"step": 0}},
        {"approvals": [{"gate": "tests", "by": "ann"}]},
        {"approvals": [{"gate": "board", "by": "bob", "reason": "fine"}, {"gate": "tests", "by": "ann"}]},
        {"onConflict": None},
        {"onConflict": "reject"},
        {"abort": {}},
    )
    for wish in wishes:
        answer = await http.patch(path, content=json.dumps({"spec": wish}), headers=headers)
        assert answer.status_code == 200, answer.text
    read = await releases.get(real_namespace, "one")
    assert read is not None
    assert (read.problem, read.spec.pause, read.spec.abort is not None) == ("", None, True)


@pytest.mark.parametrize(
    "wish",
    [
        {"promote": {}},
        {"promote": {"step": 20}},
        {"pause": True},
        {"abort": {"who": "x"}},
        {"approvals": [{"by": "ann"}]},
        {"onConflict": "replace"},
        {"notBefore": "tomorrow"},
        {"policy": {"after": ["checkout"]}},
    ],
    ids=str,
)
async def test_a_wish_that_makes_no_sense_is_refused(http: httpx2.AsyncClient, wish: JsonObject) -> None:
    spec = {"service": "checkout", "version": "v2", **wish}
    release = {"apiVersion": API_VERSION, "kind": "Release", "metadata": {"name": "one"}, "spec": spec}
    assert await _refusal(http, _path("default", "releases"), release) is not None


async def test_a_whole_status_is_stored_as_it_was_saved(releases: ClusterReleases, real_namespace: str) -> None:
    release = await releases.create(real_namespace, "one", SPEC)
    status = full_status()
    status = status.model_copy(update={"conditions": conditions(status, NOON), "progress": "1/4"})
    saved = await releases.save(release, status)
    assert saved.status == status
    assert await releases.get(real_namespace, "one") == saved


async def test_what_a_newer_controller_remembers_is_not_dropped(
    http: httpx2.AsyncClient, releases: ClusterReleases, real_namespace: str
) -> None:
    await releases.create(real_namespace, "one", SPEC)
    path, headers = f"{_path(real_namespace, 'releases')}/one/status", {"content-type": "application/merge-patch+json"}
    status = {"surprise": {"deep": [1, "two"]}, "evidence": {"surprise": 1}}
    answer = await http.patch(path, content=json.dumps({"status": status}), headers=headers)
    assert answer.json()["status"] == status


# Freezes


def _freeze(**spec: object) -> JsonObject:
    return {"apiVersion": API_VERSION, "kind": "Freeze", "metadata": {"name": "one"}, "spec": spec}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"service": "checkout"},
        {"everywhere": True},
        {"everywhere": False, "service": "checkout"},
        {"until": "2026-12-24T12:00:00Z", "reason": "audit", "by": "ann", "at": "2026-11-21T12:00:00.123Z"},
    ],
    ids=str,
)
async def test_a_freeze_is_stored_as_the_model_writes_it(
    http: httpx2.AsyncClient, real_namespace: str, spec: JsonObject
) -> None:
    read = FreezeSpec.model_validate(spec, by_alias=True, by_name=False)
    answer = await http.post(_path(real_namespace, "freezes"), json=_freeze(**read.wire()))
    assert answer.status_code == 201, answer.text
    assert FreezeSpec.model_validate(answer.json()["spec"]) == read


@pytest.mark.parametrize(
    "spec",
    [
        {"everywhere": True, "service": "checkout"},
        {"everywhere": "yes"},
        {"service": "Checkout"},
        {"until": "tomorrow"},
        {"reason": "x" * 1025},
        {"because": "x"},
    ],
    ids=str,
)
async def test_a_freeze_that_makes_no_sense_is_refused(http: httpx2.AsyncClient, spec: JsonObject) -> None:
    with pytest.raises(ValidationError):
        FreezeSpec.model_validate(spec, by_alias=True, by_name=False)
    assert await _refusal(http, _path("default", "freezes"), _freeze(**spec)) is not None


async def test_a_freeze_of_a_namespace_needs_no_spec(http: httpx2.AsyncClient) -> None:
    freeze = _freeze()
    del freeze["spec"]
    assert await _refusal(http, _path("default", "freezes"), freeze) is None


async def test_a_freeze_may_be_changed(http: httpx2.AsyncClient, real_namespace: str) -> None:
    await http.post(_path(real_namespace, "freezes"), json=_freeze(service="checkout", reason="audit"))
    headers = {"content-type": "application/merge-patch+json"}
    change = json.dumps({"spec": {"service": None, "until": "2026-12-24T12:00:00Z"}})
    answer = await http.patch(f"{_path(real_namespace, 'freezes')}/one", content=change, headers=headers)
    assert answer.json()["spec"] == {"reason": "audit", "until": "2026-12-24T12:00:00Z"}


# kubectl


async def test_kubectl_shows_what_is_frozen(kubectl: Kubectl, http: httpx2.AsyncClient, real_namespace: str) -> None:
    spec = {"service": "checkout", "until": "2026-12-24T12:00:00Z", "reason": "audit", "by": "ann"}
    answer = await http.post(_path(real_namespace, "freezes"), json=_freeze(**spec))
    assert answer.status_code == 201
    head, row = (await kubectl("get", "freezes")).splitlines()
    assert head.split() == ["NAME", "SERVICE", "EVERYWHERE", "UNTIL", "REASON", "BY", "AGE"]
    assert row.split()[:5] == ["one", "checkout", "2026-12-24T12:00:00Z", "audit", "ann"]


async def _saved(releases: ClusterReleases, namespace: str, status: Status) -> Release:
    release = await releases.get(namespace, "one") or await releases.create(namespace, "one", SPEC)
    status = status.model_copy(update={"observed_generation": release.generation})
    return await releases.save(release, status.model_copy(update={"conditions": conditions(status, NOON)}))


async def test_kubectl_shows_where_a_release_stands(
    kubectl: Kubectl, releases: ClusterReleases, real_namespace: str
) -> None:
    await _saved(releases, real_namespace, full_status().model_copy(update={"progress": "1/4", "message": "so far"}))
    head, row = (await kubectl("get", "rel")).splitlines()
    assert head.split() == ["NAME", "SERVICE", "VERSION", "PHASE", "WEIGHT", "STEP", "REASON", "AGE"]
    assert row.split()[:7] == ["one", "checkout", "v2", "Analysing", "10", "1/4", "Holding"]
    head, row = (await kubectl("get", "rel", "-o", "wide")).splitlines()
    assert head.split()[-2:] == ["STABLE", "MESSAGE"]
    assert row.endswith("so far")
    assert "one" in await kubectl("get", "rollout-dev")


async def test_kubectl_shows_policies_by_their_short_name(
    kubectl: Kubectl, http: httpx2.AsyncClient, real_namespace: str
) -> None:
    policy = _policy({"steps": [{"weight": 5}, {"weight": 100}], "interval": "10s"})
    answer = await http.post(_path(real_namespace, "servicepolicies"), json=policy)
    assert answer.status_code == 201
    head, row = (await kubectl("get", "rpol")).splitlines()
    assert head.split() == ["NAME", "INTERVAL", "AGE"]
    assert row.split()[0] == "checkout"
    assert "10s" in row


async def test_kubectl_waits_for_the_end_and_for_a_good_one(
    kubectl: Kubectl, releases: ClusterReleases, real_namespace: str
) -> None:
    await _saved(releases, real_namespace, full_status())
    await kubectl("wait", "--for=condition=Finished", "--timeout=1s", "rel/one", code=1)
    await kubectl("wait", "--for=condition=Promoted=false", "--timeout=1s", "rel/one", code=1)
    waiting = asyncio.create_task(kubectl("wait", "--for=condition=Finished", "--timeout=20s", "rel/one"))
    over = Status(phase=Phase.ROLLED_BACK, reason=Reason.CHECK_FAILED, finished_at=NOON + timedelta(minutes=1))
    await _saved(releases, real_namespace, over)
    await waiting
    await kubectl("wait", "--for=condition=Promoted", "--timeout=1s", "rel/one", code=1)
    await kubectl("wait", "--for=condition=Promoted=false", "--timeout=1s", "rel/one")


async def test_kubectl_explains_every_field_that_people_write(kubectl: Kubectl) -> None:
    fields = ("rel.spec", "rel.spec.abort", "rel.spec.approvals", "rel.spec.source", "rel.spec.policy", "rel.status")
    written = ("rpol.spec", "rpol.spec.schedule.windows", "rpol.spec.gates", "rpol.spec.allowedTriggers", "freeze.spec")
    for field in (*fields, "rel.status.conditions", *written):
        told = await kubectl("explain", field)
        assert "<no description>" not in told
        for one in filter(str.strip, told.partition("FIELDS:\n")[2].split("\n\n")):
            assert len(one.strip().splitlines()) > 1, f"{field} says nothing about {one.strip()}"
