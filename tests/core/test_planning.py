import pytest

from rollout.core.judging.clumps import Habit, Learned
from rollout.core.policy import PolicySpec
from rollout.core.replay.planning import TIMES, Plan
from rollout.core.replay.planning import plan as at_length
from tests.core.pasts import BOUNDS, SLOWER, dice

POLICY = PolicySpec.model_validate(
    {"steps": [{"weight": 10, "hold": "5m"}, {"weight": 50, "hold": "5m"}, {"weight": 100, "hold": "5m"}]}
)


def plan(policy: PolicySpec, learned: Learned) -> Plan:
    return at_length(policy, learned, dice, runs=8)


def learned(per_second: float, errors: float = 0.001) -> Learned:
    return Learned(
        blocks=240,
        pods=3,
        per_second=per_second,
        errors=Habit(rate=errors),
        bounds=BOUNDS[1:],
        latency=tuple(Habit(rate=share) for share in SLOWER),
        slow_at=BOUNDS,
    )


def test_a_busy_service_is_proven_and_its_faults_are_caught_within_every_hold() -> None:
    seen: list[float] = []
    found = at_length(POLICY, learned(1000), dice, runs=4, progress=seen.append)
    assert found.runs == 4
    assert seen[-1] == 1
    for step in found.steps[:2]:
        assert step.proof is not None
        assert step.proof.share == 1
        assert step.proof.seconds is not None
        assert 0 < step.proof.seconds <= step.hold
        assert step.catches[-1].share == 1
        assert not step.too_short
        assert step.enough is None
    assert [one.times for one in found.steps[0].catches] == list(TIMES)


def test_a_worse_fault_is_caught_at_least_as_often() -> None:
    found = plan(POLICY, learned(100))
    shares = [one.share for one in found.steps[1].catches]
    assert shares == sorted(shares)
    assert shares[-1] > 0.5


def test_the_expected_requests_are_those_of_the_weight_and_the_hold() -> None:
    found = plan(POLICY, learned(10))
    assert [step.requests for step in found.steps] == [300, 1500, 3000]
    assert found.per_second == 10
    assert found.base == 0.001
    assert found.tolerated == pytest.approx(0.00175)


def test_a_step_that_is_too_short_is_told_with_a_hold_that_would_do() -> None:
    found = plan(POLICY, learned(10))
    first = found.steps[0]
    assert first.too_short
    assert not first.low_data
    assert first.enough is not None
    assert first.enough > first.hold


def test_a_service_with_hardly_any_traffic_is_told_that_no_hold_helps() -> None:
    found = plan(POLICY, learned(0.05))
    first = found.steps[0]
    assert first.low_data
    assert first.too_short
    assert first.enough is None


def test_a_step_that_could_find_something_but_may_not_pass_needs_as_long_as_its_requests_take() -> None:
    policy = POLICY.model_copy(update={"checks": POLICY.checks.model_copy(update={"min_requests": 40_000})})
    first = plan(policy, learned(1000)).steps[0]
    assert first.low_data
    assert not first.too_short
    assert first.enough == pytest.approx(400)


def test_the_last_step_has_no_control_to_prove_anything_by() -> None:
    last = plan(POLICY, learned(100)).steps[-1]
    assert last.proof is None
    assert not last.too_short


def test_a_policy_of_full_weight_alone_is_told_that_it_can_see_little() -> None:
    policy = PolicySpec.model_validate({"steps": [{"weight": 100, "hold": "30s"}]})
    [only] = plan(policy, learned(10)).steps
    assert only.proof is None
    assert only.too_short


def test_a_service_that_never_fails_is_planned_by_the_margin() -> None:
    found = plan(POLICY, learned(1000, errors=0.0))
    assert found.steps[0].catches[0].rate == pytest.approx(2 * POLICY.checks.errors.over_stable.margin)
    assert found.steps[0].proof is not None
    assert found.steps[0].proof.share == 1


def test_a_rate_cannot_be_more_than_all() -> None:
    assert plan(POLICY, learned(10, errors=0.4)).steps[0].catches[-1].rate == 1


def test_days_of_hold_are_planned_as_quickly_by_looking_less_often() -> None:
    policy = PolicySpec.model_validate(
        {
            "steps": [{"weight": 10, "hold": "4h"}, {"weight": 50, "hold": "8h"}, {"weight": 100, "hold": "8h"}],
            "deadlines": {"total": "2d"},
        }
    )
    found = plan(policy, learned(10))
    assert found.steps[0].proof is not None
    assert found.steps[0].proof.seconds is not None
    assert found.steps[0].catches[-1].share == 1


def test_a_bound_that_nobody_exceeds_stays_unexceeded() -> None:
    quiet = learned(1000).model_copy(update={"latency": tuple(Habit() for _ in BOUNDS)})
    assert plan(POLICY, quiet).steps[0].proof is not None
