"""The whole preflight, against the embedded API and the real one: what is read, tried out, refused, and left alone."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.preflight.inspector import ClusterPreflight
from rollout.adapters.preflight.mesh_series import MeshSeries, PrometheusSeries
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Report
from rollout.core.route import Leg, Target, Unavailable
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.adapters.preflight.shapes import (
    JsonObject,
    deployment,
    destination_rule,
    istio,
    series,
    service,
    target,
    to,
    virtual_service,
)
from tests.fakes.clock import FakeClock
from tests.given import NOW

PATIENCE = 15.0
_NO_CLAIM = "!has(object.metadata.annotations) || !('rollout.dev/epoch' in object.metadata.annotations)"
_numbers = itertools.count(1)
_COLLECTIONS = {
    "Service": "/api/v1/namespaces/{}/services",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "VirtualService": "/apis/networking.istio.io/v1/namespaces/{}/virtualservices",
    "DestinationRule": "/apis/networking.istio.io/v1/namespaces/{}/destinationrules",
    "Telemetry": "/apis/telemetry.istio.io/v1/namespaces/{}/telemetries",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


class Told(PrometheusSeries):
    """A Prometheus that says what a test says."""

    def __init__(self, answer: MeshSeries | Unavailable) -> None:
        self.answer = answer

    async def read(self, _hosts: object, _now: datetime) -> MeshSeries | Unavailable:
        return self.answer


@dataclass
class Shop:
    """A namespace with checkout in it, on one of the servers; objects of `shop` are put there."""

    cluster: Cluster
    namespace: str
    prometheus: Told
    server: KubernetesServer | None = None
    plane: ControlPlane | None = None

    def here(self, obj: JsonObject) -> JsonObject:
        moved: JsonObject = json.loads(json.dumps(obj).replace("shop", self.namespace))
        return moved

    async def put(self, obj: JsonObject) -> JsonObject:
        moved = self.here(obj)
        return await self.cluster.create(_COLLECTIONS[moved["kind"]].format(moved["metadata"]["namespace"]), moved)

    async def change(self, kind: str, *operations: JsonObject, name: str = "checkout") -> None:
        await self.cluster.patch(f"{_COLLECTIONS[kind].format(self.namespace)}/{name}", operations)

    async def revisions(self) -> list[str]:
        paths = [_COLLECTIONS[kind].format(self.namespace) for kind in ("VirtualService", "DestinationRule")]
        return [(await self.cluster.get(f"{path}/checkout"))["metadata"]["resourceVersion"] for path in paths]

    def target(self, **changes: Any) -> Target:
        legs = (Leg(self.namespace, "checkout"),)
        return target(**{"namespace": self.namespace, "legs": legs, "stable": None} | changes)

    async def inspected(self, policy: PolicySpec | None = None, **changes: Any) -> Report:
        preflight = ClusterPreflight(self.cluster, self.prometheus, FakeClock(NOW))
        report = await preflight.inspect(self.target(**changes), policy or PolicySpec())
        assert isinstance(report, Report), report
        return report

    async def errors(self, **changes: Any) -> set[str]:
        return {one.code for one in (await self.inspected(**changes)).errors}


def warned(report: Report) -> set[tuple[str, str]]:
    """(code, object) of the warnings. Whether pods are ready by now is their nodes' business, and there are none."""
    return {(one.code, one.object) for one in report.warnings if one.code != "canary-not-ready"}


@pytest.fixture(params=["embedded", "real"])
def plane(request: pytest.FixtureRequest) -> ControlPlane | None:
    if request.param == "embedded":
        return None
    found: ControlPlane = request.getfixturevalue("control_plane")
    return found


async def _shop(
    path: Path, namespace: str, server: KubernetesServer | None, plane: ControlPlane | None
) -> AsyncIterator[Shop]:
    (server or plane).write_kubeconfig(path, namespace)  # type: ignore[union-attr] # one of them is there
    async with await Cluster.connect(path) as cluster:
        await cluster.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        made = Shop(cluster, namespace, Told(series()), server, plane)
        for obj in (service(), destination_rule("v1"), virtual_service(), deployment("v1"), deployment("v2")):
            await made.put(obj)
        yield made
        http = httpx2.AsyncClient(base_url=server.url) if server else plane.client()  # type: ignore[union-attr] # same
        async with http:
            await http.delete(f"/api/v1/namespaces/{namespace}")


@pytest.fixture
async def shop(plane: ControlPlane | None, tmp_path: Path) -> AsyncIterator[Shop]:
    """On both servers."""
    server = KubernetesServer() if plane is None else None
    if server is not None:
        await server.start()
    try:
        async for made in _shop(tmp_path / "kubeconfig", f"preflight-{next(_numbers)}", server, plane):
            yield made
    finally:
        if server is not None:
            await server.stop()


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Shop]:
    """Where the API can be made to fail."""
    server = KubernetesServer()
    await server.start()
    try:
        async for made in _shop(tmp_path / "kubeconfig", f"preflight-{next(_numbers)}", server, None):
            yield made
    finally:
        await server.stop()


