"""What a notice says, in plain text: a title, one sentence, the numbers, links, and the command that stops it.

Belongs here: the content, the same for every channel. Does not belong here: how a channel writes it (`slack.py`,
`teams.py`, ...), which escapes it by its own rules; the sentences themselves, which are those of Kubernetes Events
(`event_notes.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from rollout.adapters.event_notes import WORDINGS, note_of
from rollout.adapters.notices.links import Link, links_of
from rollout.administration import Links
from rollout.core.events import CATALOGUE, Level, Notice
from rollout.core.judging.verdicts import odds
from rollout.core.quantities import format_instant
from rollout.core.release import Phase, Release
from rollout.telemetry import clean

Mood = Literal["good", "plain", "doubtful", "bad"]

_LONGEST_FACT: Final = 300
_LONGEST_TITLE: Final = 140
_MOODS: Final[Mapping[Level, Mood]] = {
    Level.DEBUG: "plain",
    Level.INFO: "plain",
    Level.WARNING: "doubtful",
    Level.ERROR: "bad",
    Level.CRITICAL: "bad",
}
_ENDINGS: Final[Mapping[str, str]] = {
    "release.succeeded": "promoted",
    "release.rolled_back": "rolled back",
    "release.aborted": "aborted",
    "release.failed": "failed",
    "release.rejected": "refused",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One notice in words. No text in it has line breaks or control characters; all of it may be somebody's own."""

    key: str
    """The same for every repetition of the same notice to the same channel."""
    title: str
    sentence: str
    mood: Mood
    facts: tuple[tuple[str, str], ...]
    """(name, value): the numbers; at most ten."""
    links: tuple[Link, ...]
    stop: str
    """The command that ends the release; "" when it is over."""


def key_of(release: Release, notice: Notice, channel: str) -> str:
    """`<uid of the release>/<number of the event>/<channel>`: names one notice in the whole world, for ever."""
    return f"{release.uid}/{notice.sequence}/{channel}"


def message_of(release: Release, notice: Notice, channel: str, links: Links) -> Message:
    """The notice for one channel."""
    over = release.status.phase.terminal or notice.name in _ENDINGS
    return Message(
        key=key_of(release, notice, channel),
        title=_title(release, notice),
        sentence=sentence_of(release, notice),
        mood=mood_of(notice),
        facts=tuple(_facts(release, notice)),
        links=links_of(release, links),
        stop="" if over else f"rollout abort {release.name} -n {release.namespace}",
    )


def sentence_of(release: Release, notice: Notice) -> str:
    """One sentence with the numbers."""
    if notice.name in WORDINGS:
        said = note_of(release, notice.name, notice.fields)
    else:
        # Another version of the controller decided it, and knows more kinds than we do.
        fields = ", ".join(f"{name} {value}" for name, value in notice.fields.items())
        said = notice.message or f"{notice.name}: {fields}"
    return _short(said, 1024)


def mood_of(notice: Notice) -> Mood:
    """How it is painted."""
    if notice.name == "release.succeeded":
        return "good"
    return _MOODS[CATALOGUE[notice.name].level] if notice.name in CATALOGUE else "plain"


def _title(release: Release, notice: Notice) -> str:
    status, spec = release.status, release.spec
    what = f"{status.service or spec.service} {status.version or spec.version} in {release.namespace}"
    word = _ENDINGS.get(notice.name) or notice.name.partition(".")[2].replace("_", " ") or notice.name
    return _short(f"{what}: {word if notice.name in _ENDINGS else _subject(notice) + word}", _LONGEST_TITLE)


def _subject(notice: Notice) -> str:
    subject = notice.name.partition(".")[0]
    return "" if subject == "release" else f"{subject} "


def _facts(release: Release, notice: Notice) -> Iterator[tuple[str, str]]:
    status, source = release.status, release.spec.source
    if notice.name == "gate.waiting" and notice.fields.get("kind") == "approval":
        gate = notice.fields.get("gate")
        yield (
            "Let it pass",
            _short(f"rollout approve {release.name} --gate {gate} -n {release.namespace}", _LONGEST_FACT),
        )
    versions = (
        f"{status.version or release.spec.version} over {status.stable}" if status.stable else release.spec.version
    )
    yield "Version", _short(versions, _LONGEST_FACT)
    if status.phase is not Phase.PENDING:
        yield "Canary's share", f"{status.weight} %"
    if status.progress:
        yield "Step", status.progress
    yield "Phase", _short(status.phase.value + (f" ({status.reason})" if status.reason else ""), _LONGEST_FACT)
    worst = max(status.verdicts, key=lambda one: (one.outcome == "fail", one.evidence), default=None)
    if worst is not None and worst.outcome in {"pass", "fail", "unknown"}:
        yield "Check", _short(worst.message or worst.check, _LONGEST_FACT)
        if worst.evidence > 1 and worst.convicts:
            yield "Evidence", f"1 in {odds(worst.evidence)} by chance; rolls back at 1 in {worst.convicts:,.5g}"
        yield "Requests", f"{worst.requests:,} of the canary, {worst.stable_requests:,} of stable"
    if source.actor:
        yield "Asked for by", _short(source.actor, _LONGEST_FACT)
    if source.revision:
        yield "Revision", _short(source.revision, _LONGEST_FACT)
    yield "At", format_instant(notice.at)


def _short(text: str, longest: int) -> str:
    """One line of printable characters."""
    printable = "".join(char if char.isprintable() else "�" for char in clean(text))
    one_line = " ".join(printable.split())
    return one_line if len(one_line) <= longest else one_line[: longest - 1] + "…"
