"""Builders with defaults: a test names what it is about, and nothing else."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.core.counts import Group, Samples, Series
from rollout.core.decide import Seen
from rollout.core.judging.clumps import Learned
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Report
from rollout.core.release import Cause, Confirmed, Phase, Reason, Release, ReleaseSpec, Status, StepRecord, Window, Wish
from rollout.core.route import Gone, Mesh, Problem, Route, Unavailable
from rollout.core.workload import Health

Now = datetime
NOW: Now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
NAME = "checkout-v2"
STABLE, CANARY = "v1", "v2"
INTERVAL = timedelta(seconds=5)
BLIND = Unavailable("no answer")
NOT_TOLD: Any = object()


JUDGE: dict[str, Any] = {
    "learn": "0s",
    "block": "5s",
    "warmUp": "0s",
    "onset": "10m",
    "caps": {"outage": "5s", "latency": "10s", "traffic": "10s"},
}


def seconds(count: float) -> timedelta:
    """A short word for a duration."""
    return timedelta(seconds=count)


def policy(**fields: Any) -> PolicySpec:
    """10/30/100 of twelve seconds each, a scrape every five seconds, errors and traffic checked, no latency.

    Nothing is learned from the past, and the judge's times are scaled to the interval, as for 15 s by default.
    """
    document: dict[str, Any] = {
        "steps": [{"weight": weight, "hold": "12s"} for weight in (10, 30, 100)],
        "interval": "5s",
        "settle": "2s",
        "deadlines": {"ready": "30s", "route": "20s", "metrics": "30s", "verdict": "60s", "total": "10m"},
        "checks": {"minRequests": 20, "latency": {"compare": []}},
        "judge": JUDGE,
    }
    return PolicySpec.model_validate(document | fields)


POLICY = policy()


def spec(**fields: Any) -> ReleaseSpec:
    """A wish for v2 of checkout."""
    return ReleaseSpec(**({"service": "checkout", "version": CANARY} | fields))


def wish(at: datetime = NOW, **fields: Any) -> Wish:
    """Somebody's."""
    default: dict[str, Any] = {"by": "ann", "reason": "because", "at": at}
    return Wish(**(default | fields))


def release(
    phase: Phase = Phase.ANALYSING,
    *,
    step: int | None = NOT_TOLD,
    policy: PolicySpec = POLICY,
    wishes: Mapping[str, Any] | None = None,
    problem: str = "",
    deleting: bool = False,
    held: bool = NOT_TOLD,
    **status: Any,
) -> Release:
    """A release in `phase`, entered just now: epoch 1 is the claim, epoch 2 the first step, and so on.

    Its object is held while it is under way, unless told otherwise.
    """
    return Release(
        namespace="shop",
        name=NAME,
        uid="uid-1",
        generation=1,
        created_at=NOW,
        spec=spec(**(wishes or {})),
        status=_status(phase, step, policy).model_copy(update=status),
        deleting=deleting,
        held=phase is not Phase.PENDING and not phase.terminal if held is NOT_TOLD else held,
        problem=problem,
        revision="1",
    )


def _status(phase: Phase, step: int | None, policy: PolicySpec) -> Status:
    if phase is Phase.PENDING:
        return Status()
    if step is NOT_TOLD:
        step = {Phase.PREPARING: None, Phase.FINISHING: len(policy.steps) - 1}.get(phase, 0)
    order = Route(percent=policy.steps[step].weight, epoch=step + 2) if step is not None else Route(percent=0, epoch=1)
    before = Route(percent=policy.steps[step - 1].weight if step else 0, epoch=order.epoch - 1)
    seen_at = order
    cause = None
    if phase is Phase.SHIFTING:
        seen_at = before
    elif phase is Phase.ROLLING_BACK:
        seen_at, order = order, Route(percent=0, epoch=order.epoch + 1)
        cause = Cause(kind="metrics", reason=Reason.CHECK_FAILED, message="too many errors")
    shown = -1 if step is None else step + (phase is not Phase.SHIFTING)
    return Status(
        phase=phase,
        observed_generation=1,
        service="checkout",
        version=CANARY,
        stable=STABLE,
        policy=policy,
        step=step,
        order=order,
        confirmed=Confirmed(route=seen_at, at=NOW),
        started_at=NOW,
        since=NOW,
        prepared_at=NOW if phase in {Phase.FINISHING, Phase.PREPARING} else None,
        learned=None if phase is Phase.PREPARING else Learned(),
        window=Window(anchor=NOW) if step is not None else None,
        added_destination=True,
        added_subset=True,
        steps=tuple(StepRecord(weight=one.weight, since=NOW) for one in policy.steps[: max(0, shown)]),
        cause=cause,
        sequence=1,
        finished_at=NOW if phase.terminal else None,
    )


def mesh(percent: int = 10, epoch: int = 2, release: str = NAME, **fields: Any) -> Mesh:
    """The route of checkout with both versions on it."""
    default: dict[str, Any] = {
        "stable": STABLE if percent < 100 else None,
        "listed": frozenset({STABLE, CANARY}),
        "subsets": frozenset({STABLE, CANARY}),
        "revision": "7",
    }
    return Mesh(percent=percent, epoch=epoch, release=release, **(default | fields))


def untouched(**fields: Any) -> Mesh:
    """The route before anybody released anything."""
    default: dict[str, Any] = {"listed": frozenset({STABLE}), "subsets": frozenset({STABLE})}
    return mesh(0, 0, "", **(default | fields))


def as_ordered(release: Release, **fields: Any) -> Mesh:
    """The route exactly as this release ordered it."""
    order = release.status.order
    assert order is not None
    return mesh(order.percent, order.epoch, release.name, **fields)


def health(ready: int = 2, **fields: Any) -> Health:
    """Pods."""
    default: dict[str, Any] = {"wanted": 2, "complete": ready >= 2, "message": "as told"}
    return Health(ready=ready, **(default | fields))


HEALTHY = health()


def samples(
    stable: tuple[int, int] = (900, 0),
    canary: tuple[int, int] = (100, 0),
    *,
    since: datetime = NOW,
    at: datetime = NOW + INTERVAL,
    lost: int = 0,
) -> Samples:
    """(all requests, failed ones) of both versions, counted between `since` and the scrape `at`."""
    told: dict[tuple[Group, str], int] = {
        ("stable", "200"): stable[0] - stable[1],
        ("stable", "500"): stable[1],
        ("canary", "200"): canary[0] - canary[1],
        ("canary", "500"): canary[1],
        ("lost", "503"): lost,
    }
    start, opened, end = (since - seconds(1)).timestamp(), (since + seconds(0.001)).timestamp(), at.timestamp()
    series = tuple(
        Series(group, ("proxies", "p1"), ((start, 1000.0), (opened, 1000.0), (end, 1000.0 + count)), code=code)
        for (group, code), count in told.items()
    )
    return Samples(series=series, newest=at, query="sum(istio_requests_total)")


def seen(
    mesh: Mesh | Gone | Unavailable | None = None,
    *,
    health: Health | Unavailable | None = HEALTHY,
    samples: Samples | Unavailable | None = BLIND,
    policy: PolicySpec | Problem | None = POLICY,
    **fields: Any,
) -> Seen:
    """Ready pods, nothing wrong around the route and a silent Prometheus, unless told otherwise."""
    known = {"preflight": Report(), **fields}
    return Seen(mesh=mesh, health=health, samples=samples, policy=policy, **known)
