"""A DestinationRule as this project reads and edits it: which subset is which version, and the two edits of the list.

Belongs here: dicts in, a reading or JSON Patch operations (RFC 6902) out, and what a host name in an Istio object
means. Does not belong here: I/O (`istio.py`), routes and weights (`http_route.py`, `virtual_service.py`).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rollout.core.route import Problem, Target, subset_name

JsonObject = dict[str, Any]
Operation = dict[str, Any]

# Labels that change with every pod template: a copy of a subset that selects by one can never select another version.
_TEMPLATE_LABELS = frozenset({"pod-template-hash", "rollouts-pod-template-hash", "controller-revision-hash"})


def mapping(value: Any) -> JsonObject:
    """The value if it is an object, else an empty one: absent, null and malformed read the same."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def revision(obj: JsonObject) -> str:
    """The object's resourceVersion; "" where it has none that could be compared."""
    found = mapping(obj.get("metadata")).get("resourceVersion")
    return found if isinstance(found, str) else ""


def guard(obj: JsonObject) -> Operation:
    """The first operation of every patch: the API server applies it to the object it holds, so the test decides."""
    return {"op": "test", "path": "/metadata/resourceVersion", "value": revision(obj)}


def pointer(key: str) -> str:
    """One step of a JSON pointer (RFC 6901 §3)."""
    return key.replace("~", "~0").replace("/", "~1")


def service_named(host: Any, namespace: str, target: Target) -> str | None:
    """Which Service of the target's namespace `host`, written in an object of `namespace`, means; None for any other.

    Istio expands names without any dot by the object's namespace and takes all others as they are, case-insensitively;
    `checkout.shop` is therefore no Kubernetes service (pilot/pkg/model/config.go:ResolveShortnameToFQDN). The cluster's
    DNS domain is not ours to know: any is accepted behind `.svc.`.
    """
    if not isinstance(host, str):
        return None
    service, dot, rest = host.lower().partition(".")
    if not dot:
        return service if namespace == target.namespace else None
    stem = f"{target.namespace}.svc."
    return service if rest.startswith(stem) and len(rest) > len(stem) else None


def serves(host: Any, namespace: str, target: Target) -> bool:
    """Whether `host`, written in an object of `namespace`, means the target's service."""
    return service_named(host, namespace, target) == target.service


@dataclass(frozen=True, slots=True)
class Subset:
    """One entry of `spec.subsets`."""

    index: int
    name: str
    version: str | None
    """Value of the version label it selects by; None where it selects by something else."""
    exact: bool
    """It selects by the version label and nothing else."""
    pinned: bool
    """It selects by a label that changes with every pod template."""


def subsets_of(rule: JsonObject | None, target: Target) -> tuple[Subset, ...]:
    """The rule's subsets in order; none where the rule is missing or for another host. Never raises."""
    if rule is None or not _covers(rule, target):
        return ()
    found = []
    for index, entry in enumerate(sequence(mapping(rule.get("spec")).get("subsets"))):
        name = mapping(entry).get("name")
        if not isinstance(name, str):
            continue
        labels = mapping(mapping(entry).get("labels"))
        version = labels.get(target.version_label)
        found.append(
            Subset(
                index=index,
                name=name,
                version=version if isinstance(version, str) and version else None,
                exact=set(labels) == {target.version_label},
                pinned=not _TEMPLATE_LABELS.isdisjoint(labels),
            )
        )
    return tuple(found)


def _covers(rule: JsonObject, target: Target) -> bool:
    """A wildcard host covers the service too: its subsets are in force where no rule names the service itself."""
    host = mapping(rule.get("spec")).get("host")
    if isinstance(host, str) and host.startswith("*."):
        return f"{target.service}.{target.namespace}.svc.cluster.local".endswith(host[1:].lower())
    return serves(host, target.namespace, target)


def version_of(name: str, subsets: tuple[Subset, ...], target: Target) -> str:
    """The version that a subset's name stands for.

    Its label decides. A name without a label in the rule stands for the version whose subset we would call so, since
    a rollback must find its way where somebody has already taken the subset out of the rule.
    """
    # Istio keeps the first of several subsets of one name (destination_rule.go:mergeDestinationRule).
    found = next((subset for subset in subsets if subset.name == name), None)
    if found is not None and found.version is not None:
        return found.version
    ours = (version for version in (target.canary, target.stable) if version and subset_name(version) == name)
    return next(ours, name)


def subset_for(version: str, subsets: tuple[Subset, ...]) -> Subset | None:
    """The subset that selects this version: rather the one of our naming, rather one that selects by nothing else."""
    fitting = [subset for subset in subsets if subset.version == version]
    return min(fitting, key=lambda one: (one.name != subset_name(version), not one.exact, one.index), default=None)


