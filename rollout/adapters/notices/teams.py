"""Microsoft Teams: a Workflows webhook that posts an Adaptive Card.

Belongs here: the card (Adaptive Cards 1.4, adaptivecards.io/schemas/1.4.0) and the message around it (Microsoft Learn,
"Create incoming webhooks with Workflows"). Does not belong here: what is told (`wording.py`).

Texts of a TextBlock and a FactSet are Markdown, in which a stranger's words could be links. So everything that somebody
wrote stands in a RichTextBlock, whose runs are plain. Teams knows no idempotency key: after a crash a card may come
twice.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from rollout.adapters.notices.telling import Telling, address, post, wants_sort
from rollout.adapters.notices.wording import Message, message_of
from rollout.adapters.outbound import Outbound
from rollout.administration import Links
from rollout.core.events import Notice
from rollout.core.notices import sort_of
from rollout.core.release import Delivered

_STYLES: Final = {"good": "good", "plain": "default", "doubtful": "warning", "bad": "attention"}
_MOST_ACTIONS: Final = 6
"""Buttons that Teams shows of a card."""
_MOST_BYTES: Final = 27 * 1024
"""Of a message: Teams takes 28 KB (Microsoft Learn, "Limits and specifications for Microsoft Teams")."""
_LONGEST: Final = 2000


class TeamsTeller:
    """Implements `telling.Teller`."""

    pace = 1.0

    patient = False

    def __init__(self, outbound: Outbound, links: Links) -> None:
        self._outbound = outbound
        self._links = links

    def wants(self, telling: Telling, later: Sequence[Notice]) -> bool:  # noqa: ARG002 - the protocol's
        """What it asked for."""
        return wants_sort(telling, sort_of(telling.notice))

    async def tell(self, telling: Telling) -> Delivered:
        """One card."""
        channel = telling.channel
        message = message_of(telling.release, telling.notice, channel.name, self._links)
        await post(self._outbound, channel, address(channel), content_of(message))
        return telling.done()


def content_of(message: Message) -> dict[str, Any]:
    """The message around the card; links are left out where it would be too large with them."""
    card = card_of(message)
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    content = {"type": "message", "attachments": [attachment]}
    while card["actions"] and len(json.dumps(content, ensure_ascii=False).encode()) > _MOST_BYTES:
        card["actions"].pop()
    return content


def card_of(message: Message) -> dict[str, Any]:
    """The card: what happened, the numbers, links as buttons, the command that stops it."""
    title = _run(message.title, weight="bolder", size="medium")
    body: list[dict[str, Any]] = [
        {"type": "Container", "style": _STYLES[message.mood], "bleed": True, "items": [_rich(title)]},
        _rich(_run(message.sentence)),
        *(_fact(name, value) for name, value in message.facts),
    ]
    if message.stop:
        command = _run(message.stop, fontType="monospace")
        body.append({**_rich(_run("Stop it: ", isSubtle=True), command), "separator": True})
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": [
            {"type": "Action.OpenUrl", "title": link.title, "url": link.url} for link in message.links[:_MOST_ACTIONS]
        ],
    }


def _fact(name: str, value: str) -> dict[str, Any]:
    return {**_rich(_run(f"{name}: ", isSubtle=True), _run(value)), "spacing": "small"}


def _rich(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": text[:_LONGEST], **style}
