"""The stream of counts that a world and a fault make: the same for every judge.

A stream is a function of (world, fault, seed): incidents, noise, glitches and restarts are drawn before the release on
a grid of 5 s, so that everybody lives through the same ones whatever he decides; the counts of an interval are drawn
from them for the weight that is asked for, and are the same for everybody who went the same way. How long requests take
is latencies.py's.
"""

from functools import lru_cache
from math import log, sqrt
from typing import NamedTuple

import numpy as np

from benchmarks.judge.latencies import BOUNDS_MS, Floats, Ints, slower, tails_of, with_very_slow
from benchmarks.judge.worlds import Fault, World
from rollout.core.counts import Counts, Slow, Tally
from rollout.core.judging.past import Block, Cell

CELL_S = 5.0
"""Seconds of one cell of the grid."""
PAST_S, BLOCK_S = 3600.0, 15.0
"""How much of stable's past is made up, and in blocks of what length."""
LONGEST_S = 3600.0
"""The longest a release may take; who has not decided by then holds."""
STABLE, CANARY = 0, 1

_INCIDENT_S = (30.0, 120.0)
_INCIDENT_ERRORS = (0.02, 0.2)
_GLITCH_ERRORS = 0.3
_RESTART_ERRORS, _RESTART_SLOW_S, _RESTART_SLOWER = 0.3, 20.0, 3.0
_DRIFT_PERIOD_S = 7200.0
_STICKY_CLIENTS, _CLIENT_SPREAD = 200, 0.8
_COLD_SLOWER = 3.0


class Stream:
    """The traffic of one release: what was counted in any interval at any weight, and stable's past before it."""

    def __init__(self, world: World, fault: Fault, seed: int) -> None:
        self.first_bad: float | None = None
        """Seconds after the start when the fault first touched a request (start of that cell)."""
        self.harmed = 0
        """Requests that failed, or vanished, because of the fault."""
        self._service = _service(world, fault, seed)
        self._bursts = (0, 0)

    def past(self) -> tuple[list[Block], list[Block]]:
        """Half an hour of stable before the release, in blocks: (of the whole version, of each of its pods)."""
        return self._service.past()

    def tally(self, weight: int, since: float, until: float) -> Tally | None:
        """What was counted in (since, until], seconds after the start; None after `LONGEST_S`. Ask in order of time."""
        if until > LONGEST_S:
            return None
        drawn = self._service.draw(weight, round(since / CELL_S), round(until / CELL_S), self._bursts)
        self._bursts = drawn.bursts
        self.harmed += drawn.harmed
        if self.first_bad is None:
            self.first_bad = drawn.touched_at
        return drawn.tally


class _Drawn(NamedTuple):
    """One interval."""

    tally: Tally
    bursts: tuple[int, int]
    """Failures that the bursts under way still owe, of stable and of the canary."""
    harmed: int
    touched_at: float | None
    """When in it the fault touched a request first."""


@lru_cache(maxsize=2)
def _service(world: World, fault: Fault, seed: int) -> "_Service":
    """Kept for the next judge of the same release: drawing is what costs."""
    return _Service(world, fault, seed)


