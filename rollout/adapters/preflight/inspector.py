"""The Preflight port on a cluster and a Prometheus: reads everything at once, and asks every rule.

Belongs here: what is read when, and in which order findings are told. Does not belong here: any rule; each kind of
object has its own file.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace

from rollout.adapters.cluster import Cluster
from rollout.adapters.istio import IstioTraffic
from rollout.adapters.preflight import (
    destination_rules,
    gateway_api,
    owners,
    series,
    services,
    surroundings,
    telemetries,
    versions,
    virtual_services,
)
from rollout.adapters.preflight.catalogue import found, of_the_route
from rollout.adapters.preflight.mesh_lists import MeshLists
from rollout.adapters.preflight.mesh_series import MeshSeries, PrometheusSeries
from rollout.adapters.preflight.reading import Reader
from rollout.adapters.preflight.rehearsal import Rehearsal
from rollout.adapters.preflight.scene import Scene
from rollout.adapters.preflight.surroundings import Surroundings
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Finding, Report, Severity, VersionLabel
from rollout.core.route import Gone, Leg, Mesh, Target, Unavailable, subset_name
from rollout.ports import Clock, Conflict, NotFound, Outage, Refused

_AT_ONCE = 4
"""Inspections that read from the cluster: each sends some twenty requests."""
_ORDER: Mapping[Severity, int] = {"error": 0, "warning": 1, "info": 2}


class ClusterPreflight:
    """`ports.Preflight`.

    Args:
        cluster: asked as the account that will make the release's changes: its rights are part of what is found.
        prometheus: where the release will be judged from.
        clock: for the time of the queries.
        domain: DNS domain of the cluster.
        root: Istio's root namespace.
        seconds: each of its parts may take: what is told of the service, what is near it, the dry run.
        listing_seconds: reading one list of the whole mesh may take, from when its turn has come.
    """

    def __init__(
        self,
        cluster: Cluster,
        prometheus: PrometheusSeries,
        clock: Clock,
        *,
        domain: str = "cluster.local",
        root: str = "istio-system",
        seconds: float = 10.0,
        listing_seconds: float = 60.0,
    ) -> None:
        self._cluster = cluster
        self._prometheus = prometheus
        self._clock = clock
        self._domain = domain
        self._root = root
        self._seconds = seconds
        self._lists = MeshLists(cluster, seconds=listing_seconds)
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def inspect(self, target: Target, policy: PolicySpec) -> Report | Unavailable:
        """Look at all of it. Never raises; what may not be read is a finding.

        Unavailable where anything did not answer, Prometheus too: an error is for good, and an outage passes.
        """
        began = asyncio.get_running_loop().time()
        try:
            reader = Reader(self._cluster, self._lists)
            report = await self._inspect(target, policy, reader)
            if isinstance(report, Report) and report.errors and reader.oldest < began:
                # Nobody is refused for what was mended before we were asked.
                report = await self._inspect(target, policy, Reader(self._cluster, self._lists, since=began))
            return report
        except TimeoutError:
            return Unavailable(f"the surroundings of {target.service} could not be read within {self._seconds:g} s")
        except (Outage, Refused, Conflict, NotFound) as error:
            return Unavailable(str(error))
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever an object held; the port never raises
            return Unavailable(f"the surroundings of {target.service} cannot be read: {error!r}")

    async def _inspect(self, target: Target, policy: PolicySpec, reader: Reader) -> Report | Unavailable:
        scene = Scene(target, policy, self._domain, self._root)
        # It has a queue and deadlines of its own.
        seen = await self._prometheus.read(scene.hosts, self._clock.now())
        if isinstance(seen, Unavailable):
            return seen
        async with self._turn:
            return await self._in_turn(scene, seen, reader)

    async def _in_turn(self, scene: Scene, seen: MeshSeries, reader: Reader) -> Report | Unavailable:
        target, policy = scene.target, scene.policy
        async with asyncio.timeout(self._seconds):
            mesh, named = await asyncio.gather(
                IstioTraffic(self._cluster).observe(target), surroundings.routing(reader, target)
            )
        if isinstance(mesh, Unavailable):
            return mesh
        if (trouble := reader.trouble()) is not None:
            return trouble
        stable = target.stable or (mesh.stable if isinstance(mesh, Mesh) else None)
        scene = replace(
            scene,
            target=replace(target, stable=stable),
            clients=series.client_namespaces(seen),
            reporters=series.reporters_of(seen),
        )
        whole = await surroundings.mesh_wide(reader)
        if (trouble := reader.trouble()) is not None:
            return trouble
        async with asyncio.timeout(self._seconds):
            there = await surroundings.around(reader, scene, named, whole)
        if (trouble := reader.trouble()) is not None:
            return trouble
        async with asyncio.timeout(self._seconds):
            routed = await self._route(scene, mesh)
            rehearsed = []
            if isinstance(mesh, Mesh) and not routed:
                rehearsed = await Rehearsal(self._cluster).of(scene.target, policy, mesh)
        label, metrics = _metrics(scene, seen)
        # In a thread: over some thousands of objects it takes a tenth of a second, which the loop has not.
        around = await asyncio.to_thread(lambda: [*_around(scene, there, label), *_callers(scene, there, seen)])
        findings = [*routed, *rehearsed, *around, *metrics, *reader.findings(slots=bool(target.slots))]
        findings.sort(key=lambda one: _ORDER[one.severity])
        return Report(tuple(dict.fromkeys(findings)), label)

    async def _route(self, scene: Scene, mesh: Mesh | Gone) -> list[Finding]:
        """What the route itself has wrong: of each VirtualService alone, and of all together."""
        target = scene.target
        if isinstance(mesh, Gone):
            return [_missing(leg) for leg in target.legs]
        said = [_missing(leg) for leg in mesh.missing]
        if mesh.percent == 100 or mesh.stable == target.canary:
            said.append(
                found("already-released", f"VirtualService {target.legs[0]}", f"{target.canary} holds all traffic")
            )
            return said
        if mesh.problem is None:
            return said
        traffic = IstioTraffic(self._cluster)
        apart = [replace(target, legs=(leg,)) for leg in target.legs if leg not in mesh.missing]
        several = len(apart) > 1
        for one, alone in (
            zip(await asyncio.gather(*map(traffic.observe, apart)), apart, strict=True) if several else ()
        ):
            if isinstance(one, Mesh) and one.problem is not None:
                said.append(of_the_route(one.problem, f"VirtualService {alone.legs[0]}"))
        if not any(one.code == mesh.problem.code for one in said):
            said.append(of_the_route(mesh.problem, f"VirtualService {target.legs[0]}"))
        return said


def _missing(leg: Leg) -> Finding:
    return found("virtual-service-missing", f"VirtualService {leg}", f"there is no VirtualService {leg}")


def _metrics(scene: Scene, seen: MeshSeries) -> tuple[VersionLabel | None, list[Finding]]:
    """What Prometheus tells, and the label that the release is judged by."""
    label, said = series.version_label(scene, seen)
    rules = (
        series.reporting(scene, seen),
        series.tags(scene, seen, label),
        series.buckets(scene, seen),
        series.scraping(scene, seen),
        series.unread(scene, seen),
    )
    return label, [*(one for rule in rules for one in rule), *said]


def _around(scene: Scene, there: Surroundings, label: VersionLabel | None) -> Iterator[Finding]:
    """Every rule over the objects."""
    target = scene.target
    needed = destination_rules.needed_subsets(scene, there.rule)
    sorted_out = virtual_services.carriers(scene, there.virtual_services)
    yield from destination_rules.shadows(scene, there.destination_rules, needed)
    yield from destination_rules.hidden(scene, there.rule)
    yield from destination_rules.several(scene, there.destination_rules)
    yield from virtual_services.conflicts(scene, sorted_out)
    yield from virtual_services.bypasses(scene, sorted_out)
    yield from virtual_services.hidden(scene, sorted_out)
    canarys = {subset_name(target.canary), *needed[-1:]} if not target.slots else set(target.slots)
    yield from virtual_services.mirrors(scene, sorted_out.legs, canarys)
    for kind, routes in there.routes.items():
        yield from gateway_api.mixed(scene, kind, routes)
    for name, service in there.services.items():
        yield from services.of_service(scene, name, service)
    if there.canary is not None:
        own = target.host_of(target.canary) or target.service
        labels = versions.template_labels(there.canary)
        yield from services.selects(there.services.get(own), labels, target.canary)
    if there.canary_known:
        name = scene.policy.deployment_of(target.service, target.canary)
        yield from versions.readiness(scene, name, there.canary)
    yield from versions.labels(scene, there.canary, there.pods)
    yield from versions.further_labels(scene, there.rule, there.canary, there.pods)
    yield from versions.sidecars(scene, there.canary, there.pods)
    yield from versions.revisions(scene, label, there.stable, there.canary)
    for obj in sorted_out.legs:
        yield from owners.owners("VirtualService", obj)
    yield from owners.owners("DestinationRule", there.rule)
    yield from telemetries.overrides(scene, there.telemetries)
    yield from virtual_services.roots(sorted_out)


def _callers(scene: Scene, there: Surroundings, seen: MeshSeries) -> Iterator[Finding]:
    """Clients that the stepped VirtualServices do not reach."""
    sorted_out = virtual_services.carriers(scene, there.virtual_services)
    yield from virtual_services.unreached(sorted_out, series.client_workloads(seen))
