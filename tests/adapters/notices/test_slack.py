"""Slack: one message per release, its thread, and nothing that somebody wrote becomes markup."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.adapters.notices.links import Link
from rollout.adapters.notices.notifier import GIVEN_UP, ChannelNotifier
from rollout.adapters.notices.slack import SlackTeller, content_of
from rollout.adapters.notices.wording import Message
from rollout.administration import Channel
from rollout.core.release import Delivered, Phase
from tests.adapters.notices.given import channel, notice, release, secret_file, until
from tests.adapters.notices.journal import Journal
from tests.adapters.notices.receiver import Got, Receiver, Say
from tests.adapters.notices.slackish import Slack

Notifying = Callable[..., ChannelNotifier]


@pytest.fixture
def bot(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Channel:
    monkeypatch.setattr(SlackTeller, "pace", 0.0)
    token = secret_file(tmp_path, "xoxb-token")
    return channel(receiver.url + "/api/", "slack", token_file=token, channel="C1")


def texts(content: Any) -> Iterator[dict[str, Any]]:
    """Every text object of a message."""
    if isinstance(content, dict):
        if content.get("type") in {"plain_text", "mrkdwn"}:
            yield content
        for value in content.values():
            yield from texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from texts(value)


async def test_a_release_is_one_message_brought_up_to_date_and_a_thread(
    receiver: Receiver, notifying: Notifying, bot: Channel
) -> None:
    slack = Slack()
    receiver.answer = slack.answer
    notifier = notifying(bot)
    one = release(notice(1, "release.started", stable="v1", steps="10/30"), notice(2), notice(3, "step.promoted"))
    notifier.offer(one)
    await until(lambda: notifier.delivered(one)["ops"].sequence == 3)
    first, *replies = slack.messages
    assert "thread_ts" not in first
    assert [reply["thread_ts"] for reply in replies] == [first["ts"]] * 2
    assert "step promoted" in first["text"]
    assert notifier.delivered(one)["ops"] == Delivered(sequence=3, thread=f"C1:{first['ts']}")
    assert {got.headers["authorization"] for got in receiver.got} == {"Bearer xoxb-token"}


async def test_the_thread_goes_on_after_a_restart(receiver: Receiver, notifying: Notifying, bot: Channel) -> None:
    slack = Slack()
    receiver.answer = slack.answer
    first = notifying(bot)
    first.offer(release(notice(1)))
    await until(lambda: first.delivered(release())["ops"].sequence == 1)
    second = notifying(bot)
    second.offer(release(notice(2), notified=dict(first.delivered(release()))))
    await until(lambda: second.delivered(release())["ops"].sequence == 2)
    assert slack.messages[1]["thread_ts"] == slack.messages[0]["ts"]


@pytest.mark.parametrize("sequence", [1, 2])
async def test_what_was_posted_before_a_crash_is_found_and_not_posted_again(
    receiver: Receiver, notifying: Notifying, bot: Channel, sequence: int
) -> None:
    slack = Slack()
    receiver.answer = slack.answer
    before = notifying(bot)
    outbox = [notice(number) for number in range(1, sequence + 1)]
    before.offer(release(*outbox))
    await until(lambda: before.delivered(release())["ops"].sequence == sequence)
    thread = before.delivered(release())["ops"].thread if sequence > 1 else ""
    after = notifying(bot)
    after.offer(release(*outbox, notified={"ops": Delivered(sequence=sequence - 1, thread=thread)}))
    await until(lambda: after.delivered(release())["ops"].sequence == sequence)
    assert len(slack.messages) == sequence
    assert after.delivered(release())["ops"] == before.delivered(release())["ops"]


async def test_without_the_right_to_search_a_message_may_come_twice_but_comes(
    receiver: Receiver, notifying: Notifying, bot: Channel
) -> None:
    slack = Slack(may_read=False)
    receiver.answer = slack.answer
    for _ in range(2):
        notifier = notifying(bot)
        notifier.offer(release(notice(1)))
        await until(lambda one=notifier: one.delivered(release())["ops"].sequence == 1)  # type: ignore[misc]
    assert slack.keys() == ["uid-1/1/ops"] * 2


async def test_a_first_message_that_was_deleted_stops_nothing(
    receiver: Receiver, notifying: Notifying, bot: Channel
) -> None:
    slack = Slack()
    receiver.answer = slack.answer
    notifier = notifying(bot)
    notifier.offer(release(notice(2), notified={"ops": Delivered(sequence=1, thread="C1:1.2")}))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 2)
    assert [message["thread_ts"] for message in slack.messages] == ["1.2"]


async def test_another_channel_in_the_settings_begins_a_message_of_its_own(
    receiver: Receiver, notifying: Notifying, bot: Channel
) -> None:
    slack = Slack()
    receiver.answer = slack.answer
    notifier = notifying(bot)
    notifier.offer(release(notice(2), notified={"ops": Delivered(sequence=1, thread="C2:1.2")}))
    await until(lambda: notifier.delivered(release())["ops"].thread.startswith("C1:"))
    assert "thread_ts" not in slack.messages[0]


async def test_what_is_wrong_is_shown_to_the_whole_channel_and_a_step_is_not(
    receiver: Receiver, notifying: Notifying, bot: Channel
) -> None:
    slack = Slack()
    receiver.answer = slack.answer
    notifier = notifying(bot)
    one = release(notice(1), notice(2), notice(3, "rollback.started", reason="errors"))
    notifier.offer(one)
    await until(lambda: notifier.delivered(one)["ops"].sequence == 3)
    assert [message.get("reply_broadcast", False) for message in slack.messages] == [False, False, True]


async def test_an_error_that_can_be_mended_is_waited_for(
    receiver: Receiver, notifying: Notifying, bot: Channel
) -> None:
    slack, errors = Slack(), ["not_in_channel", "invalid_auth", "internal_error"]

    def answer(got: Got) -> Say:
        if got.path.endswith("chat.postMessage") and errors:
            return Say(body={"ok": False, "error": errors.pop()})
        return slack.answer(got)

    receiver.answer = answer
    notifier = notifying(bot)
    notifier.offer(release(notice(1)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 1)
    assert len(slack.messages) == 1


async def test_a_message_that_slack_will_never_take_is_given_up(
    receiver: Receiver, notifying: Notifying, bot: Channel, journal: Journal
) -> None:
    receiver.answer = lambda _: Say(body={"ok": False, "error": "invalid_blocks"})
    notifier = notifying(bot)
    notifier.offer(release(notice(1)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 1)
    assert len(journal.told(GIVEN_UP)) == 1


@pytest.mark.parametrize("body", [None, [], "ok", {"ok": "yes"}, {"ok": False, "error": {"\n": 1}}], ids=str)
async def test_an_answer_that_is_none_of_slacks_is_tried_again(
    receiver: Receiver, notifying: Notifying, bot: Channel, body: object
) -> None:
    receiver.answer = lambda _: Say(body=body)
    notifier = notifying(bot)
    notifier.offer(release(notice(1)))
    await until(lambda: len(receiver.got) > 3)
    assert notifier.delivered(release())["ops"].sequence == 0


async def test_an_incoming_webhook_is_sent_single_messages(
    receiver: Receiver, notifying: Notifying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlackTeller, "pace", 0.0)
    hook = secret_file(tmp_path, receiver.url + "/services/T0/B0/secret")
    notifier = notifying(channel(None, "slack", url_file=hook))
    one = release(notice(1), notice(2), phase=Phase.ANALYSING)
    notifier.offer(one)
    await until(lambda: notifier.delivered(one)["ops"].sequence == 2)
    assert [got.path for got in receiver.got] == ["/services/T0/B0/secret"] * 2
    assert all(set(got.json) == {"text", "mrkdwn", "parse", "link_names", "blocks"} for got in receiver.got)


EVIL = "<!channel> <@U1> <https://evil.example|click> @here *b* &lt; `c`"


@settings(deadline=None)
@given(text=st.one_of(st.just(EVIL), st.text(max_size=4000), st.text("<>&", max_size=4000)))
def test_nothing_that_somebody_wrote_becomes_markup(text: str) -> None:
    message = Message(
        key="k",
        title=text,
        sentence=text,
        mood="bad",
        facts=tuple((f"fact {number}", text) for number in range(14)),
        links=(Link("ci", "CI run", "https://ci.example.com/?a=1&b=2"),) * 9,
        stop=text,
    )
    content = content_of(message)
    assert len(content["blocks"]) <= 50
    assert content["blocks"][0]["text"]["text"].startswith("🔴 ")
    for one in texts(content["blocks"]):
        limit = 150 if one is content["blocks"][0]["text"] else 3000
        assert 0 < len(one["text"]) <= limit
        if one["type"] == "mrkdwn":
            assert one["verbatim"] is True
            assert one["text"] == " · ".join(["<https://ci.example.com/?a=1&amp;b=2|CI run>"] * 9)
        else:
            assert "<" not in one["text"]
            assert ">" not in one["text"]
    assert not {"<", ">"} & set(content["text"])
    assert (content["parse"], content["link_names"], content["mrkdwn"]) == ("none", False, False)
    fields = [block["fields"] for block in content["blocks"] if "fields" in block]
    assert all(len(one) <= 10 and all(len(field["text"]) <= 2000 for field in one) for one in fields)
    json.dumps(content)


def test_a_text_that_is_cut_ends_in_no_half_entity() -> None:
    message = Message("k", "&" * 500, "&" * 5000, "plain", (), (), "")
    for one in texts(content_of(message)["blocks"]):
        assert one["text"].replace("&amp;", "").strip("🚦 …") == ""
