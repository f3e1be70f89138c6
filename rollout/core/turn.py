"""One turn of the state machine: the table it may move by, what it sees, and the draft of its decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rollout.core.conditions import conditions, progress
from rollout.core.counts import Samples
from rollout.core.events import CATALOGUE, Notice, Scalar
from rollout.core.freeze import Freeze
from rollout.core.gating import Answer
from rollout.core.intents import Announce, Intent, SetRoute
from rollout.core.judging.clumps import Learned
from rollout.core.judging.gates import Readings
from rollout.core.judging.judge import Opinion
from rollout.core.judging.verdicts import Verdict
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Report
from rollout.core.quantities import format_duration
from rollout.core.release import Cause, Confirmed, Delivered, Phase, Reason, Release, Status
from rollout.core.route import Gone, Mesh, Problem, Unavailable
from rollout.core.workload import Health

CHANNELS_TAKE = timedelta(seconds=2)
"""How often to look, after the end, whether channels have taken what is owed to them."""
_LONGEST_TAKE = timedelta(seconds=30)
_LAST_WORDS = timedelta(minutes=1)
MOST_NOTICES = 50
"""An announcer that fails for ever must not grow the object; the oldest notices go first."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of phase that may happen, and why."""

    source: Phase
    target: Phase
    why: str


_BACK = "check failed, abort, deadline, no metrics, no ready pod"
TRANSITIONS = (
    Transition(Phase.PENDING, Phase.PREPARING, "claim the route, freeze the policy"),
    Transition(Phase.PENDING, Phase.FAILED, "refused: nothing was written"),
    Transition(Phase.PENDING, Phase.ABORTED, "aborted before it began"),
    Transition(Phase.PREPARING, Phase.SHIFTING, "pods ready, metrics answer, subset settled"),
    Transition(Phase.PREPARING, Phase.ROLLING_BACK, "abort, deadline"),
    Transition(Phase.SHIFTING, Phase.ANALYSING, "weight and epoch seen on the route"),
    Transition(Phase.SHIFTING, Phase.ROLLING_BACK, "abort, deadline, no ready pod"),
    Transition(Phase.ANALYSING, Phase.SHIFTING, "every check passed: next weight; alarm at 100 %: first weight"),
    Transition(Phase.ANALYSING, Phase.FINISHING, "every check passed at 100 %"),
    Transition(Phase.ANALYSING, Phase.ROLLING_BACK, _BACK),
    Transition(Phase.FINISHING, Phase.PROMOTED, "old entries put away, route as ordered"),
    Transition(Phase.FINISHING, Phase.SHIFTING, "route taken back after a hand edit"),
    Transition(Phase.FINISHING, Phase.ROLLING_BACK, "abort"),
    Transition(Phase.ROLLING_BACK, Phase.ROLLED_BACK, "all traffic seen at stable"),
    Transition(Phase.ROLLING_BACK, Phase.ABORTED, "all traffic seen at stable, by a person's wish"),
    Transition(Phase.ROLLING_BACK, Phase.FAILED, "no traffic had moved, or the route is gone"),
    *(
        Transition(source, target, why)
        for source in (Phase.PREPARING, Phase.SHIFTING, Phase.ANALYSING, Phase.FINISHING)
        for target, why in ((Phase.FAILED, "the route is gone"), (Phase.ABORTED, "another release took the route"))
    ),
)
_ALLOWED = frozenset((transition.source, transition.target) for transition in TRANSITIONS)


