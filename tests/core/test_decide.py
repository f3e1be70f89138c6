"""What a release does next, told as small stories: each is one release, decided upon again and again."""

from datetime import timedelta

import pytest

from rollout.core.decide import Seen, decide
from rollout.core.intents import AddSubset, Hold, SetRoute
from rollout.core.judging.gates import Reading
from rollout.core.orders import SPLIT
from rollout.core.policy import PolicySpec
from rollout.core.release import Cause, Drift, Phase, Reason, Status
from rollout.core.route import Problem, Route, Unavailable, subset_name
from rollout.core.turn import MOST_NOTICES, Turn
from tests import given
from tests.core.meters import Meters
from tests.core.story import Story

MINUTE = timedelta(minutes=1)


def test_a_release_claims_the_route_before_anything_else() -> None:
    story = Story(given.release(Phase.PENDING))
    seen = given.untouched()
    assert story.sees(seen) == (Hold(), SetRoute(Route(percent=0, epoch=1), seen))
    assert story.status.stable == given.STABLE
    assert story.status.policy == given.policy(metrics={"versionLabel": "destination_workload"})
    assert story.told("release.requested") == story.told("release.started") == 1


def test_a_release_that_waits_is_requested_once() -> None:
    story = Story(given.release(Phase.PENDING).model_copy(update={"generation": 0}))
    for _ in range(3):
        story.turn(given.seen(given.BLIND))
    assert story.told("release.requested") == 1
    assert story.status.message


def test_a_version_that_is_listed_already_is_not_ours_to_take_out() -> None:
    story = Story(given.release(Phase.PENDING))
    story.sees(given.untouched(listed=frozenset({given.STABLE, given.CANARY})))
    assert not story.status.added_destination


def test_a_subset_is_added_and_settles_before_the_first_weight() -> None:
    story = Story(given.release(Phase.PREPARING, confirmed=None, added_subset=False, prepared_at=None))
    bare = given.as_ordered(story.release, subsets=frozenset({given.STABLE}))
    assert story.sees(bare) == (AddSubset(given.CANARY),)
    there = given.as_ordered(story.release)
    assert story.sees(there) == ()
    assert story.status.reason == Reason.SETTLING
    assert story.last is not None
    assert story.last.requeue_after == given.policy().settle
    (order,) = story.sees(there, given.policy().settle)
    assert isinstance(order, SetRoute)
    assert (order.route.percent, order.route.epoch) == (10, 2)


def test_a_subset_that_was_there_needs_no_settling() -> None:
    story = Story(given.release(Phase.PREPARING, added_subset=False, prepared_at=None))
    (order,) = story.sees(given.as_ordered(story.release))
    assert isinstance(order, SetRoute)
    assert not story.status.added_subset


def test_a_person_on_a_claimed_route_is_respected_however_long_the_pods_take() -> None:
    story = Story(given.release(Phase.PREPARING))
    for _ in range(5):
        assert story.sees(given.mesh(5, 1), MINUTE) == ()
    assert story.status.phase is Phase.PREPARING
    assert story.told("traffic.drift_detected") == 1


def test_a_claim_that_was_overwritten_is_taken_back_on_request() -> None:
    story = Story(given.release(Phase.PREPARING, wishes={"resume": given.wish(at=given.NOW + MINUTE)}))
    hand = given.mesh(5, 1)
    story.sees(hand)
    assert story.sees(hand, MINUTE) == (SetRoute(Route(percent=0, epoch=2), hand),)
    # The write was lost: it is still due, and needs no second wish.
    assert story.sees(hand) == (SetRoute(Route(percent=0, epoch=2), hand),)
    (order,) = story.sees(given.as_ordered(story.release))
    assert isinstance(order, SetRoute)
    assert order.route.percent == 10
    assert story.sees(given.mesh(0, 2)) == (order.__class__(order.route, given.mesh(0, 2)),)


def test_an_order_that_was_not_written_is_written_again() -> None:
    story = Story(given.release(Phase.SHIFTING, step=1))
    before = given.mesh(10, 2)
    expected = (SetRoute(Route(percent=30, epoch=3), before),)
    assert story.sees(before) == expected
    assert story.sees(before) == expected


def test_annotations_that_were_lost_are_written_again() -> None:
    story = Story(given.release(Phase.ANALYSING, step=1))
    for lost in (given.mesh(30, 0, ""), given.mesh(30, 3, "")):
        split = given.mesh(lost.percent, lost.epoch, "", problem=Problem(SPLIT, "two versions share the route"))
        assert story.sees(split) == (SetRoute(Route(percent=30, epoch=3), split),)


