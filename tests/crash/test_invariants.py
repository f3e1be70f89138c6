"""Whoever looks for violations must be able to find some: a good life's audit log, spoilt in every way that matters."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest

from rollout.sandbox.audit import AuditEntry
from tests.crash.arena import USER
from tests.crash.invariants import told_wrongly, violations
from tests.crash.lives import PROMOTED, ROLLED_BACK, Ending, Story
from tests.crash.writes import Write, entry_write

pytestmark = pytest.mark.asyncio(loop_scope="session")

Log = list[AuditEntry]
Spoil = Callable[[Log], Log]


def place_of(log: Log, write: Write) -> int:
    """Where the first write of this kind is, of which the beginning is given."""
    return next(at for at, one in enumerate(log) if one.user == USER and (entry_write(one) or "").startswith(write))


def without(*writes: Write) -> Spoil:
    """None of them was ever made."""

    def spoil(log: Log) -> Log:
        return [one for one in log if one.user != USER or not (entry_write(one) or "").startswith(writes)]

    return spoil


def late(write: Write, after: Write) -> Spoil:
    """It is answered after another one, which it should have been before."""

    def spoil(log: Log) -> Log:
        moved, other = log[place_of(log, write)], log[place_of(log, after)]
        at = log.index(other)
        rest = [one for one in log if one is not moved]
        shifted = replace(moved, at=other.ended, ended=other.ended)
        return [*rest[:at], shifted, *rest[at:]]

    return spoil


def changed(write: Write, change: Callable[[AuditEntry], object]) -> Spoil:
    """Something else was in it."""

    def spoil(log: Log) -> Log:
        at = place_of(log, write)
        one = copy.deepcopy(log[at])
        change(one)
        return [*log[:at], one, *log[at + 1 :]]

    return spoil


def _http(one: AuditEntry) -> dict[str, object]:
    first: dict[str, object] = one.response_object["spec"]["http"][0]
    return first


SPOILT: dict[str, tuple[Story, str, Spoil]] = {
    "an order before its save": (PROMOTED, "I1", late("save Shifting/0", after="route 50/50")),
    "an order that was never saved": (PROMOTED, "I1", without("save Shifting/1")),
    "an end without its order": (PROMOTED, "I2", without("route 100/0", "route drop")),
    "an older order after a newer one": (PROMOTED, "I1 epoch", late("route 50/50", after="route 100/0")),
    "a share after the rollback": (ROLLED_BACK, "I3", late("route 50/50", after="save RolledBack")),
    "a step without a verdict": (
        PROMOTED,
        "I4",
        changed("save Shifting/1", lambda one: one.request_object["status"].pop("verdicts")),
    ),
    "a step on old data": (
        PROMOTED,
        "I5",
        changed(
            "save Shifting/1",
            lambda one: one.request_object["status"]["window"].update(judgedAt="2001-01-01T00:00:00Z"),
        ),
    ),
    "weights of 150": (
        PROMOTED,
        "I7",
        changed("route 50/50", lambda one: _http(one)["route"][0].update(weight=100)),  # type: ignore[index]
    ),
    "a share without a subset": (PROMOTED, "I7", without("subset add")),
    "a subset that goes too early": (
        ROLLED_BACK,
        "I7",
        lambda log: late("route 0/100", after="subset remove")(without("route drop")(log)),
    ),
    "a timeout of ours": (PROMOTED, "I7", changed("route 50/50", lambda one: _http(one).update(timeout="1s"))),
    "a leap over a phase": (PROMOTED, "left the table", without("save Finishing")),
}


@pytest.mark.parametrize("name", SPOILT)
async def test_a_spoilt_life_is_found_out(references: dict[str, Ending], name: str) -> None:
    story, violation, spoil = SPOILT[name]
    log = references[story.name].written
    assert violations(log) == []
    spoilt = spoil(log)
    assert any(one.startswith(violation) for one in violations(spoilt)), violations(spoilt)


async def test_a_decision_that_is_not_told_or_told_twice_is_found_out(references: dict[str, Ending]) -> None:
    ending = references[PROMOTED.name]
    events, release = ending.events, ending.release
    assert list(told_wrongly(release, events)) == []
    for spoilt in (events[1:], events[:-1], [*events, events[0]], [*events, events[-1]]):
        assert list(told_wrongly(release, spoilt)) != []
