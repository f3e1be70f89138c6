"""What all tests share: one real Kubernetes API, and that nothing is skipped where nothing may be.

With `ROLLOUT_NO_SKIPS=1` (in CI) a skip is a failure.
"""

import asyncio
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from rollout.sandbox.control_plane import ControlPlane

_CRDS = Path(__file__).parents[1] / "deploy" / "base" / "crds.yaml"
_numbers = itertools.count(1)
_skipped = pytest.StashKey[list[str]]()


# The same examples on every machine, however slow it is just then: a red run means that something was changed.
hypothesis.settings.register_profile(
    "anywhere",
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("anywhere")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_skipped] = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # type: ignore[no-untyped-def] # noqa: ANN201 - pluggy's generator
    report = (yield).get_result()
    if report.skipped and not hasattr(report, "wasxfail"):
        item.config.stash[_skipped].append(item.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    skipped = session.config.stash[_skipped]
    if skipped and os.environ.get("ROLLOUT_NO_SKIPS"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = config.stash[_skipped]
    if skipped and os.environ.get("ROLLOUT_NO_SKIPS"):
        terminalreporter.section("skipped where nothing may be skipped", red=True)
        for name in skipped:
            terminalreporter.line(name)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ControlPlane"]:
    """A real Kubernetes API that knows Istio's kinds and ours; started once per session, by the first who asks."""
    # Most tests need no Kubernetes: they shall not wait for its imports.
    from rollout.sandbox.control_plane import ControlPlane, KubernetesMissingError  # noqa: PLC0415 - see above

    try:
        plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    except KubernetesMissingError as missing:
        pytest.skip(str(missing))
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(plane.start())
            runner.run(plane.apply_crds(plane.assets.istio_crds.read_text()))
            runner.run(plane.apply_crds(_CRDS.read_text()))
            yield plane
        finally:
            runner.run(plane.stop())


@pytest.fixture
def real_namespace(control_plane: "ControlPlane") -> Iterator[str]:
    """A namespace of its own on the real API, deleted afterwards (which nobody waits for)."""
    name = f"test-{next(_numbers)}"
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(_create_namespace(control_plane, name))
        yield name
        runner.run(_delete_namespace(control_plane, name))


async def _create_namespace(plane: "ControlPlane", name: str) -> None:
    async with plane.client() as http:
        answer = await http.post("/api/v1/namespaces", json={"metadata": {"name": name}})
        assert answer.status_code == 201, answer.text


async def _delete_namespace(plane: "ControlPlane", name: str) -> None:
    async with plane.client() as http:
        answer = await http.delete(f"/api/v1/namespaces/{name}")
        assert answer.status_code in {200, 202, 404}, answer.text