def test_a_hand_on_a_shifting_route_is_respected_beyond_the_routes_deadline() -> None:
    story = Story(given.release(Phase.SHIFTING, step=1))
    for _ in range(5):
        assert story.sees(given.mesh(20, 2), MINUTE) == ()
    assert story.status.reason == Reason.DRIFTED
    # The hand lets go after long: what was ordered is written, not given up.
    (order,) = story.sees(given.mesh(10, 2), MINUTE)
    assert isinstance(order, SetRoute)
    assert order.route.percent == 30
    story.sees(given.mesh(30, 3))
    assert story.status.phase is Phase.ANALYSING


def test_a_wish_to_resume_survives_the_crash_before_its_order_was_written() -> None:
    wishes = {"resume": given.wish(at=given.NOW + MINUTE)}
    story = Story(given.release(Phase.ANALYSING, step=1, drift=Drift(percent=20, at=given.NOW), wishes=wishes))
    hand = given.mesh(20, 3)
    first = story.sees(hand, MINUTE)
    assert first == story.sees(hand) == (SetRoute(Route(percent=30, epoch=4), hand),)
    assert story.status.phase is Phase.SHIFTING


def test_an_old_wish_to_resume_does_not_take_back_what_a_hand_did_later() -> None:
    wishes = {"resume": given.wish(at=given.NOW)}
    story = Story(given.release(Phase.ANALYSING, step=1, wishes=wishes))
    for _ in range(3):
        assert story.sees(given.mesh(20, 3), given.seconds(1)) == ()


def test_a_route_of_an_odd_shape_is_left_alone_even_on_request() -> None:
    wishes = {"resume": given.wish(at=given.NOW + MINUTE)}
    story = Story(given.release(Phase.ANALYSING, step=1, wishes=wishes))
    odd = given.mesh(30, 3, problem=Problem("other-version", "a third version receives traffic"))
    assert story.sees(odd) == story.sees(odd, 2 * MINUTE) == ()
    assert story.status.reason == Reason.DRIFTED


def test_a_drift_that_ends_starts_the_steps_hold_anew() -> None:
    story = Story(given.release(Phase.ANALYSING, step=1))
    story.sees(given.mesh(20, 3), given.INTERVAL)
    story.sees(given.mesh(30, 3), given.INTERVAL)
    assert story.told("traffic.drift_ended") == 1
    assert story.status.confirmed is not None
    assert story.status.confirmed.at == story.now
    assert story.status.window is not None
    assert story.status.window.anchor == story.now


def test_a_drift_that_ends_while_shifting_is_over() -> None:
    story = Story(given.release(Phase.SHIFTING, step=1, drift=Drift(percent=20, at=given.NOW)))
    story.sees(given.mesh(30, 3))
    assert story.status.drift is None
    assert story.status.phase is Phase.ANALYSING


def test_a_step_that_is_done_again_is_recorded_once() -> None:
    story = Story(given.release(Phase.SHIFTING, step=1))
    again = [*story.status.steps, story.status.steps[0].model_copy(update={"weight": 30})]
    story.release = given.release(Phase.SHIFTING, step=1, steps=tuple(again))
    story.sees(given.mesh(30, 3))
    assert [step.weight for step in story.status.steps] == [10, 30]


def test_a_pause_is_told_once_and_so_is_its_end() -> None:
    story = Story(given.release(Phase.ANALYSING, wishes={"pause": given.wish()}))
    for _ in range(3):
        story.sees(given.as_ordered(story.release))
    assert story.told("release.paused") == 1
    story.release = story.release.model_copy(update={"spec": given.spec()})
    for _ in range(3):
        story.sees(given.as_ordered(story.release))
    assert story.told("release.resumed") == 1


def test_a_held_step_is_told_once() -> None:
    story = Story(given.release(Phase.ANALYSING))
    for _ in range(4):
        at = story.now + given.INTERVAL
        seen = given.seen(given.as_ordered(story.release), samples=given.samples((9, 0), (1, 0), at=at))
        story.turn(seen, given.INTERVAL)
    assert story.status.reason == Reason.UNKNOWN_VERDICT
    assert story.told("step.held") == 1


def test_the_check_that_convicts_most_is_the_one_that_is_told() -> None:
    story = Story(given.release(Phase.ANALYSING), given.NOW + given.INTERVAL)
    story.turn(given.seen(given.as_ordered(story.release), samples=given.samples((900, 0), (100, 90))))
    failing = [verdict for verdict in story.status.verdicts if verdict.outcome == "fail"]
    strongest = max(failing, key=lambda verdict: verdict.evidence)
    (notice,) = [notice for notice in story.status.outbox if notice.name == "rollback.started"]
    assert notice.fields["check"] == strongest.check
    assert notice.fields["reason"] == strongest.message


