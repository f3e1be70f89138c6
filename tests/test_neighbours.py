"""What one release's cycle means for its neighbours: what no watch tells reaches them, whatever they do meanwhile."""

import asyncio
from datetime import timedelta

from rollout.ports import World
from rollout.reconciler import Key
from tests.test_controller import ONE, OTHER, House, Scripted, eventually, running


class Stirring(Scripted):
    """The cycle of ONE is under way for as long as a test says; the first one of OTHER is news to it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.go_on = asyncio.Event()
        self.is_news = True

    async def reconcile(self, key: Key) -> timedelta | None:
        again = await super().reconcile(key)
        if key == ONE:
            await self.go_on.wait()
        return again

    def stirs(self, key: Key) -> bool:
        news, self.is_news = self.is_news and key == OTHER, self.is_news and key != OTHER
        return news


async def test_news_for_a_release_that_is_being_looked_at_is_not_lost() -> None:
    house = House()
    reconciler = Stirring(house.world)
    reconciler.does = lambda _: timedelta(hours=1)
    await house.create("one")
    async with running(house.with_reconciler(reconciler).run()):
        await eventually(lambda: reconciler.cycles == [ONE])
        await house.create("other")
        await eventually(lambda: OTHER in reconciler.cycles and not reconciler.is_news)
        reconciler.go_on.set()
        # Once because OTHER came, and once more after the watch has told of its status.
        await eventually(lambda: reconciler.cycles.count(ONE) == 3)
