"""Where a pipeline runs: a real API over HTTP on the embedded Kubernetes API, a controller that plays, and a shell.

The examples' own lines are executed; only what surrounds them is ours: the runner's variables and files, its token
endpoint, and the directories that it mounts.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster
from rollout.adapters.releases import ClusterReleases
from rollout.api import connections
from rollout.commands import LocalDesk
from rollout.core.access import Identity, Right
from rollout.core.release import Cause, Phase, Reason, Release, Status
from rollout.ports import Conflict, NotFound
from rollout.sandbox.kubernetes.server import KubernetesServer
from rollout.sandbox.processes import _bound_to_parent
from tests import given
from tests.api.house import ISSUER, JOB, JOB_RIGHTS, House, served
from tests.fakes.freezes import FakeFreezes

EXAMPLES = Path(__file__).parents[2] / "config" / "ci"
NAMESPACE, SERVICE = "shop", "checkout"
RUNNERS_WORD = "the-runner's-own-token"
BAD, SLOW = "v-bad", "v-slow"
"""Versions that are rolled back, and that never end by themselves; all others are promoted."""
_FAILED = Cause(kind="metrics", reason=Reason.CHECK_FAILED, message="errors: 9 of 90 requests failed")
_STOPPED = Cause(kind="person", reason=Reason.ABORTED, message="by whoever asked")


class Seen:
    """ASGI: what is being asked of the API now, and what it has answered."""

    def __init__(self, app: ASGIApp, queries: list[bytes], codes: list[int]) -> None:
        self._app, self._queries, self._codes = app, queries, codes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._codes.append(message["status"])
            await send(message)

        query = scope.get("query_string", b"")
        self._queries.append(query)
        try:
            await self._app(scope, receive, noted)
        finally:
            self._queries.remove(query)


@dataclass
class WatchedHouse(House):
    """A House that knows who stands at its door."""

    queries: list[bytes] = field(default_factory=list)
    """Of the requests that are not answered yet."""
    codes: list[int] = field(default_factory=list)

    def application(self) -> FastAPI:
        app = super().application()
        app.add_middleware(Seen, queries=self.queries, codes=self.codes)
        return app


def _as_a_runner_starts_it(parent: int) -> Callable[[], None]:
    """SIGINT is not ignored, whatever started the tests: bash can trap no signal that was ignored at its start."""
    bind = _bound_to_parent(parent, signal.SIGKILL)

    def begin() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        bind()

    return begin


@dataclass
class Process:
    """A script that runs, as the leader of a process group of its own."""

    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """To the entry process alone, as GitHub's runner does."""
        self.process.send_signal(number)

    async def ended(self, within: float = 60.0) -> "Ran":
        async with asyncio.timeout(within):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ran(self.process.returncode, out.decode(), err.decode())

    async def killed(self) -> None:
        """End what is left of its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.process.communicate()


@dataclass(frozen=True)
class Ran:
    """How a script ended."""

    code: int
    out: str
    err: str


@dataclass
class Place:
    """One pipeline's world."""

    directory: Path
    kubernetes: KubernetesServer
    kubeconfig: Path
    releases: ClusterReleases
    house: WatchedHouse
    server: str
    tokens: str
    """Address of the runner's token endpoint."""
    processes: list[Process] = field(default_factory=list)

    def environ(self, **more: str) -> dict[str, str]:
        """What any job has: `rollout` on PATH, and where the API is. Nothing of the machine that tests run on."""
        binaries = self.directory / "bin"
        plain = {"PATH": f"{binaries}:{os.environ['PATH']}", "HOME": str(self.directory), "LANG": "C.UTF-8"}
        return {**plain, "ROLLOUT_SERVER": self.server, "ROLLOUT_NAMESPACE": NAMESPACE, **more}

    async def run(self, script: str, environ: Mapping[str, str], *shell: str) -> Process:
        """Start a script as GitHub and GitLab do: from a file, by bash that stops at the first error."""
        file = self.directory / f"script-{len(self.processes)}.sh"
        file.write_text(script)
        process = await asyncio.create_subprocess_exec(
            *(shell or ("bash", "-euo", "pipefail")),
            str(file),
            env=dict(environ),
            cwd=self.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_as_a_runner_starts_it(os.getpid()),
        )
        self.processes.append(Process(process))
        return self.processes[-1]

    async def done(self, script: str, environ: Mapping[str, str], *shell: str) -> Ran:
        """Run a script to its end."""
        return await (await self.run(script, environ, *shell)).ended()

    async def only(self) -> Release:
        """The one release there is."""
        [found] = await self.releases.list(NAMESPACE)
        return found

    async def until(self, true: Callable[[Release], bool], within: float = 20.0) -> float:
        """Seconds until the one release is so."""
        began = time.monotonic()
        while not any(true(one) for one in await self.releases.list(NAMESPACE)):
            assert time.monotonic() - began < within, "not in time"
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def told(self, file: str) -> None:
        """Until `rollout` has written this report, which it does as soon as there is a release."""
        async with asyncio.timeout(20):
            while not (self.directory / file).exists():
                await asyncio.sleep(0.01)

    async def polled(self) -> None:
        """Until somebody waits for a release to change."""
        async with asyncio.timeout(20):
            while not any(b"wait=" in query for query in self.house.queries):
                await asyncio.sleep(0.01)

    async def answered(self, code: int) -> None:
        """Until the API has given this answer."""
        async with asyncio.timeout(20):
            while code not in self.house.codes:
                await asyncio.sleep(0.01)

    async def play(self) -> None:
        """What a controller does, without metrics and without a mesh, until cancelled."""
        while True:
            for one in await self.releases.list(NAMESPACE):
                status = _next(one)
                if status is not None:
                    with contextlib.suppress(Conflict, NotFound):
                        await self.releases.save(one, status)
            await asyncio.sleep(0.02)


