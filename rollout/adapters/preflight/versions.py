"""The two versions as they run: the canary's Deployment, its pods, and what the metrics will call both.

Belongs here: rules over decoded Deployments and Pods. Does not belong here: which label was found in the series
(`series.py`), reading.
"""

from collections.abc import Iterator, Mapping, Sequence

from rollout.adapters.destination_rule import JsonObject, mapping, sequence, subset_for, subsets_of
from rollout.adapters.naming import UNASKED, naming_of
from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.scene import Scene, labelled, listed, name_of, spec_of
from rollout.adapters.workloads import read_health
from rollout.core.preflight import Finding, VersionLabel

_PROXY = "istio-proxy"
_REVISION = "service.istio.io/canonical-revision"
_APP_VERSION = "app.kubernetes.io/version"
_HASH = "pod-template-hash"
_LATEST = "latest"


def template_labels(deployment: JsonObject | None) -> JsonObject:
    """Labels of the pods that a Deployment makes."""
    template = mapping(spec_of(deployment or {}).get("template"))
    return mapping(mapping(template.get("metadata")).get("labels"))


def selector_of(deployment: JsonObject) -> str:
    """Its selector as the API takes it in a query (apimachinery/pkg/labels)."""
    selector = mapping(spec_of(deployment).get("selector"))
    terms = [f"{key}={value}" for key, value in sorted(mapping(selector.get("matchLabels")).items())]
    for one in map(mapping, sequence(selector.get("matchExpressions"))):
        key, operator = str(one.get("key")), one.get("operator")
        values = ",".join(str(value) for value in sequence(one.get("values")))
        shapes = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        if isinstance(operator, str) and operator in shapes:
            terms.append(shapes[operator])
    return ",".join(terms)


def readiness(scene: Scene, name: str, deployment: JsonObject | None) -> Iterator[Finding]:
    """Whether the canary's Deployment, called `name`, could take traffic now."""
    where = f"Deployment {scene.target.namespace}/{name}"
    if deployment is None:
        yield found("canary-not-ready", where, f"there is no such Deployment for version {scene.target.canary} yet")
        return
    try:
        health = read_health(deployment)
    except (AttributeError, KeyError, TypeError):
        return
    if not health.complete:
        yield found("canary-not-ready", where, health.message)


def own_pods(deployment: JsonObject | None, pods: Sequence[JsonObject]) -> list[JsonObject]:
    """Those that run and are the Deployment's: selectors may overlap, and evicted pods stay until somebody looks.

    A pod is owned by a ReplicaSet, and that of a Deployment is called `DEPLOYMENT-HASH`, where the hash is also a label
    of its pods (kubernetes/pkg/controller/deployment/sync.go, getNewReplicaSet).
    """
    name = name_of(deployment or {})
    return [pod for pod in pods if _runs(pod) and _owner(pod) == f"{name}-{_labels(pod).get(_HASH)}"]


def _owner(pod: JsonObject) -> str | None:
    owners = map(mapping, sequence(mapping(pod.get("metadata")).get("ownerReferences")))
    return next((str(one.get("name")) for one in owners if one.get("kind") == "ReplicaSet"), None)


def _runs(pod: JsonObject) -> bool:
    phase = mapping(pod.get("status")).get("phase")
    return mapping(pod.get("metadata")).get("deletionTimestamp") is None and phase not in {"Failed", "Succeeded"}


def labels(scene: Scene, deployment: JsonObject | None, pods: Sequence[JsonObject]) -> Iterator[Finding]:
    """Whether the canary's subset will select the canary's pods. In the host mode a Service does, by its own labels.

    The pod template decides; pods that differ from it were changed by hand, or are of an older template and will go.
    """
    if deployment is None or scene.target.host is not None:
        return
    key, version = scene.target.version_label, scene.target.canary
    carried = template_labels(deployment).get(key)
    if carried != version:
        yield found(
            "version-label-differs",
            labelled("Deployment", deployment),
            f"its pods carry {_said(key, carried)}, but the subset of {version} selects {key}={version}",
        )
        return
    pods = own_pods(deployment, pods)
    apart = [pod for pod in pods if _labels(pod).get(key) != version]
    if apart:
        yield found(
            "version-label-differs",
            labelled("Pod", apart[0]),
            f"{len(apart)} of {len(pods)} pods carry {_said(key, _labels(apart[0]).get(key))}, but the subset of "
            f"{version} selects {key}={version}",
            severity="warning",
        )


