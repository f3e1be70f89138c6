"""CEL, the language of the rules in a definition: a rule's text as a function of `self` and `oldSelf`.

Belongs here: what Kubernetes adds to the language (k8s.io/apiserver pkg/cel/library), as far as our rules use it. Does
not belong here: the language itself, which is cel-python's; where rules stand (`rules.py`).
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, Final

from celpy import Environment
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.celtypes import BoolType, IntType, StringType
from celpy.evaluation import CELEvalError

# Kubernetes pkg/apiserver/schema/cel/model: fields that are named like words of CEL are written so in rules.
_RESERVED: Final = frozenset(
    ("as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let", "loop", "namespace",
     "package", "return", "var", "void", "while")
)  # fmt: skip


class CelError(Exception):
    """A rule could not be evaluated: a field is not there, a text is no number."""


def _substring(text: StringType, begin: IntType, end: IntType | None = None) -> StringType:
    last = len(text) if end is None else end
    if not 0 <= begin <= last <= len(text):
        raise ValueError(f"index out of range: {begin}, {last}")
    return StringType(text[begin:last])


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "indexOf": lambda text, part: IntType(text.find(part)),
    "isSorted": lambda items: BoolType(all(left <= right for left, right in pairwise(items))),
    "substring": _substring,
    "sum": lambda items: sum(items, IntType(0)),
}
_LANGUAGE: Final = Environment()


@cache
def compiled(rule: str) -> Callable[[Any, Any], bool]:
    """The rule as a function of the new and the old value, both as decoded JSON.

    Raises:
        ValueError: it is no CEL.
    """
    try:
        program = _LANGUAGE.program(_LANGUAGE.compile(rule), functions=_FUNCTIONS)
    except CELParseError as error:
        raise ValueError(f"{rule}: {error}") from error

    def holds(new: Any, old: Any) -> bool:
        try:
            return bool(program.evaluate({"self": _value(new), "oldSelf": _value(old)}))
        except CELEvalError as error:
            raise CelError(str(error)) from error

    return holds


def _value(decoded: Any) -> Any:
    return json_to_cel(_spelled(decoded))


def _spelled(decoded: Any) -> Any:
    """Field names as rules write them."""
    if isinstance(decoded, dict):
        return {f"__{key}__" if key in _RESERVED else key: _spelled(value) for key, value in decoded.items()}
    return [_spelled(item) for item in decoded] if isinstance(decoded, list) else decoded