@pytest.mark.parametrize("mesh", [None, Unavailable("no answer")])
def test_nothing_is_decided_on_a_route_that_cannot_be_read(mesh: Unavailable | None) -> None:
    story = Story(given.release(Phase.ANALYSING))
    for _ in range(3):
        assert story.turn(given.seen(mesh, health=given.health(0))) == ()
    assert (story.status.phase, story.status.reason) == (Phase.ANALYSING, given.release().status.reason)
    assert story.told("traffic.unreadable") == 1
    assert "cannot be read" in story.status.message
    story.sees(given.as_ordered(story.release))
    assert story.told("traffic.readable") == 1
    assert story.status.unseen_since is None


def test_an_abort_is_ordered_even_while_the_route_cannot_be_read() -> None:
    story = Story(given.release(Phase.ANALYSING, wishes={"abort": given.wish()}))
    assert story.turn(given.seen(Unavailable("forbidden"))) == ()
    assert story.status.phase is Phase.ROLLING_BACK
    (order,) = story.sees(given.mesh(10, 2))
    assert isinstance(order, SetRoute)
    assert order.route == Route(percent=0, epoch=3)


def test_news_is_owed_until_it_is_known_to_be_told() -> None:
    release = given.release(Phase.PENDING)
    first = decide(release, given.seen(given.untouched()), given.NOW)
    owed = release.model_copy(update={"status": first.status})
    assert {notice.sequence for notice in first.status.outbox} == {1, 2}
    again = decide(owed, given.seen(given.untouched(), announced=1), given.NOW)
    assert {notice.sequence for notice in again.status.outbox} == {2}
    assert again.status.sequence == 2


def test_an_end_that_is_not_told_yet_is_looked_at_again_at_once() -> None:
    story = Story(given.release(Phase.PENDING, wishes={"abort": given.wish()}))
    story.turn(Seen())
    assert story.last is not None
    assert story.last.requeue_after == timedelta(0)
    story.turn(Seen(announced=story.status.sequence))
    assert story.status.outbox == ()
    assert story.last.requeue_after is None


def test_an_announcer_that_fails_for_ever_does_not_grow_the_object() -> None:
    turn = Turn(given.release(), given.seen(), given.NOW)
    for _ in range(MOST_NOTICES + 10):
        turn.tell("release.resumed")
    assert len(turn.status.outbox) == MOST_NOTICES
    assert turn.status.outbox[-1].sequence == turn.status.sequence


def test_a_status_that_could_not_be_read_is_not_overwritten() -> None:
    unread = given.release(Phase.PENDING).model_copy(
        update={"status": Status(phase=Phase.FAILED), "problem": "status: odd", "generation": 7}
    )
    assert decide(unread, Seen(), given.NOW).status == unread.status


def test_a_spec_that_was_changed_later_does_not_lose_track_of_the_traffic() -> None:
    changed = given.release(Phase.ANALYSING, wishes={"version": "v9", "service": "basket"})
    target = changed.target(given.policy())
    assert (target.service, target.legs[0].virtual_service, target.canary) == ("checkout", "checkout", given.CANARY)
    assert changed.key == ("shop", given.NAME)
    before = given.release(Phase.PENDING).target(given.policy())
    assert (before.service, before.canary, before.stable) == ("checkout", given.CANARY, None)


def test_a_decision_does_not_depend_on_more_than_will_be_remembered() -> None:
    now = given.NOW + timedelta(microseconds=1234)
    status = decide(given.release(Phase.SHIFTING), given.seen(given.mesh(10, 2)), now).status
    assert Status.model_validate(status.wire()) == status


def test_a_phase_outside_the_table_is_refused() -> None:
    turn = Turn(given.release(Phase.PENDING), given.seen(), given.NOW)
    with pytest.raises(AssertionError):
        turn.go(Phase.PROMOTED, Reason.PROMOTED, "not so fast")


def test_an_event_with_a_field_that_is_not_declared_is_refused() -> None:
    with pytest.raises(AssertionError):
        Turn(given.release(), given.seen(), given.NOW).tell("release.resumed", mood="good")


def test_words_about_a_release_name_its_deployment() -> None:
    assert Turn(given.release(), given.seen(), given.NOW).deployment() == "Deployment checkout-v2"
    assert Turn(given.release(Phase.PENDING), given.seen(), given.NOW).deployment() == "the Deployment"


def test_every_notice_knows_its_kind_and_every_refusal_its_name() -> None:
    story = Story(given.release(Phase.PENDING, problem="odd"))
    story.sees(given.untouched())
    assert [notice.kind.name for notice in story.status.outbox] == [notice.name for notice in story.status.outbox]
    assert Reason(story.status.reason).refusal
    assert not Reason.ABORTED.refusal
    assert subset_name("1.2.3") == "1-2-3"
    assert Cause(kind="person", reason=Reason.ABORTED, message="").reason is Reason.ABORTED


