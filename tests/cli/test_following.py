"""`start --wait` and `wait`: what is told, and how it ends, whatever happens meanwhile."""

import asyncio
import json
import os
import signal

import pytest

from rollout.adapters.cluster import Denied
from rollout.core.judging.verdicts import Verdict
from rollout.core.release import Cause, Drift, Phase, Reason, Release, Status, StepRecord
from rollout.ports import Outage
from tests.cli.conftest import Act, Cluster, Terminal
from tests.given import NAME, NOW, release, seconds, wish

START = ("start", "checkout", "--version", "v2")
METRICS = Cause(kind="metrics", reason=Reason.CHECK_FAILED, message="errors: 9 of 90 requests failed")
PERSON = Cause(kind="person", reason=Reason.ABORTED, message="by ann: no")
LATE = Cause(kind="infrastructure", reason=Reason.DEADLINE, message="took too long")
BUSY = Cause(kind="infrastructure", reason=Reason.BUSY, message="another one is under way")


def sets(phase: Phase, **fields: object) -> Act:
    """The controller saves this status for whatever release there is."""
    status = release(phase).status.model_copy(update=fields)

    def act(cluster: Cluster) -> None:
        cluster.set_status(_name(cluster), status)

    return act


def fails(cluster: Cluster) -> None:
    cluster.fail("connection refused")


def recovers(cluster: Cluster) -> None:
    cluster.recover()


def deletes(cluster: Cluster) -> None:
    cluster.delete("shop", _name(cluster))


def nothing(_cluster: Cluster) -> None:
    """One more look without any change."""


def _name(cluster: Cluster) -> str:
    return next(name for _, name in cluster._objects)


ALL = [
    sets(Phase.PREPARING, reason="WaitingForReady", message="1 of 2 pods ready"),
    sets(Phase.SHIFTING, step=0),
    sets(Phase.ANALYSING, step=0),
    sets(Phase.ANALYSING, step=1),
]


def test_the_id_is_the_only_line_on_stdout(rollout: Terminal) -> None:
    rollout.cluster.acts = [*ALL, sets(Phase.PROMOTED)]
    ran = rollout(*START, "--wait")
    assert ran.code == 0
    assert ran.out == f"{rollout.cluster.only().name}\n"


@pytest.mark.parametrize(
    ("phase", "cause", "code"),
    [
        (Phase.PROMOTED, None, 0),
        (Phase.ROLLED_BACK, METRICS, 10),
        (Phase.ROLLED_BACK, LATE, 12),
        (Phase.ABORTED, PERSON, 11),
        (Phase.FAILED, LATE, 12),
        (Phase.FAILED, BUSY, 22),
    ],
)
def test_the_exit_code_is_the_outcome_and_the_last_line_its_sentence(
    rollout: Terminal, phase: Phase, cause: Cause | None, code: int
) -> None:
    rollout.cluster.acts = [*ALL, sets(phase, cause=cause)]
    ran = rollout(*START, "--wait")
    assert ran.code == code
    assert (cause.message if cause else "v2 holds all traffic") in ran.err.splitlines()[-1]


def test_without_wait_only_the_id_is_told(rollout: Terminal) -> None:
    ran = rollout(*START, "--reason", "because")
    made = rollout.cluster.only()
    assert (ran.code, ran.out, ran.err) == (0, f"{made.name}\n", "")
    assert made.spec.source.reason == "because"
    assert made.spec.source.actor == "github:ann"


def test_a_release_of_another_version_under_way_is_22(rollout: Terminal) -> None:
    rollout.given(release())
    ran = rollout("start", "checkout", "--version", "v3", "--wait")
    assert ran.code == 22
    assert ran.out == ""
    assert NAME in ran.err


