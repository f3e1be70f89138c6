"""What a release waits for besides evidence: what is remembered of gates, and that nothing of it delays a rollback."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given as examples
from hypothesis import strategies as st

from rollout.core.beginning import is_at_gate, is_waiting
from rollout.core.decide import Seen, decide
from rollout.core.freeze import Freeze, FreezeSpec
from rollout.core.gating import Answer, GateRun
from rollout.core.policy import PolicySpec
from rollout.core.release import Approval, Cause, Delivered, Phase, Reason, Release
from rollout.core.turn import CHANNELS_TAKE
from rollout.core.waiting import LONGEST, open_questions
from tests import given
from tests.core.story import Story

MINUTE = timedelta(minutes=1)
FREEZE = Freeze(namespace="shop", name="namespace", spec=FreezeSpec(until=given.NOW + MINUTE, by="ann", reason="sale"))


def pending(policy: PolicySpec, **wishes: Any) -> Story:
    return Story(given.release(Phase.PENDING, wishes={"policy": policy, **wishes}))


def gated(**gate: Any) -> PolicySpec:
    return given.policy(gates=[{"name": "smoke", "kind": "webhook", "use": "smoke", **gate}])


def asks(policy: PolicySpec, answer: Answer | None = None, **fields: Any) -> Seen:
    answers = {} if answer is None else {"smoke": answer}
    return given.seen(given.untouched(), policy=policy, answers=answers, **fields)


def the_run(story: Story) -> GateRun:
    (run,) = story.status.gate_runs
    return run


def questions(story: Story, policy: PolicySpec) -> list[int]:
    return [run.attempt for _, run in open_questions(story.release, policy, story.now)]


def test_a_question_is_saved_before_it_is_put() -> None:
    policy = gated()
    story = pending(policy)
    assert questions(story, policy) == []
    story.turn(asks(policy))
    assert questions(story, policy) == [1]
    assert story.told("gate.waiting") == 1


def test_a_gate_that_wants_time_is_asked_again_when_it_said() -> None:
    policy = gated()
    story = pending(policy)
    story.turn(asks(policy))
    story.turn(asks(policy, Answer("waiting", "running", again=MINUTE)))
    assert the_run(story).message == "running"
    assert questions(story, policy) == []
    story.now += MINUTE
    assert questions(story, policy) == [2]
    story.turn(asks(policy, Answer("waiting", again=timedelta(days=1))))
    assert the_run(story).ask_at == story.now + LONGEST


def test_one_answer_is_heard_once() -> None:
    policy = gated()
    story = pending(policy)
    story.turn(asks(policy))
    story.turn(asks(policy, Answer("waiting")))
    assert the_run(story).attempt == 2


def test_no_answer_is_asked_again_and_at_last_a_no() -> None:
    policy = gated(retries=2)
    story = pending(policy)
    story.turn(asks(policy))
    for attempt in (2, 3):
        story.turn(asks(policy, Answer("unavailable", "503")), MINUTE)
        assert (the_run(story).attempt, the_run(story).state) == (attempt, "waiting")
    story.turn(asks(policy, Answer("unavailable", "503")), MINUTE)
    assert (story.status.phase, story.status.reason) == (Phase.FAILED, Reason.GATE_REFUSED)
    assert story.told("gate.failed") == 1


def test_an_answer_after_silence_counts_failures_anew() -> None:
    policy = gated(retries=1)
    story = pending(policy)
    story.turn(asks(policy))
    for _ in range(5):
        story.turn(asks(policy, Answer("unavailable", "503")), MINUTE)
        story.turn(asks(policy, Answer("waiting")), MINUTE)
    assert story.status.phase is Phase.PENDING


def test_a_gate_has_so_much_time_and_no_more() -> None:
    policy = gated(timeout="10m", onFailure="hold")
    story = pending(policy)
    story.turn(asks(policy))
    story.turn(asks(policy), timedelta(minutes=10))
    assert the_run(story).state == "waiting"
    story.turn(asks(policy), MINUTE)
    assert the_run(story).state == "failed"
    assert (story.status.phase, story.status.reason) == (Phase.PENDING, Reason.WAITING_FOR_APPROVAL)
    assert questions(story, policy) == []


def test_a_person_may_let_pass_what_failed_where_the_policy_holds() -> None:
    policy = gated(onFailure="hold")
    story = pending(policy)
    story.turn(asks(policy))
    story.turn(asks(policy, Answer("failed", "no")))
    approval = Approval(gate="smoke", by="ann", reason="known")
    wishes = story.release.spec.model_copy(update={"approvals": (approval,)})
    story.release = story.release.model_copy(update={"spec": wishes})
    story.turn(asks(policy))
    assert (the_run(story).state, the_run(story).by, the_run(story).message) == ("passed", "ann", "known")
    assert story.status.phase is Phase.PREPARING


def test_what_passed_is_never_asked_again() -> None:
    policy = gated()
    story = pending(policy)
    story.turn(asks(policy))
    story.turn(asks(policy, Answer("passed"), preflight=None))
    assert the_run(story).state == "passed"
    assert questions(story, policy) == []
    story.turn(asks(policy, Answer("failed")))
    assert the_run(story).state == "passed"


def test_a_gate_that_left_the_policy_before_the_start_is_forgotten() -> None:
    story = pending(gated())
    story.turn(asks(gated()))
    story.turn(asks(given.policy()))
    assert story.status.phase is Phase.PREPARING


def test_people_are_not_asked_by_machine() -> None:
    policy = given.policy(gates=[{"name": "ok"}, {"name": "smoke", "kind": "job", "use": "smoke"}])
    story = pending(policy)
    story.turn(asks(policy))
    assert [gate.name for gate, _ in open_questions(story.release, policy, story.now)] == ["smoke"]
    assert story.status.reason == Reason.WAITING_FOR_GATE


def test_nobody_is_asked_on_the_way_back_or_without_a_policy() -> None:
    run = GateRun(gate="smoke", since=given.NOW)
    going = given.release(Phase.ROLLING_BACK, gate_runs=(run,))
    assert open_questions(going, gated(), given.NOW) == ()
    assert open_questions(given.release(Phase.PENDING, gate_runs=(run,)), None, given.NOW) == ()


def test_a_freeze_ends_by_itself() -> None:
    story = Story(given.release(Phase.PENDING))
    seen = given.seen(given.untouched(), freezes=(FREEZE,))
    story.turn(seen)
    assert story.status.reason == Reason.FROZEN
    story.turn(seen, MINUTE)
    assert story.status.phase is Phase.PREPARING
    assert story.told("release.waiting") == 1


def test_a_release_that_starts_later_looks_again_in_time() -> None:
    story = Story(given.release(Phase.PENDING, wishes={"not_before": given.NOW + timedelta(hours=1)}))
    story.turn(given.seen(given.untouched()), timedelta(minutes=59, seconds=55))
    assert story.last is not None
    assert story.last.requeue_after == given.seconds(5)


def test_the_verdict_s_deadline_runs_from_when_it_might_advance_again() -> None:
    story = Story(given.release(Phase.ANALYSING, step=1))
    there = given.as_ordered(story.release)

    def quiet(**fields: Any) -> Seen:
        return given.seen(there, samples=given.samples((10, 0), (1, 0), at=story.now), **fields)

    for _ in range(60):
        story.turn(quiet(freezes=(FREEZE.model_copy(update={"spec": FreezeSpec()}),)), given.INTERVAL)
    assert story.status.reason == Reason.FROZEN
    story.turn(quiet(), given.INTERVAL)
    assert story.status.reason == Reason.UNKNOWN_VERDICT
    for _ in range(20):
        story.turn(quiet(), given.INTERVAL)
    assert story.status.cause is not None
    assert story.status.cause.reason == Reason.INCONCLUSIVE


def test_a_gate_that_refuses_does_not_send_everything_to_a_stable_without_pods() -> None:
    run = GateRun(gate="smoke", since=given.NOW)
    release = given.release(Phase.ANALYSING, step=1, policy=gated(before=100), gate_runs=(run,))
    seen = given.seen(given.as_ordered(release), stable_health=given.health(0), answers={"smoke": Answer("failed")})
    assert decide(release, seen, given.NOW).status.phase is Phase.ANALYSING


NUISANCES = st.fixed_dictionaries(
    {},
    optional={
        "freezes": st.sampled_from([(FREEZE,), given.BLIND]),
        "first": st.just(("payments-v2",)),
        "full": st.just("enough"),
        "rivals": st.just(("checkout-v1",)),
        "circle": st.just(("a", "a")),
        "answers": st.dictionaries(
            st.just("smoke"), st.builds(Answer, st.sampled_from(["passed", "waiting", "failed", "unavailable"]))
        ),
        "delivered": st.dictionaries(st.just("slack"), st.builds(Delivered, sequence=st.integers(0, 9))),
    },
)


@examples(
    phase=st.sampled_from([Phase.PREPARING, Phase.SHIFTING, Phase.ANALYSING, Phase.FINISHING, Phase.ROLLING_BACK]),
    nuisances=NUISANCES,
    runs=st.sampled_from([(), (GateRun(gate="smoke", since=given.NOW),)]),
)
def test_nothing_of_all_this_delays_a_rollback(
    phase: Phase, nuisances: dict[str, Any], runs: tuple[GateRun, ...]
) -> None:
    release = given.release(phase, wishes={"abort": given.wish()}, policy=gated(before=100), gate_runs=runs)
    seen = given.seen(given.as_ordered(release))
    bothered = Seen(**{**_fields(seen), **nuisances})
    plain, hindered = decide(release, seen, given.NOW), decide(release, bothered, given.NOW)
    assert (hindered.status.phase, hindered.status.order) == (plain.status.phase, plain.status.order)
    assert hindered.status.phase is Phase.ROLLING_BACK


def _fields(seen: Seen) -> dict[str, Any]:
    return {name: getattr(seen, name) for name in Seen.__slots__}


def ended(**fields: Any) -> Release:
    release = given.release(Phase.ROLLED_BACK, cause=Cause(kind="person", reason=Reason.ABORTED, message="by ann"))
    story = Story(given.release(Phase.PENDING, wishes={"abort": given.wish()}))
    story.turn(given.seen())
    status = release.status.model_copy(update={"outbox": story.status.outbox, "sequence": story.status.sequence})
    return release.model_copy(update={"status": status, **fields})


def test_news_stays_until_every_channel_has_it() -> None:
    story = Story(ended())
    last = story.status.sequence
    slow, fast = Delivered(sequence=last - 1), Delivered(sequence=last, thread="1.2")
    story.turn(Seen(announced=last, delivered={"slow": slow, "fast": fast}))
    assert [one.sequence for one in story.status.outbox] == [last]
    assert story.status.notified == {"slow": slow, "fast": fast}
    assert story.status.announced == last
    assert story.last is not None
    assert story.last.requeue_after == CHANNELS_TAKE
    assert story.last.intents == ()
    story.turn(Seen(announced=0, delivered={"slow": Delivered(), "fast": fast}))
    assert story.status.notified["slow"] == slow
    story.turn(Seen(announced=0, delivered={"slow": fast, "fast": fast}))
    assert story.status.outbox == ()
    assert story.last.requeue_after is None


def test_nothing_is_announced_again_after_a_restart() -> None:
    story = Story(ended())
    last = story.status.sequence
    story.turn(Seen(announced=last, delivered={"slow": Delivered()}))
    story.turn(Seen(announced=0, delivered={"slow": Delivered()}))
    assert story.last is not None
    assert story.last.intents == ()
    assert story.status.outbox


def test_a_deleted_release_waits_for_its_channels_for_a_minute() -> None:
    story = Story(ended(deleting=True, held=True))
    seen = Seen(announced=story.status.sequence, delivered={"dead": Delivered()})
    story.turn(seen)
    assert story.status.outbox
    assert story.release.held
    story.turn(seen, MINUTE + given.seconds(1))
    assert not story.status.outbox
    assert not story.release.held


def test_a_person_s_yes_is_not_looked_for_every_second() -> None:
    policy = given.policy(gates=[{"name": "ok", "timeout": "1h"}])
    story = pending(policy)
    story.turn(asks(policy))
    story.turn(asks(policy), 30 * MINUTE)
    assert story.last is not None
    assert story.last.requeue_after == given.seconds(30)
    story.turn(asks(policy), timedelta(minutes=29, seconds=50))
    assert story.last.requeue_after == given.seconds(10)


def test_a_gate_is_looked_at_when_it_is_asked_again_and_soon_while_its_answer_is_on_its_way() -> None:
    policy = gated()
    story = pending(policy)
    story.release = story.release.model_copy(update={"created_at": given.NOW - timedelta(days=1)})
    story.turn(asks(policy))
    assert story.last is not None
    assert story.last.requeue_after == given.seconds(1)
    story.turn(asks(policy, Answer("waiting", again=given.seconds(12))))
    assert story.last.requeue_after == given.seconds(12)


def test_nobody_is_put_back_for_one_that_was_not_let_through() -> None:
    policy = gated()
    story = pending(policy, on_conflict="supersede")
    behind: dict[str, Any] = {"rivals": ("checkout-v1",)}
    story.turn(asks(policy, **behind))
    assert story.status.reason == Reason.WAITING_FOR_GATE
    story.turn(asks(policy, Answer("passed"), **behind))
    assert (story.status.phase, story.status.reason) == (Phase.PENDING, Reason.QUEUED)


def test_one_that_was_refused_puts_nobody_back() -> None:
    policy = gated()
    story = pending(policy, on_conflict="supersede")
    story.turn(asks(policy, rivals=("checkout-v1",)))
    story.turn(asks(policy, Answer("failed", "no"), rivals=("checkout-v1",)))
    assert (story.status.phase, story.status.reason) == (Phase.FAILED, Reason.GATE_REFUSED)


def test_one_that_waits_in_line_asks_nobody_yet() -> None:
    policy = gated()
    story = pending(policy, on_conflict="queue")
    story.turn(asks(policy, rivals=("checkout-v1",)))
    assert (story.status.reason, story.status.gate_runs) == (Reason.QUEUED, ())


def test_what_is_refused_or_unwanted_or_too_early_is_not_looked_at_any_further() -> None:
    release, ready = given.release(Phase.PENDING), given.seen(given.untouched())
    assert not is_waiting(release, ready, given.NOW)
    for seen in (
        replace(ready, superseded_by="checkout-v3"),
        replace(ready, rivals=("checkout-v1",)),
        replace(ready, policy=None),
        replace(ready, freezes=(FREEZE,)),
    ):
        assert is_waiting(release, seen, given.NOW)
    assert is_waiting(given.release(Phase.PENDING, wishes={"abort": given.wish()}), ready, given.NOW)
    assert is_waiting(given.release(Phase.PENDING, deleting=True), ready, given.NOW)


def test_whether_a_gate_is_passed_is_known_before_it_is_decided() -> None:
    policy = gated()
    story = pending(policy)
    story.turn(asks(policy))
    assert is_at_gate(story.release, asks(policy), story.now)
    assert not is_at_gate(story.release, asks(policy, Answer("passed")), story.now)
    assert not is_at_gate(story.release, asks(given.policy()), story.now)


def test_nobody_is_put_back_onto_a_stable_without_pods_for_a_newer_one() -> None:
    release = given.release(Phase.ANALYSING, step=2)
    seen = given.seen(given.as_ordered(release), superseded_by="checkout-v3", stable_health=given.health(0))
    assert decide(release, seen, given.NOW).status.phase is Phase.ANALYSING
    there = given.seen(given.as_ordered(release), superseded_by="checkout-v3", stable_health=given.HEALTHY)
    assert decide(release, there, given.NOW).status.phase is Phase.ROLLING_BACK


def test_who_was_held_before_the_first_weight_is_not_late_by_that() -> None:
    story = Story(given.release(Phase.PREPARING))
    there, frozen = given.as_ordered(story.release), FREEZE.model_copy(update={"spec": FreezeSpec()})
    for _ in range(60):
        story.turn(given.seen(there, samples=given.samples(at=story.now), freezes=(frozen,)), given.INTERVAL)
    assert story.status.reason == Reason.FROZEN
    story.turn(given.seen(there, samples=given.samples(at=story.now), health=given.health(0)), given.INTERVAL)
    assert (story.status.phase, story.status.reason) == (Phase.PREPARING, Reason.WAITING_FOR_READY)


def test_the_longer_a_channel_is_dead_the_seldomer_it_is_looked_after() -> None:
    story = Story(ended())
    seen = Seen(announced=story.status.sequence, delivered={"dead": Delivered()})
    story.turn(seen, timedelta(seconds=100))
    assert story.last is not None
    assert story.last.requeue_after == given.seconds(10)
    story.turn(seen, timedelta(hours=1))
    assert story.last.requeue_after == given.seconds(30)