def test_something_odd_in_the_spec_holds_a_release_and_moves_no_traffic() -> None:
    odd = given.release(Phase.ANALYSING, problem="spec.paused: unknown")
    status = decide(odd, given.seen(given.as_ordered(odd), samples=given.samples(at=given.NOW)), given.NOW).status
    assert (status.phase, status.reason) == (Phase.ANALYSING, Reason.INVALID_SPEC)
    assert "spec.paused" in status.message


class Passing(Story):
    """A canary as good as stable, thousands of requests between two looks."""

    def __init__(self, policy: PolicySpec) -> None:
        super().__init__(given.release(Phase.ANALYSING, policy=policy))
        self.meters = Meters()

    def look(self, requests: int = 20_000) -> None:
        canary = requests * self.order.percent // 100
        samples = self.meters.serve((requests - canary, 0), (canary, 0))
        self.turn(given.seen(given.as_ordered(self.release), samples=samples), given.INTERVAL)

    def stayed(self, most: int = 40, requests: int = 20_000) -> timedelta:
        """How long the first step was held."""
        for _ in range(most):
            self.look(requests)
            if self.status.step != 0:
                return self.now - given.NOW
        return timedelta.max


def _patient(**judge: object) -> PolicySpec:
    steps = [{"weight": 10, "hold": "60s"}, {"weight": 100, "hold": "60s"}]
    return given.policy(steps=steps, judge=given.JUDGE | judge)


def test_a_proven_step_ends_early_only_where_the_policy_says_so_and_never_before_the_dwell() -> None:
    assert Passing(_patient(early=False, dwell="20s")).stayed() == timedelta(seconds=60)
    assert Passing(_patient(early=True, dwell="20s")).stayed() == timedelta(seconds=20)
    assert Passing(_patient(early=True, dwell="5m")).stayed() == timedelta(seconds=60)


def test_a_step_that_is_not_proven_does_not_end_early() -> None:
    slow = Passing(_patient(early=True, dwell="20s"))
    assert slow.stayed(requests=600) > timedelta(seconds=20)


def test_what_is_not_proven_may_advance_or_must_wait_as_the_policy_says() -> None:
    assert Passing(_patient(unproven="advance")).stayed(requests=300) == timedelta(seconds=60)
    waiting = Passing(_patient(unproven="hold"))
    assert waiting.stayed(requests=300, most=12) == timedelta.max
    assert waiting.status.reason == Reason.UNKNOWN_VERDICT
    assert waiting.stayed() < timedelta.max


def test_a_step_that_ends_is_told_with_what_was_known() -> None:
    for requests, proven in ((20_000, True), (300, False)):
        story = Passing(_patient())
        story.stayed(requests=requests)
        (notice,) = [notice for notice in story.status.outbox if notice.name == "step.promoted"]
        assert notice.fields["proven"] is proven
        assert notice.fields["canary_requests"] == requests // 10 * 12
        evidence = notice.fields["evidence"]
        assert isinstance(evidence, float)
        assert 0 < evidence < 10


def test_a_custom_check_that_fails_rolls_back_with_its_own_words() -> None:
    check = {"name": "carts", "query": 'carts{version="{{version}}"}', "max": 3, "failures": 2}
    policy = given.policy(checks={"minRequests": 20, "latency": {"compare": []}, "custom": [check]})
    story = Story(given.release(Phase.ANALYSING, policy=policy))
    meters = Meters()
    for _ in range(2):
        assert story.status.phase is Phase.ANALYSING
        samples = meters.serve((900, 0), (100, 0))
        seen = given.seen(given.as_ordered(story.release), samples=samples, readings={"custom carts": Reading(7.0)})
        story.turn(seen, given.INTERVAL)
    assert story.status.phase is Phase.ROLLING_BACK
    assert story.order.percent == 0
    (notice,) = [notice for notice in story.status.outbox if notice.name == "rollback.started"]
    assert (notice.fields["check"], notice.fields["value"], notice.fields["limit"]) == ("custom carts", 7.0, 3.0)


def test_readings_that_cannot_be_had_convict_nobody() -> None:
    check = {"name": "carts", "query": 'carts{version="{{version}}"}', "max": 3, "failures": 1, "noData": "fail"}
    policy = given.policy(checks={"minRequests": 20, "latency": {"compare": []}, "custom": [check]})
    story = Story(given.release(Phase.ANALYSING, policy=policy))
    meters = Meters()
    for _ in range(5):
        seen = given.seen(
            given.as_ordered(story.release), samples=meters.serve((900, 0), (100, 0)), readings=given.BLIND
        )
        story.turn(seen, given.INTERVAL)
    assert (story.status.phase, story.status.reason) == (Phase.ANALYSING, Reason.UNKNOWN_VERDICT)
