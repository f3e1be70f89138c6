"""config/ci/curl.sh: the whole script against the API, and the same exit codes as the command line's."""

import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from rollout.cli.exits import outcome_of
from rollout.core.access import Right
from rollout.core.release import Cause, Phase, Reason
from tests.api.house import JOB
from tests.ci.place import BAD, EXAMPLES, SLOW, Place, Process, Ran, allow
from tests.given import release

Kind = Literal["metrics", "gate", "person", "infrastructure"]

SCRIPT = EXAMPLES / "curl.sh"


async def start(place: Place, version: str, key: str = "run-7", **more: str) -> Process:
    """Each run of a job has a token of its own: one that started a release starts no other."""
    known, token = place.house.authenticator.tokens, place.directory / f"token-of-{key}"
    if JOB in known:
        known[f"{JOB}-{key}"] = replace(known[JOB], claims={"jti": key})
    token.write_text(f"{JOB}-{key}\n")
    environ = place.environ(ROLLOUT_TOKEN_FILE=str(token), IDEMPOTENCY_KEY=key, **more)
    return await place.run(f"exec bash {SCRIPT} shop checkout {version}\n", environ)


async def done(place: Place, version: str, key: str = "run-7", **more: str) -> Ran:
    return await (await start(place, version, key, **more)).ended()


@pytest.mark.parametrize(("version", "code"), [("v2", 0), (BAD, 10)])
async def test_it_exits_as_the_release_ends(place: Place, version: str, code: int) -> None:
    ran = await done(place, version)
    assert ran.code == code, ran.err
    assert ran.out == f"{(await place.only()).name}\n"


@pytest.mark.parametrize("phase", [Phase.ROLLED_BACK, Phase.ABORTED, Phase.FAILED])
@pytest.mark.parametrize("kind", ["metrics", "gate", "person", "infrastructure"])
def test_every_ending_has_the_exit_code_of_the_command_line(tmp_path: Path, phase: Phase, kind: Kind) -> None:
    cases = 'case "$phase ' + SCRIPT.read_text().rpartition('case "$phase ')[2]
    for reason in Reason:
        if not (reason.refusal or reason in {Reason.SUPERSEDED, Reason.CHECK_FAILED, Reason.GATE_FAILED}):
            continue
        ended = {"status": {"cause": {"kind": kind, "reason": reason.value}}}
        (tmp_path / "answer").write_text(json.dumps(ended))
        ran = subprocess.run(["bash", "-c", f"phase={phase.value} work={tmp_path}\n{cases}"], check=False)
        cause = Cause(kind=kind, reason=reason, message="")
        assert ran.returncode == outcome_of(release(phase, cause=cause)), (phase, kind, reason)


async def test_the_same_key_is_the_same_release(place: Place) -> None:
    assert (await done(place, "v2")).out == (await done(place, "v2")).out
    await place.only()


async def test_another_release_under_way_is_told_and_is_22(place: Place) -> None:
    first = await start(place, SLOW)
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    ran = await done(place, "v2", "run-8")
    assert ran.code == 22
    assert (await place.only()).name in ran.err
    first.signal(signal.SIGTERM)


async def test_a_name_that_cannot_be_is_told_with_its_place_in_the_request(place: Place) -> None:
    ran = await done(place, "NOT_A_VERSION")
    assert ran.code == 22
    assert "version" in ran.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_aborts_within_a_second_although_a_long_poll_is_under_way(
    place: Place, number: signal.Signals
) -> None:
    process = await start(place, SLOW)
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    await place.polled()
    process.signal(number)
    assert await place.until(lambda made: made.spec.abort is not None) < 1
    assert (await process.ended()).code == 128 + number


async def test_a_token_that_nobody_knows_is_21(place: Place) -> None:
    place.house.authenticator.tokens.clear()
    assert (await done(place, "v2")).code == 21
    assert await place.releases.list("shop") == []


async def test_a_job_that_may_not_is_21(place: Place) -> None:
    allow(place.house, Right.GET)
    assert (await done(place, "v2")).code == 21
    assert await place.releases.list("shop") == []


async def test_a_time_that_is_over_is_124_and_the_release_goes_on(place: Place) -> None:
    ran = await done(place, SLOW, TIMEOUT_SECONDS="0")
    assert ran.code == 124
    assert (await place.only()).spec.abort is None


async def test_an_api_that_is_away_for_a_moment_is_asked_again(place: Place) -> None:
    place.house.authenticator.reachable = False
    process = await start(place, "v2")
    await place.answered(503)
    place.house.authenticator.reachable = True
    assert (await process.ended()).code == 0


async def test_the_token_is_in_no_argument(place: Place) -> None:
    process = await start(place, SLOW)
    await place.until(lambda made: made.status.phase is Phase.ANALYSING)
    await place.polled()
    seen = _arguments(process.pid)
    assert any(b"curl" in line for line in seen)
    assert not any(JOB.encode() in line for line in seen)


def _arguments(leader: int) -> list[bytes]:
    """Of every process in the group of the script, by proc(5)."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            group = int((directory / "stat").read_text().rpartition(")")[2].split()[2])
            found.append((group, (directory / "cmdline").read_bytes()))
        except (OSError, IndexError):
            continue
    return [line for group, line in found if group == leader]
