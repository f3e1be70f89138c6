"""Saturation and custom checks: plain thresholds that fail after some looks in a row; silence blocks nobody."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.counts import Counts, Tally
from rollout.core.judging import gates
from rollout.core.judging.gates import BREAKERS, MEMORY, PENDING, SIGNALS, THROTTLING, Gates, Reading, Readings
from rollout.core.judging.verdicts import Verdict
from rollout.core.policy import PolicySpec
from rollout.core.route import Unavailable
from tests import given as build

CONTROL, LAST = 30, 100
BUSY = Tally(stable=Counts(requests=700), canary=Counts(requests=300))
OVERFLOW = "saturation overflow"
CUSTOM = "custom carts"
QUERY = 'lost_carts{version="{{version}}"}'


def policy(custom: dict[str, Any] | None = None, **saturation: Any) -> PolicySpec:
    checks: dict[str, Any] = {"latency": {"compare": []}, "saturation": saturation}
    if custom is not None:
        checks["custom"] = [{"name": "carts", "query": QUERY, **custom}]
    return build.policy(checks=checks)


class Watch:
    """One release's gates, looked at again and again."""

    def __init__(self, by: PolicySpec, gates: Gates | None = None) -> None:
        self.policy = by
        self.gates = gates or Gates()
        self.verdicts: dict[str, Verdict] = {}

    def look(
        self,
        readings: Readings | Unavailable | None = None,
        *,
        tally: Tally = BUSY,
        weight: int = CONTROL,
        times: int = 1,
    ) -> dict[str, Verdict]:
        for _ in range(times):
            self.gates, verdicts = gates.look(self.gates, readings, tally, weight, self.policy)
            self.gates = Gates.model_validate(self.gates.wire())
            self.verdicts = {verdict.check: verdict for verdict in verdicts}
        return self.verdicts

    def of(self, name: str) -> tuple[str, str]:
        return self.verdicts[name].outcome, self.verdicts[name].reason

    def blocks(self) -> bool:
        return any(verdict.outcome in {"unknown", "fail"} for verdict in self.verdicts.values())


def overflowing(share: float) -> Tally:
    return BUSY.model_copy(update={"overflowed": round(300 * share)})


def signal(name: str, canary: float | None, stable: float | None = None) -> Readings:
    return {name: Reading(canary, stable)}


def custom(canary: float | None, stable: float | None = None, trouble: str = "") -> Readings:
    return {CUSTOM: Reading(canary, stable, trouble)}


@given(st.dictionaries(st.sampled_from(SIGNALS), st.none() | st.floats(0, 5)), st.sampled_from((10, 98, 99, 100)))
def test_what_is_not_exported_is_unmeasured_and_stands_in_nobodys_way(stable: dict[str, float], weight: int) -> None:
    readings = {name: Reading(None, value) for name, value in stable.items()}
    for seen in (readings, None, Unavailable("no answer"), {}):
        watch = Watch(policy())
        watch.look(seen, tally=Tally(), weight=weight, times=3)
        assert {verdict.outcome for verdict in watch.verdicts.values()} == {"unmeasured"}
        assert len(watch.verdicts) == 1 + len(SIGNALS)
        assert not watch.blocks()


def test_every_signal_below_its_limit_passes_with_its_numbers() -> None:
    watch = Watch(policy())
    readings = {PENDING: Reading(0.01), BREAKERS: Reading(0.0), THROTTLING: Reading(0.25), MEMORY: Reading(0.9)}
    watch.look(readings, tally=overflowing(0.01))
    assert {verdict.outcome for verdict in watch.verdicts.values()} == {"pass"}
    memory = watch.verdicts[f"saturation {MEMORY}"]
    assert (memory.value, memory.limit, memory.stable) == (0.9, 0.9, None)


