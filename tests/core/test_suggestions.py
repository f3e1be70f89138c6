import random

import pytest

from rollout.core.judging.past import Block, Cell
from rollout.core.policy import PolicySpec
from rollout.core.quantities import parse_share
from rollout.core.replay.rehearsal import History, Rehearsal, added, outcome, prepare, rehearse
from rollout.core.replay.suggestions import FEWEST, kind_of, suggest
from tests.core import pasts
from tests.core.pasts import BLOCK_S, BOUNDS, QUICK, dice


def uneven(odd: dict[str, object], blocks: int = 160, requests: float = 3000.0, pods: int = 4) -> History:
    """Some pods; one of them, from the time asked for on, is `odd`. What was learned from knows nothing of it."""
    rng = random.Random("uneven")
    found = []
    for index in range(blocks):
        each = {
            ("pods", f"pod-{pod}"): pasts.cell(rng, requests / pods, **(odd if pod == 0 and index > 40 else {}))  # type: ignore[arg-type]
            for pod in range(pods)
        }
        whole = {"stable": added(each.values(), len(BOUNDS))}
        found.append(Block(index * BLOCK_S, (index + 1) * BLOCK_S, whole, each))  # type: ignore[arg-type]
    return History(found, BOUNDS, by_pod=True, since=40 * BLOCK_S)


def at_the_start(history: History, policy: PolicySpec = QUICK, runs: int = 16) -> Rehearsal:
    """Rehearse where the odd pod is news."""
    found = prepare(history, policy, runs, dice)
    return Rehearsal(history, (41,) * runs, found.most_seconds, dice)


def test_a_quiet_history_allows_smaller_margins() -> None:
    rehearsal = prepare(pasts.by_pod(160, requests=3000), QUICK, FEWEST, dice)
    seen: list[float] = []
    found = suggest(rehearsal, QUICK, rehearse(rehearsal, QUICK), progress=seen.append)
    assert found.direction == "tighten"
    margin = found.spec["checks"]["errors"]["overStable"]["margin"]
    assert parse_share(margin) < QUICK.checks.errors.over_stable.margin
    assert parse_share(found.spec["checks"]["latency"]["overStable"]["margin"]) < 0.002
    assert PolicySpec.model_validate(found.spec).steps
    assert seen


def test_few_pseudo_releases_do_not_bear_smaller_margins() -> None:
    rehearsal = prepare(pasts.by_pod(160, requests=3000), QUICK, FEWEST - 1, dice)
    found = suggest(rehearsal, QUICK, rehearse(rehearsal, QUICK))
    assert (found.direction, found.spec) == ("too few", {})


def test_margins_that_cannot_be_smaller_are_kept() -> None:
    spec = {"checks": {"errors": {"over_stable": {"margin": "0%"}}, "latency": {"over_stable": {"margin": "0%"}}}}
    policy = PolicySpec.model_validate({**QUICK.wire(), **spec})
    rehearsal = prepare(pasts.by_pod(160), policy, FEWEST, dice)
    found = suggest(rehearsal, policy, rehearse(rehearsal, policy))
    assert (found.direction, found.spec) == ("keep", {})


def test_where_nothing_was_promoted_nothing_is_suggested() -> None:
    history = History([Block(index * BLOCK_S, (index + 1) * BLOCK_S) for index in range(80)], BOUNDS, by_pod=False)
    rehearsal = prepare(history, QUICK, FEWEST, dice)
    assert suggest(rehearsal, QUICK, rehearse(rehearsal, QUICK)).direction == "keep"


def test_errors_that_one_pod_has_more_of_ask_for_a_wider_tolerance() -> None:
    rehearsal = at_the_start(uneven({"errors": 0.02}))
    healthy = rehearse(rehearsal, QUICK)
    assert set(outcome(healthy).rolled_back) == {"errors vs stable"}
    found = suggest(rehearsal, QUICK, healthy)
    assert (found.direction, found.beyond) == ("loosen", ())
    assert set(found.spec["checks"]) == {"errors"}
    better = PolicySpec.model_validate({**QUICK.wire(), "checks": found.spec["checks"]})
    assert outcome(rehearse(rehearsal, better)).wrong == 0


def test_a_pod_that_is_slower_asks_for_a_wider_tolerance_of_slowness() -> None:
    rehearsal = at_the_start(uneven({"slower": (0.9, 0.3, 0.12, 0.001)}))
    healthy = rehearse(rehearsal, QUICK)
    assert outcome(healthy).wrong
    found = suggest(rehearsal, QUICK, healthy)
    assert found.direction == "loosen"
    assert set(found.spec["checks"]) == {"latency"}


def test_what_more_than_one_check_says_is_answered_for_all_of_them() -> None:
    rehearsal = at_the_start(uneven({"errors": 0.02, "slower": (0.9, 0.3, 0.12, 0.001)}))
    found = suggest(rehearsal, QUICK, rehearse(rehearsal, QUICK))
    assert found.direction == "loosen"
    assert set(found.spec["checks"]) == {"errors", "latency"}


def test_a_limit_that_stable_itself_nearly_breaks_is_raised() -> None:
    policy = PolicySpec.model_validate({**QUICK.wire(), "checks": {"errors": {"max": "1%"}}})
    generous = policy.checks.errors.model_copy(
        update={"over_stable": policy.checks.errors.over_stable.model_copy(update={"margin": 0.2})}
    )
    policy = policy.model_copy(update={"checks": policy.checks.model_copy(update={"errors": generous})})
    rehearsal = at_the_start(uneven({"errors": 0.035}), policy)
    healthy = rehearse(rehearsal, policy)
    assert set(outcome(healthy).rolled_back) == {"errors"}
    found = suggest(rehearsal, policy, healthy)
    assert found.direction == "loosen"
    assert parse_share(found.spec["checks"]["errors"]["max"]) > 0.01


def test_a_limit_that_is_as_high_as_limits_go_is_named() -> None:
    errors = {"max": "50%", "over_stable": {"margin": "95%"}, "fail_fast": {"enabled": False}}
    policy = PolicySpec.model_validate({**QUICK.wire(), "checks": {"errors": errors}})
    rehearsal = at_the_start(uneven({"errors": 0.9}, pods=2), policy)
    found = suggest(rehearsal, policy, rehearse(rehearsal, policy))
    assert (found.direction, found.spec, found.beyond) == ("none", {}, ("errors",))


def test_a_canary_worse_than_any_tolerance_that_is_tried_cannot_be_tolerated() -> None:
    rehearsal = at_the_start(uneven({"slower": (0.95, 0.94, 0.93, 0.92)}))
    found = suggest(rehearsal, QUICK, rehearse(rehearsal, QUICK))
    assert found.direction == "none"
    assert all(check.startswith("latency") for check in found.beyond)


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        ("errors", "limit"),
        ("errors vs stable", "errors"),
        ("last step", "errors"),
        ("latency 100ms vs stable", "latency"),
        ("latency 100ms", None),
        ("traffic under", None),
        ("fail fast", None),
    ],
)
def test_every_check_has_its_tolerance_or_none(check: str, kind: str | None) -> None:
    assert kind_of(check) == kind


def test_a_cell_without_requests_is_no_reason_to_doubt() -> None:
    assert Cell() == added([], 0)
