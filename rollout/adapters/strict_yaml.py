"""YAML text to plain Python data with the place of every key: the part of YAML 1.2 that a configuration file needs.

Left out on purpose, each refused with its place: anchors and aliases (a 200-byte file can mean gigabytes), tags,
duplicate keys, keys that are no plain words, directives, infinities. What the data means is `policy_yaml.py`'s
business. Scalars follow the core schema of YAML 1.2 (§10.3.2): `no`, `12:30` and `0644` are text, text and 644.
"""

import codecs
import re
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_PROBLEMS = 100
"""Nobody reads more, and each costs time: reading stops there."""
_MAX_DIGITS = 18

Path = tuple[str | int, ...]
"""Where a value is in its document: keys and list indices from the root."""
Place = tuple[int, int]
"""(line, column), both from 1; the column counts characters."""

# YAML 1.2 §5.1 c-printable, less the byte order mark, which is allowed at the start only.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_END = (SequenceEndEvent, MappingEndEvent)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not allowed, where, and what was expected instead."""

    place: Place
    path: Path
    message: str


@dataclass(slots=True)
class Document:
    """One document of a file."""

    place: Place
    """Where its content begins."""
    value: Any = None
    """dict, list, str, int, float, bool or None; the values of a mapping may be any of these again."""
    places: dict[Path, Place] = field(default_factory=dict)
    """Place of each key (or list item) in the text."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with it as YAML; the value is as good as it could be made."""

    def locate(self, path: Path) -> Place:
        """The place of a key, or of the nearest thing around it that is in the text."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.place


class NotYaml(Exception):  # noqa: N818 - says what the text is
    """The text cannot be read to its end. Carries the documents before that point and the problem."""

    def __init__(self, documents: list[Document], problem: Problem) -> None:
        super().__init__(problem.message)
        self.documents = documents
        self.problem = problem


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read."""

    container: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None

    def next_path(self) -> Path:
        """Path of the value that comes next."""
        step = len(self.container) if isinstance(self.container, list) else self.key
        assert step is not None
        return (*self.path, step)

    def put(self, value: Any) -> None:
        """Add it; of two values under one key the first stays."""
        if isinstance(self.container, list):
            self.container.append(value)
        else:
            assert self.key is not None
            self.container.setdefault(self.key, value)
            self.key = None


def parse(text: str | bytes) -> list[Document]:
    """Read every document of a file of at most 64 KiB, nested at most 20 deep. Empty documents are left out.

    Raises NotYaml where the text ends to make sense; other problems are listed with their document. Linear in the size
    of the text, whatever it holds; nothing recurses.
    """
    return _Reader(_decode(text)).read()


def _decode(text: str | bytes) -> str:
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_BYTES:
        raise NotYaml([], Problem((1, 1), (), f"the file is larger than 64 KiB ({len(raw)} bytes)"))
    try:
        decoded = raw.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        place = _place_in(error.object[: error.start].decode())
        raise NotYaml([], Problem(place, (), "expected UTF-8 text")) from None
    bad = _UNPRINTABLE.search(decoded)
    if bad is not None:
        message = f"the character U+{ord(bad[0]):04X} is not allowed in YAML text"
        raise NotYaml([], Problem(_place_in(decoded[: bad.start()]), (), message))
    return decoded


def _place_in(before: str) -> Place:
    """The place right after `before`."""
    lines = _BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


