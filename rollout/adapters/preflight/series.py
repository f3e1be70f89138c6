"""What a service's series say: who reports, which label tells the versions apart, which buckets there are.

Belongs here: rules over `MeshSeries`. Does not belong here: the queries (`mesh_series.py`), Telemetry objects.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.mesh_series import Labels, MeshSeries
from rollout.adapters.preflight.scene import Scene, listed
from rollout.core.preflight import Finding, VersionLabel

_NOBODY = frozenset({"", "unknown"})
_DESTINATION = ("destination_workload", "destination_canonical_revision", "destination_version")
_PATIENCE = 1.5
"""Scrapes may be this many times slower than the policy's interval before it is worth a word."""


def client_workloads(series: MeshSeries, reporters: tuple[str, ...] = ("source",)) -> frozenset[tuple[str, str]]:
    """(namespace, workload) of those who called, as these reporters tell it."""
    every = (
        (one.get("source_workload_namespace", ""), one.get("source_workload", ""))
        for one in series.clients
        if one.get("reporter") in reporters
    )
    return frozenset(one for one in every if _NOBODY.isdisjoint(one))


def client_namespaces(series: MeshSeries) -> frozenset[str]:
    """Namespaces from which the service was called, whoever reported it."""
    return frozenset(namespace for namespace, _ in client_workloads(series, ("source", "waypoint", "destination")))


def reporters_of(series: MeshSeries) -> frozenset[str]:
    """Who counts requests to the service."""
    return frozenset(one.get("reporter", "") for one in series.tags) - {""}


def reporting(scene: Scene, series: MeshSeries) -> Iterator[Finding]:
    """Whether there is traffic, and whether the policy's reporters count it, once."""
    wanted = scene.policy.metrics.reporters
    if {"source", "destination"} <= set(wanted):
        yield found("counted-twice", scene.service, "the policy counts reporters source and destination")
    seen = reporters_of(series)
    ours = [one for one in series.tags if one.get("reporter") in wanted]
    if not series.tags or series.moving is False:
        lately = "was never seen" if not series.tags else "got no request in the last ten minutes"
        yield found(
            "no-traffic", scene.service, f"it {lately} in Prometheus: a canary cannot be judged without traffic"
        )
    elif not _reached(ours or series.tags):
        yield found(
            "no-traffic", scene.service, "none of its requests reached a pod: a canary cannot be judged by such ones"
        )
    elif not ours:
        there = listed(seen) or "nobody by name (the label is missing)"
        yield found(
            "no-reporter",
            scene.service,
            f"its requests are reported by {there}, but the policy counts {listed(wanted)} only",
        )


def _reached(tags: Iterable[Labels]) -> list[Labels]:
    """Those of requests that a pod was chosen for: of all others the proxy says `unknown`, which tells of no label."""
    named = ((one, {one.get(label, "") for label in _DESTINATION}) for one in tags)
    return [one for one, values in named if "unknown" not in values or not values <= _NOBODY]


def tags(scene: Scene, series: MeshSeries, label: VersionLabel | None) -> Iterator[Finding]:
    """Labels that are on no series of the policy's reporters; `label` is the one that tells the versions apart."""
    ours = [one for one in series.tags if one.get("reporter") in scene.policy.metrics.reporters]
    if not ours:
        return
    needed = ["response_code", "response_flags", *([label] if label else [])]
    absent = [tag for tag in needed if not any(one.get(tag) for one in ours)]
    # Empty for plain HTTP and for calls without an answer, and an empty label is an absent one.
    grpc = [
        one
        for one in ours
        if (one.get("request_protocol"), one.get("response_code"), one.get("response_flags")) == ("grpc", "200", "-")
    ]
    if grpc and not any(one.get("grpc_response_status") for one in grpc):
        absent.append("grpc_response_status")
    if absent:
        yield found("tag-missing", scene.service, f"no series of its requests has the label {listed(absent)}")


