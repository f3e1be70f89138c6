"""Policies from files and from objects: which of them counts, and what is said where none does."""

import asyncio
import json
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster, JsonObject
from rollout.adapters.policies import Policies
from rollout.adapters.policy_files import PolicyFiles
from rollout.adapters.policy_objects import PolicyObjects
from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_duration
from rollout.core.release import API_VERSION
from rollout.core.route import Problem
from rollout.ports import Outage
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.kubernetes.conftest import Strange, answer, write_kubeconfig

_PATH = f"/apis/{API_VERSION}/namespaces/shop/servicepolicies"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "policies"
    path.mkdir()
    return path


def both(cluster: Cluster, directory: Path) -> Policies:
    files = PolicyFiles(directory)
    files.load()
    return Policies(files, PolicyObjects(cluster))


def write_file(directory: Path, interval: str = "10s", namespace: str = "shop") -> None:
    (directory / "checkout.yaml").write_text(
        f"apiVersion: {API_VERSION}\nkind: ServicePolicy\nmetadata: {{name: checkout, namespace: {namespace}}}\n"
        f"spec: {{interval: {interval}}}\n"
    )


async def create(cluster: Cluster, spec: JsonObject | None, name: str = "checkout") -> None:
    obj = {"apiVersion": API_VERSION, "kind": "ServicePolicy", "metadata": {"name": name}}
    await cluster.create(_PATH, obj if spec is None else obj | {"spec": spec})


def interval_of(found: PolicySpec | Problem) -> str:
    assert isinstance(found, PolicySpec), found
    return format_duration(found.interval)


def code_of(found: PolicySpec | Problem) -> str:
    assert isinstance(found, Problem), found
    return found.code


async def test_an_object_is_found_in_the_services_own_namespace(cluster: Cluster, directory: Path) -> None:
    await create(cluster, {"interval": "20s"})
    policies = both(cluster, directory)
    assert interval_of(await policies.find("shop", "checkout")) == "20s"
    assert code_of(await policies.find("elsewhere", "checkout")) == "no-policy"


@pytest.mark.parametrize("spec", [None, {}], ids=["absent", "empty"])
async def test_an_object_without_a_spec_is_all_defaults(
    cluster: Cluster, directory: Path, spec: JsonObject | None
) -> None:
    await create(cluster, spec)
    assert await both(cluster, directory).find("shop", "checkout") == PolicySpec()


async def test_a_file_is_found_where_there_is_no_object(cluster: Cluster, directory: Path) -> None:
    write_file(directory)
    assert interval_of(await both(cluster, directory).find("shop", "checkout")) == "10s"


async def test_a_service_with_both_is_refused_and_both_places_are_named(cluster: Cluster, directory: Path) -> None:
    write_file(directory)
    await create(cluster, {"interval": "20s"})
    found = await both(cluster, directory).find("shop", "checkout")
    assert code_of(found) == "policy-twice"
    assert isinstance(found, Problem)
    assert f"{directory / 'checkout.yaml'}:3:12" in found.message
    assert "ServicePolicy checkout in namespace shop" in found.message


async def test_an_object_that_is_wrong_is_as_much_a_second_policy(cluster: Cluster, directory: Path) -> None:
    write_file(directory)
    await create(cluster, {"checks": {"latency": {"compare": ["55ms"]}}})
    assert code_of(await both(cluster, directory).find("shop", "checkout")) == "policy-twice"


async def test_the_same_name_in_another_namespace_is_another_service(cluster: Cluster, directory: Path) -> None:
    write_file(directory, namespace="staging")
    await create(cluster, {"interval": "20s"})
    policies = both(cluster, directory)
    assert interval_of(await policies.find("shop", "checkout")) == "20s"
    assert interval_of(await policies.find("staging", "checkout")) == "10s"


async def test_a_wrong_object_is_refused_with_the_path_of_every_error(
    strange: Strange, tmp_path: Path, directory: Path
) -> None:
    spec = {"steps": [{"weight": 10}, {"weight": "100"}], "checks": {"errors": {"max": "5"}}, "intervall": "5s"}
    found = await found_in(strange, tmp_path, directory, spec)
    assert code_of(found) == "policy-invalid"
    assert isinstance(found, Problem)
    for path in ("spec.steps.1.weight: ", "spec.checks.errors.max: ", "spec.intervall: "):
        assert path in found.message