def test_the_same_key_is_the_same_release_and_its_outcome(rollout: Terminal) -> None:
    first = rollout(*START, "--idempotency-key", "k")
    rollout.cluster.acts = [sets(Phase.ROLLED_BACK, cause=METRICS)]
    again = rollout(*START, "--idempotency-key", "k", "--wait")
    assert again.code == 10
    assert again.out == first.out


def test_one_run_of_a_ci_job_starts_one_release_and_a_re_run_another(rollout: Terminal) -> None:
    rollout.environ |= {"GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_REPOSITORY": "a/b"}
    first = rollout(*START)
    assert rollout(*START).out == first.out
    rollout.cluster.set_status(first.out.strip(), release(Phase.ABORTED).status)
    rollout.environ["GITHUB_RUN_ATTEMPT"] = "2"
    assert rollout(*START).out not in {"", first.out}


def test_a_lost_answer_to_the_start_starts_nothing_twice(rollout: Terminal) -> None:
    create, lost = rollout.cluster.create, ["once"]

    async def create_and_lose(*arguments: object) -> Release:
        made = await create(*arguments)  # type: ignore[arg-type]
        if lost:
            lost.pop()
            raise Outage("connection reset")
        return made

    rollout.cluster.create = create_and_lose  # type: ignore[method-assign,assignment]
    ran = rollout(*START)
    assert ran.code == 0
    assert ran.out == f"{rollout.cluster.only().name}\n"


def test_each_step_is_told_when_it_starts_and_when_it_passes(rollout: Terminal) -> None:
    done = StepRecord(weight=10, since=NOW, until=NOW + seconds(10), canary_requests=1234, canary_errors=1)
    second = StepRecord(weight=30, since=NOW + seconds(10))
    rollout.cluster.acts = [*ALL[:3], sets(Phase.ANALYSING, step=1, steps=(done, second)), sets(Phase.PROMOTED)]
    lines = rollout(*START, "--wait").err.splitlines()
    told = [next(i for i, line in enumerate(lines) if part in line) for part in ("10 % to v2", "1,234", "30 % to v2")]
    assert told == sorted(told)


def test_what_was_told_is_not_told_again(rollout: Terminal) -> None:
    rollout.cluster.acts = [*ALL, nothing, nothing, nothing, sets(Phase.PROMOTED)]
    lines = rollout(*START, "--wait").err.splitlines()
    assert len(lines) == len(set(lines))


def test_a_failing_check_is_told(rollout: Terminal) -> None:
    verdict = Verdict(check="errors", outcome="fail", message="errors: 9 of 90 requests failed; by chance at most once")
    rollout.cluster.acts = [
        sets(Phase.ANALYSING, verdicts=(verdict,)),
        sets(Phase.ROLLING_BACK, verdicts=(verdict,), cause=METRICS),
        sets(Phase.ROLLED_BACK, verdicts=(verdict,), cause=METRICS),
    ]
    ran = rollout(*START, "--wait")
    assert sum(verdict.message in line for line in ran.err.splitlines()) == 1
    assert ran.code == 10


def test_waiting_ends_in_time_and_the_release_goes_on(rollout: Terminal) -> None:
    rollout.cluster.acts = [*ALL]
    ran = rollout(*START, "--wait", "--timeout", "100ms")
    left = rollout.cluster.only()
    assert ran.code == 124
    assert left.name in ran.err
    assert left.spec.abort is None


def test_an_outage_is_told_once_and_survived(rollout: Terminal) -> None:
    release_of = rollout.given(release())
    rollout.cluster.acts = [nothing, fails, sets(Phase.PROMOTED)]
    polls = iter(range(1000))
    answer = rollout.cluster._answer

    def back_after_some_time() -> None:
        if rollout.cluster._outage and next(polls) > 5:
            rollout.cluster.recover()
        answer()

    rollout.cluster._answer = back_after_some_time  # type: ignore[method-assign]
    ran = rollout("wait", release_of.name)
    assert ran.code == 0
    assert ran.err.count("connection refused") == 1


