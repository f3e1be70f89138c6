"""Slack: with a bot's token one message per release and a thread below it; with an incoming webhook single messages.

Belongs here: Block Kit (docs.slack.dev/reference/block-kit) and the two Web API methods that are used
(chat.postMessage, chat.update), with their errors. Does not belong here: what is told (`wording.py`).

Nothing that somebody wrote can become a link, a mention or a format: it stands in `plain_text` objects alone, and in
the `text` of the notification, where `&`, `<` and `>` are escaped and nothing is parsed. Only our links are `mrkdwn`.

Slack knows no idempotency key. With a token each message carries its key as metadata, and after a doubt (no answer, a
new controller) the thread is searched for it before it is posted again; that takes the scope `channels:history` (or
`groups:history`), without which, as with an incoming webhook, a message may come twice.
"""

import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from rollout.adapters.notices.telling import Telling, Unfit, address, post, post_bytes, secret, wants_sort
from rollout.adapters.notices.wording import Message, message_of
from rollout.adapters.outbound import Outbound
from rollout.administration import Links
from rollout.core.events import CATALOGUE, Level, Notice
from rollout.core.notices import sort_of
from rollout.core.release import Delivered
from rollout.ports import Outage

_API: Final = "https://slack.com/api/"
_METADATA: Final = "rollout_notice"
_FORM: Final = "application/x-www-form-urlencoded"
"""Methods that read take no JSON (docs.slack.dev/apis/web-api, "POST bodies")."""
_EMOJI: Final = {"good": "✅", "plain": "🚦", "doubtful": "⚠️", "bad": "🔴"}
_UNFIT: Final = frozenset(
    {
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_metadata_format",
        "msg_blocks_too_long",
        "msg_too_long",
        "metadata_too_large",
        "no_text",
    }
)
"""Errors that are about this very message (docs.slack.dev/reference/methods/chat.postMessage)."""
_LEFT_ALONE: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "is_inactive"})
"""The first message was deleted, or may not be changed: the thread goes on without."""
_LONGEST_TEXT: Final = 2900
_LONGEST_FIELD: Final = 1900
_MOST_FIELDS: Final = 10
_SEARCHED: Final = 200
"""Messages of a thread, or of the channel, that are searched for a key."""
_MOST_SURE: Final = 4096


