"""Alertmanager: what is wrong with a release as alerts that begin and end.

Belongs here: alerts of its API v2 (prometheus/alertmanager api/v2/openapi.yaml, postableAlert). Does not belong here:
what is an alarm (`core/notices.py`).

An alert is known by its labels: those of one alarm of one release never change, nor does `startsAt`, so a repetition
is the same alert. It is ended by the same labels with an `endsAt` that has come, which rules over the one before
(types.go, Merge); until then `endsAt` is further away than any release may last, for nothing is sent again meanwhile.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from rollout.adapters.notices.alarms import began, change_of
from rollout.adapters.notices.telling import Telling, address, post, secret
from rollout.adapters.notices.wording import Message, message_of
from rollout.adapters.outbound import Outbound
from rollout.administration import Links
from rollout.core.events import Notice
from rollout.core.notices import Alarm
from rollout.core.quantities import format_instant
from rollout.core.release import Delivered, Release

_PATH: Final = "/api/v2/alerts"
_LONG: Final = timedelta(days=2)


class AlertmanagerTeller:
    """Implements `telling.Teller`."""

    pace = 0.0

    patient = True

    def __init__(self, outbound: Outbound, links: Links) -> None:
        self._outbound = outbound
        self._links = links

    def wants(self, telling: Telling, later: Sequence[Notice]) -> bool:
        """Every alarm that it asked for, and its end."""
        return not change_of(telling, _asked_by(telling), later).empty

    async def tell(self, telling: Telling) -> Delivered:
        """All that one notice begins and ends, in one POST."""
        change, channel, notice = change_of(telling, _asked_by(telling)), telling.channel, telling.notice
        message = message_of(telling.release, notice, channel.name, self._links)
        alerts = [_alert(telling.release, alarm, since, notice.at, message) for alarm, since in change.ended]
        if (alarm := change.raised) is not None:
            until = notice.at + (alarm.expires or _longest(telling.release))
            alerts.append(_alert(telling.release, alarm, began(telling, alarm), until, message))
        token = secret(channel.token_file)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        await post(self._outbound, channel, _url(address(channel)), alerts, headers)
        return telling.done(change.thread)


def _asked_by(telling: Telling) -> "_Asked":
    return _Asked(telling.channel.tell)


class _Asked:
    """What ends a release is told to who asked for `ended`, all else to who asked for `trouble`."""

    def __init__(self, tell: Sequence[str]) -> None:
        self._tell = tell

    def __call__(self, alarm: Alarm) -> bool:
        return ("ended" if alarm.event.startswith("release.") else "trouble") in self._tell


def _longest(release: Release) -> timedelta:
    policy = release.status.policy
    return max(_LONG, 2 * policy.deadlines.total) if policy is not None else _LONG


def _url(base: str) -> str:
    """Alertmanager's address, with or without the path of its API."""
    parts = urlsplit(base)
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(_PATH) else path + _PATH).geturl()


def _alert(release: Release, alarm: Alarm, since: datetime, until: datetime, message: Message) -> dict[str, Any]:
    links = {link.name: link.url for link in message.links}
    annotations = {"summary": message.title, "description": message.sentence}
    if message.stop:
        annotations["stop"] = message.stop
    if "runbook" in links:
        annotations["runbook_url"] = links["runbook"]
    generator = links.get("release") or links.get("prometheus")
    return {
        "labels": {
            "alertname": "Rollout" + "".join(word.capitalize() for word in alarm.name.split("-")),
            "severity": alarm.severity,
            "namespace": release.namespace,
            "service": release.status.service or release.spec.service,
            "release": release.name,
            "uid": release.uid,
        },
        "annotations": annotations,
        "startsAt": format_instant(since),
        # An end before the beginning is refused; the clocks of two controllers may differ.
        "endsAt": format_instant(max(since, until)),
        **({"generatorURL": generator} if generator else {}),
    }
