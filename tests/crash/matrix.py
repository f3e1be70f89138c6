"""All lives: every story, every write of it, every way to be hit there; many side by side, each in its own namespace.

Belongs here: which cases there are, how many at a time, the table. Does not belong here: what happens in one.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.crash.arena import Arena
from tests.crash.lives import STORIES, Ending, Point, Story, differences, killed, points_of
from tests.crash.place import Place
from tests.crash.taken_over import slept_through

HOWS = ("kill before", "kill after", "stop and take over")
AT_ONCE = 16
_TRIES = 4
"""How often a life is played until the write comes at which something is to happen: some depend on the clock."""


@dataclass(frozen=True)
class Case:
    """One life to be played."""

    story: Story
    how: str
    point: Point

    def __str__(self) -> str:
        return f"{self.story.name}, {self.how}: {self.point}"


@dataclass
class Played:
    """What came of it."""

    case: Case
    wrong: list[str]
    reached: bool


@dataclass
class Matrix:
    """Play it once."""

    references: dict[str, Ending]
    """How the stories end undisturbed, by name."""
    played: list[Played] = field(default_factory=list)
    seconds: float = 0.0

    async def play(self, arena: Arena, stories: Sequence[Story] = STORIES, hows: Sequence[str] = HOWS) -> None:
        """Every write of every story, in every way; those that take longest first."""
        began = time.monotonic()
        places = [Place(arena) for _ in range(AT_ONCE)]
        await asyncio.gather(*(place.open() for place in places))
        try:
            cases = [
                Case(story, how, point) for how in reversed(hows) for story in stories for point in self.points(story)
            ]
            waiting = iter(cases)
            await asyncio.gather(*(self._work(place, waiting) for place in places))
        finally:
            await asyncio.gather(*(place.close() for place in places))
        self.seconds = time.monotonic() - began

    def points(self, story: Story) -> list[Point]:
        """The writes at which it is hit."""
        return points_of(story, self.references[story.name].written)

    def of(self, story: Story, how: str) -> list[Played]:
        """One cell of the table."""
        return [one for one in self.played if one.case.story == story and one.case.how == how]

    def never_hit(self, story: Story, how: str) -> list[str]:
        """Writes that were not hit at any of their occurrences."""
        cell = self.of(story, how)
        hit = {one.case.point.write for one in cell if one.reached}
        return sorted({one.case.point.write for one in cell} - hit)

    def table(self) -> list[str]:
        """For people."""
        lines = [f"{'story':14} {'points':>6}  " + "  ".join(f"{how:>20}" for how in HOWS)]
        for story in STORIES:
            if story.name not in self.references:
                continue
            points = len(self.points(story))
            cells = []
            for how in HOWS:
                cell = self.of(story, how)
                hit, wrong = sum(one.reached for one in cell), sum(bool(one.wrong) for one in cell)
                cells.append(f"{hit} hit, {wrong} wrong")
            lines.append(f"{story.name:14} {points:>6}  " + "  ".join(f"{cell:>20}" for cell in cells))
        total = Counter("wrong" if one.wrong else "right" for one in self.played)
        lines.append(f"{len(self.played)} lives in {self.seconds:.0f} s, {total['wrong']} with a violation")
        return lines

    async def _work(self, place: Place, waiting: Iterator[Case]) -> None:
        for case in waiting:
            self.played.append(await _played(place, case, self.references[case.story.name]))


async def _played(place: Place, case: Case, reference: Ending) -> Played:
    for _ in range(_TRIES):
        try:
            if case.how == "stop and take over":
                ending = await slept_through(place, case.story, case.point)
            else:
                ending = await killed(place, case.story, case.point, after=case.how == "kill after")
        except (AssertionError, TimeoutError) as error:
            return Played(case, [str(error) or repr(error)], reached=True)
        wrong = differences(ending, reference)
        if wrong or ending.reached:
            return Played(case, wrong, ending.reached)
    return Played(case, [], reached=False)
