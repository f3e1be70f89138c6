"""`make demo`: the story, live on a terminal or as one structured line per event, then a table, then the accounts.

Exit code 0 only if every release ended as the story says and Prometheus agrees with the load generator to the request.
"""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from rollout.core.release import Release
from rollout.sandbox import screen
from rollout.sandbox.accounts import Accounts, compare, p99_buckets
from rollout.sandbox.controller import ControllerProcess
from rollout.sandbox.story import CHAPTERS, RATE, Chapter, Result, log_lines, play, prepare
from rollout.sandbox.world import World

CONTROLLER_LIMIT_MIB = 120


class Stage:
    """Shows what happens while it happens."""

    def __init__(self, world: World, log: Path, live: Live | None) -> None:
        self._world = world
        self._log = log
        self._live = live
        self._offset = 0
        self._events: list[dict[str, Any]] = []
        self.results: list[Result] = []

    async def watch(self, chapter: Chapter, release: Release) -> None:
        """Show one more look at the release."""
        lines, self._offset = log_lines(self._log, self._offset)
        told = [line for line in lines if line.get("level") != "debug" and line.get("event") != "check.inconclusive"]
        if self._live is None:
            for line in told:
                sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            return
        self._events.extend(told)
        counts = await self._world.counts()
        p99 = await p99_buckets(self._world.prometheus)
        height = self._live.console.size.height
        scene = screen.Scene(chapter, release, counts, p99, self._events, self.results, height)
        self._live.update(screen.frame(scene))


def main(*, kubernetes: bool = False) -> int:
    """Play the story; the exit code says whether it went as told, 130 after Ctrl-C.

    Args:
        kubernetes: on a real control plane.

    Raises:
        KubernetesMissingError, PrometheusMissingError: a program is not on this machine.
    """
    try:
        return asyncio.run(_main(kubernetes=kubernetes))
    except KeyboardInterrupt:
        return 130


async def _main(*, kubernetes: bool) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    # Ctrl-C and SIGTERM end the story the same way: by leaving every `async with`, so that no child is left behind.
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await _perform(_console(), kubernetes=kubernetes)
    except asyncio.CancelledError:
        if not caught:
            raise
        sys.stderr.write("stopped; nothing is left running\n")
        return 128 + caught[0]


def _console() -> Console:
    """Lines of a log are cut by nobody: without a terminal the width is ours."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


async def _perform(console: Console, *, kubernetes: bool) -> int:
    began = time.monotonic()
    api = "a real Kubernetes control plane" if kubernetes else "a Kubernetes API"
    console.print(f"Starting Envoy, Prometheus, {api} and {RATE} requests per second on this machine …")
    with tempfile.TemporaryDirectory(prefix="rollout-demo-") as directory:
        async with World(Path(directory), rate=RATE, kubernetes=kubernetes) as world:
            await prepare(world)
            if kubernetes:
                console.print(f"The controller is {world.controller_is}.")
            async with ControllerProcess(world) as controller, _live(console) as live:
                stage = Stage(world, controller.log, live)
                for chapter in CHAPTERS:
                    stage.results.append(await play(world, chapter, stage.watch))
            accounts = await compare(world)
    console.print(screen.summary(stage.results))
    return _verdict(console.print, stage.results, accounts, controller.peak_mib, time.monotonic() - began)


@contextlib.asynccontextmanager
async def _live(console: Console) -> AsyncIterator[Live | None]:
    """A live display on a terminal, none elsewhere."""
    if not console.is_terminal:
        yield None
        return
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        yield live


def _verdict(
    show: Callable[[str], None], results: Sequence[Result], accounts: Accounts, peak_mib: float, seconds: float
) -> int:
    for version, code, sent, counted in accounts.differences:
        show(f"version {version} code {code}: the load generator counted {sent}, Prometheus {counted}")
    agree = not accounts.differences
    if agree:
        show(f"Prometheus and the load generator agree on all {accounts.requests:,} requests, per version and code.")
    for result in results:
        if result.took_effect_s is not None and result.decided_s is not None:
            what = "the abort" if result.release.spec.abort is not None else "its first bad answer"
            effect_ms = max(0.0, result.took_effect_s) * 1000
            last = f"the last request for it was sent {effect_ms:.0f} ms after that"
            show(f"{result.chapter.version}: rolled back {result.decided_s:.1f} s after {what}; {last}.")
    show(f"Controller: {peak_mib:.0f} MiB at most. The whole story took {seconds:.0f} s.")
    unexpected = [result.chapter.version for result in results if not result.as_told]
    if unexpected:
        show(f"Not as told: {', '.join(unexpected)}")
    if peak_mib > CONTROLLER_LIMIT_MIB:
        show(f"The controller used more than {CONTROLLER_LIMIT_MIB} MiB.")
    return 0 if agree and not unexpected else 1
