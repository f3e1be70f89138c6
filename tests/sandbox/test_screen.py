"""The demo's picture: every state can be drawn, and nothing a user wrote can disturb the terminal."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from rollout.core.judging.verdicts import Verdict
from rollout.core.release import Phase
from rollout.sandbox import screen
from rollout.sandbox.load import Seen
from rollout.sandbox.load_client import Counts
from rollout.sandbox.story import CHAPTERS, Chapter, Result
from tests import given
from tests.looked import looked

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


def judged(failed: list[int], **fields: Any) -> str:
    made = looked(failed, **fields)
    return drawn(screen.frame(screen.Scene(CHAPTERS[0], made, COUNTS, {"v2": "100 ms"})), 110)


def test_the_evidence_grows_and_passes_the_mark_only_where_it_rolls_back() -> None:
    cells = [
        next(line for line in judged(failed).splitlines() if "evidence" in line and "┃" in line).split("┃")[0:2]
        for failed in ([0] * 6, [2, 0] * 4, [2, 0] * 6, [20] * 4)
    ]
    before = [row[0].count("█") for row in cells]
    beyond = [row[1].count("█") for row in cells]
    assert before == sorted(before)
    assert before[0] == 0
    assert before[-1] == 30
    assert beyond[:3] == [0, 0, 0]
    assert beyond[-1] > 0


@pytest.mark.parametrize("convicts", [5.0, 100.0, 10_000.0])
def test_no_evidence_below_the_threshold_reaches_the_mark(convicts: float) -> None:
    assert screen.grown(0.0, convicts) == 0
    assert screen.grown(convicts * 0.9999, convicts) == 29
    assert screen.grown(convicts, convicts) == 30
    assert screen.grown(1e200, convicts) == 40


def test_every_look_moves_the_bar_and_takes_no_line_of_the_log() -> None:
    events = [{"event": "judge.looked", "level": "info"}] * 20 + [{"event": "step.started", "level": "info"}]
    made = screen.Scene(CHAPTERS[0], looked([0] * 3), COUNTS, {}, [*events, *events[:20]])
    picture = drawn(screen.frame(made))
    assert "step.started" in picture
    assert "judge.looked" not in picture


def test_what_is_not_measured_takes_one_line() -> None:
    picture = judged([0] * 6)
    assert picture.count("not measured") == 1
    assert "cpu throttling" in picture


def test_the_checks_that_do_not_fit_are_counted() -> None:
    verdicts = tuple(
        Verdict(check=f"check-{number}", outcome="fail" if number == 11 else "pass", message=f"check-{number}")
        for number in range(12)
    )
    picture = judged([0] * 6, verdicts=verdicts)
    assert "and 4 more checks" in picture
    assert "check-11" in picture


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
