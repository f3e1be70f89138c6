"""`pause`, `resume`, `promote`, `abort`: wishes on the release, by its id or by its service."""

import pytest

from rollout.core.release import Phase
from tests.cli.conftest import Terminal
from tests.given import NAME, policy, release, wish

WORDS = ["pause", "promote", "abort"]


@pytest.mark.parametrize("subject", [NAME, "checkout"])
@pytest.mark.parametrize("word", WORDS)
def test_a_wish_is_written_with_who_and_why(rollout: Terminal, word: str, subject: str) -> None:
    rollout.given(release())
    ran = rollout(word, subject, "--reason", "lunch")
    written = getattr(rollout.cluster.only().spec, word)
    assert ran.code == 0
    assert NAME in ran.out
    assert (written.by, written.reason) == ("github:ann", "lunch")


@pytest.mark.parametrize("word", WORDS)
def test_asking_twice_is_asking_once(rollout: Terminal, word: str) -> None:
    rollout.given(release())
    rollout(word, NAME)
    before = rollout.cluster.only()
    assert rollout(word, NAME).code == 0
    assert rollout.cluster.only() == before


@pytest.mark.parametrize("reason", ["x" * 5000, "caf\udce9", "\x00\x1b[2J"])
@pytest.mark.parametrize("command", [["abort", NAME], ["stop", "--all"], ["stop"], ["freeze"]])
def test_no_brake_fails_because_of_its_reason(rollout: Terminal, command: list[str], reason: str) -> None:
    rollout.given(release())
    assert rollout(*command, "--reason", reason).code == 0


GATED = policy(gates=[{"name": "qa", "before": "promotion"}])


def test_an_approval_is_written_with_who_and_why(rollout: Terminal) -> None:
    rollout.given(release(policy=GATED))
    ran = rollout("approve", NAME, "--gate", "qa", "--reason", "looks good")
    [approval] = rollout.cluster.only().spec.approvals
    assert ran.code == 0
    assert (approval.gate, approval.by, approval.reason) == ("qa", "github:ann", "looks good")


def test_approving_twice_is_approving_once(rollout: Terminal) -> None:
    rollout.given(release(policy=GATED))
    for _ in range(2):
        assert rollout("approve", NAME, "--gate", "qa").code == 0
    assert len(rollout.cluster.only().spec.approvals) == 1


def test_a_gate_that_is_not_there_cannot_be_approved(rollout: Terminal) -> None:
    rollout.given(release(policy=GATED))
    ran = rollout("approve", NAME, "--gate", "qaa")
    assert ran.code == 22
    assert "qa" in ran.err
    assert rollout.cluster.only().spec.approvals == ()


def test_an_approval_names_its_gate(rollout: Terminal) -> None:
    rollout.given(release(policy=GATED))
    assert rollout("approve", NAME).code == 2


def test_resume_ends_a_pause(rollout: Terminal) -> None:
    rollout.given(release(wishes={"pause": wish()}))
    assert rollout("resume", "checkout").code == 0
    assert rollout.cluster.only().spec.pause is None


def test_promote_skips_the_current_step_only(rollout: Terminal) -> None:
    rollout.given(release(step=1))
    rollout("promote", NAME)
    written = rollout.cluster.only().spec.promote
    assert written is not None
    assert written.step == 1


def test_there_is_no_hold_to_skip_while_pods_come_up(rollout: Terminal) -> None:
    rollout.given(release(Phase.PREPARING))
    assert rollout("promote", NAME).code == 22


@pytest.mark.parametrize("word", [*WORDS, "resume"])
def test_a_release_that_is_over_takes_no_wish(rollout: Terminal, word: str) -> None:
    rollout.given(release(Phase.PROMOTED))
    ran = rollout(word, NAME)
    assert ran.code == 22
    assert "Promoted" in ran.err


def test_a_service_means_its_release_under_way(rollout: Terminal) -> None:
    rollout.given(release())
    rollout.given(release(Phase.FAILED).model_copy(update={"name": "checkout-v3"}))
    assert NAME in rollout("abort", "checkout").out


@pytest.mark.parametrize(("namespace", "hint"), [("shop", f"`rollout resume {NAME}`"), ("pay", f"{NAME} -n pay`")])
def test_a_hinted_command_names_a_namespace_that_is_not_the_contexts(
    rollout: Terminal, namespace: str, hint: str
) -> None:
    rollout.given(release().model_copy(update={"namespace": namespace}))
    assert hint in rollout("pause", NAME, "-n", namespace).out


@pytest.mark.parametrize(("namespace", "hint"), [("shop", f"`rollout status {NAME}`"), ("pay", f"{NAME} -n pay`")])
def test_a_hint_of_a_wait_that_took_too_long_does_so_too(rollout: Terminal, namespace: str, hint: str) -> None:
    rollout.given(release().model_copy(update={"namespace": namespace}))
    assert hint in rollout("wait", NAME, "-n", namespace, "--timeout", "50ms").err
