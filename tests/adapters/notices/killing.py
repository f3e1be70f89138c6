"""Tells the news of releases while it is killed again and again, to receivers that fail half the time.

Belongs here: a controller in small (the outbox of the core, saved in a file, and the real notifier), a receiver process
that dies while it answers, the kills, and the count of what arrived. `python -m tests.adapters.notices.killing 200`
prints what came of 200 kills. Does not belong here: what must have come of it (`test_killed.py`).

The receivers do as docs/notices.md says: the webhook acts once per `Rollout-Key`, Slack keeps what it is sent.
"""

import asyncio
import ctypes
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rollout.adapters.clock import SystemClock
from rollout.adapters.notices.notifier import ChannelNotifier
from rollout.adapters.notices.slack import SlackTeller
from rollout.adapters.outbound import Outbound
from rollout.administration import Settings
from rollout.core.release import Delivered, Release
from rollout.core.turn import Seen, Turn
from tests.adapters.notices.given import channel, release
from tests.adapters.notices.journal import Journal
from tests.adapters.notices.receiver import Got, Receiver, Say
from tests.adapters.notices.slackish import Slack

CHANNELS = ("ops", "chat")
EVENTS = 6
"""Events of one release."""
LIFE_S = (0.02, 0.8)
"""How long a process lives before it is killed."""
_LONGEST_S = 60.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Came:
    """What came of it."""

    kills: int
    owed: int
    """Notices that had to arrive, over all channels."""
    lost: list[str]
    doubled: list[str]
    repeated: int
    """Requests that came again under the same key, and were recognised."""
    wrong_order: list[str]
    failures: int
    """Requests that the receivers failed."""


def come_of(kills: int, folder: Path, seed: int = 1) -> Came:
    """Run it until `kills` processes were killed and everything that happened until then is told."""
    chance = random.Random(seed)
    port_file, state = folder / "port", folder / "release.json"
    receiver = _forked(lambda: asyncio.run(_receive(folder, port_file, seed)))
    try:
        port = int(_wait_for(port_file))
        deadline = time.monotonic() + kills * (LIFE_S[1] + 0.5) + _LONGEST_S
        killed = 0
        while killed < kills:
            pid = _forked(lambda: asyncio.run(_control(folder, state, port, finish=False)))
            _sleep(chance.uniform(*LIFE_S))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            killed += 1
            if time.monotonic() > deadline:
                raise TimeoutError("the kills took too long")
        last = _forked(lambda: asyncio.run(_control(folder, state, port, finish=True)))
        _ended(last, deadline)
    finally:
        os.kill(receiver, signal.SIGKILL)
        os.waitpid(receiver, 0)
    return _counted(folder, killed)


async def _control(folder: Path, state: Path, port: int, *, finish: bool) -> None:
    """A controller: one release after the other, or only the one under way."""
    # The fake Slack has no limit of its own; the pace is measured elsewhere.
    SlackTeller.pace = 0.0
    token = folder / "token"
    token.write_text("xoxb-1")
    url = f"http://127.0.0.1:{port}"
    settings = Settings(
        channels=(
            channel(f"{url}/hook", name="ops", give_up=timedelta(hours=1)),
            channel(f"{url}/api/", "slack", "chat", token_file=token, channel="C1", give_up=timedelta(hours=1)),
        )
    )
    clock = SystemClock()
    notifier = ChannelNotifier(settings, Outbound(), clock, Journal(), first_wait_s=0.002)
    now = _load(state) or _next(0)
    while True:
        status = now.status
        turn = Turn(now, Seen(mesh=None, announced=status.sequence, delivered=notifier.delivered(now)), clock.now())
        turn.drop_told()
        if turn.status.sequence < EVENTS:
            turn.tell("step.held", reason_code="Holding", reason=f"event {turn.status.sequence + 1}")
        elif not turn.status.outbox:
            notifier.forget(now.uid)
            if finish:
                await notifier.close()
                return
            now = _next(int(now.uid.removeprefix("uid-")) + 1)
            _save(state, now)
            continue
        if turn.status != status:
            now = now.model_copy(update={"status": turn.status})
            _save(state, now)
        notifier.offer(now)
        await asyncio.sleep(0.005)


