"""A Release that is deleted under way: its traffic first, then its last words, then the object."""

import pytest

from rollout.core.decide import Seen, decide
from rollout.core.events import Notice
from rollout.core.intents import Announce, Hold, LetGo, SetRoute
from rollout.core.release import Phase, Reason, Status
from tests import given
from tests.core.story import Story

ENDS = [phase for phase in Phase if phase.terminal]
STABLE_ONLY = {"listed": frozenset({given.STABLE}), "subsets": frozenset({given.STABLE})}
NOBODY = Seen()


def test_nothing_is_written_to_the_route_before_the_object_is_held() -> None:
    story = Story(given.release(Phase.PENDING))
    story.may_hold = False
    untouched = given.untouched()
    assert story.sees(untouched)[0] == Hold()
    assert story.sees(untouched, given.seconds(1)) == (Hold(),)
    assert story.status.phase is Phase.PREPARING
    story.may_hold = True
    assert story.sees(untouched, given.seconds(1)) == (Hold(),)
    (order,) = story.sees(untouched, given.seconds(1))
    assert isinstance(order, SetRoute)


def test_who_may_not_set_the_finalizer_gives_up_and_says_which_right_is_missing() -> None:
    story = Story(given.release(Phase.PREPARING, held=False))
    story.may_hold = False
    there = given.as_ordered(story.release)
    assert story.sees(there, given.seconds(49)) == (Hold(),)
    story.sees(there, given.seconds(2))
    assert (story.status.phase, story.status.reason) == (Phase.ROLLING_BACK, Reason.ROUTE_NOT_WRITABLE)
    assert "patch releases" in story.status.message
    story.sees(given.as_ordered(story.release, **STABLE_ONLY))
    assert story.status.phase is Phase.FAILED


def test_a_deleted_release_ends_as_aborted_and_goes_only_after_its_last_words() -> None:
    story = Story(given.release(Phase.ANALYSING, deleting=True))
    (order,) = story.sees(given.as_ordered(story.release))
    assert isinstance(order, SetRoute)
    assert order.route.percent == 0
    assert story.sees(given.as_ordered(story.release, **STABLE_ONLY)) == ()
    assert story.status.phase is Phase.ABORTED
    assert story.turn(NOBODY) == ()
    assert story.turn(Seen(announced=story.status.sequence)) == (LetGo(),)
    assert story.status.outbox == ()
    assert story.turn(NOBODY) == ()


@pytest.mark.parametrize("phase", ENDS)
def test_whatever_is_over_is_let_go_of(phase: Phase) -> None:
    decision = decide(given.release(phase, step=0, held=True), NOBODY, given.NOW)
    assert decision.intents == (LetGo(),)


@pytest.mark.parametrize("phase", ENDS)
def test_news_that_nobody_heard_keeps_the_object(phase: Phase) -> None:
    owed = Notice(sequence=1, at=given.NOW, name="release.aborted")
    decision = decide(given.release(phase, step=0, held=True, outbox=(owed,)), NOBODY, given.NOW)
    assert decision.intents == (Announce(owed),)


def test_a_status_that_nobody_could_read_is_no_end_and_keeps_the_object() -> None:
    unreadable = given.release(Phase.FAILED, held=True, deleting=True, problem="status.phase: odd")
    unreadable = unreadable.model_copy(update={"status": Status(phase=Phase.FAILED, message="odd")})
    decision = decide(unreadable, NOBODY, given.NOW)
    assert decision.intents == ()
    assert decision.requeue_after is None