@dataclass(frozen=True, slots=True)
class Seen:
    """The world, as far as this release needs it now. None means: not looked at, because not needed."""

    mesh: Mesh | Gone | Unavailable | None = None
    health: Health | Unavailable | None = None
    stable_health: Health | Unavailable | None = None
    """Of stable's pods: looked at while the canary is judged beside them."""
    samples: Samples | Unavailable | None = None
    past: Learned | Unavailable | None = None
    readings: Readings | Unavailable | None = None
    preflight: Report | Unavailable | None = None
    """What was found about everything around the route; asked for only while the release is pending."""
    policy: PolicySpec | Problem | None = None
    """The policy to freeze; asked for only while the release is pending."""
    rivals: tuple[str, ...] = ()
    """Other unfinished releases of the service that began, or were made, before this one."""
    first: tuple[str, ...] = ()
    """Unfinished releases of services that this one's policy lets go first."""
    circle: tuple[str, ...] = ()
    """Services that wait for one another, this one's first and last."""
    full: str = ""
    """Why the namespace takes no further release just now."""
    superseded_by: str = ""
    """The release that asks for this one to be put back."""
    freezes: tuple[Freeze, ...] | Unavailable = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By gate: what came back for the question that is open."""
    announced: int = 0
    """Number of the last event that is known to have been announced."""
    delivered: Mapping[str, Delivered] = field(default_factory=dict)
    """By channel that wants to know of this release: how far it has been told."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to save, then what to do, then when to look again."""

    status: Status
    intents: tuple[Intent, ...]
    requeue_after: timedelta | None
    """None: only a change of the release itself is worth another look."""
    looked: tuple[Verdict, ...] = ()
    """The verdicts of this turn, where it judged an interval."""
    opinion: Opinion | None = None
    """What follows from them."""


