"""One YAML document to one of our models, or what is wrong with it, in plain words and with its place in the text.

Belongs here: how a model's complaints are told to the person who wrote the file. Does not belong here: what YAML is
allowed at all (`strict_yaml.py`), which kinds of document a file may hold (`policy_yaml.py`, `config_file.py`), what
a field may say (the models).
"""

from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rollout.adapters.strict_yaml import MAX_PROBLEMS, Document, Path, Problem
from rollout.core.quantities import Model

M = TypeVar("M", bound=Model)

_SHOWN = 60
"""Characters of a user's text that an error message repeats."""
_MESSAGE = 400

_NAME = "expected a name of lower-case letters, digits and `-` (RFC 1123), such as `checkout`"
_URL = "expected a URL such as `https://hooks.example.com/rollout`, without user and password"
_PATTERNS = {
    "name": _NAME,
    "namespace": _NAME,
    "namespaces": _NAME,
    "virtualService": _NAME,
    "destinationRule": _NAME,
    "deployment": "expected a name of lower-case letters, digits and `-` with {service} and {version} in it",
    "podLabel": "expected a label key such as `version` or `app.kubernetes.io/version`",
    "url": _URL,
    "jwks": _URL,
}
_SECRET = frozenset({"url", "jwks"})
"""Fields whose value no message repeats: it may hold a password that does not belong there."""
_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping (`key: value`)",
}


@dataclass(frozen=True, slots=True)
class FileError:
    """One problem of a file."""

    file: str
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    path: str
    """Dotted path of the field, list indices from 0; "" where the text is no YAML."""
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return _clean(f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}")


class FileErrors(Exception):  # noqa: N818 - there may be many
    """All problems of a file, in the order of its text; `str` has one line for each."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        ordered = sorted(problems, key=lambda problem: problem.place)[:MAX_PROBLEMS]
        self.errors = tuple(_error(file, problem) for problem in ordered)
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def validated(model: type[M], document: Document, problems: list[Problem]) -> M | None:
    """The document as a model; None after adding to `problems`. What was a problem already is not told twice."""
    told = {problem.path for problem in document.problems}
    if () in told:
        return None
    found: list[Problem] = []
    read = None
    try:
        read = model.model_validate(document.value, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False)
        words = _words(model)
        for detail in _without_echoes(details)[:MAX_PROBLEMS]:
            problem = words.problem(document, detail)
            if not any(problem.path[: len(path)] == path for path in told):
                found.append(problem)
    problems.extend(found)
    return None if found or document.problems else read


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Pydantic counts bad items of a list as absent, and then calls the list too short as well."""
    inner = Counter(detail["loc"][:length] for detail in details for length in range(len(detail["loc"])))
    return [detail for detail in details if detail["type"] != "too_short" or not inner[detail["loc"]]]


@cache
def _words(model: type[Model]) -> "_Words":
    return _Words(model.model_json_schema(by_alias=True))


class _Words:
    """What a model says about its fields, in the words of its JSON Schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema

    def problem(self, document: Document, detail: ErrorDetails) -> Problem:
        path = detail["loc"]
        if detail["type"] == "missing":
            place = document.locate(path[:-1])
            return Problem(place, path, f"required, expected {_expected(self._node(path))}")
        if detail["type"] == "extra_forbidden":
            return Problem(document.locate(path), path, self._unknown(path))
        message = self._message(detail)
        if detail["type"] == "disagree":
            path = (*path, *(int(part) if part.isdigit() else part for part in detail["ctx"]["path"].split(".")))
        elif detail["type"] == "value_error":
            # A model that complains about one of its own fields begins with the field's name.
            key, colon, rest = message.partition(": ")
            if colon and key in self._node(path).get("properties", {}):
                path, message = (*path, key), rest
        return Problem(document.locate(path), path, message)

    def _message(self, detail: ErrorDetails) -> str:
        """What was expected, in plain words."""
        kind, ctx, value = detail["type"], detail.get("ctx", {}), detail["input"]
        field = next((str(step) for step in reversed(detail["loc"]) if isinstance(step, str)), "")
        seen = "" if field in _SECRET else f", not {_shown(value)}"
        match kind:
            case "disagree" | "string_unicode":
                message = detail["msg"]
            case "value_error":
                text = str(ctx["error"])
                message = text if " not " in text or isinstance(value, dict) else text + seen
            case "literal_error":
                expected = str(ctx["expected"]).replace("'", "`")
                message = f"expected {expected}{seen}"
            case "string_pattern_mismatch":
                message = _PATTERNS.get(field, f"expected text that matches {ctx['pattern']}") + seen
            case "string_too_long" | "too_long":
                message = f"expected at most {_many(ctx['max_length'], value)}, not {len(value)}"
            case "string_too_short" | "too_short":
                message = f"expected at least {_many(ctx['min_length'], value)}, not {len(value)}"
            case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
                words, limit = next((words, ctx[key]) for key, words in _BOUNDS.items() if key in ctx)
                message = f"expected {words} {limit:g}{seen}"
            case _:
                hint = "; put it in quotes" if kind == "string_type" and isinstance(value, (int, float)) else ""
                message = f"expected {_expected(self._node(detail['loc']))}{seen}{hint}"
        return message

    def _unknown(self, path: Path) -> str:
        key = str(path[-1])
        known = tuple(self._node(path[:-1]).get("properties", {}))
        close = get_close_matches(key.lower(), [one.lower() for one in known], n=1) if len(key) <= _SHOWN else []
        meant = next((one for one in known if one.lower() in close), None)
        if meant is not None:
            return f"unknown key `{_cut(key)}`, did you mean `{meant}`?"
        return f"unknown key `{_cut(key)}`, expected one of {', '.join(known)}"

    def _node(self, path: Path) -> dict[str, Any]:
        """The JSON Schema of a field; {} where there is none."""
        node = self._schema
        for step in path:
            inner = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
            node = self._resolved(inner)
        return node

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            target: dict[str, Any] = self._schema["$defs"][node["$ref"].rpartition("/")[2]]
            return target
        choices = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
        if not choices:
            return node
        # Of text or mapping, only the mapping leads further down.
        return dict(choices[-1]) | {"anyOf": choices}


def _many(count: int, value: object) -> str:
    return f"{count} {'character' if isinstance(value, str) else 'item'}{'' if count == 1 else 's'}"


def _expected(node: dict[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_expected(choice) for choice in node["anyOf"])
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return "one of " + ", ".join(str(one) for one in node["enum"])
    words = _TYPES.get(str(node.get("type")), "another value")
    examples = node.get("examples", ())
    return f"{words} such as `{examples[0]}`" if examples else words


def _shown(value: object) -> str:
    """A value of the file as an error message may repeat it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return f"`{_cut(value)}`"
        case int() | float():
            return str(value)
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _clean(text: str) -> str:
    """One line without control or direction characters, whatever the file holds."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _error(file: str, problem: Problem) -> FileError:
    path = ".".join(_cut(str(step)) for step in problem.path)
    return FileError(file, *problem.place, _clean(path), _clean(problem.message)[:_MESSAGE])
