"""`rollout why`: the evidence in the right direction, the deciding check, what it waits for, and nothing invented."""

import json
import re
from typing import Any

import pytest

from rollout.cli.terminal import evidence_bar
from rollout.cli.weighing import weighed
from rollout.cli.why import explanation, explanation_object, finding_of, sort_of
from rollout.core.judging.gates import Reading
from rollout.core.judging.guard import retreat
from rollout.core.judging.verdicts import Verdict, fails, odds
from rollout.core.release import Cause, Confirmed, Phase, Reason, Release
from rollout.core.route import Route
from tests.cli.conftest import Terminal
from tests.given import NAME, NOW, policy, seconds
from tests.looked import LATENCY, LONG_HOLDS, looked

GOOD, BAD, DEAD = [0] * 6, [2, 0] * 7, [20] * 4
CUSTOM = policy(
    steps=[{"weight": weight, "hold": "2m"} for weight in (10, 30, 100)],
    checks={
        "minRequests": 20,
        "latency": {"compare": []},
        "custom": [{"name": "queue", "query": "queue{version='{{version}}'}", "max": 100, "failures": 2}],
    },
)


def rows(given: Release) -> dict[str, str]:
    """What is printed below the first line, by its label."""
    lines = explanation(given, NOW + seconds(60))[2:]
    return dict(re.split(r"\s{3,}", line, maxsplit=1) for line in lines if re.match(r"\S.*\s{3,}", line))


def convicted() -> Release:
    given = looked(DEAD)
    failed = fails(given.status.verdicts)
    assert failed is not None
    cause = Cause(kind="metrics", reason=Reason.CHECK_FAILED, message=failed.message)
    return looked(DEAD, phase=Phase.ROLLED_BACK, cause=cause, reason="CheckFailed", finished_at=NOW + seconds(22))


def test_evidence_is_told_as_one_in_so_many_beside_what_rolls_back() -> None:
    given = looked(BAD)
    found = weighed(given.status)
    assert found is not None
    assert 10 < found.evidence < 100
    assert f"1 in {odds(found.evidence)} by chance; rolls back at 1 in 100" in rows(given)["evidence"]


def test_a_canary_that_nothing_speaks_against_has_an_empty_bar() -> None:
    told = rows(looked(GOOD))["evidence"]
    assert evidence_bar(0, 100, 20) in told
    assert "1 in 100" in told
    assert "by chance;" not in told


def test_a_convicted_canary_has_a_full_bar_and_waits_for_nothing() -> None:
    told = rows(convicted())
    assert evidence_bar(100, 100, 20) in told["evidence"]
    assert "decides" not in told


def test_the_counts_of_both_versions_and_what_is_tolerated_are_told() -> None:
    told = rows(looked(BAD))
    assert "14 of 840" in told["canary"]
    assert "1.67 %" in told["canary"]
    assert "14 of 7,560" in told["stable"]
    assert "0.281 %" in told["allowed"]
    assert "1.25" in told["allowed"]
    assert "0.05%" in told["allowed"]


def test_a_suspected_canary_is_told_when_it_would_be_convicted() -> None:
    given = looked(BAD)
    found = finding_of(given, NOW)
    assert found is not None
    assert found.verdict.needs is not None
    assert found.decides_in is not None
    assert found.decides_in.total_seconds() == round(found.verdict.needs / 12)
    assert f"{found.verdict.needs:,} more canary requests" in rows(given)["decides"]
    assert "rolled back" in rows(given)["decides"]


def test_a_good_canary_is_told_when_it_would_be_proven() -> None:
    told = rows(looked(GOOD))
    assert "proven" in told["decides"]
    assert "of 20" in told["proof"]


def test_a_proven_canary_is_called_proven() -> None:
    told = rows(looked([0] * 30))
    assert told["proof"].startswith("proven not worse than the margin")
    assert "decides" not in told


def test_the_window_is_the_time_in_which_the_counts_were_taken() -> None:
    given = looked(BAD)
    found = finding_of(given, NOW + seconds(90))
    assert found is not None
    assert (found.since, found.until) == (NOW, NOW + seconds(70))
    assert found.verdict.requests == 14 * 60
    later = Confirmed(route=Route(percent=10, epoch=3), at=NOW + seconds(30))
    taken_back = finding_of(looked(BAD, confirmed=later), NOW + seconds(90))
    assert taken_back is not None
    assert taken_back.since == later.at


def test_without_any_request_no_time_is_invented() -> None:
    given = looked(GOOD)
    steps = tuple(step.model_copy(update={"canary_requests": 0}) for step in given.status.steps)
    status = given.status.model_copy(update={"steps": steps})
    found = finding_of(given.model_copy(update={"status": status}), NOW)
    assert found is not None
    assert found.decides_in is None


def test_what_no_series_exists_for_is_said_in_one_line() -> None:
    lines = explanation(looked(GOOD, readings={"memory": Reading(0.4, 0.3)}), NOW)
    told = [line for line in lines if line.startswith("not measured")]
    assert len(told) == 1
    assert "cpu throttling" in told[0]
    assert "memory" not in told[0]


def test_an_unmeasured_check_is_never_the_one_that_decides() -> None:
    found = finding_of(looked(GOOD), NOW)
    assert found is not None
    assert found.verdict.outcome == "pass"


def test_a_gate_is_called_a_threshold_and_not_a_statistic() -> None:
    given = looked([0] * 3, policy=CUSTOM, readings={"custom queue": Reading(200.0, 1.0)})
    told = rows(given)
    assert told["check"] == "custom queue: fail"
    assert "threshold, not a statistic" in told["chance"]
    assert "200" in told["in words"]
    assert "%" not in told["in words"]
    assert told["query"] == "queue{version='{{version}}'}"


