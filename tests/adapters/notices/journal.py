"""A log that can be read back."""

from collections.abc import Mapping

from rollout.core.events import Notice, Scalar
from rollout.core.release import Release


class Journal:
    """`ports.Announcer`: what was recorded, as (event, fields)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, Scalar]]] = []

    async def announce(self, release: Release, notice: Notice) -> None:
        """Nothing announces here."""

    async def record(self, release: Release, name: str, fields: Mapping[str, Scalar]) -> None:  # noqa: ARG002 - the port's
        """As the port says."""
        self.lines.append((name, fields))

    def told(self, name: str) -> list[Mapping[str, Scalar]]:
        """The fields of the lines of one kind."""
        return [fields for event, fields in self.lines if event == name]