@pytest.fixture
async def real(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Shop]:
    """Where there are rights, admission and all of Istio's kinds."""
    async for made in _shop(tmp_path / "kubeconfig", f"preflight-{next(_numbers)}", None, control_plane):
        yield made


async def test_where_all_is_well_there_is_no_error_and_the_label_is_chosen(shop: Shop) -> None:
    report = await shop.inspected()
    assert not report.errors
    assert report.version_label == "destination_workload"
    assert not warned(report)


async def test_nothing_is_written(shop: Shop) -> None:
    before = await shop.revisions()
    await shop.inspected()
    await shop.change(
        "DestinationRule",
        {"op": "add", "path": "/spec/subsets/-", "value": {"name": "v2", "labels": {"version": "v2"}}},
    )
    middle = await shop.revisions()
    await shop.inspected()
    assert (before[0], middle) == (middle[0], await shop.revisions())


async def test_a_rule_in_a_client_s_namespace_is_found(shop: Shop) -> None:
    web = f"{shop.namespace}-web"
    await shop.cluster.create("/api/v1/namespaces", {"metadata": {"name": web}})
    rule = destination_rule("v1", namespace="shop-web")
    await shop.put(rule)
    client = {"reporter": "source", "source_workload": "front", "source_workload_namespace": web}
    shop.prometheus.answer = series(clients=(client,))
    assert await shop.errors() == {"subset-shadowed"}


async def test_a_rival_and_what_lacks_in_the_objects_are_found_together(shop: Shop) -> None:
    await shop.put(virtual_service(name="a-rival"))
    await shop.change("Service", {"op": "replace", "path": "/spec/ports/0/name", "value": "tcp-x"})
    assert await shop.errors() == {"virtual-service-conflict", "port-not-http"}


async def test_a_route_that_cannot_be_stepped_is_an_error_in_its_own_words(shop: Shop) -> None:
    halves = [to("v1", "checkout", 50), to("v3", "checkout", 50)]
    await shop.change("VirtualService", {"op": "replace", "path": "/spec/http/0/route", "value": halves})
    assert await shop.errors() == {"no-stable"}


async def test_a_route_that_does_not_exist_is_an_error(shop: Shop) -> None:
    assert await shop.errors(legs=(Leg(shop.namespace, "nowhere"),)) == {"virtual-service-missing"}
    both = (Leg(shop.namespace, "checkout"), Leg(shop.namespace, "nowhere"))
    assert await shop.errors(legs=both) == {"virtual-service-missing"}


async def test_a_version_that_has_all_the_traffic_is_an_error(shop: Shop) -> None:
    assert await shop.errors(canary="v1") == {"already-released"}


async def test_a_service_and_a_deployment_that_do_not_exist_are_told_apart(shop: Shop) -> None:
    report = await shop.inspected(canary="v7")
    assert {(one.severity, one.code) for one in report.findings} >= {("warning", "canary-not-ready")}
    assert not report.errors
    await shop.put(virtual_service(name="till", hosts=["till"]))
    assert "service-missing" in await shop.errors(service="till", legs=(Leg(shop.namespace, "till"),))


async def test_no_prometheus_is_an_error_beside_all_others(shop: Shop) -> None:
    shop.prometheus.answer = Unavailable("Prometheus at nowhere is not reachable")
    await shop.put(virtual_service(name="a-rival"))
    report = await shop.inspected()
    assert {one.code for one in report.errors} == {"no-prometheus", "virtual-service-conflict"}
    assert report.version_label is None


async def test_errors_come_first(shop: Shop) -> None:
    await shop.put(virtual_service(name="a-rival"))
    ranks = [["error", "warning", "info"].index(one.severity) for one in (await shop.inspected()).findings]
    assert ranks == sorted(ranks)


async def test_a_patch_that_is_refused_is_an_error_and_one_that_is_not_allowed_another(embedded: Shop) -> None:
    assert embedded.server is not None
    for resource in ("virtualservices", "destinationrules"):
        for status, code in ((400, "dry-run-refused"), (403, "not-allowed")):
            embedded.server.faults.add(verb="patch", resource=resource, status=status)
            assert await embedded.errors() == {code}
            embedded.server.faults.clear()


async def test_what_may_not_be_listed_anywhere_is_a_warning(embedded: Shop) -> None:
    assert embedded.server is not None
    embedded.server.faults.add(verb="list", resource="destinationrules", status=403)
    report = await embedded.inspected()
    assert warned(report) == {("not-looked", "destinationrules.networking.istio.io")}
    assert not report.errors


async def test_with_rights_in_some_namespaces_those_are_looked_at(embedded: Shop) -> None:
    assert embedded.server is not None
    await embedded.put(virtual_service(name="a-rival"))
    embedded.server.faults.add(verb="list", resource="virtualservices", status=403, times=1)
    report = await embedded.inspected()
    assert {one.code for one in report.errors} == {"virtual-service-conflict"}
    assert ("info", "not-looked") in {(one.severity, one.code) for one in report.findings}


