"""The story of the demo and of the end-to-end test: five releases of one service, and how each must end.

Belongs here: what happens and what is measured. Does not belong here: how it looks (`screen.py`), what it runs on
(`world.py`).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rollout import assembly
from rollout.core.release import Phase, Release, Source
from rollout.desk import Order, Wanted
from rollout.sandbox.load_client import Counts
from rollout.sandbox.shop import NAMESPACE, SERVICE, STABLE, deployment
from rollout.sandbox.world import World

RATE = 500
"""Requests per second of the demo's users."""
SLOW = "30%"
"""Share of every good version's answers that take longer than 50 ms."""
LONGEST = 60.0
"""Seconds after which a chapter that has not ended is taken for stuck."""
_LOOK = 0.1

POLICY = """\
# The demo's own policy: production's defaults, in compressed time (1 s scrapes, steps of seconds).
apiVersion: rollout.dev/v1alpha1
kind: ServicePolicy
metadata: {name: checkout, namespace: shop}
spec:
  steps: [{weight: 10, hold: 5s}, {weight: 30, hold: 4s}, {weight: 50, hold: 4s}, {weight: 100, hold: 4s}]
  interval: 1s
  settle: 500ms
  checks:
    errors: {max: 2%, overStable: {ratio: 1.25, margin: 0.2%}}
    latency: {objectives: [{bound: 50ms, max: 36%}], compare: [50ms]}
  judge:
    {learn: 1m, block: 1s, warmUp: 1s, onset: 2m, caps: {outage: 700ms, latency: 2s, traffic: 2s}, dwell: 2s}
  deadlines: {ready: 4s, route: 5s, metrics: 10s, verdict: 15s, total: 2m}
"""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One release of the story."""

    version: str
    title: str
    expected: Phase
    because: str
    """What the reason sentence must be about."""
    knobs: Mapping[str, str] = field(default_factory=dict)
    abort_at: int | None = None
    """Weight at which CI takes it back."""


CHAPTERS = (
    Chapter("v2", "healthy", Phase.PROMOTED, "holds all traffic"),
    Chapter("v3", "fails 5 % of its requests", Phase.ROLLED_BACK, "errors", {"errors": "5%"}),
    Chapter("v4", "right but slow: twice the share over 50 ms", Phase.ROLLED_BACK, "latency", {"slow": "60%"}),
    Chapter("v5", "never becomes ready", Phase.FAILED, "ready", {"ready": "no"}),
    Chapter("v6", "healthy, but CI aborts at 30 %", Phase.ABORTED, "pipeline cancelled", abort_at=30),
)


@dataclass(frozen=True, slots=True)
class Result:
    """How a chapter went, in the load generator's own numbers where it has them."""

    chapter: Chapter
    release: Release
    requests: int
    """Answers that the canary gave."""
    failed: int
    """Of these, failures (5xx)."""
    back_s: float | None
    """Seconds from the canary's first bad answer (or an abort) to its last answer of all."""
    decided_s: float | None
    """Seconds from the same moment to the decision to roll back."""
    took_effect_s: float | None
    """Seconds from that decision to the moment at which the last request was sent that reached the canary."""

    @property
    def as_told(self) -> bool:
        """Whether it ended as the story says."""
        status, chapter = self.release.status, self.chapter
        untouched = chapter.expected is not Phase.FAILED or self.requests == 0
        return status.phase is chapter.expected and chapter.because in status.message and untouched


class Stuck(Exception):  # noqa: N818 - says what it is
    """A chapter did not end in time."""


Watcher = Callable[[Chapter, Release], Awaitable[None]]


async def play(world: World, chapter: Chapter, watch: Watcher) -> Result:
    """Deploy the chapter's version, release it as CI would, and follow it to its end.

    Raises:
        Stuck: it did not end in `LONGEST` seconds.
    """
    knobs: dict[str, Any] = {"slow": SLOW, **chapter.knobs}
    await world.apply(deployment(SERVICE, chapter.version, **knobs))
    async with assembly.cluster(world.kubeconfig, None) as connection:
        order = Order(
            namespace=NAMESPACE,
            service=SERVICE,
            version=chapter.version,
            source=Source(actor="demo", reason=chapter.title),
            key=f"demo-{chapter.version}",
        )
        started = await connection.desk.start(order)
        release = started.release
        deadline = asyncio.get_running_loop().time() + LONGEST
        while not release.status.phase.terminal:
            if asyncio.get_running_loop().time() > deadline:
                raise Stuck(f"{release.name} is {release.status.phase} ({release.status.message}) after {LONGEST:g} s")
            await asyncio.sleep(_LOOK)
            release = await connection.releases.get(NAMESPACE, release.name) or release
            await watch(chapter, release)
            status = release.status
            at_the_weight = status.phase is Phase.ANALYSING and status.weight == chapter.abort_at
            if at_the_weight and release.spec.abort is None:
                wanted = Wanted(NAMESPACE, release.name, "abort", by="ci", reason="pipeline cancelled")
                await connection.desk.wish(wanted)
    return _result(chapter, release, await world.counts())


def _result(chapter: Chapter, release: Release, counts: Counts) -> Result:
    seen = counts.versions.get(chapter.version)
    back = decided = effect = None
    if seen is not None and release.status.phase in {Phase.ROLLED_BACK, Phase.ABORTED}:
        wish = release.spec.abort
        aborted = wish.at.timestamp() if wish is not None and wish.at is not None else 0.0
        bad = aborted or seen.first_error or seen.first
        decision = _decided_at(release)
        back = round(seen.last - bad, 2)
        decided = round(decision.timestamp() - bad, 2)
        effect = round(seen.last_sent - decision.timestamp(), 3)
    requests, failed = counts.of(chapter.version), counts.failed(chapter.version)
    return Result(chapter, release, requests, failed, back, decided, effect)


def _decided_at(release: Release) -> datetime:
    """When the rollback was decided: the end of the last step."""
    until = release.status.steps[-1].until
    assert until is not None, "a release that ended has ended its last step"
    return until


async def prepare(world: World) -> None:
    """Put the policy where the controller finds it, and make v1 as slow as its good successors are."""
    (world.policies / f"{SERVICE}.yaml").write_text(POLICY)
    await world.set_knobs(SERVICE, STABLE, slow=SLOW)


def log_lines(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The controller's log lines from a byte offset on, and the offset after the last whole line."""
    with path.open("rb") as log:
        log.seek(offset)
        data = log.read()
    whole = data.rfind(b"\n") + 1
    lines = [json.loads(line) for line in data[:whole].splitlines() if line.startswith(b"{")]
    return lines, offset + whole