def test_a_release_that_may_not_be_read_any_more_is_not_waited_for(nearby: Terminal) -> None:
    nearby.given(release())

    def takes_the_right_away(cluster: Cluster) -> None:
        cluster.refusal = Denied("forbidden: get releases")

    nearby.cluster.acts = [nothing, takes_the_right_away]
    ran = nearby("wait", NAME)
    assert ran.code == 21
    assert "forbidden" in ran.err
    assert f"rollout wait {NAME}" in ran.err


def test_a_release_that_no_controller_takes_up_is_told_once(rollout: Terminal) -> None:
    ran = rollout(*START, "--wait", "--timeout", "300ms")
    assert ran.code == 124
    assert ran.err.count("rollout serve") == 1


def test_a_release_that_is_deleted_is_not_waited_for(rollout: Terminal) -> None:
    rollout.cluster.acts = [*ALL, deletes]
    assert rollout(*START, "--wait").code == 12


def test_a_release_that_is_deleted_and_brought_back_ends_as_aborted(rollout: Terminal) -> None:
    rollout.cluster.acts = [*ALL[:3], Cluster.hold_all, deletes, sets(Phase.ABORTED, cause=PERSON)]
    assert rollout(*START, "--wait").code == 11


def test_wait_takes_a_release_that_is_over(rollout: Terminal) -> None:
    rollout.given(release(Phase.ABORTED, cause=PERSON))
    ran = rollout("wait", NAME)
    assert (ran.code, ran.out) == (11, "")


def test_hands_on_the_release_are_told(rollout: Terminal) -> None:
    rollout.given(release())
    rollout.cluster.acts = [
        lambda cluster: _wish(cluster, "pause"),
        sets(Phase.ANALYSING, paused=True, reason="Paused", message="by ann: because"),
        sets(Phase.ANALYSING, drift=Drift(percent=70, at=NOW), reason="Drifted"),
        sets(Phase.ANALYSING, blind_since=NOW),
        sets(Phase.ANALYSING),
        sets(Phase.PROMOTED),
    ]
    err = rollout("wait", NAME).err
    for word in ("pause", "Paused", "70 %", "no usable metrics", "usable again"):
        assert word in err


def _wish(cluster: Cluster, word: str) -> None:
    def edit(obj: dict[str, object]) -> None:
        spec = obj["spec"]
        assert isinstance(spec, dict)
        spec[word] = json.loads(wish().model_dump_json(by_alias=True))

    cluster.edit("shop", NAME, edit)


def test_a_status_of_a_newer_controller_is_followed(rollout: Terminal) -> None:
    rollout.given(release())

    def newer(cluster: Cluster) -> None:
        wire = {**Status(phase=Phase.ANALYSING, observed_generation=1).wire(), "surprise": 1, "reason": "Meditating"}
        cluster.edit("shop", NAME, lambda obj: obj.update(status=wire))

    rollout.cluster.acts = [nothing, newer, sets(Phase.PROMOTED)]
    ran = rollout("wait", NAME)
    assert ran.code == 0
    assert "Meditating" in ran.err


def interrupted(cluster: Cluster) -> None:
    """Ctrl-C, delivered to this very process; the subprocess tests are in test_signals.py."""
    del cluster
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_becomes_an_abort_and_the_exit_waits_for_the_traffic(rollout: Terminal) -> None:
    seen: list[bool] = []

    def brings_back(cluster: Cluster) -> None:
        made = cluster._release(("shop", _name(cluster)))
        assert made is not None
        seen.append(made.spec.abort is not None)
        if seen[-1]:
            sets(Phase.ABORTED, cause=PERSON)(cluster)
        else:
            cluster.acts.append(brings_back)

    rollout.cluster.acts = [nothing, interrupted, brings_back]
    ran = rollout(*START, "--wait")
    abort = rollout.cluster.only().spec.abort
    assert ran.code == 130
    assert seen[-1]
    assert abort is not None
    assert abort.by == "github:ann"


