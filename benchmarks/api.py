"""What a start over HTTP takes, at a steady rate, on the embedded Kubernetes API with a controller at work.

    .venv/bin/python -m benchmarks.api [--rate 50] [--seconds 20]

Four processes: the embedded Kubernetes API, the controller, our API, and the callers (this one). Each start has a key
and a service of its own, so that every one of them makes a release, which the controller then takes up; in the last
row each is sent five times, as by clients that try again. Times run from
the moment at which a start was due, not from when it was sent: a queue in front of a slow server is seen (no
coordinated omission). Tokens are looked up in a table: what TokenReview and SubjectAccessReview cost is remembered for
a minute in production, and no part of this. Nor is the time that the embedded API needs to hold a Release against the
rules of its definition: it evaluates CEL in Python, 5 to 10 ms for each write, so that the controller's writes alone
would take more than a processor at 50 starts a second.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2

from rollout import telemetry
from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster
from rollout.adapters.freezes import ClusterFreezes
from rollout.adapters.mirror import Mirror
from rollout.adapters.policy_objects import PolicyObjects
from rollout.adapters.releases import ClusterReleases
from rollout.administration import Api
from rollout.api import connections
from rollout.api.application import application
from rollout.api.backing import Backing
from rollout.commands import LocalDesk
from rollout.core.access import Identity
from rollout.ports import Outage
from rollout.sandbox.kubernetes.server import KubernetesServer
from rollout.sandbox.processes import Child
from tests.fakes.access import FakeAuthenticator, FakeTokenUses, allow_all

HOME, TOKEN = "rollout", "benchmark"
NAMESPACES = tuple(f"team-{number}" for number in range(20))
LIMIT_MS = 50.0
PATIENCE = 30.0


async def cluster(folder: Path) -> None:
    """The embedded Kubernetes API; `kubeconfig` appears once it listens."""
    server = KubernetesServer(definitions=False)
    await server.start()
    server.write_kubeconfig(folder / "starting", HOME)
    async with await Cluster.connect(folder / "starting") as api:
        for name in (*NAMESPACES, HOME):
            await api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    (folder / "starting").rename(folder / "kubeconfig")
    await asyncio.Event().wait()


async def api(folder: Path) -> None:
    """Our API as `rollout api` has it, but for who bears a token; `port` appears once it listens."""
    telemetry.configure("json", "info")
    async with await Cluster.connect(folder / "kubeconfig") as connection, Mirror(connection) as frozen:
        releases, clock = ClusterReleases(connection), SystemClock()
        backing = Backing(
            desk=LocalDesk(releases, ClusterFreezes(connection, HOME, frozen), clock),
            authenticator=FakeAuthenticator({TOKEN: Identity("benchmark")}),
            authorizer=allow_all(),
            token_uses=FakeTokenUses(),
            policies=PolicyObjects(connection),
            clock=clock,
            check=lambda _text: ((), ()),
            limits=Api(per_minute=100_000, burst=10_000),
            unchanged=releases.unchanged,
        )
        listener = connections.listening("127.0.0.1:0")
        serving = asyncio.create_task(connections.serve(listener, application(backing), backing.closing))
        (folder / "port").write_text(str(listener.getsockname()[1]))
        while not serving.done():
            try:
                async for _ in releases.watch(None):
                    pass
            except Outage:
                await asyncio.sleep(1)


async def callers(url: str, rate: float, seconds: float, times: int) -> tuple[list[float], Counter[int]]:
    """(milliseconds of every start, how often each status was answered); each is sent so many times."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    statuses: Counter[int] = Counter()
    began = loop.time() + 0.2
    run = f"{began:.0f}"

    async def start(client: httpx2.AsyncClient, number: int) -> None:
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
        which = number // times
        body = {"namespace": NAMESPACES[which % len(NAMESPACES)], "service": f"s{run}-{which}", "version": "v2"}
        answer = await client.post("/v1/releases", json=body, headers={"idempotency-key": f"{run}-{which}"})
        took.append((loop.time() - due) * 1000)
        statuses[answer.status_code] += 1

    headers = {"authorization": f"Bearer {TOKEN}"}
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=PATIENCE) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(int(rate * seconds)):
            group.create_task(start(client, number))
    return took, statuses


async def measure(
    rate: float, seconds: float, *, controlled: bool, times: int
) -> tuple[list[float], Counter[int], dict[str, float]]:
    """The same with everything that must run for it, and how much of a processor each process took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "policies").mkdir()
        children: list[Child] = []

        def spawn(what: str, *argv: str) -> None:
            children.append(Child.spawn(what, [sys.executable, "-m", *argv], log=folder / f"{what}.log"))

        try:
            spawn("cluster", "benchmarks.api", "--part", "cluster", "--folder", name)
            await _there(folder / "kubeconfig")
            if controlled:
                spawn(
                    "controller",
                    *("rollout", "--kubeconfig", str(folder / "kubeconfig"), "serve", "--listen", ""),
                    *("--prometheus", "http://127.0.0.1:9", "--policies", str(folder / "policies")),
                )
            spawn("api", "benchmarks.api", "--part", "api", "--folder", name)
            await _there(folder / "port")
            url = f"http://127.0.0.1:{(folder / 'port').read_text()}"
            # Connections, imports and the watches' first lists are no part of it.
            await callers(url, rate, 3, times)
            before = [_cpu(child) for child in children]
            took, statuses = await callers(url, rate, seconds, times)
            used = {one.name: (_cpu(one) - was) / seconds for one, was in zip(children, before, strict=True)}
            return took, statuses, used
        finally:
            for child in reversed(children):
                await child.stop()


def _cpu(child: Child) -> float:
    """Seconds of processor time so far (proc(5), stat: utime and stime)."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _there(file: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        while not file.exists():  # noqa: ASYNC110, ASYNC240 - another process writes it, beside us
            await asyncio.sleep(0.05)


def report(rate: float, seconds: float) -> int:
    """Print the table; 1 if it took too long, or if a start was refused."""
    print(f"POST /v1/releases, {rate:g} a second for {seconds:g} s, in ms\n")
    print(f"{'':<26}{'starts':>8}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}  statuses")
    worst, refused = 0.0, 0
    for title, controlled, times in (
        ("without a controller", False, 1),
        ("with a controller", True, 1),
        ("with one, sent five times", True, 5),
    ):
        took, statuses, used = asyncio.run(measure(rate, seconds, controlled=controlled, times=times))
        cuts = statistics.quantiles(took, n=100, method="inclusive")
        row = "".join(f"{one:>8.1f}" for one in (cuts[49], cuts[89], cuts[98], max(took)))
        cpu = ", ".join(f"{name} {share:.0%}" for name, share in used.items())
        print(f"{title:<26}{len(took):>8}{row}  {dict(statuses)}  processor: {cpu}", flush=True)
        worst, refused = max(worst, cuts[98]), refused + len(took) - statuses[201] - statuses[200]
    print(f"\nlongest p99: {worst:.1f} ms, wanted: at most {LIMIT_MS:g} ms")
    return int(worst > LIMIT_MS or refused > 0)


PARTS: dict[str, Callable[[Path], Awaitable[None]]] = {"cluster": cluster, "api": api}


def main() -> int:
    """One of the parts, or the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50.0, help="starts a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.part is None:
        return report(told.rate, told.seconds)

    async def play() -> None:
        await PARTS[told.part](told.folder)

    asyncio.run(play())
    return 0


if __name__ == "__main__":
    sys.exit(main())
