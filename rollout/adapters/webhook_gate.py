"""A webhook as a gate: one signed POST, and what its answer means.

Belongs here: the body, the headers, the meaning of each status. Does not belong here: where a request may go
(`outbound.py`), how often it is repeated (`core/waiting.py`).

`Rollout-Key` is the same for every repetition of one gate of one release: a receiver that does something (opens a
ticket, starts a test) must do it once for each key, and answer repetitions alike.
"""

import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from rollout.adapters.hearsay import short_line
from rollout.adapters.outbound import Outbound, Reply
from rollout.adapters.signing import read_key, signed
from rollout.administration import Webhook
from rollout.core.gating import Answer, Question
from rollout.ports import Clock, Outage, Refused

KEY: Final = "Rollout-Key"
_AGAIN: Final = timedelta(seconds=10)
"""Until the next question where a 202 does not say."""
_LATER: Final = frozenset({408, 425, 429})
"""Codes of a client's error that say nothing about the question (RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4)."""


class WebhookGate:
    """Asks webhooks."""

    def __init__(self, road: Outbound, clock: Clock) -> None:
        self._road = road
        self._clock = clock

    async def ask(self, question: Question, webhook: Webhook) -> Answer:
        """One question, put once. Raises nothing: that there is no answer is an answer too."""
        body = json.dumps(body_of(question), separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", KEY: question.key}
        try:
            if webhook.secret_file is not None:
                headers |= signed(read_key(webhook.secret_file), self._clock.now(), body)
            reply = await self._road.send(
                "POST", webhook.url, body=body, headers=headers, reach=webhook.reach, timeout=webhook.timeout
            )
        except Refused as error:
            return Answer("failed", f"webhook {webhook.name} cannot be asked: {error}")
        except Outage as error:
            return Answer("unavailable", f"webhook {webhook.name}: {error}")
        return meaning(webhook.name, reply, self._clock.now())


def body_of(question: Question) -> dict[str, Any]:
    """What a webhook is asked: everything about the release that it could decide on, and nothing secret."""
    return {
        "release": question.release,
        "namespace": question.namespace,
        "uid": question.uid,
        "service": question.service,
        "version": question.version,
        "stable": question.stable,
        "step": question.step,
        "weight": question.weight,
        "gate": question.gate.name,
        "before": question.gate.before,
        "attempt": question.attempt,
        "key": question.key,
    }


def meaning(name: str, reply: Reply, now: datetime) -> Answer:
    """2xx yes; 202 not yet; 408, 425, 429 and 5xx nothing; all else, redirects too, no."""
    text = _text(reply)
    said = f"webhook {name} answered {reply.status}" + (f": {text}" if text else "")
    if reply.status == 202:
        return Answer("waiting", text or f"webhook {name} is not ready", _again(reply, now))
    if 200 <= reply.status < 300:
        return Answer("passed", text)
    if reply.status in _LATER or reply.status >= 500:
        return Answer("unavailable", said)
    if 300 <= reply.status < 400:
        return Answer("failed", f"webhook {name} answered {reply.status}, a redirect; redirects are not followed")
    return Answer("failed", said)


def _again(reply: Reply, now: datetime) -> timedelta:
    """Retry-After: seconds or a date (RFC 9110 §10.2.3); what is neither does not count."""
    wish = reply.headers.get("retry-after", "").strip()
    if wish.isascii() and wish.isdigit() and len(wish) < 8:
        return timedelta(seconds=int(wish))
    try:
        until = parsedate_to_datetime(wish)
    except ValueError:
        return _AGAIN
    return max(timedelta(0), (until if until.tzinfo else until.replace(tzinfo=UTC)) - now)


def _text(reply: Reply) -> str:
    """What the answer says to people: its `message`, or its text; one line, nothing of a page."""
    text = reply.body.decode("utf-8", errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        content = content.get("message")
    if isinstance(content, str):
        text = content
    elif content is not None or text.lstrip().startswith(("{", "[", "<")):
        return ""
    return short_line(text.replace("\ufffd", " "))
