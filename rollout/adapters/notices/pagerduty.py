"""PagerDuty: one incident per release, for what must wake somebody.

Belongs here: events of the Events API v2 (PagerDuty developer documentation, "Events API v2": trigger and resolve,
`dedup_key`, limits). Does not belong here: what wakes somebody (`core/notices.py`).

`dedup_key` is the uid of the release: however often it is told, and whatever else goes wrong, there is one incident. It
is resolved when nothing is open any more.
"""

from collections.abc import Sequence
from typing import Any, Final

from rollout.adapters.notices.alarms import Change, change_of
from rollout.adapters.notices.telling import Telling, address, post, secret
from rollout.adapters.notices.wording import message_of
from rollout.adapters.outbound import Outbound
from rollout.administration import Links
from rollout.core.events import Notice
from rollout.core.notices import Alarm
from rollout.core.quantities import format_instant
from rollout.core.release import Delivered

_EVENTS: Final = "https://events.pagerduty.com/v2/enqueue"
_LONGEST_SUMMARY: Final = 1024


class PagerDutyTeller:
    """Implements `telling.Teller`."""

    pace = 0.5
    """Far below what an integration may send; a 429 is waited for all the same."""

    patient = True

    def __init__(self, outbound: Outbound, links: Links) -> None:
        self._outbound = outbound
        self._links = links

    def wants(self, telling: Telling, later: Sequence[Notice]) -> bool:
        """What must wake somebody, and its end."""
        return not change_of(telling, _wakes, later).empty

    async def tell(self, telling: Telling) -> Delivered:
        """Trigger, resolve, or neither while something else is still open."""
        change = change_of(telling, _wakes)
        event = self._event(telling, change)
        if event is not None:
            url = address(telling.channel, _EVENTS)
            routing = {"routing_key": secret(telling.channel.token_file)}
            await post(self._outbound, telling.channel, url, routing | event)
        return telling.done(change.thread)

    def _event(self, telling: Telling, change: Change) -> dict[str, Any] | None:
        release = telling.release
        if change.raised is None:
            return None if change.thread else {"event_action": "resolve", "dedup_key": release.uid}
        message = message_of(release, telling.notice, telling.channel.name, self._links)
        stop = [("Stop it", message.stop)] if message.stop else []
        return {
            "event_action": "trigger",
            "dedup_key": release.uid,
            "client": "rollout",
            "payload": {
                "summary": f"{message.title}: {message.sentence}"[:_LONGEST_SUMMARY],
                "source": f"{release.namespace}/{release.name}",
                "severity": change.raised.severity,
                "timestamp": format_instant(telling.notice.at),
                "component": release.status.service or release.spec.service,
                "group": release.namespace,
                "class": change.raised.name,
                "custom_details": {
                    **dict(message.facts),
                    "Message": message.sentence,
                    "Key": message.key,
                    **dict(stop),
                },
            },
            "links": [{"href": link.url, "text": link.title} for link in message.links],
        }


def _wakes(alarm: Alarm) -> bool:
    return alarm.severity == "critical"
