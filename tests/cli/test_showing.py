"""`status`, `why`, `history`."""

import io
import json
import sys
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console
from ruamel.yaml import YAML

from rollout.adapters.cluster import Denied
from rollout.cli.terminal import bar, evidence_bar, say
from rollout.cli.watching import live_table
from rollout.cli.weighing import weighed
from rollout.core.counts import Tally
from rollout.core.judging.verdicts import Verdict, odds
from rollout.core.release import Cause, Confirmed, Phase, Reason, Release, StepRecord, Window
from rollout.core.route import Route
from rollout.ports import Outage
from tests.cli.conftest import Cluster, Terminal
from tests.given import NAME, NOW, policy, release, seconds
from tests.looked import looked

FAILED = Verdict(
    check="errors vs stable", outcome="fail", value=0.1, limit=0.005, bad=9, requests=90, stable=0.0, evidence=12345.0,
    convicts=2400.0, message="errors vs stable: 9 of 90 requests failed (10.00%); by chance at most once in 12,345",
)  # fmt: skip
PASSED = Verdict(check="errors", outcome="pass", value=0.0, limit=0.05, requests=90, evidence=0.2, convicts=2400.0)
LOW = Verdict(check="traffic", outcome="unknown", reason="low-data", requests=3, message="traffic: waiting for 50")
SUSPECT = Verdict(
    check="latency 500ms", outcome="unknown", reason="suspect", value=0.02, limit=0.01, bad=2, requests=100,
    evidence=30.0, convicts=2400.0, message="latency 500ms: 2 of 100 requests took longer than 500ms",
)  # fmt: skip
METRICS = Cause(kind="metrics", reason=Reason.CHECK_FAILED, message=FAILED.message)


def judged(*verdicts: Verdict, phase: Phase = Phase.ANALYSING, **fields: Any) -> Release:
    window = Window(anchor=NOW, counted=Tally(), judged_at=NOW + seconds(12))
    steps = (StepRecord(weight=10, since=NOW, canary_requests=90, canary_errors=9),)
    own = policy(interval="5s", steps=[{"weight": weight, "hold": "10s"} for weight in (10, 30, 100)])
    default: dict[str, Any] = {"policy": own, "verdicts": verdicts, "window": window, "steps": steps, "weight": 10}
    return release(phase, **(default | fields))


def rolled_back() -> Release:
    return judged(
        PASSED, FAILED, LOW, phase=Phase.ROLLED_BACK, cause=METRICS, reason="CheckFailed", finished_at=NOW + seconds(14)
    )


def named(name: str, given: Release) -> Release:
    return given.model_copy(update={"name": name})


def test_why_names_the_failing_check_with_its_numbers(rollout: Terminal) -> None:
    rollout.given(rolled_back())
    out = rollout("why", "checkout").out
    for part in ("errors vs stable", "10 %", "0.5 %", "9 of 90", "12s", "12,345"):
        assert part in out


def test_why_for_scripts_has_the_same_as_fields(rollout: Terminal) -> None:
    rollout.given(rolled_back())
    told = json.loads(rollout("why", NAME, "-o", "json").out)
    assert told["phase"] == "RolledBack"
    assert told["cause"]["kind"] == "metrics"
    check = told["check"]
    assert (check["check"], check["value"], check["limit"], check["requests"]) == ("errors vs stable", 0.1, 0.005, 90)
    assert (check["since"], check["until"]) == ("2026-03-01T12:00:00.000Z", "2026-03-01T12:00:12.000Z")


@pytest.mark.parametrize(
    ("verdicts", "chosen"),
    [((PASSED, LOW), "traffic"), ((PASSED, LOW, SUSPECT), "latency 500ms"), ((PASSED,), "errors")],
)
def test_why_of_a_release_under_way_shows_the_least_certain_check(
    rollout: Terminal, verdicts: tuple[Verdict, ...], chosen: str
) -> None:
    rollout.given(judged(*verdicts))
    assert json.loads(rollout("why", NAME, "-o", "json").out)["check"]["check"] == chosen


