"""A process that asks two gates again and again, as a controller would after each start, until both have said yes.

Run as `python asking_process.py KUBECONFIG URL NAMESPACE SEED`. It lives in children that are killed with SIGKILL at
random moments, without the time that importing takes; the file `lives` beside the kubeconfig has a byte for each. What
the status of the release would remember (attempt, begun) is kept there too, written after each answer: it may be one
answer behind when the process dies.
"""

import asyncio
import ctypes
import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster
from rollout.adapters.gatekeeper import Gatekeeper
from rollout.adapters.outbound import Outbound
from rollout.administration import JobTemplate, Reach, Settings, Webhook
from tests.adapters.gates.questions import answer_to, question

_LIVES = 60
_POD = {"spec": {"containers": [{"name": "smoke", "image": "example.com/smoke:1"}]}}


def read(memory: Path) -> dict[str, dict[str, int | bool | str]]:
    """What is remembered of each gate."""
    with suppress(OSError):
        known: dict[str, dict[str, int | bool | str]] = json.loads(memory.read_text())
        return known
    return {}


async def run(kubeconfig: Path, url: str, namespace: str) -> None:
    """Ask until both gates have passed."""
    memory = kubeconfig.with_name("memory.json")
    settings = Settings(
        webhooks=(Webhook(name="change-board", url=url, reach=Reach(insecure=True, allow=("127.0.0.0/8",))),),
        jobs=(JobTemplate(name="smoke", template={"template": _POD}),),
    )
    async with await Cluster.connect(kubeconfig) as api:
        gatekeeper = Gatekeeper(settings, Outbound(), api, SystemClock())
        try:
            for kind, use in (("webhook", "change-board"), ("job", "smoke")):
                while True:
                    known = read(memory)
                    run = known.setdefault(kind, {"attempt": 1, "begun": False, "outcome": ""})
                    if run["outcome"] in {"passed", "failed"}:
                        break
                    asked = question(
                        "webhook" if kind == "webhook" else "job",
                        use,
                        namespace=namespace,
                        attempt=run["attempt"],
                        begun=run["begun"],
                    )
                    answer = await answer_to(gatekeeper, asked)
                    begun = bool(run["begun"]) or answer.outcome == "waiting"
                    known[kind] = {"attempt": asked.attempt + 1, "begun": begun, "outcome": answer.outcome}
                    draft = memory.with_suffix(".new")
                    draft.write_text(json.dumps(known))
                    draft.replace(memory)
                    await asyncio.sleep(0.02)
        finally:
            await gatekeeper.close()


def live(kubeconfig: Path, url: str, namespace: str, longest: float | None) -> bool:
    """One life; killed after a while, unless `longest` is None. Whether it came to its end."""
    child = os.fork()
    if child == 0:
        # Linux: PR_SET_PDEATHSIG, so that nothing is left when the test itself is killed.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        asyncio.run(run(kubeconfig, url, namespace))
        os._exit(0)
    if longest is not None:
        end = time.monotonic() + longest
        while time.monotonic() < end:
            if os.waitpid(child, os.WNOHANG) != (0, 0):
                return True
            time.sleep(0.002)  # noqa: TID251 - no loop runs here
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main(kubeconfig: Path, url: str, namespace: str, seed: int) -> None:
    """Many lives, the last of them as long as it takes."""
    chance = random.Random(seed)
    for _ in range(_LIVES):
        with kubeconfig.with_name("lives").open("ab") as lives:
            lives.write(b".")
        if live(kubeconfig, url, namespace, chance.uniform(0.02, 0.5)):
            return
    live(kubeconfig, url, namespace, None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
