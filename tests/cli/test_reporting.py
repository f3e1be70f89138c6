"""What a pipeline reads after a release: files, outputs, annotations, the summary; whatever the release's end was."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from rollout.core.judging.verdicts import Verdict
from rollout.core.release import Cause, Phase, Reason
from tests.cli.conftest import Act, Cluster, Ran, Terminal
from tests.cli.reports import FAILED, METRICS, NASTY, STEPS, holds_the_common_schema, rolled_back
from tests.given import NAME, release

START = ("start", "checkout", "--version", "v2", "--wait")


def sets(phase: Phase, **fields: object) -> Act:
    status = release(phase).status.model_copy(update=fields)

    def act(cluster: Cluster) -> None:
        cluster.set_status(next(name for _, name in cluster._objects), status)

    return act


def interrupted(_cluster: Cluster) -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Files:
    """The four files of a job in GitHub Actions, and those that were asked for."""

    def __init__(self, directory: Path) -> None:
        self.json, self.junit, self.dotenv = (directory / name for name in ("out.json", "out.xml", "out.env"))
        self.output, self.summary = directory / "output", directory / "summary.md"

    @property
    def asked(self) -> tuple[str, ...]:
        return ("--json", str(self.json), "--junit", str(self.junit), "--dotenv", str(self.dotenv))

    @property
    def told(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())

    @property
    def variables(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.dotenv.read_text().splitlines())


@pytest.fixture
def files(tmp_path: Path, rollout: Terminal) -> Files:
    made = Files(tmp_path)
    rollout.environ |= {
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(made.output),
        "GITHUB_STEP_SUMMARY": str(made.summary),
    }
    return made


def commands(ran: Ran) -> list[str]:
    """What GitHub's runner would carry out, as ActionCommand.cs reads a log."""
    lines = re.split(r"[\n\r]", ran.out + ran.err)
    return [line for line in lines if re.match(r"\s*::[a-z-]+[^:]*::", line) or re.search(r"##\[[a-z-]+", line)]


def test_a_promoted_release_is_told_in_every_file(rollout: Terminal, files: Files) -> None:
    rollout.cluster.acts = [sets(Phase.ANALYSING, step=0), sets(Phase.PROMOTED, steps=STEPS[:1], weight=100)]
    ran = rollout(*START, *files.asked)
    name = rollout.cluster.only().name
    assert ran.code == 0
    assert ran.out == f"{name}\n"
    url = f"{rollout.environ['ROLLOUT_SERVER']}/v1/releases/shop/{name}" if rollout.far else ""
    told = {"release_id": name, "result": "promoted", "reason": "", "url": url, "weight": "100", "exit_code": "0"}
    assert files.told == told
    assert files.variables == {f"ROLLOUT_{key.upper()}": value for key, value in told.items()}
    document = json.loads(files.json.read_text())
    assert document["result"] == "promoted"
    assert document["release"]["id"] == name
    suite = holds_the_common_schema(files.junit.read_bytes())
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")
    assert "promoted" in files.summary.read_text().splitlines()[0]


ENDS = [
    (sets(Phase.ROLLED_BACK, cause=METRICS), 10, "rolled-back", "CheckFailed"),
    (
        sets(Phase.ABORTED, cause=Cause(kind="person", reason=Reason.ABORTED, message="by ann")),
        11,
        "aborted",
        "Aborted",
    ),
    (
        sets(Phase.ABORTED, cause=Cause(kind="person", reason=Reason.SUPERSEDED, message="by v3")),
        13,
        "superseded",
        "Superseded",
    ),
    (
        sets(Phase.FAILED, cause=Cause(kind="infrastructure", reason=Reason.DEADLINE, message="late")),
        12,
        "failed",
        "Deadline",
    ),
    (
        sets(Phase.FAILED, cause=Cause(kind="infrastructure", reason=Reason.NO_POLICY, message="none")),
        22,
        "refused",
        "NoPolicy",
    ),
]


@pytest.mark.parametrize(("end", "code", "result", "reason"), ENDS)
def test_every_end_has_its_result_and_its_reason(
    rollout: Terminal, files: Files, end: Act, code: int, result: str, reason: str
) -> None:
    rollout.cluster.acts = [sets(Phase.ANALYSING, step=0), end]
    ran = rollout(*START, *files.asked)
    assert ran.code == code
    assert (files.told["result"], files.told["reason"]) == (result, reason)
    assert json.loads(files.json.read_text())["exitCode"] == code
    assert files.variables["ROLLOUT_EXIT_CODE"] == str(code)
    assert len(commands(ran)) == 1


