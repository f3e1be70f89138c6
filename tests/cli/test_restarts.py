"""Following a release over HTTP while the API goes away and comes back: the real process, a real port."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rollout.core.release import Phase
from tests.cli.api_thread import TOKEN, ApiThread
from tests.cli.conftest import Around, Terminal
from tests.given import NAME, release

_PATIENCE = 30.0


def api(terminal: Terminal, port: int = 0) -> ApiThread:
    made = terminal.assembly
    return ApiThread(
        made.desk(), terminal.clock, made.policies, Around(made), authorizer=terminal.authorizer, port=port
    )


@asynccontextmanager
async def waiting(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`rollout wait` as a process, which does not outlive the block."""
    environ = {**os.environ, "ROLLOUT_SERVER": url, "ROLLOUT_TOKEN": TOKEN, "ROLLOUT_NAMESPACE": "shop"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rollout", "wait", NAME),
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until_said(process: asyncio.subprocess.Process, words: str) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(_PATIENCE):
        while words not in (line := (await process.stderr.readline()).decode()):
            assert line, f"it ended without saying {words!r}"


async def test_a_release_is_followed_across_a_restart_of_the_api(nearby: Terminal) -> None:
    await asyncio.to_thread(nearby.given, release())
    with api(nearby) as first:
        async with waiting(first.url) as process:
            await until_said(process, "step 1")
            await asyncio.to_thread(first.stop)
            await until_said(process, "does not answer, still trying")
            with api(nearby, first.port):
                nearby.cluster.set_status(NAME, release(Phase.PROMOTED).status)
                await until_said(process, "promoted")
                async with asyncio.timeout(_PATIENCE):
                    assert await process.wait() == 0
