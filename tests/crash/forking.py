"""Starts controllers in milliseconds: a process that has imported everything forks one for each line it is told.

Belongs here: the life of real controller processes: start, `kill -9`, SIGSTOP, SIGCONT, their logs. Does not belong
here: what they are killed for. A controller leads a process group of its own and dies with the process that forked it,
which dies with the tests.
"""

import asyncio
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from rollout.sandbox.processes import Child, python_module

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_START_S = 60.0
_END_S = 20.0


class Controller:
    """One `rollout serve`, from its fork to its end."""

    def __init__(self, name: str, pid: int, log: Path) -> None:
        self.name = name
        self.pid = pid
        self.log = log
        self._descriptor: int | None = os.pidfd_open(pid)

    @property
    def running(self) -> bool:
        """Whether it has not ended; a stopped one runs."""
        if self._descriptor is None:
            return False
        if not select.select([self._descriptor], [], [], 0)[0]:
            return True
        os.close(self._descriptor)
        self._descriptor = None
        return False

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it runs."""
        if self.running and self._descriptor is not None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """`kill -9`."""
        self.send(signal.SIGKILL)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal it and wait for its end; after some time it is killed."""
        self.send(signal.SIGCONT)
        self.send(number)
        deadline = asyncio.get_running_loop().time() + _END_S
        while self.running:
            if asyncio.get_running_loop().time() > deadline:
                self.kill()
            await asyncio.sleep(0.01)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged, line by line."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines about one kind of event."""
        return [line for line in self.lines() if line["event"] == event]


class Forks:
    """The process that forks controllers. Start it, use it, stop it."""

    def __init__(self, run_dir: Path) -> None:
        self._dir = run_dir
        self._child: Child | None = None
        self._ours: socket.socket | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Import everything, once."""
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [*python_module("tests.crash.forking"), str(theirs.fileno())]
            self._child = Child.spawn("forks", argv, log=self._dir / "forks.log", pass_fds=[theirs.fileno()])
        ours.setblocking(False)
        self._ours = ours
        assert await self._line(_START_S) == "ready"

    async def controller(self, name: str, settings: dict[str, Any], log: Path) -> Controller:
        """Fork one; `settings` are those of `rollout.settings.Settings`, as JSON."""
        assert self._ours is not None
        async with self._turn:
            text = json.dumps({"settings": settings, "log": str(log)}) + "\n"
            await asyncio.get_running_loop().sock_sendall(self._ours, text.encode())
            return Controller(name, int(await self._line(_END_S)), log)

    async def stop(self) -> None:
        """End it, and with it whatever it forked."""
        if self._ours is not None:
            self._ours.close()
        if self._child is not None:
            await self._child.stop(grace=0)

    async def _line(self, seconds: float) -> str:
        assert self._ours is not None and self._child is not None
        text = b""
        async with asyncio.timeout(seconds):
            while not text.endswith(b"\n"):
                piece = await asyncio.get_running_loop().sock_recv(self._ours, 100)
                assert piece, self._child.tail()
                text += piece
        return text.decode().strip()


def _import_all() -> None:
    """What `rollout serve` imports late; nothing of it starts a thread."""
    from rollout import adapters, assembly, controller, core, reconciler  # noqa: F401, PLC0415 - not in the tests' process

    for package in (adapters, core):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def _serve(wish: dict[str, Any], parent: int) -> NoReturn:
    """The life of a forked controller."""
    from rollout.assembly import serve  # noqa: PLC0415 - imported before the fork
    from rollout.settings import Settings  # noqa: PLC0415 - same

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        code = serve(Settings.model_validate_json(json.dumps(wish["settings"])))
    except BaseException:  # noqa: BLE001 - a forked process must never return into its parent's code
        sys.excepthook(*sys.exc_info())
        code = 70
    sys.stderr.flush()
    os._exit(code)


def main(descriptor: int) -> None:
    """Fork a controller for each line on the socket; end with it."""
    _import_all()
    gc.collect()
    gc.freeze()
    # Nobody waits for what is forked: the kernel takes it away.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as told, told.makefile("rw", encoding="utf-8") as lines:
        lines.write("ready\n")
        lines.flush()
        for line in lines:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                _serve(json.loads(line), parent)
            lines.write(f"{pid}\n")
            lines.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
