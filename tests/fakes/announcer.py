"""An announcer that keeps what it was told."""

from collections.abc import Mapping

from rollout.core.events import CATALOGUE, Notice, Scalar
from rollout.core.release import Release
from rollout.ports import Outage


class FakeAnnouncer:
    """`ports.Announcer`: what the world knows, by release and by the notice's number."""

    def __init__(self) -> None:
        self.told: dict[str, dict[int, str]] = {}
        """Release name -> sequence -> event name."""
        self.renamed: list[str] = []
        """Notices that came a second time under another name."""
        self.lines: list[tuple[str, str]] = []
        """(release name, event name) of everything that only described a cycle."""
        self.fields: list[tuple[str, Mapping[str, Scalar]]] = []
        """The same with what each said: (event name, fields)."""
        self.outage = ""
        """Why nothing can be told; "" where it can."""

    async def announce(self, release: Release, notice: Notice) -> None:
        """As the port says."""
        if self.outage:
            raise Outage(self.outage)
        known = self.told.setdefault(release.name, {})
        if known.setdefault(notice.sequence, notice.name) != notice.name:
            self.renamed.append(f"{release.name}/{notice.sequence}: {known[notice.sequence]}, then {notice.name}")

    async def record(self, release: Release, name: str, fields: Mapping[str, Scalar]) -> None:
        """As the port says; an event or a field that the catalogue does not know is a KeyError."""
        for field in fields:
            if field not in CATALOGUE[name].fields:
                raise KeyError(f"{name} has no field {field}")
        self.lines.append((release.name, name))
        self.fields.append((name, fields))

    def names(self, release: str) -> list[str]:
        """The events of one release, in the order of their numbers."""
        return [name for _, name in sorted(self.told.get(release, {}).items())]
