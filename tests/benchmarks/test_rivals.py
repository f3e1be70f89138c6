"""The comparators follow their rules: otherwise beating them means nothing."""

from dataclasses import replace

import pytest

from benchmarks.judge.ours import ours
from benchmarks.judge.outcomes import Outcome
from benchmarks.judge.rivals import RIVALS
from benchmarks.judge.worlds import Fault, World

PLAIN = World("plain")
OUTAGE = Fault(errors=1)


def played(name: str, world: World = PLAIN, fault: Fault | None = None, interval: float = 15.0) -> Outcome:
    return RIVALS[name](world, fault or Fault(), 4, interval)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("flagger default", 120),
        ("flagger threshold 2", 180),
        ("flagger tutorial", 360),
        ("argo-like 1m", 120),
        ("kayenta-like", 300),
        ("naive z", 15),
        ("lindon-malek", 15),
    ],
)
def test_an_outage_is_rolled_back_after_the_time_that_the_rule_takes(name: str, seconds: float) -> None:
    found = played(name, fault=OUTAGE)
    assert (found.outcome, found.delay) == ("rolled back", seconds)


@pytest.mark.parametrize("interval", [5.0, 15.0])
@pytest.mark.parametrize("name", ["flagger tutorial", "argo-like 1m", "kayenta-like"])
def test_the_rules_by_the_minute_do_not_care_how_often_one_looks(name: str, interval: float) -> None:
    assert played(name, fault=OUTAGE, interval=interval).seconds == played(name, fault=OUTAGE).seconds


@pytest.mark.parametrize("name", ["flagger tutorial", "argo-like 1m", "lindon-malek"])
def test_a_good_canary_in_a_calm_world_is_promoted_after_the_holds(name: str) -> None:
    found = played(name)
    assert (found.outcome, found.seconds) == ("promoted", 1200)


def test_a_failed_check_of_flagger_keeps_the_weight() -> None:
    found = played("flagger tutorial", fault=Fault(errors=0.05, after_s=240))
    assert (found.outcome, found.weight, found.seconds) == ("rolled back", 10, 600)


def test_no_values_fail_a_check() -> None:
    found = played("flagger default", fault=Fault(vanished=1))
    assert (found.outcome, found.check) == ("rolled back", "no values")


def test_more_than_one_percent_beyond_the_limit_is_a_p99_beyond_it() -> None:
    assert played("argo-like 1m", fault=Fault(very_slow=0.05)).check == "p99"


def test_without_a_control_mann_whitney_and_the_textbook_test_see_nothing() -> None:
    fault = Fault(errors=0.05, from_weight=100)
    assert played("kayenta-like", fault=fault).outcome == "promoted"
    assert played("lindon-malek", fault=fault).outcome == "promoted"


def test_mann_whitney_sees_a_shift_that_no_threshold_sees() -> None:
    world, fault = replace(PLAIN, rps=1000), Fault(slower=1.25)
    assert played("kayenta-like", world, fault).outcome == "rolled back"
    assert played("flagger tutorial", world, fault).outcome == "promoted"


def test_ours_plays_the_same_release() -> None:
    found = ours(PLAIN, OUTAGE, 4, 15.0)
    assert found.outcome == "rolled back"
    assert found.first_bad == 0
    assert found.harmed > 0
    assert ours(PLAIN, Fault(), 4, 15.0).outcome == "promoted"
