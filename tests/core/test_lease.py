"""Who may lead: what one candidate does, and that two never believe to lead at once, whatever happens between them."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.lease import DRIFT, Candidate, Claim, Lease, Look, Take, Timing, Wait, lease_name

TIMING = Timing(duration=15, renew_deadline=10, retry=2)
FRESH = Candidate("me", TIMING)


def held(holder: str = "other", duration: int = 15, stamp: str = "1", revision: str = "1") -> Lease:
    return Lease(holder, duration, transitions=4, stamp=stamp, revision=revision)


# times


@pytest.mark.parametrize(("duration", "deadline", "retry"), [(15, 15, 2), (15, 10, 10), (15, 10, 0), (3, 10, 2)])
def test_times_that_do_not_fit_each_other_are_refused(duration: int, deadline: float, retry: float) -> None:
    with pytest.raises(ValueError, match="lease duration"):
        Timing(duration, deadline, retry)


def test_a_request_takes_less_than_the_retry_period() -> None:
    assert Timing().request < Timing().retry


# standing by


def test_a_new_candidate_looks_first() -> None:
    assert FRESH.move(0) == Look()


def test_a_lease_that_is_not_there_is_made_at_once() -> None:
    assert FRESH.saw(None, 0).move(0) == Take(Claim("me", 15, transitions=0, fresh=True))


def test_a_lease_that_was_given_up_is_taken_at_once_and_its_transitions_are_raised() -> None:
    candidate = FRESH.saw(held(), 0).saw(held("", 1, "2"), 1)
    assert candidate.move(1) == Take(Claim("me", 15, transitions=5, fresh=True))


def test_a_held_lease_is_taken_only_when_it_was_not_seen_to_change_for_its_whole_duration() -> None:
    candidate = FRESH.saw(held(), 0).saw(held(stamp="2"), 10)
    lasts = 15 * (1 + DRIFT)
    for now in (10.0, 10 + 14.9):
        assert not isinstance(candidate.saw(held(stamp="2"), now).move(now), Take)
    assert candidate.move(10 + lasts) == Take(Claim("me", 15, transitions=5, fresh=True))


def test_the_duration_is_what_the_holder_wrote_and_ours_where_it_wrote_none() -> None:
    assert FRESH.saw(held(duration=60), 0).others_until == 60 * (1 + DRIFT)
    assert FRESH.saw(held(duration=0), 0).others_until == 15 * (1 + DRIFT)


def test_a_shortened_duration_does_not_shorten_what_was_promised_before() -> None:
    assert FRESH.saw(held(), 0).saw(held(duration=1, stamp="2"), 1).others_until == 15 * (1 + DRIFT)


def test_a_change_of_the_object_alone_is_no_renewal() -> None:
    candidate = FRESH.saw(held(), 0).saw(held(revision="2"), 5)
    assert candidate.others_until == 15 * (1 + DRIFT)
    assert candidate.lease == held(revision="2")


def test_a_lease_that_is_deleted_or_emptied_by_hand_is_not_taken_before_its_holder_must_have_stopped() -> None:
    candidate = FRESH.saw(held(), 0)
    for seen in (None, held("", 15, "2")):
        assert not isinstance(candidate.saw(seen, 1).move(1), Take)
        assert isinstance(candidate.saw(seen, 1).move(16), Take)


def test_a_standby_that_hears_nothing_asks_by_itself() -> None:
    candidate = FRESH.saw(held(), 0)
    assert candidate.move(1) == Wait(until=3)
    assert candidate.move(3) == Look()
    assert replace(candidate, heard_at=14.0).move(14) == Wait(until=15 * (1 + DRIFT))


# leading


def test_a_leader_counts_from_the_start_of_its_call() -> None:
    leader = FRESH.saw(None, 0).won(held("me"), started=1)
    assert (leader.acts_until, leader.valid_until) == (11, 16)
    assert leader.is_named
    assert leader.move(3) == Take(Claim("me", 15, transitions=4, fresh=False))


def test_an_answer_that_came_late_does_not_take_back_a_newer_renewal() -> None:
    leader = FRESH.won(held("me"), started=5).won(held("me"), started=3)
    assert leader.renewed_at == 5


def test_a_write_that_found_another_revision_leads_to_a_look() -> None:
    assert FRESH.won(held("me"), started=0).outdated().move(1) == Look()


def test_who_stepped_down_holds_nothing_but_may_claim_its_lease_again() -> None:
    stepped_down = FRESH.won(held("me"), started=0).stepped_down()
    assert stepped_down.valid_until == -inf
    assert stepped_down.move(5) == Take(Claim("me", 15, transitions=4, fresh=False))


def test_only_who_is_named_can_give_the_lease_up() -> None:
    assert FRESH.farewell() is None
    assert FRESH.saw(held(), 0).farewell() is None
    assert FRESH.won(held("me"), started=0).farewell() == Claim("", 1, transitions=4, fresh=False)


# names


def test_every_shard_has_a_lease_of_its_own() -> None:
    assert lease_name([]) == "rollout"
    assert lease_name(["shop"]) == lease_name(["shop", "shop"]) == "rollout-shop"
    assert lease_name(["shop", "pay"]) == lease_name(["pay", "shop"]) == "rollout-d8b4425e"
    assert lease_name(["shop", "cart"]) != lease_name(["shop", "pay"])


# Two candidates and a server, in true time: clocks of different speed, answers and requests that are late or lost,
# processes that stand still for any time. Each does what `leadership.py` does, event by event.


@dataclass
class Server:
    lease: Lease | None = None
    revision: int = 0

    def put(self, claim: Claim, over: Lease | None) -> Lease | None:
        """None is a conflict."""
        if (over.revision if over else "") != (self.lease.revision if self.lease else ""):
            return None
        self.revision += 1
        stamp = str(self.revision)
        self.lease = Lease(claim.holder, claim.duration, claim.transitions, stamp, stamp)
        return self.lease


@dataclass
class Life:
    """One process: its clock runs at `rate`, and it acts only when it is not paused."""

    candidate: Candidate
    rate: float
    offset: float
    paused_until: float = -inf
    asked: int = 0
    """The request that is waited for."""
    leads: bool = False
    history: list[tuple[float, str]] = field(default_factory=list)

    def clock(self, true: float) -> float:
        return self.offset + true * self.rate

    def may_write_until(self) -> float:
        """In true time: a write that begins in the last moment allowed, and takes all the time it is given."""
        return (self.candidate.valid_until - self.offset) / self.rate if self.leads else -inf


@dataclass
class Weather:
    """How bad it is: chances of a lost request or answer, of a stop, and how long things take, in seconds."""

    lost: float
    slow: float
    stops: float
    leaves: float


class World:
    """Plays `seconds` of true time; every choice comes from one seed."""

    def __init__(self, seed: int, rates: tuple[float, float], timing: Timing, weather: Weather) -> None:
        self.random = random.Random(seed)
        self.weather = weather
        self.server = Server()
        self.now = 0.0
        self.lives = [
            Life(Candidate(name, timing), rate, self.random.uniform(-1e6, 1e6))
            for name, rate in zip("ab", rates, strict=True)
        ]
        self.numbers = itertools.count(1)
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.terms = 0
        self.requests = itertools.count(1)

    def later(self, delay: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + delay, next(self.numbers), what))

    def play(self, seconds: float) -> None:
        for life in self.lives:
            self.later(self.random.uniform(0, 3), lambda life=life: self.turn(life))  # type: ignore[misc]
        while self.queue and self.now < seconds:
            self.now, _, what = heapq.heappop(self.queue)
            what()
            self.nobody_writes_beside_another()

    def nobody_writes_beside_another(self) -> None:
        writers = [life.candidate.identity for life in self.lives if life.may_write_until() > self.now]
        assert len(writers) <= 1, f"{self.now}: {[life.history[-5:] for life in self.lives]}"

    def process(self, life: Life, what: Callable[[], None]) -> None:
        """Have a process do something: now, or once it runs again."""
        if life.paused_until > self.now:
            self.later(life.paused_until - self.now, lambda: self.process(life, what))
        else:
            what()

    def delay(self) -> float:
        quick = self.random.random() > self.weather.slow
        return self.random.uniform(0, 0.05) if quick else self.random.uniform(0, 12)

    def turn(self, life: Life) -> None:
        """What the loop does when it wakes up: stop if it is time to, else make a move and wait."""
        if self.random.random() < self.weather.stops:
            life.paused_until = self.now + self.random.choice((1, 5, 20, 60)) * self.random.random()
        self.process(life, lambda: self.act(life))

    def act(self, life: Life) -> None:
        now, timing = life.clock(self.now), life.candidate.timing
        if life.leads and now >= life.candidate.acts_until:
            self.end(life, "unrenewed")
        if life.leads and self.random.random() < self.weather.leaves:
            self.give_up(life)
            return
        move = life.candidate.move(now)
        if isinstance(move, Wait):
            self.later((move.until - now) / life.rate, lambda: self.turn(life))
            return
        life.asked = number = next(self.requests)
        claim = move.claim if isinstance(move, Take) else None
        over = life.candidate.lease
        if self.random.random() >= self.weather.lost:
            self.later(self.delay(), lambda: self.serve(life, number, claim, over, now))
        # The loop gives the request its time, and turns to the next move after that in any case.
        self.later(timing.request / life.rate, lambda: self.process(life, lambda: self.give_up_on(life, number)))

    def serve(self, life: Life, number: int, claim: Claim | None, over: Lease | None, started: float) -> None:
        """The request arrives, perhaps long after nobody waits for it any more."""
        result = self.server.lease if claim is None else self.server.put(claim, over)
        if self.random.random() >= self.weather.lost:
            self.later(
                self.delay(),
                lambda: self.process(life, lambda: self.answer(life, number, claim, result, started)),
            )
        if claim is not None and result is not None:
            other = next(one for one in self.lives if one is not life)
            self.later(self.delay(), lambda: self.process(other, lambda: self.tell(other, result)))

    def tell(self, life: Life, lease: Lease) -> None:
        """A watch; its events may be old ones."""
        if not life.leads:
            life.candidate = life.candidate.saw(lease, life.clock(self.now))

    def answer(self, life: Life, number: int, claim: Claim | None, lease: Lease | None, started: float) -> None:
        if number != life.asked:
            return
        life.asked = 0
        now = life.clock(self.now)
        if claim is None:
            life.candidate = life.candidate.saw(lease, now)
            if life.leads and not life.candidate.is_named:
                self.end(life, "taken")
        elif lease is None:
            life.candidate = life.candidate.outdated()
        else:
            life.candidate = life.candidate.won(lease, started)
            if not life.leads and now < life.candidate.acts_until:
                life.leads = True
                life.history.append((self.now, f"leads as {lease.transitions}"))
                self.terms += 1
        wait = life.candidate.timing.retry if claim is not None else 0.0
        self.later(wait / life.rate, lambda: self.turn(life))

    def give_up_on(self, life: Life, number: int) -> None:
        if number == life.asked:
            life.asked = 0
            self.turn(life)

    def end(self, life: Life, why: str) -> None:
        life.leads = False
        life.candidate = life.candidate.stepped_down()
        life.history.append((self.now, why))

    def give_up(self, life: Life) -> None:
        """SIGTERM, and a new process some time later."""
        claim, over = life.candidate.farewell(), life.candidate.lease
        self.end(life, "left")
        if claim is not None:
            self.later(self.delay(), lambda: self.leave(claim, over))
        life.candidate = Candidate(f"{life.candidate.identity}'", life.candidate.timing)
        self.later(self.random.uniform(0, 30), lambda: self.turn(life))

    def leave(self, claim: Claim, over: Lease | None) -> None:
        self.server.put(claim, over)


speeds = st.floats(0.99, 1.01)
chances = st.sampled_from([0.0, 0.05, 0.3, 0.8])
timings = st.sampled_from([TIMING, Timing(3, 2, 0.5), Timing(60, 59, 10)])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32), st.tuples(speeds, speeds), timings, st.builds(Weather, chances, chances, chances, chances)
)
def test_two_candidates_never_believe_that_they_may_write_at_the_same_time(
    seed: int, rates: tuple[float, float], timing: Timing, weather: Weather
) -> None:
    World(seed, rates, timing, weather).play(seconds=600)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.tuples(speeds, speeds), timings)
def test_in_calm_weather_somebody_leads_without_a_change(seed: int, rates: tuple[float, float], timing: Timing) -> None:
    world = World(seed, rates, timing, Weather(0, 0, 0, 0))
    world.play(seconds=300)
    assert world.terms == 1
    assert [life.leads for life in world.lives].count(True) == 1


def test_the_stories_are_rich_enough_to_find_a_defect() -> None:
    """Many terms are played, and a candidate that is a little too eager is caught."""
    weather = Weather(0.3, 0.3, 0.3, 0.05)
    rich = [World(seed, (1.01, 0.99), TIMING, weather) for seed in range(20)]
    for world in rich:
        world.play(600)
    assert sum(world.terms for world in rich) > 100

    class Eager(Candidate):
        def won(self, lease: Lease, started: float) -> "Eager":
            return super().won(lease, started + 3)

    def play_eagerly() -> None:
        for seed in range(200):
            world = World(seed, (1.01, 0.99), TIMING, weather)
            world.lives = [replace(one, candidate=Eager(one.candidate.identity, TIMING)) for one in world.lives]
            world.play(600)

    with pytest.raises(AssertionError):
        play_eagerly()
