"""The hostile world in the hands of hypothesis, which shrinks what it finds to the shortest story that shows it."""

import asyncio

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.simulation.world import PEACE, Simulation

WHO = st.integers(0, 1)


class HostileWorld(RuleBasedStateMachine):
    """Two controllers held at their gates, and everything that can get in their way."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    @initialize(seed=st.integers(0, 7))
    def begin(self, seed: int) -> None:
        self.world = Simulation(seed)
        self.world.faults, self.world.gate, self.world.ambush, self.world.lag = PEACE, 0.3, 0.0, 0.0
        self.loop.run_until_complete(self.world.begin())

    @rule(steps=st.sampled_from((1, 3, 10, 60)))
    def the_controllers_go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.loop.run_until_complete(self.world.step())

    @rule(who=WHO, steps=st.sampled_from((5, 20, 60)))
    def one_of_them_stalls(self, who: int, steps: int) -> None:
        self.world.runners[who].stalled = steps

    @rule(who=WHO)
    def one_of_them_crashes(self, who: int) -> None:
        self.loop.run_until_complete(self.world.crash(self.world.runners[who]))

    @rule(down=st.booleans())
    def the_api_server_comes_and_goes(self, down: bool) -> None:
        self.world.api_down = down

    @rule(why=st.sampled_from(("", "no answer")))
    def prometheus_comes_and_goes(self, why: str) -> None:
        self.world.prometheus.outage = why

    @rule(percent=st.sampled_from((0, 10, 20, 30, 100)), keeps=st.booleans())
    def a_person_edits_the_route(self, percent: int, keeps: bool) -> None:
        self.world.hand_on_route("v2", percent, keeps)

    @rule(what=st.sampled_from(("pause", "unpause", "resume", "promote", "abort")))
    def somebody_wishes(self, what: str) -> None:
        self.loop.run_until_complete(self.world.somebody_wishes(what))

    @rule()
    def somebody_deletes_the_release(self) -> None:
        self.world.somebody_deletes()

    @rule(ready=st.integers(0, 2))
    def pods_come_and_go(self, ready: int) -> None:
        self.world.workloads.ready["checkout-v2"] = ready

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "world"):
            self.world.invariants.always()

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.loop.run_until_complete(self.world.end())
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
                self.loop.run_until_complete(asyncio.wait([task]))
            self.loop.close()


TestHostileWorld = HostileWorld.TestCase
TestHostileWorld.settings = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