@pytest.mark.parametrize(
    ("name", "value"), [(PENDING, 0.011), (BREAKERS, 1.0), (THROTTLING, 0.26), (MEMORY, 0.91)], ids=str
)
def test_a_signal_beyond_its_limit_holds_at_once_and_fails_after_so_many_looks_in_a_row(
    name: str, value: float
) -> None:
    watch, check = Watch(policy(failures=3)), f"saturation {name}"
    for _ in range(2):
        watch.look(signal(name, value))
        assert watch.of(check) == ("unknown", "gate")
    watch.look(signal(name, value))
    assert watch.of(check) == ("fail", "")
    watch.look(signal(name, 0.0))
    assert watch.of(check) == ("pass", "")
    watch.look(signal(name, value))
    assert watch.of(check) == ("unknown", "gate")


def test_refused_requests_are_counted_over_the_interval_and_those_lost_before_any_version_too() -> None:
    watch = Watch(policy(failures=1))
    watch.look(tally=overflowing(0.02))
    assert watch.of(OVERFLOW) == ("fail", "")
    assert watch.verdicts[OVERFLOW].value == pytest.approx(0.02)
    lost = Tally(stable=Counts(requests=900), lost=50, overflowed=50)
    watch.look(tally=lost)
    assert watch.verdicts[OVERFLOW].value == 1.0


def test_a_gate_may_hold_in_place_of_rolling_back_for_as_long_as_it_lasts() -> None:
    watch = Watch(policy(failures=2, action="hold"))
    watch.look(tally=overflowing(0.5), times=20)
    assert watch.of(OVERFLOW) == ("unknown", "gate")
    watch.look(tally=overflowing(0))
    assert watch.of(OVERFLOW) == ("pass", "")


def test_what_was_beyond_its_limit_and_is_no_longer_measured_neither_passes_nor_counts() -> None:
    watch, check = Watch(policy(failures=2)), f"saturation {MEMORY}"
    watch.look(signal(MEMORY, 0.95))
    watch.look(Unavailable("no answer"), times=10)
    assert watch.of(check) == ("unknown", "gate")
    watch.look(signal(MEMORY, 0.95))
    assert watch.of(check) == ("fail", "")


@pytest.mark.parametrize(
    ("name", "stable", "allowed"),
    [(THROTTLING, 0.4, 0.6), (MEMORY, 0.85, 0.95), (PENDING, 0.3, 0.3), (BREAKERS, 1.0, 1.0)],
)
def test_a_signal_that_stable_shows_too_is_held_against_it(name: str, stable: float, allowed: float) -> None:
    watch, check = Watch(policy(failures=1)), f"saturation {name}"
    watch.look(signal(name, allowed - 0.001, stable))
    assert watch.of(check) == ("pass", "")
    assert watch.verdicts[check].limit == pytest.approx(allowed)
    watch.look(signal(name, allowed + 0.001, stable))
    assert watch.of(check) == ("fail", "")


def test_a_healthy_stable_does_not_lower_a_limit() -> None:
    watch = Watch(policy(failures=1))
    watch.look(signal(THROTTLING, 0.2, 0.01))
    assert watch.of(f"saturation {THROTTLING}") == ("pass", "")


def test_at_the_last_step_what_stable_showed_last_with_traffic_is_what_counts() -> None:
    watch, check = Watch(policy(failures=1)), f"saturation {THROTTLING}"
    watch.look(signal(THROTTLING, 0.1, 0.4))
    watch.look(signal(THROTTLING, 0.1, 0.2))
    watch.look(signal(THROTTLING, 0.29, 0.0), weight=LAST)
    assert watch.of(check) == ("pass", "")
    watch.look(signal(THROTTLING, 0.31, 0.9), weight=LAST)
    assert watch.of(check) == ("fail", "")
    assert watch.verdicts[check].stable == 0.2


