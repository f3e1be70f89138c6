"""Two fixed subset names that versions take by turns (`route.subsets` of the policy): which is whose, and taking one.

Belongs here: dicts in, a reading or JSON Patch operations (RFC 6902) out. Does not belong here: subsets of a version's
own name (`destination_rule.py`), routes (`http_route.py`), I/O (`istio.py`).

A version takes the slot that is not the other one's and that receives nothing: the slot's version label is all that
changes. Nothing is put away afterwards; the loser keeps its slot, without traffic, until the next version takes it.
"""

from collections.abc import Iterator, Mapping

from rollout.adapters.destination_rule import (
    JsonObject,
    Operation,
    Subset,
    copied,
    guard,
    pointer,
    rule_name,
    selector_problems,
    subset_for,
    subsets_of,
    unusable,
)
from rollout.core.route import Problem, Target


def slots_of(subsets: tuple[Subset, ...], target: Target) -> tuple[Subset, ...]:
    """Those of the rule's subsets that are slots, in the rule's order.

    Of several subsets of one name Istio keeps the first (destination_rule.go:mergeDestinationRule).
    """
    found: dict[str, Subset] = {}
    for subset in subsets:
        if subset.name in target.slots:
            found.setdefault(subset.name, subset)
    return tuple(found.values())


def version_in(name: str, subsets: tuple[Subset, ...], target: Target) -> str:
    """The version that a subset's name stands for: its label decides.

    A slot that somebody took out of the rule stands for the one of the two versions that has no slot: a rollback must
    find its way.
    """
    known = next((subset.version for subset in subsets if subset.name == name and subset.version), None)
    if known is not None:
        return known
    settled = {subset.version for subset in slots_of(subsets, target)}
    homeless = [one for one in (target.stable, target.canary) if one not in settled]
    # Before it is known who is stable, the slot that holds the traffic could be taken for the canary's.
    sure = name in target.slots and target.stable is not None and len(homeless) == 1
    return homeless[0] or name if sure else name


def slot_problems(rule: JsonObject | None, target: Target, stable: str | None) -> Iterator[Problem]:
    """Why a release cannot rely on these slots; the first says best what to do. `stable` None skips what it decides."""
    problem = unusable(rule, target)
    if problem is not None:
        yield problem
        return
    yield from selector_problems(rule, target)
    slots = slots_of(subsets_of(rule, target), target)
    yield from (problem for slot in slots if (problem := _unfit(slot, target)) is not None)
    if stable is not None and subset_for(stable, slots) is None:
        yield _no_slot_of(stable, target)


def _no_slot_of(version: str, target: Target) -> Problem:
    return Problem(
        "stable-in-no-slot",
        f"{rule_name(target)} has no subset {_either(target)} with {target.version_label}={version}, which holds the "
        "traffic: route it to one of them, or correct route.subsets",
    )


def _unfit(slot: Subset, target: Target) -> Problem | None:
    """Why a version could not take this slot by its label."""
    where = f"subset {slot.name!r} of {rule_name(target)}"
    if slot.pinned:
        return Problem(
            "subset-pinned",
            f"{where} selects by a hash of the pod template, which no other version has: let it select by "
            f"{target.version_label} alone",
        )
    if slot.version is None:
        return Problem(
            "subset-label",
            f"{where} does not select by label {target.version_label!r}: name the label that tells versions apart in "
            "podLabel",
        )
    return None


def _either(target: Target) -> str:
    return " or ".join(repr(name) for name in target.slots)


def idle_slot(subsets: tuple[Subset, ...], target: Target, version: str, fed: frozenset[str]) -> str | Problem:
    """The slot that `version` may take: not the one of the other of the two versions. `fed` receive requests.

    Where both slots carry the other's label, the one that receives requests is the other's.
    """
    other = target.stable if version == target.canary else target.canary
    theirs = [slot.name for slot in slots_of(subsets, target) if other is not None and slot.version == other]
    if not theirs:
        return _no_slot_of(other or "any version", target)
    kept = next((name for name in theirs if name in fed), theirs[0])
    return next(name for name in target.slots if name != kept)


def with_slot(rule: JsonObject, target: Target, version: str, fed: Mapping[str, str]) -> list[Operation] | Problem:
    """The patch that gives `version` the idle slot; empty where it has one. Never raises.

    `fed`: the slots that receive requests or copies of them -> the VirtualService that sends these.
    """
    problem = unusable(rule, target)
    if problem is not None:
        return problem
    subsets = subsets_of(rule, target)
    slots = slots_of(subsets, target)
    if subset_for(version, slots) is not None:
        return []
    name = idle_slot(subsets, target, version, frozenset(fed))
    if isinstance(name, Problem):
        return name
    # Stable's own slot, spoilt by hand, is given back to it: what is sent there is meant for stable.
    if name in fed and version != target.stable:
        return taken(name, fed[name], target, version)
    slot = next((one for one in slots if one.name == name), None)
    if slot is None:
        template = slots[0]
        return _unfit(template, target) or copied(rule, target, template, name, version)
    path = f"/spec/subsets/{slot.index}/labels/{pointer(target.version_label)}"
    return _unfit(slot, target) or [guard(rule), {"op": "replace", "path": path, "value": version}]


def taken(slot: str, where: str, target: Target, version: str) -> Problem:
    """The slot that `version` would take is in use: its label may not be changed under running requests."""
    return Problem(
        "slot-in-use",
        f"{where} sends to subset {slot!r} of {rule_name(target)}, which {version} would take: nothing but the "
        "stepped route, weight 0, may name it",
    )
