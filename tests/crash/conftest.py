"""One arena and one matrix for all tests here, in one event loop for the whole session; a table at the end."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from rollout.sandbox.control_plane import KubernetesMissingError, find_assets
from tests.crash.arena import Arena
from tests.crash.hands import Deeds
from tests.crash.lives import STORIES, Ending, undisturbed
from tests.crash.matrix import Matrix
from tests.crash.place import Place

_said = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_said] = []


@pytest.fixture(scope="session")
def said(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of the run: what was measured."""
    return request.config.stash[_said]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash[_said]
    if lines:
        terminalreporter.section("crashes, hands and requests on the real Kubernetes API")
        for line in lines:
            terminalreporter.line(line)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def arena(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    try:
        find_assets()
    except KubernetesMissingError as missing:
        pytest.skip(str(missing))
    one = Arena(tmp_path_factory.mktemp("arena"))
    try:
        await one.start()
        yield one
    finally:
        await one.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def place(arena: Arena) -> AsyncIterator[Place]:
    """A namespace of its own, with a service to release."""
    one = Place(arena)
    await one.open()
    yield one
    await one.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def references(arena: Arena) -> dict[str, Ending]:
    """Each story undisturbed."""
    one = Place(arena)
    await one.open()
    try:
        return {story.name: await undisturbed(one, story) for story in STORIES}
    finally:
        await one.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def matrix(arena: Arena, references: dict[str, Ending], said: list[str]) -> Matrix:
    """Played once, by whoever asks first: some minutes."""
    one = Matrix(references)
    await one.play(arena)
    said.extend(one.table())
    return one


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def deeds(arena: Arena) -> AsyncIterator[Deeds]:
    """What people do, begun by whoever asks first: something else may be waited for meanwhile."""
    one = Deeds(arena)
    yield one
    await one.stop()