def test_a_timeout_is_told_as_a_release_that_goes_on(rollout: Terminal, files: Files) -> None:
    rollout.cluster.acts = [sets(Phase.ANALYSING, step=0, steps=STEPS[:1])]
    ran = rollout(*START, *files.asked, "--timeout", "100ms")
    assert ran.code == 124
    assert (files.told["result"], files.told["exit_code"]) == ("running", "124")
    assert "10 %" in files.summary.read_text()
    assert commands(ran)[0].startswith("::warning ")


def test_an_abort_by_a_signal_is_told(rollout: Terminal, files: Files) -> None:
    person = Cause(kind="person", reason=Reason.ABORTED, message="by github:ann")

    def brings_back(cluster: Cluster) -> None:
        made = cluster._release(("shop", _only(cluster)))
        assert made is not None
        if made.spec.abort is not None:
            sets(Phase.ABORTED, cause=person)(cluster)
        else:
            cluster.acts.append(brings_back)

    rollout.cluster.acts = [sets(Phase.ANALYSING, step=0), interrupted, brings_back]
    ran = rollout(*START, *files.asked)
    assert ran.code == 130
    assert (files.told["result"], files.told["exit_code"]) == ("aborted", "130")
    assert json.loads(files.json.read_text())["result"] == "aborted"


def test_who_detaches_is_told_which_release_goes_on(rollout: Terminal, files: Files) -> None:
    rollout.cluster.acts = [sets(Phase.ANALYSING, step=0), interrupted]
    ran = rollout(*START, *files.asked, "--on-cancel", "detach")
    name = rollout.cluster.only().name
    assert ran.code == 130
    assert (files.told["result"], files.told["release_id"]) == ("running", name)
    assert name in ran.err


def test_a_refusal_is_told_although_there_is_no_release(rollout: Terminal, files: Files) -> None:
    rollout.given(release())
    ran = rollout("start", "checkout", "--version", "v3", "--wait", *files.asked)
    assert ran.code == 22
    assert (files.told["result"], files.told["release_id"]) == ("refused", "")
    assert json.loads(files.json.read_text())["release"] is None
    holds_the_common_schema(files.junit.read_bytes())
    assert NAME in files.summary.read_text()
    assert commands(ran)[0].startswith("::error ")


def test_a_cluster_that_cannot_be_reached_is_told(rollout: Terminal, files: Files) -> None:
    ran = rollout(*START, *files.asked, "--kubeconfig", "/nonexistent")
    assert ran.code == 20
    assert (files.told["result"], files.told["exit_code"]) == ("unknown", "20")


def test_a_release_that_is_deleted_has_an_unknown_end(rollout: Terminal, files: Files) -> None:
    rollout.cluster.acts = [sets(Phase.ANALYSING, step=0), lambda cluster: cluster.delete("shop", _only(cluster))]
    assert rollout(*START, *files.asked).code == 12
    assert files.told["result"] == "unknown"


def _only(cluster: Cluster) -> str:
    return next(name for _, name in cluster._objects)


def test_the_id_is_an_output_before_the_end_is_known(rollout: Terminal, files: Files) -> None:
    seen: list[dict[str, str]] = []

    def looks(_cluster: Cluster) -> None:
        seen.append(files.told)
        assert files.variables["ROLLOUT_RESULT"] == "running"
        assert json.loads(files.json.read_text())["result"] == "running"

    rollout.cluster.acts = [sets(Phase.ANALYSING, step=0), looks, sets(Phase.PROMOTED)]
    assert rollout(*START, *files.asked).code == 0
    assert seen == [{"release_id": rollout.cluster.only().name}]


def test_wait_reports_a_release_that_another_job_started(rollout: Terminal, files: Files) -> None:
    rollout.given(rolled_back())
    assert rollout("wait", NAME, *files.asked).code == 10
    assert files.told["release_id"] == NAME
    assert json.loads(files.json.read_text())["service"] == "checkout"


def test_a_start_that_nobody_waits_for_hands_its_id_on_and_is_no_warning(rollout: Terminal, files: Files) -> None:
    ran = rollout("start", "checkout", "--version", "v2", *files.asked)
    assert (files.told["result"], files.told["exit_code"]) == ("running", "0")
    assert files.told["release_id"] == rollout.cluster.only().name
    assert commands(ran)[0].startswith("::notice ")


def test_steps_that_were_left_without_proof_are_a_warning_although_all_went_well(
    rollout: Terminal, files: Files
) -> None:
    unproven = STEPS[0].model_copy(update={"proven": False})
    rollout.given(release(Phase.PROMOTED, steps=(unproven,)))
    ran = rollout("wait", NAME, *files.asked)
    assert ran.code == 0
    assert [line.partition(" ")[0] for line in commands(ran)] == ["::notice", "::warning"]


