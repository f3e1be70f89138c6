"""What every kind of channel has in common: what it is given to tell, one request, and what an answer means.

Belongs here: the protocol of a channel, its secrets, which answers are worth another try. Does not belong here: queues,
pace and patience (`notifier.py`), what a request says (`slack.py`, `teams.py`, ...).

Addresses and tokens are secrets: they are read from their files whenever they are used, and no error names more of one
than its file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from rollout.adapters.notices.wording import key_of
from rollout.adapters.outbound import Outbound, Reply
from rollout.administration import Channel
from rollout.core.events import Notice
from rollout.core.release import Delivered, Release
from rollout.ports import Outage

KEY: Final = "Rollout-Key"
"""Header: the same for every repetition of the same notice to the same channel."""
_UNFIT: Final = frozenset({400, 413, 422})
_LONGEST_SECRET: Final = 4096
_LONGEST_WAIT: Final = timedelta(minutes=15)


class Unfit(Exception):  # noqa: N818 - an answer, no programming error
    """The receiver cannot take this notice, now or ever: nothing is gained by another try."""


class Later(Outage):
    """The receiver wants to be left alone for a while: `wait`."""

    def __init__(self, message: str, wait: timedelta) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Telling:
    """One notice for one channel."""

    channel: Channel
    release: Release
    """As it stood when it was last offered, which may be after the notice."""
    notice: Notice
    delivered: Delivered
    """How far the channel had been told before."""

    @property
    def key(self) -> str:
        """See `wording.key_of`."""
        return key_of(self.release, self.notice, self.channel.name)

    def done(self, thread: str | None = None) -> Delivered:
        """What to remember once the channel has it; `thread` where that is new."""
        return Delivered(sequence=self.notice.sequence, thread=self.delivered.thread if thread is None else thread)


class Teller(Protocol):
    """One kind of channel."""

    pace: float
    """Least seconds between two notices to one channel."""
    patient: bool
    """Whether an alarm waits until it has lasted."""

    def wants(self, telling: Telling, later: Sequence[Notice]) -> bool:
        """Whether the channel is told at all; `later`: what happened after it. No I/O."""
        ...

    async def tell(self, telling: Telling) -> Delivered:
        """Tell it, once. Raises Outage (Later) to be tried again, Refused likewise, Unfit never to be."""
        ...


def wants_sort(telling: Telling, sort: str | None) -> bool:
    """Whether the channel asked to be told of this sort."""
    return sort is not None and sort in telling.channel.tell


def secret(path: Path | None) -> str:
    """The one line of a secret file, as it is now; "" without a file. Raises Outage if it cannot be read."""
    if path is None:
        return ""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        problem = type(error).__name__
    else:
        if text and len(text) <= _LONGEST_SECRET and text.isprintable():
            return text
        problem = "it does not hold one line"
    # Outside of the handler: a UnicodeError knows what it could not read.
    raise Outage(f"the secret in {path} cannot be read: {problem}")


def address(channel: Channel, default: str = "") -> str:
    """Where the channel's receiver is."""
    return channel.url or secret(channel.url_file) or default


async def post(
    outbound: Outbound, channel: Channel, url: str, content: Any, headers: Mapping[str, str] | None = None
) -> Reply:
    """POST JSON, once. Raises as `believed`, and Blocked where the address is not allowed."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return await post_bytes(outbound, channel, url, body, headers or {})


async def post_bytes(outbound: Outbound, channel: Channel, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    """The same, of what is JSON already."""
    typed = {"Content-Type": "application/json; charset=utf-8", **headers}
    reply = await outbound.send("POST", url, body=body, headers=typed, reach=channel.reach, timeout=channel.timeout)
    return believed(reply)


def believed(reply: Reply) -> Reply:
    """A 2xx. Raises Later where the receiver says when to come back, Unfit for 400, 413 and 422, else Outage.

    A wrong token, a channel that is gone: an administrator can mend these while the notice waits.
    """
    if 200 <= reply.status < 300:
        return reply
    wait = retry_after(reply)
    if wait is not None and (reply.status == 429 or reply.status >= 500):
        raise Later(f"it answers {reply.status}", wait)
    if reply.status in _UNFIT:
        raise Unfit(f"it answers {reply.status}: it will never take this notice")
    raise Outage(f"it answers {reply.status}")


def retry_after(reply: Reply) -> timedelta | None:
    """Seconds of Retry-After (RFC 9110 §10.2.3), a quarter of an hour at most; dates are not understood."""
    text = reply.headers.get("retry-after", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        return None
    return min(timedelta(seconds=int(text)), _LONGEST_WAIT)
