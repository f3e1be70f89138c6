"""config/ci/gitlab-ci.yml: its scripts are run as a GitLab runner concatenates them, with its variables."""

import signal
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from rollout.core.release import Phase
from tests.api.house import JOB
from tests.ci.place import BAD, EXAMPLES, SLOW, Place, report, variables

PIPELINE: dict[str, Any] = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
JOBS = {name: job for name, job in PIPELINE.items() if isinstance(job, dict) and "script" in job}


def environ(place: Place, version: str, **more: str) -> dict[str, str]:
    return place.environ(
        GITLAB_CI="true",
        CI_JOB_ID="7",
        CI_PIPELINE_ID="3",
        CI_PROJECT_PATH="acme/checkout",
        CI_SERVER_HOST="git.example",
        CI_JOB_URL="https://git.example/acme/checkout/-/jobs/7",
        CI_COMMIT_SHA="c0ffee",
        GITLAB_USER_LOGIN="ann",
        SERVICE=PIPELINE["variables"]["SERVICE"],
        VERSION=version,
        ROLLOUT_TOKEN=JOB,
        **more,
    )


def script(job: str, part: str = "script") -> str:
    """Lines one after another in one shell: `: | eval '...'`, of which the last word is the exit code."""
    return "\n".join(JOBS[job][part]) + "\n"


@pytest.mark.parametrize(("version", "code", "result"), [("v2", 0, "promoted"), (BAD, 10, "rolled-back")])
async def test_the_release_job_ends_as_the_release_and_hands_its_variables_on(
    place: Place, version: str, code: int, result: str
) -> None:
    ran = await place.done(script("release"), environ(place, version), "bash", "-eo", "pipefail")
    assert ran.code == code, ran.err
    made = await place.only()
    assert (made.spec.source.system, made.spec.source.run) == ("gitlab", "3/7")
    told = variables(place.directory / "release.env")
    assert (told["ROLLOUT_RESULT"], told["ROLLOUT_RELEASE_ID"]) == (result, made.name)
    assert report(place.directory / "release.json")["result"] == result
    assert (place.directory / "release.xml").read_bytes().startswith(b"<?xml")
    after = await place.done(script("announce"), environ(place, version, **told))
    assert result in after.out


async def test_the_manual_job_stops_what_runs(place: Place) -> None:
    release = await place.run(script("release"), environ(place, SLOW))
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    abort = await place.done(script("abort"), environ(place, SLOW))
    assert abort.code == 0, abort.err
    assert (await release.ended()).code == 11
    made = await place.only()
    assert made.spec.abort is not None
    assert "ann" in made.spec.abort.reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_cancelled_job_puts_the_traffic_back(place: Place, number: signal.Signals) -> None:
    release = await place.run(script("release"), environ(place, SLOW))
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    await place.told("release.env")
    release.signal(number)
    assert (await release.ended()).code == 128 + number
    assert (await place.only()).status.phase is Phase.ABORTED


async def test_a_cancelled_job_that_was_killed_is_put_back_by_its_after_script(place: Place) -> None:
    release = await place.run(script("release"), environ(place, SLOW))
    await place.told("release.env")
    release.signal(signal.SIGKILL)
    await release.ended()
    after = await place.done(script("release", "after_script"), environ(place, SLOW, CI_JOB_STATUS="canceled"))
    assert after.code == 0, after.err
    await place.until(lambda made: made.status.phase is Phase.ABORTED)


@pytest.mark.parametrize("status", ["success", "failed"])
async def test_the_after_script_leaves_a_job_alone_that_was_not_cancelled(place: Place, status: str) -> None:
    release = await place.run(script("release"), environ(place, SLOW))
    await place.told("release.env")
    after = await place.done(script("release", "after_script"), environ(place, SLOW, CI_JOB_STATUS=status))
    assert after.code == 0, after.err
    assert (await place.only()).spec.abort is None
    release.signal(signal.SIGKILL)


def test_the_reports_are_the_files_that_are_written_and_are_kept_when_the_job_fails() -> None:
    artifacts = JOBS["release"]["artifacts"]
    line = JOBS["release"]["script"][0]
    assert artifacts["when"] == "always"
    assert f"--dotenv {artifacts['reports']['dotenv']}" in line
    assert f"--junit {artifacts['reports']['junit']}" in line
    assert artifacts["paths"] == [line.rpartition("--json ")[2]]


def test_the_button_does_not_wait_for_what_it_shall_stop() -> None:
    abort = JOBS["abort"]
    assert abort["needs"] == []
    assert "resource_group" not in abort
    assert abort["environment"]["action"] == "stop"
    assert JOBS["release"]["environment"]["on_stop"] == "abort"
    assert abort["environment"]["name"] == JOBS["release"]["environment"]["name"]


def test_no_job_keeps_a_secret_of_its_own() -> None:
    assert PIPELINE[".rollout"]["id_tokens"]["ROLLOUT_TOKEN"]["aud"]
    assert "TOKEN" not in " ".join(PIPELINE["variables"])