class Turn:
    """The draft of a decision. Lives for one call of `decide`; nothing in it outlives the call."""

    def __init__(self, release: Release, seen: Seen, now: datetime) -> None:
        self.release = release
        self.seen = seen
        self.now = now
        self.status: Status = release.status
        self.looked: tuple[Verdict, ...] = ()
        self.opinion: Opinion | None = None
        self.answers: dict[str, Answer] = dict(seen.answers)
        """What gates said, until it is taken in."""
        self._intents: list[Intent] = []
        self._requeue: timedelta | None = timedelta(0)

    @property
    def version(self) -> str:
        """The canary's version; the status keeps it safe from a spec that was spoilt later."""
        return self.status.version or self.release.spec.version

    def deployment(self) -> str:
        """Name of the canary's Deployment, for messages."""
        policy, service = self.status.policy, self.status.service or self.release.spec.service
        return f"Deployment {policy.deployment_of(service, self.version)}" if policy else "the Deployment"

    def span(self, length: timedelta) -> str:
        """A duration, for messages."""
        return format_duration(length)

    def put(self, **fields: Any) -> None:
        """Set fields of the status to be."""
        self.status = self.status.model_copy(update=fields)

    def go(self, phase: Phase, reason: Reason, message: str) -> None:
        """Change the phase, along the table only."""
        change = (self.status.phase, phase)
        assert change in _ALLOWED, f"{change[0]} -> {change[1]} is not in TRANSITIONS"
        self.put(phase=phase, reason=reason.value, message=message, since=self.now)
        self._requeue = timedelta(0)

    def wait(self, reason: str, message: str, again: timedelta) -> None:
        """Stay in the phase: why, and when to look again."""
        self.put(reason=str(reason), message=message)
        self._requeue = max(again, timedelta(0))

    def late(self, deadline: timedelta) -> bool:
        """Whether this phase has lasted longer than `deadline`."""
        since = self.status.since
        # Whoever was held by a person, a window, a freeze or a gate is not late by that.
        began = max(since, self.status.held_at or since) if since is not None else self.now
        return self.now - began > deadline

    def confirm(self) -> None:
        """The order was seen on the mesh, now."""
        assert self.status.order is not None
        self.put(confirmed=Confirmed(route=self.status.order, at=self.now))

    def want(self, intent: Intent) -> None:
        """Have something done after the save."""
        self._intents.append(intent)

    def order(self, mesh: Mesh) -> None:
        """Have the order written; of several in one turn only the last counts."""
        assert self.status.order is not None
        self._intents = [intent for intent in self._intents if not isinstance(intent, SetRoute)]
        self.want(SetRoute(self.status.order, mesh))

    def tell(self, name: str, **fields: Scalar) -> None:
        """Announce an event of the catalogue, with exactly the fields that it declares there (or fewer)."""
        undeclared = set(fields) - set(CATALOGUE[name].fields)
        assert not undeclared, f"{name} does not declare {undeclared}"
        sequence = self.status.sequence + 1
        notice = Notice(sequence=sequence, at=self.now, name=name, fields=fields)
        self.put(sequence=sequence, outbox=(*self.status.outbox, notice)[-MOST_NOTICES:])

    def drop_told(self) -> None:
        """Remember how far everybody has been told, and forget what all of them know."""
        status, told = self.status, dict(self.status.notified)
        for channel, one in self.seen.delivered.items():
            if one.sequence >= told.get(channel, one).sequence:
                told[channel] = one
        announced = max(status.announced, min(self.seen.announced, status.sequence))
        if announced != status.announced or told != status.notified:
            self.put(announced=announced, notified=told)
        owed = () if self._is_given_up() else self.seen.delivered
        everybody = min([announced, *(told[channel].sequence for channel in owed)])
        left = tuple(notice for notice in status.outbox if notice.sequence > everybody)
        if len(left) != len(status.outbox):
            self.put(outbox=left)

    def _is_given_up(self) -> bool:
        """A person who deletes a Release does not wait for long until a channel answers."""
        ended = self.status.finished_at
        return self.release.deleting and ended is not None and self.now - ended > _LAST_WORDS

    def refuse(self, reason: Reason, message: str) -> None:
        """End before anything was written."""
        self.put(cause=Cause(kind="infrastructure", reason=reason, message=message))
        self.tell("release.rejected", reason_code=reason.value, reason=message)
        self.go(Phase.FAILED, reason, message)
        self.put(finished_at=self.now)

    def end(self, phase: Phase) -> None:
        """Reach the outcome and say so once."""
        cause, started = self.status.cause, self.status.started_at
        reason = Reason.PROMOTED if cause is None or phase is Phase.PROMOTED else cause.reason
        message = f"{self.version} holds all traffic" if cause is None or phase is Phase.PROMOTED else cause.message
        self.go(phase, reason, message)
        self.put(finished_at=self.now)
        fields: dict[str, Scalar] = {"reason_code": reason.value, "reason": message}
        took: dict[str, Scalar] = {"duration_s": round((self.now - (started or self.now)).total_seconds(), 1)}
        match phase:
            case Phase.PROMOTED:
                self.tell("release.succeeded", **took)
            case Phase.ROLLED_BACK:
                self.tell("release.rolled_back", **fields, **took)
            case Phase.ABORTED:
                self.tell("release.aborted", **fields, **took)
            case _:
                self.tell("release.failed", **fields)

    def done(self) -> Decision:
        """The decision: what is new to be saved, done, announced."""
        before = self.release.status
        noted = before.observed_generation >= self.release.generation
        # A status that could not be read is shown to us as Failed without an end: nothing may overwrite it.
        if not before.phase.terminal or (before.finished_at is not None and not noted):
            self.put(observed_generation=self.release.generation, progress=progress(self.status))
            self.put(conditions=conditions(self.status, self.now))
        outbox, announced = self.status.outbox, self.status.announced
        news = tuple(notice for notice in outbox if notice.sequence > announced)
        again = self._requeue
        if self.status.phase.terminal:
            ended = self.now - (self.status.finished_at or self.now)
            later = min(max(CHANNELS_TAKE, ended / 10), _LONGEST_TAKE)
            again = timedelta(0) if news else later if outbox else None
        intents = (*self._intents, *(Announce(notice) for notice in news))
        return Decision(self.status, intents, requeue_after=again, looked=self.looked, opinion=self.opinion)
