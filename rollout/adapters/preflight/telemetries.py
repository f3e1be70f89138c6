"""Telemetry objects that switch off, or bend, the metrics that a release is judged by.

Belongs here: rules over decoded Telemetry objects. Does not belong here: what is missing in fact (`series.py`).

They apply in turn: the root namespace's, the workload's namespace's, those that select workloads; the last one that
says something about a metric and a mode wins (pilot/pkg/model/telemetry.go, mergeMetrics). Requests that the client
counts (reporter source) are governed by the client's namespace, those that the server or its waypoint counts by the
server's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.scene import Scene, age_of, labelled, listed, namespace_of, spec_of
from rollout.core.preflight import Finding, Severity

_COUNT, _DURATION, _ALL = "REQUEST_COUNT", "REQUEST_DURATION", "ALL_METRICS"
NEEDED_TAGS = frozenset(
    {
        "reporter",
        "destination_service",
        "destination_workload",
        "destination_canonical_revision",
        "response_code",
        "response_flags",
        "grpc_response_status",
    }
)


@dataclass(frozen=True, slots=True)
class _Say:
    """What one Telemetry says about one metric in one mode."""

    telemetry: JsonObject
    disabled: bool | None
    tags: tuple[str, ...]
    """Needed ones that it removes or replaces."""


def overrides(scene: Scene, telemetries: Sequence[JsonObject]) -> Iterator[Finding]:
    """What switches off or bends a metric where this service is counted."""
    server = scene.target.namespace
    places: list[tuple[str, str]] = []
    if "source" in scene.counting:
        places += [(client, "CLIENT") for client in sorted(scene.clients or {server})]
    if scene.counting & {"destination", "waypoint"}:
        places.append((server, "SERVER"))
    told: set[tuple[str, str]] = set()
    for namespace, mode in places:
        for one in _of_place(scene, telemetries, namespace, mode):
            if (one.code, one.object) not in told:
                told.add((one.code, one.object))
                yield one


def _of_place(scene: Scene, telemetries: Sequence[JsonObject], namespace: str, mode: str) -> Iterator[Finding]:
    latency = scene.policy.checks.latency
    judged = [_COUNT, *([_DURATION] if latency.objectives or latency.compare != () else [])]
    levels = [scene.root, *([namespace] if namespace != scene.root else [])]
    general = [
        one
        for level in levels
        for one in sorted((obj for obj in telemetries if namespace_of(obj) == level), key=age_of)
        if not _is_selective(one)
    ]
    selective = [one for one in telemetries if namespace_of(one) == namespace and _is_selective(one)]
    for metric in judged:
        disabled: _Say | None = None
        bent: _Say | None = None
        for say in _says(general, metric, mode):
            if say.disabled is not None:
                disabled = say if say.disabled else None
            bent = say if say.tags else bent
        if disabled is not None:
            yield _off(disabled, metric, namespace, mode, "error")
        elif bent is not None:
            yield _bent(bent, metric, namespace)
        for say in _says(selective, metric, mode):
            if say.disabled:
                yield _off(say, metric, namespace, mode, "warning")
            elif say.tags:
                yield _bent(say, metric, namespace)


def _is_selective(telemetry: JsonObject) -> bool:
    spec = spec_of(telemetry)
    return any(spec.get(key) for key in ("selector", "targetRef", "targetRefs"))


def _says(telemetries: Sequence[JsonObject], metric: str, mode: str) -> Iterator[_Say]:
    for telemetry in telemetries:
        for block in sequence(spec_of(telemetry).get("metrics")):
            for override in map(mapping, sequence(mapping(block).get("overrides"))):
                match = mapping(override.get("match"))
                about = match.get("metric") or (_ALL if not match.get("customMetric") else "")
                if about not in {metric, _ALL} or match.get("mode", "CLIENT_AND_SERVER") not in {
                    mode,
                    "CLIENT_AND_SERVER",
                }:
                    continue
                off = override.get("disabled")
                yield _Say(
                    telemetry, off if isinstance(off, bool) else None, _tags(mapping(override.get("tagOverrides")))
                )


def _tags(given: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(sorted(NEEDED_TAGS & set(given)))


def _off(say: _Say, metric: str, namespace: str, mode: str, severity: Severity) -> Finding:
    whose = "clients" if mode == "CLIENT" else "servers"
    some = "some " if severity == "warning" else ""
    return found(
        "telemetry-disabled",
        labelled("Telemetry", say.telemetry),
        f"it switches off {metric} at {some}{whose} in {namespace}: their requests are not counted",
        severity=severity,
    )


def _bent(say: _Say, metric: str, namespace: str) -> Finding:
    return found(
        "telemetry-tags",
        labelled("Telemetry", say.telemetry),
        f"it overrides {listed(say.tags, 9)} of {metric} in {namespace}, by which a release is judged",
    )
