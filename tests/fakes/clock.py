"""A clock that stands still until it is told to go."""

from datetime import datetime, timedelta


class FakeClock:
    """`ports.Clock` in virtual time."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        """As the port says."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass, at once."""
        self._now += by
