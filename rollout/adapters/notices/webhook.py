"""A generic webhook: everything about one notice as JSON, signed if there is a key.

Belongs here: the body and the headers. Does not belong here: what is told (`wording.py`), the signature (`signing.py`).

`Rollout-Key` is the same for every repetition; a receiver that keeps the keys it has seen acts once on each. The body
of a repetition may say more of the release (`release`), never other things of the event.
"""

import json
from collections.abc import Sequence
from typing import Any

from rollout.adapters.notices.telling import KEY, Telling, address, post_bytes, secret, wants_sort
from rollout.adapters.notices.wording import message_of
from rollout.adapters.outbound import Outbound
from rollout.adapters.signing import read_key, signed
from rollout.administration import Links
from rollout.core.events import CATALOGUE, Notice
from rollout.core.notices import sort_of
from rollout.core.quantities import format_instant
from rollout.core.release import Delivered
from rollout.ports import Clock


class WebhookTeller:
    """Implements `telling.Teller`."""

    pace = 0.0

    patient = False

    def __init__(self, outbound: Outbound, links: Links, clock: Clock) -> None:
        self._outbound = outbound
        self._links = links
        self._clock = clock

    def wants(self, telling: Telling, later: Sequence[Notice]) -> bool:  # noqa: ARG002 - the protocol's
        """What it asked for."""
        return wants_sort(telling, sort_of(telling.notice))

    async def tell(self, telling: Telling) -> Delivered:
        """One POST."""
        channel = telling.channel
        content = body_of(telling, self._links)
        body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        headers = {KEY: telling.key}
        if token := secret(channel.token_file):
            headers["Authorization"] = f"Bearer {token}"
        if channel.secret_file is not None:
            headers |= signed(read_key(channel.secret_file), self._clock.now(), body)
        await post_bytes(self._outbound, channel, address(channel), body, headers)
        return telling.done()


def body_of(telling: Telling, links: Links) -> dict[str, Any]:
    """The notice, and the release as it stands."""
    release, notice, channel = telling.release, telling.notice, telling.channel
    status, spec = release.status, release.spec
    message = message_of(release, notice, channel.name, links)
    return {
        "key": message.key,
        "channel": channel.name,
        "event": notice.name,
        "sequence": notice.sequence,
        "at": format_instant(notice.at),
        "level": CATALOGUE[notice.name].level.value if notice.name in CATALOGUE else "info",
        "tell": sort_of(notice),
        "title": message.title,
        "message": message.sentence,
        "fields": dict(notice.fields),
        "release": {
            "namespace": release.namespace,
            "name": release.name,
            "uid": release.uid,
            "service": status.service or spec.service,
            "version": status.version or spec.version,
            "stable": status.stable,
            "phase": status.phase.value,
            "reason": status.reason,
            "message": status.message,
            "weight": status.weight,
            "step": status.step,
            "progress": status.progress,
            "source": spec.source.wire(),
        },
        "checks": [one.wire() for one in status.verdicts],
        "query": status.query,
        "links": {link.name: link.url for link in message.links},
        "stop": message.stop,
    }