def test_a_signal_that_was_measured_before_is_waited_for_while_nothing_answers() -> None:
    watch = Watch(policy(failures=1))
    watch.look(signal(MEMORY, 0.5))
    watch.look(Unavailable("no answer"), times=3)
    assert watch.of(f"saturation {MEMORY}") == ("unknown", "no-data")
    assert watch.of(f"saturation {THROTTLING}") == ("unmeasured", "")
    assert watch.blocks()
    watch.look(signal(MEMORY, 0.5))
    assert watch.of(f"saturation {MEMORY}") == ("pass", "")
    assert not watch.blocks()


def test_a_signal_that_is_no_longer_exported_stands_in_nobodys_way() -> None:
    """An answer without the series says that there is none; no answer does not."""
    watch = Watch(policy(failures=1))
    watch.look(signal(MEMORY, 0.5))
    watch.look({})
    assert watch.of(f"saturation {MEMORY}") == ("unmeasured", "")
    assert not watch.blocks()


def test_a_reading_of_another_name_is_nothing_to_remember() -> None:
    watch = Watch(policy({"max": 1}))
    watch.look({**custom(0.5, 0.7), **signal(MEMORY, 0.5, 0.6)})
    assert watch.gates.stable == {MEMORY: 0.6}


@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        ({"max": 5}, (5.0, -1.0), (5.1,)),
        ({"min": 2}, (2.0, 100.0), (1.9,)),
        ({"min": 2, "max": 5}, (2.0, 5.0), (1.9, 5.1)),
        ({"overStable": {"ratio": 2, "margin": 1}}, (21.0,), (21.1,)),
        ({"max": 15, "overStable": {"ratio": 2, "margin": 1}}, (15.0,), (15.1,)),
        ({"max": 50, "min": 1, "overStable": {"ratio": 2, "margin": 1}}, (21.0, 1.0), (21.1, 0.9)),
    ],
)
def test_a_custom_check_is_good_within_all_of_its_limits(
    limits: dict[str, Any], good: tuple[float, ...], bad: tuple[float, ...]
) -> None:
    for value in good:
        watch = Watch(policy({**limits, "failures": 1}))
        watch.look(custom(value, 10.0))
        assert watch.of(CUSTOM) == ("pass", "")
    for value in bad:
        watch = Watch(policy({**limits, "failures": 1}))
        watch.look(custom(value, 10.0))
        assert watch.of(CUSTOM) == ("fail", "")
        verdict = watch.verdicts[CUSTOM]
        assert verdict.value == value
        assert verdict.limit is not None
        assert verdict.value < verdict.limit if value < 2 else verdict.value > verdict.limit


def test_a_custom_check_fails_after_so_many_looks_in_a_row_and_is_no_statistic() -> None:
    watch = Watch(policy({"max": 5, "failures": 3}))
    watch.look(custom(9), times=2)
    assert watch.of(CUSTOM) == ("unknown", "gate")
    watch.look(custom(9))
    assert watch.of(CUSTOM) == ("fail", "")
    assert (watch.verdicts[CUSTOM].evidence, watch.verdicts[CUSTOM].convicts) == (0, 0)


def test_a_custom_check_may_hold_for_ever_and_never_fail() -> None:
    watch = Watch(policy({"max": 5, "failures": 1, "action": "hold"}))
    watch.look(custom(9), times=10)
    assert watch.of(CUSTOM) == ("unknown", "gate")


@pytest.mark.parametrize("silence", [custom(None), {}], ids=["no value", "no reading"])
@pytest.mark.parametrize(
    ("no_data", "outcome"),
    [("hold", ("unknown", "no-data")), ("pass", ("unmeasured", "")), ("fail", ("fail", ""))],
)
def test_no_answer_means_what_the_check_says(silence: Readings, no_data: str, outcome: tuple[str, str]) -> None:
    watch = Watch(policy({"max": 5, "failures": 2, "noData": no_data}))
    watch.look(silence, times=2)
    assert watch.of(CUSTOM) == outcome