def test_a_runner_s_file_that_cannot_be_written_changes_no_outcome(
    rollout: Terminal, files: Files, tmp_path: Path
) -> None:
    rollout.environ["GITHUB_OUTPUT"] = str(tmp_path / "gone" / "output")
    rollout.given(rolled_back())
    ran = rollout("wait", NAME)
    assert ran.code == 10
    assert ran.err.count(rollout.environ["GITHUB_OUTPUT"]) == 1
    assert "rolled-back" in files.summary.read_text()


def test_a_defect_of_ours_is_reported_as_one(nearby: Terminal, tmp_path: Path) -> None:
    nearby.given(release())

    def breaks(_cluster: Cluster) -> None:
        raise LookupError("a defect")

    nearby.cluster.acts = [sets(Phase.ANALYSING, step=0), breaks]
    file = tmp_path / "out.env"
    assert nearby("wait", NAME, "--dotenv", str(file)).code == 1
    assert "ROLLOUT_EXIT_CODE=1\n" in file.read_text()


def test_a_link_in_the_place_of_a_report_stays_a_link(rollout: Terminal, tmp_path: Path) -> None:
    rollout.given(rolled_back())
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    rollout("wait", NAME, "--json", str(link))
    assert link.is_symlink()
    assert json.loads(target.read_text())["result"] == "rolled-back"


def test_a_summary_that_github_would_not_take_is_its_first_line(rollout: Terminal, files: Files) -> None:
    endless = tuple(FAILED.model_copy(update={"message": "x" * 900, "check": f"custom {n}"}) for n in range(1000))
    rollout.given(rolled_back(verdicts=endless))
    rollout("wait", NAME)
    assert len(files.summary.read_text().strip().splitlines()) == 1


def test_outside_github_nothing_is_annotated_and_no_file_is_written_unasked(rollout: Terminal, tmp_path: Path) -> None:
    rollout.environ |= {"GITHUB_OUTPUT": str(tmp_path / "output")}
    rollout.given(rolled_back())
    ran = rollout("wait", NAME)
    assert ran.code == 10
    assert commands(ran) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_no_directory_is_a_usage_error_before_anything_is_started(rollout: Terminal, tmp_path: Path) -> None:
    ran = rollout(*START, "--json", str(tmp_path / "missing" / "out.json"))
    assert ran.code == 2
    assert rollout("history", "checkout").out == ""


def test_a_file_that_cannot_be_written_changes_no_outcome(rollout: Terminal, tmp_path: Path) -> None:
    rollout.given(rolled_back())
    gone = tmp_path / "gone"
    gone.mkdir()
    rollout.cluster.acts = [lambda _: gone.rmdir()]
    ran = rollout("wait", NAME, "--json", str(gone / "out.json"))
    assert ran.code == 10
    assert str(gone) in ran.err


def test_no_half_written_file_is_left_beside_the_reports(rollout: Terminal, files: Files, tmp_path: Path) -> None:
    rollout.given(rolled_back())
    rollout("wait", NAME, *files.asked)
    assert {path.name for path in tmp_path.iterdir()} == {"out.json", "out.xml", "out.env", "output", "summary.md"}


def test_nothing_that_was_said_becomes_a_command_of_the_runner(rollout: Terminal, files: Files) -> None:
    cause = Cause(kind="person", reason=Reason.ABORTED, message=f"by mallory: {NASTY}")
    doubt = Verdict(check=NASTY, outcome="fail", message=NASTY)
    rollout.cluster.acts = [sets(Phase.ANALYSING, step=0, verdicts=(doubt,)), sets(Phase.ABORTED, cause=cause)]
    ran = rollout(*START, *files.asked)
    [only] = commands(ran)
    assert only.startswith("::error title=checkout v2")
    assert files.told.keys() == {"release_id", "result", "reason", "url", "weight", "exit_code"}
    holds_the_common_schema(files.junit.read_bytes())
    assert json.loads(files.json.read_text())["result"] == "aborted"


def test_the_dotenv_file_can_be_sourced_whatever_was_said(tmp_path: Path, rollout: Terminal) -> None:
    rollout.given(rolled_back(cause=METRICS.model_copy(update={"message": "$(touch pwned); `touch pwned`"})))
    file = tmp_path / "out.env"
    rollout("wait", NAME, "--dotenv", str(file))
    script = f'set -euo pipefail; . {file}; printf %s "$ROLLOUT_RESULT $ROLLOUT_EXIT_CODE"'
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "rolled-back 10"
    assert not (tmp_path / "pwned").exists()