def test_saturation_has_no_query_of_its_own() -> None:
    given = looked([0] * 3, readings={"memory": Reading(0.99, 0.3)}, query="istio_requests_total")
    told = rows(given)
    assert told["check"].startswith("saturation memory")
    assert "query" not in told
    assert rows(looked(BAD, query="istio_requests_total"))["query"] == "istio_requests_total"


def test_the_first_line_names_the_suspicion_instead_of_the_hold() -> None:
    assert explanation(looked(BAD), NOW)[0].startswith(f"{NAME}: suspected: errors vs stable, evidence 1 in ")
    assert "waits for the end of the hold" in explanation(looked(GOOD), NOW)[0]


def test_the_hard_limit_is_called_a_threshold_too() -> None:
    told = rows(looked([60] * 2))
    assert told["check"].startswith("fail fast")
    assert "threshold, not a statistic" in told["chance"]
    assert "90 %" in told["allowed"]


def test_at_the_last_step_the_alarm_is_told_and_no_innocence_is_claimed() -> None:
    given = looked([9] * 6, weight=100)
    told = rows(given)
    assert told["check"] == "errors vs the past: unknown (suspect)"
    assert evidence_bar(20, 20, 20) in told["alarm"]
    assert "stable" not in told
    assert any("alarm: the weight goes back" in line for line in explanation(given, NOW))


def test_retreats_and_strikes_are_told() -> None:
    given = looked([9] * 6, weight=100)
    status = given.status
    evidence = retreat(status.evidence, "errors vs the past", LONG_HOLDS, status.learned)  # type: ignore[arg-type]
    told = rows(given.model_copy(update={"status": status.model_copy(update={"evidence": evidence})}))
    assert told["retreats"].startswith("1 of at most 4")


def test_what_fails_at_full_weight_only_is_told_in_words() -> None:
    given = looked([0] * 3, weight=10)
    evidence = given.status.evidence.model_copy(update={"strikes": 2})
    told = rows(looked([0] * 3, evidence=evidence))
    assert told["check"] == "last step: fail"
    assert "full weight" in told["in words"]
    assert "allowed" not in told


def test_slow_requests_are_held_against_stables_and_against_the_objective() -> None:
    given = looked([0] * 8, policy=LATENCY, slow=6)
    told = rows(given)
    assert told["check"].startswith("latency 500ms")
    assert "were too slow" in told["canary"]
    assert {"latency 500ms", "latency 500ms vs stable"} <= {verdict.check for verdict in given.status.verdicts}


def test_the_share_of_the_traffic_is_held_against_the_weight() -> None:
    verdict = next(one for one in looked(GOOD).status.verdicts if one.check == "traffic")
    told = rows(looked(GOOD, verdicts=(verdict.model_copy(update={"outcome": "unknown", "reason": "suspect"}),)))
    assert "went to the canary" in told["canary"]
    assert told["allowed"].startswith("10 % expected")


def test_a_check_without_numbers_is_told_in_words() -> None:
    verdict = Verdict(check="latency 1s", outcome="unknown", reason="no-bucket", message="there is no bucket at 1s")
    told = rows(looked(GOOD, verdicts=(verdict,)))
    assert told["in words"] == verdict.message
    assert "canary" not in told


@pytest.mark.parametrize(
    ("check", "sort"),
    [
        ("errors vs stable", "stable"), ("latency 1s vs stable", "stable"), ("traffic", "traffic"),
        ("errors", "limit"), ("latency 1s", "limit"),
        ("errors vs the past", "past"), ("latency 1s vs the past", "past"),
        ("saturation memory", "gate"), ("custom traffic", "gate"),
        ("fail fast", "hard limit"), ("last step", "full weight"),
    ],
)  # fmt: skip
def test_every_name_of_a_check_says_what_the_canary_is_held_against(check: str, sort: str) -> None:
    assert sort_of(check) == sort


@pytest.mark.parametrize("value", [0.0, 0.04, 1.0, 1.94, 9.99, 99.9, 3999.9, 1e6])
def test_evidence_is_never_told_as_more_than_it_is(value: float) -> None:
    assert float(odds(value).replace(",", "")) <= value


def test_evidence_beyond_imagination_is_not_spelled_out() -> None:
    assert odds(1e12) == odds(1e200) == "10^12 or more"


def test_scripts_get_the_opinion_and_every_check(rollout: Terminal) -> None:
    given = rollout.given(looked(BAD))
    told = json.loads(rollout("why", NAME, "-o", "json").out)
    assert 10 < told["evidence"] < told["convicts"] == 100
    assert told["opinion"] == {"kind": "suspect", "check": "errors vs stable"}
    assert told["checks"] == [verdict.wire() for verdict in given.status.verdicts]
    assert told["check"]["check"] == "errors vs stable"
    assert told["check"]["needsSeconds"] == round(told["check"]["needs"] / 12)


def test_scripts_get_no_forecast_of_what_is_over() -> None:
    told = explanation_object(convicted(), NOW)
    assert told["opinion"]["kind"] == "guilty"
    assert "needsSeconds" not in told["check"]


def test_before_the_first_look_there_is_no_evidence() -> None:
    told: dict[str, Any] = explanation_object(looked([], verdicts=(), steps=()), NOW)
    assert "evidence" not in told
    assert "check" not in told


def test_a_few_lines_are_enough() -> None:
    assert max(len(explanation(given, NOW)) for given in (looked(GOOD), looked(BAD), convicted())) <= 16
