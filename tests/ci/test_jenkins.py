"""config/ci/Jenkinsfile: its shell scripts are run as `sh` steps are, by `sh -xe`; its Groovy is read, not run."""

import re
import signal
from textwrap import dedent

import pytest

from rollout.cli.exits import ExitCode
from rollout.core.release import Phase
from tests.api.house import JOB
from tests.ci.place import BAD, EXAMPLES, SLOW, Place, report

TEXT = (EXAMPLES / "Jenkinsfile").read_text()
RELEASE, ABORTED = (dedent(script).strip() + "\n" for script in re.findall(r"'''(.*?)'''", TEXT, re.DOTALL))
SHELL = ("sh", "-xe")


def environ(place: Place, version: str) -> dict[str, str]:
    file = place.directory / "token"
    file.write_text(JOB + "\n")
    return place.environ(BUILD_URL="https://ci.example/job/checkout/7/", VERSION=version, ROLLOUT_TOKEN_FILE=str(file))


@pytest.mark.parametrize(("version", "code", "result"), [("v2", 0, "promoted"), (BAD, 10, "rolled-back")])
async def test_the_stage_ends_as_the_release(place: Place, version: str, code: int, result: str) -> None:
    ran = await place.done(RELEASE, environ(place, version), *SHELL)
    assert ran.code == code, ran.err
    made = await place.only()
    assert made.spec.source.system == "jenkins"
    assert made.spec.source.url == "https://ci.example/job/checkout/7/"
    assert report(place.directory / "release.json")["result"] == result
    assert (place.directory / "release.xml").exists()
    assert JOB not in ran.err, "`sh -x` shows what is expanded"


async def test_an_aborted_build_puts_the_traffic_back(place: Place) -> None:
    stage = await place.run(RELEASE, environ(place, SLOW), *SHELL)
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    await place.told("release.env")
    stage.signal(signal.SIGTERM)
    assert (await stage.ended()).code == 143
    assert (await place.only()).status.phase is Phase.ABORTED
    # Belt and braces finds nothing left to do, and does not fail for it.
    assert (await place.done(ABORTED, environ(place, SLOW), *SHELL)).code == 0


async def test_a_build_that_was_killed_is_put_back_afterwards(place: Place) -> None:
    stage = await place.run(RELEASE, environ(place, SLOW), *SHELL)
    await place.told("release.env")
    stage.signal(signal.SIGKILL)
    await stage.ended()
    ran = await place.done(ABORTED, environ(place, SLOW), *SHELL)
    assert ran.code == 0, ran.err
    await place.until(lambda made: made.status.phase is Phase.ABORTED)


async def test_before_anything_was_started_there_is_nothing_to_put_back(place: Place) -> None:
    assert (await place.done(ABORTED, environ(place, SLOW), *SHELL)).code == 0
    assert await place.releases.list("shop") == []


def test_groovy_expands_nothing_in_a_script() -> None:
    assert TEXT.count("'''") == 4
    assert '"""' not in TEXT


def test_the_exit_codes_that_are_matched_on_exist() -> None:
    assert {int(code) for code in re.findall(r"code == (\d+)", TEXT)} == {ExitCode.SUPERSEDED, ExitCode.TIMED_OUT}


def test_every_bracket_is_closed() -> None:
    code = re.sub(r"'''.*?'''|//[^\n]*|'[^'\n]*'|\"[^\"\n]*\"", "", TEXT, flags=re.DOTALL)
    for opening, closing in ("{}", "()", "[]"):
        assert code.count(opening) == code.count(closing)
