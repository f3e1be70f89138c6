"""Teams: a card as the schema wants it, in which nothing that somebody wrote is Markdown."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.adapters.notices.links import Link
from rollout.adapters.notices.notifier import ChannelNotifier
from rollout.adapters.notices.teams import TeamsTeller, content_of
from rollout.adapters.notices.wording import Message
from rollout.core.release import Phase
from tests.adapters.notices.card_schema import MESSAGE
from tests.adapters.notices.given import channel, notice, release, secret_file, until
from tests.adapters.notices.receiver import Receiver, Say

Notifying = Callable[..., ChannelNotifier]
CARD = jsonschema.Draft202012Validator(MESSAGE)


async def test_a_workflow_is_sent_one_card_per_notice(
    receiver: Receiver, notifying: Notifying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TeamsTeller, "pace", 0.0)
    receiver.answer = lambda _: Say(status=202)
    hook = secret_file(tmp_path, receiver.url + "/workflows/1/triggers/manual/paths/invoke?sig=secret")
    notifier = notifying(channel(None, "teams", url_file=hook))
    one = release(notice(1), notice(2, "release.rolled_back", reason="errors"), phase=Phase.ROLLED_BACK)
    notifier.offer(one)
    await until(lambda: notifier.delivered(one)["ops"].sequence == 2)
    assert [got.path for got in receiver.got] == ["/workflows/1/triggers/manual/paths/invoke?sig=secret"] * 2
    for got in receiver.got:
        CARD.validate(got.json)


@settings(deadline=None)
@given(text=st.one_of(st.just("[click](https://evil.example) **b** <at>all</at>"), st.text(max_size=1024)))
def test_every_message_is_a_card_of_plain_texts_and_links_of_ours(text: str) -> None:
    links = (Link("ci", "CI run", "https://ci.example.com/"),) * 9
    facts = tuple((f"fact {number}", text[:300]) for number in range(10))
    CARD.validate(content_of(Message("k", text[:140], text, "bad", facts, links, "stop")))


def test_a_message_that_would_be_too_large_goes_without_some_of_its_links() -> None:
    facts = tuple((f"fact {number}", "🔴" * 300) for number in range(10))
    links = (Link("ci", "CI run", "https://ci.example.com/" + "a" * 1900),) * 6
    content = content_of(Message("k", "🔴" * 140, "🔴" * 1024, "bad", facts, links, "stop"))
    assert len(json.dumps(content, ensure_ascii=False).encode()) <= 28 * 1024
    assert 0 < len(content["attachments"][0]["content"]["actions"]) < 6
