"""A webhook as a gate: what it is asked, and what its answer means."""

import asyncio
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters.outbound import Outbound, Reply
from rollout.adapters.webhook_gate import WebhookGate, meaning
from rollout.administration import Reach, Webhook
from rollout.core.gating import Answer
from tests.adapters.gates.questions import question
from tests.adapters.outbound.receiver import Receiver, answer
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PLAIN = Reach(insecure=True, allow=("127.0.0.0/8",))


def webhook(receiver: Receiver, **more: Any) -> Webhook:
    return Webhook(name="change-board", url=receiver.url, **{"reach": PLAIN, **more})


async def ask(receiver: Receiver, clock: FakeClock, **more: Any) -> Answer:
    return await WebhookGate(Outbound(), clock).ask(question(), webhook(receiver, **more))


async def test_a_webhook_is_told_everything_it_could_decide_on(receiver: Receiver, clock: FakeClock) -> None:
    await ask(receiver, clock)
    [got] = receiver.got
    assert (got.method, got.target, got.headers["content-type"]) == ("POST", "/hook/SECRET", "application/json")
    assert got.headers["rollout-key"] == question().key
    assert json.loads(got.body) == {
        "release": "checkout-v2-1",
        "namespace": "shop",
        "uid": "9f1c",
        "service": "checkout",
        "version": "v2",
        "stable": "v1",
        "step": 0,
        "weight": 10,
        "gate": "board",
        "before": "start",
        "attempt": 1,
        "key": question().key,
    }


async def test_a_signature_proves_the_time_and_the_body(receiver: Receiver, clock: FakeClock, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"s3cret\n")
    await ask(receiver, clock, secret_file=tmp_path / "key")
    [got] = receiver.got
    at = got.headers["rollout-timestamp"]
    assert int(at) == int(NOW.timestamp())
    expected = hmac.new(b"s3cret", at.encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert got.headers["rollout-signature"] == f"v1={expected}"


async def test_a_key_that_was_replaced_is_used_at_once(receiver: Receiver, clock: FakeClock, tmp_path: Path) -> None:
    for key in ("one", "two"):
        (tmp_path / "key").write_text(key)
        await ask(receiver, clock, secret_file=tmp_path / "key")
    first, second = (got.headers["rollout-signature"] for got in receiver.got)
    assert first != second


@pytest.mark.parametrize("content", [None, b"", b"\n"])
async def test_without_its_key_nobody_is_asked(
    receiver: Receiver, clock: FakeClock, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    said = await ask(receiver, clock, secret_file=tmp_path / "key")
    assert said.outcome == "unavailable"
    assert str(tmp_path / "key") in said.message
    assert not receiver.got


async def test_an_address_that_is_not_allowed_is_a_no_that_names_the_webhook(
    receiver: Receiver, clock: FakeClock
) -> None:
    said = await ask(receiver, clock, reach=Reach(insecure=True))
    assert said.outcome == "failed"
    assert "change-board" in said.message
    assert "reach.allow" in said.message
    assert "SECRET" not in said.message
    assert not receiver.connections


async def test_no_answer_in_time_is_no_answer(receiver: Receiver, clock: FakeClock) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    receiver.script = hang
    said = await ask(receiver, clock, timeout=timedelta(seconds=1))
    assert said.outcome == "unavailable"
    assert "SECRET" not in said.message


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "passed"), (201, "passed"), (204, "passed"), (299, "passed"),
        (202, "waiting"),
        (408, "unavailable"), (425, "unavailable"), (429, "unavailable"),
        (500, "unavailable"), (501, "unavailable"), (503, "unavailable"), (599, "unavailable"),
        (300, "failed"), (301, "failed"), (304, "failed"), (307, "failed"),
        (400, "failed"), (401, "failed"), (403, "failed"), (404, "failed"), (410, "failed"), (451, "failed"),
    ],
)  # fmt: skip
async def test_a_status_means_one_thing(receiver: Receiver, clock: FakeClock, status: int, outcome: str) -> None:
    receiver.said = answer(status, b"" if status in {204, 304} else b"because")
    said = await ask(receiver, clock)
    assert said.outcome == outcome
    assert (str(status) in said.message) == (outcome in {"failed", "unavailable"})


@pytest.mark.parametrize(
    ("wish", "again"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("0", 0),
        ("Sat, 21 Nov 2026 12:00:40 GMT", 40),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
        ("Sat, 21 Nov 2026 12:00:40 -0000", 40),
        ("", 10),
        ("soon", 10),
        ("-5", 10),
        ("1e9", 10),
        ("99999999999999999999", 10),
        ("²", 10),
    ],
)
def test_a_202_says_when_to_ask_again_in_seconds_or_as_a_date(wish: str, again: int) -> None:
    said = meaning("hook", Reply(202, {"retry-after": wish}, b""), NOW)
    assert (said.outcome, said.again) == ("waiting", timedelta(seconds=again))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"message": "CHG 7 approved", "token": "x"}', "CHG 7 approved"),
        (b"CHG 7\r\napproved\n", "CHG 7 approved"),
        (b'"yes"', "yes"),
        (b"<html>no</html>", ""),
        (b'{"ok": true}', ""),
        (b"[1]", ""),
        (b'{"message": {"a": 1}}', ""),
        (b"42", ""),
        (b"\xff\xfe\x00", ""),
        ("evil\x1b[31m\u202e\u2028line".encode(), "evil [31m line"),
        (b"[" * 60_000, ""),
        (b"x" * 500, "x" * 199 + "…"),
    ],
)
def test_of_an_answer_one_short_safe_line_is_kept(body: bytes, text: str) -> None:
    assert meaning("hook", Reply(200, {}, body), NOW) == Answer("passed", text)


@given(st.integers(100, 999), st.binary(max_size=300), st.text(max_size=40))
def test_no_answer_whatever_breaks_anything(status: int, body: bytes, wish: str) -> None:
    said = meaning("hook", Reply(status, {"retry-after": wish}, body), NOW)
    assert said.again >= timedelta(0)
    assert len(said.message) < 300
    assert said.message.isprintable()