class _Service:
    """What happens to a service in one release, whoever judges it."""

    def __init__(self, world: World, fault: Fault, seed: int) -> None:
        self.world = world
        self.fault = fault
        self._seed = seed
        self._offset = round(PAST_S / CELL_S)
        self._size = self._offset + round(LONGEST_S / CELL_S)
        self._known: dict[tuple[int, int, int, tuple[int, int]], _Drawn] = {}
        self._paint(np.random.default_rng([seed, 1]))

    def past(self) -> tuple[list[Block], list[Block]]:
        """Half an hour of stable before the release, in blocks: (of the whole version, of each of its pods)."""
        rng = np.random.default_rng([self._seed, 2])
        pods, size = self.world.pods, self._offset
        n = rng.poisson(self._rps[:size] * CELL_S / pods, (pods, size))
        bad = rng.binomial(n, self._errors[STABLE][:, :size])
        if self.world.burst:
            for pod in range(pods):
                self._burst(rng, n[pod], bad[pod], 0)
        slow = slower(rng, n, self._tails(STABLE, slice(0, size)))
        per = round(BLOCK_S / CELL_S)
        n, bad = (table.reshape(pods, -1, per).sum(axis=2) for table in (n, bad))
        slow = slow.reshape(pods, -1, per, len(BOUNDS_MS)).sum(axis=2)
        whole, by_pod = [], []
        for index in range(n.shape[1]):
            start = -PAST_S + index * BLOCK_S
            cells = {("pods", str(pod)): _cell(n[pod, index], bad[pod, index], slow[pod, index]) for pod in range(pods)}
            stable = _cell(n[:, index].sum(), bad[:, index].sum(), slow[:, index].sum(axis=0))
            whole.append(Block(start, start + BLOCK_S, groups={"stable": stable}))
            by_pod.append(Block(start, start + BLOCK_S, pods=cells))
        return whole, by_pod

    def draw(self, weight: int, begin: int, end: int, bursts: tuple[int, int]) -> _Drawn:
        """The cells from `begin` to `end` after the start, at this weight and with these bursts under way."""
        key = weight, begin, end, bursts
        if key not in self._known:
            self._known[key] = self._drawn(weight, begin, end, list(bursts))
        return self._known[key]

    def _drawn(self, weight: int, begin: int, end: int, bursts: list[int]) -> _Drawn:
        fault = self.fault
        first = self._offset + begin
        cells = slice(first, self._offset + end)
        rng = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, 0, first]))
        total = rng.poisson(self._rps[cells] * CELL_S)
        share, prone = self._split(weight)
        part = np.array([fault.at(cell * CELL_S, weight) for cell in range(begin, end)])
        odds = fault.delivery**part
        sent = rng.binomial(total, np.where(share < 1, share * odds / (1 - share + share * odds), share))
        n = total - sent
        bad, slow = self._version(rng, STABLE, n, cells, prone, bursts)
        stable = _counts(n, bad, slow)
        gone = rng.binomial(sent, part * max(fault.lost, fault.vanished))
        sent = sent - gone
        bad, slow = self._version(rng, CANARY, sent, cells, prone, bursts, part)
        failed = rng.binomial(sent - bad, part * fault.errors)
        touched = gone + failed
        if fault.slower != 1 or fault.very_slow or fault.delivery != 1:
            touched = touched + np.where(part > 0, sent, 0)
        tally = Tally.model_construct(
            stable=stable,
            canary=_counts(sent, bad + failed, slow),
            lost=int(gone.sum()) if fault.lost else 0,
            overflowed=0,
            uncertain=0,
        )
        at = (begin + float(np.argmax(touched > 0))) * CELL_S if touched.any() else None
        return _Drawn(tally, (bursts[STABLE], bursts[CANARY]), int(gone.sum() + failed.sum()), at)

    def _paint(self, rng: np.random.Generator) -> None:
        """Draw everything that happens to the service, past and release, whatever anybody decides."""
        world, size = self.world, self._size
        wave = np.ones(size)
        if world.drift:
            phase = rng.uniform(0, 2 * np.pi)
            wave += world.drift * np.sin(phase + np.arange(size) * (2 * np.pi * CELL_S / _DRIFT_PERIOD_S))
        self._rps = world.rps * wave
        shared = _events(rng, world.incidents, size)
        hits = [
            (
                begin,
                begin + round(rng.uniform(*_INCIDENT_S) / CELL_S),
                float(np.exp(rng.uniform(log(_INCIDENT_ERRORS[0]), log(_INCIDENT_ERRORS[1])))),
                rng.lognormal(-(world.incident_spread**2) / 2, world.incident_spread, (2, world.pods)),
            )
            for begin in shared
        ]
        self._errors: list[Floats] = []
        self._latency: list[Floats] = []
        self._slow_pods: list[Floats] = []
        for version in (STABLE, CANARY):
            own = world.errors * wave
            if world.noise:
                spread = sqrt(log(1 + world.noise**2))
                own = own * np.exp(spread * _wander(rng, size, world.noise_s) - spread**2 / 2)
            table = np.tile(own, (world.pods, 1))
            for begin, end, rate, factors in hits:
                table[:, begin:end] += rate * factors[version][:, None]
            for begin in _events(rng, world.glitches, size):
                table[:, begin] += _GLITCH_ERRORS
            slow_pods = np.zeros((world.pods, size))
            for pod in range(world.pods):
                for begin in _events(rng, world.restarts, size):
                    table[pod, begin] += _RESTART_ERRORS
                    slow_pods[pod, begin + 1 : begin + 1 + round(_RESTART_SLOW_S / CELL_S)] = 1.0
            latency = world.latency_noise * _wander(rng, size, world.noise_s) if world.latency_noise else np.zeros(size)
            if version == CANARY and world.cold_s:
                count = round(world.cold_s / CELL_S)
                begin = self._offset
                latency[begin : begin + count] += log(_COLD_SLOWER) * (1 - np.arange(count) / count)
            self._errors.append(np.minimum(1.0, table))
            self._latency.append(latency)
            self._slow_pods.append(slow_pods)
        clients = world.sticky > 0
        self._hash = rng.uniform(0, 100, _STICKY_CLIENTS) if clients else np.zeros(0)
        heavy = rng.lognormal(0, _CLIENT_SPREAD, _STICKY_CLIENTS) if clients else np.zeros(0)
        self._heavy = heavy / heavy.sum() if clients else heavy
        prone = rng.lognormal(0, _CLIENT_SPREAD, _STICKY_CLIENTS) if clients else np.zeros(0)
        self._prone = prone / (prone * self._heavy).sum() if clients else prone

    def _split(self, weight: int) -> tuple[float, tuple[float, float]]:
        """(share of requests that go to the canary, factors on stable's and the canary's own errors)."""
        share = weight / 100
        sticky = self.world.sticky
        if not sticky or weight == 100:
            return share, (1.0, 1.0)
        here = self._hash < weight
        mine = float(self._heavy[here].sum())
        prone = float((self._heavy * self._prone)[here].sum())
        part = (1 - sticky) * share + sticky * mine
        canary = ((1 - sticky) * share + sticky * prone) / part
        stable = ((1 - sticky) * (1 - share) + sticky * (1 - prone)) / (1 - part)
        return part, (stable, canary)

    def _version(
        self,
        rng: np.random.Generator,
        version: int,
        n: Ints,
        cells: slice,
        prone: tuple[float, float],
        bursts: list[int],
        part: Floats | None = None,
    ) -> tuple[Ints, Ints]:
        """Of `n` requests per cell: (failed ones by no fault, slower ones than each bound) of one version."""
        bad = rng.binomial(n, np.minimum(1.0, self._errors[version][:, cells].mean(axis=0) * prone[version]))
        if self.world.burst:
            bursts[version] = self._burst(rng, n, bad, bursts[version])
        return bad, slower(rng, n, self._tails(version, cells, part).mean(axis=0))

    def _burst(self, rng: np.random.Generator, n: Ints, bad: Ints, left: int) -> int:
        """Let bursts fail requests, cell after cell, in `bad`; what they still owe afterwards."""
        size = self.world.burst
        for index, begun in enumerate(rng.poisson(n * (self.world.burst_errors / size)).tolist()):
            left += begun * size
            failed = min(left, int(n[index]))
            bad[index] = max(bad[index], failed)
            left -= failed
        return left

    def _tails(self, version: int, cells: slice, part: Floats | None = None) -> Floats:
        """Shares of requests slower than each bound, per (pod, cell, bound)."""
        latency = self._latency[version][cells] + self._slow_pods[version][:, cells] * log(_RESTART_SLOWER)
        if part is None:
            return tails_of(latency)
        tails = tails_of(latency + part * log(self.fault.slower))
        return with_very_slow(tails, part * self.fault.very_slow) if self.fault.very_slow else tails