def _next(number: int) -> Release:
    return release(uid=f"uid-{number}", sequence=0, notified={name: Delivered() for name in CHANNELS})


def _load(state: Path) -> Release | None:
    return Release.model_validate_json(state.read_text(), strict=False) if state.exists() else None


def _save(state: Path, release: Release) -> None:
    new = state.with_suffix(".new")
    new.write_text(release.model_dump_json(by_alias=True))
    new.replace(state)


async def _receive(folder: Path, port_file: Path, seed: int) -> None:
    """Both receivers. Half of all requests fail: refused, cut before or after they were taken in."""
    chance, slack = random.Random(seed), Slack()
    taken, failed = (folder / "taken").open("a", buffering=1), (folder / "failed").open("a", buffering=1)
    in_chat = 0

    def answer(got: Got) -> Say:
        nonlocal in_chat
        fate = chance.random()
        if fate < 0.34:
            failed.write("x\n")
            return Say(status=503) if fate < 0.17 else Say(reset=True)
        if got.path == "/hook":
            taken.write(json.dumps(["ops", got.headers["rollout-key"], got.json["sequence"]]) + "\n")
            say = Say()
        else:
            say = slack.answer(got)
            for key in slack.keys()[in_chat:]:
                taken.write(json.dumps(["chat", key, int(key.split("/")[1])]) + "\n")
            in_chat = len(slack.messages)
        if fate < 0.5:
            failed.write("x\n")
            return Say(reset=True)
        return say

    receiver = Receiver(answer)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    new = port_file.with_suffix(".new")
    new.write_text(str(server.sockets[0].getsockname()[1]))
    new.replace(port_file)
    await server.serve_forever()


def _counted(folder: Path, kills: int) -> Came:
    lines = [json.loads(line) for line in (folder / "taken").read_text().splitlines()]
    last = _load(folder / "release.json")
    assert last is not None
    releases = int(last.uid.removeprefix("uid-")) + 1
    owed = [
        f"uid-{number}/{sequence}/{name}"
        for number in range(releases)
        for sequence in range(1, EVENTS + 1)
        for name in CHANNELS
    ]
    requests = Counter(key for _, key, _ in lines)
    # The webhook's receiver acts on a key's first request; in Slack every message is seen.
    effects = {key: times if key.endswith("/chat") else 1 for key, times in requests.items()}
    order: dict[tuple[str, str], list[int]] = {}
    for key in requests:
        uid, sequence, name = key.split("/")
        order.setdefault((uid, name), []).append(int(sequence))
    return Came(
        kills=kills,
        owed=len(owed),
        lost=sorted(set(owed) - set(effects)),
        doubled=sorted(key for key, times in effects.items() if times > 1) + sorted(set(effects) - set(owed)),
        repeated=sum(times - 1 for times in requests.values()),
        wrong_order=[f"{uid} in {name}" for (uid, name), told in order.items() if told != sorted(told)],
        failures=len((folder / "failed").read_text().splitlines()),
    )


def _forked(life: Callable[[], None]) -> int:
    """A child that ends with us."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() == parent:
            life()
    except BaseException as error:  # noqa: BLE001 - the end of a child
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def _ended(pid: int, deadline: float) -> None:
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        _sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError("the last process did not finish")


def _wait_for(file: Path) -> str:
    deadline = time.monotonic() + _LONGEST_S
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{file} did not appear")
        _sleep(0.01)
    return file.read_text()


def _sleep(seconds: float) -> None:
    signal.sigtimedwait([], seconds)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        came = come_of(int(sys.argv[1]), Path(place), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
        sys.stdout.write(json.dumps(vars(came)) + "\n")