def further_labels(
    scene: Scene, rule: JsonObject | None, deployment: JsonObject | None, pods: Sequence[JsonObject]
) -> Iterator[Finding]:
    """Whether the canary's pods carry all that its subset selects by: one that is copied selects as stable's does.

    Labels of places are Istio's own, not the pods' (pilot/pkg/model/service.go, LocalityLabel and topology labels).
    """
    target = scene.target
    if rule is None or deployment is None or target.host is not None:
        return
    subsets, name = subsets_of(rule, target), naming_of(rule, target, UNASKED).name(target.canary)
    chosen = next((one for one in subsets if one.name == name), None) or subset_for(target.stable or "", subsets)
    if chosen is None:
        return
    wanted = mapping(mapping(sequence(spec_of(rule).get("subsets"))[chosen.index]).get("labels"))
    carried = [template_labels(deployment), *map(_labels, own_pods(deployment, pods))]
    for key, value in sorted(wanted.items()):
        placed = key.startswith("topology.") or key == "istio-locality"
        if key != target.version_label and not placed and not any(labels.get(key) == value for labels in carried):
            yield found(
                "version-label-differs",
                labelled("Deployment", deployment),
                f"its pods carry {_said(key, carried[0].get(key))}, but the subset of {target.canary} selects by "
                f"{key}={value} too, as subset {chosen.name!r} does",
            )


def sidecars(scene: Scene, deployment: JsonObject | None, pods: Sequence[JsonObject]) -> Iterator[Finding]:
    """Whether the canary's pods are in the mesh."""
    pods = own_pods(deployment, pods)
    bare = [pod for pod in pods if not in_mesh(pod)]
    if bare and deployment is not None:
        yield found(
            "no-sidecar",
            labelled("Deployment", deployment),
            f"{len(bare)} of {len(pods)} pods of {scene.target.canary} have no {_PROXY} ({listed(map(name_of, bare))})",
        )


def in_mesh(pod: JsonObject) -> bool:
    """A sidecar, as a container or (native) as an init container; or ambient, by label or by what Istio's CNI notes."""
    spec, metadata = spec_of(pod), mapping(pod.get("metadata"))
    containers = [*sequence(spec.get("containers")), *sequence(spec.get("initContainers"))]
    if any(mapping(one).get("name") == _PROXY for one in containers):
        return True
    annotations = mapping(metadata.get("annotations"))
    return (
        _labels(pod).get("istio.io/dataplane-mode") == "ambient"
        or annotations.get("ambient.istio.io/redirection") == "enabled"
    )


def canonical_revision(carried: Mapping[str, object]) -> str:
    """What Istio calls the revision of pods with these labels (pkg/kube/labels, CanonicalService)."""
    return str(carried.get(_REVISION) or carried.get(_APP_VERSION) or carried.get("version") or _LATEST)


def revisions(
    scene: Scene, label: VersionLabel | None, stable: JsonObject | None, canary: JsonObject | None
) -> Iterator[Finding]:
    """Whether the metrics will name both versions, and as the release does; `label` is the one that is judged by."""
    if canary is None:
        return
    where = labelled("Deployment", canary)
    named = canonical_revision(template_labels(canary))
    judged_by_it = label == "destination_canonical_revision"
    if stable is not None and canonical_revision(template_labels(stable)) == named:
        yield found(
            "revisions-collapse",
            where,
            f"the pods of both versions have the canonical revision {named!r}, so it does not tell them apart",
            severity="error" if judged_by_it else "info",
        )
    elif judged_by_it and named != scene.target.canary:
        yield found("revision-differs", where, f"{label} will be {named!r} for its pods, not {scene.target.canary!r}")
    if label == "destination_version":
        carried = template_labels(canary)
        seen = str(carried.get(_APP_VERSION) or carried.get("version") or "unknown")
        if seen != scene.target.canary:
            yield found(
                "revision-differs", where, f"{label} will be {seen!r} for its pods, not {scene.target.canary!r}"
            )


def _labels(pod: JsonObject) -> JsonObject:
    return mapping(mapping(pod.get("metadata")).get("labels"))


def _said(key: str, value: object) -> str:
    return f"no label {key}" if value is None else f"{key}={value}"
