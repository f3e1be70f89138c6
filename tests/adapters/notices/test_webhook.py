"""The generic webhook: what it says, and that it can be believed. No secret is in any log line or error."""

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.notices.notifier import FAILED, ChannelNotifier
from rollout.administration import Reach
from rollout.core.release import Source
from tests.adapters.notices.given import LOOPBACK, NOON, channel, notice, release, secret_file, until
from tests.adapters.notices.journal import Journal
from tests.adapters.notices.receiver import Receiver, Say
from tests.fakes.clock import FakeClock

Notifying = Callable[..., ChannelNotifier]
PLANTED = "pl4nted-s3cret"


async def test_the_body_says_all_there_is_to_know(receiver: Receiver, notifying: Notifying) -> None:
    notifier = notifying(channel(receiver.url))
    one = release(notice(3, "rollback.started", reason="errors", check="errors vs stable"), source=Source(actor="ann"))
    notifier.offer(one)
    await until(lambda: notifier.delivered(one)["ops"].sequence == 3)
    said = receiver.got[0].json
    assert said["key"] == receiver.got[0].headers["rollout-key"] == "uid-1/3/ops"
    assert (said["event"], said["sequence"], said["level"], said["tell"]) == ("rollback.started", 3, "error", "trouble")
    assert said["at"] == "2026-11-21T12:00:00.000Z"
    assert said["message"] == "All traffic goes back to v1: errors"
    assert said["fields"] == {"reason": "errors", "check": "errors vs stable"}
    assert said["release"]["service"] == "checkout"
    assert said["release"]["weight"] == 10
    assert said["release"]["source"]["actor"] == "ann"
    assert set(said["links"]) == {"prometheus", "grafana", "runbook"}
    assert said["stop"] == "rollout abort checkout-v2-0a1b2c3d4e -n shop"


async def test_the_signature_is_that_of_the_body_and_the_time(
    receiver: Receiver, notifying: Notifying, tmp_path: Path
) -> None:
    notifier = notifying(channel(receiver.url, secret_file=secret_file(tmp_path, "key-1")))
    notifier.offer(release(notice(1)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 1)
    got = receiver.got[0]
    at = got.headers["rollout-timestamp"]
    assert at == str(int(NOON.timestamp()))
    expected = hmac.new(b"key-1", at.encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert got.headers["rollout-signature"] == f"v1={expected}"


async def test_a_receiver_that_does_as_the_page_says_believes_us_and_nobody_else(
    receiver: Receiver, notifying: Notifying, clock: FakeClock, tmp_path: Path
) -> None:
    clock.advance(datetime.now(UTC) - clock.now())  # noqa: TID251 - the page's own lines ask for the real time
    notifier = notifying(channel(receiver.url, secret_file=secret_file(tmp_path, "key-1")))
    notifier.offer(release(notice(1)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 1)
    page = (Path(__file__).parents[3] / "docs/notices.md").read_text()
    told: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], told)
    got = receiver.got[0]
    signed = got.headers["rollout-timestamp"], got.headers["rollout-signature"]
    assert told["is_ours"](b"key-1", *signed, got.body)
    assert not told["is_ours"](b"key-2", *signed, got.body)
    assert not told["is_ours"](b"key-1", *signed, got.body + b" ")
    assert not told["is_ours"](b"key-1", "1", signed[1], got.body)


async def test_secrets_are_read_again_for_every_attempt(
    receiver: Receiver, notifying: Notifying, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    notifier = notifying(channel(receiver.url, token_file=token))
    notifier.offer(release(notice(1)))
    token.write_text("late\n")
    await until(lambda: notifier.delivered(release())["ops"].sequence == 1)
    assert receiver.got[0].headers["authorization"] == "Bearer late"


@pytest.mark.parametrize(
    "trouble", ["503", "reset", "hang", "blocked", "no file", "two lines", "not ascii", "no header", "no url"]
)
async def test_no_secret_is_in_a_log_line(
    receiver: Receiver, notifying: Notifying, journal: Journal, tmp_path: Path, trouble: str
) -> None:
    receiver.answer = lambda _: {"503": Say(status=503), "reset": Say(reset=True)}.get(trouble, Say(hang=30))
    url = secret_file(tmp_path, f"{receiver.url}/{PLANTED}?sig={PLANTED}", "url")
    token = secret_file(tmp_path, PLANTED, "token")
    if trouble == "no file":
        token.unlink()
    elif trouble == "two lines":
        token.write_text(f"{PLANTED}\nx{PLANTED}")
    elif trouble == "not ascii":
        token.write_text(f"ä{PLANTED}")
    elif trouble == "no header":
        token.write_text(f"\x1b{PLANTED}")
    elif trouble == "no url":
        url.write_text(PLANTED)
    reach = Reach(insecure=True) if trouble == "blocked" else LOOPBACK
    notifier = notifying(
        channel(None, url_file=url, token_file=token, secret_file=token, timeout=timedelta(seconds=1), reach=reach)
    )
    notifier.offer(release(notice(1)))
    await until(lambda: len(journal.told(FAILED)) > 0)
    assert PLANTED not in json.dumps(journal.lines)
    assert notifier.delivered(release())["ops"].sequence == 0
