"""The whole preflight, against the embedded API and the real one: what is read, tried out, refused, and left alone."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.preflight.inspector import ClusterPreflight
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Report
from rollout.core.route import Leg, Unavailable
from tests.adapters.preflight.conftest import COLLECTIONS, Shop
from tests.adapters.preflight.shapes import (
    destination_rule,
    istio,
    series,
    service,
    to,
    virtual_service,
)
from tests.fakes.clock import FakeClock
from tests.given import NOW

PATIENCE = 15.0
_NO_CLAIM = "!has(object.metadata.annotations) || !('rollout.dev/epoch' in object.metadata.annotations)"


def warned(report: Report) -> set[tuple[str, str]]:
    """(code, object) of the warnings. Whether pods are ready by now is their nodes' business, and there are none."""
    return {(one.code, one.object) for one in report.warnings if one.code != "canary-not-ready"}


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


async def younger(shop: Shop) -> tuple[Leg, ...]:
    """A VirtualService for the host that has a rival which is older: the one that is there already."""
    await shop.put(virtual_service(name="younger"))
    return (Leg(shop.namespace, "younger"),)


async def test_a_rival_and_what_lacks_in_the_objects_are_found_together(shop: Shop) -> None:
    legs = await younger(shop)
    await shop.change("Service", {"op": "replace", "path": "/spec/ports/0/name", "value": "tcp-x"})
    assert await shop.errors(legs=legs) == {"virtual-service-conflict", "port-not-http"}


async def test_nobody_is_refused_for_what_was_mended_before_the_question(shop: Shop) -> None:
    legs = await younger(shop)
    preflight = ClusterPreflight(shop.cluster, shop.prometheus, FakeClock(NOW))
    refused = await preflight.inspect(shop.target(legs=legs), PolicySpec())
    await shop.change("VirtualService", {"op": "replace", "path": "/spec/hosts", "value": ["elsewhere"]})
    mended = await preflight.inspect(shop.target(legs=legs), PolicySpec())
    assert isinstance(refused, Report)
    assert isinstance(mended, Report)
    assert {one.code for one in refused.errors} == {"virtual-service-conflict"}
    assert not mended.errors


async def test_many_that_begin_at_once_are_all_told(shop: Shop) -> None:
    preflight = ClusterPreflight(shop.cluster, shop.prometheus, FakeClock(NOW))
    reports = await asyncio.gather(*(preflight.inspect(shop.target(), PolicySpec()) for _ in range(12)))
    assert [one.errors for one in reports if isinstance(one, Report)] == [()] * 12
    assert len({frozenset(warned(one)) for one in reports if isinstance(one, Report)}) == 1


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


async def test_while_prometheus_does_not_answer_nothing_is_refused_and_nothing_begins(shop: Shop) -> None:
    preflight = ClusterPreflight(shop.cluster, shop.prometheus, FakeClock(NOW))
    shop.prometheus.answer = Unavailable("Prometheus at nowhere is not reachable")
    assert await preflight.inspect(shop.target(), PolicySpec()) == shop.prometheus.answer
    shop.prometheus.answer = series()
    report = await preflight.inspect(shop.target(), PolicySpec())
    assert isinstance(report, Report)
    assert not report.errors


async def test_the_canary_s_own_service_may_come_later_and_stable_s_may_not(shop: Shop) -> None:
    other = json.loads(json.dumps(service()).replace('"checkout"', '"checkout-v1"', 1))
    await shop.put(other)
    await shop.put(
        virtual_service({"route": [to(None, "checkout-v1", 100)]}, name="split", hosts=[f"split.{shop.namespace}"])
    )
    split = PolicySpec.model_validate({"route": {"host": "{service}-{version}", "virtualService": "split"}})
    given = {"legs": (Leg(shop.namespace, "split"),), "host": "{service}-{version}"}
    report = await shop.inspected(split, **given)
    assert not report.errors
    assert ("service-missing", f"Service {shop.namespace}/checkout-v2") in warned(report)


async def test_errors_come_first(shop: Shop) -> None:
    report = await shop.inspected(legs=await younger(shop))
    assert report.errors
    ranks = [["error", "warning", "info"].index(one.severity) for one in report.findings]
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
    legs = await younger(embedded)
    embedded.server.faults.add(verb="list", resource="virtualservices", status=403, times=1)
    report = await embedded.inspected(legs=legs)
    assert {one.code for one in report.errors} == {"virtual-service-conflict"}
    assert ("info", "not-looked") in {(one.severity, one.code) for one in report.findings}


async def test_without_the_right_to_look_everywhere_no_fixed_subset_may_be_written(embedded: Shop) -> None:
    assert embedded.server is not None
    two = [{"name": "blue", "labels": {"version": "v0"}}, {"name": "green", "labels": {"version": "v1"}}]
    await embedded.change("DestinationRule", {"op": "replace", "path": "/spec/subsets", "value": two})
    halves = [to("green", "checkout", 100), to("blue", "checkout", 0)]
    await embedded.change("VirtualService", {"op": "replace", "path": "/spec/http/0/route", "value": halves})
    slots = PolicySpec.model_validate({"route": {"subsets": ["blue", "green"]}})
    assert not (await embedded.inspected(slots, slots=("blue", "green"))).errors
    embedded.server.faults.add(verb="list", resource="virtualservices", status=403)
    report = await embedded.inspected(slots, slots=("blue", "green"))
    assert ("not-looked", "virtualservices.networking.istio.io") in {(one.code, one.object) for one in report.errors}


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
    preflight = ClusterPreflight(embedded.cluster, embedded.prometheus, FakeClock(NOW), listing_seconds=0.3)
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
    accounts = COLLECTIONS["ServiceAccount"].format(real.namespace)
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
