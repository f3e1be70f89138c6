"""DestinationRules that take the release's subsets away from some clients, or mix with the one that is edited.

Belongs here: rules over decoded DestinationRules. Does not belong here: the edited rule's own problems
(`adapters/destination_rule.py`), reading.

A client's proxy takes the first namespace with any fitting rule, and that one's rules alone: the client's own, the
service's, the root namespace (pilot/pkg/model/push_context.go, destinationRule). `istioctl analyze` does not see it.
"""

from collections.abc import Iterator, Sequence

from rollout.adapters.destination_rule import JsonObject, mapping, sequence, subset_for, subsets_of
from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.scene import Scene, age_of, exported, labelled, listed, namespace_of, spec_of
from rollout.core.preflight import Finding, Severity
from rollout.core.route import subset_name


def needed_subsets(scene: Scene, rule: JsonObject | None) -> tuple[str, ...]:
    """Names of the subsets that the route sends to during the release; none in the host mode."""
    target = scene.target
    if target.host is not None:
        return ()
    if target.slots:
        return target.slots
    subsets = subsets_of(rule, target)
    versions = [one for one in (target.stable, target.canary) if one]
    named = {version: subset_for(version, subsets) for version in versions}
    return tuple(found.name if found is not None else subset_name(version) for version, found in named.items())


def shadows(scene: Scene, rules: Sequence[JsonObject], needed: Sequence[str]) -> Iterator[Finding]:
    """Rules in other namespaces that a client there sees instead of the service's, without a subset it needs."""
    for rule in rules:
        home, spec = namespace_of(rule), spec_of(rule)
        if home in {scene.target.namespace, scene.root} or not scene.covers(spec.get("host"), home):
            continue
        if not exported(rule, home):
            continue
        there = {mapping(one).get("name") for one in sequence(spec.get("subsets"))}
        lacking = [name for name in needed if name not in there]
        if not lacking:
            continue
        selected = bool(spec.get("workloadSelector"))
        whose = f"the clients in {home} that its workloadSelector selects" if selected else f"all clients in {home}"
        known = home in scene.clients
        calls = ", which call the service," if known else ""
        severity: Severity = "error" if known and not selected else "warning"
        yield found(
            "subset-shadowed",
            labelled("DestinationRule", rule),
            f"{whose}{calls} follow this rule instead of the service's own, and it has no subset "
            f"{listed(repr(name) for name in lacking)}: requests for it are answered 503",
            severity=severity,
        )


def several(scene: Scene, rules: Sequence[JsonObject]) -> Iterator[Finding]:
    """More than one rule for the very host in the service's namespace; those for selected clients only do not count."""
    same = [
        rule
        for rule in rules
        if namespace_of(rule) == scene.target.namespace
        and scene.resolved(spec_of(rule).get("host"), scene.target.namespace) == scene.fqdn
        and not spec_of(rule).get("workloadSelector")
    ]
    if len(same) < 2:
        return
    first, *others = sorted(same, key=age_of)
    yield found(
        "several-rules",
        labelled("DestinationRule", others[0]),
        f"{labelled('DestinationRule', first)} is older and for the same host, so of subsets with one name, and of "
        "trafficPolicies, only its own count",
    )


def hidden(scene: Scene, rule: JsonObject | None) -> Iterator[Finding]:
    """The edited rule is not exported to a namespace that calls the service."""
    if rule is None or scene.target.host is not None:
        return
    blind = [one for one in sorted(scene.clients) if one != namespace_of(rule) and not exported(rule, one)]
    if blind:
        yield found(
            "not-exported",
            labelled("DestinationRule", rule),
            f"clients in {listed(blind)} do not see it, so for them its subsets do not exist: their requests are "
            "answered 503",
        )
