"""The queues: order, repetitions under one key, pace, patience, and that nobody ever waits."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from time import monotonic, perf_counter

import pytest

from rollout.adapters.notices.notifier import FAILED, GIVEN_UP, SENT, UNKNOWN, ChannelNotifier
from rollout.adapters.notices.slack import SlackTeller
from rollout.core.release import Delivered, Release
from rollout.ports import Outage
from tests.adapters.notices.given import NOON, channel, notice, release, until
from tests.adapters.notices.journal import Journal
from tests.adapters.notices.receiver import Got, Receiver, Say
from tests.fakes.clock import FakeClock

Notifying = Callable[..., ChannelNotifier]


def sequences(receiver: Receiver) -> list[int]:
    return [got.json["sequence"] for got in receiver.got]


def keys(receiver: Receiver) -> list[str]:
    return [got.headers["rollout-key"] for got in receiver.got]


def saved(one: Release, notifier: ChannelNotifier) -> Release:
    """The release after its status was saved with what is known to be delivered."""
    notified = {**one.status.notified, **notifier.delivered(one)}
    return one.model_copy(update={"status": one.status.model_copy(update={"notified": notified})})


def failing(times: int, say: Say) -> Callable[[Got], Say]:
    left = [say] * times
    return lambda _: left.pop() if left else Say()


async def test_events_are_told_in_order_each_once(receiver: Receiver, notifying: Notifying) -> None:
    notifier = notifying(channel(receiver.url))
    notifier.offer(release(notice(1)))
    notifier.offer(release(notice(1), notice(2), notice(3)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 3)
    notifier.offer(release(notice(1), notice(2), notice(3)))
    assert sequences(receiver) == [1, 2, 3]
    assert keys(receiver) == ["uid-1/1/ops", "uid-1/2/ops", "uid-1/3/ops"]


async def test_what_the_release_remembers_as_told_is_not_told_again(receiver: Receiver, notifying: Notifying) -> None:
    notifier = notifying(channel(receiver.url))
    one = release(notice(1), notice(2), notified={"ops": Delivered(sequence=1)})
    notifier.offer(one)
    await until(lambda: notifier.delivered(one)["ops"].sequence == 2)
    assert sequences(receiver) == [2]


async def test_an_event_that_nobody_asked_for_is_passed_over_at_once(receiver: Receiver, notifying: Notifying) -> None:
    notifier = notifying(channel(receiver.url, tell=("ended",)))
    one = release(notice(1), notice(2, "step.promoted"))
    notifier.offer(one)
    assert notifier.delivered(one)["ops"].sequence == 2
    assert receiver.got == []


@pytest.mark.parametrize("say", [Say(status=503), Say(status=429), Say(reset=True), Say(status=401)], ids=str)
async def test_a_notice_is_repeated_under_the_same_key_until_it_is_taken(
    receiver: Receiver, notifying: Notifying, say: Say
) -> None:
    receiver.answer = failing(3, say)
    notifier = notifying(channel(receiver.url))
    notifier.offer(release(notice(1), notice(2)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 2)
    assert keys(receiver) == ["uid-1/1/ops"] * 4 + ["uid-1/2/ops"]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_notice_that_a_receiver_will_never_take_is_given_up_and_the_next_one_told(
    receiver: Receiver, notifying: Notifying, journal: Journal, status: int
) -> None:
    receiver.answer = failing(1, Say(status=status))
    notifier = notifying(channel(receiver.url))
    notifier.offer(release(notice(1), notice(2)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 2)
    assert sequences(receiver) == [1, 2]
    assert [line["sequence"] for line in journal.told(GIVEN_UP)] == [1]
    assert [line["sequence"] for line in journal.told(SENT)] == [2]


async def test_a_notice_is_given_up_after_its_time_and_said_so(
    receiver: Receiver, notifying: Notifying, clock: FakeClock, journal: Journal
) -> None:
    receiver.answer = lambda _: Say(status=503)
    notifier = notifying(channel(receiver.url, give_up=timedelta(milliseconds=50)))
    notifier.offer(release(notice(1)))
    await until(lambda: len(receiver.got) > 1)
    assert notifier.delivered(release())["ops"].sequence == 0
    clock.advance(timedelta(hours=1))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 1)
    assert len(journal.told(GIVEN_UP)) == 1
    assert len(journal.told(FAILED)) == 1, "the same trouble is said once"


async def test_what_is_old_already_is_still_tried_by_a_new_process(
    receiver: Receiver, notifying: Notifying, clock: FakeClock
) -> None:
    clock.advance(timedelta(days=1))
    receiver.answer = failing(3, Say(status=503))
    notifier = notifying(channel(receiver.url))
    notifier.offer(release(notice(1)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 1)
    assert len(receiver.got) == 4


async def test_a_receiver_that_hangs_delays_neither_offering_nor_asking(
    receiver: Receiver, notifying: Notifying
) -> None:
    receiver.answer = lambda _: Say(hang=60)
    notifier = notifying(channel(receiver.url))
    longest = 0.0
    for number in range(1, 200):
        one = release(notice(number), uid=f"uid-{number}")
        began = perf_counter()
        notifier.offer(one)
        notifier.delivered(one)
        longest = max(longest, perf_counter() - began)
        await asyncio.sleep(0)
    assert longest < 1.0, "what is asked hangs for a minute"
    assert receiver.most_at_once <= 4


async def test_one_channel_that_is_down_does_not_hold_back_another(receiver: Receiver, notifying: Notifying) -> None:
    receiver.answer = lambda got: Say(status=503) if got.path == "/down" else Say()
    notifier = notifying(channel(receiver.url + "/down", name="down"), channel(receiver.url + "/up", name="up"))
    notifier.offer(release(notice(1), notice(2)))
    await until(lambda: notifier.delivered(release())["up"].sequence == 2)
    assert notifier.delivered(release())["down"].sequence == 0


async def test_retry_after_is_honoured_by_the_whole_channel(receiver: Receiver, notifying: Notifying) -> None:
    times: list[float] = []

    def answer(_: Got) -> Say:
        times.append(monotonic())
        return Say(status=429, headers={"Retry-After": "1"}) if len(times) == 1 else Say()

    receiver.answer = answer
    notifier = notifying(channel(receiver.url))
    notifier.offer(release(notice(1), uid="a"))
    # What is on its way before the answer is read cannot be held back.
    await until(lambda: notifier._desks["ops"]._next > monotonic())
    notifier.offer(release(notice(1), uid="b"))
    await until(lambda: len(times) == 3)
    assert times[1] - times[0] >= 0.95


async def test_slack_is_told_no_faster_than_it_allows(
    receiver: Receiver, notifying: Notifying, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SlackTeller.pace >= 1.0
    monkeypatch.setattr(SlackTeller, "pace", 0.2)
    times: list[float] = []

    def answer(_: Got) -> Say:
        times.append(monotonic())
        return Say()

    receiver.answer = answer
    notifier = notifying(channel(receiver.url, "slack"))
    for uid in "abcd":
        notifier.offer(release(notice(1), uid=uid))
    await until(lambda: len(times) == 4)
    assert times[3] - times[0] >= 0.55


async def test_nobody_is_told_while_somebody_else_may_be_leading(receiver: Receiver, notifying: Notifying) -> None:
    leading = False

    def fence() -> float:
        if not leading:
            raise Outage("another one leads")
        return 10.0

    notifier = notifying(channel(receiver.url), fence=fence)
    notifier.offer(release(notice(1)))
    await asyncio.sleep(0.05)
    assert receiver.got == []
    leading = True
    await until(lambda: notifier.delivered(release())["ops"].sequence == 1)


async def test_after_the_end_of_a_term_nothing_is_sent_and_nothing_is_lost(
    receiver: Receiver, notifying: Notifying
) -> None:
    receiver.answer = lambda _: Say(status=503)
    first = notifying(channel(receiver.url))
    first.offer(release(notice(1)))
    await until(lambda: len(receiver.got) > 0)
    await first.close()
    count = len(receiver.got)
    first.offer(release(notice(1), notice(2)))
    await asyncio.sleep(0.3)
    assert len(receiver.got) <= count + 1, "one may have been on its way"
    receiver.answer = lambda _: Say()
    second = notifying(channel(receiver.url))
    second.offer(saved(release(notice(1), notice(2)), first))
    await until(lambda: second.delivered(release())["ops"].sequence == 2)
    assert set(keys(receiver)) == {"uid-1/1/ops", "uid-1/2/ops"}


async def test_a_release_that_is_forgotten_is_told_of_no_more(receiver: Receiver, notifying: Notifying) -> None:
    receiver.answer = lambda _: Say(status=503)
    notifier = notifying(channel(receiver.url))
    notifier.offer(release(notice(1)))
    await until(lambda: len(receiver.got) > 0)
    notifier.forget("uid-1")
    notifier.forget("nobody")
    count = len(receiver.got)
    await asyncio.sleep(0.3)
    assert len(receiver.got) <= count + 1, "one may have been on its way"


async def test_what_was_told_and_saved_is_remembered_no_longer(receiver: Receiver, notifying: Notifying) -> None:
    notifier = notifying(channel(receiver.url))
    for number in range(50):
        one = release(notice(1), uid=f"uid-{number}")
        notifier.offer(one)
        await until(lambda one=one: notifier.delivered(one)["ops"].sequence == 1)  # type: ignore[misc]
        notifier.offer(saved(one, notifier))
    await until(lambda: not notifier._desks["ops"]._lines)


async def test_a_policy_chooses_among_the_channels_of_the_settings(
    receiver: Receiver, notifying: Notifying, journal: Journal
) -> None:
    notifier = notifying(
        channel(receiver.url, name="everybody"),
        channel(receiver.url, name="team-a", default=False),
        channel(receiver.url, name="elsewhere", namespaces=("bank",)),
    )
    assert set(notifier.delivered(release(notice(1)))) == {"everybody"}
    assert set(notifier.delivered(release(notice(1), notify=("team-a", "elsewhere")))) == {"team-a"}
    assert set(notifier.delivered(release(notice(1), notify=()))) == set()
    for _ in range(3):
        notifier.offer(release(notice(1), notify=("nobody",)))
    await until(lambda: len(journal.told(UNKNOWN)) == 1)


async def test_a_defect_in_one_notice_does_not_silence_those_after_it(
    receiver: Receiver, notifying: Notifying, journal: Journal
) -> None:
    notifier = notifying(channel(receiver.url))
    notifier.offer(release(notice(1, hold_s=float("nan")), notice(2)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 2)
    assert sequences(receiver) == [2]
    assert [line["sequence"] for line in journal.told(GIVEN_UP)] == [1]


async def test_an_alarm_is_told_when_it_has_lasted(receiver: Receiver, notifying: Notifying, clock: FakeClock) -> None:
    notifier = notifying(channel(receiver.url, "alertmanager"))
    blind = notice(1, "traffic.unreadable", error="no answer")
    notifier.offer(release(blind))
    clock.advance(timedelta(minutes=4))
    notifier.offer(release(blind, notice(2)))
    await asyncio.sleep(0.05)
    assert receiver.got == []
    clock.advance(timedelta(minutes=2))
    notifier.offer(release(blind, notice(2)))
    await until(lambda: notifier.delivered(release())["ops"].sequence == 2)
    assert len(receiver.got) == 1


async def test_an_alarm_that_was_over_before_it_had_lasted_is_not_told(
    receiver: Receiver, notifying: Notifying
) -> None:
    notifier = notifying(channel(receiver.url, "alertmanager"))
    blind = notice(1, "traffic.unreadable", error="no answer")
    notifier.offer(release(blind))
    await asyncio.sleep(0.01)
    again = notice(2, "traffic.readable", at=NOON + timedelta(minutes=1))
    one = release(blind, again)
    notifier.offer(one)
    await until(lambda: notifier.delivered(one)["ops"].sequence == 2)
    assert receiver.got == []


async def test_a_worse_alarm_does_not_wait_behind_one_that_must_last(receiver: Receiver, notifying: Notifying) -> None:
    notifier = notifying(channel(receiver.url, "alertmanager"))
    blind = notice(1, "traffic.unreadable", error="no answer")
    notifier.offer(release(blind))
    await asyncio.sleep(0.01)
    one = release(blind, notice(2, "rollback.stuck", percent_seen=30, reason="refused"))
    notifier.offer(one)
    await until(lambda: notifier.delivered(one)["ops"].sequence == 2)
    assert [alert["labels"]["alertname"] for got in receiver.got for alert in got.json] == [
        "RolloutTrafficUnreadable",
        "RolloutRollbackStuck",
    ]


async def test_a_receiver_that_wants_no_pause_at_all_is_not_asked_without_end(
    receiver: Receiver, notifying: Notifying
) -> None:
    receiver.answer = lambda _: Say(status=503, headers={"Retry-After": "0"})
    notifier = notifying(channel(receiver.url), first_wait_s=0.2)
    notifier.offer(release(notice(1)))
    began = monotonic()
    await until(lambda: len(receiver.got) == 4)
    assert monotonic() - began >= 0.5