@pytest.mark.parametrize("no_data", ["hold", "pass", "fail"])
@pytest.mark.parametrize(
    "readings",
    [None, Unavailable("no answer"), custom(None, trouble="several series")],
    ids=["not asked", "no answer", "no good query"],
)
def test_a_check_that_could_not_be_asked_holds_and_never_fails(
    no_data: str, readings: Readings | Unavailable | None
) -> None:
    watch = Watch(policy({"max": 5, "failures": 1, "noData": no_data}))
    watch.look(readings, times=5)
    assert watch.of(CUSTOM) == ("unknown", "no-data")


def test_a_comparison_without_stables_value_holds_and_never_fails() -> None:
    watch = Watch(policy({"overStable": {}, "failures": 1}))
    watch.look(custom(1.0), times=5)
    assert watch.of(CUSTOM) == ("unknown", "no-data")


def test_at_the_last_step_there_is_no_stable_to_compare_a_custom_check_with() -> None:
    watch = Watch(policy({"overStable": {}, "failures": 1}))
    watch.look(custom(100.0, 1.0), weight=LAST)
    assert watch.of(CUSTOM) == ("pass", "")
    both = Watch(policy({"overStable": {}, "max": 50, "failures": 1}))
    both.look(custom(100.0, 1.0), weight=LAST)
    assert both.of(CUSTOM) == ("fail", "")


def test_silence_after_trouble_passes_where_no_answer_is_good_news() -> None:
    """`expr > 5` answers nothing exactly when all is well."""
    watch = Watch(policy({"max": 5, "failures": 3, "noData": "pass"}))
    watch.look(custom(9))
    assert watch.of(CUSTOM) == ("unknown", "gate")
    watch.look(custom(None))
    assert watch.of(CUSTOM) == ("unmeasured", "")


def test_silence_after_trouble_does_not_pass_where_no_answer_holds() -> None:
    watch = Watch(policy({"max": 5, "failures": 3}))
    watch.look(custom(9))
    watch.look(custom(None))
    assert watch.of(CUSTOM) == ("unknown", "gate")


@st.composite
def sights(draw: st.DrawFn) -> tuple[Readings | Unavailable | None, Tally, int]:
    def value() -> float | None:
        return draw(st.none() | st.floats(0, 2))

    known: Readings = {name: Reading(value(), value()) for name in draw(st.sets(st.sampled_from((*SIGNALS, CUSTOM))))}
    readings = draw(st.sampled_from((known, known, known, None, Unavailable("no answer"))))
    return (
        readings,
        overflowing(draw(st.sampled_from((0.0, 0.0, 0.5)))),
        draw(st.sampled_from((CONTROL, CONTROL, LAST))),
    )


@given(
    st.lists(sights(), min_size=1, max_size=12),
    st.integers(1, 4),
    st.sampled_from(("rollback", "hold")),
    st.sampled_from(("hold", "pass", "fail")),
)
def test_nothing_fails_before_it_was_beyond_its_limit_often_enough_in_a_row(
    seen: list[tuple[Readings | Unavailable | None, Tally, int]], failures: int, action: str, no_data: str
) -> None:
    both = {"failures": failures, "action": action}
    by = policy({"max": 1, "noData": no_data, **both}, **both)
    watch = Watch(by)
    for readings, tally, weight in seen:
        before = watch.gates
        watch.look(readings, tally=tally, weight=weight)
        for name, verdict in watch.verdicts.items():
            assert verdict.outcome != "fail" or action == "rollback"
            streak = watch.gates.streaks.get(name, 0)
            assert verdict.outcome != "fail" or streak >= failures
            assert streak <= before.streaks.get(name, 0) + 1
            assert verdict.outcome not in {"pass", "unmeasured"} or not streak
            assert verdict.value is None or name in watch.gates.streaks
            assert verdict.message
        assert set(before.streaks) <= set(watch.gates.streaks) <= set(watch.verdicts)
        assert set(watch.gates.stable) <= set(SIGNALS)