async def test_fields_that_disagree_are_refused_with_the_path_of_the_one_to_change(
    strange: Strange, tmp_path: Path, directory: Path
) -> None:
    found = await found_in(strange, tmp_path, directory, {"deadlines": {"total": "2m"}})
    assert isinstance(found, Problem)
    assert "spec.deadlines.total: " in found.message


async def test_a_message_has_an_end_however_much_is_wrong(strange: Strange, tmp_path: Path, directory: Path) -> None:
    found = await found_in(strange, tmp_path, directory, {f"{number}{'x' * 500}": "x" for number in range(50)})
    assert isinstance(found, Problem)
    assert len(found.message) <= 1000


async def found_in(strange: Strange, tmp_path: Path, directory: Path, spec: JsonObject) -> PolicySpec | Problem:
    """What is found where the API server holds such an object: its definition may be older than we are."""

    async def holding(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(json.dumps({"metadata": {"name": "checkout", "namespace": "shop"}, "spec": spec})))

    async with strange(holding) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        return await both(cluster, directory).find("shop", "checkout")


async def test_where_there_is_none_both_places_are_named(cluster: Cluster, directory: Path) -> None:
    found = await both(cluster, directory).find("shop", "checkout")
    assert code_of(found) == "no-policy"
    assert isinstance(found, Problem)
    assert str(directory) in found.message
    assert "ServicePolicy checkout in namespace shop" in found.message


async def test_a_name_that_no_object_can_have_is_not_asked_for(cluster: Cluster, directory: Path) -> None:
    policies = both(cluster, directory)
    assert code_of(await policies.find("shop", "../checkout")) == "no-policy"
    assert code_of(await policies.find("a/b", "checkout")) == "no-policy"


async def test_an_api_that_does_not_answer_is_an_outage_even_beside_a_file(
    server: KubernetesServer, cluster: Cluster, directory: Path
) -> None:
    write_file(directory)
    server.faults.add(resource="servicepolicies", status=503)
    with pytest.raises(Outage):
        await both(cluster, directory).find("shop", "checkout")


async def test_objects_that_may_not_be_read_are_refused_with_the_right_that_is_missing(
    server: KubernetesServer, cluster: Cluster, directory: Path
) -> None:
    server.faults.add(resource="servicepolicies", status=403)
    found = await both(cluster, directory).find("shop", "checkout")
    assert code_of(found) == "policy-unreadable"
    assert isinstance(found, Problem)
    assert "`get` servicepolicies of rollout.dev in namespace shop" in found.message


async def test_a_file_counts_where_objects_may_not_be_read(
    server: KubernetesServer, cluster: Cluster, directory: Path
) -> None:
    write_file(directory)
    server.faults.add(resource="servicepolicies", status=403)
    assert interval_of(await both(cluster, directory).find("shop", "checkout")) == "10s"


@pytest.mark.parametrize("code", [403, 404])
async def test_a_cluster_without_the_kind_has_no_objects(
    strange: Strange, tmp_path: Path, directory: Path, code: int
) -> None:
    async def without(head: str, writer: asyncio.StreamWriter) -> None:
        if "servicepolicies" in head.partition("\r\n")[0]:
            writer.write(answer("404 page not found\n", code, "text/plain"))
        else:
            writer.write(answer(json.dumps({"kind": "APIResourceList", "resources": [{"name": "releases"}]})))

    async with strange(without) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        assert code_of(await both(cluster, directory).find("shop", "checkout")) == "no-policy"
        write_file(directory)
        assert interval_of(await both(cluster, directory).find("shop", "checkout")) == "10s"


async def test_discovery_that_makes_no_sense_is_an_outage(strange: Strange, tmp_path: Path, directory: Path) -> None:
    async def senseless(head: str, writer: asyncio.StreamWriter) -> None:
        denied = "servicepolicies" in head.partition("\r\n")[0]
        writer.write(answer("{}", 403 if denied else 200))

    async with strange(senseless) as url, await Cluster.connect(write_kubeconfig(tmp_path / "k", url)) as cluster:
        with pytest.raises(Outage):
            await both(cluster, directory).find("shop", "checkout")
