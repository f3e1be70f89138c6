"""0 lost and 0 doubled: a process that is killed with `kill -9` at any moment, receivers that fail half the time.

`ROLLOUT_KILLS=200` asks for more kills than the twenty of every day.
"""

import json
import os
import sys
from pathlib import Path

from rollout.sandbox.processes import Child, python_module

KILLS = int(os.environ.get("ROLLOUT_KILLS", "20"))


async def test_nothing_is_lost_and_nothing_comes_twice_over_kills_at_any_moment(tmp_path: Path) -> None:
    assert sys.platform == "linux"
    root = Path(__file__).parents[3]
    argv = [*python_module("tests.adapters.notices.killing"), str(KILLS), str(KILLS)]
    child = Child.spawn("killing", argv, log=tmp_path / "log", env={"PYTHONPATH": str(root)}, cwd=root)
    try:
        code = await child.wait(60 + 3 * KILLS)
    finally:
        await child.stop(grace=0)
    assert code == 0, child.tail()
    came = json.loads(child.tail().splitlines()[-1])
    assert came["kills"] == KILLS
    assert came["failures"] > 0
    assert came["owed"] > 0
    assert (came["lost"], came["doubled"], came["wrong_order"]) == ([], [], [])
