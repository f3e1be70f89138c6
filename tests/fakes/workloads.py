"""Deployments in memory."""

from rollout.core.route import Unavailable
from rollout.core.workload import Health


class FakeWorkloads:
    """`ports.Workloads`: pods per Deployment, ready until told otherwise."""

    def __init__(self, wanted: int = 2) -> None:
        self.wanted = wanted
        self.ready: dict[str, int] = {}
        """Ready pods by the Deployment's name; all of them where it is not named."""
        self.outage = ""
        """Why every question is answered with Unavailable; "" where it is not."""

    async def health(self, namespace: str, deployment: str, *, remembered: bool = False) -> Health | Unavailable:
        """As the port says; it forgets nothing."""
        del remembered
        if self.outage:
            return Unavailable(self.outage)
        ready = self.ready.get(deployment, self.wanted)
        message = f"{ready} of {self.wanted} pods of {namespace}/{deployment} are ready"
        return Health(ready=ready, wanted=self.wanted, complete=ready >= self.wanted, message=message)
