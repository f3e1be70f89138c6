"""What can be made better or worse about a running version, and how that is written on its Deployment.

Belongs here: the knobs, their units, their annotations. Does not belong here: turning them (`service.py`), and
reading them from a cluster (`node.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "sandbox.rollout.dev/"
DEFAULT_SLOW: Final = 0.1

_SHARE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(%?)")
_LATENCY: Final = re.compile(r"\+?([0-9]+(?:\.[0-9]+)?)(ms|s)")
_YES: Final = frozenset({"yes", "true"})
_NO: Final = frozenset({"no", "false"})


class KnobError(ValueError):
    """A knob's text is not understood; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """How a version behaves.

    Attributes:
        errors: the share of requests answered with 500, 0 to 1.
        slow: the share of requests that take longer than 50 ms, 0 to 1.
        latency: seconds added to every answer.
        ready: whether its pods are.
    """

    errors: float = 0.0
    slow: float = DEFAULT_SLOW
    latency: float = 0.0
    ready: bool = True


def parse_share(text: str) -> float:
    """`5%` or `0.05` -> 0.05.

    Raises:
        KnobError: it is neither, or not within 0 to 1.
    """
    match = _SHARE.fullmatch(text.strip())
    share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= share <= 1:
        raise KnobError(f"{text!r} is no share: expected something like 5% or 0.05, from 0 to 100%")
    return share


def parse_latency(text: str) -> float:
    """`200ms`, `+200ms` or `0.2s` -> 0.2 (seconds).

    Raises:
        KnobError: it is none of these.
    """
    match = _LATENCY.fullmatch(text.strip())
    if match is None:
        raise KnobError(f"{text!r} is no latency: expected something like 200ms, +200ms or 0.2s")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def parse_ready(text: str) -> bool:
    """`yes` or `no`.

    Raises:
        KnobError: it is neither.
    """
    if (word := text.strip().lower()) not in _YES | _NO:
        raise KnobError(f"{text!r} is neither yes nor no")
    return word in _YES


def annotations(
    *,
    errors: str | float | None = None,
    slow: str | float | None = None,
    latency: str | None = None,
    ready: str | bool | None = None,
) -> dict[str, str]:
    """Annotations that set the given knobs; a number is a share from 0 to 1.

    Raises:
        KnobError: a value is not understood.
    """
    given: dict[str, str] = {}
    for name, share in (("errors", errors), ("slow", slow)):
        if share is not None:
            parse_share(str(share))
            given[PREFIX + name] = str(share)
    if latency is not None:
        parse_latency(latency)
        given[PREFIX + "latency"] = latency
    if ready is not None:
        word = ready if isinstance(ready, str) else "yes" if ready else "no"
        parse_ready(word)
        given[PREFIX + "ready"] = word
    return given


def from_annotations(found: Mapping[str, str]) -> Knobs:
    """The knobs as annotations set them; those without one at their defaults.

    Raises:
        KnobError: a value is not understood; the message names the annotation.
    """

    def value(name: str, default: str) -> str:
        return found.get(PREFIX + name, default)

    try:
        return Knobs(
            errors=parse_share(value("errors", "0")),
            slow=parse_share(value("slow", str(DEFAULT_SLOW))),
            latency=parse_latency(value("latency", "0ms")),
            ready=parse_ready(value("ready", "yes")),
        )
    except KnobError as error:
        raise KnobError(f"annotation {PREFIX}*: {error}") from None
