"""Several VirtualServices that carry one service's traffic, seen as one route: the mesh's and a gateway's, as a rule.

Belongs here: what all of them together say. Does not belong here: what one of them says (`virtual_service.py`), I/O
(`istio.py`).
"""

from collections.abc import Sequence
from dataclasses import replace

from rollout.core.orders import SPLIT
from rollout.core.route import Leg, Mesh, Part, Problem, Target

Said = tuple[Leg, Mesh]
"""One VirtualService and the route as it stands in it."""


def alone(target: Target, leg: Leg) -> Target:
    """The target as far as this VirtualService is concerned."""
    return replace(target, legs=(leg,))


def joined(target: Target, said: Sequence[Said], missing: Sequence[Leg], unread: Sequence[Leg] = ()) -> Mesh:
    """The route as it stands in all of them; at least one was read.

    Where they differ, the share is the largest and the order the newest: what `core/route.py` says of a `Mesh`.
    """
    meshes = [mesh for _, mesh in said]
    first = meshes[0]
    if len(target.legs) == 1:
        return first
    # Of two orders with one epoch the foreign one counts: where two have ordered, nobody may go on as if alone.
    newest = max(meshes, key=lambda mesh: (mesh.epoch, mesh.release not in {"", target.release}, mesh.release))
    holders = {mesh.stable for mesh in meshes}
    return Mesh(
        percent=max(mesh.percent for mesh in meshes),
        epoch=newest.epoch,
        release=newest.release,
        stable=first.stable if len(holders) == 1 else None,
        listed=frozenset().union(*(mesh.listed for mesh in meshes)),
        subsets=first.subsets,
        revision=first.revision,
        problem=_unreadable(unread) or _problem(target, said),
        parts=tuple(Part(leg, mesh.percent, mesh.epoch, mesh.release, mesh.revision) for leg, mesh in said),
        missing=tuple(missing),
        unread=tuple(unread),
    )


def _unreadable(unread: Sequence[Leg]) -> Problem | None:
    """Before all others: what the rest says is half of a picture."""
    if not unread:
        return None
    names = ", ".join(map(str, unread))
    return Problem(
        "leg-unreadable",
        f"VirtualService {names} cannot be read: no share is raised before it can; where it is the rights, grant "
        "`get virtualservices` there",
    )


def _problem(target: Target, said: Sequence[Said]) -> Problem | None:
    """The first one that a release under way could not live with either, else the first."""
    found = [mesh.problem for _, mesh in said if mesh.problem is not None]
    lasting = [problem for problem in found if problem.code != SPLIT]
    return next(iter((*lasting, *found)), None) or _uneven(target, said)


def _uneven(target: Target, said: Sequence[Said]) -> Problem | None:
    """Between two orders of ours they differ for a moment; before the first, nobody knows which of them is right."""
    if target.release and any(mesh.release == target.release for _, mesh in said):
        return None
    (one, mesh), *rest = said
    for other, differing in rest:
        if (differing.percent, differing.stable) != (mesh.percent, mesh.stable):
            return Problem(
                "uneven",
                f"VirtualService {one} {_says(target, mesh)}, VirtualService {other} {_says(target, differing)}: "
                "give all traffic to the same version in both",
            )
    return None


def _says(target: Target, mesh: Mesh) -> str:
    if mesh.percent in {0, 100} and (holder := mesh.stable or target.canary):
        return f"gives all traffic to {holder}"
    return f"gives {mesh.percent} % to {target.canary}"
