"""The demo's picture: every state can be drawn, and nothing a user wrote can disturb the terminal."""

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from rollout.core.release import Phase
from rollout.sandbox import screen
from rollout.sandbox.load import Seen
from rollout.sandbox.load_client import Counts
from rollout.sandbox.story import CHAPTERS, Chapter, Result
from tests import given

COUNTS = Counts(1000, 1000, 0, 0, {("v1", 200): 900, ("v2", 200): 95, ("v2", 500): 5}, {"v2": Seen(first=1.0)})


def drawn(picture: RenderableType, width: int = 100) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(picture)
    return stream.getvalue()


def scene(phase: Phase) -> screen.Scene:
    return screen.Scene(CHAPTERS[0], given.release(phase), COUNTS, {"v2": "100 ms"})


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("width", [80, 200])
def test_every_phase_can_be_drawn(phase: Phase, width: int) -> None:
    picture = drawn(screen.frame(scene(phase)), width)
    assert phase.value in picture
    assert max(map(len, picture.splitlines())) <= width


def test_the_numbers_are_those_of_the_load_generator() -> None:
    row = next(line for line in drawn(screen.frame(scene(Phase.ANALYSING))).splitlines() if "100 ms" in line)
    assert row.replace("│", " ").split()[1:3] == ["100", "5"]


def test_control_characters_of_a_log_line_are_not_printed() -> None:
    event = {"event": "release.paused", "level": "info", "weight": 10, "reason": "a\x1b[2Jb\nc\u202ed"}
    text = screen.event_line(event).plain
    assert "\x1b" not in text
    assert "\n" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.version)
def test_an_end_that_was_not_told_is_called_unexpected(chapter: Chapter) -> None:
    other = Phase.FAILED if chapter.expected is not Phase.FAILED else Phase.PROMOTED
    result = Result(chapter, given.release(other), 10, 1, 1.5, 1.0, 0.01)
    assert not result.as_told
    assert "unexpected" in drawn(screen.summary([result]), 160)


def test_a_version_that_is_never_ready_and_is_sent_a_request_is_not_as_told() -> None:
    chapter = next(chapter for chapter in CHAPTERS if chapter.expected is Phase.FAILED)
    release = given.release(Phase.FAILED)
    release = release.model_copy(update={"status": release.status.model_copy(update={"message": "not ready"})})
    untouched = Result(chapter, release, 0, 0, None, None, None)
    assert untouched.as_told
    assert not replace(untouched, requests=1).as_told