@pytest.mark.parametrize("arguments", [(*START, "--wait", "--on-cancel", "detach"), ("wait", NAME)])
def test_detaching_leaves_the_release_alone(rollout: Terminal, arguments: tuple[str, ...]) -> None:
    if arguments[0] == "wait":
        rollout.given(release())
    rollout.cluster.acts = [nothing, interrupted]
    ran = rollout(*arguments)
    left = rollout.cluster.only()
    assert ran.code == 130
    assert left.spec.abort is None
    assert left.name in ran.err


def test_an_abort_is_written_as_soon_as_the_api_is_back(rollout: Terminal) -> None:
    left = [5]

    def down(cluster: Cluster) -> None:
        answer = cluster._answer

        def refuse() -> None:
            if left[0]:
                left[0] -= 1
                raise Outage("connection refused")
            answer()

        cluster._answer = refuse  # type: ignore[method-assign]
        interrupted(cluster)

    rollout.cluster.acts = [nothing, down]
    ran = rollout(*START, "--wait", "--cancel-timeout", "2s")
    assert ran.code == 130
    assert left == [0]
    assert rollout.cluster.only().spec.abort is not None


def test_an_abort_that_could_not_be_written_is_20_and_says_how_to_do_it(rollout: Terminal) -> None:
    def down(cluster: Cluster) -> None:
        interrupted(cluster)
        cluster.fail("connection refused")

    rollout.cluster.acts = [nothing, down]
    ran = rollout(*START, "--wait", "--cancel-timeout", "100ms")
    rollout.cluster.recover()
    assert ran.code == 20
    assert f"rollout abort {rollout.cluster.only().name}" in ran.err


def test_traffic_that_does_not_come_back_in_time_is_said(rollout: Terminal) -> None:
    rollout.cluster.acts = [nothing, interrupted]
    ran = rollout(*START, "--wait", "--cancel-timeout", "2s")
    made = rollout.cluster.only()
    assert ran.code == 130
    assert made.spec.abort is not None
    assert f"rollout status {made.name}" in ran.err


def test_a_signal_that_comes_too_late_reports_the_outcome(rollout: Terminal) -> None:
    def ends(cluster: Cluster) -> None:
        sets(Phase.PROMOTED)(cluster)
        interrupted(cluster)

    rollout.cluster.acts = [nothing, ends]
    assert rollout(*START, "--wait").code == 0


def test_a_start_that_is_never_answered_says_that_nobody_knows(rollout: Terminal) -> None:
    async def hang(*_: object) -> Release:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    rollout.cluster.create = hang  # type: ignore[method-assign,assignment]
    ran = rollout(*START, "--wait", "--cancel-timeout", "100ms")
    assert (ran.code, ran.out) == (20, "")
    assert "rollout abort checkout" in ran.err


def test_doubts_about_a_check_are_told_when_they_come_and_go(rollout: Terminal) -> None:
    doubt = Verdict(check="errors", outcome="unknown", reason="suspect", message="errors: 2 of 90 requests failed")
    fine = Verdict(check="errors", outcome="pass", message="errors: 2 of 900 requests failed")
    early = Verdict(check="traffic", outcome="unknown", reason="low-data", message="traffic: waiting for 50 requests")
    rollout.given(release())
    rollout.cluster.acts = [
        nothing,
        sets(Phase.ANALYSING, verdicts=(doubt, early)),
        sets(Phase.ANALYSING, verdicts=(fine, early)),
        sets(Phase.ANALYSING, verdicts=(fine,)),
        sets(Phase.PROMOTED),
    ]
    lines = rollout("wait", NAME).err.splitlines()
    assert [line.partition(" ")[2] for line in lines[2:5]] == [
        f"check uncertain: {doubt.message}",
        f"check fine again: {fine.message}",
        "nothing is suspected (1 check)",
    ]
    assert not [line for line in lines if early.message in line]
