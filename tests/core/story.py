"""One release, decided upon again and again: what the tests of the core tell their stories with."""

from datetime import datetime, timedelta

from rollout.core.decide import Decision, Seen, decide
from rollout.core.intents import Announce, Hold, Intent, LetGo
from rollout.core.release import Release, Status
from rollout.core.route import Mesh, Route
from tests import given


class Story:
    """One release under decision; `turn` saves what was decided and gives back what is to be done.

    The object is held and let go of as decided, unless `may_hold` is taken away.
    """

    may_hold = True

    def __init__(self, release: Release, now: datetime = given.NOW) -> None:
        self.release = release
        self.now = now
        self.last: Decision | None = None

    def turn(self, seen: Seen, after: timedelta = timedelta(0)) -> tuple[Intent, ...]:
        self.now += after
        self.last = decide(self.release, seen, self.now)
        held = self.release.held
        for intent in self.last.intents:
            held = (held or isinstance(intent, Hold)) and not isinstance(intent, LetGo) and self.may_hold
        self.release = self.release.model_copy(update={"status": self.last.status, "held": held})
        return tuple(intent for intent in self.last.intents if not isinstance(intent, Announce))

    def sees(self, mesh: Mesh, after: timedelta = timedelta(0)) -> tuple[Intent, ...]:
        return self.turn(given.seen(mesh, samples=given.samples(at=self.now)), after)

    @property
    def status(self) -> Status:
        return self.release.status

    @property
    def order(self) -> Route:
        assert self.status.order is not None
        return self.status.order

    def told(self, name: str) -> int:
        return [notice.name for notice in self.status.outbox].count(name)
