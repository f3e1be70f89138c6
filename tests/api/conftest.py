"""The house, for tests that need nothing else of it."""

import pytest

from tests.api.house import House


@pytest.fixture
def house() -> House:
    return House()