class SlackTeller:
    """Implements `telling.Teller`."""

    pace = 1.2
    """One message a second and channel, 50 other calls a minute (docs.slack.dev/apis/web-api/rate-limits)."""

    patient = False

    def __init__(self, outbound: Outbound, links: Links, api: str = _API) -> None:
        self._outbound = outbound
        self._links = links
        self._api = api
        self._sure: set[str] = set()
        """Releases whose last message was answered, so that the next one is surely new; by uid and channel."""

    def wants(self, telling: Telling, later: Sequence[Notice]) -> bool:  # noqa: ARG002 - the protocol's
        """What it asked for."""
        return wants_sort(telling, sort_of(telling.notice))

    async def tell(self, telling: Telling) -> Delivered:
        """A message of its own, or the first one brought up to date and one more in its thread."""
        channel = telling.channel
        message = message_of(telling.release, telling.notice, channel.name, self._links)
        if channel.token_file is None or not channel.channel:
            await post(self._outbound, channel, address(channel), content_of(message))
            return telling.done()
        return telling.done(await self._thread(telling, message))

    async def _thread(self, telling: Telling, message: Message) -> str:
        """Post what is not there yet; the thread afterwards, as `<channel id>:<ts>`."""
        place, _, ts = telling.delivered.thread.partition(":")
        of = f"{telling.release.uid}/{telling.channel.name}"
        # A channel that was replaced in the settings has not heard of the release.
        ts = ts if place == telling.channel.channel else ""
        if ts:
            await self._update(telling, message, ts)
        sure = of in self._sure
        self._sure.discard(of)
        posted = "" if sure else await self._find(telling, message.key, ts)
        if not posted:
            posted = await self._post(telling, message, ts)
        if len(self._sure) >= _MOST_SURE:
            self._sure.clear()
        if not telling.release.status.phase.terminal:
            self._sure.add(of)
        return f"{telling.channel.channel}:{ts or posted}"

    async def _update(self, telling: Telling, message: Message, ts: str) -> None:
        content = {**content_of(message), "channel": telling.channel.channel, "ts": ts}
        answer = await self._call(telling, "chat.update", content)
        if (error := answer.get("error")) and error not in _LEFT_ALONE:
            raise _trouble(error)

    async def _post(self, telling: Telling, message: Message, ts: str) -> str:
        content = {
            **content_of(message),
            "channel": telling.channel.channel,
            "metadata": {"event_type": _METADATA, "event_payload": {"key": message.key}},
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if ts:
            # A thread is not read by those who are not in it; what is wrong is for the whole channel.
            content |= {"thread_ts": ts, "reply_broadcast": _is_urgent(telling.notice)}
        answer = await self._call(telling, "chat.postMessage", content)
        if error := answer.get("error"):
            raise _trouble(error)
        return str(answer.get("ts", ""))

    async def _find(self, telling: Telling, key: str, ts: str) -> str:
        """The message that carries this key; "" where there is none, or it cannot be looked for."""
        what = {"channel": telling.channel.channel, "include_all_metadata": "true", "limit": str(_SEARCHED)}
        method = "conversations.replies" if ts else "conversations.history"
        if ts:
            what["ts"] = ts
        else:
            what["oldest"] = f"{telling.notice.at.timestamp() - 60:.6f}"
        answer = await self._ask(telling, method, urlencode(what).encode(), {"Content-Type": _FORM})
        for one in answer.get("messages") or ():
            metadata = one.get("metadata") if isinstance(one, dict) else None
            payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
            if isinstance(payload, dict) and payload.get("key") == key:
                return str(one.get("ts", ""))
        return ""

    async def _call(self, telling: Telling, method: str, content: dict[str, Any]) -> dict[str, Any]:
        """Call a method that writes."""
        return await self._ask(telling, method, json.dumps(content).encode(), {})

    async def _ask(self, telling: Telling, method: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """What a method answers; `error` in it where it could not be done. Raises as `telling.believed`."""
        channel = telling.channel
        bearer = {"Authorization": f"Bearer {secret(channel.token_file)}", **headers}
        reply = await post_bytes(self._outbound, channel, address(channel, self._api) + method, body, bearer)
        try:
            answer = json.loads(reply.body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Outage("Slack answers what is no JSON object")
        if answer.get("ok") is True:
            return {**answer, "error": ""}
        return {"error": _word(answer.get("error"))}


def content_of(message: Message) -> dict[str, Any]:
    """One message: the notification's text and at most seven blocks."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(f"{_EMOJI[message.mood]} {message.title}", 150)},
        {"type": "section", "text": _plain(message.sentence, _LONGEST_TEXT)},
    ]
    fields = [_plain(f"{name}: {value}", _LONGEST_FIELD) for name, value in message.facts[:_MOST_FIELDS]]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    if links := _links(message):
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": links, "verbatim": True}})
    if message.stop:
        blocks.append({"type": "context", "elements": [_plain(f"Stop it: {message.stop}", _LONGEST_FIELD)]})
    text = _escaped(f"{message.title}: {message.sentence}", _LONGEST_TEXT)
    return {"text": text, "mrkdwn": False, "parse": "none", "link_names": False, "blocks": blocks}


def _links(message: Message) -> str:
    """`<url|title>`, as many as there is room for."""
    shown: list[str] = []
    for link in message.links:
        # checked() let neither < > nor | through; & is escaped as in all text.
        one = f"<{link.url.replace('&', '&amp;')}|{link.title}>"
        if sum(len(other) + 3 for other in shown) + len(one) <= _LONGEST_TEXT:
            shown.append(one)
    return " · ".join(shown)


def _plain(text: str, longest: int) -> dict[str, Any]:
    # An empty text is refused (docs.slack.dev/reference/block-kit/composition-objects/text-object).
    return {"type": "plain_text", "text": _escaped(text, longest) or "-", "emoji": False}


def _escaped(text: str, longest: int) -> str:
    """The three characters that Slack's markup is made of, as entities; cut before that, so that none is cut in two."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    while True:
        escaped = short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        if len(escaped) <= longest:
            return escaped
        short = short[: max(0, len(short) - (len(escaped) - longest) // 4 - 2)] + "…"


def _is_urgent(notice: Notice) -> bool:
    kind = CATALOGUE.get(notice.name)
    return kind is not None and kind.level in {Level.ERROR, Level.CRITICAL}


def _word(error: Any) -> str:
    """Slack's word for what is wrong, if it looks like one: it goes to the log."""
    known = isinstance(error, str) and error.isascii() and error.replace("_", "").isalnum() and len(error) <= 64
    return str(error) if known else "unknown_error"


def _trouble(error: str) -> Exception:
    return Unfit(f"Slack says {error}") if error in _UNFIT else Outage(f"Slack says {error}")
