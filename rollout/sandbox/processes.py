"""Child processes that never outlive us: started in a group of their own, stopped by pid, killed with their parent.

Belongs here: the life of a child, its log, waiting until it is ready, the ports it listens on. Does not belong
here: what the child is for. Linux only: prctl(2), pidfd_open(2) and /proc.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_LISTEN: Final = "0A"  # TCP_LISTEN in /proc/net/tcp, linux include/net/tcp_states.h
_LOG_TAIL_LINES: Final = 20
_LOG_TAIL_BYTES: Final = 8192
_POLL_SECONDS: Final = 0.01
# Loaded before any fork: between fork and exec only calls that need no lock are safe.
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class ChildFailedError(RuntimeError):
    """A child ended, or did not become ready in time; the message ends with the tail of its log."""


def _bound_to_parent(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    def bind() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        # The parent may have died before the line above took effect; then nobody would send the signal.
        if os.getppid() != parent:
            os._exit(1)

    return bind


class Child:
    """One running child process. Make one with `spawn`, end it with `stop`.

    Attributes:
        name: for messages and the log file.
        log: where its stdout and stderr go.
    """

    def __init__(self, name: str, log: Path, process: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    def spawn(
        cls,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> "Child":
        """Start a program.

        It leads a session and process group of its own, so that a Ctrl-C in our terminal reaches only us, and gets
        `death_signal` when the thread that called this ends, however it ends.

        Args:
            name: what to call it.
            argv: the program and its arguments.
            log: a file that is appended to.
            env: additions to our environment.
            cwd: its working directory.
            pass_fds: file descriptors it inherits under the same numbers.
            death_signal: what the kernel sends it when we are gone.

        Raises:
            OSError: there is no such program, or it may not be run.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(part) for part in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=_bound_to_parent(os.getpid(), death_signal),  # noqa: PLW1509 - only prctl and getppid
            )
        return cls(name, log, process)

    @property
    def pid(self) -> int:
        """Its process id, and the id of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    async def wait(self, seconds: float) -> int | None:
        """Wait for its end; None if it still runs after that time."""
        if (code := self._process.poll()) is not None:
            return code
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        descriptor = os.pidfd_open(self.pid)
        try:
            loop.add_reader(descriptor, ended.set)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Signal its whole process group; nothing if it has ended."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def stop(self, grace: float = 5.0) -> int:
        """End it: SIGTERM, and SIGKILL after `grace` seconds, or at once when we are cancelled meanwhile.

        Returns:
            Its exit code.
        """
        self.signal(signal.SIGTERM)
        try:
            await self.wait(grace)
        finally:
            self.signal(signal.SIGKILL)
            # Bounded by the kernel: a killed process can only be waited for.
            code = self._process.wait()
        return code

    def tail(self) -> str:
        """The last lines of its log."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _LOG_TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:])

    async def ready(self, probe: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Ask `probe` again and again until it says yes.

        Raises:
            ChildFailedError: the process ended, or the time is over.
        """
        deadline = time.monotonic() + seconds
        while not await probe():
            if (code := self._process.poll()) is not None:
                raise ChildFailedError(f"{self.name} ended with code {code}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ChildFailedError(f"{self.name} was not ready after {seconds:g} s:\n{self.tail()}")
            await asyncio.sleep(_POLL_SECONDS)

    def listens_on(self) -> frozenset[int]:
        """The TCP ports (IPv4) it listens on now; empty when it has ended."""
        return frozenset(_listening_ports(self.pid))


def _listening_ports(pid: int) -> Iterator[int]:
    """From /proc, as ss(8) does: the sockets a process holds, looked up among the listening ones."""
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
        table = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return
    held = set()
    for descriptor in descriptors:
        with suppress(OSError):
            held.add(str(descriptor.readlink()))
    for line in table:
        fields = line.split()
        if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in held:
            yield int(fields[1].rpartition(":")[2], 16)


def python_module(name: str) -> list[str]:
    """The command that runs a module of ours in the interpreter that runs us, whatever directory we are in."""
    return [sys.executable, "-P", "-m", name]
