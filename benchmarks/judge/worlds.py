"""What can be wrong with a service, and what with its canary: the vocabulary of the benchmark.

Here are only descriptions. The traffic that they make is drawn in streams.py; scenarios.py says which are tried.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class World:
    """A service and what goes wrong in it for both versions alike: nothing here is the canary's fault."""

    name: str
    rps: float = 100.0
    errors: float = 0.001
    """Share of failed requests, bursts and events not counted."""
    pods: int = 3
    """Of each version."""
    drift: float = 0.0
    """Amplitude of the daily wave of traffic and errors, compressed to two hours."""
    incidents: float = 0.0
    """Per hour: 30 to 120 s in which 2 to 20 % of the requests of both versions fail, some pods hit harder."""
    incident_spread: float = 0.4
    """How much harder: log-scale spread, of each pod in each incident."""
    burst: int = 0
    """Size of a burst: one cause, so many consecutive failed requests of one version."""
    burst_errors: float = 0.005
    """Share of requests that fail in bursts, where there are any."""
    noise: float = 0.0
    """Coefficient of variation of each version's own error rate, log-normal, correlated over `noise_s`."""
    noise_s: float = 60.0
    """Correlation time of both kinds of noise."""
    latency_noise: float = 0.0
    """The same of each version's own latency."""
    glitches: float = 0.0
    """Per hour and version: 5 s of 30 % errors."""
    restarts: float = 0.0
    """Per hour and pod: 5 s of 30 % errors at that pod, then 20 s of slow answers."""
    sticky: float = 0.0
    """Share of the requests whose clients stay with a version, some of them heavy, some of them error-prone."""
    cold_s: float = 0.0
    """For so long after its first request the canary is slow: three times at first, then less and less."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the canary; with the defaults nothing is."""

    name: str = "none"
    errors: float = 0.0
    """Share of its requests that fail in addition."""
    leak_s: float = 0.0
    """Over so many seconds that share grows from nothing."""
    after_s: float = 0.0
    """The fault begins so long after the release."""
    from_weight: int = 0
    """And only at this weight or above."""
    slower: float = 1.0
    """Factor on its latency."""
    very_slow: float = 0.0
    """Share of its requests that take four seconds."""
    lost: float = 0.0
    """Share of its requests that fail before they reach any version (UH, NC)."""
    vanished: float = 0.0
    """Share of its requests that nobody ever counts."""
    delivery: float = 1.0
    """Factor on the odds with which a request is sent to it."""

    @property
    def is_one(self) -> bool:
        """Whether anything is wrong at all."""
        harmless = self.slower == 1 and self.delivery == 1
        return not harmless or self.errors + self.very_slow + self.lost + self.vanished > 0

    def at(self, seconds: float, weight: int) -> float:
        """How much of the fault there is: 0 before it begins, 1 in full."""
        if weight < self.from_weight or seconds < self.after_s:
            return 0.0
        return min(1.0, (seconds - self.after_s) / self.leak_s) if self.leak_s else 1.0
