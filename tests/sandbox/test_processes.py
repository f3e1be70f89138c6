"""Child processes: ready or refused with a reason, stopped for certain, never left over."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from rollout.sandbox.processes import Child, ChildFailedError

STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
WITH_CHILD = "import subprocess,time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"


def alive(pid: int) -> bool:
    """Whether it runs; a zombie, which only waits to be collected, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def python(code: str, log: Path) -> Child:
    return Child.spawn("child", [sys.executable, "-c", code], log=log)


async def said_something(child: Child) -> bool:
    return child.tail() != ""


async def never() -> bool:
    return False


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    child = python(STUBBORN, tmp_path / "log")
    await child.ready(lambda: said_something(child), 10)
    assert await child.stop(grace=0.2) == -signal.SIGKILL
    assert not alive(child.pid)


async def test_a_child_takes_its_own_children_with_it(tmp_path: Path) -> None:
    child = python(WITH_CHILD, tmp_path / "log")
    await child.ready(lambda: said_something(child), 10)
    grandchild = int(child.tail())
    assert alive(grandchild)
    await child.stop()

    async def gone() -> bool:
        return not alive(grandchild)

    waiter = python("import time; time.sleep(60)", tmp_path / "other")
    await waiter.ready(gone, 5)
    await waiter.stop()


async def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    child = python("raise SystemExit(3)", tmp_path / "log")
    assert await child.wait(10) == 3
    assert await child.stop() == 3
    assert await child.stop() == 3


async def test_waiting_ends_when_the_time_is_over(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path / "log")
    assert await child.wait(0.01) is None
    await child.stop()


async def test_a_child_that_ends_before_it_is_ready_is_told_with_its_last_words(tmp_path: Path) -> None:
    child = python("raise SystemExit('port taken')", tmp_path / "log")
    with pytest.raises(ChildFailedError, match="port taken"):
        await child.ready(never, 10)


async def test_a_child_that_is_never_ready_is_told(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path / "log")
    with pytest.raises(ChildFailedError):
        await child.ready(never, 0.05)
    await child.stop()


async def test_a_child_leads_its_own_group(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path / "log")
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    await child.stop()


async def test_the_ports_a_child_listens_on_are_found(tmp_path: Path) -> None:
    code = "import socket,time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "
    child = python(code + "time.sleep(60)", tmp_path / "log")
    await child.ready(lambda: said_something(child), 10)
    assert child.listens_on() == {int(child.tail())}
    await child.stop()
    assert child.listens_on() == frozenset()


async def test_a_child_inherits_the_sockets_it_is_given_and_no_others(tmp_path: Path) -> None:
    code = "import os,sys; print(sorted(int(n) for n in os.listdir('/proc/self/fd') if int(n) > 2), flush=True)"
    with socket.create_server(("127.0.0.1", 0)) as given, socket.create_server(("127.0.0.1", 0)) as kept:
        argv = [sys.executable, "-c", code]
        child = Child.spawn("child", argv, log=tmp_path / "log", pass_fds=[given.fileno()])
        await child.wait(10)
        found = child.tail()
        assert str(given.fileno()) in found
        assert f"{kept.fileno()}" not in found.strip("[]").split(", ")