def version_label(scene: Scene, series: MeshSeries) -> tuple[VersionLabel | None, list[Finding]]:
    """The label that tells the versions apart, by what stable's series carry, and what is to be said about it.

    `destination_workload` is on every failure that chose a pod; `destination_canonical_revision` too, but is `latest`
    for pods without labels; `destination_version` is lost wherever no answer came.
    """
    metrics, stable = scene.policy.metrics, scene.target.stable
    ours = _reached(one for one in series.tags if one.get("reporter") in metrics.reporters)
    if not ours or stable is None:
        return (None if metrics.version_label == "auto" else metrics.version_label), []
    workload = scene.policy.deployment_of(scene.target.service, stable)
    named: dict[VersionLabel, str] = {
        "destination_workload": workload,
        "destination_canonical_revision": stable,
        "destination_version": stable,
    }
    fitting = [label for label, value in named.items() if any(one.get(label) == value for one in ours)]
    if "latest" in {stable, scene.target.canary}:
        # What pods without labels are called, whichever version they are.
        fitting = [label for label in fitting if label != "destination_canonical_revision"]
    if metrics.version_label != "auto":
        return _as_told(scene, metrics.version_label, fitting, named[metrics.version_label])
    if not fitting:
        seen = "; ".join(_seen(label, ours) for label in named)
        message = f"looked for {workload!r} or {stable!r}, but there is {seen}"
        return None, [found("versions-not-told-apart", scene.service, message)]
    chosen = fitting[0]
    said = [found("version-label", scene.service, f"{chosen}, because stable's series carry {named[chosen]!r} there")]
    if chosen == "destination_version":
        said.append(
            found("version-label-weak", scene.service, f"{_seen('destination_workload', ours)}, not {workload!r}")
        )
    return chosen, said


def _as_told(
    scene: Scene, label: VersionLabel, fitting: Sequence[VersionLabel], value: str
) -> tuple[VersionLabel, list[Finding]]:
    if label in fitting:
        return label, [found("version-label", scene.service, f"{label}, because the policy says so")]
    better = f"set metrics.versionLabel to {fitting[0]}, or leave it out" if fitting else ""
    message = f"the policy says {label}, but no series of stable carries {value!r} there"
    return label, [found("versions-not-told-apart", scene.service, message, action=better)]


def _seen(label: str, ours: Sequence[Labels]) -> str:
    """`destination_workload a, b`."""
    values = sorted({one.get(label, "") for one in ours} - {""})
    return f"{label} {listed(values)}" if values else f"no {label}"


def buckets(scene: Scene, series: MeshSeries) -> Iterator[Finding]:
    """Whether the histograms have the bounds that the policy names, and all the same ones."""
    latency = scene.policy.checks.latency
    if not (latency.objectives or latency.compare != ()) or not series.moving or "buckets" in series.unread:
        # Histograms come a flush later than counters: with a second sample of these they must be there.
        return
    counts: dict[float, float] = {}
    for labels, count in series.buckets:
        if labels.get("reporter") in scene.policy.metrics.reporters:
            bound = _number(labels.get("le", ""))
            counts[bound] = counts.get(bound, 0.0) + count
    whole = counts.pop(math.inf, 0.0)
    if not whole:
        yield found(
            "no-histogram", scene.service, "there is no istio_request_duration_milliseconds_bucket of its requests"
        )
        return
    named = scene.policy.named_bounds_ms()
    missing = [f"{bound:g} ms" for bound in named if bound not in counts]
    if missing:
        yield found(
            "bound-missing",
            scene.service,
            f"the policy judges latency at {listed(missing)}, where no histogram has a bucket; the nearest are "
            f"{listed([f'{bound:g} ms' for bound in _near(named, counts)])}",
        )
    uneven = [f"{bound:g} ms" for bound, count in sorted(counts.items()) if count != whole]
    if uneven:
        yield found("buckets-differ", scene.service, f"only some of its series have buckets at {listed(uneven)}")
    told = set(scene.policy.metrics.buckets)
    apart = [f"{bound:g} ms" for bound in sorted(told ^ set(counts))]
    if apart and not uneven:
        yield found(
            "buckets-not-as-told",
            scene.service,
            f"the histograms and metrics.buckets differ at {listed(apart)}",
        )


def unread(scene: Scene, series: MeshSeries) -> Iterator[Finding]:
    """What Prometheus would not tell, though it answers."""
    if series.unread:
        yield found(
            "series-not-read",
            scene.service,
            f"Prometheus answers, but not in time, or not at all, to the questions about {listed(series.unread, 9)}",
        )


def scraping(scene: Scene, series: MeshSeries) -> Iterator[Finding]:
    """Whether there is something new to see as often as the policy looks."""
    wanted = scene.policy.interval.total_seconds()
    if series.scrape_s is not None and series.scrape_s > _PATIENCE * wanted:
        yield found(
            "slow-scrape",
            scene.service,
            f"its series have a sample every {series.scrape_s:.0f} s, but the policy looks every {wanted:g} s",
        )


def _number(le: str) -> float:
    try:
        return float(le)
    except ValueError:
        return math.nan


def _near(named: Iterable[float], there: Iterable[float]) -> list[float]:
    """For each bound that is named the nearest that exists, each once, ascending."""
    existing = sorted(there)
    return sorted({min(existing, key=lambda one: abs(one - bound)) for bound in named}) if existing else []
