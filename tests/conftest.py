"""What all tests share: where nothing may be skipped (`ROLLOUT_NO_SKIPS=1`, in CI), a skip is a failure."""

import os

import pytest

_skipped = pytest.StashKey[list[str]]()


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
