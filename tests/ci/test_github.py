"""config/ci/github-actions.yml: its steps are run as the runner runs them, with its variables, files and signals."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from rollout.core.release import Phase
from tests.ci.place import BAD, EXAMPLES, RUNNERS_WORD, SLOW, Place, Process, Ran, report, variables

WORKFLOW: dict[Any, Any] = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in WORKFLOW["jobs"]["release"]["steps"]}
RUNS = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"]]
EXPRESSION = re.compile(r"\$\{\{\s*([\w.]+)\s*\}\}")


class Job:
    """One job: files and variables that its steps share."""

    def __init__(self, place: Place, version: str) -> None:
        self._place = place
        self._temp = place.directory / "runner"
        self._temp.mkdir()
        self._inputs = {"inputs.version": version}
        self.output, self.summary, self._env = (self._temp / name for name in ("output", "summary", "env"))
        for file in (self.output, self.summary, self._env):
            file.touch()

    @property
    def token_file(self) -> Path:
        return self._temp / "rollout-token"

    def json(self) -> dict[str, object]:
        return report(self._temp / "release.json")

    async def start(self, name: str) -> Process:
        """As the runner does where `shell` is `bash`; without it there is no pipefail."""
        assert WORKFLOW["defaults"]["run"]["shell"] == "bash"
        step, shell = STEPS[name], ("bash", "--noprofile", "--norc", "-eo", "pipefail")
        return await self._place.run(step["run"], self._environ(step), *shell)

    async def done(self, name: str) -> Ran:
        return await (await self.start(name)).ended()

    async def identified(self) -> None:
        ran = await self.done("Identity")
        assert ran.code == 0, ran.err

    def _environ(self, step: dict[str, Any]) -> dict[str, str]:
        known = self._inputs | {f"steps.release.outputs.{key}": said for key, said in variables(self.output).items()}
        own = {key: EXPRESSION.sub(lambda found: known[found[1]], said) for key, said in step.get("env", {}).items()}
        files = {
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_ENV": str(self._env),
            "RUNNER_TEMP": str(self._temp),
        }
        told = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTOR": "ann",
            "GITHUB_REPOSITORY": "acme/checkout",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": "7",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": "release",
            "GITHUB_SHA": "c0ffee",
            "ACTIONS_ID_TOKEN_REQUEST_URL": self._place.tokens,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": RUNNERS_WORD,
            "ROLLOUT_AUDIENCE": WORKFLOW["env"]["ROLLOUT_AUDIENCE"],
        }
        return self._place.environ(**files, **told, **variables(self._env), **own)


async def test_a_good_version_is_promoted_with_the_job_s_own_identity(place: Place) -> None:
    job = Job(place, "v2")
    await job.identified()
    assert job.token_file.stat().st_mode & 0o077 == 0
    ran = await job.done("Release")
    assert ran.code == 0, ran.err
    made = await place.only()
    assert made.status.phase is Phase.PROMOTED
    assert made.spec.source.system == "github"
    assert made.spec.source.run == "7/release, attempt 1"
    assert made.spec.source.url == "https://github.example/acme/checkout/actions/runs/7"
    assert made.spec.source.actor == "github:repo:acme/checkout"
    told = variables(job.output)
    assert (told["release_id"], told["result"], told["weight"]) == (made.name, "promoted", "100")
    assert told["url"] == f"{place.server}/v1/releases/shop/{made.name}"
    assert "promoted" in job.summary.read_text().splitlines()[0]
    assert job.json()["result"] == "promoted"


async def test_a_bad_version_fails_the_job_and_says_why(place: Place) -> None:
    job = Job(place, BAD)
    await job.identified()
    ran = await job.done("Release")
    assert ran.code == 10, ran.err
    assert (variables(job.output)["result"], variables(job.output)["reason"]) == ("rolled-back", "CheckFailed")
    assert len(re.findall(r"^::error ", ran.err, re.MULTILINE)) == 1


async def test_a_step_that_is_tried_again_finds_the_release_it_started(place: Place) -> None:
    job = Job(place, "v2")
    await job.identified()
    first, again = await job.done("Release"), await job.done("Release")
    assert (first.code, again.code) == (0, 0)
    assert first.out == again.out
    await place.only()


async def test_a_cancelled_job_writes_the_abort_within_a_second_and_ends_before_it_is_killed(place: Place) -> None:
    job = Job(place, SLOW)
    await job.identified()
    step = await job.start("Release")
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    await _until_output(job)
    step.signal(signal.SIGINT)
    assert await place.until(lambda made: made.spec.abort is not None) < 1
    ran = await step.ended(within=7.5)
    assert ran.code == 130
    assert (await place.only()).status.phase is Phase.ABORTED
    assert variables(job.output)["result"] == "aborted"
    # Belt and braces finds nothing left to do, and does not fail for it.
    assert (await job.done("Put the traffic back")).code == 0


async def test_what_was_killed_before_it_could_abort_is_put_back_by_the_next_step(place: Place) -> None:
    job = Job(place, SLOW)
    await job.identified()
    step = await job.start("Release")
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    await _until_output(job)
    step.signal(signal.SIGKILL)
    await step.ended()
    assert (await place.only()).spec.abort is None
    ran = await job.done("Put the traffic back")
    assert ran.code == 0, ran.err
    await place.until(lambda made: made.status.phase is Phase.ABORTED)


async def test_without_the_runner_s_word_there_is_no_token_and_no_release(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(place, "v2")
    monkeypatch.setattr("tests.ci.test_github.RUNNERS_WORD", "guessed")
    assert (await job.done("Identity")).code != 0
    assert not job.token_file.exists()
    assert await place.releases.list("shop") == []


async def test_the_token_is_renewed_by_a_process_that_holds_no_output_of_the_step_open(place: Place) -> None:
    job = Job(place, "v2")
    step = await job.start("Identity")
    ran = await step.ended(within=20)  # waits for the ends of stdout and stderr too
    assert ran.code == 0
    assert _group(step.pid), "nobody renews the token"


def _group(leader: int) -> list[int]:
    """Processes of this group, by proc(5)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return [pid for pid in found if pid != os.getpid()]


async def _until_output(job: Job) -> None:
    async with asyncio.timeout(10):
        while "release_id" not in variables(job.output):
            await asyncio.sleep(0.01)


def test_nothing_is_pasted_into_a_script_by_the_workflow() -> None:
    assert [run for run in RUNS if "${{" in run] == []


def test_every_action_that_is_used_is_pinned_by_its_commit() -> None:
    used = [step["uses"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "uses" in step]
    assert [one for one in used if not re.search(r"@[0-9a-f]{40}$", one)] == []


def test_the_job_may_ask_for_an_identity_and_for_nothing_else() -> None:
    assert WORKFLOW["permissions"] == {}
    assert WORKFLOW["jobs"]["release"]["permissions"] == {"id-token": "write"}


def test_every_output_that_a_later_job_reads_is_one_that_is_written() -> None:
    written = {"release_id", "result", "reason", "url", "weight", "exit_code"}
    outputs = WORKFLOW["jobs"]["release"]["outputs"]
    assert {EXPRESSION.sub(lambda found: found[1].rpartition(".")[2], one) for one in outputs.values()} <= written
    text = (EXAMPLES / "github-actions.yml").read_text()
    assert set(re.findall(r"needs\.release\.outputs\.(\w+)", text)) <= set(outputs)
