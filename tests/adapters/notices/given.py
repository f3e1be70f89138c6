"""Releases with something to tell, and channels to tell it to."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from rollout.administration import Channel, Links, Reach
from rollout.core.events import Notice, Scalar
from rollout.core.release import Delivered, Phase, Release, ReleaseSpec, Source, Status

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LOOPBACK = Reach(insecure=True, allow=("127.0.0.0/8",))
LINKS = Links(
    prometheus="https://prometheus.example.com/graph?g0.expr={query}&g0.tab=0",
    grafana="https://grafana.example.com/d/rollout?var-service={service}&var-namespace={namespace}&from={since}",
    runbook="https://wiki.example.com/runbooks/{service}",
)
_PATIENCE_S = 20.0


def notice(sequence: int, name: str = "step.started", at: datetime = NOON, **fields: Scalar) -> Notice:
    """One event."""
    default: dict[str, Scalar] = {"weight_from": 10, "weight_to": 30, "hold_s": 300.0} if name == "step.started" else {}
    return Notice(sequence=sequence, at=at, name=name, fields={**default, **fields})


def release(
    *outbox: Notice,
    uid: str = "uid-1",
    notify: tuple[str, ...] | None = None,
    notified: dict[str, Delivered] | None = None,
    source: Source | None = None,
    **status: Any,
) -> Release:
    """checkout v2 over v1 at 10 %, with these events in its outbox."""
    default: dict[str, Any] = {
        "phase": Phase.ANALYSING,
        "reason": "Holding",
        "message": "10 % to v2",
        "service": "checkout",
        "version": "v2",
        "stable": "v1",
        "notify": notify,
        "step": 0,
        "weight": 10,
        "progress": "1/4",
        "started_at": NOON,
        "query": 'sum(rate(istio_requests_total{destination_workload="checkout-v2"}[1m])) > 1',
        "outbox": outbox,
        "notified": notified or {},
        "sequence": outbox[-1].sequence if outbox else 0,
    }
    return Release(
        namespace="shop",
        name="checkout-v2-0a1b2c3d4e",
        uid=uid,
        spec=ReleaseSpec(service="checkout", version="v2", source=source or Source()),
        status=Status(**(default | status)),
    )


def channel(url: str | None, kind: str = "webhook", name: str = "ops", **fields: Any) -> Channel:
    """A channel whose receiver is on this machine."""
    default: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "url": url,
        "reach": LOOPBACK,
        "timeout": timedelta(seconds=5),
    }
    return Channel(**(default | fields))


def secret_file(folder: Path, text: str, name: str = "secret") -> Path:
    """A file that holds a secret."""
    path = folder / name
    path.write_text(text + "\n")
    return path


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it, not for ever."""
    deadline = monotonic() + _PATIENCE_S
    while not holds():
        assert monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.005)
