"""Durations, shares and names as people write them in YAML, parsed once and written back the same.

Durations follow Prometheus (`250ms`, `15s`, `5m`, `1h30m`, `1d`); shares are percentages with their sign (`5%`,
`0.05%`), so that `5` can never be read as 500 %.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

T = TypeVar("T")
_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_LONGEST_MS = 10_000 * _UNITS["d"]
_DURATION = re.compile(r"(?=[0-9])(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m(?!s))?(?:([0-9]+)s)?(?:([0-9]+)ms)?")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
DURATION_PATTERN = r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
SHARE_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,6})?%$"


def parse_duration(text: str) -> timedelta:
    """`1h30m` -> timedelta; ValueError for anything that is not digits with units d, h, m, s, ms in that order."""
    match = _DURATION.fullmatch(text)
    if match is None or len(text) > 24:
        raise ValueError(f"expected a duration such as 15s, 5m or 1h30m, not {text!r}")
    parts = zip(match.groups(), _UNITS.values(), strict=True)
    milliseconds = sum(int(count) * unit for count, unit in parts if count)
    if milliseconds > _LONGEST_MS:
        raise ValueError(f"expected a duration of at most {_LONGEST_MS // _UNITS['d']}d, not {text!r}")
    return timedelta(milliseconds=milliseconds)


def format_duration(value: timedelta) -> str:
    """The shortest spelling that `parse_duration` reads back to the same value (whole milliseconds)."""
    rest = round(value / timedelta(milliseconds=1))
    out = []
    for name, unit in _UNITS.items():
        count, rest = divmod(rest, unit)
        if count:
            out.append(f"{count}{name}")
    return "".join(out) or "0s"


def parse_share(text: str) -> float:
    """`5%` -> 0.05; ValueError without the sign or outside 0..100 %."""
    match = _SHARE.fullmatch(text)
    if match is None or float(match[1]) > 100:
        raise ValueError(f"expected a percentage such as 5% or 0.05%, not {text!r}")
    return round(float(match[1]) / 100, 8)


def format_share(value: float) -> str:
    """0.05 -> `5%`; at most six digits after the point, none that are zero."""
    return f"{value * 100:.6f}".rstrip("0").rstrip(".") + "%"


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError("expected a duration such as 15s or 5m")


def _share(value: Any) -> float:
    """Text only: whether a bare 0.5 is half or half a percent is nobody's to guess."""
    if isinstance(value, str):
        return parse_share(value)
    raise ValueError("expected a percentage such as 5%")


def _instant(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("expected an RFC 3339 time with its zone, such as 2026-11-21T12:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        # Year 1 east of Greenwich: no instant that UTC has a name for. pydantic would let an OverflowError through.
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from error


def format_instant(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as Kubernetes' MicroTime fields are read by people."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["15s", "5m", "1h30m"]}),
]
Share = Annotated[
    float,
    BeforeValidator(_share),
    PlainSerializer(format_share, return_type=str),
    WithJsonSchema({"type": "string", "pattern": SHARE_PATTERN, "examples": ["1%", "0.05%"]}),
]
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(format_instant, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
# RFC 1123 label: what Kubernetes takes for Service names, namespaces and (Istio: validateSubsetName) subset names.
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
# RFC 1123 subdomain: VirtualService, DestinationRule and Deployment names.
ObjectName = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253)
]
# A version is a pod label value that can also end a Deployment's name: lower case, digits, `-` and `.`.
Version = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)]


# A YAML or JSON list, kept as a tuple so that models stay frozen; its items are checked as strictly as ever.
Listed = Annotated[tuple[T, ...], Field(strict=False)]


class Model(BaseModel):
    """Frozen, strict and spelled in camelCase on the wire, as Kubernetes objects are."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def wire(self) -> dict[str, Any]:
        """This model as the JSON object that is stored: camelCase, without fields that were never set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
