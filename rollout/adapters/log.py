"""The announcer that writes structured log lines and counts them. Every line of a release carries the same context."""

from collections.abc import Mapping
from typing import Any

import structlog

from rollout import telemetry
from rollout.core.events import CATALOGUE, Notice, Scalar
from rollout.core.release import Release


def context(release: Release) -> dict[str, Any]:
    """The fields of `events.CONTEXT`: which release, and where it stands."""
    status = release.status
    return {
        "release": release.name,
        "service": status.service or release.spec.service,
        "namespace": release.namespace,
        "version": status.version or release.spec.version,
        "phase": status.phase.value,
        "step": status.step,
        "weight": status.weight,
        "epoch": status.order.epoch if status.order is not None else None,
    }


class LogAnnouncer:
    """Implements `ports.Announcer` on structlog."""

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger("rollout")

    async def announce(self, release: Release, notice: Notice) -> None:
        """One line; `id` is the same when the same notice is written again after a crash."""
        numbered = {"id": f"{release.uid}/{notice.sequence}", "at": notice.at.isoformat(timespec="milliseconds")}
        self._write(release, notice.name, {**notice.fields, **numbered})
        status = release.status
        if notice.name in {"release.succeeded", "release.rolled_back", "release.aborted", "release.failed"}:
            telemetry.FINISHED.labels(release.namespace, release.spec.service, status.phase.value, status.reason).inc()

    async def record(self, release: Release, name: str, fields: Mapping[str, Scalar]) -> None:
        """One line about this cycle."""
        self._write(release, name, fields)

    def _write(self, release: Release, name: str, fields: Mapping[str, Any]) -> None:
        # What a newer version of the controller left in the outbox is told as well as it can be.
        level = CATALOGUE[name].level.value if name in CATALOGUE else "info"
        telemetry.EVENTS.labels(name, level).inc()
        telemetry.WEIGHT.labels(release.namespace, release.spec.service).set(release.status.weight)
        getattr(self._log, level)(name, **context(release), **fields)
