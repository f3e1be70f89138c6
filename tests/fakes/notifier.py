"""Channels in memory."""

from collections.abc import Mapping

from rollout.core.events import Notice
from rollout.core.release import Delivered, Release


class FakeNotifier:
    """`ports.Notifier`: every channel takes everything at once, unless it is `silent`."""

    def __init__(self, *channels: str) -> None:
        self.channels = channels
        self.silent: set[str] = set()
        """Channels that answer nobody."""
        self.told: dict[tuple[str, str, int], Notice] = {}
        """By channel, the release's uid and the notice's number."""

    def offer(self, release: Release) -> None:
        """As the port says."""
        for channel in self.channels:
            if channel in self.silent:
                continue
            known = self._known(release, channel)
            for notice in release.status.outbox:
                if notice.sequence > known:
                    self.told[channel, release.uid, notice.sequence] = notice

    def delivered(self, release: Release) -> Mapping[str, Delivered]:
        """As the port says."""
        return {channel: Delivered(sequence=self._known(release, channel)) for channel in self.channels}

    def forget(self, uid: str) -> None:
        """As the port says; what was told stays told."""

    def _known(self, release: Release, channel: str) -> int:
        """What was told by us, or by another before us."""
        before = release.status.notified.get(channel, Delivered()).sequence
        return max([before, *(number for to, uid, number in self.told if (to, uid) == (channel, release.uid))])
