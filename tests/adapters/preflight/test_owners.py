"""Marks of other programs that write the same objects."""

from typing import Any

import pytest

from rollout.adapters.preflight.owners import owners
from tests.adapters.preflight.shapes import JsonObject, destination_rule, said, virtual_service


def managed(manager: str, field: str = "f:http") -> JsonObject:
    fields = {"manager": manager, "operation": "Apply", "fieldsV1": {"f:metadata": {}, "f:spec": {field: {}}}}
    return {"managedFields": [{"manager": "kubectl"}, fields]}


@pytest.mark.parametrize(
    "marks",
    [
        managed("argocd-controller"),
        managed("kustomize-controller"),
        managed("helm-controller"),
        managed("helm"),
        {"annotations": {"argocd.argoproj.io/tracking-id": "shop:x"}},
        {"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}},
        {"labels": {"helm.toolkit.fluxcd.io/name": "shop"}},
        {"annotations": {"meta.helm.sh/release-name": "shop"}},
    ],
)
def test_a_gitops_tool_that_owns_the_routes_is_a_warning(marks: dict[str, Any]) -> None:
    found = said(owners("VirtualService", virtual_service(**marks)))
    assert found == [("warning", "gitops-owner", "VirtualService shop/checkout")]


def test_a_gitops_tool_that_owns_the_subsets_is_a_warning_for_the_rule() -> None:
    rule = destination_rule("v1", **managed("argocd-controller", "f:subsets"))
    assert said(owners("DestinationRule", rule)) == [("warning", "gitops-owner", "DestinationRule shop/checkout")]
    assert not said(owners("DestinationRule", destination_rule("v1", **managed("argocd-controller"))))


@pytest.mark.parametrize(
    "marks",
    [
        managed("kubectl-client-side-apply"),
        managed("rollout"),
        managed("argocd-controller", "f:hosts"),
        {"labels": {"app.kubernetes.io/instance": "shop"}},
    ],
)
def test_people_and_ourselves_are_no_finding(marks: dict[str, Any]) -> None:
    assert not said(owners("VirtualService", virtual_service(**marks)))


def test_what_a_kiali_wizard_made_is_a_warning() -> None:
    obj = virtual_service(labels={"kiali_wizard": "request_routing"})
    assert said(owners("VirtualService", obj)) == [("warning", "kiali-wizard", "VirtualService shop/checkout")]


@pytest.mark.parametrize("obj", [None, {}, {"metadata": {"managedFields": [7, {"fieldsV1": "x"}], "labels": []}}])
def test_what_carries_no_marks_is_no_finding(obj: JsonObject | None) -> None:
    assert not said(owners("VirtualService", obj))
