"""The demo's story, played once for a module of tests."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.core.release import Release
from rollout.sandbox.accounts import Accounts, compare
from rollout.sandbox.api_servers import Real
from rollout.sandbox.audit import AuditEntry
from rollout.sandbox.cluster_client import JsonObject
from rollout.sandbox.controller import ControllerProcess
from rollout.sandbox.shop import NAMESPACE, SERVICE
from rollout.sandbox.story import CHAPTERS, RATE, Chapter, Result, play, prepare
from rollout.sandbox.world import World

_ISTIO = "networking.istio.io/v1"


@dataclass
class Told:
    """What is left of the story when it is over."""

    results: dict[str, Result]
    accounts: Accounts
    lines: list[dict[str, Any]]
    peak_mib: float
    virtual_service: JsonObject
    destination_rule: JsonObject
    pods: list[JsonObject]
    """None on the embedded API."""
    audit: Sequence[AuditEntry]
    """Nothing on the embedded API."""

    @property
    def route(self) -> list[tuple[str, int]]:
        """(subset, weight) of the primary route at the end."""
        route = next(http["route"] for http in self.virtual_service["spec"]["http"] if http.get("name") == "primary")
        return [(one["destination"]["subset"], one.get("weight", 100)) for one in route]

    @property
    def subsets(self) -> list[str]:
        """The DestinationRule's at the end."""
        return [subset["name"] for subset in self.destination_rule["spec"]["subsets"]]


async def _unseen(_chapter: Chapter, _release: Release) -> None:
    return None


async def tell(run_dir: Path, *, kubernetes: bool) -> Told:
    """Play the whole story; `kubernetes` says on which API."""
    async with World(run_dir, rate=RATE, kubernetes=kubernetes) as world:
        await prepare(world)
        async with ControllerProcess(world) as controller:
            results = {chapter.version: await play(world, chapter, _unseen) for chapter in CHAPTERS}
        return Told(
            results=results,
            accounts=await compare(world),
            lines=[json.loads(line) for line in controller.log.read_text().splitlines()],
            peak_mib=controller.peak_mib,
            virtual_service=await world.cluster.get(_ISTIO, "VirtualService", SERVICE, NAMESPACE),
            destination_rule=await world.cluster.get(_ISTIO, "DestinationRule", SERVICE, NAMESPACE),
            pods=(await world.cluster.list(await world.cluster.collection("v1", "Pod", NAMESPACE)))[0],
            audit=world.kubernetes.plane.audit() if isinstance(world.kubernetes, Real) else (),
        )
