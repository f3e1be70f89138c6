"""What is printed follows from what happened."""

import json
from math import inf, log
from pathlib import Path

import pytest

from benchmarks.judge.__main__ import main
from benchmarks.judge.outcomes import Outcome
from benchmarks.judge.report import behind, divergence, information_limit, missed, row, wilson
from benchmarks.judge.scenarios import SCENARIOS, Scenario
from benchmarks.judge.worlds import Fault, World

PLAIN = World("plain")
GOOD = Scenario("good", PLAIN)
BAD = Scenario("bad", PLAIN, Fault("bad", errors=0.05), median_s=60, caught=1)


def back(seconds: float, harmed: int = 0, first_bad: float | None = 0.0) -> Outcome:
    return Outcome("rolled back", seconds, "errors", first_bad, harmed, 10)


def test_a_share_has_its_monte_carlo_error() -> None:
    assert wilson(0, 400) == pytest.approx((0, 0.0095), abs=1e-3)
    low, high = wilson(200, 400)
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 400) ** 0.5, rel=0.02)


def test_a_row_counts_outcomes_and_measures_from_the_first_bad_request() -> None:
    outcomes = [back(45, 20, 15), back(60, 40, 0), Outcome("held", 3600, "suspect", 0.0, 60, 100)]
    found = row(BAD, "ours", 15, outcomes)
    assert found.rolled_back == pytest.approx(2 / 3)
    assert found.held == pytest.approx(1 / 3)
    assert (found.median_s, found.p95_s, found.harmed) == (45, 60, 40)
    assert found.waited == {"suspect@100": 1}


def test_a_rollback_before_anything_was_bad_has_no_delay() -> None:
    assert row(BAD, "ours", 15, [back(15, 0, None)]).median_s is None


def test_divergence_is_one_sided_and_grows() -> None:
    assert divergence(0.01, 0.02) == 0
    assert divergence(0.02, 0.01) < divergence(0.03, 0.01)
    assert divergence(1, 0.5) == pytest.approx(log(2))
    assert divergence(0.1, 0) == inf


def test_the_information_limit_is_in_whole_looks_and_shrinks_with_traffic() -> None:
    slow = Scenario("slow", World("slow", rps=1), BAD.fault)
    fast, slower = information_limit(BAD, 15), information_limit(slow, 15)
    assert fast == 15
    assert slower is not None
    assert slower > 100
    assert slower % 15 == 0


def test_what_cannot_be_told_apart_has_no_limit() -> None:
    assert information_limit(Scenario("tolerable", PLAIN, Fault("x", errors=0.0001)), 15) is None


@pytest.mark.parametrize(
    "fault", [Fault(slower=2), Fault(very_slow=0.01), Fault(vanished=1), Fault(delivery=3), Fault(lost=1)]
)
def test_every_kind_of_fault_has_its_limit(fault: Fault) -> None:
    assert information_limit(Scenario("x", PLAIN, fault), 15) is not None


def test_false_rollbacks_and_slowness_are_missed_bars() -> None:
    promoted = [Outcome("promoted", 1200)] * 90
    assert missed(GOOD, row(GOOD, "ours", 15, promoted)) == []
    assert missed(GOOD, row(GOOD, "ours", 15, [*promoted, *[back(30)] * 10]))
    assert missed(BAD, row(BAD, "ours", 15, [back(45)])) == []
    assert missed(BAD, row(BAD, "ours", 15, [back(75)]))
    assert missed(BAD, row(BAD, "ours", 15, [back(45), Outcome("promoted", 1200)]))


def test_seven_times_the_harm_of_the_tutorial_rule_is_the_bar() -> None:
    tutorial = row(BAD, "flagger tutorial", 15, [back(360, 700)])
    assert behind(BAD, row(BAD, "ours", 15, [back(45, 90)]), tutorial) == []
    assert behind(BAD, row(BAD, "ours", 15, [back(45, 110)]), tutorial)


def test_the_scenarios_have_names_of_their_own() -> None:
    names = [one.name for one in SCENARIOS]
    assert len(set(names)) == len(names)
    assert all(one.world.pods >= 1 for one in SCENARIOS)
    assert any(one.good for one in SCENARIOS)


def test_the_command_prints_the_table_and_writes_it_for_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.json"
    main(["--runs", "2", "--jobs", "1", "--only", "outage, 1,000 rps", "--json", str(file)])
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert {one["judge"] for one in rows} >= {"ours", "flagger tutorial", "kayenta-like", "lindon-malek", "naive z"}
    assert all(one["rolled_back"] == 1 for one in rows)
    assert "flagger tutorial" in capsys.readouterr().out


def test_several_processes_count_what_one_counts(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two")]
    for jobs, file in zip(("1", "2"), files, strict=True):
        main(["--ours", "--runs", "3", "--jobs", jobs, "--only", "outage, 1,000 rps", "--json", str(file)])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_unknown_scenario_is_refused() -> None:
    assert main(["--only", "no such thing"]) == 2
