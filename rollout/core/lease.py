"""Who of several controllers may write: what a candidate for a Lease does next, given what it saw and its own clock.

Belongs here: when a Lease is free, what to write into it, until when its holder may act. Does not belong here: requests
(`adapters/leases.py`), waiting and what is done while leading (`leadership.py`).

Every time here is in seconds of the candidate's own monotonic clock. The times written in a Lease are other people's
clocks: they are compared with nothing, they only make one renewal differ from the next. Two rules keep two holders
apart, whatever is lost, late or asleep:

* A holder counts from the **start** of the call that renewed, so never longer than the server has known of it.
* Everybody else counts from when they **saw** the Lease change, so never shorter, and waits a little longer than the
  holder counts, because clocks run at different speeds.

The Lease itself only changes by compare-and-set on its resourceVersion, so of two who think it is free one wins.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Self

DRIFT = 0.03
"""How much longer than its holder others take a Lease to last: for two clocks that are each wrong by 1 %."""
_REQUEST_SHARE = 0.75
"""One request gets this much of the time until the next one is due."""
_SILENCE = 1.5
"""A standby that heard nothing for so many retry periods asks by itself: its watch may be dead."""
_RELEASED_SECONDS = 1
"""The duration that a holder leaves behind with an empty name, as client-go does (leaderelection.go, `release`)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a Lease lasts and how often it is renewed, in seconds; the defaults are those of kube-scheduler.

    Raises ValueError unless retry < renew deadline < duration.
    """

    duration: int = 15
    """For how long nobody else takes the Lease after a renewal; the API knows whole seconds only."""
    renew_deadline: float = 10.0
    """A leader that could not renew for so long stops acting."""
    retry: float = 2.0
    """Time from one renewal, or attempt at one, to the next."""

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew_deadline < self.duration:
            raise ValueError(
                f"expected retry period < renew deadline < lease duration, "
                f"not {self.retry:g} s, {self.renew_deadline:g} s, {self.duration:g} s"
            )

    @property
    def request(self) -> float:
        """How long one request may take: shorter than the retry period, so that a lost one costs one turn."""
        return self.retry * _REQUEST_SHARE


@dataclass(frozen=True, slots=True)
class Lease:
    """What a Lease says. `revision` is not part of it: it may change without a renewal."""

    holder: str
    duration: int
    """Seconds; 0 where the object does not say."""
    transitions: int
    stamp: str = ""
    """Whatever else a renewal changes (times of other people's clocks): for telling two renewals apart only."""
    revision: str = ""

    def says_as(self, other: "Lease | None") -> bool:
        """Whether nothing but the revision differs."""
        return other is not None and replace(other, revision=self.revision) == self


@dataclass(frozen=True, slots=True)
class Claim:
    """What to write into a Lease."""

    holder: str
    duration: int
    transitions: int
    fresh: bool
    """Whether the holder is a new one: then the time of acquisition is written too."""


@dataclass(frozen=True, slots=True)
class Look:
    """Read the Lease now."""


@dataclass(frozen=True, slots=True)
class Take:
    """Write this claim over what was last seen, now."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before this time, unless the Lease changes."""

    until: float


Move = Look | Take | Wait


@dataclass(frozen=True, slots=True)
class Candidate:
    """One process that would lead, and all it knows. Make one with an identity that no other process ever has."""

    identity: str
    timing: Timing
    lease: Lease | None = None
    """As last seen, or None for a Lease that is not there."""
    looked: bool = False
    """Whether `lease` is worth writing over; not after a write that found another revision."""
    heard_at: float = -inf
    others_until: float = -inf
    """Until then somebody else may believe to hold it."""
    renewed_at: float = -inf
    """Start of the last renewal that is known to have worked."""

    @property
    def acts_until(self) -> float:
        """When a leader stops by itself: before `valid_until`, so that what was begun in time can end in time."""
        return self.renewed_at + self.timing.renew_deadline

    @property
    def valid_until(self) -> float:
        """Before this time nobody else takes the Lease; -inf for who does not hold it."""
        return self.renewed_at + self.timing.duration

    @property
    def is_named(self) -> bool:
        """Whether the Lease, as last seen, names us. Not a right to act: that is `acts_until`."""
        return self.lease is not None and self.lease.holder == self.identity

    def saw(self, lease: Lease | None, now: float) -> Self:
        """The Lease was read, or a watch told of it; `lease` None: there is none."""
        seen = replace(self, lease=lease, looked=True, heard_at=now)
        if lease is None or lease.says_as(self.lease) or seen.is_named:
            return seen
        if not lease.holder:
            # An empty name alone can be a person's edit, which stops no leader; the duration says that one gave it up.
            return replace(seen, others_until=-inf) if lease.duration <= _RELEASED_SECONDS else seen
        lasts = (lease.duration or self.timing.duration) * (1 + DRIFT)
        return replace(seen, others_until=max(self.others_until, now + lasts))

    def won(self, lease: Lease, started: float) -> Self:
        """Our claim was written by a call that started then: the Lease is ours from that start on."""
        known = replace(self, lease=lease, looked=True, heard_at=max(self.heard_at, started))
        return replace(known, others_until=-inf, renewed_at=max(self.renewed_at, started))

    def outdated(self) -> Self:
        """A write found another revision, or no Lease at all: what was seen is not so any more."""
        return replace(self, looked=False)

    def stepped_down(self) -> Self:
        """Not leading any more, whatever the Lease says."""
        return replace(self, renewed_at=-inf)

    def move(self, now: float) -> Move:
        """What to do at `now`: look, claim what is free or ours, or wait."""
        if not self.looked:
            return Look()
        if self.is_named or now >= self.others_until:
            return Take(self.claim())
        ask_at = self.heard_at + _SILENCE * self.timing.retry
        return Look() if now >= ask_at else Wait(min(self.others_until, ask_at))

    def claim(self) -> Claim:
        """What we would write: a renewal keeps the number of transitions, a takeover raises it."""
        before = -1 if self.lease is None else self.lease.transitions
        transitions = before if self.is_named else before + 1
        return Claim(self.identity, self.timing.duration, transitions, fresh=not self.is_named)

    def farewell(self) -> Claim | None:
        """What to write to give the Lease up at once; None where it is not ours."""
        if self.lease is None or not self.is_named:
            return None
        return Claim("", _RELEASED_SECONDS, self.lease.transitions, fresh=False)


def lease_name(namespaces: Sequence[str]) -> str:
    """The Lease of a shard: `rollout` for the whole cluster, `rollout-<namespace>` for one, a digest for several."""
    shard = sorted(set(namespaces))
    if len(shard) <= 1:
        return "-".join(("rollout", *shard))
    return f"rollout-{hashlib.sha256(','.join(shard).encode()).hexdigest()[:8]}"
