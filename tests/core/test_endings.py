"""The way back and the way out: whatever happens, all traffic ends where it was ordered, and what was put in is out."""

from rollout.core.decide import Seen, decide
from rollout.core.ending import MOST_REORDERS, MOST_TRIES
from rollout.core.events import CATALOGUE, Level
from rollout.core.intents import AddSubset, DropDestination, DropSubset, SetRoute
from rollout.core.release import Confirmed, Drift, Phase, Reason
from rollout.core.route import Problem, Route
from tests import given
from tests.core.story import Story

ONLY_CANARY = {"listed": frozenset({given.CANARY}), "subsets": frozenset({given.CANARY})}


def back_at_stable(*, added: bool = True) -> Story:
    """A rollback whose order is on the route, the canary's entries with it."""
    story = Story(given.release(Phase.ROLLING_BACK, added_destination=added, added_subset=added))
    story.sees(given.mesh(10, 2))
    story.sees(given.as_ordered(story.release))
    return story


def test_a_rollback_needs_no_metrics_no_pods_and_no_patience() -> None:
    wishes = {"abort": given.wish(), "pause": given.wish()}
    for phase in (Phase.PREPARING, Phase.SHIFTING, Phase.ANALYSING, Phase.FINISHING):
        release = given.release(phase, wishes=wishes, problem="spoilt", drift=Drift(percent=1, at=given.NOW))
        mesh = given.mesh(20, 5, problem=Problem("delegate", "odd"))
        decision = decide(release, Seen(mesh=mesh), given.NOW)
        assert decision.status.phase is Phase.ROLLING_BACK
        assert SetRoute(Route(percent=0, epoch=6), mesh) in decision.intents


def test_a_rollback_puts_away_what_was_put_in_and_then_ends() -> None:
    story = back_at_stable()
    there = given.as_ordered(story.release)
    assert story.sees(there) == (DropDestination(given.CANARY, there),)
    gone = given.as_ordered(story.release, listed=frozenset({given.STABLE}))
    assert story.sees(gone) == ()
    assert story.sees(gone, given.policy().settle) == (DropSubset(given.CANARY),)
    clean = given.as_ordered(story.release, listed=frozenset({given.STABLE}), subsets=frozenset({given.STABLE}))
    assert story.sees(clean) == ()
    assert story.status.phase is Phase.ROLLED_BACK
    assert story.status.finished_at == story.now


def test_a_rollback_leaves_what_was_there_before() -> None:
    story = back_at_stable(added=False)
    assert story.status.phase is Phase.ROLLED_BACK
    assert story.told("rollback.done") == story.told("release.rolled_back") == 1


def test_a_subset_that_another_route_names_is_left_after_some_tries() -> None:
    story = back_at_stable()
    gone = given.as_ordered(story.release, listed=frozenset({given.STABLE}))
    story.sees(gone, given.policy().settle)
    for _ in range(MOST_TRIES + 2):
        story.sees(gone)
    assert story.status.phase is Phase.ROLLED_BACK
    assert story.told("cleanup.skipped") == 1


def test_a_destination_that_cannot_be_taken_out_does_not_hold_the_end_up_for_ever() -> None:
    story = back_at_stable()
    for _ in range(10):
        story.sees(given.as_ordered(story.release), given.INTERVAL)
    assert story.status.phase is Phase.ROLLED_BACK
    assert story.told("cleanup.skipped") == 1


def test_a_rollback_that_is_undone_is_ordered_again_but_not_for_ever() -> None:
    story = back_at_stable(added=False)
    story.release = given.release(Phase.ROLLING_BACK, confirmed=Confirmed(route=story.order, at=given.NOW))
    for times in range(1, MOST_REORDERS + 1):
        undone = given.mesh(50, story.order.epoch)
        (order,) = story.sees(undone)
        assert isinstance(order, SetRoute)
        assert order.route == Route(percent=0, epoch=undone.epoch + 1)
        assert story.status.reorders == times
        story.sees(given.as_ordered(story.release))
    assert story.sees(given.mesh(50, story.order.epoch)) == ()
    assert story.status.reason == Reason.STUCK
    story.sees(given.mesh(50, story.order.epoch))
    assert story.told("rollback.stuck") == 1
    assert CATALOGUE["rollback.stuck"].level is Level.CRITICAL


def test_a_rollback_that_cannot_be_written_goes_on_trying_and_calls_for_help() -> None:
    story = Story(given.release(Phase.ROLLING_BACK))
    for _ in range(5):
        (order,) = story.sees(given.mesh(10, 2), given.seconds(10))
        assert isinstance(order, SetRoute)
        assert order.route.percent == 0
    assert story.status.reason == Reason.STUCK
    assert story.told("rollback.stuck") == 1


def test_a_newer_order_under_our_own_name_does_not_stop_a_rollback() -> None:
    story = Story(given.release(Phase.ROLLING_BACK))
    (order,) = story.sees(given.mesh(50, 9))
    assert isinstance(order, SetRoute)
    assert order.route == Route(percent=0, epoch=10)


def test_finishing_takes_the_old_version_out_and_is_not_shaken_by_what_is_missing_then() -> None:
    story = Story(given.release(Phase.FINISHING))
    there = given.as_ordered(story.release)
    assert story.sees(there) == (DropDestination(given.STABLE, there),)
    alone = given.as_ordered(story.release, listed=frozenset({given.CANARY}))
    assert story.sees(alone, given.policy().settle) == (DropSubset(given.STABLE),)
    missing = Problem("subset-missing", "there is no subset for v1, which held the traffic")
    assert story.sees(given.as_ordered(story.release, **ONLY_CANARY, problem=missing)) == ()
    assert story.status.phase is Phase.PROMOTED


def test_a_release_aborted_after_stable_lost_its_subset_gives_it_back_first() -> None:
    story = Story(given.release(Phase.FINISHING, tries=1, wishes={"abort": given.wish()}))
    bare = given.as_ordered(story.release, **ONLY_CANARY)
    back = Route(percent=0, epoch=story.order.epoch + 1)
    assert story.sees(bare) == story.sees(bare) == (AddSubset(given.STABLE), SetRoute(back, bare))


def test_a_route_that_another_release_took_is_not_touched_even_to_abort() -> None:
    for phase in (Phase.PREPARING, Phase.SHIFTING, Phase.ANALYSING, Phase.FINISHING):
        story = Story(given.release(phase, wishes={"abort": given.wish()}))
        taken = given.seen(given.mesh(0, 9, "checkout-v3"), health=given.health(0))
        assert story.turn(taken) == ()
        assert story.status.phase is Phase.ABORTED