def rule_name(target: Target) -> str:
    """How the DestinationRule is called in messages."""
    return f"DestinationRule {target.namespace}/{target.destination_rule}"


def rule_problems(rule: JsonObject | None, target: Target, stable: str | None) -> Iterator[Problem]:
    """Why a release cannot rely on this rule; the first says best what to do. `stable` None skips what it decides."""
    problem = unusable(rule, target)
    if problem is not None:
        yield problem
        return
    yield from selector_problems(rule, target)
    where, subsets = rule_name(target), subsets_of(rule, target)
    taken = next((one for one in subsets if one.name == subset_name(target.canary)), None)
    if taken is not None and taken.version != target.canary:
        yield Problem(
            "subset-taken",
            f"{where} has a subset {taken.name!r} that does not select {target.version_label}={target.canary}: "
            "rename it, the canary needs this name",
        )
    if stable is not None:
        yield from _template_problems(where, target, stable, subsets)


def unusable(rule: JsonObject | None, target: Target) -> Problem | None:
    """Why nothing of this rule is about the service."""
    where = rule_name(target)
    if rule is None:
        return Problem("destination-rule-missing", f"there is no {where}: create it with a subset for each version")
    host = mapping(rule.get("spec")).get("host")
    if not serves(host, target.namespace, target):
        return Problem(
            "destination-rule-host",
            f"{where} is for host {host!r}, not for service {target.service!r}: "
            "name the right one in route.destinationRule",
        )
    return None


def selector_problems(rule: JsonObject | None, target: Target) -> Iterator[Problem]:
    """A rule that only some clients know."""
    if mapping(mapping(rule).get("spec")).get("workloadSelector"):
        yield Problem(
            "destination-rule-selector",
            f"{rule_name(target)} has a workloadSelector, so only some clients would know the canary's subset: "
            "remove it",
        )


def _template_problems(where: str, target: Target, stable: str, subsets: tuple[Subset, ...]) -> Iterator[Problem]:
    template = subset_for(stable, subsets)
    if template is not None:
        if template.pinned:
            yield Problem(
                "subset-pinned",
                f"subset {template.name!r} of {where} selects by a hash of the pod template, which no other version "
                f"has: let it select by {target.version_label} alone",
            )
        return
    unlabelled = next((one for one in subsets if one.name == subset_name(stable)), None)
    if unlabelled is not None:
        yield Problem(
            "subset-label",
            f"subset {unlabelled.name!r} of {where} does not select by label {target.version_label!r}: "
            "name the label that tells versions apart in podLabel",
        )
        return
    yield Problem(
        "subset-missing",
        f"{where} has no subset with {target.version_label}={stable}, which holds the traffic: add it",
    )


def with_subset(rule: JsonObject, target: Target, version: str) -> list[Operation] | Problem:
    """The patch that gives `version` a subset: stable's (else the canary's), but for its name and version label.

    Empty where the version has one. A Problem where there is nothing to copy or the name is taken. Never raises.
    """
    where = rule_name(target)
    subsets = subsets_of(rule, target)
    if subset_for(version, subsets) is not None:
        return []
    name = subset_name(version)
    if any(subset.name == name for subset in subsets):
        return Problem("subset-taken", f"subset {name!r} of {where} does not select {target.version_label}={version}")
    if not serves(mapping(rule.get("spec")).get("host"), target.namespace, target):
        return Problem("destination-rule-host", f"{where} is not for service {target.service!r} alone")
    templates = (subset_for(one, subsets) for one in (target.stable, target.canary) if one)
    template = next((one for one in templates if one is not None), None)
    if template is None or template.pinned:
        return Problem("subset-missing", f"{where} has no subset of {target.stable} that could be copied for {version}")
    return copied(rule, target, template, name, version)


def copied(rule: JsonObject, target: Target, template: Subset, name: str, version: str) -> list[Operation]:
    """The patch that adds a subset like `template`, but for its name and version label."""
    entry = copy.deepcopy(rule["spec"]["subsets"][template.index])
    entry["name"] = name
    entry["labels"][target.version_label] = version
    # The index, not `-`: after the guard both mean the end, and an index can be read in an audit log.
    return [guard(rule), {"op": "add", "path": f"/spec/subsets/{len(rule['spec']['subsets'])}", "value": entry}]


def without_subset(rule: JsonObject, subset: Subset) -> list[Operation]:
    """The patch that takes this subset out."""
    return [guard(rule), {"op": "remove", "path": f"/spec/subsets/{subset.index}"}]
