"""Telemetry objects that switch off, or bend, the metrics that a release is judged by.

Belongs here: rules over decoded Telemetry objects. Does not belong here: what is missing in fact (`series.py`).

They apply in turn: the root namespace's, the workload's namespace's, those that select workloads; the last one that
says something about a metric and a mode wins (pilot/pkg/model/telemetry.go, mergeMetrics). Requests that the client
counts (reporter source) are governed by the client's namespace, those that the server or its waypoint counts by the
server's. A block that names providers speaks of these alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.scene import Scene, age_of, labelled, listed, namespace_of, spec_of
from rollout.core.preflight import Finding

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


@dataclass(frozen=True, slots=True)
class _Effect:
    """What is in force at one place."""

    telemetry: JsonObject
    general: bool
    """For all workloads there."""
    off: bool = False
    tags: tuple[str, ...] = ()


def overrides(scene: Scene, telemetries: Sequence[JsonObject]) -> Iterator[Finding]:
    """What switches off or bends a metric where this service is counted."""
    server = scene.target.namespace
    places: list[tuple[str, str]] = []
    if "source" in scene.counting:
        places += [(client, "CLIENT") for client in sorted(scene.clients or {server})]
    if scene.counting & {"destination", "waypoint"}:
        places.append((server, "SERVER"))
    latency = scene.policy.checks.latency
    judged = [_COUNT, *([_DURATION] if latency.objectives or latency.compare != () else [])]
    told: set[tuple[str, str]] = set()
    for metric in judged:
        by_place = {place: [*_of_place(scene, telemetries, metric, *place)] for place in places}
        # Blind is only who hears of no request at all; and where nobody is known to call, that is a guess.
        blind = all(any(say.off and say.general for say in says) for says in by_place.values())
        for (namespace, mode), says in by_place.items():
            for say in says:
                guessed = mode == "CLIENT" and not scene.clients and namespace_of(say.telemetry) != scene.root
                one = _finding(say, metric, namespace, mode, blind=blind and not guessed)
                if (one.code, one.object) not in told:
                    told.add((one.code, one.object))
                    yield one


def _of_place(
    scene: Scene, telemetries: Sequence[JsonObject], metric: str, namespace: str, mode: str
) -> Iterator[_Effect]:
    """What is in force of a metric at the workloads of a namespace."""
    levels = [scene.root, *([namespace] if namespace != scene.root else [])]
    general = [
        one
        for level in levels
        for one in sorted((obj for obj in telemetries if namespace_of(obj) == level), key=age_of)
        if not _is_selective(one)
    ]
    selective = [one for one in telemetries if namespace_of(one) == namespace and _is_selective(one)]
    disabled: _Say | None = None
    bent: _Say | None = None
    for say in _says(general, metric, mode):
        if say.disabled is not None:
            disabled = say if say.disabled else None
        bent = say if say.tags else bent
    if disabled is not None:
        yield _Effect(disabled.telemetry, general=True, off=True)
    elif bent is not None:
        yield _Effect(bent.telemetry, general=True, tags=bent.tags)
    for say in _says(selective, metric, mode):
        if say.disabled or say.tags:
            yield _Effect(say.telemetry, general=False, off=bool(say.disabled), tags=say.tags)


def _is_selective(telemetry: JsonObject) -> bool:
    spec = spec_of(telemetry)
    return any(spec.get(key) for key in ("selector", "targetRef", "targetRefs"))


def _says(telemetries: Sequence[JsonObject], metric: str, mode: str) -> Iterator[_Say]:
    for telemetry in telemetries:
        for block in sequence(spec_of(telemetry).get("metrics")):
            if not _is_about_prometheus(mapping(block)):
                continue
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


def _is_about_prometheus(block: JsonObject) -> bool:
    """Without providers it is about the mesh's default ones. Names are the mesh's own choice."""
    names = [str(mapping(one).get("name")).lower() for one in sequence(block.get("providers"))]
    return not names or any("prometheus" in name for name in names)


def _tags(given: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(sorted(NEEDED_TAGS & set(given)))


def _finding(say: _Effect, metric: str, namespace: str, mode: str, *, blind: bool) -> Finding:
    where = labelled("Telemetry", say.telemetry)
    if not say.off:
        message = f"it overrides {listed(say.tags, 9)} of {metric} in {namespace}, by which a release is judged"
        return found("telemetry-tags", where, message)
    some = "" if say.general else "some "
    return found(
        "telemetry-disabled",
        where,
        f"it switches off {metric} at {some}{'clients' if mode == 'CLIENT' else 'servers'} in {namespace}: their "
        "requests are not counted",
        severity="error" if blind and say.general else "warning",
    )