def _next(made: Release) -> Status | None:
    """The status that comes after the present one; None for none."""
    phase, version = made.status.phase, made.spec.version
    if phase.terminal or (made.spec.abort is None and phase is Phase.ANALYSING and version == SLOW):
        return None
    if phase is Phase.ROLLING_BACK:
        status = given.release(Phase.ABORTED, cause=_STOPPED).status
    elif made.spec.abort is not None:
        status = given.release(Phase.ROLLING_BACK, cause=_STOPPED).status
    elif phase is Phase.PENDING:
        status = given.release(Phase.ANALYSING, step=0, weight=10).status
    elif version == BAD:
        status = given.release(Phase.ROLLED_BACK, cause=_FAILED).status
    else:
        status = given.release(Phase.PROMOTED, weight=100).status
    return status.model_copy(update={"version": version})


@asynccontextmanager
async def place(directory: Path) -> AsyncIterator[Place]:
    """Everything, until the block ends; no process survives it."""
    _put_rollout_on_path(directory / "bin")
    kubernetes = KubernetesServer()
    await kubernetes.start()
    kubeconfig = directory / "kubeconfig"
    kubernetes.write_kubeconfig(kubeconfig, NAMESPACE)
    try:
        async with (
            await Cluster.connect(kubeconfig, None) as cluster,
            _house(ClusterReleases(cluster)) as (house, server),
            _token_endpoint(house) as tokens,
        ):
            await cluster.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
            made = Place(directory, kubernetes, kubeconfig, ClusterReleases(cluster), house, server, tokens)
            playing = asyncio.create_task(made.play())
            try:
                yield made
            finally:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
                for process in made.processes:
                    await process.killed()
    finally:
        await kubernetes.stop()


def _put_rollout_on_path(directory: Path) -> None:
    directory.mkdir()
    program = directory / "rollout"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m rollout "$@"\n')
    program.chmod(0o755)


@asynccontextmanager
async def _house(releases: ClusterReleases) -> AsyncIterator[tuple[WatchedHouse, str]]:
    house, clock = WatchedHouse(), SystemClock()
    house.but(
        desk=LocalDesk(releases, FakeFreezes(), clock),
        clock=clock,
        unchanged=lambda _: False,
        look_seconds=0.02,
    )
    async with served(house) as api:
        yield house, api.url


@asynccontextmanager
async def _token_endpoint(house: House) -> AsyncIterator[str]:
    """GitHub's: for whoever has the runner's word, a token for the audience that is asked for."""
    issued: list[str] = []

    async def issue(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {RUNNERS_WORD}":
            return Response(status_code=401)
        query = request.query_params
        assert query["api-version"] == "2.0"
        token = f"{JOB}-{len(issued)}"
        issued.append(token)
        claims = {"jti": token, "aud": query["audience"]}
        house.authenticator.tokens[token] = Identity("github:repo:acme/checkout", issuer=ISSUER, claims=claims)
        return JSONResponse({"count": 1, "value": token})

    listener, closing = connections.listening("127.0.0.1:0"), asyncio.Event()
    host, port = listener.getsockname()
    serving = asyncio.create_task(connections.serve(listener, Starlette(routes=[Route("/token", issue)]), closing))
    try:
        yield f"http://{host}:{port}/token?api-version=2.0"
    finally:
        closing.set()
        await serving


def allow(house: House, *rights: Right) -> None:
    """What the job may do in shop, for checkout."""
    house.authorizer.services = {(ISSUER, right, NAMESPACE, SERVICE) for right in rights or JOB_RIGHTS}


def variables(file: Path) -> dict[str, str]:
    """Of a dotenv file or $GITHUB_OUTPUT, as the last line of each name says."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def report(file: Path) -> dict[str, object]:
    """A JSON report."""
    found: dict[str, object] = json.loads(file.read_text())
    return found
