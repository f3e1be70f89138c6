"""What a watch told about releases of one service that are under way or waiting, as far as they concern one another.

Belongs here: which of them are unfinished, and which asks for which to be put back. Does not belong here: the watch
(`releases.py`), what follows for a release (`core/waiting.py`).

Only unfinished releases are kept: a service has a handful of them, and years of finished ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollout.core.release import Phase, Reason, Release

Key = tuple[str, str]
"""(namespace, name)."""


@dataclass(frozen=True, slots=True)
class _Rival:
    name: str
    created: str
    """creationTimestamp, RFC 3339 in UTC and whole seconds, so that its text sorts as the time does."""
    supersedes: bool
    """It is queued, and asks for those before it to be put back."""


class Rivals:
    """Unfinished releases by (namespace, service)."""

    def __init__(self) -> None:
        self._of_service: dict[Key, dict[str, _Rival]] = {}
        self._service_of: dict[Key, str] = {}

    def note(self, obj: Mapping[str, Any]) -> None:
        """Take in the newest state of a Release, readable or not."""
        metadata, spec, status = obj["metadata"], _mapping(obj.get("spec")), _mapping(obj.get("status"))
        key = metadata["namespace"], metadata["name"]
        self.forget(key)
        service = str(status.get("service") or spec.get("service") or "")
        if not service or _is_over(status):
            return
        waiting = status.get("phase", Phase.PENDING) == Phase.PENDING and status.get("reason") == Reason.QUEUED
        wanted = spec.get("onConflict") == "supersede" and not spec.get("abort")
        rival = _Rival(
            name=key[1],
            created=str(metadata.get("creationTimestamp") or ""),
            supersedes=waiting and wanted and metadata.get("deletionTimestamp") is None,
        )
        self._of_service.setdefault((key[0], service), {})[rival.name] = rival
        self._service_of[key] = service

    def forget(self, key: Key) -> None:
        """It is gone."""
        service = self._service_of.pop(key, None)
        if service is None:
            return
        of_service = self._of_service[key[0], service]
        del of_service[key[1]]
        if not of_service:
            del self._of_service[key[0], service]

    def unfinished(self, namespace: str, service: str) -> tuple[Key, ...]:
        """Keys of those that are not over, oldest first."""
        found = self._of_service.get((namespace, service), {}).values()
        return tuple((namespace, one.name) for one in sorted(found, key=_age))

    def superseder(self, release: Release) -> str:
        """Name of the youngest that waits and asks for `release` to be put back; "" if none does.

        One that waits is in the way of nobody older; a release that began is in the way of all that wait.
        """
        place = release.namespace, release.status.service or release.spec.service
        of_service = self._of_service.get(place, {})
        mine = of_service.get(release.name)
        begun = release.status.phase is not Phase.PENDING
        wanting = [
            one
            for one in of_service.values()
            if one.supersedes and one is not mine and (begun or (mine is not None and _age(mine) < _age(one)))
        ]
        return max(wanting, key=_age).name if wanting else ""


def _age(rival: _Rival) -> tuple[str, str]:
    return rival.created, rival.name


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_over(status: Mapping[str, Any]) -> bool:
    """A phase that nobody knows is not over."""
    phase = status.get("phase")
    return phase in set(Phase) and Phase(str(phase)).terminal
