"""Other programs that write the same objects: Kiali's wizards, and GitOps tools that put back what a release changes.

Belongs here: the marks that they leave on a decoded VirtualService or DestinationRule. Does not belong here: Argo
Rollouts and Flagger, which move traffic themselves and are refused (`adapters/virtual_service.py`).
"""

from collections.abc import Iterator

from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.scene import labelled
from rollout.core.preflight import Finding

_ARGO, _KUSTOMIZE, _HELM_CONTROLLER, _HELM = "Argo CD", "Flux (kustomize-controller)", "Flux (helm-controller)", "Helm"
_MANAGERS = {
    "argocd-controller": _ARGO,
    "argocd-application-controller": _ARGO,
    "kustomize-controller": _KUSTOMIZE,
    "gotk": _KUSTOMIZE,
    "flux": _KUSTOMIZE,
    "helm-controller": _HELM_CONTROLLER,
    "helm": _HELM,
}
"""Field managers (metadata.managedFields[].manager), by the names that the tools give themselves."""
_MARKS = (
    ("annotations", "argocd.argoproj.io/tracking-id", _ARGO),
    ("labels", "argocd.argoproj.io/instance", _ARGO),
    ("labels", "kustomize.toolkit.fluxcd.io/name", _KUSTOMIZE),
    ("labels", "helm.toolkit.fluxcd.io/name", _HELM_CONTROLLER),
    ("annotations", "meta.helm.sh/release-name", _HELM),
)
_IGNORE = {
    _ARGO: (
        (
            "put `managedFieldsManagers: [rollout]` under the Application's spec.ignoreDifferences for this object, "
            "and set the sync option RespectIgnoreDifferences=true"
        ),
        "https://argo-cd.readthedocs.io/en/stable/user-guide/diffing/",
    ),
    _KUSTOMIZE: (
        "annotate the object with `kustomize.toolkit.fluxcd.io/ssa: IfNotPresent`, so that it is created and then left",
        "https://fluxcd.io/flux/components/kustomize/kustomizations/",
    ),
    _HELM_CONTROLLER: (
        (
            "list /spec/http (or /spec/subsets) under spec.driftDetection.ignore of the HelmRelease, and upgrade the "
            "chart between releases only"
        ),
        "https://fluxcd.io/flux/components/helm/helmreleases/",
    ),
    _HELM: ("do not upgrade the chart while a release is under way", "https://helm.sh/docs/intro/using_helm/"),
}


def owners(kind: str, obj: JsonObject | None) -> Iterator[Finding]:
    """Who else writes this object; `kind` is VirtualService or DestinationRule."""
    if obj is None:
        return
    labels = mapping(mapping(obj.get("metadata")).get("labels"))
    if "kiali_wizard" in labels:
        yield found("kiali-wizard", labelled(kind, obj), f"Kiali's wizard {labels['kiali_wizard']!r} made it")
    tool, how = _tool(obj, "f:http" if kind == "VirtualService" else "f:subsets")
    if tool is not None:
        action, link = _IGNORE[tool]
        one = found(
            "gitops-owner",
            labelled(kind, obj),
            f"{tool} {how}: when it applies the manifest again, the release's changes are undone",
            action=action,
        )
        yield Finding(one.code, one.severity, one.object, one.message, one.action, link)


def _tool(obj: JsonObject, field: str) -> tuple[str | None, str]:
    metadata = mapping(obj.get("metadata"))
    for entry in map(mapping, sequence(metadata.get("managedFields"))):
        manager = str(entry.get("manager"))
        tool = _MANAGERS.get(manager)
        if tool is not None and field in mapping(mapping(entry.get("fieldsV1")).get("f:spec")):
            return tool, f"owns spec.{field[2:]} (field manager {manager})"
    for part, key, tool in _MARKS:
        if key in mapping(metadata.get(part)):
            return tool, f"manages it ({part[:-1]} {key})"
    return None, ""
