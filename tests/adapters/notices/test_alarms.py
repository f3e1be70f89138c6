"""PagerDuty and Alertmanager: what wakes somebody, once, and that it is over when it is over."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.notices.notifier import ChannelNotifier
from rollout.adapters.notices.pagerduty import PagerDutyTeller
from rollout.administration import Channel
from rollout.core.events import Notice
from rollout.core.notices import ALARMS
from rollout.core.release import Delivered, Phase, Release
from tests.adapters.notices.given import NOON, channel, notice, release, secret_file, until
from tests.adapters.notices.receiver import Receiver, Say

Notifying = Callable[..., ChannelNotifier]
STUCK = notice(1, "rollback.stuck", percent_seen=30, reason="refused")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def pager(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Channel:
    monkeypatch.setattr(PagerDutyTeller, "pace", 0.0)
    receiver.answer = lambda _: Say(status=202)
    return channel(receiver.url + "/v2/enqueue", "pagerduty", token_file=secret_file(tmp_path, "R0UT1NG"))


async def told(notifier: ChannelNotifier, one: Release) -> Delivered:
    last = one.status.outbox[-1].sequence
    notifier.offer(one)
    await until(lambda: notifier.delivered(one)["ops"].sequence == last)
    return notifier.delivered(one)["ops"]


def events(receiver: Receiver) -> list[tuple[str, str]]:
    return [(got.json["event_action"], got.json["dedup_key"]) for got in receiver.got]


def alerts(receiver: Receiver) -> list[dict[str, Any]]:
    return [alert for got in receiver.got for alert in got.json]


async def test_a_rollback_that_does_not_hold_wakes_somebody_until_it_does(
    receiver: Receiver, notifying: Notifying, pager: Channel
) -> None:
    await told(notifying(pager), release(STUCK, notice(2, "rollback.done"), notice(3, "release.rolled_back")))
    assert events(receiver) == [("trigger", "uid-1"), ("resolve", "uid-1")]
    first = receiver.got[0].json
    assert first["routing_key"] == "R0UT1NG"
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["class"] == "rollback-stuck"
    assert "someone must look now" in first["payload"]["summary"]
    assert first["payload"]["custom_details"]["Stop it"] == "rollout abort checkout-v2-0a1b2c3d4e -n shop"
    assert {link["text"] for link in first["links"]} == {"Prometheus", "Grafana", "Runbook"}
    assert set(receiver.got[1].json) == {"routing_key", "event_action", "dedup_key"}


async def test_a_clean_rollback_wakes_nobody(receiver: Receiver, notifying: Notifying, pager: Channel) -> None:
    story = [
        notice(1, "check.failed"),
        notice(2, "rollback.started", reason_code="CheckFailed"),
        notice(3, "rollback.done"),
        notice(4, "release.rolled_back", reason_code="CheckFailed"),
    ]
    await told(notifying(pager), release(*story, phase=Phase.ROLLED_BACK))
    assert receiver.got == []


async def test_an_incident_is_open_for_as_long_as_anything_is(
    receiver: Receiver, notifying: Notifying, pager: Channel
) -> None:
    blind = notice(2, "traffic.unreadable", at=NOON - 10 * MINUTE)
    await told(notifying(pager), release(STUCK, blind, notice(3, "rollback.done")))
    assert [action for action, _ in events(receiver)] == ["trigger", "trigger"]
    await told(notifying(pager), release(notice(4, "traffic.readable"), notified={"ops": Delivered(sequence=3)}))
    assert len(receiver.got) == 2, "what is open is remembered with the release, not here"
    thread = "traffic-unreadable@2026-11-21T12:00:00Z"
    after = release(notice(4, "traffic.readable"), notified={"ops": Delivered(sequence=3, thread=thread)})
    assert (await told(notifying(pager), after)).thread == ""
    assert events(receiver)[2:] == [("resolve", "uid-1")]


async def test_a_route_that_is_gone_wakes_somebody_and_only_a_person_can_say_it_is_over(
    receiver: Receiver, notifying: Notifying, pager: Channel
) -> None:
    gone = notice(2, "release.failed", reason_code="RouteGone", reason="VirtualService gone")
    done = await told(notifying(pager), release(STUCK, gone, phase=Phase.FAILED))
    assert [action for action, _ in events(receiver)] == ["trigger", "trigger"]
    assert done.thread.startswith("route-gone@")


async def test_a_failure_before_any_traffic_moved_wakes_nobody(
    receiver: Receiver, notifying: Notifying, pager: Channel
) -> None:
    await told(notifying(pager), release(notice(1, "release.failed", reason_code="Deadline"), phase=Phase.FAILED))
    assert receiver.got == []


async def test_pagerduty_has_an_address_of_its_own(notifying: Notifying, tmp_path: Path) -> None:
    notifier = notifying(Channel(name="ops", kind="pagerduty", token_file=secret_file(tmp_path, "R")))
    assert notifier.delivered(release(notice(1)))["ops"].sequence == 0


async def test_an_alert_keeps_its_labels_and_its_beginning_until_it_is_ended(
    receiver: Receiver, notifying: Notifying
) -> None:
    drifted = notice(1, "traffic.drift_detected", percent_ordered=30, percent_seen=50)
    ended = notice(2, "traffic.drift_ended", at=NOON + 7 * MINUTE, percent=30)
    await told(notifying(channel(receiver.url + "/am/", "alertmanager")), release(drifted, ended))
    begun, over = alerts(receiver)
    assert {got.path for got in receiver.got} == {"/am/api/v2/alerts"}
    assert begun["labels"] == over["labels"]
    assert begun["labels"] == {
        "alertname": "RolloutTrafficDrifted",
        "severity": "warning",
        "namespace": "shop",
        "service": "checkout",
        "release": "checkout-v2-0a1b2c3d4e",
        "uid": "uid-1",
    }
    assert begun["startsAt"] == over["startsAt"] == "2026-11-21T12:00:00.000Z"
    assert begun["endsAt"] > "2026-11-22"
    assert over["endsAt"] == "2026-11-21T12:07:00.000Z"
    assert begun["annotations"]["runbook_url"] == "https://wiki.example.com/runbooks/checkout"


async def test_a_repetition_is_the_same_alert(receiver: Receiver, notifying: Notifying) -> None:
    again = channel(receiver.url + "/api/v2/alerts", "alertmanager")
    await told(notifying(again), release(STUCK))
    await told(notifying(again), release(STUCK, weight=0))
    first, second = alerts(receiver)
    assert [first[name] for name in ("labels", "startsAt", "endsAt")] == [
        second[name] for name in ("labels", "startsAt", "endsAt")
    ]


async def test_the_end_of_a_release_ends_what_is_open_and_a_rollback_is_an_alert_for_a_while(
    receiver: Receiver, notifying: Notifying
) -> None:
    story: list[Notice] = [
        notice(1, "metrics.unavailable", error="no answer"),
        notice(2, "traffic.drift_detected", percent_ordered=30, percent_seen=50),
        notice(3, "release.rolled_back", at=NOON + MINUTE, reason="errors", duration_s=60),
    ]
    done = await told(notifying(channel(receiver.url, "alertmanager")), release(*story, phase=Phase.ROLLED_BACK))
    last = receiver.got[-1].json
    assert {alert["labels"]["alertname"]: alert["endsAt"] for alert in last} == {
        "RolloutMetricsUnavailable": "2026-11-21T12:01:00.000Z",
        "RolloutTrafficDrifted": "2026-11-21T12:01:00.000Z",
        "RolloutReleaseRolledBack": "2026-11-21T14:01:00.000Z",
    }
    assert done.thread == ""


async def test_no_alert_ends_before_it_began_whatever_the_clocks_of_two_controllers_say(
    receiver: Receiver, notifying: Notifying
) -> None:
    thread = "rollback-stuck@2026-11-21T12:00:05Z"
    one = release(notice(2, "rollback.done"), notified={"ops": Delivered(sequence=1, thread=thread)})
    await told(notifying(channel(receiver.url, "alertmanager")), one)
    (over,) = alerts(receiver)
    assert over["endsAt"] == over["startsAt"] == "2026-11-21T12:00:05.000Z"


async def test_a_channel_that_asked_for_trouble_alone_hears_of_no_ends(
    receiver: Receiver, notifying: Notifying
) -> None:
    quiet = channel(receiver.url, "alertmanager", tell=("trouble",))
    await told(notifying(quiet), release(notice(1, "release.rolled_back"), phase=Phase.ROLLED_BACK))
    assert receiver.got == []


async def test_what_another_version_remembered_as_open_is_left_alone(receiver: Receiver, notifying: Notifying) -> None:
    thread = "moon-rose@2026-11-21T12:00:00Z,rollback-stuck@yesterday,rollback-stuck@2026-11-21T12:00:00,nonsense"
    one = release(notice(2, "rollback.done"), notified={"ops": Delivered(sequence=1, thread=thread)})
    await told(notifying(channel(receiver.url, "alertmanager")), one)
    assert receiver.got == []


def test_the_page_lists_every_alert_with_its_severity() -> None:
    page = (Path(__file__).parents[3] / "docs/notices.md").read_text().splitlines()
    for alarm in ALARMS:
        name = "`Rollout" + alarm.name.title().replace("-", "") + "`"
        (row,) = (line for line in page if line.startswith("|") and name in line)
        assert f"| {alarm.severity} |" in row
