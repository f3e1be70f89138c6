"""Stories of releases, played once undisturbed and then as often as there are writes to be hit at.

Belongs here: what happens in a story, what a controller is hit by and at which write, and what must be the same in the
end. Does not belong here: how many at a time (`matrix.py`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from rollout.sandbox import shop
from rollout.sandbox.audit import AuditEntry
from rollout.sandbox.cluster_client import JsonObject
from tests.crash.arena import USER
from tests.crash.forking import Controller
from tests.crash.invariants import decisions, told_wrongly, violations
from tests.crash.place import EDGE, LEASE, POLICY, RELEASE, Place, Standing
from tests.crash.proxy import Proxy, Trap
from tests.crash.writes import Write, entry_write

LIFE_S = 180.0
"""No life takes so long, however busy the machine."""
_POLL_S = 0.1
CIRCUMSTANCES = frozenset(
    {"StepHeld", "MetricsUnavailable", "MetricsRestored", "MetricsUncertain", "TrafficApplyFailed"}
)
"""Decisions that a crash may bring about, or spare."""


@dataclass(frozen=True)
class Story:
    """What becomes of v2, and by whose will."""

    name: str
    phase: str
    error_rates: Mapping[str, float] = field(default_factory=dict)
    aborts_at: str = ""
    """A person aborts once the release is in this phase."""
    routes: tuple[str, ...] = (shop.SERVICE,)
    """VirtualServices that are stepped."""
    hit_at: str = ""
    """How the writes begin at which it is hit; all of them where nothing is said."""

    @property
    def policy(self) -> JsonObject:
        """For its release."""
        if len(self.routes) == 1:
            return POLICY
        return {**POLICY, "route": {"virtualServices": [{"name": name} for name in self.routes]}}


PROMOTED = Story("promoted", "Promoted")
ROLLED_BACK = Story("rolled back", "RolledBack", {"v2": 0.6})
ABORTED = Story("aborted", "Aborted", aborts_at="Analysing")
TWO_ROUTES = Story("promoted, two", "Promoted", routes=(shop.SERVICE, EDGE), hit_at="route ")
TWO_ROUTES_BACK = replace(TWO_ROUTES, name="back, two", phase="RolledBack", error_rates={"v2": 0.6})
STORIES = (PROMOTED, ROLLED_BACK, ABORTED, TWO_ROUTES, TWO_ROUTES_BACK)


@dataclass(frozen=True)
class Point:
    """One write of a story: what it is about, and which time it comes."""

    write: Write
    occurrence: int

    def __str__(self) -> str:
        return self.write if self.occurrence == 1 else f"{self.write} ({self.occurrence})"


@dataclass
class Ending:
    """How a life ended."""

    standing: Standing
    decisions: Counter[str]
    written: list[AuditEntry]
    wrong: list[str]
    """Violations, as sentences."""
    seconds: float
    release: JsonObject
    events: list[JsonObject]
    reached: bool = True
    """Whether the write came at which something was to happen."""


def points_of(story: Story, written: list[AuditEntry]) -> list[Point]:
    """Every write of the controller's that the audit log shows, in order, as far as the story is hit at it."""
    seen: Counter[Write] = Counter()
    found = []
    for entry in sorted(written, key=lambda one: one.at):
        write = entry_write(entry) if entry.user == USER else None
        if write is not None and write.startswith(story.hit_at):
            seen[write] += 1
            found.append(Point(write, seen[write]))
    return found


class Life:
    """One release in one place; `play` it once."""

    def __init__(self, place: Place, story: Story, *, lease: JsonObject = LEASE) -> None:
        self.place = place
        self.story = story
        self._lease = lease
        self.proxy: Proxy | None = None
        self.controller: Controller | None = None

    async def begin(self, trap: Trap | None = None) -> Controller:
        """A place as new, and a controller that leads there."""
        self.place.routes = self.story.routes
        await self.place.reset(**self.story.error_rates)
        self.proxy = await self.place.proxy()
        self.proxy.trap = trap
        controller = self.controller = await self.place.controller(self.proxy, lease=self._lease)
        async with asyncio.timeout(LIFE_S):
            while not controller.told("leader.acquired"):
                assert controller.running, controller.log.read_text()[-2000:]
                await asyncio.sleep(_POLL_S)
        return controller

    async def restart(self) -> None:
        """What a Deployment does when its pod has died."""
        assert self.proxy is not None
        self.controller = await self.place.controller(self.proxy, lease=self._lease)

    async def go_on(self, meanwhile: Callable[[], Awaitable[None]] | None = None) -> float:
        """Until the release is over, told and let go of; returns how long that took.

        `meanwhile` is called again and again.
        """
        began, aborted = time.monotonic(), False
        while not self.place.is_settled():
            if meanwhile is not None:
                await meanwhile()
            if self.story.aborts_at and not aborted:
                status = self.place.status()
                if status.get("phase") == self.story.aborts_at:
                    await self.place.wish(abort={"reason": "enough"})
                    aborted = True
            if time.monotonic() - began > LIFE_S:
                status = self.place.status()
                said = status.get("phase"), status.get("reason"), status.get("message")
                raise AssertionError(f"I6 no end after {LIFE_S:g} s: {said}; logs in {self.place.path()}")
            await asyncio.sleep(_POLL_S)
        return time.monotonic() - began

    async def ending(self, seconds: float, *, reached: bool = True) -> Ending:
        """How everything is now, and what was wrong on the way."""
        events = await self.place.events()
        release = await self.place.get("Release", RELEASE)
        written = self.place.written()
        assert release is not None
        wrong = [*violations(written), *told_wrongly(release, events)]
        standing = await self.place.standing()
        return Ending(standing, decisions(events), written, wrong, seconds, release, events, reached)


async def undisturbed(place: Place, story: Story) -> Ending:
    """The reference."""
    life = Life(place, story)
    await life.begin()
    await place.release(story.policy)
    try:
        ending = await life.ending(await life.go_on())
    finally:
        await place.leave()
    if ending.standing.phase != story.phase:
        ending.wrong.append(f"ended as {ending.standing.phase} ({ending.standing.reason})")
    return ending


async def killed(place: Place, story: Story, point: Point, *, after: bool) -> Ending:
    """A controller that is killed -9 before or after one write reaches the server, and started again."""
    life = Life(place, story)

    async def spring(pass_on: Callable[[], Awaitable[int]]) -> None:
        if after:
            await pass_on()
        assert life.controller is not None
        life.controller.kill()

    trap = Trap(point.write, point.occurrence, spring)
    restarts = 0

    async def meanwhile() -> None:
        nonlocal restarts
        assert life.controller is not None
        if not life.controller.running:
            restarts += 1
            assert restarts == 1, f"it ended by itself: {life.controller.log.read_text()[-2000:]}"
            await life.restart()

    try:
        await life.begin(trap)
        await place.release(story.policy)
        ending = await life.ending(await life.go_on(meanwhile), reached=trap.sprung)
    finally:
        await place.leave()
    return ending


def differences(ending: Ending, reference: Ending) -> list[str]:
    """What is not as it was without a crash."""
    wrong = list(ending.wrong)
    if ending.standing != reference.standing:
        wrong.append(f"ended with {ending.standing}, not with {reference.standing}")
    told = Counter({one: times for one, times in ending.decisions.items() if one not in CIRCUMSTANCES})
    expected = Counter({one: times for one, times in reference.decisions.items() if one not in CIRCUMSTANCES})
    if told != expected:
        wrong.append(f"told {dict(told - expected)} more, {dict(expected - told)} less")
    return wrong