def test_why_before_any_check_says_what_is_waited_for(rollout: Terminal) -> None:
    message = "Deployment checkout-v2: 1 of 2 pods ready"
    rollout.given(release(Phase.PREPARING, reason="WaitingForReady", message=message))
    out = rollout("why", NAME).out
    assert message in out
    assert "query" not in out


def test_why_of_a_hold_says_how_long_it_lasts(rollout: Terminal) -> None:
    held = judged(PASSED, reason="Holding", confirmed=Confirmed(route=Route(percent=10, epoch=2), at=NOW))
    rollout.given(held)
    rollout.clock.at = NOW + seconds(4)
    assert "in 6s" in rollout("why", NAME).out


def test_why_shows_the_very_query_that_was_judged(rollout: Terminal) -> None:
    query = 'istio_requests_total{destination_service=~"checkout.*"}[18s] @ 1772366412.000'
    rollout.given(judged(SUSPECT, query=query))
    assert query in rollout("why", NAME).out
    assert json.loads(rollout("why", NAME, "-o", "json").out)["check"]["query"] == query


def test_status_lists_the_newest_of_each_service_one_under_way_first(rollout: Terminal) -> None:
    rollout.given(named("checkout-a", release(Phase.ANALYSING)))
    rollout.clock.at += seconds(60)
    rollout.given(named("checkout-b", release(Phase.FAILED)))
    rollout.given(named("till-a", release(Phase.PROMOTED, wishes={"service": "till"}, service="till")))
    rows = rollout("status").out.splitlines()
    assert [row.split()[1] for row in rows] == ["ID", "checkout-a", "till-a"]


@pytest.mark.parametrize("verb", ["status", "abort"])
def test_a_service_means_what_has_begun_and_not_what_waits_behind_it(rollout: Terminal, verb: str) -> None:
    rollout.given(named("checkout-a", release(Phase.ANALYSING)))
    rollout.clock.at += seconds(60)
    rollout.given(named("checkout-b", release(Phase.PENDING)))
    ran = rollout(verb, "checkout")
    assert "checkout-a" in ran.out + ran.err
    assert "checkout-b" not in ran.out + ran.err
    assert [row.split()[1] for row in rollout("status").out.splitlines()] == ["ID", "checkout-a"]


def test_status_active_leaves_out_what_is_over(rollout: Terminal) -> None:
    rollout.given(named("checkout-a", release(Phase.ANALYSING)))
    rollout.given(named("till-a", release(Phase.PROMOTED, wishes={"service": "till"}, service="till")))
    assert [one["id"] for one in json.loads(rollout("status", "--active", "-o", "json").out)] == ["checkout-a"]


def test_status_of_all_namespaces_names_them(rollout: Terminal) -> None:
    rollout.given(named("a", release()))
    rollout.given(named("b", release()).model_copy(update={"namespace": "pay"}))
    rows = rollout("status", "-A").out.splitlines()
    assert [row.split()[0] for row in rows] == ["NAMESPACE", "pay", "shop"]


def test_nothing_to_show_is_an_empty_list_for_scripts_and_a_remark_for_people(rollout: Terminal) -> None:
    assert json.loads(rollout("status", "-o", "json").out) == []
    ran = rollout("status")
    assert (ran.code, ran.out) == (0, "")
    assert "shop" in ran.err


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_scripts_get_the_object_as_it_is_stored(rollout: Terminal, form: str) -> None:
    given = rollout.given(rolled_back())
    out = rollout("status", NAME, "-o", form).out
    told = json.loads(out) if form == "json" else YAML(typ="safe").load(out)
    assert told["id"] == NAME
    assert told["namespace"] == "shop"
    assert told["exitCode"] == 10
    assert json.loads(json.dumps(told["spec"])) == given.spec.wire()
    assert json.loads(json.dumps(told["status"])) == given.status.wire()


