"""A person's hand, and a tool's, on every object of a release that is under way: each has one outcome, told and logged.

`docs/crashes.md` has the same as a table. The deeds are done side by side, so that all of them take as long as one.
"""

import shutil
from typing import Any

import pytest

from tests.crash import hands
from tests.crash.arena import USER
from tests.crash.hands import DEEDS, Deed, Deeds, Outcome
from tests.crash.invariants import is_refused

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH"),
]


def told(one: Outcome, **decisions: int) -> None:
    """These were told as Events, so often, and each of their kind was logged as well."""
    assert {name: one.decisions[name] for name in decisions} == decisions
    for name, times in decisions.items():
        event = "".join(f".{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]
        words = event.split(".")
        assert one.logged[f"{words[0]}.{'_'.join(words[1:])}"] >= times, f"{name}: {one.logged}"


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
async def test_whatever_people_do_no_invariant_is_hurt(deeds: Deeds, deed: Deed) -> None:
    assert (await deeds.outcome(deed)).wrong == []


async def test_all_traffic_set_to_stable_is_an_abort(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.all_to_stable)
    assert (seen.phase, seen.reason, seen.weights) == ("Aborted", "HandOnRoute", {"v1": 100})
    assert seen.subsets == ["v1"]
    told(seen, RollbackStarted=1, RollbackDone=1, ReleaseAborted=1)


async def test_all_traffic_set_to_the_canary_is_respected_until_it_is_taken_back(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.all_to_canary)
    assert (seen.between["phase"], seen.between["weights"]) == ("Analysing", '{"v1": 0, "v2": 100}')
    assert seen.between["orders while calm"] == 0
    assert (seen.phase, seen.weights) == ("Promoted", {"v2": 100})
    told(seen, TrafficDriftDetected=1, StepStarted=3)


async def test_a_third_version_holds_the_release_and_keeps_its_share_when_it_is_aborted(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.part_to_a_third_version)
    assert seen.between["orders while calm"] == 0
    assert "v3" in str(seen.between["message"])
    assert (seen.phase, seen.weights) == ("Aborted", {"v1": 90, "v3": 10})
    told(seen, TrafficDriftDetected=1, ReleaseAborted=1)


async def test_all_traffic_set_to_a_third_version_stays_there(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.all_to_a_third_version)
    assert (seen.phase, seen.reason, seen.weights) == ("Aborted", "HandOnRoute", {"v3": 100})
    told(seen, RollbackStarted=1, ReleaseAborted=1)


async def test_without_its_virtual_service_a_release_fails_and_says_so(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.virtual_service_deleted)
    assert (seen.phase, seen.reason, seen.weights, seen.orders) == ("Failed", "RouteGone", {}, 0)
    told(seen, ReleaseFailed=1)


async def test_without_its_rule_a_release_holds_and_goes_on_once_it_is_back(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.rule_deleted_and_made_again)
    assert (seen.between["orders while calm"], seen.between["phase"]) == (0, "Analysing")
    assert (seen.phase, seen.weights, seen.subsets) == ("Promoted", {"v2": 100}, ["v2"])
    told(seen, TrafficDriftDetected=1, TrafficDriftEnded=1)


async def test_without_its_rule_a_release_can_be_aborted(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.rule_deleted_and_aborted)
    assert (seen.phase, seen.reason, seen.weights) == ("Aborted", "Aborted", {"v1": 100})
    told(seen, TrafficDriftDetected=1, ReleaseAborted=1)


async def test_without_the_canarys_deployment_all_traffic_goes_back(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.canary_deleted)
    assert (seen.phase, seen.reason, seen.weights) == ("RolledBack", "CanaryNotReady", {"v1": 100})
    told(seen, RollbackStarted=1, ReleaseRolledBack=1)


async def test_without_stables_deployment_nothing_moves_until_it_is_back(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.stable_deleted_and_made_again)
    assert (seen.between["orders while calm"], seen.between["weights"]) == (0, '{"v1": 50, "v2": 50}')
    assert (seen.phase, seen.weights) == ("Promoted", {"v2": 100})
    assert seen.decisions["StepHeld"] >= 1


async def test_a_deleted_release_is_there_until_its_traffic_is_back(deeds: Deeds) -> None:
    seen = await deeds.outcome(hands.release_deleted)
    assert (seen.gone, seen.weights, seen.subsets) == (True, {"v1": 100}, ["v1"])
    done = [one for one in seen.written if one.user == USER and not is_refused(one)]
    last_order = max(place for place, one in enumerate(done) if one.resource == "virtualservices")
    letting_go = max(place for place, one in enumerate(done) if (one.resource, one.subresource) == ("releases", ""))
    assert letting_go > last_order
    told(seen, ReleaseAbortRequested=1, RollbackStarted=1, ReleaseAborted=1)


async def test_a_tool_that_puts_all_traffic_back_every_second_ends_the_release_and_is_not_fought(
    deeds: Deeds, said: list[str]
) -> None:
    seen = await deeds.outcome(hands.gitops_to_stable)
    assert (seen.phase, seen.reason, seen.weights) == ("Aborted", "HandOnRoute", {"v1": 100})
    assert seen.attempts <= 3
    told(seen, RollbackStarted=1, ReleaseAborted=1)
    said.append(f"GitOps loop to stable, 30 s: {seen.attempts} writes of ours, {seen.phase} ({seen.reason})")


async def test_a_tool_that_sets_a_split_every_second_is_reported_and_not_fought(deeds: Deeds, said: list[str]) -> None:
    seen = await deeds.outcome(hands.gitops_to_a_split)
    # The claim and the first step, both before the tool began.
    assert seen.between["orders in the loop"] == 2
    assert seen.between["weights"] == '{"v1": 80, "v2": 20}'
    assert (seen.phase, seen.weights) == ("Aborted", {"v1": 100})
    told(seen, TrafficDriftDetected=1)
    said.append("GitOps loop to 80/20, 30 s: 0 writes of ours, held as Drifted")


async def test_a_tool_that_undoes_a_rollback_every_second_is_resisted_thrice_and_then_called_out(
    deeds: Deeds, said: list[str]
) -> None:
    seen = await deeds.outcome(hands.gitops_over_a_rollback)
    writes: Any = seen.between["orders in the loop"]
    assert writes <= 16
    assert seen.between["phase"] == "RollingBack"
    assert (seen.phase, seen.weights) == ("Aborted", {"v1": 100})
    told(seen, RollbackReordered=3, RollbackStuck=1, ReleaseAborted=1)
    said.append(f"GitOps loop over a rollback, 30 s and more: {writes} writes of ours, told as rollback.stuck")
