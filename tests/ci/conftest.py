from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.ci.place import Place
from tests.ci.place import place as entered


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with entered(tmp_path) as made:
        yield made