def test_a_release_under_way_has_no_exit_code(rollout: Terminal) -> None:
    rollout.given(judged(PASSED))
    assert "exitCode" not in json.loads(rollout("status", NAME, "-o", "json").out)


def test_status_of_one_release_shows_its_steps_and_checks(rollout: Terminal) -> None:
    rollout.given(judged(PASSED, FAILED))
    out = rollout("status", "checkout").out
    for part in (bar(10), "90 requests, 9 failed", FAILED.message, "v2 of checkout, against v1"):
        assert part in out


def test_status_watch_ends_with_the_release_that_was_named(rollout: Terminal) -> None:
    rollout.given(judged(PASSED))
    rollout.cluster.acts = [
        lambda _: None, lambda _: None, lambda cluster: cluster.set_status(NAME, rolled_back().status)
    ]  # fmt: skip
    ran = rollout("status", NAME, "--watch")
    assert ran.code == 0
    assert METRICS.message in ran.out.splitlines()[-1]


def test_status_watch_for_scripts_is_one_object_per_change(rollout: Terminal) -> None:
    rollout.given(judged(PASSED))
    rollout.cluster.acts = [
        lambda _: None, lambda _: None, lambda _: None, lambda cluster: cluster.set_status(NAME, rolled_back().status)
    ]  # fmt: skip
    lines = rollout("status", NAME, "--watch", "-o", "json").out.splitlines()
    assert [json.loads(line)["status"]["phase"] for line in lines] == ["Analysing", "RolledBack"]