def _events(rng: np.random.Generator, per_hour: float, size: int) -> list[int]:
    """The cells in which events of a Poisson process begin."""
    if not per_hour:
        return []
    return [int(one) for one in rng.integers(0, size, rng.poisson(per_hour * size * CELL_S / 3600))]


def _wander(rng: np.random.Generator, size: int, memory_s: float) -> Floats:
    """A stationary Gaussian process of variance 1 that forgets within `memory_s` seconds."""
    keep = float(np.exp(-CELL_S / memory_s))
    steps = (rng.standard_normal(size) * sqrt(1 - keep**2)).tolist()
    out, now = [], float(rng.standard_normal())
    for step in steps:
        now = keep * now + step
        out.append(now)
    return np.array(out)


def _cell(n: np.int64, bad: np.int64, slow: Ints) -> Cell:
    count = int(n)
    return Cell(requests=count, errors=int(bad), timed=count, slow=tuple(int(one) for one in slow))


def _counts(requests: Ints, bad: Ints, slower: Ints) -> Counts:
    n, pairs = int(requests.sum()), zip(BOUNDS_MS, slower.sum(axis=0).tolist(), strict=True)
    found = tuple(Slow.model_construct(bound=bound, requests=count, timed=n) for bound, count in pairs)
    return Counts.model_construct(requests=n, errors=int(bad.sum()), disconnects=0, timed=n, slow=found)
