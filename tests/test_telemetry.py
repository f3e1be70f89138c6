"""A log line is one line, whatever users wrote into it, and tells no secrets."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from rollout import telemetry
from rollout.adapters.log import LogAnnouncer
from rollout.core.events import CATALOGUE, CONTEXT, Notice
from rollout.core.release import Release, ReleaseSpec

START = datetime(2026, 1, 1, tzinfo=UTC)
NASTY = 'x\n{"event":"release.succeeded"}\r\x1b[31m\u202e\u2028end'


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield io.StringIO()
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def a_release() -> Release:
    return Release(namespace="shop", name="checkout-v2-1", uid="u", spec=ReleaseSpec(service="checkout", version="v2"))


async def test_every_line_of_a_release_carries_its_context(lines: io.StringIO) -> None:
    telemetry.configure("json", "info", lines)
    await LogAnnouncer().record(a_release(), "release.resumed", {})
    line = json.loads(lines.getvalue())
    assert set(CONTEXT) <= set(line)
    assert (line["event"], line["level"], line["release"]) == ("release.resumed", "info", "checkout-v2-1")


async def test_what_a_newer_controller_left_to_be_told_is_told(lines: io.StringIO) -> None:
    telemetry.configure("json", "info", lines)
    await LogAnnouncer().announce(a_release(), Notice(sequence=7, at=START, name="from.the_future"))
    assert json.loads(lines.getvalue())["event"] == "from.the_future"


async def test_the_same_notice_has_the_same_id_when_it_is_written_again(lines: io.StringIO) -> None:
    telemetry.configure("json", "info", lines)
    notice = Notice(sequence=7, at=START, name="release.resumed")
    for _ in range(2):
        await LogAnnouncer().announce(a_release(), notice)
    assert [json.loads(line)["id"] for line in lines.getvalue().splitlines()] == ["u/7", "u/7"]


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_user_text_cannot_break_a_line(lines: io.StringIO, log_format: str) -> None:
    telemetry.configure(log_format, "info", lines)
    await LogAnnouncer().record(a_release(), "release.paused", {"actor": NASTY, "reason": NASTY})
    text = lines.getvalue()
    assert text.count("\n") == 1
    assert "\u202e" not in text
    assert "\x1b[31m\u202e" not in text


async def test_user_text_comes_back_unchanged_from_json(lines: io.StringIO) -> None:
    telemetry.configure("json", "info", lines)
    await LogAnnouncer().record(a_release(), "release.paused", {"actor": NASTY, "reason": ""})
    assert json.loads(lines.getvalue())["actor"] == NASTY


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_is_logged_without_local_variables(lines: io.StringIO, log_format: str) -> None:
    telemetry.configure(log_format, "info", lines)
    password = "hunter2-" + "planted"
    try:
        raise RuntimeError("it broke")  # noqa: TRY301 - the traceback of this frame is what is tested
    except RuntimeError:
        structlog.stdlib.get_logger("rollout").exception("reconcile.failed")
    assert "it broke" in lines.getvalue()
    assert password not in lines.getvalue()


def test_libraries_log_in_the_same_format(lines: io.StringIO) -> None:
    telemetry.configure("json", "info", lines)
    logging.getLogger("some.library").warning("a message with %s", "arguments")
    assert json.loads(lines.getvalue())["event"] == "a message with arguments"


async def test_a_level_below_the_one_asked_for_is_not_written(lines: io.StringIO) -> None:
    telemetry.configure("json", "warning", lines)
    await LogAnnouncer().record(a_release(), "release.resumed", {})
    assert lines.getvalue() == ""


def test_every_level_of_the_catalogue_is_a_method_of_the_logger() -> None:
    logger = structlog.stdlib.get_logger("rollout")
    assert all(callable(getattr(logger, kind.level.value)) for kind in CATALOGUE.values())
