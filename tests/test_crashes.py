"""The process dies in the middle of a decision: whatever part of it was done, the end is the same."""

from collections.abc import Iterator
from dataclasses import replace

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
    most = 0
    """The most things that any cycle had to do."""

    async def _act(self, release: Release, decision: Decision) -> bool:
        cls = type(self)
        cls.cycles += 1
        cls.most = max(cls.most, len(decision.intents))
        if cls.cycles == cls.dies_in:
            await super()._act(release, replace(decision, intents=decision.intents[: cls.acts]))
            raise CrashError
        return await super()._act(release, decision)


async def _life(story: str, *, dies_in: int = -1, acts: int = 0) -> tuple[Place, type[Mortal]]:
    class One(Mortal):
        pass

    One.dies_in, One.acts = dies_in, acts
    place = Place(reconciler=One)
    place.prometheus.error_rates = {given.CANARY: 0.6 if story == "fails" else 0.0}
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


def _crashes(cycles: int, most: int) -> Iterator[tuple[int, int]]:
    return ((cycle, acts) for cycle in range(1, cycles + 1) for acts in range(most))


@pytest.mark.parametrize(
    ("story", "phase"),
    [("passes", Phase.PROMOTED), ("fails", Phase.ROLLED_BACK), ("aborted at its end", Phase.ABORTED)],
)
async def test_whatever_part_of_a_decision_was_done_before_a_crash_the_end_is_the_same(
    story: str, phase: Phase
) -> None:
    place, mortal = await _life(story)
    assert mortal.most > 1
    assert (await place.status()).phase is phase
    expected = (phase, place.mesh.weights, place.mesh.subsets)
    for cycle, acts in _crashes(mortal.cycles, mortal.most):
        crashed, _ = await _life(story, dies_in=cycle, acts=acts)
        status = await crashed.status()
        assert (status.phase, crashed.mesh.weights, crashed.mesh.subsets) == expected
        assert sorted(crashed.announcer.told[given.NAME]) == list(range(1, status.sequence + 1))
        assert not crashed.announcer.renamed