def _place(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


class _Reader:
    """Builds data from parser events with a stack of its own, so that depth is a number and not a crash."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._documents: list[Document] = []
        self._stack: list[_Open] = []
        self._found = 0
        self._now = Document((1, 1))

    def read(self) -> list[Document]:
        events: Generator[Any, None, None] = YAML(typ="safe", pure=True, plug_ins=[]).parse(self._text)
        with closing(events):
            try:
                for event in events:
                    self._take(event)
            except NotYaml:
                raise
            except YAMLError as error:
                raise self._stop(*_explain(error)) from None
            except (AttributeError, IndexError, RecursionError, TypeError, ValueError):
                # The scanner trips over its own feet on some malformed input; what it saw is malformed all the same.
                raise self._stop(self._now.place, "not valid YAML") from None
        return self._documents

    def _stop(self, place: Place, message: str) -> NotYaml:
        """The end of all reading. What is half read is left out, but not what was found in it."""
        left = [Document(self._now.place, problems=self._now.problems)] if self._now.problems else []
        return NotYaml(self._documents + left, Problem(place, (), message))

    def _problem(self, event: Any, path: Path, message: str) -> None:
        self._now.problems.append(Problem(_place(event.start_mark), path, message))
        self._found += 1
        if self._found >= MAX_PROBLEMS:
            raise self._stop(_place(event.start_mark), f"{MAX_PROBLEMS} problems are enough; the rest was not read")

    def _take(self, event: Any) -> None:
        if isinstance(event, DocumentStartEvent):
            self._now = Document(_place(event.start_mark))
            if event.version is not None or event.tags:
                self._problem(event, (), "directives (%YAML, %TAG) are not allowed")
        elif isinstance(event, DocumentEndEvent):
            if self._now.value is not None or self._now.problems:
                self._documents.append(self._now)
            self._now = Document(_place(event.end_mark))
        elif isinstance(event, _END):
            self._stack.pop()
        elif isinstance(event, NodeEvent):
            self._node(event)

    def _node(self, event: Any) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.container, dict) and top.key is None:
            self._key(event, top)
            return
        path = () if top is None else top.next_path()
        if top is None:
            self._now.place = _place(event.start_mark)
        elif isinstance(top.container, list):
            self._now.places[path] = _place(event.start_mark)
        self._plain(event, path)
        value = self._value(event, path)
        if top is None:
            self._now.value = value
        else:
            top.put(value)
        if isinstance(value, (dict, list)):
            if len(self._stack) >= MAX_DEPTH:
                raise self._stop(_place(event.start_mark), f"nested deeper than {MAX_DEPTH} levels")
            self._stack.append(_Open(value, path))

    def _key(self, event: Any, top: _Open) -> None:
        if not isinstance(event, ScalarEvent):
            raise self._stop(_place(event.start_mark), "expected a word as the key, not a list, mapping or alias")
        top.key = event.value
        path = (*top.path, event.value)
        self._plain(event, path)
        first = self._now.places.setdefault(path, _place(event.start_mark))
        if event.value in top.container:
            self._problem(event, path, f"the key is already given at line {first[0]}, column {first[1]}")

    def _plain(self, event: Any, path: Path) -> None:
        if event.anchor is not None:
            self._problem(event, path, "anchors and aliases (&, *) are not allowed")
        if getattr(event, "ctag", None) is not None:
            self._problem(event, path, "tags (!) are not allowed")

    def _value(self, event: Any, path: Path) -> Any:
        if isinstance(event, MappingStartEvent):
            return {}
        if isinstance(event, SequenceStartEvent):
            return []
        if isinstance(event, AliasEvent):
            return None
        # implicit[0] is true for plain scalars only; quoted ones are text whatever they look like.
        if not event.implicit[0]:
            return event.value
        return _scalar(event.value, lambda message: self._problem(event, path, message))


def _scalar(text: str, refuse: Callable[[str], None]) -> Any:
    """A plain scalar by the core schema; 0 after a refusal."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            refuse(f"expected a number of at most {_MAX_DIGITS} digits")
            return 0
        return int(text, 0) if text[:2] in {"0x", "0o"} else int(text, 10)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        value = 0.0 if _NOT_FINITE.fullmatch(text) else float(text)
        if value in {float("inf"), float("-inf")} or _NOT_FINITE.fullmatch(text):
            refuse("expected a finite number")
            return 0.0
        return value
    return text


def _explain(error: YAMLError) -> tuple[Place, str]:
    """The parser's complaint in one line, with its place."""
    if not isinstance(error, MarkedYAMLError):
        return (1, 1), f"not valid YAML: {error}"
    mark = error.problem_mark or error.context_mark
    words = ", ".join(str(part) for part in (error.problem, error.context) if part)
    return (1, 1) if mark is None else _place(mark), f"not valid YAML: {words}"
