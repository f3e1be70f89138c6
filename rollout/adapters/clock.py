"""The clock of this machine: implements `ports.Clock`. The only place that reads the time."""

from datetime import UTC, datetime


class SystemClock:
    """Wall-clock time, as kept by NTP: deadlines and window anchors must mean the same after a restart elsewhere."""

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)
