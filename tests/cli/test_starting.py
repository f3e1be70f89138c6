"""`start`: what is asked for, when it may begin, and what becomes of a release that is in its way."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout.core.release import Phase
from tests.cli.conftest import Terminal
from tests.given import NAME, NOW, release, seconds

START = ("start", "checkout", "--version", "v3")


@pytest.mark.parametrize("word", ["queue", "supersede"])
def test_a_release_may_wait_for_another_or_take_its_place(rollout: Terminal, word: str) -> None:
    rollout.given(release())
    ran = rollout(*START, "--on-conflict", word)
    assert ran.code == 0, ran.err
    names = rollout("history", "checkout", "-o", "json").out
    assert ran.out.strip() in names
    assert NAME in names
    assert f'"onConflict": "{word}"' in names


def test_unless_told_otherwise_another_release_under_way_is_a_refusal_that_names_it(rollout: Terminal) -> None:
    rollout.given(release(Phase.ANALYSING))
    ran = rollout(*START)
    assert (ran.code, ran.out) == (22, "")
    assert NAME in ran.err
    assert "Analysing" in ran.err


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-21T22:00:00Z", datetime(2026, 11, 21, 22, tzinfo=UTC)),
        ("2026-11-21T22:00:00+02:00", datetime(2026, 11, 21, 20, tzinfo=UTC)),
        ("+2h", NOW + seconds(7200)),
        ("2h", NOW + seconds(7200)),
        ("+1h30m", NOW + seconds(5400)),
    ],
)
def test_a_release_may_start_later(rollout: Terminal, text: str, at: datetime) -> None:
    ran = rollout(*START, "--at", text)
    assert ran.code == 0, ran.err
    assert rollout.cluster.only().spec.not_before == at


@pytest.mark.parametrize("text", ["tomorrow", "+", "+2", "2026-11-21T22:00:00", "22:00", "+99999999d", ""])
def test_a_time_that_is_none_is_a_usage_error_and_starts_nothing(rollout: Terminal, text: str) -> None:
    ran = rollout(*START, "--at", text)
    assert (ran.code, ran.out) == (2, "")
    assert "--at" in ran.err
    assert rollout("history", "checkout").out == ""


def test_the_same_key_with_another_time_is_refused(rollout: Terminal) -> None:
    assert rollout(*START, "--idempotency-key", "k", "--at", "+2h").code == 0
    ran = rollout(*START, "--idempotency-key", "k", "--at", "+3h")
    assert ran.code == 22


def test_a_release_knows_the_run_that_asked_for_it(rollout: Terminal) -> None:
    rollout.environ |= {"GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "2", "GITHUB_REPOSITORY": "a/b", "GITHUB_SHA": "c0"}
    assert rollout(*START).code == 0
    source = rollout.cluster.only().spec.source
    assert (source.system, source.repository, source.revision) == ("github", "a/b", "c0")
    assert "attempt 2" in source.run


POLICY = """\
apiVersion: rollout.dev/v1alpha1
kind: ServicePolicy
metadata: {name: checkout, namespace: shop}
spec:
  steps: [{weight: 100, hold: 1m}]
"""


def test_a_policy_file_goes_with_the_release(rollout: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    assert rollout(*START, "--policy", str(file)).code == 0
    policy = rollout.cluster.only().spec.policy
    assert policy is not None
    assert [step.weight for step in policy.steps] == [100]


@pytest.mark.parametrize("text", [POLICY.replace("100", "101"), POLICY.replace("checkout", "till"), "[", ""])
def test_a_policy_file_that_does_not_do_is_2_and_starts_nothing(rollout: Terminal, tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    ran = rollout(*START, "--policy", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert str(file) in ran.err
    assert rollout("history", "checkout").out == ""
