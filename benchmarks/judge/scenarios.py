"""The worlds and faults that are tried, and what the judge must reach in each of them."""

from dataclasses import dataclass, replace

from benchmarks.judge.worlds import Fault, World

GOOD = Fault()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the benchmark."""

    name: str
    world: World
    fault: Fault = GOOD
    hard: bool = False
    """Good canaries only: the hardest nuisances, where more may wait for a person."""
    median_s: float | None = None
    """Bad canaries only: the longest median from the first bad request to the rollback."""
    caught: float = 0.0
    """Bad canaries only: the least share that is rolled back."""
    scrapes: int = 0
    """Bad canaries only: the longest median in scrapes, where that is what was promised."""

    @property
    def good(self) -> bool:
        """Whether the canary is tolerable, so that every rollback is a false one."""
        return not self.fault.is_one or self.fault.name == "tolerable"


PLAIN = World("plain")
ALL = World(
    "all at once",
    errors=0.001,
    drift=0.5,
    incidents=2,
    burst=10,
    burst_errors=0.002,
    noise=0.7,
    latency_noise=0.1,
    glitches=2,
    restarts=1,
    sticky=0.3,
    cold_s=60,
)
_ERRORS = tuple(Fault(f"{share:g} % errors", errors=share / 100) for share in (0.5, 1, 5, 50, 100))
_HALF, _ONE, _FIVE, _FIFTY, _OUTAGE = _ERRORS


def _rps(rate: float, **changes: object) -> World:
    return replace(PLAIN, rps=rate, **changes)  # type: ignore[arg-type] # the fields are World's own


def _good() -> list[Scenario]:
    same = [
        Scenario(f"A/A {rate:g} rps, base {base:.1%}".replace("0.0%", "0"), _rps(rate, errors=base))
        for rate in (1, 10, 100, 1000)
        for base in (0.0, 0.001, 0.01)
    ]
    disturbed = [
        Scenario("A/A drift", _rps(100, drift=0.5)),
        Scenario("A/A incidents", _rps(100, incidents=2)),
        Scenario("A/A incidents, 1,000 rps", _rps(1000, incidents=2)),
        Scenario("A/A incidents, one pod", _rps(100, incidents=2, pods=1)),
        Scenario("A/A incidents, again and again", _rps(100, incidents=12), hard=True),
        Scenario("A/A bursts of 10", _rps(100, burst=10)),
        Scenario("A/A bursts of 10, 10 rps", _rps(10, burst=10)),
        Scenario("A/A bursts of 30", _rps(100, burst=30)),
        Scenario("A/A bursts of 30, 1,000 rps", _rps(1000, burst=30)),
        Scenario("A/A bursts of 30, one pod", _rps(100, burst=30, pods=1)),
        Scenario("A/A noise", _rps(100, noise=0.7)),
        Scenario("A/A noise, 1,000 rps", _rps(1000, noise=0.7)),
        Scenario("A/A noise, 1,000 rps, base 1%", _rps(1000, noise=0.7, errors=0.01)),
        Scenario("A/A latency noise", _rps(100, latency_noise=0.1)),
        Scenario("A/A latency noise, 1,000 rps", _rps(1000, latency_noise=0.1)),
        Scenario("A/A glitches", _rps(100, glitches=6)),
        Scenario("A/A glitches, 1,000 rps", _rps(1000, glitches=6)),
        Scenario("A/A restarts", _rps(100, restarts=4)),
        Scenario("A/A restarts, one pod", _rps(100, restarts=4, pods=1)),
        Scenario("A/A sticky clients", _rps(100, sticky=0.3)),
        Scenario("A/A cold start", _rps(100, cold_s=60)),
        Scenario("A/A cold start, 1,000 rps", _rps(1000, cold_s=60)),
        Scenario("A/A latency +5 %, 1,000 rps", _rps(1000), Fault("tolerable", slower=1.05)),
        Scenario("A/A at the edge of tolerance", _rps(100), Fault("tolerable", errors=0.00075)),
        Scenario("A/A all at once, 10 rps", replace(ALL, rps=10), hard=True),
        Scenario("A/A all at once", ALL, hard=True),
        Scenario("A/A all at once, 1,000 rps", replace(ALL, rps=1000), hard=True),
    ]
    return same + disturbed


def _bad() -> list[Scenario]:
    fifty = Fault("5 % errors from weight 50", errors=0.05, from_weight=50)
    last = Fault("5 % errors at the last step", errors=0.05, from_weight=100)
    return [
        Scenario("0.5 % errors", PLAIN, _HALF),
        Scenario("1 % errors", PLAIN, _ONE, median_s=150, caught=1),
        Scenario("5 % errors", PLAIN, _FIVE, median_s=60, caught=1),
        Scenario("50 % errors", PLAIN, _FIFTY, median_s=60, caught=1),
        Scenario("outage", PLAIN, _OUTAGE, scrapes=2, caught=1),
        Scenario("1 % errors, 1,000 rps", _rps(1000), _ONE, median_s=150, caught=1),
        Scenario("5 % errors, 1,000 rps", _rps(1000), _FIVE, median_s=60, caught=1),
        Scenario("outage, 1,000 rps", _rps(1000), _OUTAGE, scrapes=2, caught=1),
        Scenario("1 % errors, 10 rps", _rps(10), _ONE),
        Scenario("5 % errors, 10 rps", _rps(10), _FIVE),
        Scenario("50 % errors, 10 rps", _rps(10), _FIFTY, median_s=360, caught=1),
        Scenario("outage, 10 rps", _rps(10), _OUTAGE, median_s=360, caught=1),
        Scenario("5 % errors, 1 rps", _rps(1), _FIVE),
        Scenario("50 % errors, 1 rps", _rps(1), _FIFTY, median_s=360, caught=1),
        Scenario("outage, 1 rps", _rps(1), _OUTAGE, median_s=360, caught=1),
        Scenario("leak to 5 % in 10 min", PLAIN, Fault("leak", errors=0.05, leak_s=600)),
        Scenario("5 % errors after 10 min", PLAIN, Fault("late", errors=0.05, after_s=600)),
        Scenario("5 % errors from weight 50 on", PLAIN, fifty),
        Scenario("5 % errors at the last step", PLAIN, last),
        Scenario("outage at the last step", PLAIN, Fault("outage, last step", errors=1, from_weight=100)),
        Scenario("latency +25 %", PLAIN, Fault("+25 %", slower=1.25), caught=0.95),
        Scenario("latency +100 %", PLAIN, Fault("+100 %", slower=2), caught=0.95),
        Scenario("latency +100 %, 10 rps", _rps(10), Fault("+100 %", slower=2)),
        Scenario("1 % very slow", PLAIN, Fault("1 % very slow", very_slow=0.01)),
        Scenario("black hole", PLAIN, Fault("black hole", vanished=1)),
        Scenario("black hole, 10 rps", _rps(10), Fault("black hole", vanished=1)),
        Scenario("unreachable (lost)", PLAIN, Fault("lost", lost=1), scrapes=2, caught=1),
        Scenario("misroute: three times its share", PLAIN, Fault("misroute", delivery=3)),
        Scenario("5 % errors, all at once", ALL, _FIVE),
        Scenario("50 % errors, all at once", ALL, _FIFTY),
        Scenario("latency +100 %, all at once", ALL, Fault("+100 %", slower=2)),
    ]


SCENARIOS = (*_good(), *_bad())