@pytest.mark.parametrize("resource", ["services", "deployments", "pods"])
async def test_objects_that_may_not_be_read_are_a_warning_and_not_taken_to_be_missing(
    embedded: Shop, resource: str
) -> None:
    assert embedded.server is not None
    embedded.server.faults.add(resource=resource, status=403)
    report = await embedded.inspected()
    assert {code for code, _ in warned(report)} == {"not-looked"}
    assert not report.errors


@pytest.mark.parametrize("resource", ["services", "virtualservices", "destinationrules", "deployments", "pods"])
async def test_an_api_that_does_not_answer_is_no_report(embedded: Shop, resource: str) -> None:
    assert embedded.server is not None
    embedded.server.faults.add(resource=resource, status=503)
    answer = await ClusterPreflight(embedded.cluster, embedded.prometheus, FakeClock(NOW)).inspect(
        embedded.target(), PolicySpec()
    )
    assert isinstance(answer, Unavailable)


async def test_a_slow_api_ends_in_time_without_a_report(embedded: Shop) -> None:
    assert embedded.server is not None
    embedded.server.faults.add(verb="list", delay_ms=3000)
    preflight = ClusterPreflight(embedded.cluster, embedded.prometheus, FakeClock(NOW), seconds=0.3)
    async with asyncio.timeout(2):
        assert isinstance(await preflight.inspect(embedded.target(), PolicySpec()), Unavailable)


async def test_a_telemetry_that_switches_off_the_metrics_of_a_client_is_found(real: Shop) -> None:
    obj = istio(
        "Telemetry", "quiet", {"metrics": [{"overrides": [{"match": {"metric": "REQUEST_COUNT"}, "disabled": True}]}]}
    )
    await real.put(obj)
    client = {"reporter": "source", "source_workload": "front", "source_workload_namespace": real.namespace}
    real.prometheus.answer = series(clients=(client,))
    assert await real.errors() == {"telemetry-disabled"}


async def test_an_account_with_few_rights_is_told_which_it_lacks(real: Shop, tmp_path: Path) -> None:
    assert real.plane is not None
    name = {"name": "reader", "namespace": "shop"}
    rules = [
        {"apiGroups": ["networking.istio.io"], "resources": ["*"], "verbs": ["get"]},
        {"apiGroups": ["networking.istio.io"], "resources": ["virtualservices"], "verbs": ["list"]},
    ]
    await real.put({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": name})
    group = "rbac.authorization.k8s.io"
    await real.put({"kind": "Role", "apiVersion": f"{group}/v1", "metadata": name, "rules": rules})
    reference = {"apiGroup": group, "kind": "Role", "name": "reader"}
    subjects = [{"kind": "ServiceAccount", **name}]
    await real.put(
        {
            "kind": "RoleBinding",
            "apiVersion": f"{group}/v1",
            "metadata": name,
            "roleRef": reference,
            "subjects": subjects,
        }
    )
    accounts = _COLLECTIONS["ServiceAccount"].format(real.namespace)
    answer = await real.cluster.create(
        f"{accounts}/reader/token", {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    )
    kubeconfig = tmp_path / "reader"
    real.plane.write_kubeconfig(kubeconfig, real.namespace, answer["status"]["token"])
    async with await Cluster.connect(kubeconfig) as cluster:
        reader = Shop(cluster, real.namespace, real.prometheus)

        async def lacks(code: str) -> set[str]:
            return {one.object for one in (await reader.inspected()).findings if one.code == code}

        denied = await until(lambda: lacks("not-looked"), lambda found: "virtualservices.networking.istio.io" in found)
        assert denied == {
            "destinationrules.networking.istio.io",
            "deployments.apps",
            "services",
            "telemetries.telemetry.istio.io",
            "virtualservices.networking.istio.io",
        }
        assert await lacks("not-allowed") == {
            f"VirtualService {real.namespace}/checkout",
            f"DestinationRule {real.namespace}/checkout",
        }


async def test_an_admission_policy_that_refuses_the_first_write_is_an_error(real: Shop) -> None:
    group = "admissionregistration.k8s.io"
    name = f"no-claims-in-{real.namespace}"
    rule = {
        "apiGroups": ["networking.istio.io"],
        "apiVersions": ["*"],
        "operations": ["UPDATE"],
        "resources": ["virtualservices"],
    }
    policy = {
        "apiVersion": f"{group}/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": _NO_CLAIM, "message": "no"}],
        },
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": real.namespace}}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    base = f"/apis/{group}/v1"
    await real.cluster.create(f"{base}/validatingadmissionpolicies", policy)
    await real.cluster.create(f"{base}/validatingadmissionpolicybindings", binding)
    try:
        assert await until(real.errors, bool) == {"dry-run-refused"}
    finally:
        assert real.plane is not None
        async with real.plane.client() as http:
            await http.delete(f"{base}/validatingadmissionpolicybindings/{name}")
            await http.delete(f"{base}/validatingadmissionpolicies/{name}")


async def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """Rights and admission policies take effect when the server's caches have heard of them."""
    async with asyncio.timeout(PATIENCE):
        while not holds(found := await look()):
            await asyncio.sleep(0.05)
        return found