def live(*given: Release, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(live_table(given, NOW, width))
    return captured.get()


@pytest.mark.parametrize("width", [80, 200])
def test_the_live_table_shows_bars_and_takes_no_markup_from_users(width: int) -> None:
    given = judged(PASSED, reason="Paused", message="[red]boo[/red]")
    shown = live(given, rolled_back(), width=width)
    assert bar(10, 20 if width > 80 else 8) in shown
    assert "[red]boo[/red]" in shown


@pytest.mark.parametrize("width", [80, 100, 139, 140, 200])
def test_the_live_table_shows_how_close_the_evidence_is_at_any_width(width: int) -> None:
    given = looked([2, 0] * 7)
    found = weighed(given.status)
    assert found is not None
    shown = live(given, width=width)
    assert evidence_bar(found.evidence, found.convicts, 12 if width >= 140 else 8) in shown
    assert odds(found.evidence) in shown
    assert "suspected: errors vs stable" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= width


def test_eighty_columns_cut_nothing_of_a_release_that_is_rolled_back() -> None:
    long = looked([60] * 8, phase=Phase.ROLLING_BACK).model_copy(update={"name": NAME})
    row = live(long, width=80).splitlines()[1]
    assert "…" not in row
    assert "RollingBack" in row


def test_the_bar_of_the_live_table_is_full_only_where_it_rolls_back() -> None:
    assert evidence_bar(100, 100, 12) in live(looked([20] * 4))
    assert evidence_bar(100, 100, 12) not in live(looked([2, 0] * 6, weight=10))


def test_status_shows_the_evidence_of_the_release_and_of_every_check(rollout: Terminal) -> None:
    given = rollout.given(looked([2, 0] * 6))
    found = weighed(given.status)
    assert found is not None
    lines = rollout("status", NAME).out.splitlines()
    [overall] = [line for line in lines if line.startswith("evidence")]
    assert evidence_bar(found.evidence, 100, 20) in overall
    [check] = [line for line in lines if line.startswith("errors vs stable")]
    verdict = next(one for one in given.status.verdicts if one.check == "errors vs stable")
    assert f"{evidence_bar(verdict.evidence, 100, 8)} {odds(verdict.evidence)}" in check
    assert "of 20" in check


def test_status_calls_a_proven_step_proven_and_names_what_is_not_measured(rollout: Terminal) -> None:
    rollout.given(looked([0] * 30))
    lines = rollout("status", NAME).out.splitlines()
    assert any(line.startswith("errors vs stable") and " proven " in line for line in lines)
    assert any(line.startswith("saturation overflow") and " threshold " in line for line in lines)
    [missing] = [line for line in lines if line.startswith("not measured")]
    assert "memory" in missing
    assert not any(line.startswith("saturation memory") for line in lines)


def test_history_is_newest_first_with_requests_and_errors(rollout: Terminal) -> None:
    rollout.given(named("first", rolled_back()))
    rollout.clock.at += timedelta(hours=1)
    rollout.given(named("second", release(Phase.PROMOTED)))
    rows = [row.split() for row in rollout("history", "checkout").out.splitlines()]
    assert [row[0] for row in rows] == ["ID", "second", "first"]
    assert rows[2] == ["first", "v2", "RolledBack", "CheckFailed", "2026-03-01T12:00:00Z", "14s", "90", "9"]


def test_history_can_be_cut_and_read_by_scripts(rollout: Terminal) -> None:
    for count in range(3):
        rollout.given(named(f"release-{count}", release(Phase.PROMOTED)))
        rollout.clock.at += timedelta(seconds=1)
    told = json.loads(rollout("history", "checkout", "--limit", "2", "-o", "json").out)
    assert [one["id"] for one in told] == ["release-2", "release-1"]


def test_history_of_a_service_without_releases_is_empty(rollout: Terminal) -> None:
    assert (rollout("history", "none").out, rollout("history", "none").code) == ("", 0)


@pytest.mark.parametrize("percent", range(101))
def test_a_bar_is_full_or_empty_only_at_its_ends(percent: int) -> None:
    shown = bar(percent)
    assert len(shown) == 20
    assert ("█" in shown) == (percent > 0)
    assert ("░" in shown) == (percent < 100)


@pytest.mark.parametrize("convicts", [5.0, 20.0, 100.0, 2400.0])
def test_an_evidence_bar_grows_with_the_evidence_and_is_full_only_from_what_convicts_on(convicts: float) -> None:
    steps = [0.0, 0.5, 1.0, *(convicts ** (power / 20) for power in range(1, 20)), convicts * 0.9999]
    shown = [evidence_bar(one, convicts).count("█") for one in steps]
    assert shown == sorted(shown)
    assert shown[:3] == [0, 0, 0]
    assert shown[-1] == 9
    assert evidence_bar(convicts, convicts) == evidence_bar(1e200, convicts) == "█" * 10
    assert all(len(evidence_bar(one, convicts)) == 10 for one in steps)


def test_a_terminal_without_block_characters_gets_bars_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    say(f"{bar(50)} {evidence_bar(10, 100)} naïve")
    assert written.getvalue() == b"#" * 10 + b"-" * 10 + b" #####----- na?ve\n"


def test_status_watch_survives_an_outage_and_tells_it_once(rollout: Terminal) -> None:
    rollout.given(judged(PASSED))
    left = [4]

    def down(cluster: Cluster) -> None:
        answer = cluster._answer

        def refuse() -> None:
            if left[0]:
                left[0] -= 1
                raise Outage("connection refused")
            answer()

        cluster._answer = refuse  # type: ignore[method-assign]

    rollout.cluster.acts = [
        lambda _: None, lambda _: None, down, lambda cluster: cluster.set_status(NAME, rolled_back().status)
    ]  # fmt: skip
    ran = rollout("status", NAME, "--watch")
    assert ran.code == 0
    assert ran.err.count("connection refused") == 1


def test_status_watch_without_the_right_to_look_is_21(rollout: Terminal) -> None:
    rollout.authorizer.everything.clear()
    if not rollout.far:
        rollout.cluster.refusal = Denied("releases.rollout.dev is forbidden")
    assert rollout("status", "--watch").code == 21


def test_status_watch_as_yaml_is_a_document_per_change(rollout: Terminal) -> None:
    rollout.given(rolled_back())
    told = list(YAML(typ="safe").load_all(rollout("status", NAME, "--watch", "-o", "yaml").out))
    assert [one["id"] for one in told] == [NAME]
