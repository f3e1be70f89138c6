"""Policy files: YAML text to `ServicePolicy`, or every problem of the file with its line and column.

A file may hold several policies, one per document. What YAML is allowed at all is `strict_yaml.py`'s business, what a
policy may say is `core/policy.py`'s; here the model's complaints find their place in the text and plain words.
"""

from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rollout.adapters.strict_yaml import MAX_PROBLEMS, Document, NotYaml, Path, Place, Problem, parse
from rollout.core.policy import ServicePolicy

_SHOWN = 60
"""Characters of a user's text that an error message repeats."""
_MESSAGE = 400

_NAME = "expected a name of lower-case letters, digits and `-` (RFC 1123), such as `checkout`"
_PATTERNS = {
    "name": _NAME,
    "namespace": _NAME,
    "virtualService": _NAME,
    "destinationRule": _NAME,
    "deployment": "expected a name of lower-case letters, digits and `-` with {service} and {version} in it",
    "podLabel": "expected a label key such as `version` or `app.kubernetes.io/version`",
}
_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping (`key: value`)",
}


@dataclass(frozen=True, slots=True)
class PolicyError:
    """One problem of a policy file."""

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


class PolicyErrors(Exception):  # noqa: N818 - there may be many
    """All problems of a file, in the order of its text; `str` has one line for each."""

    def __init__(self, errors: tuple[PolicyError, ...]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


@dataclass(frozen=True, slots=True)
class Located:
    """A policy and where the name of its service stands."""

    policy: ServicePolicy
    line: int
    column: int


def read(text: str | bytes, file: str) -> tuple[ServicePolicy, ...]:
    """The policies of a file, at least one, in order. Raises PolicyErrors, and nothing else on any input."""
    return tuple(one.policy for one in read_located(text, file))


def read_located(text: str | bytes, file: str) -> tuple[Located, ...]:
    """As `read`, with the place of each policy's name."""
    problems: list[Problem] = []
    try:
        documents = parse(text)
    except NotYaml as error:
        documents = error.documents
        problems.append(error.problem)
    if not documents and not problems:
        problems.append(Problem((1, 1), (), "expected a policy (`kind: ServicePolicy`), the file is empty"))
    policies = []
    for document in documents:
        problems.extend(document.problems)
        policy = _validate(document, problems) if len(problems) < MAX_PROBLEMS else None
        if policy is not None:
            policies.append(Located(policy, *document.locate(("metadata", "name"))))
    problems.extend(_named_twice(policies))
    if problems:
        problems.sort(key=lambda problem: problem.place)
        raise PolicyErrors(tuple(_error(file, problem) for problem in problems[:MAX_PROBLEMS]))
    return tuple(policies)


def _validate(document: Document, problems: list[Problem]) -> ServicePolicy | None:
    """The document as a policy; None after adding to `problems`. What was a problem already is not told twice."""
    told = {problem.path for problem in document.problems}
    if () in told:
        return None
    found: list[Problem] = []
    policy = None
    try:
        policy = ServicePolicy.model_validate(document.value, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in _without_echoes(details)[:MAX_PROBLEMS]:
            problem = _problem(document, detail)
            if not any(problem.path[: len(path)] == path for path in told):
                found.append(problem)
    problems.extend(found)
    return None if found or document.problems else policy


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Pydantic counts bad items of a list as absent, and then calls the list too short as well."""
    inner = Counter(detail["loc"][:length] for detail in details for length in range(len(detail["loc"])))
    return [detail for detail in details if detail["type"] != "too_short" or not inner[detail["loc"]]]


def _problem(document: Document, detail: ErrorDetails) -> Problem:
    path = detail["loc"]
    if detail["type"] == "missing":
        place = document.locate(path[:-1])
        return Problem(place, path, f"required, expected {_expected(_node(path))}")
    if detail["type"] == "extra_forbidden":
        return Problem(document.locate(path), path, _unknown(path))
    message = _message(detail)
    if detail["type"] == "disagree":
        path = (*path, *detail["ctx"]["path"].split("."))
    elif detail["type"] == "value_error":
        # A model that complains about one of its own fields begins with the field's name.
        key, colon, rest = message.partition(": ")
        if colon and key in _node(path).get("properties", {}):
            path, message = (*path, key), rest
    return Problem(document.locate(path), path, message)


def _message(detail: ErrorDetails) -> str:
    """What was expected, in plain words."""
    kind, ctx, value = detail["type"], detail.get("ctx", {}), detail["input"]
    seen = f", not {_shown(value)}"
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
            pattern = _PATTERNS.get(str(detail["loc"][-1]), f"expected text that matches {ctx['pattern']}")
            message = pattern + seen
        case "string_too_long" | "too_long":
            message = f"expected at most {_many(ctx['max_length'], value)}, not {len(value)}"
        case "string_too_short" | "too_short":
            message = f"expected at least {_many(ctx['min_length'], value)}, not {len(value)}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            words, limit = next((words, ctx[key]) for key, words in _BOUNDS.items() if key in ctx)
            message = f"expected {words} {limit:g}{seen}"
        case _:
            hint = "; put it in quotes" if kind == "string_type" and isinstance(value, (int, float)) else ""
            message = f"expected {_expected(_node(detail['loc']))}{seen}{hint}"
    return message


def _many(count: int, value: object) -> str:
    return f"{count} {'character' if isinstance(value, str) else 'item'}{'' if count == 1 else 's'}"


def _unknown(path: Path) -> str:
    key = str(path[-1])
    known = tuple(_node(path[:-1]).get("properties", {}))
    close = get_close_matches(key.lower(), [one.lower() for one in known], n=1) if len(key) <= _SHOWN else []
    meant = next((one for one in known if one.lower() in close), None)
    if meant is not None:
        return f"unknown key `{_cut(key)}`, did you mean `{meant}`?"
    return f"unknown key `{_cut(key)}`, expected one of {', '.join(known)}"


def _named_twice(policies: list[Located]) -> list[Problem]:
    first: dict[tuple[str, str], Place] = {}
    found = []
    for one in policies:
        metadata = one.policy.metadata
        line, _ = first.setdefault((metadata.namespace, metadata.name), (one.line, one.column))
        if line != one.line:
            message = f"{metadata.namespace}/{metadata.name} already has a policy at line {line}"
            found.append(Problem((one.line, one.column), ("metadata", "name"), message))
    return found


@cache
def _schema() -> dict[str, Any]:
    return ServicePolicy.model_json_schema(by_alias=True)


def _node(path: Path) -> dict[str, Any]:
    """The JSON Schema of a field; {} where there is none."""
    node = _schema()
    for step in path:
        inner = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
        node = _resolved(inner)
    return node


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        target: dict[str, Any] = _schema()["$defs"][node["$ref"].rpartition("/")[2]]
        return target
    choices = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
    if not choices:
        return node
    # Of text or mapping, only the mapping leads further down.
    return dict(choices[-1]) | {"anyOf": choices}


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


def _error(file: str, problem: Problem) -> PolicyError:
    path = ".".join(_cut(str(step)) for step in problem.path)
    return PolicyError(file, *problem.place, _clean(path), _clean(problem.message)[:_MESSAGE])
