"""Which answers are failures: HTTP codes and classes, gRPC statuses, and what a full circuit breaker refused."""

from datetime import UTC, datetime, timedelta

import pytest

from rollout.core.counts import GRPC_CODES, SERVER_FAILURES, Counts, Failing, Group, Samples, Series, tally

EPOCH = datetime(2026, 11, 21, tzinfo=UTC)
TARGET = ("proxies", "gateway")


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def series(group: Group, requests: int, *, code: str = "200", grpc: str = "", flags: str = "-") -> Series:
    """So many requests between 0 s and 10 s."""
    points = ((at(0).timestamp(), 1.0), (at(10).timestamp(), 1.0 + requests))
    return Series(group, TARGET, points, code=code, grpc=grpc, flags=flags)


@pytest.mark.parametrize(
    ("code", "grpc", "failed"),
    [
        ("503", "", True),
        ("500", "", True),
        ("429", "", True),
        ("408", "", False),
        ("404", "", False),
        ("200", "", False),
        ("200", "8", True),
        ("200", "14", False),
        ("200", "0", False),
        ("", "", True),
        ("unknown", "", True),
    ],
)
def test_what_fails_is_a_code_a_class_or_a_grpc_status(code: str, grpc: str, failed: bool) -> None:
    failing = Failing(http=frozenset({"5xx", "429"}), grpc=frozenset({GRPC_CODES["RESOURCE_EXHAUSTED"]}))
    assert failing.includes(code, grpc) == failed
    counts = tally(Samples((series("canary", 7, code=code, grpc=grpc),)), (), at(1), at(20), failing).canary
    assert (counts.requests, counts.errors) == (7, 7 if failed else 0)


def test_a_client_that_went_away_failed_nobody_whatever_the_policy_says() -> None:
    failing = Failing(http=frozenset({"1xx", "2xx", "3xx", "4xx", "5xx"}), grpc=frozenset(GRPC_CODES.values()))
    gone = Samples((series("canary", 7, code="0"),))
    assert tally(gone, (), at(1), at(20), failing).canary == Counts(disconnects=7)


def test_by_default_the_servers_failures_count_and_the_callers_do_not() -> None:
    assert all(SERVER_FAILURES.includes(code, "") for code in ("500", "502", "503", "504", "599"))
    assert not any(SERVER_FAILURES.includes(code, "") for code in ("200", "302", "400", "404", "408", "429"))
    counted = {name for name, status in GRPC_CODES.items() if SERVER_FAILURES.includes("200", status)}
    assert counted == {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


def test_requests_that_a_full_circuit_breaker_refused_are_told_apart() -> None:
    flags: tuple[tuple[Group, str], ...] = (
        ("canary", "UO"), ("lost", "UO,URX"), ("stable", "UO"), ("other", "UO"), ("canary", "-"),
    )  # fmt: skip
    samples = Samples(tuple(series(group, 4, code="503", flags=flag) for group, flag in flags))
    got = tally(samples, (), at(1), at(20))
    assert got.overflowed == 8
    assert got.canary == Counts(requests=8, errors=8)
    assert got.lost == 4
