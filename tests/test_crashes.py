"""The process dies in the middle of a decision: whatever part of it was done, the end is the same."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest

from rollout.core.decide import Decision
from rollout.core.release import Phase, Release
from rollout.reconciler import Reconciler
from tests import given
from tests.place import LIFE, Place


class CrashError(Exception):
    """The process dies."""


class Mortal(Reconciler):
    """Dies in its cycle number `dies_in`, after the first `acts` of what it had to do."""

    dies_in = -1
    acts = 0
    cycles = 0
    had_to_do: ClassVar[list[int]]
    """How many things each cycle had to do."""

    async def _act(self, release: Release, decision: Decision) -> bool:
        cls = type(self)
        cls.cycles += 1
        cls.had_to_do.append(len(decision.intents))
        if cls.cycles == cls.dies_in:
            await super()._act(release, replace(decision, intents=decision.intents[: cls.acts]))
            raise CrashError
        return await super()._act(release, decision)


async def _life(story: str, *, dies_in: int = -1, acts: int = 0) -> tuple[Place, type[Mortal]]:
    class One(Mortal):
        pass

    One.dies_in, One.acts, One.had_to_do = dies_in, acts, []
    place = Place(reconciler=One)
    place.prometheus.error_rates = {given.CANARY: 0.6 if story == "fails" else 0.0}
    if story == "fails at full weight":
        place.prometheus.full_error_rates = {given.CANARY: 0.6}
    await place.begin()
    for _ in range(LIFE):
        try:
            status = await place.status()
            if story == "aborted at its end" and status.phase is Phase.FINISHING and not place.mesh.subsets - {"v2"}:
                await place.abort()
            if await place.cycle() is None:
                return place, One
        except CrashError:
            place.reconciler = One(place.world)
    pytest.fail(f"no rest in {(await place.status()).phase}")


def _crashes(had_to_do: list[int]) -> Iterator[tuple[int, int]]:
    """Before, between and after the things that each cycle had to do."""
    return ((cycle, acts) for cycle, most in enumerate(had_to_do, start=1) for acts in range(most + 1))


@pytest.mark.parametrize(
    ("story", "phase"),
    [
        ("passes", Phase.PROMOTED),
        ("fails", Phase.ROLLED_BACK),
        ("fails at full weight", Phase.ROLLED_BACK),
        ("aborted at its end", Phase.ABORTED),
    ],
)
async def test_whatever_part_of_a_decision_was_done_before_a_crash_the_end_is_the_same(
    story: str, phase: Phase
) -> None:
    place, mortal = await _life(story)
    assert max(mortal.had_to_do) > 1
    assert (await place.status()).phase is phase
    expected = (phase, place.mesh.weights, place.mesh.subsets)
    for cycle, acts in _crashes(mortal.had_to_do):
        crashed, _ = await _life(story, dies_in=cycle, acts=acts)
        status = await crashed.status()
        assert (status.phase, crashed.mesh.weights, crashed.mesh.subsets) == expected
        assert sorted(crashed.announcer.told[given.NAME]) == list(range(1, status.sequence + 1))
        assert not crashed.announcer.renamed
