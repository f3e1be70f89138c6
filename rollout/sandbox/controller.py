"""The controller as a child of the sandbox: the real `rollout serve`, as it runs in a cluster."""

import sys
from pathlib import Path
from typing import Self

from rollout.sandbox.processes import Child
from rollout.sandbox.world import World


class ControllerProcess:
    """`rollout serve` against a world, for the time of an `async with`."""

    def __init__(self, world: World, name: str = "controller") -> None:
        self._world = world
        self._name = name
        self._child: Child | None = None
        self.log = world.policies.parent / f"{name}.log"
        self.peak_mib = 0.0

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._child is not None, "the controller runs only inside the `async with`"
        return self._child.pid

    async def __aenter__(self) -> Self:
        world = self._world
        self.log.touch()
        self._child = Child.spawn(
            self._name,
            [
                *(sys.executable, "-m", "rollout", "--kubeconfig", str(world.controller_kubeconfig), "serve"),
                *("--prometheus", world.prometheus_url, "--policies", str(world.policies)),
                *("--listen", "", "--log-format", "json"),
            ],
            log=self.log,
        )
        await self._child.ready(self._watches, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._child is not None:
            self.note_memory()
            await self._child.stop()

    def note_memory(self) -> None:
        """Read its peak resident memory (VmHWM of proc(5)) while it still runs."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except FileNotFoundError:
            return
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self.peak_mib = int(line.split()[1]) / 1024

    async def _watches(self) -> bool:
        return b'"controller.started"' in self.log.read_bytes()
