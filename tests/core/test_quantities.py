"""Durations, shares, instants and names: what is read, what is refused, and that writing is the way back."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rollout.core.quantities import (
    Duration,
    Instant,
    Label,
    Model,
    ObjectName,
    Share,
    Version,
    format_duration,
    format_instant,
    format_share,
    parse_duration,
    parse_share,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("250ms", 0.25),
        ("15s", 15),
        ("5m", 300),
        ("1h30m", 5400),
        ("1d", 86400),
        ("2s500ms", 2.5),
        ("1d2h3m4s5ms", 93784.005),
        ("90m", 5400),
    ],
)
def test_durations_are_read_as_prometheus_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        "-5s",
        "+5s",
        "1.5h",
        "30m1h",
        "5S",
        "5sec",
        "1h1h",
        "5s\n",
        " 5s",
        "1w",
        "5µs",
        "0x5s",
        "1" * 25 + "s",
    ],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 10_000 * 86_400_000))
def test_a_duration_is_written_so_that_it_reads_back_the_same(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize(
    ("text", "share"), [("0%", 0), ("5%", 0.05), ("0.05%", 0.0005), ("100%", 1), ("12.5%", 0.125), ("0.000001%", 1e-8)]
)
def test_shares_are_percentages_with_their_sign(text: str, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize(
    "text", ["", "5", "0.05", "%", "-5%", "+5%", "101%", "100.000001%", "5 %", "1e1%", ".5%", "5.%", "5%\n"]
)
def test_anything_else_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="percentage"):
        parse_share(text)


@given(st.integers(0, 10**8))
def test_a_share_is_written_so_that_it_reads_back_the_same(parts: int) -> None:
    value = round(parts / 10**8, 8)
    assert parse_share(format_share(value)) == value


@pytest.mark.parametrize(
    "given_as", ["2026-11-21T12:00:00Z", "2026-11-21T13:00:00+01:00", datetime(2026, 11, 21, 12, tzinfo=UTC)]
)
def test_an_instant_is_the_same_in_every_zone(given_as: object) -> None:
    assert TypeAdapter(Instant).validate_python(given_as) == datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize("given_as", ["2026-11-21T12:00:00", "yesterday", "", 5, None, datetime(2026, 11, 21, 12)])  # noqa: DTZ001 - the very thing that is refused
def test_an_instant_needs_its_zone(given_as: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Instant).validate_python(given_as)


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone itself
def test_an_instant_is_written_in_utc_to_the_millisecond(value: datetime) -> None:
    text = format_instant(value.astimezone(timezone(timedelta(hours=5))))
    assert text.endswith("Z")
    assert timedelta() <= value - TypeAdapter(Instant).validate_python(text) < timedelta(milliseconds=1)


@pytest.mark.parametrize("kind", [Duration, Share])
@pytest.mark.parametrize("wrong", [5, True, None, [], {}, b"5s"])
def test_only_text_can_be_read_as_a_quantity(kind: Any, wrong: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(wrong)


def test_a_duration_that_was_read_already_stays_as_it_is() -> None:
    assert TypeAdapter(Duration).validate_python(timedelta(seconds=5)) == timedelta(seconds=5)


def test_a_bare_fraction_is_no_share() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Share).validate_python(0.05)


def test_a_duration_that_no_clock_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        parse_duration("999999999999999999999d")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Label, ["a", "a-1", "1a", "a" * 63], ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "a\n", "ä"]),
        (ObjectName, ["a", "a.b-c.d", "a" * 253], ["", ".a", "a.", "a..b", "A", "a/b", "a" * 254, "a\n"]),
        (Version, ["v1", "1.2.3", "a-b.c"], ["", "V1", "v1-", ".1", "v_1", "v1+2", "a" * 64]),
    ],
)
def test_names_are_those_that_kubernetes_takes(kind: Any, good: list[str], bad: list[str]) -> None:
    for name in good:
        assert TypeAdapter(kind).validate_python(name) == name
    for name in bad:
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(name)


class Sample(Model):
    how_long: Duration = timedelta(minutes=5)
    how_much: Share = 0.05
    note: str | None = None


def test_a_model_is_stored_in_camel_case_as_people_write_it_without_what_was_never_set() -> None:
    assert Sample().wire() == {"howLong": "5m", "howMuch": "5%"}
    assert Sample.model_validate(Sample(note="x").wire()) == Sample(note="x")


def test_a_model_cannot_be_changed_nor_given_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate({"howlong": "5m"})
    with pytest.raises(ValidationError):
        Sample().note = "x"  # type: ignore[misc] # the very thing that is refused


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_an_instant_that_utc_has_no_name_for_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Instant).validate_python(text)
