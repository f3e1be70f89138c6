"""kill -9 at random moments of asking: whoever honours the key acts once, and there is one Job."""

import asyncio
import sys
from pathlib import Path

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.job_gate import name_of
from rollout.sandbox.kubernetes.server import KubernetesServer
from rollout.sandbox.processes import Child
from tests.adapters.gates.asking_process import read
from tests.adapters.gates.questions import question
from tests.adapters.outbound.receiver import Receiver, Request, answer

_ROOT = Path(__file__).parents[3]
_TICKET_AFTER = 20
_PATIENCE = 120.0


class Board:
    """Opens a ticket for each new key, says later twenty times, then yes; fails on every third request."""

    def __init__(self) -> None:
        self.tickets: dict[str, int] = {}
        self.requests = 0

    async def serve(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
        key = request.headers["rollout-key"]
        self.tickets[key] = self.tickets.get(key, 0) + 1
        await asyncio.sleep(0.05)
        if self.requests % 3 == 0:
            writer.write(answer(503))
        else:
            writer.write(answer(200) if self.tickets[key] > _TICKET_AFTER else answer(202, Retry_After="1"))
        await writer.drain()


@pytest.fixture
def kubeconfig(server: KubernetesServer, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    server.write_kubeconfig(path)
    return path


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_gate_acts_once_whenever_its_asker_is_killed(
    receiver: Receiver, cluster: Cluster, kubeconfig: Path, tmp_path: Path, seed: int
) -> None:
    board, memory, jobs = Board(), tmp_path / "memory.json", "/apis/batch/v1/namespaces/shop/jobs"
    receiver.script = board.serve
    argv: list[str | Path] = [
        sys.executable,
        "-m",
        "tests.adapters.gates.asking_process",
        kubeconfig,
        receiver.url,
        "shop",
        str(seed),
    ]
    asker = Child.spawn("asker", argv, log=tmp_path / "log", cwd=_ROOT)
    try:
        async with asyncio.timeout(_PATIENCE):
            while "job" not in read(memory):
                assert asker.returncode is None, asker.tail()
                await asyncio.sleep(0.05)
            # Some lives more, in which the Job is only looked at.
            until = (tmp_path / "lives").stat().st_size + 5
            while (tmp_path / "lives").stat().st_size < until:
                assert asker.returncode is None, asker.tail()
                await asyncio.sleep(0.05)
            ended = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
            job = question("job", "smoke", namespace="shop")
            await cluster.merge(f"{jobs}/{name_of(job)}/status", ended)
            while asker.returncode is None:
                await asyncio.sleep(0.05)
    finally:
        await asker.stop()
    assert {run["outcome"] for run in read(memory).values()} == {"passed"}, asker.tail()
    assert list(board.tickets) == [question().key]
    assert board.tickets[question().key] > _TICKET_AFTER
    assert len(await cluster.list(jobs)) == 1
