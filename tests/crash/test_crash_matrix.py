"""`kill -9` before and after every single write, and a stop over every write that lasts until another one has finished.

The writes are found in the audit log of an undisturbed life. What must be the same afterwards: the outcome, the route
and its annotations, the subsets, the finalizers, the conditions, and the decisions that were told, each once.
"""

import pytest

from tests.crash.invariants import is_refused
from tests.crash.lives import STORIES, Story
from tests.crash.matrix import HOWS, Matrix

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_an_undisturbed_life_ends_as_it_should_and_is_refused_nothing(matrix: Matrix, story: Story) -> None:
    ending = matrix.references[story.name]
    assert ending.wrong == []
    assert [one for one in ending.written if is_refused(one)] == []
    assert len(matrix.points(story)) >= (4 if story.hit_at else 25)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_whatever_hits_a_controller_at_any_write_the_end_is_the_same(
    matrix: Matrix, story: Story, how: str
) -> None:
    cell = matrix.of(story, how)
    assert {str(one.case): one.wrong for one in cell if one.wrong} == {}
    assert matrix.never_hit(story, how) == []
    assert len(cell) == len(matrix.points(story))
