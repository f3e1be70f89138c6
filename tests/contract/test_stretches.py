"""A stretch of the past, read in pieces from every Metrics port: each request is in one block, and in one only."""

from rollout.core.counts import SERVER_FAILURES
from rollout.core.judging.past import Cell
from rollout.history import stretch
from tests.contract.metrics_world import BOUNDS, World


async def test_every_request_is_in_one_block(world: World) -> None:
    since = await world.scrape()
    world.gateway.serve(world.service, "v1", 5, ms=700)
    for _ in range(6):
        world.gateway.serve(world.service, "v1", 10)
        world.sidecar.serve(world.service, "v1", 20, code="503", ms=100)
        world.sidecar.serve(world.service, "v2", 1)
        world.gateway.serve(world.service, "unknown", 2, code="503", flags="UH")
        now = await world.scrape()
    found = await stretch(
        world.metrics,
        world.subject,
        since - world.interval,
        now + 2 * world.interval,
        block_s=world.interval.total_seconds(),
        failing=SERVER_FAILURES,
    )
    assert isinstance(found, list)
    nothing = Cell(slow=(0,) * len(BOUNDS))

    def added(cells: list[Cell]) -> Cell:
        return Cell(
            requests=sum(cell.requests for cell in cells),
            errors=sum(cell.errors for cell in cells),
            disconnects=sum(cell.disconnects for cell in cells),
            timed=sum(cell.timed for cell in cells),
            slow=tuple(sum(cell.slow[index] for cell in cells) for index in range(len(BOUNDS))),
        )

    stable = added([block.groups.get("stable", nothing) for block in found])
    assert stable == Cell(requests=185, errors=120, timed=185, slow=(185, 125, 5))
    assert added([block.groups.get("canary", nothing) for block in found]).requests == 6
    assert added([block.groups.get("lost", nothing) for block in found]).errors == 12
    by_target = {
        name: sum(block.pods.get(name, nothing).requests for block in found)
        for name in (("proxies", "gateway"), ("proxies", "sidecar"))
    }
    assert by_target == {("proxies", "gateway"): 65, ("proxies", "sidecar"): 120}
